//! TLS and who may use the kubelet's API: whoever has a right to the node's subresources, such as the API server by its
//! client certificate, and collectors of metrics by their tokens. The API server itself is asked ([`delegated`]).
//!
//! A path stands for a subresource of `nodes` (KEP-2862): `/metrics` for `nodes/metrics`, `/pods` for `nodes/pods` or
//! `nodes/proxy`, and everything without a name of its own for `nodes/proxy`.

use std::sync::Arc;
use std::time::Duration;

use delegated::{Access, Freshness, Refused, User, Wanted};
use http::{Response, StatusCode, header};
use rustls_pki_types::CertificateDer;
use serving::{Material, Pem};

use super::{Body, Request, text};
use crate::shared::Shared;

/// Certificates of the kubelet's API, and who may use it.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Serving certificates, versions and suites.
    pub serving: Material,
    /// CA of the certificates that clients show.
    pub client_ca: Pem,
    /// Who may use it.
    pub policy: Policy,
}

/// Who may use the kubelet's API: KubeletConfiguration's `authentication` and `authorization`.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether who shows nothing is somebody.
    pub anonymous: bool,
    /// Whether tokens are taken, which the API server reviews.
    pub tokens: bool,
    /// Whether the API server is asked what somebody may do; else everybody may do everything.
    pub webhook: bool,
    /// How long its answers are used again.
    pub freshness: Freshness,
}

impl Default for Policy {
    /// The defaults of upstream's configuration file.
    fn default() -> Self {
        let freshness = Freshness {
            token: Duration::from_secs(120),
            allowed: Duration::from_secs(300),
            denied: Duration::from_secs(30),
        };
        Policy { anonymous: false, tokens: true, webhook: true, freshness }
    }
}

/// Asks who may.
pub struct Guard {
    access: Arc<Access>,
    policy: Policy,
}

impl Guard {
    /// One that asks as the node.
    pub fn new(shared: &Shared, policy: Policy) -> Self {
        let (client, env) = (shared.client.clone(), shared.env.clone());
        let access = Access::new(client.clone(), client, env, policy.freshness, policy.anonymous);
        Guard { access, policy }
    }

    /// Lets a request in, or answers it.
    ///
    /// # Errors
    /// The answer to who may not.
    pub async fn admit(
        &self,
        node: &str,
        request: &Request,
        certificates: Option<&[CertificateDer<'_>]>,
    ) -> Result<(), Box<Response<Body>>> {
        let unauthorized = || Box::new(text(StatusCode::UNAUTHORIZED, "Unauthorized"));
        let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.filter(|_| self.policy.tokens);
        // Whether the review failed or said no, nobody is known; upstream tells neither.
        let user = self.access.identify(certificates, token).await.map_err(|_| unauthorized())?;
        if !self.policy.webhook {
            return Ok(());
        }
        let verb = verb(request.method().as_str());
        let subresources = subresources(request.uri().path());
        for subresource in subresources {
            let wanted = Wanted::Node { name: node.into(), subresource };
            match self.access.allows(&user, verb, wanted).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(Box::new(unanswered(&user, verb, subresource, &error))),
            }
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
            user.name,
            subresources.join(" ")
        );
        Err(Box::new(text(StatusCode::FORBIDDEN, &message)))
    }
}

fn unanswered(user: &User, verb: &str, subresource: &str, error: &Refused) -> Response<Body> {
    tracing::warn!(user = %user.name, verb, subresource, ?error, "cannot tell who may use the kubelet's API");
    let message = format!(
        "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})",
        user.name
    );
    text(StatusCode::INTERNAL_SERVER_ERROR, &message)
}

/// The API's verb for a method; one without a verb is nobody's right.
fn verb(method: &str) -> &'static str {
    const VERBS: [(&str, &str); 5] =
        [("GET", "get"), ("POST", "create"), ("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete")];
    VERBS.iter().find(|(known, _)| *known == method).map_or("", |(_, verb)| verb)
}

/// The subresources that a path stands for; a right to one of them is enough.
fn subresources(path: &str) -> &'static [&'static str] {
    let under =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match path {
        _ if under("/stats") => &["stats"],
        _ if under("/metrics") => &["metrics"],
        _ if under("/logs") => &["log"],
        _ if under("/checkpoint") => &["checkpoint"],
        _ if under("/statusz") => &["statusz"],
        _ if under("/flagz") => &["flagz"],
        _ if under("/healthz") => &["healthz", "proxy"],
        _ if under("/configz") => &["configz", "proxy"],
        _ if under("/pods") || under("/runningpods") => &["pods", "proxy"],
        _ => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_subresources() {
        for (path, want) in [
            ("/metrics", &["metrics"][..]),
            ("/metrics/cadvisor", &["metrics"]),
            ("/metricsx", &["proxy"]),
            ("/stats/summary", &["stats"]),
            ("/logs/", &["log"]),
            ("/pods", &["pods", "proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz/ping", &["healthz", "proxy"]),
            ("/exec/default/web/c", &["proxy"]),
            ("/", &["proxy"]),
        ] {
            assert_eq!(subresources(path), want, "{path}");
        }
        assert_eq!((verb("POST"), verb("GET"), verb("TRACE")), ("create", "get", ""));
    }
}
