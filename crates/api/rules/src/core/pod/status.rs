//! Checks of updates of a pod's status.

use super::{status_resources, template};
use crate::Path;
use crate::check::{Errs, dns_label, ip, name_subdomain, qualified_name};
use crate::restart;
use meta::{List, Str};
use std::collections::BTreeSet;
use types::core::v1::*;

const ID_MAX: i64 = i32::MAX as i64;
const NEGATIVE: &str = "must be a non-negative integer";

/// Everything that an update of the status must keep to.
pub(super) fn check(new: &Pod, old: &Pod, e: &mut Errs) {
    let metadata = Path::root("metadata");
    template::annotations_update(e, &metadata.child("annotations"), new, old);
    let at = Path::root("status");
    let (status, before) = (&new.status, &old.status);
    conditions(e, &at.child("conditions"), &status.conditions);
    if new.spec.node_name != old.spec.node_name {
        e.forbidden(&at.child("nodeName"), "may not be changed directly");
    }
    let nominated = &status.nominated_node_name;
    if *nominated != before.nominated_node_name && !nominated.is_empty() {
        e.each(&at.child("nominatedNodeName"), nominated, name_subdomain(nominated, false));
    }
    if *nominated != before.nominated_node_name && !nominated.is_empty() && !old.spec.node_name.is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        e.forbidden(&at.child("nominatedNodeName"), detail);
    }
    if status.observed_generation < 0 {
        e.invalid(&at.child("observedGeneration"), status.observed_generation, NEGATIVE);
    }
    e.immutable(&at.child("qosClass"), &status.qos_class, &before.qos_class, || (&status.qos_class).into());
    transitions(e, &at, new, old);
    claims(e, &at.child("resourceClaimStatuses"), new);
    if let Some(claim) = &status.extended_resource_claim_status {
        extended_resources(e, &at.child("extendedResourceClaimStatus"), claim, &new.spec);
    }
    pod_ips(e, &at.child("podIPs"), status, before);
    host_ips(e, &at.child("hostIPs"), status, before);
    let lists = [
        ("containerStatuses", &status.container_statuses),
        ("initContainerStatuses", &status.init_container_statuses),
        ("ephemeralContainerStatuses", &status.ephemeral_container_statuses),
    ];
    for (field, list) in lists {
        users(e, &at.child(field), list, new.spec.os.as_deref());
    }
    status_resources::check(e, &at, new);
}

fn conditions(e: &mut Errs, at: &Path<'_>, conditions: &List<PodCondition>) {
    for (i, c) in conditions.iter().enumerate() {
        let at = at.index(i);
        if c.observed_generation < 0 {
            e.invalid(&at.child("observedGeneration"), c.observed_generation, NEGATIVE);
        }
        if !["PodScheduled", "Ready", "Initialized"].contains(&c.type_.as_str()) {
            e.each(&at.child("Type"), &c.type_, qualified_name(&c.type_));
        }
    }
}

/// What has ended stays so, unless something says that it may run again.
fn transitions(e: &mut Errs, at: &Path<'_>, new: &Pod, old: &Pod) {
    let (spec, status, before) = (&old.spec, &new.status, &old.status);
    let regular = |name: &Str, code| {
        let found = spec.containers.iter().find(|c| c.name == *name);
        found.is_some_and(|c| restart::may_restart(spec, c, code))
    };
    let init = |name: &Str, code| {
        let found = spec.init_containers.iter().find(|c| c.name == *name);
        found.is_some_and(|c| restart::may_restart(spec, c, code))
    };
    if !restart::may_restart_all(spec) {
        let (new, old) = (&status.container_statuses, &before.container_statuses);
        resurrected(e, &at.child("containerStatuses"), new, old, regular);
        let (new, old) = (&status.init_container_statuses, &before.init_container_statuses);
        resurrected(e, &at.child("initContainerStatuses"), new, old, init);
    }
    let (new, old) = (&status.ephemeral_container_statuses, &before.ephemeral_container_statuses);
    resurrected(e, &at.child("ephemeralContainerStatuses"), new, old, |_, _| false);
}

fn resurrected(
    e: &mut Errs,
    at: &Path<'_>,
    new: &List<ContainerStatus>,
    old: &List<ContainerStatus>,
    may: impl Fn(&Str, i32) -> bool,
) {
    for (i, before) in old.iter().enumerate() {
        let Some(terminated) = &before.state.terminated else { continue };
        let runs = new.iter().any(|s| s.name == before.name && s.state.terminated.is_none());
        if runs && !may(&before.name, terminated.exit_code) {
            e.forbidden(&at.index(i).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn claims(e: &mut Errs, at: &Path<'_>, pod: &Pod) {
    let mut names = BTreeSet::new();
    for (i, status) in pod.status.resource_claim_statuses.iter().enumerate() {
        let at = at.index(i);
        if !pod.spec.resource_claims.iter().any(|c| c.name == status.name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            e.invalid(&at.child("name"), &status.name, detail);
        }
        if !names.insert(&status.name) {
            e.duplicate(&at.child("name"), &status.name);
        }
        if let Some(name) = &status.resource_claim_name {
            e.each(&at.child("resourceClaimName"), name, name_subdomain(name, false));
        }
    }
}

/// The claim that the scheduler made for extended resources which devices provide (KEP-5004).
fn extended_resources(e: &mut Errs, at: &Path<'_>, status: &PodExtendedResourceClaimStatus, spec: &PodSpec) {
    let list = at.child("requestMappings");
    if status.request_mappings.is_empty() {
        e.required(&list, "at least one request mapping is required");
    }
    let mut seen = BTreeSet::new();
    for (i, mapping) in status.request_mappings.iter().enumerate() {
        let item = list.index(i);
        let (container, resource) = (&mapping.container_name, &mapping.resource_name);
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter());
        match containers.find(|c| c.name == *container) {
            None => {
                let detail =
                    "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                e.invalid(&item.child("containerName"), container, detail);
            }
            Some(c) if !c.resources.requests.contains_key(resource) => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                e.invalid(&item.child("resourceName"), resource, detail);
            }
            Some(_) => {}
        }
        e.each(&at.child("requestName"), &mapping.request_name, dns_label(&mapping.request_name));
        if !seen.insert((container, resource, &mapping.request_name)) {
            e.duplicate(&item.child("containerName"), container);
            e.duplicate(&item.child("resourceName"), resource);
            e.duplicate(&item.child("requestName"), &mapping.request_name);
        }
    }
    let name = &status.resource_claim_name;
    if e.present(&at.child("resourceClaimName"), name) {
        e.each(&at.child("resourceClaimName"), name, name_subdomain(name, false));
    }
}

fn pod_ips(e: &mut Errs, at: &Path<'_>, status: &PodStatus, before: &PodStatus) {
    for (i, entry) in status.pod_ips.iter().enumerate().filter(|(_, ip)| !before.pod_ips.contains(ip)) {
        ip::address(e, &at.index(i), &entry.ip);
    }
    let ips: Vec<&str> = status.pod_ips.iter().map(|p| p.ip.as_str()).collect();
    ip::one_per_family(e, at, &ips, || crate::diff::shown_list(&status.pod_ips));
}

fn host_ips(e: &mut Errs, at: &Path<'_>, status: &PodStatus, before: &PodStatus) {
    let Some(first) = status.host_ips.first() else { return };
    if status.host_ip != first.ip {
        e.invalid(&at.index(0).child("ip"), &first.ip, "must be equal to `hostIP`");
    }
    for (i, entry) in status.host_ips.iter().enumerate().filter(|(_, ip)| !before.host_ips.contains(ip)) {
        ip::address(e, &at.index(i), &entry.ip);
    }
    let ips: Vec<&str> = status.host_ips.iter().map(|p| p.ip.as_str()).collect();
    ip::one_per_family(e, at, &ips, || crate::diff::shown_list(&status.host_ips));
}

/// What to tell of addresses that are not written in the standard form.
pub(super) fn warnings(pod: &Pod) -> Vec<String> {
    let root = Path::root("status");
    let (pods, hosts) = (root.child("podIPs"), root.child("hostIPs"));
    let pod_ips = pod.status.pod_ips.iter().enumerate();
    let host_ips = pod.status.host_ips.iter().enumerate();
    let told = |at: &Path<'_>, i, ip: &Str| ip::address_warning(&at.index(i).child("ip"), ip);
    let mut out: Vec<String> = pod_ips.filter_map(|(i, p)| told(&pods, i, &p.ip)).collect();
    out.extend(host_ips.filter_map(|(i, h)| told(&hosts, i, &h.ip)));
    out
}

fn users(e: &mut Errs, at: &Path<'_>, statuses: &List<ContainerStatus>, os: Option<&PodOS>) {
    for (i, status) in statuses.iter().enumerate() {
        let Some(user) = status.user.as_ref().and_then(|u| u.linux.as_ref()) else { continue };
        let item = at.index(i);
        let user_at = item.child("user");
        let at = user_at.child("linux");
        if os.is_some_and(|os| os.name == "windows") {
            e.forbidden(&at, "cannot be set for a windows pod");
            continue;
        }
        e.in_range(&at.child("uid"), user.uid, 0, ID_MAX);
        e.in_range(&at.child("gid"), user.gid, 0, ID_MAX);
        let groups = at.child("supplementalGroups");
        for (i, group) in user.supplemental_groups.iter().enumerate() {
            e.in_range(&groups.index(i), *group, 0, ID_MAX);
        }
    }
}
