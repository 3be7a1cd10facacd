//! Values of the variables that expressions see.

use cel::{Activation, Value};
use rules::environments;
use serde_json::Value as Json;

use super::Stage;
use super::subject::{Subject, authorizers};

/// The variables of admission.
pub(super) fn admission<'a>(stage: &Stage<'_>, subject: &'a Subject) -> Activation<'a> {
    let declared = |name| environments::policy_type(name);
    let mut activation = Activation::new()
        .json("object", &subject.object, None)
        .json("oldObject", &subject.old, None)
        .json("request", &subject.request, declared("request"))
        .json("namespaceObject", &subject.namespace, declared("namespaceObject"));
    if let Some([authorizer, resource]) = authorizers(stage) {
        activation.set("authorizer", authorizer);
        activation.set("authorizer.requestResource", resource);
    }
    activation
}

/// With the parameters of a policy.
pub(super) fn with_params<'a>(activation: Activation<'a>, params: Option<&'a Json>) -> Activation<'a> {
    match params {
        Some(params) => activation.json("params", params, None),
        None => activation.value("params", Value::Null),
    }
}
