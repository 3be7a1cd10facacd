//! Logs: one line an event, on standard error, filtered as the user asked.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not of the form `level` or `target=level,...`; the text names the part.
    #[error("invalid log filter {filter:?}: {reason}")]
    Filter {
        /// What was asked for.
        filter: String,
        /// Which part was not understood.
        reason: String,
    },
    /// Something in this process has set up logging before; that one stays in force.
    #[error("logging is already set up")]
    AlreadySet,
}

/// Writes this process' events to standard error from now on. `filter` is a level (`info`) or a list of targets and
/// levels (`info,mvcc=debug`); the variable `FERROKUBE_LOG` takes precedence when it is set.
///
/// # Errors
/// See [`LogError`]; nothing is set up then.
pub fn init_logs(filter: &str) -> Result<(), LogError> {
    let filter = std::env::var("FERROKUBE_LOG")
        .ok()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| filter.to_owned());
    let parsed = EnvFilter::try_new(&filter)
        .map_err(|error| LogError::Filter { filter: filter.clone(), reason: error.to_string() })?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|_| LogError::AlreadySet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named_and_a_second_setup_refused() {
        assert!(matches!(init_logs("mvcc=loud"), Err(LogError::Filter { .. })));
        init_logs("warn").unwrap();
        assert!(matches!(init_logs("warn"), Err(LogError::AlreadySet)));
    }
}
