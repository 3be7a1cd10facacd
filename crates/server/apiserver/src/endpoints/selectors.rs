//! What an access review asks about a resource, selectors included.
//!
//! Selectors only narrow a question. What of them makes no sense is left out, which asks for more, and the answer says so.

use authz::Attributes;
use meta::selector::fields::FieldTerm;
use meta::selector::labels::{Operator, Requirement};
use meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement};
use meta::{FieldError, FieldPath, FieldSelector, Selector};
use types::authorization::v1::{FieldSelectorAttributes, LabelSelectorAttributes, ResourceAttributes};

/// A question, and what was left out of it.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// The question.
    pub attributes: Attributes,
    /// Sentences for the review's `evaluationError`.
    pub ignored: Vec<String>,
}

/// The question of a review's `resourceAttributes`.
pub(super) fn question(asked: &ResourceAttributes) -> Question {
    let mut attributes =
        Attributes::resource(&asked.verb, &asked.group, &asked.resource, &asked.namespace, &asked.name);
    // No version means all of them.
    attributes.version = if asked.version.is_empty() { "*".into() } else { asked.version.clone() };
    attributes.subresource = asked.subresource.clone();
    let mut ignored = Vec::new();
    let mut note = |what: &str, wrong: bool, left: bool| {
        if wrong {
            let partially = if left { "partially " } else { "" };
            ignored.push(format!("spec.resourceAttributes.{what} {partially}ignored due to parse error"));
        }
    };
    if let Some(selector) = asked.field_selector.as_deref() {
        let (terms, wrong) = fields(selector);
        note("fieldSelector", wrong, !terms.is_empty());
        attributes.fields = terms;
    }
    if let Some(selector) = asked.label_selector.as_deref() {
        let (requirements, wrong) = labels(selector);
        note("labelSelector", wrong, !requirements.is_empty());
        attributes.labels = requirements;
    }
    Question { attributes, ignored }
}

/// What is wrong with the selectors of a question. Operators that nobody knows are borne: newer clients may know them.
pub(super) fn problems(asked: &ResourceAttributes) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let at = FieldPath::new("spec.resourceAttributes".to_owned());
    if let Some(selector) = asked.field_selector.as_deref() {
        let at = at.child("fieldSelector");
        form(&at, &selector.raw_selector, selector.requirements.is_empty(), &mut problems);
        for (i, requirement) in selector.requirements.iter().enumerate() {
            let at = at.child("requirements").index(i);
            if requirement.key.is_empty() {
                problems.push(FieldError::required(&at.child("key"), "must be specified"));
            }
            values(&at, &requirement.operator, requirement.values.is_empty(), &mut problems);
        }
    }
    if let Some(selector) = asked.label_selector.as_deref() {
        let at = at.child("labelSelector");
        form(&at, &selector.raw_selector, selector.requirements.is_empty(), &mut problems);
        for (i, requirement) in selector.requirements.iter().enumerate() {
            let at = at.child("requirements").index(i);
            values(&at, &requirement.operator, requirement.values.is_empty(), &mut problems);
            let key = requirement.key.as_str();
            let wrong = meta::names::qualified_name(key).into_iter();
            problems.extend(wrong.map(|why| FieldError::invalid(&at.child("key"), key, why)));
            for (i, value) in requirement.values.iter().enumerate() {
                let at = at.child("values").index(i);
                let wrong = meta::names::label_value(value).into_iter();
                problems.extend(wrong.map(|why| FieldError::invalid(&at, value.as_str(), why)));
            }
        }
    }
    problems
}

/// A selector is written in one of two ways.
fn form(at: &FieldPath, raw: &str, no_requirements: bool, problems: &mut Vec<FieldError>) {
    match (raw.is_empty(), no_requirements) {
        (false, false) => {
            let detail = "may not specified at the same time as requirements";
            problems.push(FieldError::invalid(&at.child("rawSelector"), raw, detail));
        }
        (true, true) => {
            let detail = format!("when {at} is specified, requirements or rawSelector is required");
            problems.push(FieldError::required(&at.child("requirements"), detail));
        }
        _ => {}
    }
}

/// Whether an operator takes values is told where it is not so.
fn values(at: &FieldPath, operator: &str, none: bool, problems: &mut Vec<FieldError>) {
    let at = at.child("values");
    match operator {
        "In" | "NotIn" if none => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            problems.push(FieldError::required(&at, detail));
        }
        "Exists" | "DoesNotExist" if !none => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            problems.push(FieldError::forbidden(&at, detail));
        }
        _ => {}
    }
}

/// The terms that make sense, and whether some do not. Requirements win over text.
fn fields(selector: &FieldSelectorAttributes) -> (Vec<FieldTerm>, bool) {
    if selector.requirements.is_empty() {
        return match FieldSelector::parse(&selector.raw_selector) {
            Ok(parsed) => (parsed.terms, false),
            Err(_) => (Vec::new(), true),
        };
    }
    let terms: Vec<FieldTerm> = selector.requirements.iter().filter_map(term).collect();
    let wrong = terms.len() < selector.requirements.len();
    (terms, wrong)
}

fn term(requirement: &FieldSelectorRequirement) -> Option<FieldTerm> {
    let equal = match requirement.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    let [value] = &requirement.values[..] else { return None };
    Some(FieldTerm { field: requirement.key.clone(), value: value.clone(), equal })
}

fn labels(selector: &LabelSelectorAttributes) -> (Vec<Requirement>, bool) {
    if selector.requirements.is_empty() {
        return match Selector::parse(&selector.raw_selector) {
            Ok(parsed) => (parsed.requirements().to_vec(), false),
            Err(_) => (Vec::new(), true),
        };
    }
    let requirements: Vec<Requirement> = selector.requirements.iter().filter_map(requirement).collect();
    let wrong = requirements.len() < selector.requirements.len();
    (requirements, wrong)
}

fn requirement(requirement: &LabelSelectorRequirement) -> Option<Requirement> {
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    Requirement::new(requirement.key.clone(), operator, requirement.values.clone()).ok()
}

#[cfg(test)]
mod tests {
    use meta::Codec as _;

    use super::*;

    #[test]
    fn selectors_that_cannot_be_are_refused() {
        for (json, wanted) in [
            (r#""fieldSelector":{"rawSelector":"a=b"}"#, &[][..]),
            (r#""labelSelector":{"requirements":[{"key":"a","operator":"Newer","values":["x"]}]}"#, &[]),
            (
                r#""fieldSelector":{"rawSelector":"a=b","requirements":[{"key":"","operator":"In"}]}"#,
                &[
                    "spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements",
                    "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
                    "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                ],
            ),
            (
                r#""labelSelector":{}"#,
                &[
                    "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required",
                ],
            ),
            (
                r#""labelSelector":{"requirements":[{"key":"a","operator":"Exists","values":["x"]}]}"#,
                &[
                    "spec.resourceAttributes.labelSelector.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ],
            ),
        ] {
            let text = format!("{{\"verb\":\"list\",\"resource\":\"pods\",{json}}}");
            let asked = ResourceAttributes::from_json(text.as_bytes()).unwrap();
            let found: Vec<String> = problems(&asked).iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted, "{json}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_named() {
        let ask = |json: &str| {
            let text = format!("{{\"verb\":\"list\",\"resource\":\"pods\",{json}}}");
            question(&ResourceAttributes::from_json(text.as_bytes()).unwrap())
        };
        let table: [(&str, usize, usize, &[&str]); 8] = [
            (r#""fieldSelector":{"rawSelector":"spec.nodeName=n1,a!=b"}"#, 2, 0, &[]),
            (
                r#""fieldSelector":{"rawSelector":"no"}"#,
                0,
                0,
                &["spec.resourceAttributes.fieldSelector ignored due to parse error"],
            ),
            (
                r#""fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["b"]},{"key":"a","operator":"Exists"}]}"#,
                1,
                0,
                &["spec.resourceAttributes.fieldSelector partially ignored due to parse error"],
            ),
            (
                r#""fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["b","c"]}]}"#,
                0,
                0,
                &["spec.resourceAttributes.fieldSelector ignored due to parse error"],
            ),
            (r#""labelSelector":{"rawSelector":"a in (b,c),!d"}"#, 0, 2, &[]),
            (
                r#""labelSelector":{"rawSelector":"a in b"}"#,
                0,
                0,
                &["spec.resourceAttributes.labelSelector ignored due to parse error"],
            ),
            (
                r#""labelSelector":{"requirements":[{"key":"a","operator":"Exists"},{"key":"a","operator":"Nope"}]}"#,
                0,
                1,
                &["spec.resourceAttributes.labelSelector partially ignored due to parse error"],
            ),
            (
                r#""labelSelector":{"requirements":[{"key":"a","operator":"In"}]}"#,
                0,
                0,
                &["spec.resourceAttributes.labelSelector ignored due to parse error"],
            ),
        ];
        for (json, fields, labels, ignored) in table {
            let question = ask(json);
            assert_eq!(
                (question.attributes.fields.len(), question.attributes.labels.len()),
                (fields, labels),
                "{json}"
            );
            assert_eq!(question.ignored, ignored, "{json}");
            assert_eq!(question.attributes.version, "*");
        }
    }
}
