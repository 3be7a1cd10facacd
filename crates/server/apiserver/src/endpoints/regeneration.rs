//! Why OpenAPI documents are made anew: the definitions that came, changed or went since the last time.

use std::sync::{Arc, LazyLock};

use meta::Str;
use registry::Definition;
use telemetry::CounterFamily;

static V2: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Times that the OpenAPI v2 document was made anew, by the definition and what became of it.";
    telemetry::counter("apiextensions_openapi_v2_regeneration_count", help, &["crd", "reason"])
});

static V3: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Times that an OpenAPI v3 document was made anew, by the definition and what became of it.";
    let labels = &["crd", "group", "reason", "version"];
    telemetry::counter("apiextensions_openapi_v3_regeneration_count", help, labels)
});

/// What a document was made of, for a comparison.
trait Source {
    fn name(&self) -> &Str;
    fn is(&self, other: &Self) -> bool;
}

impl Source for Arc<Definition> {
    fn name(&self) -> &Str {
        &self.name
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }
}

/// The names of what differs, each with `add`, `update` or `remove`.
fn causes<'a, S: Source>(before: &'a [S], now: &'a [S]) -> Vec<(&'a Str, &'static str)> {
    let find = |all: &'a [S], name: &Str| all.iter().find(|one| one.name() == name);
    let came = now.iter().filter_map(|new| match find(before, new.name()) {
        Some(old) if old.is(new) => None,
        Some(_) => Some((new.name(), "update")),
        None => Some((new.name(), "add")),
    });
    let went = before.iter().filter(|old| find(now, old.name()).is_none()).map(|old| (old.name(), "remove"));
    let mut causes: Vec<_> = came.chain(went).collect();
    // Versions of one definition are one cause.
    causes.sort_unstable();
    causes.dedup();
    causes
}

/// The document of version 2 is made of `now`, and was made of `before`.
pub(super) fn second(before: &[Arc<Definition>], now: &[Arc<Definition>]) {
    for (name, reason) in causes(before, now) {
        V2.with(&[name, reason]).inc();
    }
}

/// The document of version 3 of a group and version is made of `now`, and was made of `before`.
pub(super) fn third(group: &str, version: &str, before: &[Arc<Definition>], now: &[Arc<Definition>]) {
    for (name, reason) in causes(before, now) {
        V3.with(&[name, group, reason, version]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbered(Str, u8);

    impl Source for Numbered {
        fn name(&self) -> &Str {
            &self.0
        }
        fn is(&self, other: &Self) -> bool {
            self.1 == other.1
        }
    }

    #[test]
    fn what_differs_is_a_cause() {
        let make =
            |all: &[(&str, u8)]| all.iter().map(|(name, n)| Numbered((*name).into(), *n)).collect::<Vec<_>>();
        let before = make(&[("gone", 1), ("kept", 1), ("other", 1), ("other", 1)]);
        let now = make(&[("kept", 1), ("new", 1), ("other", 2), ("other", 2)]);
        let found: Vec<_> =
            causes(&before, &now).into_iter().map(|(name, reason)| format!("{name} {reason}")).collect();
        assert_eq!(found, ["gone remove", "new add", "other update"]);
    }
}
