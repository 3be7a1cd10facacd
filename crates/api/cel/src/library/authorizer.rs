//! Asking whether the user may do something else: `authorizer.group('').resource('pods').check('list').allowed()`.

use std::fmt;
use std::sync::Arc;

use meta::names::{name_label, name_subdomain};

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Opaque, Value};

/// Overloads that add one thing to a question about a resource.
macro_rules! narrowed {
    ($id:literal) => {
        &[concat!(
            $id,
            ": kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck"
        )]
    };
}
pub(super) const FUNCTIONS: &[Row] = &[
    Row {
        name: "path",
        run: path,
        overloads: &[
            "authorizer_path: kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.PathCheck",
        ],
    },
    Row {
        name: "group",
        run: group,
        overloads: &[
            "authorizer_group: kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.GroupCheck",
        ],
    },
    Row {
        name: "serviceAccount",
        run: service_account,
        overloads: &[
            "authorizer_serviceaccount: kubernetes.authorization.Authorizer.(string,string) -> kubernetes.authorization.Authorizer",
        ],
    },
    Row {
        name: "resource",
        run: resource,
        overloads: &[
            "groupcheck_resource: kubernetes.authorization.GroupCheck.(string) -> kubernetes.authorization.ResourceCheck",
        ],
    },
    Row { name: "subresource", run: narrow, overloads: narrowed!("resourcecheck_subresource") },
    Row { name: "namespace", run: narrow, overloads: narrowed!("resourcecheck_namespace") },
    Row { name: "name", run: narrow, overloads: narrowed!("resourcecheck_name") },
    Row { name: "fieldSelector", run: narrow, overloads: narrowed!("authorizer_fieldselector") },
    Row { name: "labelSelector", run: narrow, overloads: narrowed!("authorizer_labelselector") },
    Row {
        name: "check",
        run: check,
        overloads: &[
            "pathcheck_check: kubernetes.authorization.PathCheck.(string) -> kubernetes.authorization.Decision",
            "resourcecheck_check: kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.Decision",
        ],
    },
    Row {
        name: "errored",
        run: read,
        overloads: &["decision_errored: kubernetes.authorization.Decision.() -> bool"],
    },
    Row {
        name: "error",
        run: read,
        overloads: &["decision_error: kubernetes.authorization.Decision.() -> string"],
    },
    Row {
        name: "allowed",
        run: read,
        overloads: &["decision_allowed: kubernetes.authorization.Decision.() -> bool"],
    },
    Row {
        name: "reason",
        run: read,
        overloads: &["decision_reason: kubernetes.authorization.Decision.() -> string"],
    },
];

/// Who answers. Questions are those of the user that the expression runs for.
pub trait Authorizer: Send + Sync {
    /// Answers one question.
    fn authorize(&self, check: &Check<'_>) -> Decision;
}

/// A question.
#[derive(Clone, Debug)]
pub enum Check<'a> {
    /// May this verb be used on a path?
    Path {
        /// Namespace and name of the account that is asked for instead of the user.
        service_account: Option<&'a (Arc<str>, Arc<str>)>,
        /// The path.
        path: &'a str,
        /// The HTTP verb.
        verb: &'a str,
    },
    /// May this verb be used on a resource?
    Resource {
        /// Namespace and name of the account that is asked for instead of the user.
        service_account: Option<&'a (Arc<str>, Arc<str>)>,
        /// The resource.
        resource: &'a ResourceCheck,
        /// The API verb.
        verb: &'a str,
    },
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// It may.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while finding out.
    pub error: Option<String>,
}

/// The authorizer as a value.
#[derive(Clone)]
pub struct AuthorizerHandle {
    host: Arc<dyn Authorizer>,
    service_account: Option<Arc<(Arc<str>, Arc<str>)>>,
}

impl AuthorizerHandle {
    /// The value of `authorizer`.
    pub fn value<'a>(host: Arc<dyn Authorizer>) -> Value<'a> {
        Value::Opaque(Opaque::Authorizer(Self { host, service_account: None }))
    }

    /// The value of `authorizer.requestResource`.
    pub fn resource<'a>(host: Arc<dyn Authorizer>, mut resource: ResourceCheck) -> Value<'a> {
        resource.authorizer = Some(Self { host, service_account: None });
        Value::Opaque(Opaque::ResourceCheck(Arc::new(resource)))
    }
}

impl fmt::Debug for AuthorizerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("service_account", &self.service_account).finish_non_exhaustive()
    }
}

/// A path to ask about.
#[derive(Debug)]
pub struct PathCheck {
    authorizer: AuthorizerHandle,
    path: String,
}

/// A group to ask about.
#[derive(Debug)]
pub struct GroupCheck {
    authorizer: AuthorizerHandle,
    group: String,
}

/// A resource to ask about; empty parts are left out of the question.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct ResourceCheck {
    authorizer: Option<AuthorizerHandle>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

fn opaque<'c, 'a>(call: &Call<'c, 'a>) -> Option<&'c Opaque> {
    match call.args.first() {
        Some(Value::Opaque(opaque)) => Some(opaque),
        _ => None,
    }
}

fn path<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Opaque::Authorizer(authorizer)) = opaque(call) else { return Err(wrong_type(call)) };
    let path = call.str(1)?.to_owned();
    if path.trim().is_empty() {
        return Err(EvalError::new("path must not be empty"));
    }
    Ok(Value::Opaque(Opaque::PathCheck(Arc::new(PathCheck { authorizer: authorizer.clone(), path }))))
}

fn group<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Opaque::Authorizer(authorizer)) = opaque(call) else { return Err(wrong_type(call)) };
    let group = call.str(1)?.to_owned();
    Ok(Value::Opaque(Opaque::GroupCheck(Arc::new(GroupCheck { authorizer: authorizer.clone(), group }))))
}

fn service_account<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Opaque::Authorizer(authorizer)) = opaque(call) else { return Err(wrong_type(call)) };
    let (namespace, name) = (call.str(1)?, call.str(2)?);
    if !name_subdomain(name, false).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !name_label(namespace, false).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let account = Some(Arc::new((namespace.into(), name.into())));
    Ok(Value::Opaque(Opaque::Authorizer(AuthorizerHandle {
        host: authorizer.host.clone(),
        service_account: account,
    })))
}

fn resource<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Opaque::GroupCheck(group)) = opaque(call) else { return Err(wrong_type(call)) };
    let resource = call.str(1)?.to_owned();
    if resource.trim().is_empty() {
        return Err(EvalError::new("resource must not be empty"));
    }
    Ok(Value::Opaque(Opaque::ResourceCheck(Arc::new(ResourceCheck {
        authorizer: Some(group.authorizer.clone()),
        group: group.group.clone(),
        resource,
        ..ResourceCheck::default()
    }))))
}

fn narrow<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Opaque::ResourceCheck(check)) = opaque(call) else { return Err(wrong_type(call)) };
    let mut check = (**check).clone();
    let part = match call.name {
        "subresource" => &mut check.subresource,
        "namespace" => &mut check.namespace,
        "name" => &mut check.name,
        "fieldSelector" => &mut check.field_selector,
        _ => &mut check.label_selector,
    };
    *part = call.str(1)?.to_owned();
    Ok(Value::Opaque(Opaque::ResourceCheck(Arc::new(check))))
}

fn check<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let verb = call.str(1)?;
    let decision = match opaque(call) {
        Some(Opaque::PathCheck(check)) => {
            let service_account = check.authorizer.service_account.as_deref();
            check.authorizer.host.authorize(&Check::Path { service_account, path: &check.path, verb })
        }
        Some(Opaque::ResourceCheck(check)) => {
            let Some(authorizer) = &check.authorizer else { return Err(wrong_type(call)) };
            let service_account = authorizer.service_account.as_deref();
            authorizer.host.authorize(&Check::Resource { service_account, resource: check, verb })
        }
        _ => return Err(wrong_type(call)),
    };
    Ok(Value::Opaque(Opaque::Decision(Arc::new(decision))))
}

fn read<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Opaque::Decision(decision)) = opaque(call) else { return Err(wrong_type(call)) };
    Ok(match call.name {
        "allowed" => Value::Bool(decision.allowed),
        "errored" => Value::Bool(decision.error.is_some()),
        "error" => Value::from(decision.error.clone().unwrap_or_default()),
        _ => Value::from(decision.reason.clone()),
    })
}
