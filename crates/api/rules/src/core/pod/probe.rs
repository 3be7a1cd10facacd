//! Checks of probes and lifecycle hooks.

use super::{Scope, container};
use crate::Path;
use crate::check::{Errs, http_header, port_name};
use meta::IntOrString;
use types::core::v1::*;

const ONE_HANDLER: &str = "may not specify more than 1 handler type";

/// What probes and hooks can do.
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

/// What all probes have in common.
pub(super) fn probe(e: &mut Errs, at: &Path<'_>, p: &Probe) {
    let action = Handler {
        exec: p.exec.as_deref(),
        http: p.http_get.as_deref(),
        tcp: p.tcp_socket.as_deref(),
        grpc: p.grpc.as_deref(),
        sleep: None,
    };
    handler(e, at, &action, None);
    for (field, value) in [
        ("initialDelaySeconds", p.initial_delay_seconds),
        ("timeoutSeconds", p.timeout_seconds),
        ("periodSeconds", p.period_seconds),
        ("successThreshold", p.success_threshold),
        ("failureThreshold", p.failure_threshold),
    ] {
        e.non_negative(&at.child(field), value);
    }
    if let Some(seconds) = p.termination_grace_period_seconds.filter(|s| *s <= 0) {
        e.invalid(&at.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

/// Liveness and startup succeed with the first success.
pub(super) fn one_success(e: &mut Errs, at: &Path<'_>, p: &Probe) {
    if p.success_threshold != 1 {
        e.invalid(&at.child("successThreshold"), p.success_threshold, "must be 1");
    }
}

/// The hooks of a container.
pub(super) fn lifecycle(e: &mut Errs, at: &Path<'_>, l: &Lifecycle, scope: &Scope<'_>) {
    for (field, hook) in [("postStart", &l.post_start), ("preStop", &l.pre_stop)] {
        if let Some(hook) = hook {
            let action = Handler {
                exec: hook.exec.as_deref(),
                http: hook.http_get.as_deref(),
                tcp: hook.tcp_socket.as_deref(),
                grpc: None,
                sleep: hook.sleep.as_deref(),
            };
            handler(e, &at.child(field), &action, scope.grace_seconds);
        }
    }
    if let Some(signal) = &l.stop_signal {
        match scope.os {
            None => e.forbidden(
                &at.child("stopSignal"),
                "may not be set for containers with empty `spec.os.name`",
            ),
            Some("windows") => e.one_of(&at.child("stopSignal"), signal, &["SIGKILL", "SIGTERM"]),
            Some(_) if !signal.starts_with("SIG") => e.unsupported(&at.child("stopSignal"), signal, &[]),
            Some(_) => {}
        }
    }
}

fn handler(e: &mut Errs, at: &Path<'_>, h: &Handler<'_>, grace_seconds: Option<i64>) {
    let mut found = 0;
    let mut first = |e: &mut Errs, field: &str| {
        found += 1;
        if found > 1 {
            e.forbidden(&at.child(field), ONE_HANDLER);
        }
        found == 1
    };
    if let Some(exec) = h.exec
        && first(e, "exec")
        && exec.command.is_empty()
    {
        e.required(&at.child("exec").child("command"), "");
    }
    if let Some(http) = h.http
        && first(e, "httpGet")
    {
        http_get(e, &at.child("httpGet"), http);
    }
    if let Some(tcp) = h.tcp
        && first(e, "tcpSocket")
    {
        port(e, &at.child("tcpSocket").child("port"), &tcp.port);
    }
    if let Some(grpc) = h.grpc
        && first(e, "grpc")
    {
        container::number(e, &at.child("grpc").child("port"), grpc.port);
    }
    if let Some(sleep) = h.sleep
        && first(e, "sleep")
        && let Some(grace) = grace_seconds.filter(|g| sleep.seconds < 0 || sleep.seconds > *g)
    {
        e.invalid(
            &at.child("sleep"),
            sleep.seconds,
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        );
    }
    if found == 0 {
        e.required(at, "must specify a handler type");
    }
}

fn http_get(e: &mut Errs, at: &Path<'_>, http: &HTTPGetAction) {
    e.present(&at.child("path"), &http.path);
    port(e, &at.child("port"), &http.port);
    e.one_of(&at.child("scheme"), &http.scheme, &["HTTP", "HTTPS"]);
    for header in http.http_headers.iter() {
        e.each(&at.child("httpHeaders"), &header.name, http_header(&header.name));
    }
}

/// A port by number or by name.
pub(crate) fn port(e: &mut Errs, at: &Path<'_>, port: &IntOrString) {
    match port {
        IntOrString::Int(n) => container::number(e, at, *n),
        IntOrString::String(name) => e.each(at, name, port_name(name)),
    }
}
