//! Subresources: the parts of objects that have paths of their own.
//!
//! Most of them (`status`, `finalize`, `approval`, `resize`, `ephemeralcontainers`) read and write the object itself
//! under other rules. Those that speak another kind have a file each.

mod approval;
mod binding;
mod body;
mod eviction;
pub(crate) mod scale;
mod token;

pub(crate) use approval::stamp_conditions;
pub(crate) use body::Body;

use call::Action;
use meta::{Object, Status};
use types::core::v1::Binding;

use crate::commit::Committed;
use crate::errors;
use crate::managed;
use crate::outcome::Outcome;
use crate::registry::{Registry, Request};
use crate::served::Served;
use crate::stored::Stored;
use crate::update::Source;

/// Attempts of the server's own changes.
const ATTEMPTS: usize = 64;

impl Registry {
    /// Performs a call on a subresource.
    pub(crate) async fn subresource(
        &self,
        request: &mut Request<'_>,
        action: Action,
    ) -> Result<Outcome, Status> {
        let name = request.target.subresource.clone();
        let verbs = request.served.subresource(&name).ok_or_else(errors::no_such_resource)?.verbs;
        match (name.as_str(), action) {
            ("scale", action) => self.scale(request, action).await,
            ("binding", Action::Create(body, options)) => {
                self.bind(request, request.target, body_of(body)?, &options).await
            }
            ("eviction", Action::Create(body, options)) => {
                self.evict(request, body_of(body)?, &options).await
            }
            ("token", Action::Create(body, options)) => {
                self.issue_token(request, body_of(body)?, &options).await
            }
            (_, Action::Get { resource_version }) if verbs.contains(&"get") => {
                self.get(request, &resource_version).await.map(Outcome::Stored)
            }
            (_, Action::Update(object, options)) if verbs.contains(&"update") => {
                self.update(request, Source::Replace(object), &options).await
            }
            (_, Action::Patch(kind, body, options)) if verbs.contains(&"patch") => {
                self.update(request, Source::Patch(kind, body), &options).await
            }
            _ => Err(errors::method_not_allowed()),
        }
    }

    /// `POST .../bindings`: the binding names its pod itself.
    pub(crate) async fn create_binding(
        &self,
        request: &mut Request<'_>,
        body: Box<dyn Object>,
        options: &call::WriteOptions,
    ) -> Result<Outcome, Status> {
        let binding: Box<Binding> = body_of(body)?;
        check_path_name(&binding.metadata.name)?;
        let mut target = request.target.clone();
        target.resource = "pods".into();
        target.name = binding.metadata.name.clone();
        let served = Served::find("", "v1", "pods").ok_or_else(errors::no_such_resource)?;
        let mut inner = Request {
            authorized: request.authorized,
            target: &target,
            served: &served,
            warnings: &mut *request.warnings,
            notes: request.notes,
            unlabelled: false,
        };
        self.bind(&mut inner, request.target, binding, options).await
    }

    /// Changes a stored object as the server itself decides: `change` makes the new state of the current one, or
    /// refuses. Retries while others write.
    pub(crate) async fn change(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
        change: impl Fn(&mut dyn Object) -> Result<(), Status>,
    ) -> Result<Stored, Status> {
        self.change_recorded(served, namespace, name, change, |_, _| {}).await
    }

    /// The same of a status, whose fields are the server's own from then on.
    pub(crate) async fn change_own_status(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
        change: impl Fn(&mut dyn Object) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let record = |object: &mut dyn Object, before: &Stored| {
            managed::record_own_status(served, object, before, self.now_s());
        };
        self.change_recorded(served, namespace, name, change, record).await.map(drop)
    }

    async fn change_recorded(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
        change: impl Fn(&mut dyn Object) -> Result<(), Status>,
        record: impl Fn(&mut dyn Object, &Stored),
    ) -> Result<Stored, Status> {
        let kind = served.resource();
        for _ in 0..ATTEMPTS {
            let current = self.find_object(served, namespace, name).await?;
            let current = current.ok_or_else(|| errors::not_found(&kind.group, &kind.plural, name))?;
            let mut object = current.object().clone_object();
            change(&mut *object)?;
            if object.eq_object(&**current.object()) {
                return Ok(current);
            }
            record(&mut *object, &current);
            if let Committed::Stored(stored) = self.commit_marked(served, &current, object).await? {
                return Ok(stored);
            }
        }
        Err(errors::conflict(&kind.group, &kind.plural, name, errors::MODIFIED))
    }
}

/// The typed body of a subresource that takes another kind.
fn body_of<T: 'static>(body: Box<dyn Object>) -> Result<Box<T>, Status> {
    meta::downcast_box::<T>(body).ok_or_else(|| errors::bad_request("the body is of another kind"))
}
/// A name that comes from a body and is to be part of a key.
fn check_path_name(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(errors::bad_request("Name parameter required."));
    }
    let problems: Vec<String> = match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        name => ["/", "%"]
            .into_iter()
            .filter(|part| name.contains(part))
            .map(|part| format!("may not contain '{part}'"))
            .collect(),
    };
    if problems.is_empty() {
        return Ok(());
    }
    Err(errors::bad_request(format!("Name parameter invalid: {name:?}: {}", problems.join(";"))))
}
