//! What a path and method ask for, before anybody looks at tables of kinds.
//!
//! `/apis/apps/v1/namespaces/x/deployments/y/scale` is verb `get`, group `apps`, version `v1`, namespace `x`, resource
//! `deployments`, name `y`, subresource `scale`. The result feeds authorization, so every request gets one, also
//! those that no route will serve.

use http::Method;
use meta::Str;

use super::query::Query;

/// The parsed request line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether this is about a resource; all else is a plain path.
    pub is_resource: bool,
    /// API verb for resources, lower-case method for paths.
    pub verb: &'static str,
    /// API group, empty for core.
    pub group: Str,
    /// API version.
    pub version: Str,
    /// Namespace or empty.
    pub namespace: Str,
    /// Plural resource.
    pub resource: Str,
    /// Subresource or empty.
    pub subresource: Str,
    /// Object name or empty.
    pub name: Str,
    /// What follows the subresource, with its leading slash; only proxies have any.
    pub rest: String,
    /// Whether the deprecated `/watch/` prefix was used.
    pub watch_prefix: bool,
}

impl RequestInfo {
    /// Reads a request line. `path` is percent-decoded.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = RequestInfo { verb: lower(method), ..RequestInfo::default() };
        let whole: Vec<&str> = path.trim_matches('/').split('/').collect();
        let mut parts = &whole[..];
        if parts.len() < 3 {
            return info;
        }
        match parts[0] {
            "api" => parts = &parts[1..],
            "apis" if parts.len() >= 4 => {
                info.group = parts[1].into();
                parts = &parts[2..];
            }
            _ => return info,
        }
        info.version = parts[0].into();
        parts = &parts[1..];
        info.is_resource = true;
        info.verb = verb(method);
        if matches!(parts[0], "watch" | "proxy") && parts.len() >= 2 {
            info.watch_prefix = parts[0] == "watch";
            info.verb = if info.watch_prefix { "watch" } else { "proxy" };
            parts = &parts[1..];
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = parts[1].into();
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts = &parts[2..];
            }
        }
        info.resource = parts[0].into();
        info.name = parts.get(1).copied().unwrap_or_default().into();
        if !matches!(info.verb, "watch" | "proxy") || !info.watch_prefix {
            info.subresource = parts.get(2).copied().unwrap_or_default().into();
        }
        if parts.len() > 3 {
            // Empty segments and a trailing slash belong to what is proxied.
            let skip = whole.len() - parts.len() + 3;
            let tail: Vec<&str> = path.trim_start_matches('/').splitn(skip + 1, '/').collect();
            info.rest = format!("/{}", tail.get(skip).copied().unwrap_or_default());
        } else if parts.len() == 3 && path.ends_with('/') {
            info.rest = "/".to_owned();
        }
        info.refine(query);
        info
    }

    fn refine(&mut self, query: &Query) {
        if self.name.is_empty() && self.verb == "get" {
            self.verb = if query.flag("watch") { "watch" } else { "list" };
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection";
        }
        if self.name.is_empty() && matches!(self.verb, "list" | "watch" | "deletecollection") {
            // A collection narrowed to one name is authorized like that object.
            let selector = query.get("fieldSelector").unwrap_or_default();
            for term in selector.split(',') {
                if let Some((key, value)) = term.split_once('=')
                    && key == "metadata.name"
                {
                    let value = value.strip_prefix('=').unwrap_or(value);
                    if !value.is_empty() && !value.contains('/') {
                        self.name = value.into();
                    }
                }
            }
        }
    }

    /// Whether the request keeps its connection busy for as long as the client likes; such requests are neither
    /// counted in flight nor timed out.
    pub fn long_running(&self, path: &str) -> bool {
        if !self.is_resource {
            return path.starts_with("/debug/pprof");
        }
        matches!(self.verb, "watch" | "proxy")
            || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::TRACE => "trace",
        Method::CONNECT => "connect",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        // method, path and query, then verb group/version namespace resource/name/subresource rest
        let table = [
            ("GET", "/api/v1/namespaces", "list /v1  namespaces// "),
            ("GET", "/api/v1/namespaces/a", "get /v1 a namespaces/a/ "),
            ("PUT", "/api/v1/namespaces/a/finalize", "update /v1 a namespaces/a/finalize "),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", "watch /v1 a pods// "),
            ("GET", "/apis/apps/v1/namespaces/a/deployments/d/scale", "get apps/v1 a deployments/d/scale "),
            ("DELETE", "/api/v1/nodes", "deletecollection /v1  nodes// "),
            ("GET", "/api/v1/watch/namespaces/a/pods/p", "watch /v1 a pods/p/ "),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dp", "list /v1  pods/p/ "),
            ("GET", "/api/v1/namespaces/a/pods/p/proxy/x/y/", "get /v1 a pods/p/proxy /x/y/"),
        ];
        for (method, uri, expected) in table {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let info = RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query));
            let found = format!(
                "{} {}/{} {} {}/{}/{} {}",
                info.verb,
                info.group,
                info.version,
                info.namespace,
                info.resource,
                info.name,
                info.subresource,
                info.rest
            );
            assert_eq!(found, expected, "{uri}");
        }
        for path in ["/", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/x/y/z/w"] {
            assert!(!RequestInfo::parse(&Method::GET, path, &Query::default()).is_resource, "{path}");
        }
    }
}
