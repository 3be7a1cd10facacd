//! Node selectors: the terms of node affinity, matched against a node's labels and name.

use meta::{go_quote, names};
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

/// What is wrong with a term, in upstream's words: terms of added affinity, and preferred ones of pods, are not all that the
/// API would take.
pub fn faults(term: &NodeSelectorTerm, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, one) in term.match_expressions.iter().enumerate() {
        requirement_faults(one, &format!("{path}.matchExpressions[{at}]"), &mut found);
    }
    for (at, one) in term.match_fields.iter().enumerate() {
        let path = format!("{path}.matchFields[{at}]");
        match one.operator.as_str() {
            "In" | "NotIn" if one.values.len() == 1 => {}
            "In" | "NotIn" => {
                let values = listed(one);
                found.push(format!("{path}.values: Invalid value: {values}: must have one element"));
            }
            other => found.push(unsupported(&path, other, &["In", "NotIn"])),
        }
    }
    found
}

const OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

fn unsupported(path: &str, operator: &str, supported: &[&str]) -> String {
    let supported: Vec<String> = supported.iter().map(|one| go_quote(one)).collect();
    let (operator, supported) = (go_quote(operator), supported.join(", "));
    format!("{path}.operator: Unsupported value: {operator}: supported values: {supported}")
}

/// The requirement's values as JSON.
fn listed(one: &NodeSelectorRequirement) -> String {
    let each: Vec<String> = one.values.iter().map(|value| go_quote(value)).collect();
    if each.is_empty() { "null".into() } else { format!("[{}]", each.join(",")) }
}

fn requirement_faults(one: &NodeSelectorRequirement, path: &str, found: &mut Vec<String>) {
    if !OPERATORS.contains(&one.operator.as_str()) {
        found.push(unsupported(path, &one.operator, &OPERATORS));
        return;
    }
    let mut faults: Vec<String> = Vec::new();
    for why in names::qualified_name(&one.key) {
        faults.push(format!("{path}.key: Invalid value: {}: {why}", go_quote(&one.key)));
    }
    let mut values = |why: &str| faults.push(format!("{path}.values: Invalid value: {}: {why}", listed(one)));
    match one.operator.as_str() {
        "In" | "NotIn" if one.values.is_empty() => {
            values("for 'in', 'notin' operators, values set can't be empty");
        }
        "Exists" | "DoesNotExist" if !one.values.is_empty() => {
            values("values set must be empty for exists and does not exist");
        }
        "Gt" | "Lt" if one.values.len() != 1 => {
            values("for 'Gt', 'Lt' operators, exactly one value is required");
        }
        _ => {}
    }
    for (at, value) in one.values.iter().enumerate() {
        let quoted = go_quote(value);
        if matches!(one.operator.as_str(), "Gt" | "Lt") && value.parse::<i64>().is_err() {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            faults.push(format!("{path}.values[{at}]: Invalid value: {quoted}: {why}"));
        }
    }
    for (at, value) in one.values.iter().enumerate() {
        for why in names::label_value(value) {
            let (quoted, key) = (go_quote(value), &one.key);
            faults.push(format!("{path}.values[{at}][{key}]: Invalid value: {quoted}: {why}"));
        }
    }
    match faults.len() {
        0 => {}
        // Faults of one requirement are one error.
        1 => found.append(&mut faults),
        _ => found.push(format!("[{}]", faults.join(", "))),
    }
}
