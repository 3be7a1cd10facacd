//! Requests and limits: of containers, and of a pod as a whole.

use crate::Path;
use crate::amounts::{Amounts, is_pod_level, of_containers};
use crate::check::Errs;
use crate::core::names;
use crate::fill::missing;
use meta::{Map, Quantity, Str};
use std::collections::BTreeSet;
use types::core::v1::*;

/// The resources of a container.
pub(crate) fn container(e: &mut Errs, at: &Path<'_>, r: &ResourceRequirements, claims: &BTreeSet<&str>) {
    requirements(e, at, r, claims, names::container_name);
}

/// The overhead of a pod is checked as if it were limits.
pub(super) fn overhead(e: &mut Errs, at: &Path<'_>, overhead: &Map<Quantity>) {
    let r = ResourceRequirements { limits: overhead.clone(), ..Default::default() };
    requirements(e, at, &r, &BTreeSet::new(), names::container_name);
}

/// The resources of a pod as a whole, against those of its containers.
pub(super) fn pod(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, claims: &BTreeSet<&str>) {
    let Some(r) = &spec.resources else { return };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return e.forbidden(at, "may not be set for a windows pod");
    }
    if !meta::is_absent(&r.claims) {
        e.forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(e, at, r, claims, |e, at, name| {
        if names::name(e, at, name) && !is_pod_level(name) {
            e.unsupported(at, name, &["cpu", "hugepages-", "memory"]);
        }
    });
    let requests = at.child("requests");
    for (name, total) in of_containers(spec, |c| c.resources.requests.clone()).iter() {
        let Some(of_pod) = r.requests.get(name) else { continue };
        if total > of_pod {
            e.invalid(
                &requests.key(name),
                of_pod,
                format!("must be greater than or equal to aggregate container requests of {total}"),
            );
        }
    }
    let limits = at.child("limits");
    for (name, total) in
        of_containers(spec, |c| c.resources.limits.clone()).iter().filter(|(n, _)| names::is_huge_page(n))
    {
        if let Some(of_pod) = r.limits.get(name).filter(|of_pod| total > *of_pod) {
            e.invalid(
                &limits.key(name),
                of_pod,
                format!("must be greater than or equal to aggregate container limits of {total}"),
            );
        }
    }
    let containers = at.child("containers");
    for (i, c) in spec.containers.iter().enumerate() {
        for (name, limit) in c.resources.limits.iter() {
            if let Some(of_pod) = r.limits.get(name).filter(|l| limit > *l) {
                e.invalid(
                    &containers.index(i).key(name).child("limits"),
                    limit,
                    format!("must be less than or equal to pod limits of {of_pod}"),
                );
            }
        }
    }
}

fn requirements(
    e: &mut Errs,
    at: &Path<'_>,
    r: &ResourceRequirements,
    claims: &BTreeSet<&str>,
    check_name: impl Fn(&mut Errs, &Path<'_>, &str),
) {
    let (limits, requests) = (at.child("limits"), at.child("requests"));
    let amount = |e: &mut Errs, at: &Path<'_>, name: &Str, value: &Quantity| {
        check_name(e, at, name);
        names::amount(e, at, name, value);
        if names::is_huge_page(name) && !is_multiple(name, value) {
            e.invalid(at, value, format!("{value} is not positive integer multiple of {name}"));
        }
    };
    for (name, limit) in r.limits.iter() {
        amount(e, &limits.key(name), name, limit);
    }
    for (name, request) in r.requests.iter() {
        check_name(e, &requests.key(name), name);
        names::amount(e, &requests.key(name), name, request);
        match r.limits.get(name) {
            Some(limit) if request != limit && !names::may_overcommit(name) => {
                e.invalid(&requests, request, format!("must be equal to {name} limit of {limit}"));
            }
            Some(limit) if request > limit => {
                e.invalid(
                    &requests,
                    request,
                    format!("must be less than or equal to {name} limit of {limit}"),
                );
            }
            None if !names::may_overcommit(name) => {
                e.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        if names::is_huge_page(name) && !is_multiple(name, request) {
            e.invalid(
                &requests.key(name),
                request,
                format!("{request} is not positive integer multiple of {name}"),
            );
        }
    }
    let any = |test: fn(&str) -> bool| r.limits.iter().chain(r.requests.iter()).any(|(name, _)| test(name));
    if any(names::is_huge_page) && !any(|n| n == "cpu" || n == "memory") {
        e.forbidden(at, "HugePages require cpu or memory");
    }
    claim_names(e, &at.child("claims"), r, claims);
}

/// Whether an amount of huge pages is a multiple of the page size in their name.
fn is_multiple(name: &str, value: &Quantity) -> bool {
    let size =
        name.strip_prefix("hugepages-").and_then(|s| s.parse::<Quantity>().ok()).map_or(0, |q| q.value());
    size > 0 && value.value() % size == 0
}

fn claim_names(e: &mut Errs, at: &Path<'_>, r: &ResourceRequirements, claims: &BTreeSet<&str>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in r.claims.iter().enumerate() {
        let at = at.index(i);
        let name = claim.name.as_str();
        if name.is_empty() {
            e.required(&at, "");
            continue;
        }
        if seen.contains(name) {
            e.duplicate(&at, name);
        } else {
            let mut key = name.to_owned();
            if !claim.request.is_empty() {
                e.each(&at.child("request"), &claim.request, crate::check::dns_label(&claim.request));
                key = format!("{name}/{}", claim.request);
            }
            if seen.contains(&key) {
                e.duplicate(&at, &key);
            } else if claim.request.is_empty() {
                for _ in seen.iter().filter(|k| k.split_once('/').is_some_and(|(n, _)| n == name)) {
                    e.duplicate(&at, name);
                }
            }
            seen.insert(key);
        }
        if !claims.contains(name) {
            let known: Vec<&str> = claims.iter().copied().collect();
            let detail = if known.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                format!("must be one of the names in pod.spec.resourceClaims: {}", known.join(", "))
            };
            e.not_found_because(&at, name, &detail);
        }
    }
}

/// Fills pod-level requests and limits from those of the containers and from each other (KEP-2837).
pub(super) fn default_pod_level(spec: &mut PodSpec) {
    let Some(mut r) = spec.resources.take() else { return };
    if !(r.limits.is_empty() && r.requests.is_empty()) {
        for (name, limit) in of_containers(spec, |c| c.resources.limits.clone()).iter() {
            if names::is_huge_page(name) && !r.requests.contains_key(name) && !r.limits.contains_key(name) {
                r.limits.insert(name.clone(), *limit);
            }
        }
    }
    if !r.limits.is_empty() {
        for (name, request) in of_containers(spec, |c| c.resources.requests.clone()).iter() {
            if is_pod_level(name) && names::may_overcommit(name) && !r.requests.contains_key(name) {
                r.requests.insert(name.clone(), *request);
            }
        }
        let supported: Map<Quantity> =
            r.limits.iter().filter(|(n, _)| is_pod_level(n)).map(|(n, q)| (n.clone(), *q)).collect();
        missing(&mut r.requests, &supported);
    }
    spec.resources = Some(r);
}

/// The quality-of-service class of a pod: what its status says, or its requests and limits give it.
pub fn qos(pod: &Pod) -> &str {
    match pod.status.qos_class.as_str() {
        "" => qos_class(&pod.spec),
        told => told,
    }
}

/// The quality-of-service class that requests and limits give a pod.
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    const SUPPORTED: [&str; 2] = ["cpu", "memory"];
    let set = |list: &Map<Quantity>| -> Vec<Str> {
        let positive =
            |(n, q): &(&Str, &Quantity)| SUPPORTED.contains(&n.as_str()) && **q > Quantity::default();
        list.iter().filter(positive).map(|(n, _)| n.clone()).collect()
    };
    let of_containers = spec.containers.iter().chain(spec.init_containers.iter()).map(|c| &c.resources);
    let of_pod =
        spec.resources.as_deref().filter(|r| !(set(&r.requests).is_empty() && set(&r.limits).is_empty()));
    let parts: Vec<&ResourceRequirements> = match of_pod {
        Some(r) => vec![r],
        None => of_containers.collect(),
    };
    if parts.iter().all(|r| set(&r.requests).is_empty() && set(&r.limits).is_empty()) {
        return "BestEffort";
    }
    let guaranteed = parts.iter().all(|r| {
        set(&r.limits).len() == SUPPORTED.len()
            && set(&r.requests).iter().all(|n| r.requests.get(n) == r.limits.get(n))
    });
    let totals = |of: fn(&ResourceRequirements) -> &Map<Quantity>| {
        let mut sum = Map::default();
        for r in &parts {
            Amounts::add(&mut sum, of(r));
        }
        sum
    };
    let (requests, limits) = (totals(|r| &r.requests), totals(|r| &r.limits));
    let same = set(&requests).len() == set(&limits).len()
        && set(&requests).iter().all(|n| requests.get(n) == limits.get(n));
    if guaranteed && same { "Guaranteed" } else { "Burstable" }
}
