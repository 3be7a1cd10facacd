//! The names of resources and what each may be used for.

use crate::Path;
use crate::check::{Errs, NOT_POSITIVE, qualified_name};
use meta::Quantity;

const QUOTA: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// `hugepages-2Mi` and the like.
pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether Kubernetes itself defines the resource.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether requests may be lower than limits.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A resource of a device plugin: with a domain that is not Kubernetes' own.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && qualified_name(&format!("requests.{name}")).is_empty()
}

fn is_integer(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// A standard name, or one with a domain. Answers whether it is well formed.
pub fn name(e: &mut Errs, at: &Path<'_>, name: &str) -> bool {
    let before = e.len();
    e.each(at, name, qualified_name(name));
    let standard = QUOTA.contains(&name)
        || name == "storage"
        || is_huge_page(name)
        || name.starts_with("requests.hugepages-");
    if e.len() == before && !name.contains('/') && !standard {
        e.invalid(at, name, "must be a standard resource type or fully qualified");
    }
    e.len() == before
}

/// The name of a resource of a container.
pub fn container_name(e: &mut Errs, at: &Path<'_>, value: &str) {
    name(e, at, value);
    if !value.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&value) && !is_huge_page(value) {
            e.invalid(at, value, "must be a standard resource for containers");
        }
    } else if !is_native(value) && !is_extended(value) {
        e.invalid(at, value, "doesn't follow extended resource name standard");
    }
}

/// The name of a resource in a quota.
pub fn quota_name(e: &mut Errs, at: &Path<'_>, value: &str) {
    name(e, at, value);
    if !value.contains('/') && !is_standard_quota(value) {
        e.invalid(at, value, "must be a standard resource for quota");
    }
}

/// Whether quotas know the name without a domain.
pub fn is_standard_quota(name: &str) -> bool {
    QUOTA.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// An amount of a resource: not negative, and whole where fractions make no sense.
pub fn amount(e: &mut Errs, at: &Path<'_>, name: &str, value: &Quantity) {
    if *value < Quantity::default() {
        e.invalid(at, value, crate::check::NOT_NEGATIVE);
    }
    if is_integer(name) && !is_whole(value) {
        e.invalid(at, value, "must be an integer");
    }
}

/// Whether an amount has no fraction.
pub fn is_whole(value: &Quantity) -> bool {
    match value.milli_value() {
        // Upstream finds nothing of a fraction where thousandths overflow.
        i64::MAX | i64::MIN => value.is_integer(),
        thousandths => thousandths % 1000 == 0,
    }
}

/// An amount above zero.
pub fn positive(e: &mut Errs, at: &Path<'_>, value: &Quantity) {
    if *value <= Quantity::default() {
        e.invalid(at, value, NOT_POSITIVE);
    }
}

/// An amount that is not negative, with the older message.
pub fn basic(e: &mut Errs, at: &Path<'_>, value: &Quantity) {
    if value.value() < 0 {
        e.invalid(at, value.value(), "must be a valid resource quantity");
    }
}
