//! Query parameters and option bodies as the options of calls, with upstream's refusals.

use call::{DryRun, FieldValidation, ListOptions, PatchKind, VersionMatch, WriteOptions};
use http::header;
use meta::{BadValue, FieldError, FieldErrorKind, Status, Str};
use registry::errors;

use crate::http::query::Query;
use crate::pipeline::Decoded;

fn not_supported(field: &str, value: BadValue, detail: &str) -> FieldError {
    FieldError { kind: FieldErrorKind::NotSupported, field: field.into(), value, detail: detail.into() }
}

fn refuse(kind: &str, problems: Vec<FieldError>) -> Status {
    errors::invalid("meta.k8s.io", kind, "", problems)
}

fn dry_run(query: &Query) -> Result<DryRun, FieldError> {
    let values: Vec<&str> = query.all("dryRun").collect();
    registry::delete_options::dry_run(&values)
}

fn field_validation(query: &Query) -> Result<Option<FieldValidation>, FieldError> {
    match query.get("fieldValidation").unwrap_or_default() {
        "" => Ok(None),
        "Warn" => Ok(Some(FieldValidation::Warn)),
        "Ignore" => Ok(Some(FieldValidation::Ignore)),
        "Strict" => Ok(Some(FieldValidation::Strict)),
        other => {
            let detail = "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
            Err(not_supported("fieldValidation", other.into(), detail))
        }
    }
}

/// Options of create or update; `kind` is the kind of options that errors name.
pub(super) fn write(decoded: &Decoded, kind: &str) -> Result<WriteOptions, Status> {
    options(decoded, kind, Vec::new())
}

/// Options of a patch. An apply must say whose it is, and only an apply may be forced.
pub(super) fn patch(decoded: &Decoded, patch: PatchKind) -> Result<WriteOptions, Status> {
    let query = &decoded.query;
    let given = query.get("fieldManager").unwrap_or_default();
    let mut problems = Vec::new();
    let mut problem = |kind, field: &str, detail: &str| {
        problems.push(FieldError {
            kind,
            field: field.into(),
            value: BadValue::Omitted,
            detail: detail.into(),
        });
    };
    match patch {
        PatchKind::Apply if given.is_empty() => {
            problem(FieldErrorKind::Required, "fieldManager", "is required for apply patch");
        }
        PatchKind::Apply => {}
        _ if query.has("force") => {
            problem(FieldErrorKind::Forbidden, "force", "may not be specified for non-apply patch");
        }
        _ => {}
    }
    let options = options(decoded, "PatchOptions", problems)?;
    Ok(WriteOptions { force: query.flag("force"), ..options })
}

fn options(decoded: &Decoded, kind: &str, mut problems: Vec<FieldError>) -> Result<WriteOptions, Status> {
    let query = &decoded.query;
    let field_manager = query.get("fieldManager").unwrap_or_default();
    problems.extend(manager_problems(field_manager));
    let dry_run = dry_run(query).map_err(|problem| problems.push(problem));
    let field_validation = field_validation(query).map_err(|problem| problems.push(problem));
    match (dry_run, field_validation) {
        (Ok(dry_run), Ok(field_validation)) if problems.is_empty() => {
            let agent = agent_name(decoded.header(header::USER_AGENT));
            Ok(WriteOptions {
                dry_run,
                field_manager: field_manager.into(),
                agent,
                field_validation,
                force: false,
            })
        }
        _ => Err(refuse(kind, problems)),
    }
}

/// The longest manager name.
const MANAGER_MAX: usize = 128;

fn manager_problems(name: &str) -> Vec<FieldError> {
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
    problems
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
    let mut name = Str::new();
    for c in agent.split('/').next().unwrap_or_default().chars().filter(|c| printable(*c)) {
        if name.len() + c.len_utf8() > MANAGER_MAX {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { "unknown".into() } else { name }
}

/// What is wrong with the parameters of a list or, where the query says so, of a watch.
fn list_problems(query: &Query) -> Vec<FieldError> {
    let text = |key: &str| query.get(key).unwrap_or_default();
    let (field, matched) = ("resourceVersionMatch", text("resourceVersionMatch"));
    let forbidden = |field: &str, detail: &str| FieldError {
        kind: FieldErrorKind::Forbidden,
        field: field.into(),
        value: BadValue::Omitted,
        detail: detail.into(),
    };
    let unknown = |supported: &str| not_supported(field, matched.into(), supported);
    let continued = || forbidden(field, "resourceVersionMatch is forbidden when continue is provided");
    let given = query.has("sendInitialEvents");
    let mut problems = Vec::new();
    if query.flag("watch") {
        if given && matched != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            problems.push(forbidden(field, why));
        }
        if !matched.is_empty() {
            if !given {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                problems.push(forbidden(field, why));
            }
            if matched != "NotOlderThan" {
                problems.push(unknown("supported values: \"NotOlderThan\""));
            }
            if !text("continue").is_empty() {
                problems.push(continued());
            }
        }
        return problems;
    }
    if !matched.is_empty() {
        if text("resourceVersion").is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            problems.push(forbidden(field, why));
        }
        if !text("continue").is_empty() {
            problems.push(continued());
        }
        if !matches!(matched, "Exact" | "NotOlderThan") {
            problems.push(unknown("supported values: \"Exact\", \"NotOlderThan\", \"\""));
        }
        if matched == "Exact" && text("resourceVersion") == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            problems.push(forbidden(field, why));
        }
    }
    if given {
        problems.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    problems
}

/// Options of list, watch and deletecollection.
pub(super) fn list(query: &Query) -> Result<ListOptions, Status> {
    let text = |key: &str| Str::from(query.get(key).unwrap_or_default());
    let integer = |key: &str| query.integer(key).map_err(errors::bad_request);
    // What cannot be read is told before what does not go together.
    let (limit, timeout_seconds) = (integer("limit")?, integer("timeoutSeconds")?);
    let problems = list_problems(query);
    if !problems.is_empty() {
        return Err(refuse("ListOptions", problems));
    }
    let resource_version_match = match query.get("resourceVersionMatch").unwrap_or_default() {
        "Exact" => Some(VersionMatch::Exact),
        "NotOlderThan" => Some(VersionMatch::NotOlderThan),
        _ => None,
    };
    Ok(ListOptions {
        label_selector: text("labelSelector"),
        field_selector: text("fieldSelector"),
        resource_version: text("resourceVersion"),
        resource_version_match,
        limit: limit.unwrap_or_default(),
        continue_token: text("continue"),
        timeout_seconds,
        allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_lists_and_watches() {
        let refused = "ListOptions.meta.k8s.io \"\" is invalid:";
        let table = [
            ("", String::new()),
            ("resourceVersion=5&resourceVersionMatch=Exact", String::new()),
            (
                "resourceVersionMatch=x&continue=y&sendInitialEvents=true",
                format!(
                    "{refused} [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided, resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\", sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]"
                ),
            ),
            (
                "watch=1&resourceVersionMatch=Exact",
                format!(
                    "{refused} [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]"
                ),
            ),
            (
                "watch=1&sendInitialEvents=true",
                format!(
                    "{refused} resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                ),
            ),
            (
                "limit=99999999999999999999",
                "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".into(),
            ),
            ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax".into()),
        ];
        for (query, expected) in table {
            let found = list(&Query::parse(query)).err().map(|s| s.message.to_string()).unwrap_or_default();
            assert_eq!(found, expected, "{query}");
        }
    }
}
