//! The watch cache: one encoded event, many watchers.
