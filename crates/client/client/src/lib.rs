//! One client trait, two transports.
