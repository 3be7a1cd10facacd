//! Authentication and authorization as a server is started with them.

use std::path::PathBuf;

use authn::oidc::{Anonymous, Configuration};
use authn::{TokenOptions, TokenWebhook, VerifyingKey};
use authz::Chain;
use meta::Str;

/// Who is accepted, beside client certificates, static tokens and tokens of the server's own issuer.
pub struct Authentication {
    /// Token issuers.
    pub issuers: Configuration,
    /// The file that `issuers` came from; it is read again whenever it changes.
    pub file: Option<PathBuf>,
    /// Which requests without credential are served.
    pub anonymous: Anonymous,
    /// The webhook that is asked about tokens that nobody else knows.
    pub webhook: Option<TokenWebhook>,
    /// Audiences that tokens may be for; the issuer of ServiceAccount tokens when there are none.
    pub audiences: Vec<Str>,
    /// Other names under which ServiceAccount tokens may have been issued.
    pub accepted_issuers: Vec<String>,
    /// Other keys that ServiceAccount tokens may have been signed with.
    pub accepted_keys: Vec<VerifyingKey>,
    /// How long ServiceAccount tokens live.
    pub tokens: TokenOptions,
}

impl Default for Authentication {
    fn default() -> Self {
        Authentication {
            issuers: Configuration::default(),
            file: None,
            anonymous: Anonymous::Everywhere,
            webhook: None,
            audiences: Vec::new(),
            accepted_issuers: Vec::new(),
            accepted_keys: Vec::new(),
            tokens: TokenOptions::default(),
        }
    }
}

/// How requests are authorized.
pub struct Authorization {
    /// The authorizers.
    pub chain: Chain,
    /// The file that `chain` came from; it is read again whenever it changes.
    pub file: Option<PathBuf>,
    /// The policies of ABAC, if that is among the file's authorizers.
    pub policy_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Authorization { chain: Chain::node_rbac(), file: None, policy_file: None }
    }
}
