//! The file: `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, with upstream's rules of what it may say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;

/// Lengths of AES keys, in bytes.
const AES_KEYS: &[usize] = &[16, 24, 32];
/// Length of the keys of secretbox.
const SECRETBOX_KEYS: &[usize] = &[32];
/// How long a KMS plugin may take unless the file says otherwise.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a file is unusable. It must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It cannot be read.
    #[error("error reading encryption provider configuration file {path:?}: {why}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// There is nothing in it.
    #[error("encryption provider configuration file {0:?} is empty")]
    Empty(PathBuf),
    /// It is no such document.
    #[error("error decoding encryption provider configuration file {path:?}: {why}")]
    Decode {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It says what cannot be done.
    #[error("{0}")]
    Invalid(String),
}

/// What the file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default)]
    pub(crate) resources: Vec<Resources>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resources {
    #[serde(default)]
    pub resources: Vec<String>,
    #[serde(default)]
    pub providers: Vec<Provider>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Provider {
    pub aesgcm: Option<Keys>,
    pub aescbc: Option<Keys>,
    pub secretbox: Option<Keys>,
    pub identity: Option<Nothing>,
    pub kms: Option<Kms>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    #[serde(default)]
    pub keys: Vec<Key>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    /// The key itself.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        base64::engine::general_purpose::STANDARD.decode(&self.secret).ok()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kms {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub endpoint: String,
    #[serde(default)]
    cachesize: Option<i64>,
    #[serde(default)]
    timeout: Option<String>,
}

impl Kms {
    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout.as_deref().map_or(Some(KMS_TIMEOUT), go_duration)
    }

    /// The plugin's socket.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        let path = self.endpoint.strip_prefix("unix://")?;
        // A name in Linux' abstract namespace is written with an at sign.
        Some(PathBuf::from(path))
    }
}

/// A positive duration as Go writes it: `3s`, `1m30s`, `500ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}

impl Configuration {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be used; all that is wrong with it is told.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| ConfigurationError::Read { path: path.to_owned(), why })?;
        if text.trim().is_empty() {
            return Err(ConfigurationError::Empty(path.to_owned()));
        }
        let decode = |why: String| ConfigurationError::Decode { path: path.to_owned(), why };
        let configuration: Self = serde_norway::from_str(&text).map_err(|why| decode(why.to_string()))?;
        let known = ["apiserver.config.k8s.io/v1", "v1"].contains(&configuration.api_version.as_str());
        if !known || !["EncryptionConfiguration", "EncryptionConfig"].contains(&configuration.kind.as_str()) {
            let why = format!(
                "no kind {:?} is registered for version {:?}",
                configuration.kind, configuration.api_version
            );
            return Err(decode(why));
        }
        let problems = configuration.problems();
        match problems.as_slice() {
            [] => Ok(configuration),
            [one] => Err(ConfigurationError::Invalid(one.clone())),
            many => Err(ConfigurationError::Invalid(format!("[{}]", many.join(", ")))),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.resources.is_empty() {
            problems.push("resources: Required value: at least one resources is required".to_owned());
        }
        let mut kms_names = BTreeSet::new();
        for (index, entry) in self.resources.iter().enumerate() {
            let at = format!("resources[{index}]");
            let required =
                |part: &str| format!("{at}.{part}: Required value: at least one {at}.{part} is required");
            if entry.resources.is_empty() {
                problems.push(required("resources"));
            }
            overlaps(&entry.resources, &format!("{at}.resources"), &mut problems);
            for (index, name) in entry.resources.iter().enumerate() {
                if let Some(why) = wrong_resource(name) {
                    problems.push(format!("{at}.resources[{index}]: Invalid value: {name:?}: {why}"));
                }
            }
            if entry.providers.is_empty() {
                problems.push(required("providers"));
            }
            for (index, provider) in entry.providers.iter().enumerate() {
                provider.problems(&format!("{at}.providers[{index}]"), &mut kms_names, &mut problems);
            }
        }
        problems
    }
}

/// Group and resource of `resource.group`.
pub(crate) fn split(name: &str) -> (&str, &str) {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    (group, resource)
}

fn overlaps(names: &[String], at: &str, problems: &mut Vec<String>) {
    let (mut duplicate, mut overlap) = (false, false);
    for (index, one) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            let ((group, resource), (other_group, other_resource)) = (split(one), split(other));
            if one == other {
                duplicate = true;
                continue;
            }
            let whole_group = group == other_group && (resource == "*" || other_resource == "*");
            overlap |= one == "*.*" || other == "*.*" || whole_group;
        }
    }
    let value = || format!("[{}]", names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(","));
    if duplicate {
        problems.push(format!(
            "{at}: Invalid value: {}: the same resource cannot be specified multiple times",
            value()
        ));
    }
    if overlap {
        problems.push(format!(
            "{at}: Invalid value: {}: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
            value()
        ));
    }
}

fn wrong_resource(name: &str) -> Option<&'static str> {
    let (group, resource) = split(name);
    if name.chars().any(|c| c.is_ascii_uppercase()) {
        return Some("resource name should not contain capital letters");
    }
    match name {
        "*" => {
            return Some(
                "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
            );
        }
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            return Some("resources which do not have REST API/s cannot be encrypted");
        }
        _ => {}
    }
    match (group, resource) {
        ("events.k8s.io", _) => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        ("extensions", _) => Some("'extensions' group has been removed and cannot be used for encryption"),
        ("*", resource) if resource != "*" => {
            Some("encrypting the same resource across groups is not supported")
        }
        _ => None,
    }
}

impl Provider {
    fn problems(&self, at: &str, kms_names: &mut BTreeSet<String>, problems: &mut Vec<String>) {
        let given = [
            self.aesgcm.is_some(),
            self.aescbc.is_some(),
            self.secretbox.is_some(),
            self.identity.is_some(),
            self.kms.is_some(),
        ];
        match given.iter().filter(|given| **given).count() {
            0 => problems.push(format!(
                "{at}: Invalid value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
            )),
            1 => {}
            _ => problems.push(format!(
                "{at}: Invalid value: more than one provider specified in a single element, should split into different list elements"
            )),
        }
        let sets = [
            ("aesgcm", &self.aesgcm, AES_KEYS),
            ("aescbc", &self.aescbc, AES_KEYS),
            ("secretbox", &self.secretbox, SECRETBOX_KEYS),
        ];
        for (name, keys, lengths) in sets {
            if let Some(keys) = keys {
                key_problems(&keys.keys, &format!("{at}.{name}.keys"), lengths, problems);
            }
        }
        if let Some(kms) = &self.kms {
            kms.problems(&format!("{at}.kms"), kms_names, problems);
        }
    }
}

fn key_problems(keys: &[Key], at: &str, lengths: &[usize], problems: &mut Vec<String>) {
    if keys.is_empty() {
        problems.push(format!("{at}: Required value: at least one keys is required"));
    }
    for (index, key) in keys.iter().enumerate() {
        let at = format!("{at}[{index}]");
        if key.name.is_empty() {
            problems.push(format!("{at}.name: Required value: name is a mandatory field for a key"));
        }
        if key.secret.is_empty() {
            problems.push(format!("{at}.secret: Required value: secret is a mandatory field for a key"));
            continue;
        }
        // The secret itself is never shown.
        let invalid = |why: String| format!("{at}.secret: Invalid value: \"REDACTED\": {why}");
        match key.bytes() {
            None => problems.push(invalid("secrets must be base64 encoded".to_owned())),
            Some(bytes) if !lengths.contains(&bytes.len()) => {
                let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                problems.push(invalid(format!(
                    "secret is not of the expected length, got {}, expected one of [{}]",
                    bytes.len(),
                    lengths.join(" ")
                )));
            }
            Some(_) => {}
        }
    }
}

impl Kms {
    fn problems(&self, at: &str, names: &mut BTreeSet<String>, problems: &mut Vec<String>) {
        if self.name.is_empty() {
            problems.push(format!("{at}.name: Required value: name is a mandatory field for a provider"));
        } else if self.name.contains(':') {
            problems.push(format!(
                "{at}.name: Invalid value: {:?}: invalid KMS provider name {}, must not contain ':'",
                self.name, self.name
            ));
        } else if !names.insert(self.name.clone()) {
            problems.push(format!(
                "{at}.name: Invalid value: {:?}: duplicate KMS provider name {}, names must be unique",
                self.name, self.name
            ));
        }
        if self.timeout().is_none() {
            let shown = self.timeout.as_deref().unwrap_or_default();
            problems
                .push(format!("{at}.timeout: Invalid value: {shown:?}: timeout should be a positive value"));
        }
        if self.endpoint.is_empty() {
            problems
                .push(format!("{at}.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms"));
        } else if self.socket().is_none() {
            let scheme = self.endpoint.split_once(':').map_or("", |(scheme, _)| scheme);
            problems.push(format!(
                "{at}.endpoint: Invalid value: {:?}: unsupported scheme {scheme:?} for KMS provider, only unix is supported",
                self.endpoint
            ));
        }
        match self.api_version.as_str() {
            "v2" => {
                if let Some(size) = self.cachesize {
                    problems.push(format!(
                        "{at}.cachesize: Invalid value: {size}: cachesize is not supported in v2"
                    ));
                }
            }
            "v1" | "" => problems.push(
                "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature."
                    .to_owned(),
            ),
            other => problems.push(format!(
                "{at}.apiVersion: Invalid value: {other:?}: unsupported apiVersion {other} for KMS provider, only v1 and v2 are supported"
            )),
        }
    }
}
