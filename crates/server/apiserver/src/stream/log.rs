//! `pods/log`: read from the kubelet of the pod's node, whose refusals become the API's.

use authz::Authorized;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use meta::{BadValue, FieldError, FieldErrorKind, Status, Time, reason};
use registry::errors;
use telemetry::Counter;

use super::backend::{BackendError, Host};
use super::kubelet::{backend, container, encode, pod};
use crate::answer::Answer;
use crate::http::body::Body;
use crate::http::query::Query;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Most bytes of a kubelet's refusal that are told on.
const REFUSAL_BYTES_MAX: usize = 50_000;
/// Outputs of a container that can be asked for.
const STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];

/// What is wanted of a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    unchecked_backend: bool,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    tail_lines: Option<i64>,
    limit_bytes: Option<i64>,
    stream: Option<String>,
}

impl Options {
    fn read(query: &Query) -> Result<Options, Status> {
        let integer = |key| query.integer(key).map_err(errors::bad_request);
        let since_time = match query.get("sinceTime") {
            None | Some("") => None,
            Some(text) => {
                let time = Time::parse(text).map_err(|error| errors::bad_request(format!("{error}")))?;
                Some(time.to_string())
            }
        };
        Ok(Options {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            unchecked_backend: query.flag("insecureSkipTLSVerifyBackend"),
            since_seconds: integer("sinceSeconds")?,
            since_time,
            tail_lines: integer("tailLines")?,
            limit_bytes: integer("limitBytes")?,
            stream: query.get("stream").map(str::to_owned),
        })
    }

    /// Upstream's ValidatePodLogOptions.
    fn check(&self, pod: &str) -> Result<(), Status> {
        let mut problems = Vec::new();
        let mut problem = |kind, field: &str, value, detail: &str| {
            problems.push(FieldError { kind, field: field.into(), value, detail: detail.into() });
        };
        let invalid = FieldErrorKind::Invalid;
        let plain = |number: i64| BadValue::Plain(number.to_string());
        if let Some(lines) = self.tail_lines.filter(|lines| *lines < 0) {
            problem(invalid, "tailLines", plain(lines), "must be greater than or equal to 0");
        }
        if let Some(bytes) = self.limit_bytes.filter(|bytes| *bytes < 1) {
            problem(invalid, "limitBytes", plain(bytes), "must be greater than 0");
        }
        if self.since_seconds.is_some() && self.since_time.is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            problem(FieldErrorKind::Forbidden, "[]", BadValue::Omitted, why);
        } else if let Some(seconds) = self.since_seconds.filter(|seconds| *seconds < 1) {
            problem(invalid, "sinceSeconds", plain(seconds), "must be greater than 0");
        }
        if let Some(stream) = &self.stream {
            if !STREAMS.contains(&stream.as_str()) {
                let known: Vec<String> = STREAMS.iter().map(|name| format!("{name:?}")).collect();
                let why = format!("supported values: {}", known.join(", "));
                problem(FieldErrorKind::NotSupported, "stream", BadValue::Text(stream.clone()), &why);
            }
            if stream != "All" && self.tail_lines.is_some() {
                let why = "`tailLines` and specific `stream` are mutually exclusive for now";
                problem(FieldErrorKind::Forbidden, "[]", BadValue::Omitted, why);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(errors::invalid("", "PodLogOptions", pod, problems)) }
    }

    /// The same for the kubelet, sorted by name.
    fn query(&self) -> String {
        let mut pairs = Vec::new();
        let number = |value: Option<i64>| value.map(|n| n.to_string());
        let flag = |set: bool| set.then(|| "true".to_owned());
        for (key, value) in [
            ("follow", flag(self.follow)),
            ("limitBytes", number(self.limit_bytes)),
            ("previous", flag(self.previous)),
            ("sinceSeconds", number(self.since_seconds)),
            ("sinceTime", self.since_time.clone()),
            ("stream", Some(self.stream.clone().unwrap_or_else(|| "All".into()))),
            ("tailLines", number(self.tail_lines)),
            ("timestamps", flag(self.timestamps)),
        ] {
            if let Some(value) = value {
                pairs.push(format!("{key}={}", encode(&value)));
            }
        }
        format!("?{}", pairs.join("&"))
    }
}

/// Serves it.
pub(crate) async fn log(
    server: &Server,
    _: &Authorized,
    decoded: &Decoded,
    mut request: Request<Incoming>,
) -> Result<Answer, Status> {
    server.metrics.logs.iter().for_each(Counter::inc);
    let options = Options::read(&decoded.query)?;
    options.check(&decoded.info.name)?;
    let pod = pod(server, decoded).await?;
    let container = container(&pod, decoded.query.get("container").unwrap_or_default())?;
    if pod.spec.node_name.is_empty() {
        // Nothing ran yet, so there is nothing to read; upstream answers an empty body.
        return Ok(Answer::Raw(no_content()));
    }
    let mut backend = backend(server, &pod.spec.node_name).await?;
    if options.unchecked_backend {
        backend.tls = server.kubelet_client.as_ref().map(|client| client.trusting());
    }
    let path = format!(
        "/containerLogs/{}/{}/{}{}",
        encode(&pod.metadata.namespace),
        encode(&pod.metadata.name),
        encode(&container),
        options.query()
    );
    let websocket = super::websocket::take(&mut request)?;
    let url = format!("https://{}{path}", backend.authority());
    let failed = |error: BackendError| {
        if matches!(error, BackendError::Tls(_)) {
            server.metrics.logs_distrusted.iter().for_each(Counter::inc);
        }
        errors::bare(format!("Get {url:?}: {error}"))
    };
    let mut response = backend.forward(request, &path, Host::Backend).await.map_err(failed)?;
    if !matches!(response.status().as_u16(), 200..=206) {
        let status = response.status();
        return Err(refusal(status, &told(response.into_body()).await, &pod.metadata.name));
    }
    if let Some(websocket) = websocket {
        return Ok(Answer::Raw(websocket.answer(response.into_body())));
    }
    let kind = header::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(Answer::Raw(response))
}

/// The beginning of a refusal's text.
async fn told(body: Body) -> String {
    let (mut text, mut chunks) = (Vec::new(), body.into_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes = chunk;
        let room = REFUSAL_BYTES_MAX - text.len();
        text.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if text.len() == REFUSAL_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A kubelet's refusal as the API's: its words where it failed or was asked wrongly, and only that it refused otherwise.
fn refusal(status: StatusCode, text: &str, pod: &str) -> Status {
    let code = i32::from(status.as_u16());
    let (reason, what) = match code {
        400 => return errors::bad_request(text),
        500 => return errors::internal(text),
        401 => {
            (reason::UNAUTHORIZED, "the server has asked for the client to provide credentials".to_owned())
        }
        403 => (reason::FORBIDDEN, text.to_owned()),
        404 => (reason::NOT_FOUND, "the server could not find the requested resource".to_owned()),
        405 => {
            let why = "the server does not allow this method on the requested resource";
            (reason::METHOD_NOT_ALLOWED, why.to_owned())
        }
        422 => {
            let why = "the server rejected our request due to an error in our request";
            (reason::INVALID, why.to_owned())
        }
        503 => {
            let why = "the server is currently unable to handle the request";
            (reason::SERVICE_UNAVAILABLE, why.to_owned())
        }
        501.. => {
            let text = meta::go_quote(text);
            let why = format!("an error on the server ({text}) has prevented the request from succeeding");
            (reason::INTERNAL_ERROR, why)
        }
        code => {
            let why = format!(
                "the server responded with the status code {code} but did not return more information"
            );
            ("", why)
        }
    };
    let mut status = errors::failure(code, reason, format!("{what} ( pods/log {pod})"));
    let details = status.details_mut();
    details.kind = "pods/log".into();
    details.name = pod.into();
    status
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Options {
        Options::read(&Query::parse(query)).unwrap()
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (query, want) in [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            (
                "sinceSeconds=0&sinceTime=2026-01-01T00:00:00Z",
                "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
            (
                "stream=both",
                "stream: Unsupported value: \"both\": supported values: \"All\", \"Stderr\", \"Stdout\"",
            ),
            (
                "stream=Stdout&tailLines=1",
                "[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now",
            ),
        ] {
            let refused = options(query).check("p").unwrap_err();
            assert_eq!(refused.code, 422);
            let message = refused.message.as_str();
            assert_eq!(message, format!("PodLogOptions \"p\" is invalid: {want}"), "{query}");
        }
        assert!(options("tailLines=0&limitBytes=1&sinceSeconds=1&stream=All").check("p").is_ok());
        let unreadable = Options::read(&Query::parse("sinceTime=soon")).unwrap_err();
        assert_eq!((unreadable.code, unreadable.reason.as_str()), (400, "BadRequest"));
        assert!(unreadable.message.contains("cannot parse \"soon\" as \"2006\""), "{}", unreadable.message);
    }

    #[test]
    fn kubelets_get_what_was_understood() {
        for (query, want) in [
            ("", "?stream=All"),
            ("follow&previous=yes&timestamps=0&container=c&x=y", "?follow=true&previous=true&stream=All"),
            ("sinceTime=2026-01-01T01:00:00.5%2B01:00", "?sinceTime=2026-01-01T00%3A00%3A00Z&stream=All"),
        ] {
            assert_eq!(options(query).query(), want, "{query}");
        }
    }

    #[test]
    fn refusals_of_kubelets_are_the_apis() {
        let waiting = "container \"c\" in pod \"p\" is waiting to start: ContainerCreating";
        let of = |code, text| refusal(StatusCode::from_u16(code).unwrap(), text, "p");
        assert_eq!(of(400, waiting), errors::bad_request(waiting));
        assert_eq!(of(500, "broken").message.as_str(), "Internal error occurred: broken");
        let absent = of(404, "pod \"p\" does not exist");
        assert_eq!(absent.message.as_str(), "the server could not find the requested resource ( pods/log p)");
        assert_eq!((absent.reason.as_str(), absent.code), ("NotFound", 404));
        let odd = of(418, "");
        assert!(
            odd.message.starts_with("the server responded with the status code 418 but"),
            "{}",
            odd.message
        );
    }
}
