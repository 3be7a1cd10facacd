//! What is wrong with a policy that can be read, in upstream's words.

use meta::{BadValue, FieldError, FieldPath, names};
use serde_json::Value;

const LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];
const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

/// What is wrong with a policy, as a document; fields of other types are for the decoder to refuse.
pub(crate) fn problems(policy: &Value) -> Vec<FieldError> {
    let mut problems = Vec::new();
    stages(&FieldPath::new("omitStages"), &policy["omitStages"], &mut problems);
    for (i, rule) in list(&policy["rules"]).iter().enumerate() {
        let at = FieldPath::new("rules").index(i);
        level(&at.child("level"), &rule["level"], &mut problems);
        let urls_at = at.child("nonResourceURLs");
        urls(&urls_at, &rule["nonResourceURLs"], &mut problems);
        for group in list(&rule["resources"]) {
            resources(&at.child("resources"), group, &mut problems);
        }
        stages(&at.child("omitStages"), &rule["omitStages"], &mut problems);
        let regular = !list(&rule["resources"]).is_empty() || !list(&rule["namespaces"]).is_empty();
        if regular && !list(&rule["nonResourceURLs"]).is_empty() {
            let shown = BadValue::Plain(rule["nonResourceURLs"].to_string());
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            problems.push(FieldError::invalid(&urls_at, shown, detail));
        }
    }
    problems
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn level(at: &FieldPath, level: &Value, problems: &mut Vec<FieldError>) {
    match level.as_str() {
        None if !level.is_null() => {}
        None | Some("") => problems.push(FieldError::required(at, "")),
        Some(level) if !LEVELS.contains(&level) => {
            problems.push(FieldError::not_supported(at, level, LEVELS));
        }
        Some(_) => {}
    }
}

fn stages(at: &FieldPath, stages: &Value, problems: &mut Vec<FieldError>) {
    for (i, stage) in list(stages).iter().enumerate() {
        if let Some(stage) = stage.as_str().filter(|stage| !STAGES.contains(stage)) {
            let detail = format!("allowed stages are {}", STAGES.join(","));
            problems.push(FieldError::invalid(&at.index(i), stage, detail));
        }
    }
}

fn urls(at: &FieldPath, urls: &Value, problems: &mut Vec<FieldError>) {
    for (i, url) in list(urls).iter().enumerate() {
        let Some(url) = url.as_str().filter(|url| *url != "*") else { continue };
        if !url.starts_with('/') {
            let detail = "non-resource URL rules must begin with a '/' character";
            problems.push(FieldError::invalid(&at.index(i), url, detail));
        }
        if url.find('*').is_some_and(|star| star + 1 < url.len()) {
            let detail = "non-resource URL wildcards '*' must be the final character of the rule";
            problems.push(FieldError::invalid(&at.index(i), url, detail));
        }
    }
}

fn resources(at: &FieldPath, group: &Value, problems: &mut Vec<FieldError>) {
    // Empty is the core group.
    if let Some(name) = group["group"].as_str().filter(|name| !name.is_empty() && *name != "*") {
        let wrong = names::dns_subdomain(name);
        if !wrong.is_empty() {
            problems.push(FieldError::invalid(&at.child("group"), name, wrong.join(",")));
        }
    }
    if !list(&group["resourceNames"]).is_empty() && list(&group["resources"]).is_empty() {
        let shown = BadValue::Plain(group["resourceNames"].to_string());
        let detail = "using resourceNames requires at least one resource";
        problems.push(FieldError::invalid(&at.child("resourceNames"), shown, detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_problem_is_named() {
        let one = |rule: Value| json!({ "rules": [rule] });
        for (policy, wanted) in [
            (one(json!({ "level": "None" })), &[][..]),
            (one(json!({})), &["rules[0].level: Required value"]),
            (
                one(json!({ "level": "X", "omitStages": ["Y"] })),
                &[
                    "rules[0].level: Unsupported value: \"X\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"",
                    "rules[0].omitStages[0]: Invalid value: \"Y\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
                ],
            ),
            (
                one(json!({ "level": "None", "nonResourceURLs": ["x", "/a*b", "/x/*", "*"] })),
                &[
                    "rules[0].nonResourceURLs[0]: Invalid value: \"x\": non-resource URL rules must begin with a '/' character",
                    "rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule",
                ],
            ),
            (
                one(json!({ "level": "None", "nonResourceURLs": ["/x"], "namespaces": ["a"] })),
                &[
                    "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs",
                ],
            ),
            (
                one(json!({ "level": "None", "resources": [{ "group": "", "resourceNames": ["a"] }] })),
                &[
                    "rules[0].resources.resourceNames: Invalid value: [\"a\"]: using resourceNames requires at least one resource",
                ],
            ),
        ] {
            let found: Vec<String> = problems(&policy).iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted, "{policy}");
        }
        let group = one(json!({ "level": "None", "resources": [{ "group": "apps/v1" }] }));
        assert!(
            problems(&group)[0]
                .to_string()
                .starts_with("rules[0].resources.group: Invalid value: \"apps/v1\"")
        );
    }
}
