//! The flags about metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde::{Deserialize, Serialize};
use telemetry::AllowedLabels;

/// The version before this one: the only one whose hidden metrics may be asked for.
const PREVIOUS: &str = "1.35";
/// What a metric and a label may be called.
const METRIC: &str = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL: &str = "[a-zA-Z_][a-zA-Z0-9_]*";

/// Which metrics are shown.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricFlags {
    /// Names of metrics that are not shown
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub disabled_metrics: Vec<String>,
    /// Show the metrics that this version hides and the one before did not: there are none. Only 1.35 may be named
    #[arg(long, value_name = "VERSION")]
    pub show_hidden_metrics_for_version: Option<String>,
    /// Values that a label may have, METRIC,LABEL=VALUE,VALUE; any other is shown as `unexpected`
    #[arg(long, value_name = "RULE")]
    pub allow_metric_labels: Vec<String>,
    /// The same from a YAML file that maps METRIC,LABEL to VALUE,VALUE
    #[arg(long, value_name = "FILE")]
    pub allow_metric_labels_manifest: Option<PathBuf>,
}

impl MetricFlags {
    /// The bounds of labels.
    ///
    /// # Errors
    /// A flag asks for what is not there, in upstream's words.
    pub(super) fn allowed(&self) -> Result<AllowedLabels> {
        if self.show_hidden_metrics_for_version.as_ref().is_some_and(|version| version != PREVIOUS) {
            bail!(
                "--show-hidden-metrics-for-version must be omitted or have the value '{PREVIOUS}'. Only the previous \
                 minor version is allowed"
            );
        }
        let given = pairs(&self.allow_metric_labels)?;
        let Some(path) = &self.allow_metric_labels_manifest else { return bounds(&given) };
        ensure!(
            given.is_empty(),
            "metrics: Invalid value: cannot specify both allowListMapping and allowListMappingManifest"
        );
        let about = || format!("metrics.allowListMappingManifest: Invalid value: {:?}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| {
            let error = crate::scheduler::unusable("open", path, &error);
            anyhow::anyhow!("{}: failed to read allow list manifest: {error}", about())
        })?;
        let read: BTreeMap<String, String> = serde_norway::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}: failed to parse allow list manifest: {error}", about()))?;
        bounds(&read).with_context(|| format!("{}: invalid allow list mapping in manifest", about()))
    }

    /// Takes effect.
    pub(super) fn apply(&self, allowed: AllowedLabels) {
        telemetry::registry().disable(&self.disabled_metrics);
        telemetry::registry().allow_labels(allowed);
    }
}

/// Reads `key=value` rules as pflag does: one with a single `=` is taken whole, others are comma-separated with quotes.
fn pairs(rules: &[String]) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for rule in rules {
        let parts = match rule.matches('=').count() {
            0 => bail!(
                "invalid argument {rule:?} for \"--allow-metric-labels\" flag: {rule} must be formatted as key=value"
            ),
            1 => vec![rule.trim_matches('"').to_owned()],
            _ => split(rule),
        };
        for part in parts {
            let (key, value) = part.split_once('=').with_context(|| {
                format!("invalid argument {rule:?} for \"--allow-metric-labels\" flag: {part} must be formatted as key=value")
            })?;
            all.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(all)
}

/// The fields of a line of comma-separated values, quoted where they hold commas.
fn split(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => fields.last_mut().into_iter().for_each(|field| field.push(letter)),
        }
    }
    fields
}

fn bounds(given: &BTreeMap<String, String>) -> Result<AllowedLabels> {
    let known = Regex::new(&format!("^({METRIC}),({LABEL})$"))?;
    let bound = |(key, values): (&String, &String)| {
        let parts = known.captures(key).with_context(|| {
            format!(
                "metrics.allowListMapping: Invalid value: {given:?}: must have keys with format `metricName,labelName` \
                 where metricName matches {METRIC:?} and labelName matches {LABEL:?}"
            )
        })?;
        let values = values.split(',').map(str::to_owned).collect();
        Ok(((parts[1].to_owned(), parts[2].to_owned()), values))
    };
    given.iter().map(bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &[&str]) -> Result<AllowedLabels> {
        let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
        MetricFlags { allow_metric_labels: rules, ..MetricFlags::default() }.allowed()
    }

    #[test]
    fn rules_are_read_as_pflag_reads_them() {
        let key = |metric: &str, label: &str| (metric.to_owned(), label.to_owned());
        let one = allowed(&["m,l=v1,v2"]).unwrap();
        assert_eq!(one[&key("m", "l")], ["v1".to_owned(), "v2".to_owned()].into());
        let two = allowed(&["\"m,l=v1,v2\",\"n,k=w\""]).unwrap();
        assert_eq!(two.keys().cloned().collect::<Vec<_>>(), [key("m", "l"), key("n", "k")]);
        assert_eq!(two[&key("n", "k")], ["w".to_owned()].into());
        let wrong = allowed(&["a"]).unwrap_err().to_string();
        assert_eq!(
            wrong,
            "invalid argument \"a\" for \"--allow-metric-labels\" flag: a must be formatted as key=value"
        );
        assert!(allowed(&["m=v"]).unwrap_err().to_string().contains("must have keys with format"));
    }

    #[test]
    fn a_manifest_does_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("allow.yaml");
        std::fs::write(&path, "\"m,l\": \"v1,v2\"\n").unwrap();
        let flags = |path| MetricFlags { allow_metric_labels_manifest: Some(path), ..MetricFlags::default() };
        assert_eq!(flags(path.clone()).allowed().unwrap(), allowed(&["m,l=v1,v2"]).unwrap());
        std::fs::remove_file(&path).unwrap();
        let missing = flags(path).allowed().unwrap_err().to_string();
        assert!(missing.ends_with(": no such file or directory"), "{missing}");
    }

    #[test]
    fn only_the_previous_versions_hidden_metrics_can_be_asked_for() {
        let of = |version: &str| {
            let show_hidden_metrics_for_version = Some(version.to_owned());
            MetricFlags { show_hidden_metrics_for_version, ..MetricFlags::default() }.allowed().is_ok()
        };
        assert!(of("1.35") && !of("1.34") && !of(""));
    }
}
