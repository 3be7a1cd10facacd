//! How findings are put into words.

use std::collections::BTreeSet;

/// What is wrong with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that it breaks.
    pub reason: &'static str,
    /// Where and how.
    pub detail: String,
}

impl Violation {
    /// A finding.
    pub fn new(reason: &'static str, detail: String) -> Option<Self> {
        Some(Self { reason, detail })
    }
}

/// Values in order, each once.
pub type Sorted<'a> = BTreeSet<&'a str>;

/// `"a", "b"`.
pub fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<String> = items.into_iter().map(|s| format!("\"{}\"", s.as_ref())).collect();
    items.join(", ")
}

/// The noun for so many.
pub fn noun(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
pub fn containers(names: &[&str]) -> String {
    format!("{} {}", noun("container", "containers", names.len()), quoted(names))
}

/// `pod and container "a"`: who set something that they must not. `None` when nobody did.
pub fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".into()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

/// `host namespaces (hostPID=true), privileged (...)`.
pub fn details(found: &[Violation]) -> String {
    let texts: Vec<String> = found.iter().map(|v| format!("{} ({})", v.reason, v.detail)).collect();
    texts.join(", ")
}

/// `host namespaces, privileged`.
pub fn reasons(found: &[Violation]) -> String {
    found.iter().map(|v| v.reason).collect::<Vec<_>>().join(", ")
}
