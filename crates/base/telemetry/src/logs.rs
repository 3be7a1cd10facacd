//! Logs: one line an event, on standard error, filtered and shaped as the user asked.

use std::io::IsTerminal;

use regex::Regex;
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::json_log::Json;

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
    /// A pattern of modules is none; the text is klog's.
    #[error("{0}")]
    Module(String),
    /// Logging in this process was set up before; that one stays in force.
    #[error("logging is already set up")]
    AlreadySet,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// A JSON object with the members `ts` (milliseconds since 1970), `caller`, `msg`, `v` and the event's own (KEP-1602).
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// A level (`info`), or a list of targets and levels (`info,mvcc=debug`).
    pub filter: String,
    /// What a line looks like.
    pub form: LogForm,
    /// More of some modules.
    pub modules: Vec<ModuleLevel>,
}

/// How much is logged of modules whose file has such a name (klog's `--vmodule`).
#[derive(Clone, Debug)]
pub struct ModuleLevel {
    file: Regex,
    most: Level,
}

impl ModuleLevel {
    /// Reads `PATTERN=N`: the name of a file without `.rs`, in which `*` and `?` stand for letters, and klog's verbosity.
    ///
    /// # Errors
    /// The text has another form, in klog's words.
    pub fn parse(text: &str) -> Result<ModuleLevel, LogError> {
        let wrong = || LogError::Module(format!("{text:?} does not have the pattern=N format"));
        let (pattern, verbosity) = text.split_once('=').ok_or_else(wrong)?;
        let verbosity = verbosity.parse().map_err(|_| {
            LogError::Module(format!(
                "parsing verbosity in {text:?}: strconv.ParseUint: parsing {verbosity:?}: invalid syntax"
            ))
        })?;
        let glob = regex::escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]");
        let file = Regex::new(&format!("^{glob}$")).map_err(|_| wrong())?;
        Ok(ModuleLevel { file, most: of_verbosity(verbosity) })
    }

    fn wants(&self, event: &Metadata<'_>) -> bool {
        let path = event.file().unwrap_or_default().trim_end_matches(".rs");
        // A folder's `mod.rs` goes by the folder's name.
        let path = path.trim_end_matches("/mod");
        *event.level() <= self.most && self.file.is_match(path.rsplit('/').next().unwrap_or_default())
    }
}

/// The level that klog's verbosity comes to: from 3 on what is done for each object, from 6 on everything.
pub fn of_verbosity(verbosity: u32) -> Level {
    match verbosity {
        0..=2 => Level::INFO,
        3..=5 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

/// Writes this process' events to standard error from now on, as text. `filter` is that of [`LogOptions`]; the variable
/// `FERROKUBE_LOG` takes precedence when it is set.
///
/// # Errors
/// See [`LogError`]; nothing is set up then.
pub fn init_logs(filter: &str) -> Result<(), LogError> {
    init_logs_as(LogOptions { filter: filter.to_owned(), ..LogOptions::default() })
}

/// Writes this process' events to standard error from now on.
///
/// # Errors
/// See [`LogError`]; nothing is set up then.
pub fn init_logs_as(options: LogOptions) -> Result<(), LogError> {
    let LogOptions { filter, form, modules } = options;
    let filter = std::env::var("FERROKUBE_LOG").ok().filter(|text| !text.is_empty()).unwrap_or(filter);
    let parsed = EnvFilter::try_new(&filter)
        .map_err(|error| LogError::Filter { filter: filter.clone(), reason: error.to_string() })?;
    let lines = match form {
        LogForm::Text => {
            fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
        LogForm::Json => fmt::layer().event_format(Json).with_writer(std::io::stderr).boxed(),
    };
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match modules.iter().map(|one| one.most).max() {
        None => lines.with_filter(parsed).boxed(),
        Some(most) => {
            let named = filter_fn(move |event| modules.iter().any(|one| one.wants(event)))
                .with_max_level_hint(LevelFilter::from_level(most));
            lines.with_filter(parsed.or(named)).boxed()
        }
    };
    tracing_subscriber::registry().with(lines).try_init().map_err(|_| LogError::AlreadySet)
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

    #[test]
    fn modules_go_by_their_files() {
        for (pattern, file, wanted) in [
            ("queue=6", "queue", true),
            ("que*=6", "queue", true),
            ("queu?=6", "queue", true),
            ("que=6", "queue", false),
            ("que.*=6", "queue", false),
        ] {
            let one = ModuleLevel::parse(pattern).unwrap();
            assert_eq!((one.file.is_match(file), one.most), (wanted, Level::TRACE), "{pattern}");
        }
        for (pattern, says) in [
            ("a", r#""a" does not have the pattern=N format"#),
            ("a=x", r#"parsing verbosity in "a=x": strconv.ParseUint: parsing "x": invalid syntax"#),
        ] {
            assert_eq!(ModuleLevel::parse(pattern).unwrap_err().to_string(), says);
        }
    }
}
