//! Authentication and authorization as a server is started with them.

use std::path::PathBuf;

use authn::oidc::{Anonymous, Configuration};
use authn::{SigningKey, TokenOptions, TokenWebhook, VerifyingKey};
use authz::Chain;
use meta::Str;
use serving::Pem;

use crate::server::StartError;

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
    /// Other keys that ServiceAccount tokens may have been signed with, public or private, several in a text.
    pub accepted_keys: Vec<Pem>,
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

/// The keys of ServiceAccount tokens, in files that are followed or as texts.
pub(crate) struct TokenKeys {
    /// Signs.
    pub signer: Pem,
    /// Verify beside it.
    pub accepted: Vec<Pem>,
}

impl TokenKeys {
    /// Reads them.
    pub fn read(&self) -> Result<(SigningKey, Vec<VerifyingKey>), StartError> {
        let signer = SigningKey::from_pem(&self.signer.read()?)?;
        let mut accepted = Vec::new();
        for text in &self.accepted {
            let text = text.read()?;
            // A file of retired keys has none at first.
            if !text.trim_ascii().is_empty() {
                accepted.extend(VerifyingKey::all_from_pem(&text)?);
            }
        }
        Ok((signer, accepted))
    }

    /// The files among them.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = std::iter::once(&self.signer).chain(&self.accepted);
        all.filter_map(|pem| pem.file().map(ToOwned::to_owned)).collect()
    }
}
