//! Checks of updates of a pod's status.

use super::template;
use crate::Path;
use crate::amounts::is_sidecar;
use crate::check::{Errs, ip, name_subdomain, qualified_name};
use meta::{BadValue, List, Str};
use std::collections::BTreeSet;
use types::core::v1::*;

const ID_MAX: i64 = i32::MAX as i64;
const ONE_PER_FAMILY: &str = "may specify no more than one IP for each IP family";

/// Everything that an update of the status must keep to.
pub(super) fn check(new: &Pod, old: &Pod, e: &mut Errs) {
    let metadata = Path::root("metadata");
    template::annotations_update(e, &metadata.child("annotations"), new, old);
    let conditions = metadata.child("conditions");
    for (i, c) in new.status.conditions.iter().enumerate() {
        if !["PodScheduled", "Ready", "Initialized"].contains(&c.type_.as_str()) {
            e.each(&conditions.index(i).child("Type"), &c.type_, qualified_name(&c.type_));
        }
    }
    let at = Path::root("status");
    let (status, before) = (&new.status, &old.status);
    if new.spec.node_name != old.spec.node_name {
        e.forbidden(&at.child("nodeName"), "may not be changed directly");
    }
    let nominated = &status.nominated_node_name;
    if *nominated != before.nominated_node_name && !nominated.is_empty() {
        e.each(&at.child("nominatedNodeName"), nominated, name_subdomain(nominated, false));
    }
    e.immutable(&at.child("qosClass"), &status.qos_class, &before.qos_class, || (&status.qos_class).into());
    let policy = old.spec.restart_policy.as_str();
    let never_restarts = |_: &Str| false;
    let sidecar = |name: &Str| old.spec.init_containers.iter().any(|c| c.name == *name && is_sidecar(c));
    transitions(
        e,
        &at.child("containerStatuses"),
        &status.container_statuses,
        &before.container_statuses,
        policy,
        never_restarts,
    );
    transitions(
        e,
        &at.child("initContainerStatuses"),
        &status.init_container_statuses,
        &before.init_container_statuses,
        policy,
        sidecar,
    );
    transitions(
        e,
        &at.child("ephemeralContainerStatuses"),
        &status.ephemeral_container_statuses,
        &before.ephemeral_container_statuses,
        "Never",
        never_restarts,
    );
    claims(e, &at.child("resourceClaimStatuses"), new);
    pod_ips(e, &at.child("podIPs"), status);
    host_ips(e, &at.child("hostIPs"), status);
    for (field, list) in [
        ("containerStatuses", &status.container_statuses),
        ("initContainerStatuses", &status.init_container_statuses),
        ("ephemeralContainerStatuses", &status.ephemeral_container_statuses),
    ] {
        users(e, &at.child(field), list, new.spec.os.as_deref());
    }
}

fn transitions(
    e: &mut Errs,
    at: &Path<'_>,
    new: &List<ContainerStatus>,
    old: &List<ContainerStatus>,
    restart_policy: &str,
    restarts: impl Fn(&Str) -> bool,
) {
    if restart_policy == "Always" {
        return;
    }
    for (i, before) in old.iter().enumerate() {
        let Some(terminated) = &before.state.terminated else { continue };
        if (terminated.exit_code != 0 && restart_policy == "OnFailure") || restarts(&before.name) {
            continue;
        }
        for after in new.iter().filter(|s| s.name == before.name && s.state.terminated.is_none()) {
            let _ = after;
            e.forbidden(&at.index(i).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn claims(e: &mut Errs, at: &Path<'_>, pod: &Pod) {
    let mut names = BTreeSet::new();
    for (i, status) in pod.status.resource_claim_statuses.iter().enumerate() {
        let at = at.index(i);
        if !pod.spec.resource_claims.iter().any(|c| c.name == status.name) {
            e.invalid(
                &at.child("name"),
                &status.name,
                "must match the name of an entry in `spec.resourceClaims`",
            );
        }
        if !names.insert(&status.name) {
            e.duplicate(&at.child("name"), &status.name);
        }
        if let Some(name) = &status.resource_claim_name {
            e.each(&at.child("name"), name, name_subdomain(name, false));
        }
    }
}

fn pod_ips(e: &mut Errs, at: &Path<'_>, status: &PodStatus) {
    for (i, entry) in status.pod_ips.iter().enumerate() {
        ip::address(e, &at.index(i), &entry.ip);
    }
    let ips: Vec<&Str> = status.pod_ips.iter().map(|p| &p.ip).collect();
    families(e, at, &ips, || crate::diff::shown_list(&status.pod_ips));
}

fn host_ips(e: &mut Errs, at: &Path<'_>, status: &PodStatus) {
    let Some(first) = status.host_ips.first() else { return };
    if status.host_ip != first.ip {
        e.invalid(&at.index(0).child("ip"), &first.ip, "must be equal to `hostIP`");
    }
    for (i, entry) in status.host_ips.iter().enumerate() {
        ip::address(e, &at.index(i), &entry.ip);
    }
    let ips: Vec<&Str> = status.host_ips.iter().map(|p| &p.ip).collect();
    families(e, at, &ips, || crate::diff::shown_list(&status.host_ips));
}

/// At most one address of each family, and none twice.
fn families(e: &mut Errs, at: &Path<'_>, ips: &[&Str], shown: impl FnOnce() -> BadValue) {
    if ips.len() < 2 {
        return;
    }
    let v6: Vec<bool> = ips.iter().filter_map(|ip| ip::parse(ip)).map(|ip| ip.is_ipv6()).collect();
    if ips.len() > 2 || !(v6.contains(&true) && v6.contains(&false)) {
        e.invalid(at, shown(), ONE_PER_FAMILY);
    }
    let mut seen = BTreeSet::new();
    for (i, ip) in ips.iter().enumerate() {
        if !seen.insert(*ip) {
            e.duplicate(&at.index(i), *ip);
        }
    }
}

fn users(e: &mut Errs, at: &Path<'_>, statuses: &List<ContainerStatus>, os: Option<&PodOS>) {
    for (i, status) in statuses.iter().enumerate() {
        let Some(user) = status.user.as_ref().and_then(|u| u.linux.as_ref()) else { continue };
        let item = at.index(i);
        let at = item.child("linux");
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
