//! Image store and pulls.
