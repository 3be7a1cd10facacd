-- Gets an object again and again.
-- wrk ... --script benches/wrk/get.lua URL -- TOKEN
function init(arguments)
  wrk.headers["Authorization"] = "Bearer " .. arguments[1]
end
