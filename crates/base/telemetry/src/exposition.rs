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
            number(&mut self.text, value);
        }
    }
}

/// Writes a number as Go's shortest `%g` does, so that bucket limits are the same text as upstream's: with an exponent of
/// two digits below 0.0001 and from a million on.
fn number(text: &mut String, value: f64) {
    if value == 0.0 || value.is_nan() || (1e-4..1e6).contains(&value.abs()) {
        let _ = write!(text, "{value}");
        return;
    }
    let plain = format!("{value:e}");
    let (digits, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
    let _ = write!(text, "{digits}e{sign}{exponent:0>2}");
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (9.999999999999999e-6, "9.999999999999999e-06"),
            (950_000.0, "950000"),
            (1_050_000.0, "1.05e+06"),
            (-2_592_000.0, "-2.592e+06"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
        ] {
            let mut text = String::new();
            number(&mut text, value);
            assert_eq!(text, expected);
        }
    }
}
