//! Whether a pod may be on a node, as far as that follows from the two alone.

use meta::List;
use types::core::v1::{Node, NodeSelector, NodeSelectorRequirement, PodSpec, Taint, Toleration};

/// Whether node selector and required node affinity of the pod select the node.
pub(crate) fn selects_node(spec: &PodSpec, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let plain = spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    plain && required.is_none_or(|required| matches(required, node))
}

fn matches(selector: &NodeSelector, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.get(key).map(|value| value.as_str());
    let field = |key: &str| (key == "metadata.name").then_some(node.metadata.name.as_str());
    selector.node_selector_terms.iter().any(|term| {
        let any = !term.match_expressions.is_empty() || !term.match_fields.is_empty();
        any && term.match_expressions.iter().all(|wanted| holds(wanted, label(&wanted.key)))
            && term.match_fields.iter().all(|wanted| holds(wanted, field(&wanted.key)))
    })
}

fn holds(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let listed = || value.is_some_and(|value| wanted.values.iter().any(|known| known == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let limit = || number(wanted.values.first().map(|value| value.as_str()));
    match wanted.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => matches!((number(value), limit()), (Some(value), Some(limit)) if value > limit),
        "Lt" => matches!((number(value), limit()), (Some(value), Some(limit)) if value < limit),
        _ => false,
    }
}

/// Whether `toleration` tolerates `taint`.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    let key = toleration.key.is_empty() || toleration.key == taint.key;
    effect
        && key
        && match toleration.operator.as_str() {
            "" | "Equal" => toleration.value == taint.value && !toleration.key.is_empty(),
            "Exists" => true,
            "Lt" | "Gt" => match (taint.value.parse::<i64>(), toleration.value.parse::<i64>()) {
                (Ok(value), Ok(limit)) if toleration.operator == "Lt" => value < limit,
                (Ok(value), Ok(limit)) => value > limit,
                _ => false,
            },
            _ => false,
        }
}

/// Whether every taint of the given effects is tolerated.
pub(crate) fn tolerates_all(tolerations: &List<Toleration>, node: &Node, effects: &[&str]) -> bool {
    let counts = |taint: &&Taint| effects.contains(&taint.effect.as_str());
    node.spec
        .taints
        .iter()
        .filter(counts)
        .all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}
