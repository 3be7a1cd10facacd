//! What is wrong with a configuration, in upstream's words.

use std::collections::HashSet;
use std::path::Path;

use meta::{FieldError, FieldErrors, FieldPath, go_quote, names};

use super::Flags;
use super::file::{AuthorizationConfiguration, ConnectionInfo, GoDuration, MatchCondition, Webhook};
use crate::conditions::{self, CONDITIONS_MAX};

/// Types, in the order in which messages list them.
const TYPES: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const TIMEOUT_MAX_NS: i64 = 30_000_000_000;

/// The findings on the older flags.
pub(super) fn flags(flags: &Flags) -> Vec<String> {
    let mut problems = Vec::new();
    if flags.modes.is_empty() {
        problems.push("at least one authorization-mode must be passed".to_owned());
    }
    let has = |wanted: &str| flags.modes.iter().any(|mode| mode == wanted);
    for mode in &flags.modes {
        if !TYPES.contains(&mode.as_str()) {
            problems.push(format!("authorization-mode {} is not a valid mode", go_quote(mode)));
        }
        if mode == "ABAC" && flags.policy_file.is_none() {
            problems.push("authorization-mode ABAC's authorization policy file not passed".to_owned());
        }
        if mode == "Webhook" && flags.webhook_config_file.is_none() {
            problems.push("authorization-mode Webhook's authorization config file not passed".to_owned());
        }
    }
    if flags.policy_file.is_some() && !has("ABAC") {
        problems.push("cannot specify --authorization-policy-file without mode ABAC".to_owned());
    }
    if flags.webhook_config_file.is_some() && !has("Webhook") {
        problems.push("cannot specify --authorization-webhook-config-file without mode Webhook".to_owned());
    }
    let version = flags.webhook_version.as_str();
    if has("Webhook") && !matches!(version, "v1" | "v1beta1") {
        problems.push(format!(
            "unsupported webhook authorizer version {}, supported versions are \"v1\", \"v1beta1\"",
            go_quote(version)
        ));
    }
    if flags.modes.iter().collect::<HashSet<_>>().len() != flags.modes.len() {
        let quoted: Vec<String> = flags.modes.iter().map(|mode| go_quote(mode)).collect();
        problems.push(format!("authorization-mode [{}] has mode specified more than once", quoted.join(" ")));
    }
    problems
}

/// The findings on a file.
pub(super) fn configuration(configuration: &AuthorizationConfiguration) -> FieldErrors {
    let mut found = FieldErrors::new();
    let root = FieldPath::new("authorizers");
    if configuration.authorizers.is_empty() {
        found.push(FieldError::required(&root, "at least one authorization mode must be defined"));
    }
    let (mut types, mut seen) = (HashSet::new(), HashSet::new());
    for (index, authorizer) in configuration.authorizers.iter().enumerate() {
        let at = root.index(index);
        let kind = authorizer.kind.as_str();
        if kind.is_empty() {
            found.push(FieldError::required(&at.child("type"), ""));
            continue;
        }
        if !TYPES.contains(&kind) {
            found.push(FieldError::not_supported(&at.child("type"), kind, TYPES));
            continue;
        }
        if !types.insert(kind) && kind != "Webhook" {
            found.push(FieldError::duplicate(&at.child("type"), kind));
            continue;
        }
        let name = authorizer.name.as_str();
        let wrong = names::dns_subdomain(name);
        if name.is_empty() {
            found.push(FieldError::required(&at.child("name"), ""));
        } else if seen.contains(name) {
            found.push(FieldError::duplicate(&at.child("name"), name));
        } else if !wrong.is_empty() {
            let why = format!("authorizer name is invalid: {}", wrong.join(", "));
            found.push(FieldError::invalid(&at.child("name"), name, why));
        }
        seen.insert(name);
        match (&authorizer.webhook, kind) {
            (None, "Webhook") => {
                found.push(FieldError::required(&at.child("webhook"), "required when type=Webhook"));
            }
            (Some(settings), "Webhook") => webhook(&at, settings, &mut found),
            (Some(_), _) => found.push(FieldError::invalid(
                &at.child("webhook"),
                "non-null",
                "may only be specified when type=Webhook",
            )),
            (None, _) => {}
        }
    }
    found
}

/// Upstream leaves `webhook` out of the paths.
fn webhook(at: &FieldPath, webhook: &Webhook, found: &mut FieldErrors) {
    if webhook.timeout.0 == 0 {
        found.push(FieldError::required(&at.child("timeout"), ""));
    } else if webhook.timeout.0 < 0 || webhook.timeout.0 > TIMEOUT_MAX_NS {
        let shown = webhook.timeout.to_string();
        found.push(FieldError::invalid(&at.child("timeout"), shown.as_str(), "must be > 0s and <= 30s"));
    }
    ttl(&at.child("authorizedTTL"), webhook.authorized_ttl, found);
    ttl(&at.child("unauthorizedTTL"), webhook.unauthorized_ttl, found);
    let version = webhook.subject_access_review_version.as_str();
    let here = at.child("subjectAccessReviewVersion");
    match version {
        "" => found.push(FieldError::required(&here, "")),
        "v1" | "v1beta1" => {}
        _ => found.push(FieldError::not_supported(&here, version, ["v1", "v1beta1"])),
    }
    let version = webhook.match_condition_version.as_str();
    let here = at.child("matchConditionSubjectAccessReviewVersion");
    match version {
        "" if !webhook.match_conditions.is_empty() => {
            found.push(FieldError::required(&here, "required if match conditions are specified"));
        }
        "" | "v1" => {}
        _ => found.push(FieldError::not_supported(&here, version, ["v1"])),
    }
    let policy = webhook.failure_policy.as_str();
    let here = at.child("failurePolicy");
    match policy {
        "" => found.push(FieldError::required(&here, "")),
        "NoOpinion" | "Deny" => {}
        _ => found.push(FieldError::not_supported(&here, policy, ["NoOpinion", "Deny"])),
    }
    connection(at, &webhook.connection_info, found);
    match_conditions(at, &webhook.match_conditions, found);
}

fn ttl(at: &FieldPath, ttl: GoDuration, found: &mut FieldErrors) {
    if ttl.0 == 0 {
        found.push(FieldError::required(at, ""));
    } else if ttl.0 < 0 {
        found.push(FieldError::invalid(at, ttl.to_string().as_str(), "must be > 0s"));
    }
}

fn connection(at: &FieldPath, info: &ConnectionInfo, found: &mut FieldErrors) {
    let here = at.children(&["connectionInfo", "kubeConfigFile"]);
    let file = info.kube_config_file.as_deref();
    match info.kind.as_str() {
        "" => found.push(FieldError::required(&at.children(&["connectionInfo", "type"]), "")),
        // The server cannot ask itself before it serves.
        "InClusterConfig" => {
            if let Some(file) = file {
                let why = "can only be set when type=KubeConfigFile";
                found.push(FieldError::invalid(&here, file, why));
            }
            found.push(FieldError::not_supported(
                &at.children(&["connectionInfo", "type"]),
                "InClusterConfig",
                ["KubeConfigFile"],
            ));
        }
        "KubeConfigFile" => match file {
            None | Some("") => found.push(FieldError::required(&here, "")),
            Some(file) if !Path::new(file).is_absolute() => {
                found.push(FieldError::invalid(&here, file, "must be an absolute path"));
            }
            Some(file) => match std::fs::metadata(file) {
                Err(error) => {
                    let why = match error.kind() {
                        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                        _ => error.to_string(),
                    };
                    let why = format!("error loading file: stat {file}: {why}");
                    found.push(FieldError::invalid(&here, file, why));
                }
                Ok(metadata) if !metadata.is_file() => {
                    found.push(FieldError::invalid(&here, file, "must be a regular file"));
                }
                Ok(_) => {}
            },
        },
        other => found.push(FieldError::not_supported(
            &at.children(&["connectionInfo", "type"]),
            other,
            ["InClusterConfig", "KubeConfigFile"],
        )),
    }
}

fn match_conditions(at: &FieldPath, conditions: &[MatchCondition], found: &mut FieldErrors) {
    let list = at.child("matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        found.push(FieldError::too_many(&list, conditions.len() as i64, CONDITIONS_MAX as i64));
        return;
    }
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let (here, expression) = (list.index(index).child("expression"), condition.expression.as_str());
        if expression.trim().is_empty() {
            found.push(FieldError::required(&here, ""));
        } else if !seen.insert(expression) {
            found.push(FieldError::duplicate(&here, expression));
        } else if let Err(why) = conditions::compile(expression) {
            found.push(FieldError::invalid(&here, expression, why));
        }
    }
}
