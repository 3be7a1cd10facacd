//! Query parameters and option bodies as the options of calls, with upstream's refusals.

use bytes::Bytes;
use call::{DeleteOptions, DryRun, FieldValidation, ListOptions, Precondition, VersionMatch, WriteOptions};
use http::header;
use meta::{BadValue, Codec as _, FieldError, FieldErrorKind, Status, Str};
use registry::errors;
use serde_json::json;

use crate::http::query::Query;
use crate::pipeline::Decoded;

fn refuse(kind: &str, field: &str, value: BadValue, detail: String) -> Status {
    let problem = FieldError { kind: FieldErrorKind::NotSupported, field: field.into(), value, detail };
    errors::invalid("meta.k8s.io", kind, "", vec![problem])
}

fn dry_run(query: &Query, kind: &str) -> Result<DryRun, Status> {
    let values: Vec<&str> = query.all("dryRun").collect();
    parse_dry_run(&values, kind)
}

fn parse_dry_run(values: &[&str], kind: &str) -> Result<DryRun, Status> {
    match values {
        [] => Ok(DryRun::No),
        values if values.iter().all(|v| *v == "All") => Ok(DryRun::All),
        values => Err(refuse(
            kind,
            "dryRun",
            BadValue::Plain(json!(values).to_string()),
            "supported values: \"All\"".into(),
        )),
    }
}

/// Options of create, update or patch; `kind` is the kind of options that errors name.
pub(super) fn write(decoded: &Decoded, kind: &str) -> Result<WriteOptions, Status> {
    let query = &decoded.query;
    let field_validation = match query.get("fieldValidation").unwrap_or_default() {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            let detail = "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"".to_owned();
            return Err(refuse(kind, "fieldValidation", other.into(), detail));
        }
    };
    let given = query.get("fieldManager").unwrap_or_default();
    check_manager(given, kind)?;
    let field_manager =
        if given.is_empty() { agent_name(decoded.header(header::USER_AGENT)) } else { given.into() };
    Ok(WriteOptions {
        dry_run: dry_run(query, kind)?,
        field_manager,
        field_validation,
        force: query.flag("force"),
    })
}

/// The longest manager name.
const MANAGER_MAX: usize = 128;

fn check_manager(name: &str, kind: &str) -> Result<(), Status> {
    let mut problems = Vec::new();
    if name.len() > MANAGER_MAX {
        problems.push(FieldError {
            kind: FieldErrorKind::TooLong,
            field: "fieldManager".into(),
            value: BadValue::Omitted,
            detail: format!("may not be more than {MANAGER_MAX} bytes"),
        });
    }
    problems.extend(name.char_indices().filter(|(_, c)| !printable(*c)).map(|(at, c)| FieldError {
        kind: FieldErrorKind::Invalid,
        field: "fieldManager".into(),
        value: name.into(),
        detail: format!("invalid character U+{:04X} (at position {at})", u32::from(c)),
    }));
    if problems.is_empty() { Ok(()) } else { Err(errors::invalid("meta.k8s.io", kind, "", problems)) }
}

/// Whether Go calls the character printable: no control, format or private character, and of all spaces only the
/// ordinary one.
fn printable(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

/// The manager of a client that names none: its user agent up to the slash.
fn agent_name(agent: &str) -> Str {
    let name: String =
        agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let name: String = name.chars().take(MANAGER_MAX).collect();
    if name.is_empty() { "unknown".into() } else { name.into() }
}

/// Options of list, watch and deletecollection.
pub(super) fn list(query: &Query) -> Result<ListOptions, Status> {
    let text = |key: &str| Str::from(query.get(key).unwrap_or_default());
    let integer = |key: &str| query.integer(key).map_err(errors::bad_request);
    let resource_version_match = match query.get("resourceVersionMatch").unwrap_or_default() {
        "" => None,
        "Exact" => Some(VersionMatch::Exact),
        "NotOlderThan" => Some(VersionMatch::NotOlderThan),
        other => {
            let detail = "supported values: \"Exact\", \"NotOlderThan\", \"\"".to_owned();
            return Err(refuse("ListOptions", "resourceVersionMatch", other.into(), detail));
        }
    };
    Ok(ListOptions {
        label_selector: text("labelSelector"),
        field_selector: text("fieldSelector"),
        resource_version: text("resourceVersion"),
        resource_version_match,
        limit: integer("limit")?.unwrap_or_default(),
        continue_token: text("continue"),
        timeout_seconds: integer("timeoutSeconds")?,
        allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
    })
}

/// Options of delete: from the body when there is one, else from the query.
pub(super) fn delete(query: &Query, json: &Bytes) -> Result<DeleteOptions, Status> {
    let kind = "DeleteOptions";
    let mut options = DeleteOptions::default();
    if json.is_empty() {
        options.grace_period_seconds = query.integer("gracePeriodSeconds").map_err(errors::bad_request)?;
        options.propagation_policy = query.get("propagationPolicy").unwrap_or_default().into();
        options.orphan_dependents = query.has("orphanDependents").then(|| query.flag("orphanDependents"));
    } else {
        let body = meta::DeleteOptions::from_json(json).map_err(|e| errors::bad_request(e.to_string()))?;
        options.grace_period_seconds = body.grace_period_seconds;
        options.propagation_policy = body.propagation_policy.clone().unwrap_or_default();
        options.orphan_dependents = body.orphan_dependents;
        options.ignore_store_read_error =
            body.ignore_store_read_error_with_cluster_breaking_potential.unwrap_or_default();
        if let Some(wanted) = &body.preconditions {
            options.precondition =
                Precondition { uid: wanted.uid.clone(), resource_version: wanted.resource_version.clone() };
        }
        let values: Vec<&str> = body.dry_run.iter().map(Str::as_str).collect();
        options.dry_run = parse_dry_run(&values, kind)?;
    }
    if query.has("dryRun") {
        options.dry_run = dry_run(query, kind)?;
    }
    check_delete(&options)?;
    Ok(options)
}

fn check_delete(options: &DeleteOptions) -> Result<(), Status> {
    let policy = options.propagation_policy.as_str();
    let problem = if !policy.is_empty() && options.orphan_dependents.is_some() {
        FieldError {
            kind: FieldErrorKind::Invalid,
            field: "propagationPolicy".into(),
            value: policy.into(),
            detail: "orphanDependents and deletionPropagation cannot be both set".into(),
        }
    } else if !matches!(policy, "" | "Orphan" | "Background" | "Foreground") {
        FieldError {
            kind: FieldErrorKind::NotSupported,
            field: "propagationPolicy".into(),
            value: policy.into(),
            detail: "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"".into(),
        }
    } else {
        return Ok(());
    };
    Err(errors::invalid("meta.k8s.io", "DeleteOptions", "", vec![problem]))
}
