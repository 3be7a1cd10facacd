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
    let Wish { mut selection, follow, previous, since_seconds } = match wish(&query(request)) {
        Ok(wish) => wish,
        Err((status, why)) => return text(status, why),
    };
    if let Some(seconds) = since_seconds {
        let since_ms = server.shared.env.unix_ms() - 1000 * seconds.min(1 << 32) as i64;
        let since = jiff::Timestamp::from_millisecond(since_ms).unwrap_or_default();
        selection.since = Some(format!("{since:.9}"));
    }
    let Some(pod) = server.pods.find(namespace, name) else {
        return text(StatusCode::NOT_FOUND, &format!("pod {name:?} does not exist"));
    };
    let spec = &pod.spec;
    let own = spec.containers.iter().chain(&spec.init_containers).any(|c| c.name == container);
    if !own && !spec.ephemeral_containers.iter().any(|c| c.name == container) {
        let why = format!("container {container:?} not found in pod {name:?}");
        return text(StatusCode::NOT_FOUND, &why);
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

/// What is wanted of a log.
#[derive(Debug, Default)]
struct Wish {
    selection: Selection,
    follow: bool,
    previous: bool,
    since_seconds: Option<u64>,
}

/// Reads the query; a refusal says no more than upstream's.
fn wish(query: &[(String, String)]) -> Result<Wish, (StatusCode, &'static str)> {
    const UNREADABLE: (StatusCode, &str) =
        (StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#);
    const INVALID: (StatusCode, &str) =
        (StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);
    let mut wish = Wish::default();
    let mut since_time = None;
    let old = query.iter().find(|(key, value)| key == "tail" && !value.is_empty()).map(|(_, value)| value);
    let tail = query.iter().find(|(key, _)| key == "tailLines").map(|(_, value)| value);
    let tail = old.or(tail).filter(|value| old.is_none() || *value != "all");
    let number = |value: &str, least: i64| -> Result<Option<u64>, (StatusCode, &'static str)> {
        if value.is_empty() {
            return Ok(None);
        }
        let number: i64 = value.parse().map_err(|_| UNREADABLE)?;
        if number < least {
            return Err(INVALID);
        }
        Ok(Some(number.unsigned_abs()))
    };
    for (key, value) in query {
        let flag = || !matches!(value.to_ascii_lowercase().as_str(), "false" | "0");
        match key.as_str() {
            "follow" => wish.follow = flag(),
            "previous" => wish.previous = flag(),
            "timestamps" => wish.selection.timestamps = flag(),
            "limitBytes" => wish.selection.limit_bytes = number(value, 1)?,
            "sinceSeconds" => wish.since_seconds = number(value, 1)?,
            "sinceTime" if !value.is_empty() => {
                let time: jiff::Timestamp = value.parse().map_err(|_| UNREADABLE)?;
                since_time = Some(format!("{time:.9}"));
            }
            "stream" if !matches!(value.as_str(), "All" | "Stdout" | "Stderr") => return Err(INVALID),
            "stream" => wish.selection.stream = Some(value.clone()).filter(|stream| stream != "All"),
            _ => {}
        }
    }
    if let Some(value) = tail {
        wish.selection.tail_lines = number(value, 0)?;
    }
    let both = since_time.is_some() && wish.since_seconds.is_some();
    if both || (wish.selection.stream.is_some() && wish.selection.tail_lines.is_some()) {
        return Err(INVALID);
    }
    wish.selection.since = since_time;
    Ok(wish)
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
    use super::super::route::parse_query;
    use super::*;
    use types::core::v1::{ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting};

    #[test]
    fn queries() {
        let told = |query: &str| wish(&parse_query(query)).map_err(|(status, _)| status.as_u16());
        let got =
            told("follow=true&previous=0&timestamps&tail=3&tailLines=5&limitBytes=7&sinceSeconds=9").unwrap();
        assert!(got.follow && !got.previous && got.selection.timestamps);
        assert_eq!((got.selection.tail_lines, got.selection.limit_bytes), (Some(3), Some(7)));
        assert_eq!((got.since_seconds, got.selection.stream), (Some(9), None));
        assert_eq!(told("tail=all&tailLines=5&stream=All").unwrap().selection.tail_lines, None);
        for (query, want) in [
            ("tailLines=x", 400),
            ("sinceTime=soon", 400),
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=0", 422),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422),
            ("stream=both", 422),
            ("stream=Stdout&tailLines=1", 422),
        ] {
            assert_eq!(told(query).unwrap_err(), want, "{query}");
        }
    }

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
