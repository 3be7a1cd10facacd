//! Label selectors as workloads use them.

use meta::{LabelSelector, LabelSelectorRequirement, Map, Str};

/// Whether `selector` selects `labels`. No selector selects nothing, an empty one everything.
pub(crate) fn selects(selector: Option<&LabelSelector>, labels: &Map<Str>) -> bool {
    let Some(selector) = selector else { return false };
    let equal = selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().all(|term| {
            let value = labels.get(&term.key);
            let listed = || value.is_some_and(|value| term.values.contains(value));
            match term.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// Whether `selector` has no requirement at all.
pub(crate) fn is_empty(selector: Option<&LabelSelector>) -> bool {
    selector.is_none_or(|selector| selector.match_labels.is_empty() && selector.match_expressions.is_empty())
}

/// Whether every pair of `wanted` is among `labels`. No pair at all selects nothing, as Services have it.
pub(crate) fn selects_map(wanted: &Map<Str>, labels: &Map<Str>) -> bool {
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A selector as Go prints the struct, which messages carry.
pub(crate) fn go_string(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels: String =
        selector.match_labels.iter().map(|(key, value)| format!("{key}: {value},")).collect();
    let term = |term: &LabelSelectorRequirement| {
        let (key, operator) = (&term.key, &term.operator);
        let values: Vec<&str> = term.values.iter().map(Str::as_str).collect();
        let values = values.join(" ");
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    };
    let terms: String = selector.match_expressions.iter().map(term).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
}
