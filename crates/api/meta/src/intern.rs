//! Strings that many objects repeat (label keys, images, node names) share their memory.
//!
//! Strings of up to 15 bytes live inside [`Str`] and need no sharing. For longer ones each thread keeps a table of fixed
//! size in which a newcomer takes the place of whoever hashed to the same slot: no lock, no growth, and nothing that
//! chosen strings could slow down. What is missed costs a duplicate, nothing else.

use std::cell::RefCell;
use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;

use crate::Str;

/// Slots per thread; a power of two.
const SLOTS: usize = 1024;
/// Longer strings are rarely the same.
const LENGTH_MAX: usize = 96;
const INLINE_MAX: usize = 15;

struct Table {
    hasher: DefaultHashBuilder,
    slots: Vec<Str>,
}

thread_local! {
    static TABLE: RefCell<Table> =
        RefCell::new(Table { hasher: DefaultHashBuilder::default(), slots: Vec::new() });
}

/// A [`Str`] with the given text that shares its memory with an earlier equal one where that pays.
pub fn intern(s: &str) -> Str {
    if s.len() <= INLINE_MAX || s.len() > LENGTH_MAX {
        return Str::from(s);
    }
    TABLE.with_borrow_mut(|table| {
        if table.slots.is_empty() {
            table.slots.resize(SLOTS, Str::new());
        }
        let slot = table.hasher.hash_one(s) as usize & (SLOTS - 1);
        let known = &mut table.slots[slot];
        if known != s {
            *known = Str::from(s);
        }
        known.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_their_memory() {
        let (a, b) = (intern("app.kubernetes.io/name"), intern("app.kubernetes.io/name"));
        assert_eq!(a.as_ptr(), b.as_ptr());
        for i in 0..10_000 {
            let text = format!("a string that is too long to inline, {i}");
            assert_eq!(intern(&text), text);
        }
        assert_eq!(intern("short"), "short");
    }
}
