//! One file per volume type.
