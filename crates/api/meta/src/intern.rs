//! A bounded table of strings that many objects repeat: label keys, annotation keys, node names.
//!
//! Strings of up to 15 bytes live inside [`Str`] and need no table. The table is per thread, so it costs no lock; a
//! full table is emptied, which costs duplicates and never memory without bound.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::Str;

/// Most strings held per thread.
const ENTRIES_MAX: usize = 4096;
/// Longer strings are not worth comparing.
const LENGTH_MAX: usize = 96;
const INLINE_MAX: usize = 15;

thread_local! {
    static TABLE: RefCell<HashSet<Str>> = RefCell::new(HashSet::new());
}

/// A [`Str`] with the given text that shares its memory with earlier equal ones where that pays.
pub fn intern(s: &str) -> Str {
    if s.len() <= INLINE_MAX || s.len() > LENGTH_MAX {
        return Str::from(s);
    }
    TABLE.with_borrow_mut(|table| {
        if let Some(known) = table.get(s) {
            return known.clone();
        }
        if table.len() >= ENTRIES_MAX {
            table.clear();
        }
        let new = Str::from(s);
        table.insert(new.clone());
        new
    })
}
