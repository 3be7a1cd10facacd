//! The scaling behaviour of an autoscaler as the annotation of autoscaling/v1 keeps it: upstream writes its internal type,
//! whose fields have the names that they have in Go, and reads them in any case.

use meta::Str;
use serde_json::{Map, Value, json};
use types::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// The fields' names as the API has them.
const FIELDS: [&str; 9] = [
    "scaleUp",
    "scaleDown",
    "stabilizationWindowSeconds",
    "selectPolicy",
    "policies",
    "type",
    "value",
    "periodSeconds",
    "tolerance",
];

/// The text of the annotation.
pub(super) fn text(behavior: &HorizontalPodAutoscalerBehavior) -> Str {
    let rules = |rules: Option<&HPAScalingRules>| rules.map_or_else(|| "null".to_owned(), rules_text);
    let (up, down) = (behavior.scale_up.as_deref(), behavior.scale_down.as_deref());
    format!("{{\"ScaleUp\":{},\"ScaleDown\":{}}}", rules(up), rules(down)).into()
}

/// One direction, in the order of Go's fields.
fn rules_text(rules: &HPAScalingRules) -> String {
    let policies: Vec<String> = rules
        .policies
        .iter()
        .map(|p| {
            let type_ = json!(p.type_.as_str());
            format!("{{\"Type\":{type_},\"Value\":{},\"PeriodSeconds\":{}}}", p.value, p.period_seconds)
        })
        .collect();
    let policies =
        if meta::is_absent(&rules.policies) { "null".into() } else { format!("[{}]", policies.join(",")) };
    format!(
        "{{\"StabilizationWindowSeconds\":{},\"SelectPolicy\":{},\"Policies\":{policies},\"Tolerance\":{}}}",
        json!(rules.stabilization_window_seconds),
        json!(rules.select_policy.as_ref().map(Str::as_str)),
        json!(rules.tolerance.as_ref().map(ToString::to_string)),
    )
}

/// Reads what [`text`] wrote; `None` for what a user spoiled, and for a behaviour that says nothing.
pub(super) fn parse(text: &str) -> Option<HorizontalPodAutoscalerBehavior> {
    let value: Value = serde_json::from_str(text).ok()?;
    let behavior: HorizontalPodAutoscalerBehavior = meta::from_value(renamed(value)).ok()?;
    (behavior != HorizontalPodAutoscalerBehavior::default()).then_some(behavior)
}

fn renamed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let field = |key: String| {
                let known = FIELDS.iter().find(|name| name.eq_ignore_ascii_case(&key));
                known.map_or(key, |name| (*name).to_owned())
            };
            Value::Object(
                map.into_iter().map(|(key, item)| (field(key), renamed(item))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => items.into_iter().map(renamed).collect(),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_is_written_as_go_writes_it() {
        let json = json!({
            "scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}], "tolerance": "1"},
        });
        let behavior: HorizontalPodAutoscalerBehavior = meta::from_value(json).unwrap();
        let written = text(&behavior);
        assert_eq!(
            written.as_str(),
            r#"{"ScaleUp":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":5}],"Tolerance":"1"},"ScaleDown":null}"#
        );
        assert_eq!(parse(&written), Some(behavior.clone()));
        assert_eq!(
            parse(&written.replace("ScaleUp", "scaleup").replace("Policies", "POLICIES")),
            Some(behavior)
        );
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("nonsense"), None);
    }
}
