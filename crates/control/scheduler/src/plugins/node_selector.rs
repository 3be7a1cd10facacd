//! Node selectors: the terms of node affinity, matched against a node's labels and name.

use types::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm};

/// Whether any term selects the node. A term without requirements selects nothing.
pub fn any_term_selects(terms: &[NodeSelectorTerm], node: &Node) -> bool {
    terms.iter().any(|term| term_selects(term, node))
}

/// Whether all requirements of the term hold.
pub fn term_selects(term: &NodeSelectorTerm, node: &Node) -> bool {
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    let label = |requirement: &NodeSelectorRequirement| {
        node.metadata.labels.get(&requirement.key).map(|value| value.as_str())
    };
    let field = |requirement: &NodeSelectorRequirement| {
        (requirement.key == "metadata.name").then_some(node.metadata.name.as_str())
    };
    term.match_expressions.iter().all(|requirement| holds(requirement, label(requirement)))
        && term.match_fields.iter().all(|requirement| holds(requirement, field(requirement)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let listed =
        || value.is_some_and(|value| requirement.values.iter().any(|wanted| wanted.as_str() == value));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        operator @ ("Gt" | "Lt") => {
            let bound = requirement.values.first().and_then(|bound| bound.parse::<i64>().ok());
            let number = value.and_then(|value| value.parse::<i64>().ok());
            match (number, bound) {
                (Some(number), Some(bound)) if operator == "Gt" => number > bound,
                (Some(number), Some(bound)) => number < bound,
                _ => false,
            }
        }
        _ => false,
    }
}
