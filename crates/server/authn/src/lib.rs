//! Who sent the request.
//!
//! [`Authenticator::identify`] looks at what a request carries (a client certificate, a bearer token) and answers
//! with an [`Identified`], the proof that later stages ask for. The methods are tried in upstream's order: the headers
//! of a trusted proxy, client certificate, static token file, ServiceAccount token, bootstrap token, token of an OpenID
//! Connect issuer ([`oidc`]), token that a webhook knows, and at last anonymous. A credential that is there and does not
//! hold is an error; only a request without any credential is anonymous.
//!
//! What must be looked up (does this ServiceAccount still exist?) comes in through [`Directory`], and the time is an
//! argument. Only issuers and the webhook make a request wait for another server.

mod bootstrap_token;
mod certificate;
mod identify;
mod impersonate;
mod jws;
mod keys;
pub mod oidc;
mod request_header;
mod service_account;
#[cfg(test)]
mod testing;
mod token_file;
mod token_webhook;
mod user;
mod uses;

pub use certificate::{AnyClientCertificate, CertificateAuthority, ends_s};
pub use identify::{
    Authenticator, CertificateVerdict, Credentials, Identified, Method, TokenCheck, Unauthorized,
};
pub use impersonate::{Impersonation, ImpersonationError, header_value_to_key};
pub use jws::ALGORITHMS;
pub use keys::{Algorithm, KeyError, SigningKey, VerifyingKey};
pub use request_header::{RequestHeader, RequestHeaderNames};
pub use service_account::{
    Bound, Claims, Directory, Issuer, LegacyToken, PodFacts, TokenError, TokenIssue, TokenOptions, Tokens,
};
pub use token_file::{TokenFile, TokenFileError};
pub use token_webhook::{TokenWebhook, TokenWebhookError, TokenWebhookSettings};
pub use user::{ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED, User};
