//! What a component tells of itself to people: `/statusz` (KEP-4827) and `/flagz` (KEP-4828), as text or, for who asks for its kind,
//! as `config.k8s.io` JSON or YAML.
//!
//! A process says once which flags it was started with ([`set_flags`]); everything else is known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use jiff::Timestamp;

/// The refusal of media types that a page does not come in.
pub const NOT_ACCEPTABLE: &str =
    "only the following media types are accepted: application/json, application/yaml, text/plain";

static FLAGS: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Remembers the flags of the process with their values, defaults included. Only the first call counts.
pub fn set_flags(flags: BTreeMap<String, String>) {
    // A second call is a second command of one process, which there is none of.
    let _ = FLAGS.set(flags);
}

/// A page as an answer.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// Its media type.
    pub content_type: String,
    /// A text for the Warning header.
    pub warning: Option<String>,
    /// The page.
    pub body: String,
}

/// How a page is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form<'a> {
    Text,
    Json(&'a str),
    Yaml(&'a str),
}

enum Field {
    Text(String),
    Number(i64),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// `/statusz` of a component that serves these paths; `started` and `now` are seconds since 1970. `None`: the client accepts no form
/// of it ([`NOT_ACCEPTABLE`]).
pub fn statusz(component: &str, paths: &[String], started: i64, now: i64, accept: &str) -> Option<Page> {
    let (up, version) = ((now - started).max(0), "1.36");
    let paths = folders(paths);
    let text = || {
        let started = shown(started, "%a %b %e %H:%M:%S UTC %Y");
        let clock = format!("{} hr {:02} min {:02} sec", up / 3_600, up / 60 % 60, up % 60);
        format!(
            "\nStarted: {started}\nUp: {clock}\nGo version: none\nBinary version: {version}\nEmulation version: {version}\n\
             Paths: {}\n",
            paths.join(" ")
        )
    };
    let fields = || {
        vec![
            ("startTime", Field::Text(shown(started, "%Y-%m-%dT%H:%M:%SZ"))),
            ("uptimeSeconds", Field::Number(up)),
            ("goVersion", Field::Text("none".into())),
            ("binaryVersion", Field::Text(version.into())),
            ("emulationVersion", Field::Text(version.into())),
            ("paths", Field::List(paths.clone())),
        ]
    };
    page("Statusz", component, accept, text, fields)
}

/// `/flagz` of a component. `None`: the client accepts no form of it ([`NOT_ACCEPTABLE`]).
pub fn flagz(component: &str, accept: &str) -> Option<Page> {
    let flags = FLAGS.get().cloned().unwrap_or_default();
    let text = || flags.iter().fold(String::new(), |text, (name, value)| text + name + "=" + value + "\n");
    page("Flagz", component, accept, text, || vec![("flags", Field::Map(flags.clone()))])
}

fn page(
    kind: &str,
    component: &str,
    accept: &str,
    text: impl FnOnce() -> String,
    fields: impl FnOnce() -> Vec<(&'static str, Field)>,
) -> Option<Page> {
    let name = kind.to_lowercase();
    let form = negotiate(accept, kind)?;
    let (media, version) = match form {
        Form::Text => {
            let head = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees \
                        and is for debugging purposes only.";
            let body = format!("\n{component} {name}\n{head}\n{}", text());
            return Some(Page { content_type: "text/plain; charset=utf-8".into(), warning: None, body });
        }
        Form::Json(version) => ("application/json", version),
        Form::Yaml(version) => ("application/yaml", version),
    };
    let mut all = vec![
        ("kind", Field::Text(kind.into())),
        ("apiVersion", Field::Text(format!("config.k8s.io/{version}"))),
        ("metadata", Field::Map([("name".to_owned(), component.to_owned())].into())),
    ];
    all.extend(fields());
    let old = format!("This version of the {name} endpoint is deprecated. Please use a newer version.");
    Some(Page {
        content_type: format!("{media};g=config.k8s.io;v={version};as={kind}"),
        warning: (version == "v1alpha1").then_some(old),
        body: if media == "application/json" { json(&all) } else { yaml(all) },
    })
}

/// The first form, by quality, that the client accepts: plain text as it is, the others by the name of the kind alone.
fn negotiate<'a>(accept: &'a str, kind: &str) -> Option<Form<'a>> {
    if accept.trim().is_empty() {
        return Some(Form::Text);
    }
    let mut clauses: Vec<(f32, Option<Form<'a>>)> = Vec::new();
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let quality = parameter("q").and_then(|quality| quality.parse().ok()).unwrap_or(1.0);
        let is_kind = parameter("as") == Some(kind) && parameter("g") == Some("config.k8s.io");
        let version = parameter("v").filter(|version| is_kind && matches!(*version, "v1alpha1" | "v1beta1"));
        let form = match (media, version) {
            ("text/plain" | "text/*" | "*/*", None) if parameter("as").is_none() => Some(Form::Text),
            ("application/json" | "application/*" | "*/*", Some(version)) => Some(Form::Json(version)),
            ("application/yaml", Some(version)) => Some(Form::Yaml(version)),
            _ => None,
        };
        clauses.push((quality, form));
    }
    clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
    clauses.into_iter().find_map(|(_, form)| form)
}

/// The first parts of paths that help who looks for trouble, sorted.
fn folders(paths: &[String]) -> Vec<String> {
    const OTHERS: [&str; 5] = ["apis", "api", "openid", "openapi", ".well-known"];
    let first = |path: &String| path.split('/').nth(1).map(str::to_owned);
    let mut all: Vec<String> = paths.iter().filter_map(first).collect();
    all.retain(|folder| !folder.is_empty() && !OTHERS.contains(&folder.as_str()));
    all.sort();
    all.dedup();
    all.iter().map(|folder| format!("/{folder}")).collect()
}

/// A moment in UTC, shown by a format of `strftime`.
fn shown(at: i64, format: &str) -> String {
    Timestamp::from_second(at).unwrap_or_default().strftime(format).to_string()
}

/// A string in JSON, which is one in YAML too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Indented by two spaces.
fn json(fields: &[(&str, Field)]) -> String {
    let nested = |open: char, lines: Vec<String>, close: char| match lines.is_empty() {
        true => format!("{open}{close}"),
        false => format!("{open}\n    {}\n  {close}", lines.join(",\n    ")),
    };
    let value = |field: &Field| match field {
        Field::Text(text) => quoted(text),
        Field::Number(number) => number.to_string(),
        Field::List(list) => nested('[', list.iter().map(|text| quoted(text)).collect(), ']'),
        Field::Map(map) => {
            let pair = |(key, value): (&String, &String)| format!("{}: {}", quoted(key), quoted(value));
            nested('{', map.iter().map(pair).collect(), '}')
        }
    };
    let lines: Vec<String> =
        fields.iter().map(|(name, field)| format!("  {}: {}", quoted(name), value(field))).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// Fields in order of their names; strings in quotes, so that none is taken for something else.
fn yaml(mut fields: Vec<(&str, Field)>) -> String {
    fields.sort_by_key(|(name, _)| *name);
    let mut out = String::new();
    for (name, field) in fields {
        let _ = match field {
            Field::Text(text) => writeln!(out, "{name}: {}", quoted(&text)),
            Field::Number(number) => writeln!(out, "{name}: {number}"),
            Field::List(list) if list.is_empty() => writeln!(out, "{name}: []"),
            Field::List(list) => {
                let lines = list.iter().map(|text| format!("\n- {}", quoted(text)));
                writeln!(out, "{name}:{}", lines.collect::<String>())
            }
            Field::Map(map) if map.is_empty() => writeln!(out, "{name}: {{}}"),
            Field::Map(map) => {
                let lines = map.iter().map(|(key, value)| format!("\n  {key}: {}", quoted(value)));
                writeln!(out, "{name}:{}", lines.collect::<String>())
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: i64 = 1_796_000_084;

    fn status(accept: &str) -> Option<Page> {
        let paths = ["/healthz/ping", "/apis/apps", "/healthz", "/metrics", "/"].map(str::to_owned);
        statusz("apiserver", &paths, STARTED, STARTED + 3_723, accept)
    }

    #[test]
    fn a_person_reads_text() {
        let page = status("").unwrap();
        assert_eq!(page.content_type, "text/plain; charset=utf-8");
        let lines: Vec<&str> = page.body.lines().collect();
        assert_eq!(lines[1], "apiserver statusz");
        let shown = ["Started: Mon Nov 30 00:54:44 UTC 2026", "Up: 1 hr 02 min 03 sec", "Go version: none"];
        assert_eq!(lines[4..7], shown);
        assert_eq!(lines.last(), Some(&"Paths: /healthz /metrics"));
    }

    #[test]
    fn a_program_asks_for_the_kind() {
        let page = status("application/json;v=v1beta1;g=config.k8s.io;as=Statusz").unwrap();
        assert_eq!(page.content_type, "application/json;g=config.k8s.io;v=v1beta1;as=Statusz");
        assert!(
            page.body.contains("  \"startTime\": \"2026-11-30T00:54:44Z\",\n  \"uptimeSeconds\": 3723,"),
            "{page:?}"
        );
        assert!(
            page.body.contains("  \"paths\": [\n    \"/healthz\",\n    \"/metrics\"\n  ]\n}"),
            "{page:?}"
        );
        assert_eq!(page.warning, None);
        let page = status("application/yaml;v=v1alpha1;g=config.k8s.io;as=Statusz").unwrap();
        assert!(
            page.body.starts_with("apiVersion: \"config.k8s.io/v1alpha1\"\nbinaryVersion: \"1.36\"\n"),
            "{page:?}"
        );
        assert!(page.warning.unwrap().contains("statusz endpoint is deprecated"));
    }

    #[test]
    fn what_is_accepted_decides() {
        let cases = [
            ("*/*", Some(Form::Text)),
            ("text/*", Some(Form::Text)),
            ("application/json", None),
            ("text/html", None),
            ("text/plain;v=v1beta1;g=config.k8s.io;as=Statusz", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Foo, text/plain", Some(Form::Text)),
            (
                "text/plain;q=0.5,application/json;v=v1beta1;g=config.k8s.io;as=Statusz",
                Some(Form::Json("v1beta1")),
            ),
            ("application/json;v=v1;g=config.k8s.io;as=Statusz", None),
        ];
        for (accept, form) in cases {
            assert_eq!(negotiate(accept, "Statusz"), form, "{accept}");
        }
    }
}
