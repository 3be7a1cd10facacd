//! Which FlowSchema a request belongs to.

use authn::User;
use types::flowcontrol::v1::{
    FlowSchema, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};

/// What a FlowSchema looks at.
#[derive(Clone, Copy, Debug)]
pub struct Digest<'a> {
    /// Who asks.
    pub user: &'a User,
    /// API verb, or the method in small letters for paths.
    pub verb: &'a str,
    /// The path, for requests that are not about a resource.
    pub path: Option<&'a str>,
    /// API group.
    pub group: &'a str,
    /// Resource, with a slash and the subresource where there is one.
    pub resource: &'a str,
    /// Namespace; empty for what lies in none and for lists over all.
    pub namespace: &'a str,
}

/// Whether any rule of the schema matches.
pub fn matches(schema: &FlowSchema, request: &Digest<'_>) -> bool {
    schema.spec.rules.iter().any(|rule| rule_matches(rule, request))
}

fn rule_matches(rule: &PolicyRulesWithSubjects, request: &Digest<'_>) -> bool {
    rule.subjects.iter().any(|subject| subject_matches(subject, request.user))
        && match request.path {
            Some(path) => rule.non_resource_rules.iter().any(|rule| path_matches(rule, request.verb, path)),
            None => rule.resource_rules.iter().any(|rule| resource_matches(rule, request)),
        }
}

fn subject_matches(subject: &Subject, user: &User) -> bool {
    match subject.kind.as_str() {
        "User" => subject.user.as_ref().is_some_and(|wanted| wanted.name == "*" || wanted.name == user.name),
        "Group" => subject
            .group
            .as_ref()
            .is_some_and(|wanted| wanted.name == "*" || user.groups.contains(&wanted.name)),
        "ServiceAccount" => subject.service_account.as_ref().is_some_and(|wanted| {
            let name = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            name.is_some_and(|(namespace, name)| {
                wanted.namespace == namespace && (wanted.name == "*" || wanted.name == name)
            })
        }),
        _ => false,
    }
}

fn listed<S: AsRef<str>>(list: &[S], wanted: &str) -> bool {
    list.iter().any(|one| matches!(one.as_ref(), "*") || one.as_ref() == wanted)
}

fn path_matches(rule: &NonResourcePolicyRule, verb: &str, path: &str) -> bool {
    listed(&rule.verbs, verb)
        && rule.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == url.as_str(),
        })
}

fn resource_matches(rule: &ResourcePolicyRule, request: &Digest<'_>) -> bool {
    listed(&rule.verbs, request.verb)
        && listed(&rule.api_groups, request.group)
        && listed(&rule.resources, request.resource)
        && if request.namespace.is_empty() {
            rule.cluster_scope
        } else {
            listed(&rule.namespaces, request.namespace)
        }
}
