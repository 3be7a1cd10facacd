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

/// One way to satisfy a request.
#[derive(Clone)]
pub(super) struct Way {
    /// `request`, or `request/subrequest`.
    pub(super) name: Str,
    /// CEL expressions of the class and of the request.
    pub(super) selectors: Vec<Str>,
    pub(super) count: Count,
    pub(super) admin_access: bool,
    pub(super) tolerations: Vec<DeviceToleration>,
    /// Capacity that is asked for.
    pub(super) capacity: Map<Quantity>,
    /// Configuration that the class prescribes.
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

fn expressions<'a>(selectors: impl Iterator<Item = &'a DeviceSelector>) -> Vec<Str> {
    selectors.filter_map(|selector| Some(selector.cel.as_ref()?.expression.clone())).collect()
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

/// The claim's requests.
pub(super) fn requests(cluster: &Cluster, claim: &ResourceClaim) -> Result<Vec<Request>, String> {
    claim.spec.devices.requests.iter().map(|one| request(cluster, one)).collect()
}

fn request(cluster: &Cluster, one: &DeviceRequest) -> Result<Request, String> {
    let mut ways = Vec::new();
    if let Some(exactly) = &one.exactly {
        let class = class(cluster, &one.name, &exactly.device_class_name)?;
        ways.push(Way {
            name: one.name.clone(),
            selectors: expressions(class.spec.selectors.iter().chain(exactly.selectors.iter())),
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
            selectors: expressions(class.spec.selectors.iter().chain(sub.selectors.iter())),
            name: name.into(),
            count: count(&sub.allocation_mode, sub.count),
            admin_access: false,
            tolerations: sub.tolerations.to_vec(),
            capacity: capacity(sub.capacity.as_deref()),
            class: sub.device_class_name.clone(),
            preference: ALTERNATIVES_MAX - at as i64,
        });
    }
    Ok(Request { name: one.name.clone(), ways })
}

/// Whether a list of request names (of a constraint or a configuration) covers a way; an empty list covers all.
pub(super) fn covers(names: &[Str], request: &str, way: &str) -> bool {
    names.is_empty() || names.iter().any(|name| *name == request || *name == way)
}
