//! Pods, and the pod specs inside templates of workloads.
//!
//! [`check_spec`] walks a pod spec in the order in which upstream reports errors; its parts are one file each.

mod app_armor;
pub(crate) mod container;
pub(crate) mod default;
mod disabled;
mod env;
mod kind;
mod mounts;
mod overlaps;
mod prepare;
pub(crate) mod probe;
mod resize;
pub(crate) mod resources;
pub(crate) mod scheduling;
mod security;
mod status;
mod status_resources;
pub(crate) mod template;
mod update;
pub(crate) mod volume;
pub(crate) mod warnings;

pub(crate) use disabled::drop_disabled;

use crate::check::{Errs, dns_label, dns_subdomain_underscore, ip, labels, name_subdomain, qualified_name};
use crate::{Context, Path};
use meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use types::core::v1::*;

/// What the checks of containers need to know of their pod.
pub(crate) struct Scope<'a> {
    cx: &'a Context,
    volumes: BTreeMap<&'a str, &'a Volume>,
    claims: BTreeSet<&'a str>,
    grace_seconds: Option<i64>,
    restart_policy: &'a str,
    host_users: bool,
    os: Option<&'a str>,
}

/// Checks a pod spec. `meta` is that of the pod, absent for templates.
pub(crate) fn check_spec(
    e: &mut Errs,
    at: &Path<'_>,
    spec: &PodSpec,
    meta: Option<&ObjectMeta>,
    cx: &Context,
) {
    if spec.termination_grace_period_seconds.is_none() {
        e.required(&at.child("terminationGracePeriodSeconds"), "");
    }
    let scope = Scope {
        cx,
        volumes: volume::volumes(e, &at.child("volumes"), &spec.volumes, meta),
        claims: spec.resource_claims.iter().map(|c| c.name.as_str()).filter(|n| !n.is_empty()).collect(),
        grace_seconds: spec.termination_grace_period_seconds,
        restart_policy: &spec.restart_policy,
        host_users: spec.host_users != Some(false),
        os: spec.os.as_ref().map(|os| os.name.as_str()).filter(|os| !os.is_empty()),
    };
    claims(e, &at.child("resourceClaims"), spec);
    container::regular(e, &at.child("containers"), spec, &scope);
    container::init(e, &at.child("initContainers"), spec, &scope);
    container::ephemeral(e, &at.child("ephemeralContainers"), spec, &scope);
    resources::pod(e, &at.child("resources"), spec, &scope.claims);
    host_network_ports(e, at, spec, meta.is_some());
    e.required_one_of(&at.child("restartPolicy"), &spec.restart_policy, &["Always", "OnFailure", "Never"]);
    e.required_one_of(
        &at.child("dnsPolicy"),
        &spec.dns_policy,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    labels::labels(e, &at.child("nodeSelector"), &spec.node_selector);
    security::pod(e, &at.child("securityContext"), spec);
    if let Some(affinity) = &spec.affinity {
        scheduling::affinity(e, &at.child("affinity"), affinity);
    }
    dns(e, &at.child("dnsConfig"), spec);
    let gates = at.child("readinessGates");
    for (i, gate) in spec.readiness_gates.iter().enumerate() {
        e.each(
            &gates.index(i).child("conditionType"),
            &gate.condition_type,
            qualified_name(&gate.condition_type),
        );
    }
    scheduling::gates(e, &at.child("schedulingGates"), &spec.scheduling_gates);
    scheduling::spreading(e, &at.child("topologySpreadConstraints"), &spec.topology_spread_constraints);
    security::host_process(e, at, spec, &scope);
    security::host_users(e, at, spec);
    names(e, at, spec);
    scheduling::tolerations(e, &at.child("tolerations"), &spec.tolerations);
    let aliases = at.child("hostAliases");
    for (i, alias) in spec.host_aliases.iter().enumerate() {
        let at = aliases.index(i);
        ip::address(e, &at.child("ip"), &alias.ip);
        let list = at.child("hostnames");
        for (i, name) in alias.hostnames.iter().enumerate() {
            e.each(&list.index(i), name, crate::check::dns_subdomain(name));
        }
    }
    for (field, name) in [
        ("priorityClassName", (!spec.priority_class_name.is_empty()).then_some(&spec.priority_class_name)),
        ("runtimeClassName", spec.runtime_class_name.as_ref()),
    ] {
        if let Some(name) = name {
            e.each(&at.child(field), name, name_subdomain(name, false));
        }
    }
    if let Some(policy) = &spec.preemption_policy {
        e.required_one_of(&at.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
    if !spec.overhead.is_empty() {
        resources::overhead(e, &at.child("overhead"), &spec.overhead);
    }
    if let Some(os) = &spec.os {
        match os.name.as_str() {
            "" => e.required(&at.child("os").child("name"), ""),
            "linux" => security::linux(e, at, spec),
            "windows" => security::windows(e, at, spec),
            other => e.unsupported(&at.child("os"), other, &["linux", "windows"]),
        }
    }
}

fn claims(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    use crate::check::{Raw, json_object, json_option, json_string};
    let mut names = BTreeSet::new();
    for (i, claim) in spec.resource_claims.iter().enumerate() {
        let at = at.index(i);
        if claim.name.is_empty() {
            e.required(&at.child("name"), "");
        } else if !names.insert(&claim.name) {
            e.duplicate(&at.child("name"), &claim.name);
        } else {
            e.each(&at.child("name"), &claim.name, dns_label(&claim.name));
        }
        let (by_name, by_template) = (&claim.resource_claim_name, &claim.resource_claim_template_name);
        let problem = match (by_name, by_template) {
            (Some(_), Some(_)) => {
                Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
            }
            (None, None) => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            _ => None,
        };
        if let Some(problem) = problem {
            let quoted = json_object([
                ("Name", json_string(&claim.name)),
                ("ResourceClaimName", json_option(by_name.as_ref())),
                ("ResourceClaimTemplateName", json_option(by_template.as_ref())),
            ]);
            e.invalid(&at, Raw(quoted), problem);
        }
        for (field, name) in [("resourceClaimName", by_name), ("resourceClaimTemplateName", by_template)] {
            if let Some(name) = name {
                e.each(&at.child(field), name, name_subdomain(name, false));
            }
        }
    }
}

fn host_network_ports(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, is_pod: bool) {
    if !spec.host_network {
        return;
    }
    let list = at.child("containers");
    for (ci, c) in spec.containers.iter().enumerate() {
        for (pi, port) in c.ports.iter().enumerate() {
            // Templates may leave the host port open: it is filled in when the pod is made.
            if (is_pod || port.host_port != 0) && port.host_port != port.container_port {
                e.invalid(
                    &list.index(ci).child("ports").index(pi).child("hostPort"),
                    port.host_port,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn names(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    for (field, name) in [("serviceAccountName", &spec.service_account_name), ("nodeName", &spec.node_name)] {
        if !name.is_empty() {
            e.each(&at.child(field), name, name_subdomain(name, false));
        }
    }
    if let Some(name) = &spec.hostname_override {
        let at = at.child("hostnameOverride");
        if spec.set_hostname_as_fqdn == Some(true) {
            e.forbidden(&at, "may not be specified when setHostnameAsFQDN is true");
        }
        if spec.host_network {
            e.forbidden(&at, "may not be specified when hostNetwork is true");
        }
        if name.len() > 64 {
            e.too_long(&at, 64);
        }
        e.each(&at, name, crate::check::dns_subdomain(name));
    }
    if let Some(seconds) = spec.active_deadline_seconds {
        e.in_range(&at.child("activeDeadlineSeconds"), seconds, 1, i32::MAX.into());
    }
    for (field, name) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if !name.is_empty() {
            e.each(&at.child(field), name, dns_label(name));
        }
    }
}

fn dns(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    const NAMESERVERS_MAX: usize = 3;
    const SEARCHES_MAX: usize = 32;
    const SEARCH_CHARS_MAX: usize = 2048;
    let none = spec.dns_policy == "None";
    let Some(dns) = &spec.dns_config else {
        if none {
            e.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = at.child("nameservers");
    if none && dns.nameservers.is_empty() {
        return e.required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if dns.nameservers.len() > NAMESERVERS_MAX {
        e.invalid(
            &servers,
            meta::BadValue::of(&dns.nameservers),
            format!("must not have more than {NAMESERVERS_MAX} nameservers"),
        );
    }
    for (i, server) in dns.nameservers.iter().enumerate() {
        ip::address(e, &servers.index(i), server);
    }
    let searches = at.child("searches");
    if dns.searches.len() > SEARCHES_MAX {
        e.invalid(
            &searches,
            meta::BadValue::of(&dns.searches),
            format!("must not have more than {SEARCHES_MAX} search paths"),
        );
    }
    let chars = dns.searches.iter().map(|s| s.len() + 1).sum::<usize>().saturating_sub(1);
    if chars > SEARCH_CHARS_MAX {
        e.invalid(
            &searches,
            meta::BadValue::of(&dns.searches),
            format!(
                "must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list"
            ),
        );
    }
    for (i, search) in dns.searches.iter().enumerate().filter(|(_, s)| *s != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        e.each(&searches.index(i), search, dns_subdomain_underscore(search));
    }
    let options = at.child("options");
    for (i, option) in dns.options.iter().enumerate() {
        if option.name.is_empty() {
            e.required(&options.index(i), "must not be empty");
        }
    }
}
