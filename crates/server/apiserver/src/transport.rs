//! The in-process transport: a call meets the same authorization, admission and commit as one that came over HTTP, and
//! skips only sockets and encodings.

use std::sync::Arc;

use authn::Identified;
use authz::Attributes;
use call::{Action, Call, Reply, Transport, WatchEvent};
use futures::StreamExt;
use futures::stream;
use meta::{Object, Status};
use registry::{Change, Outcome, Served, Watching};

use crate::endpoints::reviews;
use crate::metrics::Inside;
use crate::pipeline::refusal;
use crate::server::Server;

/// Calls of one user.
pub(crate) struct InProcess {
    server: Arc<Server>,
    identified: Identified,
}

impl InProcess {
    pub(crate) fn new(server: Arc<Server>, identified: Identified) -> Self {
        InProcess { server, identified }
    }
}

/// The program that a component's user is part of upstream, which is what its writes are recorded for there.
pub(crate) fn component(user: &str) -> &str {
    const ACCOUNTS: &str = "system:serviceaccount:kube-system:";
    match user.strip_prefix("system:").unwrap_or(user) {
        name if name.starts_with("node:") => "kubelet",
        _ if user.starts_with(ACCOUNTS) => match user.strip_prefix(ACCOUNTS) {
            Some(own @ ("kube-proxy" | "coredns")) => own,
            _ => "kube-controller-manager",
        },
        name => name,
    }
}

fn attributes(call: &Call) -> Attributes {
    let verb = match &call.action {
        Action::Get { .. } => "get",
        Action::List(_) => "list",
        Action::Watch(_) => "watch",
        Action::Create(..) => "create",
        Action::Update(..) => "update",
        Action::Patch(..) => "patch",
        Action::Delete(_) => "delete",
        Action::DeleteCollection(..) => "deletecollection",
    };
    let target = &call.target;
    let mut attributes =
        Attributes::resource(verb, &target.group, &target.resource, &target.namespace, &target.name);
    attributes.version = target.version.clone();
    attributes.subresource = target.subresource.clone();
    if target.resource == "namespaces" && target.group.is_empty() && !target.name.is_empty() {
        attributes.namespace = target.name.clone();
    }
    if let Action::List(options) | Action::Watch(options) | Action::DeleteCollection(options, _) =
        &call.action
    {
        attributes.select(&options.field_selector, &options.label_selector);
        // A collection narrowed to one name is authorized like that object: nodes may watch no more than that.
        if attributes.name.is_empty()
            && let Some(term) = attributes.fields.iter().find(|f| f.equal && f.field == "metadata.name")
        {
            attributes.name = term.value.clone();
        }
    }
    attributes
}

#[async_trait::async_trait]
impl Transport for InProcess {
    async fn call(&self, mut call: Call) -> Result<Reply, Status> {
        let asked = attributes(&call);
        let record = crate::audit::begin_inside(&self.server, self.identified.user(), &asked, &call);
        let record = record.as_ref();
        let authorized = match self.server.authorizer.authorize(self.identified.clone(), asked).await {
            Ok(authorized) => authorized,
            Err(refused) => {
                crate::audit::decision(record, false, &refused.reason);
                let status = if refused.error.is_empty() {
                    refusal(&refused)
                } else {
                    Status::internal_error(&refused.error)
                };
                crate::audit::answered(record, Err(&status));
                crate::audit::end_inside(record).await;
                return Err(status);
            }
        };
        crate::audit::decision(record, true, authorized.reason());
        crate::audit::request(record, &call);
        if let Action::Create(_, options) | Action::Update(_, options) | Action::Patch(_, _, options) =
            &mut call.action
            && options.field_manager.is_empty()
        {
            options.agent = component(&authorized.user().name).into();
        }
        let target = &call.target;
        if let Some(remote) = self.server.aggregator.find(&target.group, &target.version) {
            let reply = crate::extension::perform(&self.server, &authorized, &call, &remote).await;
            crate::audit::relayed(record, reply.as_ref().err());
            crate::audit::end_inside(record).await;
            return reply;
        }
        let measured = Inside::begin(&self.server.metrics, &call);
        let (mut warnings, notes) = (Vec::new(), admission::Notes::default());
        let review = reviews::perform(&self.server, &authorized, &mut call, &mut warnings, &notes).await;
        if let Some(review) = review {
            let outcome = review.map(|object| Outcome::Made(object.into(), 201));
            measured.end(&self.server, outcome.as_ref().err(), notes.waited());
            if let Some(record) = record {
                crate::audit::notes(record, &notes);
            }
            crate::audit::answered(record, outcome.as_ref());
            crate::audit::end_inside(record).await;
            return outcome.map(|outcome| match outcome {
                Outcome::Made(object, _) => Reply::Object(object),
                _ => Reply::Done(Status::default()),
            });
        }
        let outcome = self.server.registry.perform_noting(&authorized, call, &mut warnings, &notes).await;
        let mut open = None;
        match &outcome {
            Ok(Outcome::Watch(_)) => open = Some(measured.watches(&self.server.metrics)),
            _ => measured.end(&self.server, outcome.as_ref().err(), notes.waited()),
        }
        if let Some(record) = record {
            crate::audit::notes(record, &notes);
        }
        crate::audit::answered(record, outcome.as_ref());
        crate::audit::end_inside(record).await;
        let outcome = outcome?;
        Ok(match outcome {
            Outcome::Stored(stored) | Outcome::Created(stored) => Reply::Object(stored.object().clone()),
            Outcome::Made(object, _) => Reply::Object(object),
            Outcome::Done(status, _) => Reply::Done(status),
            Outcome::List(listing) => Reply::List {
                items: listing.items.iter().map(|item| item.object().clone()).collect(),
                resource_version: listing.revision,
                continue_token: listing.continue_token.into(),
                remaining: listing.remaining,
            },
            Outcome::Watch(watching) => {
                let Watching { served, changes } = *watching;
                let batches = stream::unfold((changes, open), |(mut changes, open)| async move {
                    let next = changes.next().await?;
                    Some((next, (changes, open)))
                });
                let events = batches.flat_map(move |batch| {
                    let items: Vec<Result<WatchEvent, Status>> = match batch {
                        Ok(changes) => changes.into_iter().map(|change| Ok(event(&served, change))).collect(),
                        Err(status) => vec![Err(status)],
                    };
                    stream::iter(items)
                });
                Reply::Watch(events.boxed())
            }
        })
    }
}

fn event(served: &Served, change: Change) -> WatchEvent {
    match change {
        Change::Object(event_type, stored) => WatchEvent { event_type, object: stored.object().clone() },
        Change::Bookmark(revision, initial_end) => {
            let mut object: Box<dyn Object> = served.resource().object.new_object();
            object.meta_mut().resource_version = revision.to_string().into();
            if initial_end {
                object.meta_mut().annotations.insert("k8s.io/initial-events-end", "true".into());
            }
            WatchEvent { event_type: call::EventType::Bookmark, object: object.into() }
        }
    }
}
