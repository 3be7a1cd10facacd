//! Generated structs for every kind.
