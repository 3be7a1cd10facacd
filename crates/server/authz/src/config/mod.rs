//! From flags or from a file of kind AuthorizationConfiguration to a [`Chain`].
//!
//! [`Configuration::parse`] reads the file, [`Configuration::of_modes`] what the older flags say; both give the same value,
//! which `validate` checks with upstream's findings and [`Configuration::chain`] turns into authorizers.

mod file;
mod validate;

use std::path::{Path, PathBuf};
use std::time::Duration;

use env::Env;
use meta::{FieldError, aggregate_message};
use outbound::{Config, ConfigError};

use crate::abac::{AbacError, Policies};
use crate::chain::{Chain, What};
use crate::conditions::Conditions;
use crate::webhook::{FailurePolicy, ReviewVersion, Settings, Webhook};

/// Longest answer of a webhook that flags name.
const FLAG_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no chain. The configuration must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The text is no AuthorizationConfiguration.
    #[error("{0}")]
    Text(String),
    /// Validation found something.
    #[error("{}", aggregate_message(.0.iter().map(ToString::to_string)))]
    Invalid(Vec<FieldError>),
    /// Flags contradict each other.
    #[error("{}", aggregate_message(.0.iter()))]
    Flags(Vec<String>),
    /// A policy file is wrong.
    #[error(transparent)]
    Abac(#[from] AbacError),
    /// A webhook's kubeconfig is wrong.
    #[error("authorizer {name:?}: {source}")]
    Webhook {
        /// Name of the authorizer.
        name: String,
        /// What is wrong.
        source: ConfigError,
    },
}

/// What the older flags say, as they were given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--authorization-mode`
    pub modes: Vec<String>,
    /// `--authorization-policy-file`
    pub policy_file: Option<PathBuf>,
    /// `--authorization-webhook-config-file`
    pub webhook_config_file: Option<PathBuf>,
    /// `--authorization-webhook-version`
    pub webhook_version: String,
    /// `--authorization-webhook-cache-authorized-ttl`
    pub authorized_ttl: Duration,
    /// `--authorization-webhook-cache-unauthorized-ttl`
    pub unauthorized_ttl: Duration,
}

/// A configuration whose form is understood.
#[derive(Debug)]
pub struct Configuration(file::AuthorizationConfiguration);

impl Configuration {
    /// Reads the text of a file, YAML or JSON, in any version that upstream accepts.
    ///
    /// # Errors
    /// When the text is of another kind, or has fields that the kind has not.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        file::parse(text).map(Configuration).map_err(ConfigurationError::Text)
    }

    /// What the flags come to.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn of_modes(flags: &Flags) -> Result<Self, ConfigurationError> {
        let problems = validate::flags(flags);
        if !problems.is_empty() {
            return Err(ConfigurationError::Flags(problems));
        }
        let authorizers = flags.modes.iter().map(|mode| file::Authorizer {
            kind: mode.clone(),
            name: if mode == "Webhook" { "default".to_owned() } else { mode.to_lowercase() },
            webhook: (mode == "Webhook").then(|| file::Webhook {
                authorized_ttl: file::GoDuration::of(flags.authorized_ttl),
                unauthorized_ttl: file::GoDuration::of(flags.unauthorized_ttl),
                timeout: file::GoDuration::of(FLAG_WEBHOOK_TIMEOUT),
                subject_access_review_version: flags.webhook_version.clone(),
                match_condition_version: "v1".to_owned(),
                failure_policy: "NoOpinion".to_owned(),
                connection_info: file::ConnectionInfo {
                    kind: "KubeConfigFile".to_owned(),
                    kube_config_file: flags
                        .webhook_config_file
                        .as_ref()
                        .map(|path| path.to_string_lossy().into_owned()),
                },
                ..file::Webhook::default()
            }),
        });
        Ok(Configuration(file::AuthorizationConfiguration { authorizers: authorizers.collect() }))
    }

    /// What is wrong with a file's configuration; flags were checked when they were read.
    ///
    /// # Errors
    /// All findings together.
    pub fn validate(&self) -> Result<(), ConfigurationError> {
        let findings = validate::configuration(&self.0);
        if findings.is_empty() { Ok(()) } else { Err(ConfigurationError::Invalid(findings)) }
    }

    /// The authorizers. `policy_file` is what `--authorization-policy-file` names.
    ///
    /// # Errors
    /// When a file that the configuration names is missing or wrong.
    pub fn chain(&self, policy_file: Option<&Path>, env: &Env) -> Result<Chain, ConfigurationError> {
        let mut chain = Chain::default();
        for authorizer in &self.0.authorizers {
            let what = match authorizer.kind.as_str() {
                "AlwaysAllow" => What::AlwaysAllow,
                "AlwaysDeny" => What::AlwaysDeny,
                "Node" => What::Node,
                "RBAC" => What::Rbac,
                "ABAC" => {
                    let path = policy_file.unwrap_or(Path::new(""));
                    let text = std::fs::read_to_string(path)
                        .map_err(|source| ConfigurationError::Read { path: path.to_owned(), source })?;
                    What::Abac(Policies::parse(&text, &path.to_string_lossy())?)
                }
                _ => What::Webhook(Box::new(webhook(authorizer, env)?)),
            };
            chain.push(&authorizer.name, what);
        }
        Ok(chain)
    }
}

fn webhook(authorizer: &file::Authorizer, env: &Env) -> Result<Webhook, ConfigurationError> {
    let refused = |source| ConfigurationError::Webhook { name: authorizer.name.clone(), source };
    let webhook = authorizer.webhook.clone().unwrap_or_default();
    let path = webhook.connection_info.kube_config_file.clone().unwrap_or_default();
    let server = Config::from_kubeconfig(Path::new(&path), None).map_err(refused)?;
    let programs: Result<Vec<_>, _> = webhook
        .match_conditions
        .iter()
        .map(|condition| crate::conditions::compile(&condition.expression))
        .collect();
    let settings = Settings {
        name: authorizer.name.clone(),
        authorized_ttl: webhook
            .cache_authorized_requests
            .unwrap_or(true)
            .then(|| webhook.authorized_ttl.get()),
        unauthorized_ttl: webhook
            .cache_unauthorized_requests
            .unwrap_or(true)
            .then(|| webhook.unauthorized_ttl.get()),
        timeout: webhook.timeout.get(),
        version: match webhook.subject_access_review_version.as_str() {
            "v1beta1" => ReviewVersion::V1Beta1,
            _ => ReviewVersion::V1,
        },
        failure: match webhook.failure_policy.as_str() {
            "Deny" => FailurePolicy::Deny,
            _ => FailurePolicy::NoOpinion,
        },
    };
    let conditions = Conditions::new(programs.map_err(ConfigurationError::Text)?);
    Webhook::new(server, settings, conditions, env.clone()).map_err(refused)
}

#[cfg(test)]
mod tests;
