//! The table of kinds.
