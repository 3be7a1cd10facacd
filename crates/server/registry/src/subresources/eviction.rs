//! `pods/eviction`: a deletion that asks the pod's disruption budget first.

use call::{DeleteOptions, DryRun, WriteOptions};
use meta::{Condition, Object, Selector, Status, StatusCause, Time};
use types::core::v1::{Pod, PodCondition};
use types::policy::v1::{Eviction, PodDisruptionBudget};

use super::binding::created;
use crate::delete::check_precondition;
use crate::delete_options;
use crate::errors;
use crate::outcome::Outcome;
use crate::registry::{Registry, Request};
use crate::served::Served;
use crate::stored::Stored;

/// Attempts against others that write the pod at the same time.
const ATTEMPTS: usize = 20;

/// Pods noted in a budget at once; more means that its controller is behind.
const DISRUPTED_PODS_MAX: usize = 2000;

impl Registry {
    pub(super) async fn evict(
        &self,
        request: &mut Request<'_>,
        eviction: Box<Eviction>,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let target = request.target;
        let check = |eviction: &Eviction| match eviction.metadata.name == target.name {
            false => Err(errors::bad_request("name in URL does not match name in Eviction object")),
            true => Ok(()),
        };
        let eviction = self.admit_body(request, target, eviction, options, check).await?;
        let delete = deletion(&eviction, options.dry_run)?;
        let pinned = delete.precondition.resource_version.is_some();
        let mut attempts = 0;
        loop {
            let current = self.find_object(request.served, &target.namespace, &target.name).await?;
            let current = current.ok_or_else(|| request.not_found())?;
            let pod = meta::downcast_ref::<Pod>(&**current.object()).ok_or_else(|| request.not_found())?;
            let mut delete = delete.clone();
            let terminating = pod.metadata.deletion_timestamp.is_some();
            match pod.status.phase.as_str() {
                "Succeeded" | "Failed" => {}
                _ if terminating => {}
                // It may have become one that a budget protects since it was looked at.
                "Pending" if !pinned => {
                    delete.precondition.resource_version = Some(pod.metadata.resource_version.clone());
                }
                "Pending" => {}
                _ => self.ask_budget(pod, delete.dry_run == DryRun::All).await?,
            }
            // What a budget was asked about is not asked again.
            let again = delete.precondition.resource_version.is_some() && !pinned && attempts < ATTEMPTS;
            match self.delete_disrupted(request, delete).await {
                Err(status) if status.code == 409 && again => attempts += 1,
                Err(status) => return Err(status),
                Ok(()) => return Ok(Outcome::Done(created(), 201)),
            }
        }
    }

    async fn delete_disrupted(
        &self,
        request: &mut Request<'_>,
        mut delete: DeleteOptions,
    ) -> Result<(), Status> {
        if delete.dry_run == DryRun::No {
            let marked = self.mark_disrupted(request, &delete).await?;
            // The change just made is the one that the deletion builds on.
            let version = marked.object().meta().resource_version.clone();
            delete.precondition.resource_version = delete.precondition.resource_version.map(|_| version);
        }
        // Who may evict the pod was asked before; the deletion that follows is the server's own.
        self.delete_admitted(request, delete).await.map(drop)
    }

    /// Says on the pod why it goes, if it is still the one that is meant.
    async fn mark_disrupted(&self, request: &Request<'_>, delete: &DeleteOptions) -> Result<Stored, Status> {
        let now = Time::from_unix(self.now_s());
        let mark = |object: &mut dyn Object| {
            check_precondition(request, delete, object)?;
            let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() else { return Ok(()) };
            let condition = PodCondition {
                type_: "DisruptionTarget".into(),
                status: "True".into(),
                reason: "EvictionByEvictionAPI".into(),
                message: "Eviction API: evicting".into(),
                last_transition_time: Some(now),
                ..Default::default()
            };
            match pod.status.conditions.iter_mut().find(|c| c.type_ == "DisruptionTarget") {
                Some(found) if found.status == "True" && found.reason == condition.reason => {}
                Some(found) => *found = condition,
                None => pod.status.conditions.push(condition),
            }
            Ok(())
        };
        self.change(request.served, &request.target.namespace, &request.target.name, mark).await
    }

    /// Takes one disruption out of the pod's budget.
    async fn ask_budget(&self, pod: &Pod, dry_run: bool) -> Result<(), Status> {
        let served =
            Served::find("policy", "v1", "poddisruptionbudgets").ok_or_else(errors::no_such_resource)?;
        let budgets: Vec<_> = self
            .all(&served, &pod.metadata.namespace)
            .await?
            .into_iter()
            .filter(|stored| {
                meta::downcast_ref::<PodDisruptionBudget>(&**stored.object()).is_some_and(|budget| {
                    let selector = budget.spec.selector.as_deref();
                    selector.is_some()
                        && Selector::from_label_selector(selector)
                            .is_ok_and(|s| s.matches(&pod.metadata.labels))
                })
            })
            .collect();
        let budget = match &budgets[..] {
            [] => return Ok(()),
            [one] => one,
            _ => {
                return Err(errors::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        let Some(found) = meta::downcast_ref::<PodDisruptionBudget>(&**budget.object()) else {
            return Ok(());
        };
        let ready = pod.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let always = found.spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow");
        let healthy =
            found.status.current_healthy >= found.status.desired_healthy && found.status.desired_healthy > 0;
        if !ready && (always || healthy) {
            return Ok(());
        }
        let (name, now) = (found.metadata.name.clone(), Time::from_unix(self.now_s()));
        let take = |object: &mut dyn Object| match object.as_any_mut().downcast_mut::<PodDisruptionBudget>() {
            Some(budget) => take(budget, &pod.metadata.name, now),
            None => Ok(()),
        };
        if dry_run {
            return take(&mut *budget.object().clone_object());
        }
        self.change_own_status(&served, &pod.metadata.namespace, &name, take).await
    }
}

/// The deletion that an eviction is. Either the request or what it brings can ask for a trial; both may if they agree.
fn deletion(eviction: &Eviction, asked: DryRun) -> Result<DeleteOptions, Status> {
    let Some(wanted) = eviction.delete_options.as_deref() else {
        return Ok(DeleteOptions { dry_run: asked, ..DeleteOptions::default() });
    };
    let brought: Vec<&str> = wanted.dry_run.iter().map(|value| value.as_str()).collect();
    if asked == DryRun::All && !matches!(brought[..], [] | ["All"]) {
        return Err(errors::bare(format!(
            "Non-matching dry-run options in request and content: [All] and [{}]",
            brought.join(" ")
        )));
    }
    let mut delete = delete_options::checked(wanted)?;
    if brought.is_empty() {
        delete.dry_run = asked;
    }
    Ok(delete)
}

fn refused(cause: String, retry_after_s: i32) -> Status {
    let mut status = errors::failure(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    let details = status.details_mut();
    details.retry_after_seconds = retry_after_s;
    details.causes.push(StatusCause {
        reason: "DisruptionBudget".into(),
        message: cause.into(),
        ..StatusCause::default()
    });
    status
}

fn take(budget: &mut PodDisruptionBudget, pod: &str, now: Time) -> Result<(), Status> {
    let name = budget.metadata.name.clone();
    if budget.status.observed_generation < budget.metadata.generation {
        return Err(refused(
            format!("The disruption budget {name} is still being processed by the server."),
            10,
        ));
    }
    if budget.status.disruptions_allowed < 0 {
        return Err(Status::forbidden(
            &meta::GroupResource::new("policy", "poddisruptionbudget"),
            &name,
            "pdb disruptions allowed is negative",
        ));
    }
    if budget.status.disrupted_pods.len() > DISRUPTED_PODS_MAX {
        return Err(Status::forbidden(
            &meta::GroupResource::new("policy", "poddisruptionbudget"),
            &name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if budget.status.disruptions_allowed == 0 {
        let (needs, has) = (budget.status.desired_healthy, budget.status.current_healthy);
        let cause =
            format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently");
        return Err(refused(cause, 0));
    }
    budget.status.disruptions_allowed -= 1;
    if budget.status.disruptions_allowed == 0 {
        let spent = Condition {
            type_: "DisruptionAllowed".into(),
            status: "False".into(),
            reason: "InsufficientPods".into(),
            observed_generation: budget.status.observed_generation,
            ..Condition::default()
        };
        Condition::set(&mut budget.status.conditions, spent, now);
    }
    budget.status.disrupted_pods.insert(pod, Some(now));
    Ok(())
}
