//! Nobody can grant what they do not hold: the check on writes of roles and bindings.

use meta::Str;

use crate::rule::Rule;

/// The pieces of `wanted` that none of `held` covers, put together again for the message; empty when all is covered.
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let pieces = wanted.iter().flat_map(Rule::pieces).filter(|p| !held.iter().any(|rule| rule.covers(p)));
    let mut merged: Vec<Rule> = Vec::new();
    for piece in pieces {
        // Only verbs on one resource are put together, as upstream does.
        let same = merged.iter_mut().filter(|_| piece.paths.is_empty()).find(|m| {
            (&m.groups, &m.resources, &m.names, &m.paths)
                == (&piece.groups, &piece.resources, &piece.names, &piece.paths)
        });
        match same {
            Some(rule) => rule.verbs.extend(piece.verbs),
            None => merged.push(piece),
        }
    }
    merged.sort_by_key(ToString::to_string);
    merged
}

/// The text of the refusal. `errors` names roles that could not be resolved while the held rules were collected.
pub fn message(user: &str, groups: &[Str], uncovered: &[Rule], errors: &[String]) -> String {
    let groups: Vec<String> = groups.iter().map(|g| format!("{:?}", g.as_str())).collect();
    let rules: Vec<String> = uncovered.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "user {user:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        groups.join(" "),
        rules.join("\n")
    );
    if !errors.is_empty() {
        text.push_str(&format!("; resolution errors: [{}]", meta::aggregate_message(errors)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Rule {
        let list = |items: &[&str]| items.iter().map(|i| Str::from(*i)).collect();
        Rule { verbs: list(verbs), groups: list(&[group]), resources: list(resources), ..Rule::default() }
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let held = [rule(&["get"], "", &["pods"])];
        let wanted = [rule(&["get", "delete"], "", &["pods", "secrets"]), rule(&["*"], "apps", &["*"])];
        let missing = uncovered(&held, &wanted);
        assert_eq!(
            message("alice", &["g".into()], &missing, &[]),
            "user \"alice\" (groups=[\"g\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\"]}\n\
             {APIGroups:[\"apps\"], Resources:[\"*\"], Verbs:[\"*\"]}"
        );
        assert!(uncovered(&[rule(&["*"], "*", &["*"])], &wanted).is_empty());
    }
}
