//! A claim's requests: how many devices of which class, meeting which selectors; alternatives spelled out.

use meta::{Map, Quantity, Str};
use types::resource::v1::{
    CapacityRequirements, DeviceClass, DeviceRequest, DeviceSelector, DeviceToleration, ResourceClaim,
};

use crate::cluster::Cluster;

/// How many devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// So many.
    Exactly(usize),
    /// All that match.
    All,
}

/// A CEL expression and whose it is, for errors: `class NAME: selector #0` or `claim NAMESPACE/NAME: selector #0`.
#[derive(Clone)]
pub(super) struct Condition {
    pub(super) expression: Str,
    pub(super) whose: Str,
}

/// One way to satisfy a request.
#[derive(Clone)]
pub(super) struct Way {
    /// `request`, or `request/subrequest`.
    pub(super) name: Str,
    /// The last part of the name.
    pub(super) short: Str,
    /// What devices must meet: the class's conditions and the request's.
    pub(super) conditions: Vec<Condition>,
    pub(super) count: Count,
    pub(super) admin_access: bool,
    pub(super) tolerations: Vec<DeviceToleration>,
    /// Capacity that is asked for.
    pub(super) capacity: Map<Quantity>,
    /// The class, which may prescribe configuration.
    pub(super) class: Str,
    /// Points for getting this way: the earlier in the list, the more.
    pub(super) preference: i64,
}

/// A request with its ways, the preferred one first.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) name: Str,
    pub(super) ways: Vec<Way>,
}

/// Most alternatives of a request; an alternative's points count down from it.
const ALTERNATIVES_MAX: i64 = 8;

fn conditions<'a>(
    class: &'a DeviceClass,
    own: impl Iterator<Item = &'a DeviceSelector>,
    claim: &str,
) -> Vec<Condition> {
    let all = |selectors: &mut dyn Iterator<Item = &'a DeviceSelector>, owner: &str| -> Vec<Condition> {
        let each = selectors.enumerate().filter_map(|(at, selector)| {
            let expression = selector.cel.as_ref()?.expression.clone();
            Some(Condition { expression, whose: format!("{owner}: selector #{at}").into() })
        });
        each.collect()
    };
    let mut found = all(&mut class.spec.selectors.iter(), &format!("class {}", class.metadata.name));
    found.extend(all(&mut { own }, &format!("claim {claim}")));
    found
}

fn count(mode: &str, count: i64) -> Count {
    match mode {
        "All" => Count::All,
        _ => Count::Exactly(count.max(1) as usize),
    }
}

fn capacity(asked: Option<&CapacityRequirements>) -> Map<Quantity> {
    asked.map(|asked| asked.requests.clone()).unwrap_or_default()
}

fn class<'a>(cluster: &'a Cluster, request: &str, name: &str) -> Result<&'a DeviceClass, String> {
    let found = cluster.device_classes.get(name).map(|class| &**class);
    found.ok_or_else(|| format!("request {request}: device class {name} does not exist"))
}

/// `namespace/name`, as errors name claims.
pub(super) fn full_name(claim: &ResourceClaim) -> String {
    format!("{}/{}", claim.metadata.namespace, claim.metadata.name)
}

/// The claim's requests.
///
/// # Errors
/// A class that does not exist.
pub(super) fn requests(cluster: &Cluster, claim: &ResourceClaim) -> Result<Vec<Request>, String> {
    let name = full_name(claim);
    claim.spec.devices.requests.iter().map(|one| request(cluster, one, &name)).collect()
}

fn request(cluster: &Cluster, one: &DeviceRequest, claim: &str) -> Result<Request, String> {
    let mut ways = Vec::new();
    if let Some(exactly) = &one.exactly {
        let class = class(cluster, &one.name, &exactly.device_class_name)?;
        ways.push(Way {
            name: one.name.clone(),
            short: one.name.clone(),
            conditions: conditions(class, exactly.selectors.iter(), claim),
            count: count(&exactly.allocation_mode, exactly.count),
            admin_access: exactly.admin_access == Some(true),
            tolerations: exactly.tolerations.to_vec(),
            capacity: capacity(exactly.capacity.as_deref()),
            class: exactly.device_class_name.clone(),
            preference: 0,
        });
    }
    for (at, sub) in one.first_available.iter().enumerate() {
        let name = format!("{}/{}", one.name, sub.name);
        let class = class(cluster, &name, &sub.device_class_name)?;
        ways.push(Way {
            conditions: conditions(class, sub.selectors.iter(), claim),
            name: name.into(),
            short: sub.name.clone(),
            count: count(&sub.allocation_mode, sub.count),
            admin_access: false,
            tolerations: sub.tolerations.to_vec(),
            capacity: capacity(sub.capacity.as_deref()),
            class: sub.device_class_name.clone(),
            preference: ALTERNATIVES_MAX - at as i64,
        });
    }
    if ways.is_empty() {
        return Err(format!("resource claim {claim}, request {}: unknown request type", one.name));
    }
    Ok(Request { name: one.name.clone(), ways })
}

/// Whether a list of request names (of a constraint or a configuration) covers a way; an empty list covers all.
pub(super) fn covers(names: &[Str], request: &str, way: &str) -> bool {
    names.is_empty() || names.iter().any(|name| *name == request || *name == way)
}
