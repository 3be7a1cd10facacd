//! How often credentials are used, for metrics. The cells are kept, for every request comes by here.

use std::sync::LazyLock;

use telemetry::Counter;

fn uses(name: &'static str, help: &'static str) -> Counter {
    telemetry::counter(name, help, &[]).with(&[])
}

/// Tokens of ServiceAccounts that are not to be replaced yet.
pub(crate) static VALID: LazyLock<Counter> = LazyLock::new(|| {
    uses("serviceaccount_valid_tokens_total", "Valid bound tokens of ServiceAccounts that were used.")
});

/// Tokens that should have been replaced: their holders do not read the file again.
pub(crate) static STALE: LazyLock<Counter> = LazyLock::new(|| {
    uses(
        "serviceaccount_stale_tokens_total",
        "Bound tokens of ServiceAccounts that were used beyond their time.",
    )
});

/// Tokens that live in secrets.
pub(crate) static LEGACY: LazyLock<Counter> = LazyLock::new(|| {
    uses("serviceaccount_legacy_tokens_total", "Tokens of ServiceAccounts from secrets that were used.")
});

/// Few names, however many users there are; the last two stand for all others.
const LABELS: [&str; 7] = [
    "admin",
    "client",
    "kube_proxy",
    "kubelet",
    "system:serviceaccount:kube-system:default",
    "email_id",
    "other",
];

static USERS: LazyLock<[Counter; LABELS.len()]> = LazyLock::new(|| {
    let family =
        telemetry::counter("authenticated_user_requests", "Authenticated requests by user.", &["username"]);
    LABELS.map(|label| family.with(&[label]))
});

/// Which label stands for a user.
fn label(name: &str) -> usize {
    let other = LABELS.len() - 1;
    match LABELS[..other - 1].iter().position(|known| *known == name) {
        Some(known) => known,
        None if name.contains('@') => other - 1,
        None => other,
    }
}

/// A request of a user.
pub(crate) fn user(name: &str) {
    USERS[label(name)].inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_few_labels() {
        for (name, want) in [
            ("admin", "admin"),
            ("kubelet", "kubelet"),
            ("jane@example.com", "email_id"),
            ("system:node:n1", "other"),
            ("", "other"),
        ] {
            assert_eq!(LABELS[label(name)], want);
        }
    }
}
