//! DELETE and DELETECOLLECTION: grace periods, finalizers and propagation.
//!
//! Deletion is decided as a pure step on the current state ([`plan`]) and then carried out: either the object is
//! marked and stays for whoever must still act on it, or it goes.

use std::sync::atomic::{AtomicBool, Ordering};

use admission::{NoCodec, Operation, Options, Review};
use call::{DeleteOptions, DryRun, ListOptions, Target};
use futures::StreamExt as _;
use meta::{Object, Status, StatusDetails, Str, Time};
use types::apiextensions::v1::CustomResourceDefinition;
use types::core::v1::Namespace;

use crate::commit::Committed;
use crate::errors;
use crate::outcome::{Listing, Outcome};
use crate::registry::{Registry, Request};
use crate::stored::Stored;

/// Attempts against others that write at the same time.
const ATTEMPTS: usize = 64;
/// Objects of a collection that are deleted at the same time.
const COLLECTION_AT_ONCE: usize = 16;
/// Finalizer of deletions that leave dependents behind.
const ORPHAN: &str = "orphan";
/// Finalizer of deletions that wait for dependents.
const FOREGROUND: &str = "foregroundDeletion";
/// What deleting an object in its current state means.
enum Plan {
    /// It goes now. With a state to store first, for those who watch.
    Remove(Option<Box<dyn Object>>),
    /// It is marked and stays.
    Mark(Box<dyn Object>),
    /// It was marked before; nothing changes.
    Pending,
}

impl Registry {
    /// DELETE of one object.
    pub(crate) async fn delete(
        &self,
        request: &mut Request<'_>,
        options: DeleteOptions,
    ) -> Result<Outcome, Status> {
        let target = request.target;
        self.delete_asking(request, options, Some(target)).await
    }

    /// DELETE of one object that admission is not asked about.
    pub(crate) async fn delete_admitted(
        &self,
        request: &mut Request<'_>,
        options: DeleteOptions,
    ) -> Result<Outcome, Status> {
        self.delete_asking(request, options, None).await
    }

    /// DELETE of one object. Admission, if it is asked, sees what is deleted as `asked`.
    async fn delete_asking(
        &self,
        request: &mut Request<'_>,
        options: DeleteOptions,
        asked: Option<&Target>,
    ) -> Result<Outcome, Status> {
        let (served, target) = (request.served, request.target);
        for _ in 0..ATTEMPTS {
            let current = self.find_object(served, &target.namespace, &target.name).await?;
            let current = current.ok_or_else(|| request.not_found())?;
            let old = current.object().clone();
            check_precondition(request, &options, &*old)?;
            if let Some(asked) = asked {
                let review = Review {
                    operation: Operation::Delete,
                    target: asked,
                    user: request.authorized.user(),
                    old: Some(&*old),
                    dry_run: options.dry_run == DryRun::All,
                    notes: request.notes,
                    options: Options::Delete(&options),
                    codec: &NoCodec,
                };
                self.chain.allow(request.authorized, &review, self, request.warnings).await?;
            }
            self.warn_orphans(request, &options);
            let plan = plan(served, &*old, &options, self.now_s());
            if options.dry_run == DryRun::All {
                return Ok(match plan {
                    Plan::Mark(object) => Outcome::Made(object.into(), 200),
                    Plan::Pending => Outcome::Stored(current),
                    Plan::Remove(_) => gone(request, current),
                });
            }
            let (marked, stays) = match plan {
                Plan::Pending => return Ok(Outcome::Stored(current)),
                Plan::Mark(object) => (Some(object), true),
                Plan::Remove(object) => (object, false),
            };
            let mut latest = current;
            if let Some(object) = marked {
                match self.commit_marked(served, &latest, object).await? {
                    Committed::Stored(stored) => latest = stored,
                    Committed::Conflict(_) => continue,
                }
            }
            if stays {
                let accepted = options.orphan_dependents == Some(false);
                return Ok(if accepted { made(&latest, 202) } else { Outcome::Stored(latest) });
            }
            match self.remove(&latest).await? {
                Committed::Stored(_) => {
                    self.release(&*old);
                    return Ok(gone(request, latest));
                }
                Committed::Conflict(_) => {}
            }
        }
        Err(errors::conflict(&target.group, &target.resource, &target.name, errors::MODIFIED))
    }

    /// Jobs leave their pods behind unless asked otherwise, which few expect.
    fn warn_orphans(&self, request: &mut Request<'_>, options: &DeleteOptions) {
        let silent = options.propagation_policy.is_empty() && options.orphan_dependents.is_none();
        if request.served.resource().plural == "jobs" && request.served.rules().orphans_by_default() && silent
        {
            let text = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
            if !request.warnings.iter().any(|w| w == text) {
                request.warnings.push(text.to_owned());
            }
        }
    }

    /// DELETECOLLECTION.
    pub(crate) async fn delete_collection(
        &self,
        request: &mut Request<'_>,
        list: &ListOptions,
        options: DeleteOptions,
    ) -> Result<Outcome, Status> {
        let found = self.list(request, list).await?;
        let (authorized, served, notes, whole) =
            (request.authorized, request.served, request.notes, request.target);
        let options = &options;
        let failed = AtomicBool::new(false);
        let begun = found.items.into_iter().take_while(|_| !failed.load(Ordering::Relaxed));
        let each = begun.map(|item| async move {
            let mut target = whole.clone();
            target.name = item.object().meta().name.clone();
            target.namespace = item.object().meta().namespace.clone();
            let mut warnings = Vec::new();
            let mut one = Request {
                authorized,
                target: &target,
                served,
                warnings: &mut warnings,
                notes,
                unlabelled: false,
            };
            // As upstream has it, admission is told of the collection and the object, not of the name.
            let done = self.delete_asking(&mut one, options.clone(), Some(whole)).await;
            (item, done, warnings)
        });
        // Several at once share the store's syncs.
        let mut each = std::pin::pin!(futures::stream::iter(each).buffered(COLLECTION_AT_ONCE));
        let (mut items, mut refused) = (Vec::new(), None);
        while let Some((item, done, warnings)) = each.next().await {
            request.warnings.extend(warnings);
            match done {
                Ok(_) => items.push(item),
                Err(status) if status.is_not_found() => {}
                // What has begun is finished: a marked object must not be left for want of its removal.
                Err(status) => {
                    failed.store(true, Ordering::Relaxed);
                    refused.get_or_insert(status);
                }
            }
        }
        if let Some(status) = refused {
            return Err(status);
        }
        Ok(Outcome::List(Listing {
            served: found.served,
            items,
            revision: found.revision,
            continue_token: found.continue_token,
            remaining: found.remaining,
        }))
    }
}

fn made(stored: &Stored, code: u16) -> Outcome {
    Outcome::Made(stored.object().clone(), code)
}

/// Kinds whose deletion answers with the object instead of a Status.
fn answers_with_object(group: &str, plural: &str) -> bool {
    match group {
        "" => matches!(
            plural,
            "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        ),
        "storage.k8s.io" => plural != "csistoragecapacities",
        "resource.k8s.io" => true,
        _ => false,
    }
}

/// Whether an object is the one that a deletion is about.
pub(crate) fn check_precondition(
    request: &Request<'_>,
    options: &DeleteOptions,
    old: &dyn Object,
) -> Result<(), Status> {
    let kind = request.served.resource();
    let checks = [
        (&options.precondition.uid, &old.meta().uid, "UID"),
        (&options.precondition.resource_version, &old.meta().resource_version, "ResourceVersion"),
    ];
    for (wanted, found, what) in checks {
        if let Some(wanted) = wanted.as_ref().filter(|w| *w != found) {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). {}",
                if what == "UID" {
                    "The object might have been deleted and then recreated"
                } else {
                    "The object might have been modified"
                }
            );
            return Err(errors::conflict(&kind.group, &kind.kind, &request.target.name, &why));
        }
    }
    Ok(())
}

/// The answer for an object that is gone.
fn gone(request: &Request<'_>, last: Stored) -> Outcome {
    let kind = request.served.resource();
    if answers_with_object(&kind.group, &kind.plural) {
        return Outcome::Stored(last);
    }
    let uid = last.object().meta().uid.clone();
    let details = StatusDetails {
        name: request.target.name.clone(),
        group: (*kind.group).into(),
        kind: (*kind.plural).into(),
        uid,
        ..StatusDetails::default()
    };
    Outcome::Done(Status::success().with_details(details), 200)
}

/// Decides what a deletion does to an object.
fn plan(served: &crate::Served, old: &dyn Object, options: &DeleteOptions, now_s: i64) -> Plan {
    let mut object = old.clone_object();
    if let Some(namespace) = object.as_any_mut().downcast_mut::<Namespace>() {
        return plan_namespace(namespace, now_s, served, options);
    }
    if let Some(definition) = object.as_any_mut().downcast_mut::<CustomResourceDefinition>()
        && definition.metadata.deletion_timestamp.is_none()
    {
        custom::definition::mark(definition, Time::from_unix(now_s));
        return Plan::Mark(object);
    }
    let finalizers = collector_finalizers(served, old, options);
    let finalizers_change = finalizers.as_slice() != old.meta().finalizers.as_slice();
    // Less than nothing is a second, as upstream has it.
    let asked_s = options.grace_period_seconds.map(|period| if period < 0 { 1 } else { period });
    let wait = served.rules().graceful_delete(old, asked_s);
    let metadata = object.meta_mut();
    if finalizers_change {
        metadata.finalizers = finalizers.into_iter().collect();
    }
    let pending = !metadata.finalizers.is_empty();
    if let Some(wait) = wait {
        match (metadata.deletion_timestamp, metadata.deletion_grace_period_seconds) {
            (Some(deadline), Some(before)) => {
                // A running deletion can only be made shorter.
                match asked_s.filter(|period| *period < before) {
                    Some(period) => {
                        let (deadline, period) = sooner(deadline, before, period, now_s);
                        metadata.deletion_timestamp = Some(deadline);
                        metadata.deletion_grace_period_seconds = Some(period);
                    }
                    // A kubelet that is done deletes with grace 0 what already waits with 0.
                    None if before == 0 && !pending => return Plan::Remove(None),
                    None => return Plan::Pending,
                }
            }
            (Some(_), None) => return Plan::Remove(None),
            (None, _) => {
                metadata.deletion_timestamp = Some(Time::from_unix(now_s + wait));
                metadata.deletion_grace_period_seconds = Some(wait);
                if metadata.generation > 0 {
                    metadata.generation += 1;
                }
            }
        }
        let left = metadata.deletion_grace_period_seconds.unwrap_or_default();
        if pending || left > 0 {
            return Plan::Mark(object);
        }
        return Plan::Remove(Some(object));
    }
    if !pending {
        return Plan::Remove(finalizers_change.then_some(object));
    }
    if metadata.deletion_timestamp.is_some() && !finalizers_change {
        return Plan::Pending;
    }
    mark(&mut *object, now_s);
    Plan::Mark(object)
}

/// The end and the grace period, in seconds, of a deletion whose period becomes shorter. The end is never in the past: where
/// more time has gone by than is left, it is now, and a period that was to be is the shortest.
fn sooner(deadline: Time, before: i64, period: i64, now_s: i64) -> (Time, i64) {
    let now = Time::from_unix(now_s);
    match deadline.plus_seconds(period - before) {
        past if past < now => (now, period.min(1)),
        sooner => (sooner, period),
    }
}

/// Marks an object as being deleted without grace.
fn mark(object: &mut dyn Object, now_s: i64) {
    let metadata = object.meta_mut();
    if metadata.deletion_timestamp.is_none() {
        metadata.deletion_timestamp = Some(Time::from_unix(now_s));
        if metadata.generation > 0 {
            metadata.generation += 1;
        }
    }
    metadata.deletion_grace_period_seconds = Some(0);
}

/// Namespaces stay until their content is gone, which the namespace controller says by emptying `spec.finalizers`.
fn plan_namespace(
    namespace: &mut Namespace,
    now_s: i64,
    served: &crate::Served,
    options: &DeleteOptions,
) -> Plan {
    let first = namespace.metadata.deletion_timestamp.is_none();
    if first {
        let finalizers = collector_finalizers(served, &*namespace, options);
        namespace.metadata.finalizers = finalizers.into_iter().collect();
        namespace.metadata.deletion_timestamp = Some(Time::from_unix(now_s));
    }
    if namespace.status.phase != "Terminating" {
        namespace.status.phase = "Terminating".into();
        return Plan::Mark(Box::new(namespace.clone()));
    }
    if first {
        return Plan::Mark(Box::new(namespace.clone()));
    }
    if namespace.spec.finalizers.is_empty() && namespace.metadata.finalizers.is_empty() {
        return Plan::Remove(None);
    }
    Plan::Pending
}

/// The finalizers that the garbage collector acts on, as the options, or what is there already, or the kind want.
fn collector_finalizers(served: &crate::Served, old: &dyn Object, options: &DeleteOptions) -> Vec<Str> {
    let existing = &old.meta().finalizers;
    let has = |name: &str| existing.iter().any(|f| f == name);
    let policy = options.propagation_policy.as_str();
    let orphan = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => orphan,
        (None, "Orphan") => true,
        (None, "Background" | "Foreground") => false,
        _ if has(ORPHAN) => true,
        _ if has(FOREGROUND) => false,
        _ => served.rules().orphans_by_default(),
    };
    let foreground = match (options.orphan_dependents, policy) {
        (Some(_), _) => false,
        (None, "Foreground") => true,
        (None, "Background" | "Orphan") => false,
        _ => has(FOREGROUND) && !has(ORPHAN),
    };
    let mut finalizers: Vec<Str> =
        existing.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        finalizers.push(ORPHAN.into());
    }
    if foreground {
        finalizers.push(FOREGROUND.into());
    }
    let unchanged = finalizers.len() == existing.len() && existing.iter().all(|f| finalizers.contains(f));
    if unchanged { existing.iter().cloned().collect() } else { finalizers }
}
