-- Creates objects of the kind that the argument names, with names that the server generates.
-- wrk ... --script benches/wrk/create.lua URL -- TOKEN configmap|pod
local bodies = {
  configmap = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"m-"},"data":{"data":"' .. string.rep("x", 1000) .. '"}}',
  pod = '{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"p-"},"spec":{"schedulerName":"nobody","containers":[{"name":"main","image":"example.com/image:1"}]}}',
}

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Authorization"] = "Bearer " .. arguments[1]
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = bodies[arguments[2]]
end
