//! `serviceaccounts/token`: TokenRequest (KEP-1205).

use authn::{Bound, TokenIssue};
use call::WriteOptions;
use meta::{BadValue, FieldError, FieldErrorKind, Status, Time};
use types::authentication::v1::TokenRequest;
use types::core::v1::{Node, Pod, Secret};

use crate::errors;
use crate::outcome::Outcome;
use crate::registry::{Registry, Request};
use crate::served::Served;

/// Lifetime of tokens whose request sets none, in seconds.
const LIFETIME_DEFAULT_S: i64 = 3600;
/// Shortest lifetime.
const LIFETIME_MIN_S: i64 = 600;
/// The lifetime that projected volumes ask for; clients that never reload their token get a year instead.
const LIFETIME_EXTENDED_FOR_S: i64 = 3607;
/// The extended lifetime.
const LIFETIME_EXTENDED_S: i64 = 365 * 24 * 3600;

impl Registry {
    pub(super) async fn issue_token(
        &self,
        request: &mut Request<'_>,
        mut body: Box<TokenRequest>,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let target = request.target;
        let namespace = &body.metadata.namespace;
        if !namespace.is_empty() && *namespace != target.namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(errors::bad_request(why));
        }
        let named = &body.metadata.name;
        if !named.is_empty() && *named != target.name {
            let problem = FieldError {
                kind: FieldErrorKind::Invalid,
                field: "metadata.name".into(),
                value: named.into(),
                detail: "must match the service account name if specified".into(),
            };
            return Err(errors::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                &target.name,
                vec![problem],
            ));
        }
        let account = self.find_object(request.served, &target.namespace, &target.name).await?;
        let account = account.ok_or_else(|| request.not_found())?.object().clone();
        let (asked, uid) = (&body.metadata.uid, &account.meta().uid);
        if !asked.is_empty() && asked != uid {
            let why = format!(
                "the UID in the token request ({asked}) does not match the UID of the service account ({uid})"
            );
            return Err(errors::conflict("authentication.k8s.io", "TokenRequest", &target.name, &why));
        }
        let lifetime = body.spec.expiration_seconds.unwrap_or(LIFETIME_DEFAULT_S);
        body.spec.expiration_seconds = Some(lifetime);
        validate(&body)?;
        body.metadata.name = target.name.clone();
        body.metadata.namespace = target.namespace.clone();
        body.metadata.uid = account.meta().uid.clone();
        body.metadata.creation_timestamp = Some(Time::from_unix(self.now_s()));
        let mut body = self.admit_body(request, target, body, options, validate).await?;
        let bound = self.bound(request, &body).await?;
        // Only now, for admission asks whether the audience was named.
        if body.spec.audiences.is_empty() {
            body.spec.audiences = self.tokens.issuer().audiences.iter().cloned().collect();
        }
        let own = body.spec.audiences.iter().all(|a| self.tokens.issuer().audiences.contains(a));
        let options = *self.tokens.options();
        let mut lifetime = lifetime;
        if let Some(max) = options.max_expiration_s.filter(|max| lifetime > *max) {
            let text = format!("requested expiration of {lifetime} seconds shortened to {max} seconds");
            request.warnings.push(text);
            lifetime = max;
            body.spec.expiration_seconds = Some(max);
        }
        let extended = options.extend
            && lifetime == LIFETIME_EXTENDED_FOR_S
            && own
            && matches!(bound, Some(Bound::Pod(..)));
        let lives_s = if extended { LIFETIME_EXTENDED_S } else { lifetime };
        let issue = TokenIssue {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            uid: account.meta().uid.clone(),
            audiences: body.spec.audiences.iter().cloned().collect(),
            now_s: self.now_s(),
            lifetime_s: lives_s,
            warn_after_s: extended.then_some(lifetime),
            bound,
            id: self.env.random.uuid().into(),
        };
        body.status.token = self.tokens.issue(&issue).map_err(errors::internal)?.into();
        // Clients renew by this time, so it tells of the lifetime that was asked for.
        body.status.expiration_timestamp = Some(Time::from_unix(self.now_s() + lifetime));
        Ok(Outcome::Made(std::sync::Arc::new(*body), 201))
    }

    /// What the token is bound to, after checking that it exists.
    async fn bound(&self, request: &Request<'_>, body: &TokenRequest) -> Result<Option<Bound>, Status> {
        let Some(wanted) = body.spec.bound_object_ref.as_deref() else { return Ok(None) };
        let namespace = request.target.namespace.as_str();
        // As upstream has it, the version does not matter.
        let (group, version) = match wanted.api_version.split_once('/') {
            Some(parts) => parts,
            None => ("", wanted.api_version.as_str()),
        };
        let (plural, scope) = match (group, wanted.kind.as_str()) {
            ("", "Pod") => ("pods", namespace),
            ("", "Secret") => ("secrets", namespace),
            ("", "Node") => ("nodes", ""),
            (group, kind) => {
                return Err(errors::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let served = Served::find("", "v1", plural).ok_or_else(errors::no_such_resource)?;
        let found = self.find_object(&served, scope, &wanted.name).await?;
        let found = found.ok_or_else(|| errors::not_found("", plural, &wanted.name))?;
        let object = found.object();
        let uid = object.meta().uid.clone();
        if !wanted.uid.is_empty() && wanted.uid != uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                wanted.uid
            );
            return Err(errors::conflict("", &wanted.kind, &wanted.name, &why));
        }
        let name = wanted.name.clone();
        if let Some(pod) = meta::downcast_ref::<Pod>(&**object) {
            if pod.spec.service_account_name != request.target.name {
                return Err(errors::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    request.target.name.as_str()
                )));
            }
            let node = self.node_of(pod).await?;
            return Ok(Some(Bound::Pod(name, uid, node)));
        }
        if meta::downcast_ref::<Secret>(&**object).is_some() {
            return Ok(Some(Bound::Secret(name, uid)));
        }
        Ok(meta::downcast_ref::<Node>(&**object).map(|_| Bound::Node(name, uid)))
    }

    async fn node_of(&self, pod: &Pod) -> Result<Option<(meta::Str, meta::Str)>, Status> {
        if pod.spec.node_name.is_empty() {
            return Ok(None);
        }
        let served = Served::find("", "v1", "nodes").ok_or_else(errors::no_such_resource)?;
        let node = self.find_object(&served, "", &pod.spec.node_name).await?;
        // A node that is gone is still told by its name.
        let uid = node.map(|node| node.object().meta().uid.clone()).unwrap_or_default();
        Ok(Some((pod.spec.node_name.clone(), uid)))
    }
}

fn validate(body: &TokenRequest) -> Result<(), Status> {
    let lifetime = body.spec.expiration_seconds.unwrap_or_default();
    let why = if lifetime < LIFETIME_MIN_S {
        "may not specify a duration less than 10 minutes"
    } else if lifetime > 1 << 32 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let problem = FieldError {
        kind: FieldErrorKind::Invalid,
        field: "spec.expirationSeconds".into(),
        value: BadValue::Plain(lifetime.to_string()),
        detail: why.into(),
    };
    Err(errors::invalid("authentication.k8s.io", "TokenRequest", "", vec![problem]))
}
