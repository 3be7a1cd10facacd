//! Ingresses and IngressClasses.

use crate::check::{
    Errs, Messages, dns_1035_label, dns_label, dns_subdomain, domain_prefixed_path, ip, name_subdomain,
    port_name, port_number, wildcard_subdomain,
};
use crate::core::service::host_name;
use crate::fill::text_opt;
use crate::rule::{spec_and_status, spec_only};
use crate::{Context, Path, Rules, diff};
use types::core::v1::TypedLocalObjectReference;
use types::networking::v1::{
    Ingress, IngressBackend, IngressClass, IngressClassParametersReference, IngressSpec,
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER_CHARS_MAX: usize = 250;

impl Rules for Ingress {
    const REVALIDATES_METADATA: u8 = 1;
    spec_and_status!(generation);

    fn check(&self, e: &mut Errs, _cx: &Context) {
        spec(e, &self.spec);
    }

    fn check_update(&self, _old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        let balancer = status.child("loadBalancer");
        let list = balancer.child("ingress");
        for (i, ingress) in self.status.load_balancer.ingress.iter().enumerate() {
            let at = list.index(i);
            if !ingress.ip.is_empty() {
                ip::address(e, &at.child("ip"), &ingress.ip);
            }
            host_name(e, &at.child("hostname"), &ingress.hostname);
        }
    }

    fn status_warnings(&self) -> Vec<String> {
        let status = Path::root("status");
        let balancer = status.child("loadBalancer");
        let ips = self.status.load_balancer.ingress.iter().map(|ingress| &ingress.ip);
        ip::balancer_warnings(&balancer.child("ingress"), ips)
    }

    fn check_created(&self, e: &mut Errs) {
        // The old annotation and the field that replaced it may be set together only when they agree.
        if let (Some(old), Some(new)) =
            (self.metadata.annotations.get(CLASS_ANNOTATION), &self.spec.ingress_class_name)
            && old != new
        {
            let annotations = Path::root("annotations");
            e.invalid(
                &annotations.child(CLASS_ANNOTATION),
                old,
                "must match `ingressClassName` when both are specified",
            );
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut out = Vec::new();
        let only_annotated = self.spec.ingress_class_name.is_none()
            && self.metadata.annotations.contains_key(CLASS_ANNOTATION);
        if old.is_none() && only_annotated {
            out.push(format!(
                "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
        out
    }
}

fn spec(e: &mut Errs, spec: &IngressSpec) {
    let at = Path::root("spec");
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        e.invalid(&at, diff::shown_list(&spec.rules), "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(b) = &spec.default_backend {
        backend(e, &at.child("defaultBackend"), b);
    }
    rules(e, &at.child("rules"), spec);
    let list = at.child("tls");
    for (i, tls) in spec.tls.iter().enumerate() {
        let at = list.index(i);
        let hosts = at.child("hosts");
        for (i, host) in tls.hosts.iter().enumerate() {
            e.each(&hosts.index(i), host, host_messages(host));
        }
        if !tls.secret_name.is_empty() {
            e.each(&at.child("secretName"), &tls.secret_name, name_subdomain(&tls.secret_name, false));
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        e.each(&at.child("ingressClassName"), class, name_subdomain(class, false));
    }
}

fn host_messages(host: &str) -> Messages {
    if host.contains('*') { wildcard_subdomain(host) } else { dns_subdomain(host) }
}

fn rules(e: &mut Errs, list: &Path<'_>, spec: &IngressSpec) {
    const KINDS: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = list.index(i);
        if !rule.host.is_empty() {
            if ip::parse(&rule.host).is_some() {
                e.invalid(&at.child("host"), &rule.host, "must be a DNS name, not an IP address");
            }
            e.each(&at.child("host"), &rule.host, host_messages(&rule.host));
        }
        let Some(http) = &rule.http else { continue };
        let http_at = at.child("http");
        let paths = http_at.child("paths");
        if http.paths.is_empty() {
            e.required(&paths, "");
        }
        for (i, p) in http.paths.iter().enumerate() {
            let at = paths.index(i);
            match p.path_type.as_deref() {
                None => {
                    e.required(&at.child("pathType"), "pathType must be specified");
                    continue;
                }
                Some("Exact" | "Prefix") => strict_path(e, &at.child("path"), &p.path),
                Some("ImplementationSpecific") => {
                    if !p.path.is_empty() && !p.path.starts_with('/') {
                        e.invalid(&at.child("path"), &p.path, "must be an absolute path");
                    }
                }
                Some(other) => e.unsupported(&at.child("pathType"), other, &KINDS),
            }
            backend(e, &at.child("backend"), &p.backend);
        }
    }
}

fn strict_path(e: &mut Errs, at: &Path<'_>, path: &str) {
    if !path.starts_with('/') {
        e.invalid(at, path, "must be an absolute path");
    }
    for part in ["//", "/./", "/../", "%2f", "%2F"] {
        if path.contains(part) {
            e.invalid(at, path, format!("must not contain '{part}'"));
        }
    }
    for end in ["/..", "/."] {
        if path.ends_with(end) {
            e.invalid(at, path, format!("cannot end with '{end}'"));
        }
    }
}

fn backend(e: &mut Errs, at: &Path<'_>, b: &IngressBackend) {
    if b.service.is_some() && b.resource.is_some() {
        return e.invalid(at, "", "cannot set both resource and service backends");
    }
    if let Some(resource) = &b.resource {
        return local_reference(e, &at.child("resource"), resource);
    }
    let Some(service) = &b.service else {
        return e.invalid(at, "", "resource or service backend is required");
    };
    let backend_at = at;
    let at = at.child("service");
    if e.present(&at.child("name"), &service.name) {
        let old = dns_1035_label(&service.name);
        let messages = if old.is_empty() { old } else { dns_label(&service.name) };
        e.each(&at.child("name"), &service.name, messages);
    }
    let port_at = at.child("port");
    match (service.port.name.as_str(), service.port.number) {
        ("", 0) => e.required(backend_at, "port name or number is required"),
        ("", n) => {
            for message in port_number(n.into()) {
                e.invalid(&port_at.child("number"), n, message);
            }
        }
        (name, 0) => e.each(&port_at.child("name"), name, port_name(name)),
        _ => e.invalid(backend_at, "", "cannot set both port name & port number"),
    }
}

fn local_reference(e: &mut Errs, at: &Path<'_>, r: &TypedLocalObjectReference) {
    if let Some(group) = &r.api_group {
        e.each(&at.child("apiGroup"), group, dns_subdomain(group));
    }
    for (field, value, detail) in [("kind", &r.kind, ""), ("name", &r.name, "")] {
        if value.is_empty() {
            e.required(&at.child(field), detail);
        } else {
            e.each(&at.child(field), value, crate::check::path_segment(value, false));
        }
    }
}

impl Rules for IngressClass {
    const REVALIDATES_METADATA: u8 = 1;
    spec_only!();

    fn default(&mut self) {
        if let Some(parameters) = &mut self.spec.parameters {
            text_opt(&mut parameters.scope, "Cluster");
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let controller = at.child("controller");
        if self.spec.controller.len() > CONTROLLER_CHARS_MAX {
            e.too_long(&controller, CONTROLLER_CHARS_MAX);
        }
        domain_prefixed_path(e, &controller, &self.spec.controller);
        if let Some(p) = &self.spec.parameters {
            parameters(e, &at.child("parameters"), p);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        e.immutable(
            &Path::root("spec").child("controller"),
            &self.spec.controller,
            &old.spec.controller,
            || (&self.spec.controller).into(),
        );
        self.check(e, cx);
    }
}

fn parameters(e: &mut Errs, at: &Path<'_>, p: &IngressClassParametersReference) {
    if let Some(group) = p.api_group.as_ref() {
        e.each(&at.child("apiGroup"), group, dns_subdomain(group));
    }
    for (field, value) in [("kind", &p.kind), ("name", &p.name)] {
        if e.present(&at.child(field), value) {
            e.each(&at.child(field), value, crate::check::path_segment(value, false));
        }
    }
    let namespace_at = at.child("namespace");
    match (p.scope.as_deref(), p.namespace.as_deref()) {
        (None, _) => e.required(&at.child("scope"), ""),
        (Some("Cluster"), Some(_)) => {
            e.forbidden(&namespace_at, "`parameters.scope` is set to 'Cluster'");
        }
        (Some("Cluster"), None) => {}
        (Some("Namespace"), None) => e.required(&namespace_at, "`parameters.scope` is set to 'Namespace'"),
        (Some("Namespace"), Some(namespace)) => e.each(&namespace_at, namespace, dns_label(namespace)),
        (Some(other), _) => e.unsupported(&at.child("scope"), other, &["Cluster", "Namespace"]),
    }
}
