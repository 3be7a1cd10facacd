//! The options of authentication and authorization, under upstream's names, and what they come to.
//!
//! Without options that is what kubeadm sets up: ServiceAccount and bootstrap tokens beside client certificates, and the
//! authorizers Node and RBAC.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apiserver::{Authentication, AuthenticationConfiguration, Authorization, AuthorizationConfiguration};
use authn::{TokenOptions, TokenWebhook, TokenWebhookSettings};
use env::Env;
use outbound::Config;
use serde::{Deserialize, Serialize};
use serving::Pem;

use crate::options::duration;

/// Who is accepted.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthenticationOptions {
    /// Whether requests without a credential are served as system:anonymous [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub anonymous_auth: Option<bool>,
    /// Audiences that tokens may be for [default: the issuer of ServiceAccount tokens]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub api_audiences: Vec<String>,
    /// File of kind AuthenticationConfiguration: token issuers, and who is served anonymously; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// kubeconfig of a webhook that is asked about bearer tokens
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of TokenReview that the webhook speaks: v1 or v1beta1
    #[arg(long, default_value = "v1beta1", value_name = "VERSION")]
    pub authentication_token_webhook_version: String,
    /// How long the webhook's answers are remembered
    #[arg(long, default_value = "2m0s", value_name = "DURATION")]
    pub authentication_token_webhook_cache_ttl: String,
    /// URL of an OpenID Connect issuer
    #[arg(long, default_value = "", hide_default_value = true, value_name = "URL")]
    pub oidc_issuer_url: String,
    /// The client id that its tokens must be for
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    pub oidc_client_id: String,
    /// Certificates that the issuer's may be signed by [default: those that the machine trusts]
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// Claim with the user's name
    #[arg(long, default_value = "sub", value_name = "NAME")]
    pub oidc_username_claim: String,
    /// What is put before the name: the issuer's URL and # by default, nothing for -
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    pub oidc_username_prefix: String,
    /// Claim with the user's groups
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub oidc_groups_claim: String,
    /// What is put before the groups
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub oidc_groups_prefix: String,
    /// A claim that must have a value, as key=value (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub oidc_required_claim: Vec<String>,
    /// Algorithms that tokens may be signed with
    #[arg(long, value_delimiter = ',', default_value = "RS256", value_name = "LIST")]
    pub oidc_signing_algs: Vec<String>,
    /// Issuers of ServiceAccount tokens: the first issues, the others are accepted (may be repeated)
    #[arg(long, value_name = "URL")]
    pub service_account_issuer: Vec<String>,
    /// Key that signs ServiceAccount tokens; read again when it changes [default: the cluster's own]
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Files with keys that ServiceAccount tokens may have been signed with, several in a file; read again when they change
    /// (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// Whether tokens in secrets end with their secret
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub service_account_lookup: bool,
    /// Longest lifetime of ServiceAccount tokens; 0 for any
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    pub service_account_max_token_expiration: String,
    /// Whether tokens for projected volumes live longer than they were asked for
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
}

impl Default for AuthenticationOptions {
    fn default() -> Self {
        AuthenticationOptions {
            anonymous_auth: None,
            api_audiences: Vec::new(),
            authentication_config: None,
            authentication_token_webhook_config_file: None,
            authentication_token_webhook_version: "v1beta1".to_owned(),
            authentication_token_webhook_cache_ttl: "2m0s".to_owned(),
            oidc_issuer_url: String::new(),
            oidc_client_id: String::new(),
            oidc_ca_file: None,
            oidc_username_claim: "sub".to_owned(),
            oidc_username_prefix: String::new(),
            oidc_groups_claim: String::new(),
            oidc_groups_prefix: String::new(),
            oidc_required_claim: Vec::new(),
            oidc_signing_algs: vec!["RS256".to_owned()],
            service_account_issuer: Vec::new(),
            service_account_signing_key_file: None,
            service_account_key_file: Vec::new(),
            service_account_lookup: true,
            service_account_max_token_expiration: "0s".to_owned(),
            service_account_extend_token_expiration: true,
        }
    }
}

/// What they may do.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthorizationOptions {
    /// File of kind AuthorizationConfiguration: the authorizers in order; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub authorization_config: Option<PathBuf>,
    /// The authorizers in order: Node, RBAC, Webhook, ABAC, AlwaysAllow, AlwaysDeny [default: Node,RBAC]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub authorization_mode: Vec<String>,
    /// Policies of ABAC, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub authorization_policy_file: Option<PathBuf>,
    /// kubeconfig of the webhook that authorizes
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// Version of SubjectAccessReview that the webhook speaks: v1 or v1beta1
    #[arg(long, default_value = "v1beta1", value_name = "VERSION")]
    pub authorization_webhook_version: String,
    /// How long its permissions are remembered
    #[arg(long, default_value = "5m0s", value_name = "DURATION")]
    pub authorization_webhook_cache_authorized_ttl: String,
    /// How long its refusals are remembered
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    pub authorization_webhook_cache_unauthorized_ttl: String,
}

impl Default for AuthorizationOptions {
    fn default() -> Self {
        AuthorizationOptions {
            authorization_config: None,
            authorization_mode: Vec::new(),
            authorization_policy_file: None,
            authorization_webhook_config_file: None,
            authorization_webhook_version: "v1beta1".to_owned(),
            authorization_webhook_cache_authorized_ttl: "5m0s".to_owned(),
            authorization_webhook_cache_unauthorized_ttl: "30s".to_owned(),
        }
    }
}

impl AuthenticationOptions {
    /// The issuer of ServiceAccount tokens.
    pub fn issuer(&self, cluster_domain: &str) -> String {
        match self.service_account_issuer.first() {
            Some(issuer) => issuer.clone(),
            None => format!("https://kubernetes.default.svc.{cluster_domain}"),
        }
    }

    /// What the options come to; files are read. `retired` holds keys that signed tokens once.
    pub(crate) fn open(&self, cluster_domain: &str, retired: &Pem, env: &Env) -> Result<Authentication> {
        let issuers = self.issuers()?;
        let mut own = vec![self.issuer(cluster_domain)];
        own.extend(self.service_account_issuer.iter().skip(1).cloned());
        issuers.validate(&own)?;
        let mut accepted_keys = vec![retired.clone()];
        accepted_keys.extend(self.service_account_key_file.iter().cloned().map(Pem::File));
        let max =
            duration("service-account-max-token-expiration", &self.service_account_max_token_expiration)?;
        Ok(Authentication {
            anonymous: issuers.anonymous(self.anonymous_auth)?,
            issuers,
            file: self.authentication_config.clone(),
            webhook: self.webhook(env)?,
            audiences: self.api_audiences.iter().map(|audience| audience.as_str().into()).collect(),
            accepted_issuers: own.split_off(1),
            accepted_keys,
            tokens: TokenOptions {
                lookup: self.service_account_lookup,
                max_expiration_s: (!max.is_zero()).then_some(max.as_secs() as i64),
                extend: self.service_account_extend_token_expiration,
            },
        })
    }

    fn issuers(&self) -> Result<AuthenticationConfiguration> {
        let flags = authn::oidc::Flags {
            issuer_url: self.oidc_issuer_url.clone(),
            client_id: self.oidc_client_id.clone(),
            ca_file: self.oidc_ca_file.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            required_claims: self.oidc_required_claim.clone(),
            signing_algorithms: self.oidc_signing_algs.clone(),
        };
        let Some(path) = &self.authentication_config else {
            return Ok(AuthenticationConfiguration::of_flags(&flags)?);
        };
        ensure!(!flags.given(), "authentication-config file and oidc-* flags are mutually exclusive");
        let text = String::from_utf8(read(path)?).context("the authentication configuration is no text")?;
        AuthenticationConfiguration::parse(&text)
            .with_context(|| format!("the authentication configuration in {} is unusable", path.display()))
    }

    fn webhook(&self, env: &Env) -> Result<Option<TokenWebhook>> {
        let Some(path) = &self.authentication_token_webhook_config_file else { return Ok(None) };
        let server = Config::from_kubeconfig(path, None)?;
        let ttl = &self.authentication_token_webhook_cache_ttl;
        let settings = TokenWebhookSettings {
            version: self.authentication_token_webhook_version.clone(),
            ttl: duration("authentication-token-webhook-cache-ttl", ttl)?,
        };
        Ok(Some(TokenWebhook::new(server, &settings, env.clone())?))
    }
}

impl AuthorizationOptions {
    /// What the options come to; files are read.
    pub(crate) fn open(&self, env: &Env) -> Result<Authorization> {
        let policy_file = self.authorization_policy_file.clone();
        let configuration = match &self.authorization_config {
            Some(path) => {
                if !self.authorization_mode.is_empty() || self.authorization_webhook_config_file.is_some() {
                    bail!(
                        "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"
                    );
                }
                let text =
                    String::from_utf8(read(path)?).context("the authorization configuration is no text")?;
                let configuration = AuthorizationConfiguration::parse(&text).and_then(|configuration| {
                    configuration.validate()?;
                    Ok(configuration)
                });
                configuration.with_context(|| {
                    format!("the authorization configuration in {} is unusable", path.display())
                })?
            }
            None => AuthorizationConfiguration::of_modes(&self.flags()?)?,
        };
        let chain = configuration.chain(policy_file.as_deref(), env)?;
        tracing::info!(authorizers = chain.describe(), "who may do what is decided");
        Ok(Authorization { chain, file: self.authorization_config.clone(), policy_file })
    }

    fn flags(&self) -> Result<authz::config::Flags> {
        let modes = match &self.authorization_mode[..] {
            [] => vec!["Node".to_owned(), "RBAC".to_owned()],
            given => given.to_vec(),
        };
        let ttl = |name, text: &str| duration(name, text);
        Ok(authz::config::Flags {
            modes,
            policy_file: self.authorization_policy_file.clone(),
            webhook_config_file: self.authorization_webhook_config_file.clone(),
            webhook_version: self.authorization_webhook_version.clone(),
            authorized_ttl: ttl(
                "authorization-webhook-cache-authorized-ttl",
                &self.authorization_webhook_cache_authorized_ttl,
            )?,
            unauthorized_ttl: ttl(
                "authorization-webhook-cache-unauthorized-ttl",
                &self.authorization_webhook_cache_unauthorized_ttl,
            )?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
