//! What a namespace's labels ask for: a level and a version for each of the three modes.
//!
//! Labels that cannot be read never loosen what is enforced: `enforce` then counts as restricted, while `audit` and
//! `warn`, which only inform, count as privileged.

use std::fmt;

use meta::{FieldError, FieldErrorKind, Map, Str};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict, least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything goes.
    #[default]
    Privileged,
    /// Known escalations are prevented.
    Baseline,
    /// Current best practice of hardening.
    Restricted,
}

/// Which release's idea of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// That of this server.
    #[default]
    Latest,
    /// That of v1.x.
    Minor(u32),
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard {
    /// How strict.
    pub level: Level,
    /// As of when.
    pub version: Version,
}

/// One standard per mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is refused.
    pub enforce: Standard,
    /// What is noted in the audit log.
    pub audit: Standard,
    /// What the client is warned of.
    pub warn: Standard,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.name(), self.version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("latest"),
            Version::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

impl Standard {
    /// Whether it may refuse what the one before did not.
    pub fn tightens(self, before: Standard) -> bool {
        let relaxed = self.version == before.version && self.level <= before.level;
        self != before && self.level != Level::Privileged && !relaxed
    }
}

impl Version {
    /// The minor version to judge by; the newest rules are the last for any later one.
    pub fn minor(self) -> u32 {
        match self {
            Version::Latest => u32::MAX,
            Version::Minor(minor) => minor,
        }
    }
}

impl Level {
    /// As labels write it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }

    /// Reads `privileged`, `baseline` or `restricted`.
    pub fn parse(text: &str) -> Result<Level, &'static str> {
        match text {
            "privileged" => Ok(Level::Privileged),
            "baseline" => Ok(Level::Baseline),
            "restricted" => Ok(Level::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl Version {
    /// Reads `latest` or `v1.x`.
    pub fn parse(text: &str) -> Result<Version, &'static str> {
        const WRONG: &str = "must be \"latest\" or \"v1.x\"";
        if text == "latest" {
            return Ok(Version::Latest);
        }
        let digits = text.strip_prefix("v1.").unwrap_or_default();
        let canonical = digits == "0" || !digits.starts_with('0');
        if !canonical || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(WRONG);
        }
        digits.parse().map(Version::Minor).map_err(|_| WRONG)
    }
}

impl Policy {
    /// What the labels ask for, over the server's defaults, and what is wrong with them.
    pub fn of_labels(labels: &Map<Str>, defaults: Policy) -> (Policy, Vec<FieldError>) {
        let mut policy = defaults;
        let mut errors = Vec::new();
        let enforces = read(labels, "enforce", &mut policy.enforce, Level::Restricted, &mut errors);
        read(labels, "audit", &mut policy.audit, Level::Privileged, &mut errors);
        let warns = read(labels, "warn", &mut policy.warn, Level::Privileged, &mut errors);
        // Whoever only says what is enforced is warned of the same.
        if enforces == Found::Good && warns == Found::Nothing && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !has(labels, "warn-version") {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// What labels set, for a namespace in which it means nothing; `None` where none asks for more than nothing.
    pub fn labelled(&self, labels: &Map<Str>) -> Option<String> {
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let set =
            modes.iter().filter(|(mode, standard)| has(labels, mode) && standard.level != Level::Privileged);
        let set: Vec<String> = set.map(|(mode, standard)| format!("{mode}={standard}")).collect();
        (!set.is_empty()).then(|| set.join(", "))
    }

    /// Whether no mode has anything to say.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|s| s.level == Level::Privileged)
    }
}

/// What became of a level's label.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Good,
    Bad,
}

fn label<'a>(labels: &'a Map<Str>, name: &str) -> Option<&'a Str> {
    labels.iter().find(|(key, _)| key.strip_prefix(PREFIX) == Some(name)).map(|(_, value)| value)
}

fn has(labels: &Map<Str>, name: &str) -> bool {
    label(labels, name).is_some()
}

fn read(
    labels: &Map<Str>,
    mode: &str,
    standard: &mut Standard,
    otherwise: Level,
    errors: &mut Vec<FieldError>,
) -> Found {
    let mut wrong = |name: &str, value: &Str, detail: &str| {
        errors.push(FieldError {
            kind: FieldErrorKind::Invalid,
            field: format!("metadata.labels[{PREFIX}{name}]"),
            value: value.as_str().into(),
            detail: detail.into(),
        });
    };
    let mut found = Found::Nothing;
    if let Some(value) = label(labels, mode) {
        match Level::parse(value) {
            Ok(level) => {
                standard.level = level;
                found = Found::Good;
            }
            Err(detail) => {
                standard.level = otherwise;
                found = Found::Bad;
                wrong(mode, value, detail);
            }
        }
    }
    let name = format!("{mode}-version");
    if let Some(value) = label(labels, &name) {
        standard.version = Version::parse(value).unwrap_or_else(|detail| {
            wrong(&name, value, detail);
            Version::Latest
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[(&str, &str)]) -> (String, usize) {
        let labels = labels.iter().map(|(k, v)| (Str::from(format!("{PREFIX}{k}")), Str::from(*v))).collect();
        let (policy, errors) = Policy::of_labels(&labels, Policy::default());
        (format!("{} {} {}", policy.enforce, policy.audit, policy.warn), errors.len())
    }

    #[test]
    fn labels_become_a_policy() {
        type Labels = &'static [(&'static str, &'static str)];
        let rows: &[(Labels, &str, usize)] = &[
            (&[], "privileged:latest privileged:latest privileged:latest", 0),
            (&[("enforce", "baseline")], "baseline:latest privileged:latest baseline:latest", 0),
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.20")],
                "baseline:v1.20 privileged:latest baseline:v1.20",
                0,
            ),
            (
                &[("enforce", "restricted"), ("warn", "baseline")],
                "restricted:latest privileged:latest baseline:latest",
                0,
            ),
            (&[("enforce", "strict")], "restricted:latest privileged:latest privileged:latest", 1),
            (
                &[("warn", "x"), ("audit", "y"), ("audit-version", "v1.01")],
                "privileged:latest privileged:latest privileged:latest",
                3,
            ),
        ];
        for (labels, expected, errors) in rows {
            assert_eq!(of(labels), ((*expected).to_owned(), *errors), "{labels:?}");
        }
    }

    #[test]
    fn versions_have_one_spelling() {
        for (text, minor) in [("v1.0", Some(0)), ("v1.36", Some(36)), ("latest", Some(u32::MAX))] {
            assert_eq!(Version::parse(text).map(Version::minor).ok(), minor, "{text}");
        }
        for text in ["", "v1", "v1.", "v1.01", "v2.1", "1.20", "v1.2x", "v1.99999999999", "v1.+1"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
