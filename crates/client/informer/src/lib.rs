//! Typed, indexed caches over watches.
