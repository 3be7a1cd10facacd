//! The flags about logs.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use telemetry::{LogForm, LogOptions, ModuleLevel};

/// What is logged, and how.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct LogFlags {
    /// How much is logged: from 3 on what is done for each object, from 6 on everything
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    #[serde(rename = "v")]
    pub verbosity: u32,
    /// More of single files, PATTERN=LEVEL: `queue=6,serv*=3`; for the text format only
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub vmodule: Vec<String>,
    /// Form of the lines: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub logging_format: String,
    /// Longest time between writes of the log; each line is written at once anyhow
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = checked_duration)]
    pub log_flush_frequency: String,
    /// Errors and other lines apart, for which v1.36 wants the feature LoggingAlphaOptions
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false", require_equals = true, action = clap::ArgAction::Set)]
    pub log_json_split_stream: bool,
    /// Likewise for text
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false", require_equals = true, action = clap::ArgAction::Set)]
    pub log_text_split_stream: bool,
    /// Bytes of lines that may wait to be written, for which v1.36 wants the feature LoggingAlphaOptions
    #[arg(long, hide = true, value_name = "QUANTITY", default_value = "0")]
    pub log_json_info_buffer_size: String,
    /// Likewise for text
    #[arg(long, hide = true, value_name = "QUANTITY", default_value = "0")]
    pub log_text_info_buffer_size: String,
}

impl Default for LogFlags {
    fn default() -> Self {
        LogFlags {
            verbosity: 0,
            vmodule: Vec::new(),
            logging_format: "text".into(),
            log_flush_frequency: "5s".into(),
            log_json_split_stream: false,
            log_text_split_stream: false,
            log_json_info_buffer_size: "0".into(),
            log_text_info_buffer_size: "0".into(),
        }
    }
}

impl LogFlags {
    /// What they come to.
    ///
    /// # Errors
    /// A flag asks for what is not there, in upstream's words.
    pub(super) fn options(&self) -> Result<LogOptions> {
        let alpha = [
            ("json.splitStream", self.log_json_split_stream),
            ("text.splitStream", self.log_text_split_stream),
            ("json.infoBufferSize", self.log_json_info_buffer_size != "0"),
            ("text.infoBufferSize", self.log_text_info_buffer_size != "0"),
        ];
        if let Some((name, _)) = alpha.iter().find(|(_, wanted)| *wanted) {
            bail!("options.{name}: Forbidden: Feature LoggingAlphaOptions is disabled");
        }
        let form = match self.logging_format.as_str() {
            "text" => LogForm::Text,
            "json" => LogForm::Json,
            other => bail!("format: Invalid value: {other:?}: Unsupported log format"),
        };
        if form == LogForm::Json && !self.vmodule.is_empty() {
            bail!("vmodule: Forbidden: Only supported for text log format");
        }
        let modules = self.vmodule.iter().map(|one| ModuleLevel::parse(one)).collect::<Result<_, _>>()?;
        let filter = telemetry::of_verbosity(self.verbosity).to_string();
        Ok(LogOptions { filter, form, modules })
    }
}

/// A duration, as it was written.
fn checked_duration(text: &str) -> Result<String, String> {
    meta::Duration::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut LogFlags)) -> String {
        let mut flags = LogFlags::default();
        change(&mut flags);
        match flags.options() {
            Ok(LogOptions { filter, form, modules }) => format!("{filter} {form:?} {}", modules.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn flags_say_what_is_logged() {
        assert_eq!(said(|_| {}), "INFO Text 0");
        assert_eq!(said(|flags| flags.verbosity = 4), "DEBUG Text 0");
        assert_eq!(said(|flags| flags.logging_format = "json".into()), "INFO Json 0");
        assert_eq!(said(|flags| flags.vmodule = vec!["queue=9".into()]), "INFO Text 1");
        let xml = said(|flags| flags.logging_format = "xml".into());
        assert_eq!(xml, "format: Invalid value: \"xml\": Unsupported log format");
        let split = said(|flags| flags.log_json_split_stream = true);
        assert_eq!(split, "options.json.splitStream: Forbidden: Feature LoggingAlphaOptions is disabled");
        let both = said(|flags| {
            flags.logging_format = "json".into();
            flags.vmodule = vec!["a=1".into()];
        });
        assert_eq!(both, "vmodule: Forbidden: Only supported for text log format");
    }
}
