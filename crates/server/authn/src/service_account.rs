//! ServiceAccount tokens: issued by TokenRequest, verified on every request.
//!
//! A token is a JWT bound to a ServiceAccount and, mostly, to a pod, secret or node; it ends when that object does.
//! [`Tokens::check`] verifies the signature and the claims, then asks the [`Directory`] whether what the token is
//! bound to is still the same. Signatures that held are remembered for a while, since verifying one costs more than
//! everything else on a read's path; the directory is asked every time.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use meta::Str;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::keys::{KeyError, SigningKey, VerifyingKey};
use crate::user::User;
use crate::uses;

/// Signatures remembered at most; the memory is emptied when it is full.
const REMEMBERED_MAX: usize = 8192;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Issuer of tokens that live in secrets, and the names of their claims.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
const LEGACY_NAMESPACE: &str = "kubernetes.io/serviceaccount/namespace";
const LEGACY_CLAIM: &str = "kubernetes.io/serviceaccount";
/// Clock difference that is forgiven, in seconds.
const LEEWAY_S: i64 = 60;

/// What is known of a pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// The pod's uid.
    pub uid: Str,
    /// Node it is bound to, empty before scheduling.
    pub node: Str,
}

/// What is known of a token that lives in a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyToken {
    /// The token.
    pub token: Vec<u8>,
    /// The day it was used last, as the secret's label says; empty for never.
    pub last_used: Str,
    /// Whether the secret is labelled as invalid, since it was not used for long.
    pub marked_invalid: bool,
}

/// Looks up the objects that tokens are bound to, as the caches of this server know them.
pub trait Directory: Send + Sync {
    /// The uid of a ServiceAccount that exists.
    fn service_account(&self, namespace: &str, name: &str) -> Option<Str>;
    /// A pod that exists and whose deletion was not asked for more than a minute ago.
    fn pod(&self, namespace: &str, name: &str) -> Option<PodFacts>;
    /// The uid of a secret that exists.
    fn secret(&self, namespace: &str, name: &str) -> Option<Str>;
    /// The uid of a node that exists.
    fn node(&self, name: &str) -> Option<Str>;
    /// The data of a bootstrap token's secret `kube-system/bootstrap-token-<id>`.
    fn bootstrap_token(&self, id: &str) -> Option<HashMap<String, String>>;
    /// What a secret of type `kubernetes.io/service-account-token` holds.
    fn legacy_token(&self, namespace: &str, secret: &str) -> Option<LegacyToken>;
    /// Notes that such a token was used on a day (`2006-01-02`).
    fn legacy_token_used(&self, namespace: &str, secret: &str, day: &str);
}

/// Why a token was not accepted. The texts are upstream's and show in TokenReview only.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not a token of ours, or its signature does not hold.
    #[error("invalid bearer token")]
    Invalid,
    /// The token's time is over.
    #[error("service account token has expired")]
    Expired,
    /// The token's time has not come.
    #[error("service account token is not valid yet")]
    NotYetValid,
    /// The object that the token is bound to is gone or another one.
    #[error("service account token has been invalidated")]
    Invalidated,
    /// The secret that holds the token is labelled as invalid.
    #[error(
        "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the 'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of this token"
    )]
    Marked {
        /// Namespace of both.
        namespace: Str,
        /// Name of the secret.
        secret: Str,
        /// Name of the ServiceAccount.
        account: Str,
    },
    /// The token is meant for others.
    #[error("token audiences {found} is invalid for the target audiences {wanted}")]
    Audience {
        /// The token's audiences, as Go prints a list of quoted strings.
        found: String,
        /// The audiences asked for, in the same form.
        wanted: String,
    },
}

/// What a token is bound to beside its ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A pod, and the node it runs on when that is known: name and uid each.
    Pod(Str, Str, Option<(Str, Str)>),
    /// A secret.
    Secret(Str, Str),
    /// A node.
    Node(Str, Str),
}

/// What a TokenRequest wants in the token.
#[derive(Clone, Debug)]
pub struct TokenIssue {
    /// Namespace of the ServiceAccount.
    pub namespace: Str,
    /// Name of the ServiceAccount.
    pub name: Str,
    /// Uid of the ServiceAccount.
    pub uid: Str,
    /// Audiences.
    pub audiences: Vec<Str>,
    /// Time of issue, in seconds since 1970.
    pub now_s: i64,
    /// Seconds until the token ends.
    pub lifetime_s: i64,
    /// Seconds after which a client should have renewed it, when the token lives longer than was asked for.
    pub warn_after_s: Option<i64>,
    /// Object that the token dies with.
    pub bound: Option<Bound>,
    /// The token's own id, a random uuid.
    pub id: Str,
}

/// The verified content of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    issuer: String,
    audiences: Vec<Str>,
    expires_s: i64,
    not_before_s: i64,
    id: Str,
    namespace: Str,
    account: Str,
    account_uid: Str,
    pod: Option<(Str, Str)>,
    secret: Option<(Str, Str)>,
    node: Option<(Str, Str)>,
    /// Lives as long as the secret that holds it.
    legacy: bool,
    /// From when on it should have been replaced; it lives longer for those who do not read it again.
    warn_after_s: Option<i64>,
}

/// Name and audiences of the authority that issues tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` claim, a URL.
    pub url: String,
    /// Issuers whose tokens are accepted beside it: names that this one had, or will have.
    pub also: Vec<String>,
    /// Audiences that this server accepts, and gives to tokens that ask for none.
    pub audiences: Vec<Str>,
}

/// How long tokens live, and how closely those in secrets are looked at.
#[derive(Clone, Copy, Debug)]
pub struct TokenOptions {
    /// Whether a token in a secret must still be there (`--service-account-lookup`).
    pub lookup: bool,
    /// Longest lifetime in seconds (`--service-account-max-token-expiration`).
    pub max_expiration_s: Option<i64>,
    /// Whether tokens for projected volumes live longer than they were asked for
    /// (`--service-account-extend-token-expiration`).
    pub extend: bool,
}

impl Default for TokenOptions {
    fn default() -> Self {
        TokenOptions { lookup: true, max_expiration_s: None, extend: true }
    }
}

/// The keys of one moment.
#[derive(Debug)]
struct Keys {
    signer: SigningKey,
    verifiers: Vec<VerifyingKey>,
}

impl Keys {
    fn new(signer: SigningKey, others: Vec<VerifyingKey>) -> Self {
        let mut verifiers = vec![signer.verifying_key().clone()];
        for key in others {
            if verifiers.iter().all(|known| known.id != key.id) {
                verifiers.push(key);
            }
        }
        Keys { signer, verifiers }
    }
}

/// Issues and checks tokens.
#[derive(Debug)]
pub struct Tokens {
    issuer: Issuer,
    options: TokenOptions,
    keys: ArcSwap<Keys>,
    remembered: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Tokens {
    /// Signs with `signer`, accepts its signatures and those of `others` (keys on their way out).
    pub fn new(issuer: Issuer, signer: SigningKey, others: Vec<VerifyingKey>) -> Self {
        let keys = ArcSwap::from_pointee(Keys::new(signer, others));
        Tokens { issuer, options: TokenOptions::default(), keys, remembered: Mutex::default() }
    }

    /// Signs with another key from now on, and accepts its signatures and those of `others` alone.
    pub fn replace_keys(&self, signer: SigningKey, others: Vec<VerifyingKey>) {
        self.keys.store(Arc::new(Keys::new(signer, others)));
        // Signatures of keys that went are not remembered either.
        self.remembered.lock().clear();
    }

    /// With other options.
    pub fn with(mut self, options: TokenOptions) -> Self {
        self.options = options;
        self
    }

    /// How long tokens may live.
    pub fn options(&self) -> &TokenOptions {
        &self.options
    }

    /// The issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The JWKS document of `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.load().verifiers.iter().map(VerifyingKey::jwk).collect::<Vec<_>>() })
    }

    /// Signs a token.
    pub fn issue(&self, request: &TokenIssue) -> Result<String, KeyError> {
        let mut facts = json!({
            "namespace": request.namespace.as_str(),
            "serviceaccount": { "name": request.name.as_str(), "uid": request.uid.as_str() },
        });
        let reference = |name: &Str, uid: &Str| {
            let mut facts = json!({ "name": name.as_str() });
            if !uid.is_empty() {
                facts["uid"] = uid.as_str().into();
            }
            facts
        };
        match &request.bound {
            Some(Bound::Pod(name, uid, node)) => {
                facts["pod"] = reference(name, uid);
                if let Some((name, uid)) = node {
                    facts["node"] = reference(name, uid);
                }
            }
            Some(Bound::Secret(name, uid)) => facts["secret"] = reference(name, uid),
            Some(Bound::Node(name, uid)) => facts["node"] = reference(name, uid),
            None => {}
        }
        if let Some(after) = request.warn_after_s {
            facts["warnafter"] = json!(request.now_s + after);
        }
        let audiences: Vec<&str> = request.audiences.iter().map(Str::as_str).collect();
        let claims = json!({
            "aud": audiences,
            "exp": request.now_s + request.lifetime_s,
            "iat": request.now_s,
            "iss": self.issuer.url,
            "jti": request.id.as_str(),
            "kubernetes.io": facts,
            "nbf": request.now_s,
            "sub": format!("system:serviceaccount:{}:{}", request.namespace, request.name),
        });
        self.keys.load().signer.sign(claims.to_string().as_bytes())
    }

    /// Signs such a token with the present key.
    ///
    /// # Errors
    /// When the key fails.
    pub fn legacy(
        &self,
        namespace: &str,
        account: &str,
        uid: &str,
        secret: &str,
    ) -> Result<String, KeyError> {
        Tokens::issue_legacy(&self.keys.load().signer, namespace, account, uid, secret)
    }

    /// Signs a token that lives as long as the secret that holds it.
    ///
    /// # Errors
    /// When the key fails.
    pub fn issue_legacy(
        signer: &SigningKey,
        namespace: &str,
        account: &str,
        account_uid: &str,
        secret: &str,
    ) -> Result<String, KeyError> {
        let mut claims = json!({
            "iss": LEGACY_ISSUER,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
        });
        claims[LEGACY_NAMESPACE] = namespace.into();
        for (name, value) in
            [("secret.name", secret), ("service-account.name", account), ("service-account.uid", account_uid)]
        {
            claims[format!("{LEGACY_CLAIM}/{name}")] = value.into();
        }
        signer.sign(claims.to_string().as_bytes())
    }

    /// A legacy token holds while its secret holds it and its account is the same. It is for the API server alone.
    fn check_legacy(
        &self,
        token: &str,
        claims: &Claims,
        wanted: &[Str],
        directory: &dyn Directory,
        now_s: i64,
    ) -> Result<Option<(User, Vec<Str>)>, TokenError> {
        let own = &self.issuer.audiences;
        let matched: Vec<Str> = own.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if matched.is_empty() {
            return Err(TokenError::Audience { found: go_list(own), wanted: go_list(wanted) });
        }
        if self.options.lookup {
            let name = claims.secret.as_ref().map_or("", |(name, _)| name.as_str());
            let secret = directory.legacy_token(&claims.namespace, name).ok_or(TokenError::Invalidated)?;
            let account = directory.service_account(&claims.namespace, &claims.account);
            if secret.token != token.as_bytes() || account.as_ref() != Some(&claims.account_uid) {
                return Err(TokenError::Invalidated);
            }
            if secret.marked_invalid {
                return Err(TokenError::Marked {
                    namespace: claims.namespace.clone(),
                    secret: name.into(),
                    account: claims.account.clone(),
                });
            }
            let today = meta::Time::from_unix(now_s).to_string();
            let today = today.split('T').next().unwrap_or_default();
            if secret.last_used != today {
                directory.legacy_token_used(&claims.namespace, name, today);
            }
        }
        let mut user = User::service_account(&claims.namespace, &claims.account);
        user.uid = claims.account_uid.clone();
        uses::LEGACY.inc();
        Ok(Some((user, matched)))
    }

    /// Whether the text looks like a token of this issuer.
    fn is_ours(&self, token: &str) -> bool {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let Ok(payload) = B64.decode(payload) else { return false };
        let Ok(claims) = serde_json::from_slice::<Value>(&payload) else { return false };
        claims["iss"].as_str().is_some_and(|issuer| {
            issuer == self.issuer.url
                || issuer == LEGACY_ISSUER
                || self.issuer.also.iter().any(|also| also == issuer)
        })
    }

    /// Checks a token for any of the audiences `wanted`; answers with the user and the audiences that matched.
    /// `Ok(None)` when the token is none of this issuer's.
    pub fn check(
        &self,
        token: &str,
        wanted: &[Str],
        directory: &dyn Directory,
        now_s: i64,
    ) -> Result<Option<(User, Vec<Str>)>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let Some(claims) = self.verified(token)? else { return Ok(None) };
        if claims.legacy {
            return self.check_legacy(token, &claims, wanted, directory, now_s);
        }
        let matched: Vec<Str> = claims.audiences.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if matched.is_empty() {
            return Err(TokenError::Audience { found: go_list(&claims.audiences), wanted: go_list(wanted) });
        }
        if now_s >= claims.expires_s {
            return Err(TokenError::Expired);
        }
        if now_s + LEEWAY_S < claims.not_before_s {
            return Err(TokenError::NotYetValid);
        }
        let user = claims.user(directory)?;
        let stale = claims.warn_after_s.is_some_and(|after_s| now_s > after_s);
        if stale {
            uses::STALE.inc()
        } else {
            uses::VALID.inc()
        }
        Ok(Some((user, matched)))
    }

    /// The claims of a token whose signature holds; `None` for text that is no token of this issuer.
    fn verified(&self, token: &str) -> Result<Option<Arc<Claims>>, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.remembered.lock().get(&digest) {
            return Ok(Some(claims.clone()));
        }
        if !self.is_ours(token) {
            return Ok(None);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Invalid)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Invalid)?;
        let decode = |text: &str| -> Result<Value, TokenError> {
            let bytes = B64.decode(text).map_err(|_| TokenError::Invalid)?;
            serde_json::from_slice(&bytes).map_err(|_| TokenError::Invalid)
        };
        let header = decode(header)?;
        let signature = B64.decode(signature).map_err(|_| TokenError::Invalid)?;
        let keys = self.keys.load_full();
        let holds = keys.verifiers.iter().any(|key| {
            header["alg"].as_str() == Some(key.algorithm.name())
                && header["kid"].as_str().is_none_or(|kid| kid.is_empty() || kid == key.id)
                && key.verify(message.as_bytes(), &signature)
        });
        if !holds {
            return Err(TokenError::Invalid);
        }
        let payload = decode(payload)?;
        let legacy = payload["iss"].as_str() == Some(LEGACY_ISSUER);
        let claims = if legacy { Claims::read_legacy(&payload) } else { Claims::read(&payload) };
        let claims = Arc::new(claims.ok_or(TokenError::Invalid)?);
        let mut remembered = self.remembered.lock();
        if !Arc::ptr_eq(&keys, &self.keys.load()) {
            // They were replaced meanwhile: next time the token meets the new ones.
            return Ok(Some(claims));
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(digest, claims.clone());
        Ok(Some(claims))
    }
}

impl Claims {
    fn read(json: &Value) -> Option<Self> {
        let facts = &json["kubernetes.io"];
        let reference = |value: &Value| -> Option<(Str, Str)> {
            Some((value["name"].as_str()?.into(), value["uid"].as_str()?.into()))
        };
        let (account, account_uid) = reference(&facts["serviceaccount"])?;
        let namespace: Str = facts["namespace"].as_str()?.into();
        if json["sub"].as_str()? != format!("system:serviceaccount:{namespace}:{account}") {
            return None;
        }
        let audiences = match &json["aud"] {
            Value::String(one) => vec![one.as_str().into()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).map(Into::into).collect(),
            _ => return None,
        };
        Some(Claims {
            issuer: json["iss"].as_str()?.to_owned(),
            audiences,
            expires_s: json["exp"].as_i64()?,
            not_before_s: json["nbf"].as_i64().unwrap_or_default(),
            id: json["jti"].as_str().unwrap_or_default().into(),
            pod: reference(&facts["pod"]),
            secret: reference(&facts["secret"]),
            // A pod's node may have been gone when the token was made.
            node: facts["node"]["name"]
                .as_str()
                .map(|name| (name.into(), facts["node"]["uid"].as_str().unwrap_or_default().into())),
            namespace,
            account,
            account_uid,
            legacy: false,
            warn_after_s: facts["warnafter"].as_i64(),
        })
    }

    fn read_legacy(json: &Value) -> Option<Self> {
        let fact = |name: &str| json[format!("{LEGACY_CLAIM}/{name}")].as_str().map(Str::from);
        let namespace = json[LEGACY_NAMESPACE].as_str().map(Str::from)?;
        let account = fact("service-account.name")?;
        if json["sub"].as_str()? != format!("system:serviceaccount:{namespace}:{account}") {
            return None;
        }
        Some(Claims {
            issuer: LEGACY_ISSUER.to_owned(),
            secret: Some((fact("secret.name")?, Str::new())),
            account_uid: fact("service-account.uid")?,
            namespace,
            account,
            legacy: true,
            ..Claims::default()
        })
    }

    /// The user, provided that everything the token is bound to is still there.
    fn user(&self, directory: &dyn Directory) -> Result<User, TokenError> {
        let same = |found: Option<Str>, uid: &Str| found.as_ref() == Some(uid);
        if !same(directory.service_account(&self.namespace, &self.account), &self.account_uid) {
            return Err(TokenError::Invalidated);
        }
        let mut user = User::service_account(&self.namespace, &self.account);
        user.uid = self.account_uid.clone();
        if !self.id.is_empty() {
            user.add_extra("authentication.kubernetes.io/credential-id", format!("JTI={}", self.id));
        }
        if let Some((name, uid)) = &self.secret
            && !same(directory.secret(&self.namespace, name), uid)
        {
            return Err(TokenError::Invalidated);
        }
        if let Some((name, uid)) = &self.pod {
            if directory.pod(&self.namespace, name).is_none_or(|pod| pod.uid != *uid) {
                return Err(TokenError::Invalidated);
            }
            user.add_extra("authentication.kubernetes.io/pod-name", name.clone());
            user.add_extra("authentication.kubernetes.io/pod-uid", uid.clone());
        }
        if let Some((name, uid)) = &self.node {
            // A token bound to a pod ends with the pod; the node in it is information. One bound to the node alone
            // ends with the node.
            if self.pod.is_none() && !same(directory.node(name), uid) {
                return Err(TokenError::Invalidated);
            }
            user.add_extra("authentication.kubernetes.io/node-name", name.clone());
            if !uid.is_empty() {
                user.add_extra("authentication.kubernetes.io/node-uid", uid.clone());
            }
        }
        Ok(user)
    }
}

/// A list of strings as Go's `%q` prints it.
fn go_list(items: &[Str]) -> String {
    let quoted: Vec<String> = items.iter().map(|s| format!("{:?}", s.as_str())).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One {
        pod_uid: &'static str,
    }

    impl Directory for One {
        fn service_account(&self, _: &str, name: &str) -> Option<Str> {
            (name == "default").then(|| "sa-uid".into())
        }
        fn pod(&self, _: &str, _: &str) -> Option<PodFacts> {
            Some(PodFacts { uid: self.pod_uid.into(), node: "n".into() })
        }
        fn secret(&self, _: &str, _: &str) -> Option<Str> {
            None
        }
        fn node(&self, _: &str) -> Option<Str> {
            None
        }
        fn bootstrap_token(&self, _: &str) -> Option<HashMap<String, String>> {
            None
        }
        fn legacy_token(&self, _: &str, secret: &str) -> Option<LegacyToken> {
            let token = self.pod_uid.as_bytes().to_vec();
            (secret == "s").then(|| LegacyToken { token, ..LegacyToken::default() })
        }
        fn legacy_token_used(&self, _: &str, _: &str, _: &str) {}
    }

    fn tokens() -> Tokens {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let issuer =
            Issuer { url: "https://k".into(), also: Vec::new(), audiences: vec!["https://k".into()] };
        Tokens::new(issuer, SigningKey::from_pem(pem.as_bytes()).unwrap(), vec![])
    }

    fn issue(bound: Option<Bound>) -> TokenIssue {
        TokenIssue {
            namespace: "ns".into(),
            name: "default".into(),
            uid: "sa-uid".into(),
            audiences: vec!["https://k".into()],
            now_s: 1000,
            lifetime_s: 600,
            warn_after_s: None,
            bound,
            id: "j".into(),
        }
    }

    #[test]
    fn bound_tokens_live_as_long_as_their_pod() {
        let tokens = tokens();
        let token = tokens.issue(&issue(Some(Bound::Pod("p".into(), "pod-uid".into(), None)))).unwrap();
        let wanted = [Str::from("https://k")];
        let alive = One { pod_uid: "pod-uid" };
        let (user, _) = tokens.check(&token, &wanted, &alive, 1100).unwrap().unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:default");
        assert_eq!(
            tokens.check(&token, &wanted, &One { pod_uid: "new" }, 1100),
            Err(TokenError::Invalidated)
        );
        assert_eq!(tokens.check(&token, &wanted, &alive, 1600), Err(TokenError::Expired));
        let error = tokens.check(&token, &["other".into()], &alive, 1100).unwrap_err();
        assert_eq!(
            error.to_string(),
            "token audiences [\"https://k\"] is invalid for the target audiences [\"other\"]"
        );
    }

    #[test]
    fn old_keys_and_names_hold_while_they_are_accepted() {
        let (old, new) = (tokens(), tokens());
        let token = old.issue(&issue(None)).unwrap();
        let (directory, wanted) = (One { pod_uid: "" }, [Str::from("https://k")]);
        assert_eq!(new.check(&token, &wanted, &directory, 1100), Err(TokenError::Invalid));
        let rotated = |url: &str, also: &[&str]| {
            let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
            let also = also.iter().map(|issuer| (*issuer).to_owned()).collect();
            let issuer = Issuer { url: url.into(), also, audiences: wanted.to_vec() };
            let signer = SigningKey::from_pem(pem.as_bytes()).unwrap();
            Tokens::new(issuer, signer, vec![old.keys.load().signer.verifying_key().clone()])
        };
        assert!(rotated("https://k", &[]).check(&token, &wanted, &directory, 1100).unwrap().is_some());
        assert!(
            rotated("https://new", &["https://k"])
                .check(&token, &wanted, &directory, 1100)
                .unwrap()
                .is_some()
        );
        // Another issuer's token is for somebody else to judge.
        assert_eq!(rotated("https://new", &[]).check(&token, &wanted, &directory, 1100), Ok(None));
        assert_eq!(rotated("https://k", &[]).jwks()["keys"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn keys_that_were_replaced_verify_nothing_more() {
        let tokens = tokens();
        let token = tokens.issue(&issue(None)).unwrap();
        let (directory, wanted) = (One { pod_uid: "" }, [Str::from("https://k")]);
        let check = || tokens.check(&token, &wanted, &directory, 1100).map(|found| found.is_some());
        assert_eq!(check(), Ok(true));
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let new = || SigningKey::from_pem(pem.as_bytes()).unwrap();
        let old = tokens.keys.load_full();
        tokens.replace_keys(new(), vec![old.signer.verifying_key().clone()]);
        assert_eq!(check(), Ok(true), "a retired key still verifies");
        assert_eq!(tokens.jwks()["keys"].as_array().map(Vec::len), Some(2));
        tokens.replace_keys(new(), vec![]);
        assert_eq!(check(), Err(TokenError::Invalid), "what was remembered goes with its key");
        assert_eq!(tokens.jwks()["keys"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn legacy_tokens_live_as_long_as_their_secret() {
        let tokens = tokens();
        let issue = |uid, secret| {
            Tokens::issue_legacy(&tokens.keys.load().signer, "ns", "default", uid, secret).unwrap()
        };
        let token: &'static str = issue("sa-uid", "s").leak();
        let wanted = [Str::from("https://k")];
        let (holds, empty) = (One { pod_uid: token }, One { pod_uid: "another" });
        let (user, _) = tokens.check(token, &wanted, &holds, 1 << 40).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:ns:default", "sa-uid"));
        assert_eq!(tokens.check(token, &wanted, &empty, 1), Err(TokenError::Invalidated));
        assert_eq!(tokens.check(&issue("old", "s"), &wanted, &holds, 1), Err(TokenError::Invalidated));
        assert!(matches!(
            tokens.check(token, &["other".into()], &holds, 1),
            Err(TokenError::Audience { .. })
        ));
        let forged = self::tokens();
        let forged =
            Tokens::issue_legacy(&forged.keys.load().signer, "ns", "default", "sa-uid", "s").unwrap();
        assert_eq!(tokens.check(&forged, &wanted, &holds, 1), Err(TokenError::Invalid));
    }

    #[test]
    fn forged_tokens_are_refused_and_foreign_ones_passed_on() {
        let tokens = tokens();
        let wanted = [Str::from("https://k")];
        let directory = One { pod_uid: "" };
        let token = tokens.issue(&issue(None)).unwrap();
        let (message, _) = token.rsplit_once('.').unwrap();
        let (_, payload) = message.split_once('.').unwrap();
        let none = format!("{}.{payload}.", B64.encode("{\"alg\":\"none\"}"));
        assert_eq!(tokens.check(&none, &wanted, &directory, 1100), Err(TokenError::Invalid));
        let other = self::tokens().issue(&issue(None)).unwrap();
        assert_eq!(tokens.check(&other, &wanted, &directory, 1100), Err(TokenError::Invalid));
        for foreign in ["", "a", "a.b.c", "...", "nonsense"] {
            assert_eq!(tokens.check(foreign, &wanted, &directory, 1100), Ok(None), "{foreign}");
        }
    }
}
