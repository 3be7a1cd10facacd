//! Options of a deletion as a client writes them, in a request of its own or within an eviction, and what is wrong with
//! them (upstream's `apis/meta/v1/validation`).

use call::{DeleteOptions, DryRun, Precondition};
use meta::{BadValue, FieldError, FieldErrorKind, Status, Str};
use serde_json::json;

use crate::errors;

/// The options, if they make sense together; else the 422 that names each problem.
pub fn checked(wanted: &meta::DeleteOptions) -> Result<DeleteOptions, Status> {
    let mut problems = Vec::new();
    if let Some(policy) = &wanted.propagation_policy {
        let value = || BadValue::from(policy.as_str());
        if wanted.orphan_dependents.is_some() {
            problems.push(FieldError {
                kind: FieldErrorKind::Invalid,
                field: "propagationPolicy".into(),
                value: value(),
                detail: "orphanDependents and deletionPropagation cannot be both set".into(),
            });
        }
        if !matches!(policy.as_str(), "Orphan" | "Background" | "Foreground") {
            let known = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            problems.push(FieldError {
                kind: FieldErrorKind::NotSupported,
                field: "propagationPolicy".into(),
                value: value(),
                detail: known.into(),
            });
        }
    }
    let values: Vec<&str> = wanted.dry_run.iter().map(Str::as_str).collect();
    let dry_run = dry_run(&values).unwrap_or_else(|problem| {
        problems.push(problem);
        DryRun::All
    });
    if !problems.is_empty() {
        return Err(errors::invalid("meta.k8s.io", "DeleteOptions", "", problems));
    }
    let of = |given: &meta::Preconditions| Precondition {
        uid: given.uid.clone(),
        resource_version: given.resource_version.clone(),
    };
    Ok(DeleteOptions {
        dry_run,
        grace_period_seconds: wanted.grace_period_seconds,
        propagation_policy: wanted.propagation_policy.clone().unwrap_or_default(),
        orphan_dependents: wanted.orphan_dependents,
        precondition: wanted.preconditions.as_deref().map(of).unwrap_or_default(),
        ignore_store_read_error: wanted
            .ignore_store_read_error_with_cluster_breaking_potential
            .unwrap_or_default(),
    })
}

/// Whether these values of `dryRun` ask for a trial.
pub fn dry_run(values: &[&str]) -> Result<DryRun, FieldError> {
    match values {
        [] => Ok(DryRun::No),
        values if values.iter().all(|v| *v == "All") => Ok(DryRun::All),
        values => Err(FieldError {
            kind: FieldErrorKind::NotSupported,
            field: "dryRun".into(),
            value: BadValue::Plain(json!(values).to_string()),
            detail: "supported values: \"All\"".into(),
        }),
    }
}
