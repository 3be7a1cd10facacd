//! The parameters of a policy, as a binding chooses them.

use std::sync::Arc;

use meta::selector::labels::Selector;
use meta::{LabelSelector, Object};
use serde_json::Value as Json;
use types::admissionregistration::v1::{ParamKind, ParamRef};

use super::Stage;
use super::configuration::{Binding, Policy};
use super::subject::json_of;

/// The parameters with which a policy is run, once with each; a `None` stands for none at all.
///
/// The error is why the binding cannot be used; whether that refuses the request is the policy's to say.
pub(super) fn of(stage: &Stage<'_>, policy: &Policy, binding: &Binding) -> Result<Vec<Option<Json>>, String> {
    let (Some(kind), Some(reference)) = (&policy.params, &binding.params) else { return Ok(vec![None]) };
    let found = find(stage, kind, reference).map_err(|why| format!("failed to configure binding: {why}"))?;
    if !found.is_empty() {
        return Ok(found.iter().map(|object| Some(json_of(&**object))).collect());
    }
    match reference.parameter_not_found_action.as_deref() {
        Some("Allow") => Ok(Vec::new()),
        _ => Err("failed to configure binding: no params found for policy binding with `Deny` \
                  parameterNotFoundAction"
            .to_owned()),
    }
}

/// Fails where nobody serves the kind of a policy's parameters: then no binding can be used.
pub(super) fn check_kind(stage: &Stage<'_>, policy: &Policy) -> Result<(), String> {
    let Some(kind) = &policy.params else { return Ok(()) };
    match stage.world.resource_of(&kind.api_version, &kind.kind) {
        Some(_) => Ok(()),
        None => Err(format!("failed to configure policy: {}", unknown(kind))),
    }
}

fn unknown(kind: &ParamKind) -> String {
    format!("failed to find resource referenced by paramKind: '{}, Kind={}'", kind.api_version, kind.kind)
}

fn find(stage: &Stage<'_>, kind: &ParamKind, reference: &ParamRef) -> Result<Vec<Arc<dyn Object>>, String> {
    let resource = stage.world.resource_of(&kind.api_version, &kind.kind).ok_or_else(|| unknown(kind))?;
    let namespace = match (resource.namespaced, reference.namespace.as_str()) {
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (true, "") => {
            match stage.review.target.namespace.as_str() {
                "" => {
                    return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned());
                }
                own => own,
            }
        }
        (true, given) => given,
    };
    if !reference.name.is_empty() {
        let found = stage.world.find(&resource.group, &resource.plural, namespace, &reference.name);
        return Ok(found.into_iter().collect());
    }
    let selector: Option<&LabelSelector> = reference.selector.as_deref();
    let selector = Selector::from_label_selector(selector).map_err(|error| error.to_string())?;
    let mut all = stage.world.all(&resource.group, &resource.plural, namespace);
    all.retain(|object| selector.matches(&object.meta().labels));
    Ok(all)
}
