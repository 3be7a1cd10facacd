//! LimitRanger: containers get the namespace's default requests and limits, and stay within its bounds, when they are made
//! and when they are resized.

use meta::{Map, Object, Quantity, Status, Str};
use types::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, ResourceRequirements,
};

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::{World, WorldExt};
use rules::amounts::{limits_of_spec, requests_of_spec};

/// Annotation that tells which values came from here.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// See the module.
pub struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !judges_pods(review) || is_going(review) {
            return Ok(());
        }
        let Some(pod) = as_mut::<Pod>(object) else { return Ok(()) };
        for range in world.list::<LimitRange>(review.namespace()) {
            set_defaults(pod, &range);
        }
        Ok(())
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || is_going(review) {
            return Ok(());
        }
        let Some(found) = object else { return Ok(()) };
        let pod = as_ref::<Pod>(found).filter(|_| judges_pods(review));
        let whole = review.target.subresource.is_empty();
        let claim = as_ref::<PersistentVolumeClaim>(found).filter(|_| whole);
        if pod.is_none() && claim.is_none() {
            return Ok(());
        }
        for range in world.list::<LimitRange>(review.namespace()) {
            let mut errors = Vec::new();
            for item in &range.spec.limits {
                if let Some(pod) = pod {
                    check_pod(pod, item, &mut errors);
                }
                if let Some(claim) = claim.filter(|_| item.type_ == "PersistentVolumeClaim") {
                    let resources = &claim.spec.resources;
                    item.min.iter().for_each(|(name, bound)| {
                        errors.extend(below(
                            &item.type_,
                            name,
                            bound,
                            &resources.requests,
                            &resources.limits,
                        ));
                    });
                    item.max.iter().for_each(|(name, bound)| {
                        errors.extend(request_above(&item.type_, name, bound, &resources.requests));
                    });
                }
            }
            // What is wrong with several containers in the same way is told once.
            let mut told = std::collections::HashSet::new();
            errors.retain(|error| told.insert(error.clone()));
            match &errors[..] {
                [] => {}
                [one] => return Err(forbidden(review, object, one)),
                many => return Err(forbidden(review, object, &format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

/// Whether this is about the containers of a pod: they cannot change otherwise.
fn judges_pods(review: &Review<'_>) -> bool {
    let resizes = review.operation == Operation::Update
        && review.on("", "pods")
        && review.target.subresource == "resize";
    resizes || review.is(Operation::Create, "", "pods")
}

/// What is being deleted is left alone.
fn is_going(review: &Review<'_>) -> bool {
    review.old.is_some_and(|old| old.meta().deletion_timestamp.is_some())
}

fn set_defaults(pod: &mut Pod, range: &LimitRange) {
    let (mut requests, mut limits) = (Map::<Quantity>::default(), Map::<Quantity>::default());
    for item in range.spec.limits.iter().filter(|i| i.type_ == "Container") {
        item.default_request.iter().for_each(|(k, v)| {
            requests.insert(k.clone(), *v);
        });
        item.default.iter().for_each(|(k, v)| {
            limits.insert(k.clone(), *v);
        });
    }
    let mut notes = Vec::new();
    for (kind, containers) in
        [("container", &mut pod.spec.containers), ("init container", &mut pod.spec.init_containers)]
    {
        for Container { name, resources, .. } in containers.iter_mut() {
            let ResourceRequirements { requests: own_requests, limits: own_limits, .. } = resources;
            for (what, own, defaults) in
                [("request", own_requests, &requests), ("limit", own_limits, &limits)]
            {
                let missing: Vec<Str> =
                    defaults.iter().filter(|(k, _)| !own.contains_key(k)).map(|(k, _)| k.clone()).collect();
                for key in &missing {
                    if let Some(value) = defaults.get(key) {
                        own.insert(key.clone(), *value);
                    }
                }
                if !missing.is_empty() {
                    let names: Vec<&str> = missing.iter().map(Str::as_str).collect();
                    notes.push(format!("{} {what} for {kind} {name}", names.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.metadata.annotations.insert(ANNOTATION, Str::from(note));
    }
}

fn check_pod(pod: &Pod, item: &LimitRangeItem, errors: &mut Vec<String>) {
    let mut check = |requests: &Map<Quantity>, limits: &Map<Quantity>| {
        for (name, bound) in item.min.iter() {
            errors.extend(below(&item.type_, name, bound, requests, limits));
        }
        for (name, bound) in item.max.iter() {
            errors.extend(above(&item.type_, name, bound, requests, limits));
        }
        for (name, bound) in item.max_limit_request_ratio.iter() {
            errors.extend(ratio(&item.type_, name, bound, requests, limits));
        }
    };
    match item.type_.as_str() {
        "Container" => {
            for container in pod.spec.containers.iter().chain(pod.spec.init_containers.iter()) {
                check(&container.resources.requests, &container.resources.limits);
            }
        }
        "Pod" => check(&requests_of_spec(pod, false), &limits_of_spec(pod, false)),
        _ => {}
    }
}

fn below(
    scope: &str,
    name: &str,
    bound: &Quantity,
    requests: &Map<Quantity>,
    limits: &Map<Quantity>,
) -> Option<String> {
    let text = format!("minimum {name} usage per {scope} is {bound}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{text}.  No request is specified")),
        (Some(request), _) if request < bound => Some(format!("{text}, but request is {request}")),
        (_, Some(limit)) if limit < bound => Some(format!("{text}, but limit is {limit}")),
        _ => None,
    }
}

fn above(
    scope: &str,
    name: &str,
    bound: &Quantity,
    requests: &Map<Quantity>,
    limits: &Map<Quantity>,
) -> Option<String> {
    let text = format!("maximum {name} usage per {scope} is {bound}");
    match (limits.get(name), requests.get(name)) {
        (None, _) => Some(format!("{text}.  No limit is specified")),
        (Some(limit), _) if limit > bound => Some(format!("{text}, but limit is {limit}")),
        (_, Some(request)) if request > bound => Some(format!("{text}, but request is {request}")),
        _ => None,
    }
}

fn request_above(scope: &str, name: &str, bound: &Quantity, requests: &Map<Quantity>) -> Option<String> {
    let text = format!("maximum {name} usage per {scope} is {bound}");
    match requests.get(name) {
        None => Some(format!("{text}.  No request is specified")),
        Some(request) if request > bound => Some(format!("{text}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    scope: &str,
    name: &str,
    bound: &Quantity,
    requests: &Map<Quantity>,
    limits: &Map<Quantity>,
) -> Option<String> {
    let text = format!("{name} max limit to request ratio per {scope} is {bound}");
    let value = |q: Option<&Quantity>| q.map(|q| q.milli_value() as f64).filter(|v| *v != 0.0);
    let Some(request) = value(requests.get(name)) else {
        return Some(format!("{text}, but no request is specified or request is 0"));
    };
    let Some(limit) = value(limits.get(name)) else {
        return Some(format!("{text}, but no limit is specified or limit is 0"));
    };
    let ratio = limit / request;
    (ratio * 1000.0 > bound.milli_value() as f64).then(|| format!("{text}, but provided ratio is {ratio:.6}"))
}
