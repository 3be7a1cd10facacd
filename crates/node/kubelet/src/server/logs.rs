//! `/containerLogs`: which container's log, and from where to where.

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::sync::mpsc;
use types::core::v1::{ContainerStatus, Pod};

use super::follow::{Follow, Selection};
use super::route::query;
use super::{Body, Request, Server, streamed, text};

/// Serves a log.
pub fn serve(
    server: &Server,
    request: &Request,
    namespace: &str,
    name: &str,
    container: &str,
) -> Response<Body> {
    let Some(pod) = server.pods.find(namespace, name) else {
        return text(StatusCode::NOT_FOUND, &format!("pod \"{name}\" does not exist\n"));
    };
    let (mut selection, mut follow, mut previous) = (Selection::default(), false, false);
    for (key, value) in query(request) {
        let flag = || matches!(value.as_str(), "true" | "1");
        let bad =
            |why: &str| text(StatusCode::BAD_REQUEST, &format!("{{\"message\": \"invalid {key}: {why}\"}}"));
        match key.as_str() {
            "follow" => follow = flag(),
            "previous" => previous = flag(),
            "timestamps" => selection.timestamps = flag(),
            "stream" => selection.stream = Some(value.clone()).filter(|s| s != "All"),
            "tailLines" | "limitBytes" | "sinceSeconds" => match value.parse::<u64>() {
                Ok(number) if key == "tailLines" => selection.tail_lines = Some(number),
                Ok(number) if key == "limitBytes" => selection.limit_bytes = Some(number),
                Ok(number) => {
                    let since_ms = server.shared.env.unix_ms() - 1000 * number.min(1 << 32) as i64;
                    let since = jiff::Timestamp::from_millisecond(since_ms).unwrap_or_default();
                    selection.since = Some(format!("{since:.9}"));
                }
                Err(_) => return bad("must be a number"),
            },
            "sinceTime" => match value.parse::<jiff::Timestamp>() {
                Ok(time) => selection.since = Some(format!("{time:.9}")),
                Err(_) => return bad("must be a time in RFC 3339"),
            },
            _ => {}
        }
    }
    let id = match which(&pod, container, previous) {
        Ok(id) => id,
        Err(why) => return text(StatusCode::BAD_REQUEST, &why),
    };
    let Ok(have) = server.shared.runtime.container(&id) else {
        return text(
            StatusCode::BAD_REQUEST,
            &format!("unable to retrieve container logs for {}://{id}", server.shared.runtime.name()),
        );
    };
    let (parts_tx, parts) = mpsc::channel::<Bytes>(16);
    let job = Follow { path: have.log_path.clone(), selection, out: parts_tx };
    let runtime = server.shared.runtime.clone();
    env::spawn_detached("log-reader", async move {
        let ended = async move {
            if follow {
                let _ = runtime.wait_container(&id).await;
            }
        };
        job.run(ended).await;
    });
    streamed("text/plain", parts)
}

/// The id of the container whose log is meant.
fn which(pod: &Pod, container: &str, previous: bool) -> Result<String, String> {
    let name = &pod.metadata.name;
    let status = &pod.status;
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .chain(&status.ephemeral_container_statuses);
    let status: &ContainerStatus = all
        .into_iter()
        .find(|s| s.name == container)
        .ok_or_else(|| format!("container \"{container}\" in pod \"{name}\" is not available"))?;
    let bare = |id: &str| id.split_once("://").map(|(_, id)| id.to_owned()).filter(|id| !id.is_empty());
    let last = status.last_state.terminated.as_ref().and_then(|t| bare(&t.container_id));
    if previous {
        return last.ok_or_else(|| {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        });
    }
    if status.state.running.is_some() {
        return bare(&status.container_id)
            .ok_or_else(|| format!("container \"{container}\" in pod \"{name}\" has no id"));
    }
    if let Some(ended) = &status.state.terminated {
        let id = bare(&ended.container_id).or(last);
        return id.ok_or_else(|| format!("container \"{container}\" in pod \"{name}\" is terminated"));
    }
    if let Some(id) = last {
        return Ok(id);
    }
    let waits = status.state.waiting.as_ref().map_or("", |w| w.reason.as_str());
    let why = match waits {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        "" => {
            return Err(format!(
                "container \"{container}\" in pod \"{name}\" is waiting to start - no logs yet"
            ));
        }
        reason => reason,
    };
    Err(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::{ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting};

    #[test]
    fn which_container() {
        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        let mut status = ContainerStatus {
            name: "a".into(),
            container_id: "ferrokube://now".into(),
            ..Default::default()
        };
        let check = |status: &ContainerStatus, previous| {
            let mut pod = pod.clone();
            pod.status.container_statuses.push(status.clone());
            which(&pod, "a", previous)
        };
        assert_eq!(which(&pod, "a", false).unwrap_err(), "container \"a\" in pod \"p\" is not available");
        status.state.running = Some(Box::new(ContainerStateRunning::default()));
        assert_eq!(check(&status, false).unwrap(), "now");
        assert!(check(&status, true).unwrap_err().starts_with("previous terminated"));
        status.state.running = None;
        let waiting = ContainerStateWaiting { reason: "ErrImagePull".into(), ..Default::default() };
        status.state.waiting = Some(Box::new(waiting));
        assert!(check(&status, false).unwrap_err().ends_with("waiting to start: image can't be pulled"));
        let ended = ContainerStateTerminated { container_id: "ferrokube://old".into(), ..Default::default() };
        status.last_state.terminated = Some(Box::new(ended));
        assert_eq!(check(&status, false).unwrap(), "old");
        assert_eq!(check(&status, true).unwrap(), "old");
    }
}
