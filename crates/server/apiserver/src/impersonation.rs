//! What must be allowed before an identity is taken over: one question per user, group, uid and extra value.

use authn::Impersonation;
use authz::Attributes;

/// The questions, in upstream's order.
pub(crate) fn questions(wanted: &Impersonation) -> Vec<Attributes> {
    let mut questions = Vec::new();
    match wanted.user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => {
            questions.push(Attributes::resource("impersonate", "", "serviceaccounts", namespace, name));
        }
        None => questions.push(Attributes::resource("impersonate", "", "users", "", &wanted.user)),
    }
    questions.extend(wanted.groups.iter().map(|g| Attributes::resource("impersonate", "", "groups", "", g)));
    for (key, values) in &wanted.extra {
        questions.extend(values.iter().map(|value| {
            let mut question =
                Attributes::resource("impersonate", "authentication.k8s.io", "userextras", "", value);
            question.subresource = key.clone();
            question
        }));
    }
    if !wanted.uid.is_empty() {
        questions.push(Attributes::resource("impersonate", "authentication.k8s.io", "uids", "", &wanted.uid));
    }
    questions
}
