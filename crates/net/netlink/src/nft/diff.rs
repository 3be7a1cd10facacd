//! What has to change between two rulesets. Pure, and small where the change is small: an endpoint that comes or goes is a few
//! elements, whatever the size of the table.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Chain, Data, Ruleset, Set, Value};

/// Changes that lead from one ruleset to another, in groups that are sent in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Chains to make.
    pub new_chains: Vec<(&'a str, &'a Chain)>,
    /// Sets to make.
    pub new_sets: Vec<(&'a str, &'a Set)>,
    /// Elements to remove (those whose value changes are removed and added).
    pub old_elements: Vec<(&'a str, Vec<(&'a Data, &'a Value)>)>,
    /// Elements to add.
    pub new_elements: Vec<(&'a str, Vec<(&'a Data, &'a Value)>)>,
    /// Chains whose rules are written: new ones, and flushed ones that have other rules now.
    pub rules: Vec<(&'a str, &'a Chain, bool)>,
    /// Chains to remove.
    pub old_chains: Vec<&'a str>,
    /// Sets to remove.
    pub old_sets: Vec<&'a str>,
}

impl Changes<'_> {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

/// The changes from `old` to `new`, or `None` if they are so different (another table, another kind of chain or set under
/// the same name) that the table is to be made anew.
pub fn diff<'a>(old: &'a Ruleset, new: &'a Ruleset) -> Option<Changes<'a>> {
    let same_chains =
        old.chains.iter().all(|(name, chain)| new.chains.get(name).is_none_or(|now| now.base == chain.base));
    let same_sets = old.sets.iter().all(|(name, set)| new.sets.get(name).is_none_or(|now| now == set));
    if old.table != new.table || !same_chains || !same_sets {
        return None;
    }
    let mut changes = Changes::default();
    for (name, chain) in &new.chains {
        match old.chains.get(name) {
            None => {
                changes.new_chains.push((name, chain));
                changes.rules.push((name, chain, false));
            }
            Some(had) if had.rules != chain.rules => changes.rules.push((name, chain, true)),
            Some(_) => {}
        }
    }
    changes.new_sets.extend(
        new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)).map(|(n, s)| (n.as_str(), s)),
    );
    changes
        .old_chains
        .extend(old.chains.keys().filter(|name| !new.chains.contains_key(*name)).map(String::as_str));
    changes.old_sets.extend(old.sets.keys().filter(|name| !new.sets.contains_key(*name)).map(String::as_str));
    for name in
        old.elements.keys().chain(new.elements.keys().filter(|name| !old.elements.contains_key(*name)))
    {
        let had = old.elements.get(name).unwrap_or(&NONE);
        let now = new.elements.get(name).unwrap_or(&NONE);
        let (gone, fresh) = differences(had, now);
        if !gone.is_empty() && new.sets.contains_key(name) {
            changes.old_elements.push((name, gone));
        }
        if !fresh.is_empty() {
            changes.new_elements.push((name, fresh));
        }
    }
    Some(changes)
}

static NONE: BTreeMap<Data, Value> = BTreeMap::new();

type Elements<'a> = Vec<(&'a Data, &'a Value)>;

/// What is only (or differently) in `had`, and what is only (or differently) in `now`, by walking both in order.
fn differences<'a>(
    had: &'a BTreeMap<Data, Value>,
    now: &'a BTreeMap<Data, Value>,
) -> (Elements<'a>, Elements<'a>) {
    let (mut gone, mut fresh) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (had.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return (gone, fresh),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        match order {
            Ordering::Less => gone.extend(left.next()),
            Ordering::Greater => fresh.extend(right.next()),
            Ordering::Equal => {
                if let (Some(a), Some(b)) = (left.next(), right.next())
                    && a.1 != b.1
                {
                    gone.push(a);
                    fresh.push(b);
                }
            }
        }
    }
}
