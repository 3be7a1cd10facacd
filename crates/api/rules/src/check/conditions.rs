//! The conditions of a status that are `metav1.Condition`s.

use super::{Errs, qualified_name};
use crate::Path;
use meta::List;
use meta::v1::Condition;
use std::collections::BTreeSet;

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
const BAD_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Each condition is well formed, and no type occurs twice.
pub fn conditions(e: &mut Errs, list: &Path<'_>, conditions: &List<Condition>) {
    let mut types = BTreeSet::new();
    for (i, c) in conditions.iter().enumerate() {
        let at = list.index(i);
        if !types.insert(&c.type_) {
            e.duplicate(&at.child("type"), &c.type_);
        }
        e.each(&at.child("type"), &c.type_, qualified_name(&c.type_));
        e.one_of(&at.child("status"), &c.status, &["False", "True", "Unknown"]);
        if c.observed_generation < 0 {
            let detail = "must be greater than or equal to zero";
            e.invalid(&at.child("observedGeneration"), c.observed_generation, detail);
        }
        if c.last_transition_time.is_none() {
            e.required(&at.child("lastTransitionTime"), "");
        }
        if e.present(&at.child("reason"), &c.reason) {
            if !is_reason(&c.reason) {
                e.invalid(&at.child("reason"), &c.reason, BAD_REASON);
            }
            if c.reason.len() > REASON_BYTES_MAX {
                e.too_long(&at.child("reason"), REASON_BYTES_MAX);
            }
        }
        if c.message.len() > MESSAGE_BYTES_MAX {
            e.too_long(&at.child("message"), MESSAGE_BYTES_MAX);
        }
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    reason.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && reason.bytes().next_back().is_some_and(word)
        && reason.bytes().all(|b| word(b) || b == b',' || b == b':')
}

#[cfg(test)]
mod tests {
    use super::is_reason;

    #[test]
    fn reasons() {
        for (reason, good) in [
            ("A", true),
            ("a_b,C:d9", true),
            ("A_", true),
            ("", false),
            ("9a", false),
            ("a:", false),
            ("a b", false),
        ] {
            assert_eq!(is_reason(reason), good, "{reason}");
        }
    }
}
