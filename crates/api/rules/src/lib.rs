//! Per kind: default, validate, prepare; pure functions.
