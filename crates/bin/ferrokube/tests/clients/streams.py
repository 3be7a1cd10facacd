"""Streams of a pod as the Python client opens them. Prints a word for each thing that works."""

from kubernetes import client, config
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

config.load_kube_config()
api = client.CoreV1Api()
WHERE = ("web", "default")


def run(*command, **wishes):
    options = dict(stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False)
    return stream(api.connect_get_namespaced_pod_exec, *WHERE, command=list(command), **{**options, **wishes})


# Output by stream, and the exit code.
done = run("sh", "-c", "echo out; echo err >&2; exit 3")
done.run_forever(timeout=20)
assert (done.read_stdout(), done.read_stderr(), done.returncode) == ("out\n", "err\n", 3)

# Input, and a terminal of the size that was asked for.
shell = run("sh", stdin=True, tty=True)
shell.write_channel(4, '{"Width":101,"Height":33}')
shell.write_stdin("stty size; exit 5\n")
shell.run_forever(timeout=20)
said = shell.read_stdout()
assert "33 101" in said and shell.returncode == 5, (said, shell.returncode)

# A command that there is not.
absent = run("/no/such/program")
absent.run_forever(timeout=20)
failure = absent.read_channel(3)
assert "error executing command in container" in failure and "no such file" in failure, failure
print("executes")

try:
    stream(api.connect_get_namespaced_pod_exec, *WHERE, command=["true"], container="absent", stdout=True)
    raise SystemExit("a container that there is not was entered")
except ApiException as refused:
    assert "400" in str(refused), refused
print("refuses")

attached = stream(
    api.connect_get_namespaced_pod_attach, "echo", "default", stdin=True, stdout=True, _preload_content=False
)
attached.write_stdin("to itself\n")
while "to itself" not in attached.read_stdout(timeout=20):
    assert attached.is_open()
attached.close()
print("attaches")

forward = portforward(api.connect_get_namespaced_pod_portforward, *WHERE, ports="8080")
socket = forward.socket(8080)
socket.settimeout(20)
socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
answer = b""
while chunk := socket.recv(4096):
    answer += chunk
assert answer.startswith(b"HTTP/1.") and answer.endswith(b"web\n"), answer
nobody = portforward(api.connect_get_namespaced_pod_portforward, *WHERE, ports="9")
closed = nobody.socket(9)
closed.settimeout(20)
assert closed.recv(1) == b""
assert "connection refused" in nobody.error(9), nobody.error(9)
print("forwards")

log = api.read_namespaced_pod_log("count", "default", follow=True, _preload_content=False)
seen = b""
for chunk in log.stream():
    seen += chunk
    if seen.endswith(b"3\n"):
        break
assert seen == b"1\n2\n3\n", seen
log.close()
assert api.read_namespaced_pod_log("count", "default", tail_lines=1) == "3\n"
for query, code in (({"tail_lines": -1}, 422), ({"previous": True}, 400)):
    try:
        api.read_namespaced_pod_log("count", "default", **query)
        raise SystemExit(f"{query} was taken")
    except ApiException as refused:
        assert refused.status == code, refused
print("reads")
