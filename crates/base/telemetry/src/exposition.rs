//! Writes Prometheus' text format.

use crate::cells::Histogram;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A page of metrics under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    /// Names that are left out.
    disabled: BTreeSet<String>,
    /// Whether the metric that was opened last is one of them.
    muted: bool,
}

impl Exposition {
    /// A page that leaves out the metrics of these names.
    pub(crate) fn without(disabled: BTreeSet<String>) -> Exposition {
        Exposition { disabled, ..Exposition::default() }
    }

    /// Opens a metric; `kind` is `counter`, `gauge` or `histogram`. Its samples follow.
    pub fn header(&mut self, name: &str, help: &str, kind: &str) {
        self.muted = self.disabled.contains(name);
        if self.muted {
            return;
        }
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing into a String cannot fail; the same holds for every write in this file.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds one value under the metric that was opened last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, Box<str>)], value: f64) {
        self.line(name, "", labels, None, value);
    }

    pub(crate) fn histogram(&mut self, name: &str, labels: &[(&'static str, Box<str>)], cell: &Histogram) {
        let (buckets, count, sum) = cell.snapshot();
        for (limit, below) in buckets {
            self.line(name, "_bucket", labels, Some(limit), below as f64);
        }
        self.line(name, "_sum", labels, None, sum);
        self.line(name, "_count", labels, None, count as f64);
    }

    /// The finished page.
    pub fn into_text(self) -> String {
        self.text
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(&str, Box<str>)],
        limit: Option<f64>,
        value: f64,
    ) {
        if self.muted {
            return;
        }
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (label, text) in labels {
            let _ = write!(self.text, "{separator}{label}=\"");
            for letter in text.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
            separator = ',';
        }
        if let Some(limit) = limit {
            let _ = write!(self.text, "{separator}le=\"");
            self.number(limit);
            self.text.push('"');
            separator = ',';
        }
        self.text.push_str(if separator == ',' { "} " } else { " " });
        self.number(value);
        self.text.push('\n');
    }

    fn number(&mut self, value: f64) {
        if value.is_infinite() {
            self.text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        } else {
            let _ = write!(self.text, "{value}");
        }
    }
}
