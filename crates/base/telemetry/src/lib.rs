//! Logs and metrics under upstream's metric names.
