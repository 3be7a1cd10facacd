//! A question as the SubjectAccessReview that webhooks and match conditions see.

use authn::User;
use meta::selector::labels::Operator;
use serde_json::{Map, Value as Json, json};

use crate::attributes::Attributes;

/// The `spec` of the review, with what is empty left out.
pub(crate) fn spec(user: &User, request: &Attributes) -> Json {
    let mut spec = Map::new();
    if request.is_resource {
        spec.insert("resourceAttributes".into(), resource(request, true));
    } else {
        spec.insert("nonResourceAttributes".into(), path(request, true));
    }
    put(&mut spec, "user", &user.name);
    if !user.groups.is_empty() {
        spec.insert("groups".into(), groups(user));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), extra(user));
    }
    put(&mut spec, "uid", &user.uid);
    spec.into()
}

/// The variable `request` of match conditions: strings are there even when they are empty.
pub(crate) fn variable(user: &User, request: &Attributes) -> Json {
    let mut whole = json!({
        "user": user.name.as_str(), "uid": user.uid.as_str(), "groups": groups(user), "extra": extra(user),
    });
    if request.is_resource {
        whole["resourceAttributes"] = resource(request, false);
    } else {
        whole["nonResourceAttributes"] = path(request, false);
    }
    whole
}

fn groups(user: &User) -> Json {
    user.groups.iter().map(|group| group.as_str()).collect()
}

fn extra(user: &User) -> Json {
    let values = |values: &[meta::Str]| Json::from_iter(values.iter().map(|value| value.as_str()));
    user.extra.iter().map(|(key, list)| (key.to_string(), values(list))).collect()
}

fn put(map: &mut Map<String, Json>, key: &str, value: &str) {
    if !value.is_empty() {
        map.insert(key.into(), value.into());
    }
}

fn path(request: &Attributes, brief: bool) -> Json {
    let mut map = Map::new();
    for (key, value) in [("path", &request.path), ("verb", &request.verb)] {
        if !brief || !value.is_empty() {
            map.insert(key.into(), value.as_str().into());
        }
    }
    map.into()
}

fn resource(request: &Attributes, brief: bool) -> Json {
    let mut map = Map::new();
    let fields = [
        ("namespace", &request.namespace),
        ("verb", &request.verb),
        ("group", &request.group),
        ("version", &request.version),
        ("resource", &request.resource),
        ("subresource", &request.subresource),
        ("name", &request.name),
    ];
    for (key, value) in fields {
        if !brief || !value.is_empty() {
            map.insert(key.into(), value.as_str().into());
        }
    }
    if !request.fields.is_empty() {
        let requirements: Json = request
            .fields
            .iter()
            .map(|term| {
                let operator = if term.equal { "In" } else { "NotIn" };
                json!({ "key": term.field.as_str(), "operator": operator, "values": [term.value.as_str()] })
            })
            .collect();
        map.insert("fieldSelector".into(), json!({ "requirements": requirements }));
    }
    let requirements: Vec<Json> = request
        .labels
        .iter()
        .filter_map(|requirement| {
            let operator = match requirement.operator {
                Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
                Operator::NotIn | Operator::NotEquals => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                // Requirements only narrow, so leaving one out asks for more, never for less.
                Operator::GreaterThan | Operator::LessThan => return None,
            };
            let mut json = json!({ "key": requirement.key.as_str(), "operator": operator });
            if !requirement.values.is_empty() {
                json["values"] = requirement.values.iter().map(|value| value.as_str()).collect();
            }
            Some(json)
        })
        .collect();
    if !requirements.is_empty() {
        map.insert("labelSelector".into(), json!({ "requirements": requirements }));
    }
    map.into()
}
