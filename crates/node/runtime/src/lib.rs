//! Sandboxes and containers.
