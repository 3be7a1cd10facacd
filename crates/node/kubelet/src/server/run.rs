//! `/run`, a whole command in one answer, and `/checkpoint`, which no runtime here can do.

use std::time::Duration;

use http::{Response, StatusCode};

use super::route::query;
use super::streams::running;
use super::{Body, Request, Server, answer, text};

/// Serves `/run`: the parameter `cmd` is the command, its words divided by spaces.
pub async fn run(
    server: &Server,
    request: &Request,
    (namespace, pod, uid, container): (&str, &str, &str, &str),
) -> Response<Body> {
    let container = match running(server, namespace, pod, uid, container) {
        Ok(container) => container,
        Err(refusal) => return *refusal,
    };
    let given = query(request).into_iter().find(|(key, _)| key == "cmd").map(|(_, value)| value);
    let command: Vec<String> = given.unwrap_or_default().split(' ').map(str::to_owned).collect();
    let words = command.join(" ");
    match server.shared.runtime.exec_sync(&container.id, command, Duration::ZERO).await {
        Ok(output) if output.exit_code == 0 => {
            let mut body = output.stdout;
            body.extend(output.stderr);
            answer(StatusCode::OK, "application/json", body)
        }
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let why = format!("command '{words}' exited with {}: {stderr}", output.exit_code);
            text(StatusCode::INTERNAL_SERVER_ERROR, &why)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Serves `/checkpoint`: who asks wrongly is told so, everybody else that the runtime has no such call, as upstream's kubelet
/// tells of one that has not.
pub fn checkpoint(
    server: &Server,
    request: &Request,
    (namespace, pod, container): (&str, &str, &str),
) -> Response<Body> {
    let Some(found) = server.pods.find(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let spec = &found.spec;
    let own = spec.containers.iter().chain(&spec.init_containers).any(|c| c.name == container);
    if !own && !spec.ephemeral_containers.iter().any(|c| c.name == container) {
        return text(StatusCode::NOT_FOUND, &format!("container {container} does not exist"));
    }
    let timeout = query(request).into_iter().rev().find(|(key, _)| key == "timeout").map(|(_, value)| value);
    if timeout.is_some_and(|value| value.parse::<i64>().is_err()) {
        return text(StatusCode::NOT_FOUND, "cannot parse value of timeout parameter");
    }
    let why = "rpc error: code = Unimplemented desc = unknown method CheckpointContainer for service \
               runtime.v1.RuntimeService";
    let why = format!("checkpointing of {namespace}/{pod}/{container} failed ({why})");
    text(StatusCode::INTERNAL_SERVER_ERROR, &why)
}
