//! The stage itself: credentials in, [`Identified`] out.

use std::sync::Arc;

use meta::Str;

use crate::bootstrap_token;
use crate::service_account::{Directory, TokenError, Tokens};
use crate::token_file::TokenFile;
use crate::user::{ANONYMOUS, UNAUTHENTICATED, User};

/// How a user was identified; for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Headers of a trusted proxy.
    RequestHeader,
    /// Client certificate.
    Certificate,
    /// Static token file.
    TokenFile,
    /// ServiceAccount token.
    ServiceAccount,
    /// Bootstrap token.
    BootstrapToken,
    /// No credential.
    Anonymous,
    /// A component of this very process.
    InProcess,
    /// Another user acting as this one.
    Impersonated,
}

/// A user whose identity was established. Only this crate can make one.
#[derive(Clone, Debug)]
pub struct Identified {
    user: Arc<User>,
    method: Method,
}

impl Identified {
    /// A component that runs in the server's own process and thus needs no credential. Only in-process transports
    /// call this; what such a component may do is still up to the authorizer.
    pub fn in_process(user: Arc<User>) -> Self {
        Identified { user, method: Method::InProcess }
    }

    /// The identity taken over after the authorizer allowed each part of the impersonation to `self`.
    pub fn impersonating(&self, user: User) -> Self {
        Identified { user: Arc::new(user), method: Method::Impersonated }
    }

    /// Who it is.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// How that was established.
    pub fn method(&self) -> Method {
        self.method
    }
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Whom a trusted proxy names in its headers.
    pub asserted: Option<&'a Arc<User>>,
    /// The verdict on the connection's client certificate, made once a connection.
    pub certificate: &'a CertificateVerdict,
    /// The value of the `Authorization` header.
    pub authorization: Option<&'a str>,
}

/// What the client certificate of a connection says.
pub type CertificateVerdict = Result<Option<Arc<User>>, ()>;

/// A credential was shown and none held: 401.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Unauthorized")]
pub struct Unauthorized;

/// The outcome of a TokenReview.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenCheck {
    /// The token holds for these audiences.
    Valid(Arc<User>, Vec<Str>),
    /// It does not; upstream's texts, in the order in which the methods were asked.
    Refused(Vec<String>),
}

/// Every way to be identified.
pub struct Authenticator {
    /// Static tokens.
    pub token_file: TokenFile,
    /// ServiceAccount tokens.
    pub tokens: Arc<Tokens>,
    /// Where bound objects are looked up.
    pub directory: Arc<dyn Directory>,
    /// Whether requests without credential are served at all.
    pub anonymous: bool,
}

impl Authenticator {
    /// Establishes who sent a request.
    pub fn identify(&self, credentials: Credentials<'_>, now_s: i64) -> Result<Identified, Unauthorized> {
        if let Some(user) = credentials.asserted {
            return Ok(Identified { user: user.clone(), method: Method::RequestHeader });
        }
        let certificate = credentials.certificate;
        if let Ok(Some(user)) = certificate {
            return Ok(Identified { user: user.clone(), method: Method::Certificate });
        }
        let token = credentials.authorization.and_then(bearer);
        if let Some(token) = token {
            return self.by_token(token, now_s).ok_or(Unauthorized);
        }
        if certificate.is_err() || !self.anonymous {
            return Err(Unauthorized);
        }
        let user = Arc::new(User::new(ANONYMOUS, &[UNAUTHENTICATED]));
        Ok(Identified { user, method: Method::Anonymous })
    }

    fn by_token(&self, token: &str, now_s: i64) -> Option<Identified> {
        if let Some(user) = self.token_file.find(token) {
            return Some(Identified { user, method: Method::TokenFile });
        }
        let audiences = &self.tokens.issuer().audiences;
        match self.tokens.check(token, audiences, &*self.directory, now_s) {
            Ok(Some((user, _))) => {
                return Some(Identified { user: Arc::new(user), method: Method::ServiceAccount });
            }
            Ok(None) => {}
            Err(_) => return None,
        }
        let user = bootstrap_token::find(token, &*self.directory, now_s)?;
        Some(Identified { user: Arc::new(user), method: Method::BootstrapToken })
    }

    /// Answers a TokenReview. Methods that know nothing of audiences speak for the server's own.
    pub fn review(&self, token: &str, audiences: &[Str], now_s: i64) -> TokenCheck {
        let own = &self.tokens.issuer().audiences;
        let wanted = if audiences.is_empty() { own } else { audiences };
        let shared: Vec<Str> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
        if let Some(user) = self.token_file.find(token)
            && !shared.is_empty()
        {
            return TokenCheck::Valid(user, shared);
        }
        let mut texts = vec![TokenError::Invalid.to_string()];
        match self.tokens.check(token, wanted, &*self.directory, now_s) {
            Ok(Some((user, matched))) => return TokenCheck::Valid(Arc::new(user), matched),
            Ok(None) | Err(TokenError::Invalid) => {}
            Err(error) => texts.push(error.to_string()),
        }
        if let Some(user) = bootstrap_token::find(token, &*self.directory, now_s)
            && !shared.is_empty()
        {
            return TokenCheck::Valid(Arc::new(user), shared);
        }
        TokenCheck::Refused(texts)
    }
}

/// The token of a bearer header. Other schemes, and an empty token, are no credential.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.split(' ').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn bearer_headers() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc def"), Some("abc"));
        for none in ["Bearer ", "Bearer", "Basic YTpi", ""] {
            assert_eq!(bearer(none), None, "{none}");
        }
    }
}
