//! A request's way through the server, as one readable list.
//!
//! `decode → identify → impersonate → flow → authorize → perform → write`. Each stage takes what the one before it
//! made; the types [`authn::Identified`] and [`authz::Authorized`] are the proofs that none was left out. Admission and
//! the commit lie behind `perform`, in [`registry`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use authn::{Credentials, Identified, Impersonation};
use authz::{Attributes, Authorized};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use meta::Status;

use crate::answer::{Answer, Writer, write};
use crate::endpoints;
use crate::http::body::Body;
use crate::http::info::RequestInfo;
use crate::http::query::{Query, decode};
use crate::metrics::{Routed, Stage};
use crate::serve::listen::{Connection, Service};
use crate::server::Server;
use crate::stream::websocket;

/// Longest time that a request which is not long-running may take (`--request-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a request may take that does not run long: what it asks for itself, up to the server's own limit. `0s` asks
/// for nothing.
fn time_for(query: &Query) -> Result<Duration, Status> {
    let Some(text) = query.get("timeout").filter(|text| !text.is_empty()) else { return Ok(REQUEST_TIMEOUT) };
    let wanted = meta::Duration::parse(text).map_err(|why| {
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    Ok(Some(wanted.to_std())
        .filter(|wanted| !wanted.is_zero())
        .map_or(REQUEST_TIMEOUT, |w| w.min(REQUEST_TIMEOUT)))
}

/// How much is read of the body of a refused request.
const DRAINED_BYTES_MAX: usize = 64 << 10;
/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// A request line that was understood; headers and body are still to come.
pub(crate) struct Decoded {
    /// Percent-decoded path.
    pub path: String,
    /// Parameters.
    pub query: Query,
    /// What is asked.
    pub info: RequestInfo,
    /// Headers of the request.
    pub headers: HeaderMap,
    /// HTTP method.
    pub method: http::Method,
    /// The other end of the connection.
    pub peer: std::net::SocketAddr,
    /// Path and query as sent.
    pub uri: Option<PathAndQuery>,
    /// Id of the request in the audit log and in the answer.
    pub audit_id: String,
    /// What the audit log is told of the request, once its user is known, if anything.
    pub record: OnceLock<Arc<::audit::Record>>,
    /// What route was found, by which the request is counted.
    pub routed: OnceLock<Routed>,
    /// Length of the body, once it was read.
    pub body_bytes: OnceLock<usize>,
    /// Time of the request that others took.
    pub elsewhere: Elsewhere,
    /// No credential held: the audit log is told once, and otherwise than of other refusals.
    pub unauthenticated: OnceLock<()>,
}

/// Time of a request that is not the server's own: webhooks took it, or those who had all the seats.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere(AtomicU64);

impl Elsewhere {
    /// So much more.
    pub(crate) fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All of it.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Decoded {
    /// What the audit log is told of the request, if anything.
    pub(crate) fn record(&self) -> Option<&::audit::Record> {
        self.record.get().map(|record| &**record)
    }

    /// A header's text; empty when it is absent or no text.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The attributes that authorization asks for.
    pub(crate) fn attributes(&self) -> Attributes {
        let info = &self.info;
        if !info.is_resource {
            // Methods that HTTP does not know are verbs of paths as well.
            return Attributes::path(&self.method.as_str().to_lowercase(), &self.path);
        }
        let mut attributes = Attributes {
            verb: info.verb.into(),
            is_resource: true,
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            path: self.path.as_str().into(),
            ..Attributes::default()
        };
        if matches!(info.verb, "list" | "watch" | "deletecollection") {
            let parameter = |name: &str| self.query.get(name).unwrap_or_default();
            attributes.select(parameter("fieldSelector"), parameter("labelSelector"));
        }
        attributes
    }
}

impl Service for Server {
    async fn serve(
        self: Arc<Self>,
        connection: Arc<Connection>,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        let started = Instant::now();
        let decoded = self.decode(&connection, &request);
        self.forget_asserted(&mut request);
        let writer = Writer::new(&decoded, decoded.audit_id.clone(), started);
        let long_running = decoded.info.long_running(&decoded.path);
        let _running = (!long_running).then(|| self.metrics.begin(decoded.info.verb));
        let mut told = HeaderMap::new();
        let websocket = match decoded.info.verb {
            "watch" => websocket::take(&mut request),
            _ => Ok(None),
        };
        let handled = self.handle(&connection, &decoded, request, &mut told);
        let answer = match time_for(&decoded.query) {
            _ if long_running => handled.await,
            Err(status) => {
                drop(handled);
                Answer::Refused(status)
            }
            Ok(time) => match tokio::time::timeout(time, handled).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.metrics.terminated(&decoded, StatusCode::GATEWAY_TIMEOUT);
                    Answer::Refused(Status::timeout(
                        "request did not complete within the allotted timeout",
                        0,
                    ))
                }
            },
        };
        let refusal = decoded.record.get().and_then(|_| answer.refusal().cloned());
        let mut response = write(answer, &writer, &self.shared);
        match websocket {
            Ok(Some(websocket)) if response.status() == StatusCode::OK => {
                response = websocket.answer_events(response.into_body());
            }
            // An upgrade that cannot be made is refused only to those who may ask.
            Err(status) if response.status() == StatusCode::OK => {
                response = write(Answer::Refused(status), &writer, &self.shared);
            }
            _ => {}
        }
        response.headers_mut().extend(told);
        if let Some(record) = decoded.record.get() {
            response = match decoded.unauthenticated.get() {
                Some(()) => crate::audit::refuse(record, response).await,
                None => crate::audit::end(record, response, refusal.as_ref(), long_running).await,
            };
        }
        self.count(&decoded, response, started)
    }
}

/// Reads what is still to come of a small body that nobody wants. A stream that is reset while its client still sends is an
/// error to some clients of HTTP/2, although they have their answer; and a connection of HTTP/1 with a rest on it is closed,
/// which clients find out with their next request. One that asks before it sends is not told to send.
pub(crate) async fn drain(request: Request<Incoming>) {
    use http_body::Body as _;
    let body = request.body();
    let long = body.size_hint().exact().is_some_and(|bytes| bytes > DRAINED_BYTES_MAX as u64);
    if body.is_end_stream() || long || request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut body = request.into_body();
    let reading = async {
        let mut left = DRAINED_BYTES_MAX;
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
        }
    };
    // What comes too slowly does not come at all.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}

impl Server {
    /// Counts a request that has its answer, or that begins to have one.
    fn count(&self, decoded: &Decoded, response: Response<Body>, started: Instant) -> Response<Body> {
        let Some(finish) = self.metrics.finish(decoded, response.status(), started) else { return response };
        match response.body().length() {
            Some(bytes) => {
                finish.answered(bytes as u64);
                response
            }
            // A stream is over when it ends, or when its client goes away.
            None => {
                let long_running = decoded.info.long_running(&decoded.path);
                let open = long_running.then(|| self.metrics.open(decoded));
                response.map(|body| body.keeping((finish, open)))
            }
        }
    }

    fn decode(&self, connection: &Connection, request: &Request<Incoming>) -> Decoded {
        let path = decode(request.uri().path(), false);
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = RequestInfo::parse(request.method(), &path, &query);
        Decoded {
            path,
            query,
            info,
            headers: request.headers().clone(),
            method: request.method().clone(),
            peer: connection.peer,
            uri: request.uri().path_and_query().cloned(),
            audit_id: self.next_audit_id(),
            record: OnceLock::new(),
            routed: OnceLock::new(),
            body_bytes: OnceLock::new(),
            elsewhere: Elsewhere::default(),
            unauthenticated: OnceLock::new(),
        }
    }

    /// Takes the headers by which proxies name users out of what goes on: nobody behind this server shall believe them.
    fn forget_asserted(&self, request: &mut Request<Incoming>) {
        let tls = self.tls.load();
        let own = |name: &&header::HeaderName| tls.request_header().is_own(name.as_str());
        let names: Vec<header::HeaderName> = request.headers().keys().filter(own).cloned().collect();
        for name in names {
            request.headers_mut().remove(name);
        }
    }

    /// `told` are headers for the answer, whatever it will be.
    async fn handle(
        &self,
        connection: &Connection,
        decoded: &Decoded,
        request: Request<Incoming>,
        told: &mut HeaderMap,
    ) -> Answer {
        match self.admit(connection, decoded).await {
            Ok((authorized, seat)) => {
                if let Some(seat) = &seat {
                    crate::flow::tell(seat, told);
                }
                endpoints::route(self, authorized, decoded, request).await
            }
            Err(refused) => {
                drain(request).await;
                refused
            }
        }
    }

    /// The stages that look at who asks.
    async fn admit(
        &self,
        connection: &Connection,
        decoded: &Decoded,
    ) -> Result<(Authorized, Option<flow::Seat>), Answer> {
        let begun = Instant::now();
        let identified = self.identify(connection, decoded).await;
        let at = self.metrics.stage(Stage::Authentication, begun);
        let nobody = authn::User::default();
        let user = identified.as_ref().map_or(&nobody, |identified| identified.user());
        if let Some(record) = crate::audit::begin(self, connection, decoded, user) {
            let record = decoded.record.get_or_init(|| record);
            if identified.is_err() {
                decoded.unauthenticated.get_or_init(|| ());
                record.unauthenticated(&crate::audit::attempted(connection, decoded));
            } else if !record.tell(::audit::Stage::RequestReceived).await {
                return Err(Status::internal_error("failed to store audit event").into());
            }
        }
        let at = self.metrics.stage(Stage::Audit, at);
        let identified = identified?;
        let acting = self.impersonate(identified, decoded).await?;
        let at = self.metrics.stage(Stage::Impersonation, at);
        if let Some(record) = decoded.record().filter(|_| acting.method() == authn::Method::Impersonated) {
            record.impersonated(acting.user());
        }
        let seat = self.enter(&acting, decoded).await?;
        let at = self.metrics.stage(Stage::Flow, at);
        let authorized = self.authorizer.authorize(acting, decoded.attributes()).await;
        self.metrics.stage(Stage::Authorization, at);
        let authorized = authorized.map_err(|refused| {
            crate::audit::decision(decoded.record(), false, &refused.reason);
            if refused.error.is_empty() {
                Answer::Refused(refusal(&refused))
            } else {
                failure(decoded, &refused.error)
            }
        })?;
        crate::audit::decision(decoded.record(), true, authorized.reason());
        Ok((authorized, seat))
    }

    async fn identify(&self, connection: &Connection, decoded: &Decoded) -> Result<Identified, Status> {
        let authorization = decoded.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let websocket = crate::http::media::websocket_token(decoded.header(header::SEC_WEBSOCKET_PROTOCOL));
        let from_protocol = websocket.map(|token| format!("Bearer {token}"));
        let now_s = self.now_s().unsigned_abs();
        if let Some(left_s) = connection.certificate_left_s(now_s) {
            self.metrics.client_certificates.observe(left_s as f64);
        }
        let judged = connection.verdict(now_s);
        let (tls, verdict) = &*judged;
        let asserted = verdict.proxy.then(|| {
            let headers = decoded.headers.iter().filter_map(|(k, v)| Some((k.as_str(), v.to_str().ok()?)));
            tls.request_header().user(&headers.collect::<Vec<_>>())
        });
        let asserted = asserted.flatten();
        let credentials = Credentials {
            asserted: asserted.as_ref(),
            certificate: &verdict.certificate,
            authorization: authorization.or(from_protocol.as_deref()),
        };
        let identified = self.authenticator.identify(credentials, &decoded.path, self.now_s()).await;
        identified.map_err(|_| Status::unauthorized("Unauthorized"))
    }

    /// Takes over another identity, once the authorizer allowed every part of it.
    async fn impersonate(&self, identified: Identified, decoded: &Decoded) -> Result<Identified, Status> {
        let headers = decoded.headers.iter().filter_map(|(k, v)| Some((k.as_str(), v.to_str().ok()?)));
        let wanted = Impersonation::from_headers(headers).map_err(|e| Status::bad_request(e.to_string()))?;
        let Some(wanted) = wanted else { return Ok(identified) };
        let request = decoded.attributes();
        self.impersonator.take_over(&self.authorizer, &identified, wanted, &request).await
    }
}

/// The 500 for a request that no authorizer allowed and some could not decide: plain text, as upstream answers it.
fn failure(decoded: &Decoded, error: &str) -> Answer {
    let uri = decoded.uri.as_ref().map_or("", PathAndQuery::as_str);
    let uri = meta::go_quote(&uri.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
    let text = format!("Internal Server Error: {uri}: {error}\n");
    Answer::Text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text.into())
}

/// The 403 of an authorizer's refusal.
pub(crate) fn refusal(refused: &authz::Forbidden) -> Status {
    let a = &refused.attributes;
    let resource = meta::GroupResource::new(a.group.clone(), a.resource.clone());
    Status::forbidden(&resource, &a.name, refused.explanation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_it_may_take() {
        let bad = "invalid timeout specified in the request URL - time: ";
        for (query, wanted) in [
            ("", Ok(60_000)),
            ("timeout=", Ok(60_000)),
            ("timeout=0s", Ok(60_000)),
            ("timeout=-1s", Ok(60_000)),
            ("timeout=1500ms", Ok(1500)),
            ("timeout=2h", Ok(60_000)),
            ("timeout=5", Err(format!("{bad}missing unit in duration \"5\""))),
            ("timeout=soon", Err(format!("{bad}invalid duration \"soon\""))),
        ] {
            let got = time_for(&Query::parse(query)).map(|time| time.as_millis());
            assert_eq!(got.map_err(|status| status.message.to_string()), wanted, "{query}");
        }
    }
}
