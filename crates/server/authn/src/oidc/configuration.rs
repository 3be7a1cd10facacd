//! From flags or from a file of kind AuthenticationConfiguration to issuers and to the rules for the anonymous.

use std::path::PathBuf;

use meta::{FieldError, aggregate_message};

use super::file::{Authenticator, ClaimMappings, ClaimRule, Issuer, PrefixedClaimOrExpression, parse};
use super::{file, validate};
use crate::jws::ALGORITHMS;

/// Why a configuration is not accepted. It must be corrected.
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
    /// The text is no AuthenticationConfiguration, or flags contradict each other.
    #[error("{0}")]
    Text(String),
    /// Validation found something.
    #[error("{}", aggregate_message(.0.iter().map(ToString::to_string)))]
    Invalid(Vec<FieldError>),
}

/// What the flags `--oidc-*` say, as they were given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--oidc-issuer-url`
    pub issuer_url: String,
    /// `--oidc-client-id`
    pub client_id: String,
    /// `--oidc-ca-file`
    pub ca_file: Option<PathBuf>,
    /// `--oidc-username-claim`
    pub username_claim: String,
    /// `--oidc-username-prefix`
    pub username_prefix: String,
    /// `--oidc-groups-claim`
    pub groups_claim: String,
    /// `--oidc-groups-prefix`
    pub groups_prefix: String,
    /// `--oidc-required-claim`, as `key=value`
    pub required_claims: Vec<String>,
    /// `--oidc-signing-algs`
    pub signing_algorithms: Vec<String>,
}

/// A configuration whose form is understood.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub(super) file: file::AuthenticationConfiguration,
    pub(super) algorithms: Vec<String>,
}

/// Who is served without a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    Off,
    /// Everybody.
    Everywhere,
    /// Everybody, on these paths alone.
    On(Vec<String>),
}

/// The flag and the file both say who is served anonymously.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file"
)]
pub struct AnonymousError;

impl Anonymous {
    /// Whether a request for `path` may come without a credential.
    pub fn allows(&self, path: &str) -> bool {
        match self {
            Anonymous::Off => false,
            Anonymous::Everywhere => true,
            Anonymous::On(paths) => paths.iter().any(|allowed| allowed == path),
        }
    }
}

impl Configuration {
    /// Reads the text of a file, YAML or JSON, in any version that upstream accepts.
    ///
    /// # Errors
    /// When the text is of another kind, or has fields that the kind has not.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let file = parse(text).map_err(ConfigurationError::Text)?;
        Ok(Configuration { file, algorithms: ALGORITHMS.iter().map(|name| (*name).to_owned()).collect() })
    }

    /// What the flags come to; nothing, if none names an issuer.
    ///
    /// # Errors
    /// When they contradict each other, or the certificate authority cannot be read.
    pub fn of_flags(flags: &Flags) -> Result<Self, ConfigurationError> {
        if flags.issuer_url.is_empty() || flags.client_id.is_empty() {
            if flags.given() {
                let why = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
                return Err(ConfigurationError::Text(why.to_owned()));
            }
            return Ok(Configuration::default());
        }
        for algorithm in &flags.signing_algorithms {
            if !ALGORITHMS.contains(&algorithm.as_str()) {
                let why = format!("oidc: unsupported signing alg: {algorithm:?}");
                return Err(ConfigurationError::Text(why));
            }
        }
        let certificate_authority = match &flags.ca_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigurationError::Read { path: path.clone(), source })?,
            None => String::new(),
        };
        let prefix = match (flags.username_prefix.as_str(), flags.username_claim.as_str()) {
            ("-", _) | ("", "email") => String::new(),
            ("", _) => format!("{}#", flags.issuer_url),
            (prefix, _) => prefix.to_owned(),
        };
        let mapping = |claim: &str, prefix: String| PrefixedClaimOrExpression {
            claim: claim.to_owned(),
            prefix: Some(prefix),
            expression: String::new(),
        };
        let groups = match flags.groups_claim.as_str() {
            "" => PrefixedClaimOrExpression::default(),
            claim => mapping(claim, flags.groups_prefix.clone()),
        };
        let required: Result<Vec<ClaimRule>, ConfigurationError> = flags
            .required_claims
            .iter()
            .map(|pair| {
                let split = pair.split_once('=').ok_or_else(|| {
                    ConfigurationError::Text(format!("malformed pair, expect string=string: {pair:?}"))
                });
                split.map(|(claim, value)| ClaimRule {
                    claim: claim.trim().to_owned(),
                    required_value: value.to_owned(),
                    ..ClaimRule::default()
                })
            })
            .collect();
        let authenticator = Authenticator {
            issuer: Issuer {
                url: flags.issuer_url.clone(),
                audiences: vec![flags.client_id.clone()],
                certificate_authority,
                ..Issuer::default()
            },
            claim_validation_rules: required?,
            claim_mappings: ClaimMappings {
                username: mapping(&flags.username_claim, prefix),
                groups,
                ..ClaimMappings::default()
            },
            user_validation_rules: Vec::new(),
        };
        let file = file::AuthenticationConfiguration { jwt: vec![authenticator], anonymous: None };
        let algorithms = match &flags.signing_algorithms[..] {
            [] => vec!["RS256".to_owned()],
            given => given.to_vec(),
        };
        Ok(Configuration { file, algorithms })
    }

    /// What is wrong with it. `own_issuers` are those of ServiceAccount tokens, which nobody else may claim to be.
    ///
    /// # Errors
    /// All findings together.
    pub fn validate(&self, own_issuers: &[String]) -> Result<(), ConfigurationError> {
        let findings = validate::configuration(&self.file, own_issuers);
        if !findings.is_empty() {
            return Err(ConfigurationError::Invalid(findings));
        }
        // Valid upstream, where an egress configuration can be given; without one it does not start there either.
        match self.file.jwt.iter().map(|jwt| &jwt.issuer.egress_selector_type).find(|kind| !kind.is_empty()) {
            Some(kind) => {
                let why = format!("oidc: egress lookup required with egress selector type {kind:?}");
                Err(ConfigurationError::Text(why))
            }
            None => Ok(()),
        }
    }

    /// Who is served anonymously; `flag` is what `--anonymous-auth` says, if it was given.
    ///
    /// # Errors
    /// When the file says it too.
    pub fn anonymous(&self, flag: Option<bool>) -> Result<Anonymous, AnonymousError> {
        match (&self.file.anonymous, flag) {
            (Some(_), Some(_)) => Err(AnonymousError),
            (Some(anonymous), None) if !anonymous.enabled => Ok(Anonymous::Off),
            (Some(anonymous), None) if anonymous.conditions.is_empty() => Ok(Anonymous::Everywhere),
            (Some(anonymous), None) => {
                Ok(Anonymous::On(anonymous.conditions.iter().map(|c| c.path.clone()).collect()))
            }
            (None, Some(false)) => Ok(Anonymous::Off),
            (None, _) => Ok(Anonymous::Everywhere),
        }
    }
}

impl Flags {
    /// Whether any is set to something else than its default.
    pub fn given(&self) -> bool {
        let texts = [
            &self.issuer_url,
            &self.client_id,
            &self.username_prefix,
            &self.groups_claim,
            &self.groups_prefix,
        ];
        texts.iter().any(|text| !text.is_empty())
            || self.ca_file.is_some()
            || !self.required_claims.is_empty()
            || !matches!(self.username_claim.as_str(), "" | "sub")
            || !(self.signing_algorithms.is_empty() || self.signing_algorithms == ["RS256"])
    }
}
