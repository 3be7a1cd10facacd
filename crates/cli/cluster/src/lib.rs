//! up, down, reset, status, images.
