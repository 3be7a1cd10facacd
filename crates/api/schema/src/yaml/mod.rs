//! YAML bodies as JSON values, with the texts that Go's library has for what is wrong with them.
//!
//! The parser is a port of libyaml, as Go's is, so that positions and problems are the same; [`resolve`] gives plain
//! scalars their meaning. Aliases are counted, so that a short document cannot unfold into a huge one, and nesting is
//! limited.

mod resolve;

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use libyaml_safer::{ErrorKind, Event, EventData, Parser, ScalarStyle};
use serde_json::{Map, Value};

use crate::apply::{Doc, Form, Val};

/// Levels of nesting. Objects of the API stay far below.
const DEPTH_MAX: usize = 256;
/// Values that a document may hold after its aliases are unfolded.
const VALUES_MAX: usize = 2_000_000;
/// Bytes of text that aliases may add: values can be few and yet huge.
const ALIASED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Values that come from aliases and are never too many.
const ALIASED_FREE: usize = 100;

/// A document that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its value.
    pub value: Value,
    /// What strict readers refuse: `line 7: key "a" already set in map`.
    pub duplicates: Vec<String>,
}

/// Why a document could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum YamlError {
    /// It is no YAML, or not such as JSON could say.
    #[error("error converting YAML to JSON: {0}")]
    Syntax(String),
    /// It is no object.
    #[error(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {0} into Go value of type map[string]interface {{}}"
    )]
    NotAnObject(&'static str),
}

/// Reads a body that must be an object; an empty one is an empty object.
///
/// # Errors
/// [`YamlError`] in the words of upstream.
pub fn object(body: &[u8]) -> Result<Document, YamlError> {
    let mut document = document(body).map_err(YamlError::Syntax)?;
    match &document.value {
        Value::Object(_) => {}
        Value::Null => document.value = Value::Object(Map::new()),
        other => return Err(YamlError::NotAnObject(meta::go_kind(other))),
    }
    Ok(document)
}

/// Reads the first document of a text; JSON is YAML too.
///
/// # Errors
/// Go's message, which begins with `yaml: `.
pub fn document(body: &[u8]) -> Result<Document, String> {
    if let Some(value) = plain_json(body) {
        return Ok(Document { value, duplicates: Vec::new() });
    }
    // The library's parser panics on some texts that end within a scalar. It sees them with the line ended, so that the
    // scalar of a block has a line break more than it has upstream.
    let attempt = |body: &[u8]| std::panic::catch_unwind(|| read(body));
    let again = |_| attempt(&[body, b"\n"].concat());
    attempt(body).or_else(again).unwrap_or_else(|_| Err(CUT_SHORT.to_owned()))
}

/// What is wrong with a text that ends where nothing may end.
const CUT_SHORT: &str = "yaml: found unexpected end of stream";

fn read(body: &[u8]) -> Result<Document, String> {
    let mut input = body;
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut reader = Reader {
        duplicates: Vec::new(),
        anchors: HashMap::new(),
        open: Vec::new(),
        seen: 0,
        aliased: 0,
        aliased_bytes: 0,
    };
    loop {
        let event = parser.parse().map_err(|error| complaint(&error))?;
        match event.data {
            EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
            EventData::StreamEnd | EventData::DocumentEnd { .. } => {
                return Ok(Document { value: Value::Null, duplicates: Vec::new() });
            }
            _ => {
                let value = reader.value(event, &mut || parser.parse().map_err(|e| complaint(&e)), 0)?;
                return Ok(Document { value: value.json, duplicates: reader.duplicates });
            }
        }
    }
}

/// The value of a text that is JSON without duplicate keys, which is read much faster.
fn plain_json(body: &[u8]) -> Option<Value> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let mut value: Value = serde_json::from_slice(body).ok()?;
    if has_duplicates(&Doc::parse(body).ok()?.root()) {
        return None;
    }
    shorten_floats(&mut value);
    Some(value)
}

fn has_duplicates(value: &Val<'_>) -> bool {
    match value.form() {
        Form::Map => {
            let mut seen = BTreeSet::new();
            value.members().any(|(key, item)| !seen.insert(key.string()) || has_duplicates(&item))
        }
        Form::List => value.elements().any(|item| has_duplicates(&item)),
        _ => false,
    }
}

/// Floats without a fraction become integers, as on their way through YAML.
fn shorten_floats(value: &mut Value) {
    match value {
        Value::Number(n) if n.is_f64() => {
            if let Some(whole) = n.as_f64().and_then(resolve::whole) {
                *n = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten_floats),
        Value::Object(map) => map.values_mut().for_each(shorten_floats),
        _ => {}
    }
}

/// A value with how many values it is, and how many bytes of text they hold.
#[derive(Clone)]
struct Counted {
    json: Value,
    count: usize,
    bytes: usize,
}

impl Counted {
    fn scalar(json: Value) -> Self {
        let bytes = json.as_str().map_or(0, str::len);
        Counted { json, count: 1, bytes }
    }
}

struct Reader {
    duplicates: Vec<String>,
    anchors: HashMap<String, Counted>,
    /// Anchors whose values are being read.
    open: Vec<String>,
    seen: usize,
    aliased: usize,
    aliased_bytes: usize,
}

type Next<'n> = dyn FnMut() -> Result<Event, String> + 'n;

fn refuse<T>(why: impl std::fmt::Display) -> Result<T, String> {
    Err(format!("yaml: {why}"))
}

impl Reader {
    fn value(&mut self, event: Event, next: &mut Next<'_>, depth: usize) -> Result<Counted, String> {
        if depth > DEPTH_MAX {
            return refuse(format!("exceeded max depth of {DEPTH_MAX}"));
        }
        self.count(1)?;
        match event.data {
            EventData::Alias { anchor } => self.alias(&anchor),
            EventData::Scalar { anchor, tag, value, style, .. } => {
                let plain = matches!(style, ScalarStyle::Plain | ScalarStyle::Any);
                let json = scalar(tag.as_deref(), value, plain)?;
                self.keep(anchor, Counted::scalar(json))
            }
            EventData::SequenceStart { anchor, .. } => {
                self.open.extend(anchor.clone());
                let (mut items, mut count, mut bytes) = (Vec::new(), 1, 0);
                loop {
                    let event = next()?;
                    if event.data == EventData::SequenceEnd {
                        break;
                    }
                    let item = self.value(event, next, depth + 1)?;
                    count += item.count;
                    bytes += item.bytes;
                    items.push(item.json);
                }
                self.close(anchor, Counted { json: Value::Array(items), count, bytes })
            }
            EventData::MappingStart { anchor, .. } => {
                self.open.extend(anchor.clone());
                let made = self.mapping(next, depth)?;
                self.close(anchor, made)
            }
            _ => refuse("unexpected event"),
        }
    }

    fn mapping(&mut self, next: &mut Next<'_>, depth: usize) -> Result<Counted, String> {
        let (mut map, mut count, mut bytes) = (Map::new(), 1, 0);
        let mut merged = Vec::new();
        loop {
            let event = next()?;
            if event.data == EventData::MappingEnd {
                break;
            }
            let line = event.start_mark.line + 1;
            let merges = is_merge(&event.data);
            let key = self.value(event, next, depth + 1)?;
            let value = next()?;
            let value = self.value(value, next, depth + 1)?;
            count += value.count + 1;
            bytes += value.bytes + key.bytes;
            if merges {
                merged.push(value.json);
                continue;
            }
            let key = key_text(&key.json)?;
            if map.insert(key.clone(), value.json).is_some() {
                self.duplicates.push(format!("line {line}: key {} already set in map", meta::go_quote(&key)));
            }
        }
        for value in merged {
            merge(&mut map, value)?;
        }
        Ok(Counted { json: Value::Object(map), count, bytes })
    }

    fn alias(&mut self, anchor: &str) -> Result<Counted, String> {
        if self.open.iter().any(|open| open == anchor) {
            return refuse(format!("anchor '{anchor}' value contains itself"));
        }
        let Some(value) = self.anchors.get(anchor) else {
            return refuse(format!("unknown anchor '{anchor}' referenced"));
        };
        let (count, bytes) = (value.count, value.bytes);
        self.aliased += count;
        self.count(count)?;
        self.copied(bytes)?;
        // The more a document holds, the smaller a part of it may come from aliases.
        let share = 0.99 - 0.89 * (self.seen as f64 / VALUES_MAX as f64);
        if self.aliased > ALIASED_FREE && self.seen > 1000 && self.aliased as f64 > share * self.seen as f64 {
            return refuse("document contains excessive aliasing");
        }
        Ok(self.anchors[anchor].clone())
    }

    fn count(&mut self, values: usize) -> Result<(), String> {
        self.seen += values;
        if self.seen > VALUES_MAX && self.aliased > 0 {
            return refuse("document contains excessive aliasing");
        }
        Ok(())
    }

    /// Text that is in memory once more than the document has it.
    fn copied(&mut self, bytes: usize) -> Result<(), String> {
        self.aliased_bytes = self.aliased_bytes.saturating_add(bytes);
        if self.aliased_bytes > ALIASED_BYTES_MAX {
            return refuse("document contains excessive aliasing");
        }
        Ok(())
    }

    fn keep(&mut self, anchor: Option<String>, value: Counted) -> Result<Counted, String> {
        if let Some(anchor) = anchor {
            self.copied(value.bytes)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn close(&mut self, anchor: Option<String>, value: Counted) -> Result<Counted, String> {
        if anchor.is_some() {
            self.open.pop();
        }
        self.keep(anchor, value)
    }
}

fn is_merge(event: &EventData) -> bool {
    matches!(event, EventData::Scalar { value, style: ScalarStyle::Plain, .. } if value == "<<")
}

/// Adds what a merge key refers to, below what the mapping says itself.
fn merge(map: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    match value {
        Value::Object(other) => {
            for (key, value) in other {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(list) => list.into_iter().try_for_each(|item| match item {
            item @ Value::Object(_) => merge(map, item),
            _ => refuse("map merge requires map or sequence of maps as the value"),
        }),
        _ => refuse("map merge requires map or sequence of maps as the value"),
    }
}

/// A key as JSON has it.
fn key_text(key: &Value) -> Result<String, String> {
    Ok(match key {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null => {
            return Err("unsupported map key of type: invalid, key: <nil>, value: <nil>".to_owned());
        }
        Value::Array(_) | Value::Object(_) => return refuse(format!("invalid map key: {key}")),
    })
}

/// The value of a scalar by its tag, or by its look.
fn scalar(tag: Option<&str>, text: String, plain: bool) -> Result<Value, String> {
    let short = tag.map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag));
    let mismatch = |kind: &str| refuse(format!("cannot decode !!str `{text}` as a !!{kind}"));
    match short {
        None if plain => Ok(resolve::plain(&text)),
        Some("null") => Ok(Value::Null),
        Some("bool") => match resolve::plain(&text) {
            flag @ Value::Bool(_) => Ok(flag),
            _ => mismatch("bool"),
        },
        Some(kind @ ("int" | "float")) => match resolve::number(&text) {
            Some(number) => Ok(number),
            None => mismatch(kind),
        },
        Some("binary") => {
            let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            match base64::engine::general_purpose::STANDARD.decode(packed) {
                Ok(bytes) => Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned())),
                Err(_) => refuse("!!binary value contains invalid base64 data"),
            }
        }
        _ => Ok(Value::String(text)),
    }
}

/// What is wrong with a text, in Go's words: its lines count from where the parser was.
fn complaint(error: &libyaml_safer::Error) -> String {
    let line = |mark: Option<libyaml_safer::Mark>| mark.map_or(0, |mark| mark.line);
    let mut at = line(error.problem_mark());
    if at != 0 {
        at += u64::from(error.kind() == ErrorKind::Scanner);
    } else {
        at = line(error.context_mark());
    }
    let place = if at == 0 { String::new() } else { format!("line {at}: ") };
    // Go's port is older than this check.
    let problem = match error.problem() {
        "found a tab character that violates indentation" => "found character that cannot start any token",
        other => other,
    };
    format!("yaml: {place}{problem}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents() {
        for (text, want) in [
            ("", json!(null)),
            ("a: 1\nb: [x, 'y', y]\n", json!({"a": 1, "b": ["x", "y", true]})),
            ("{\"a\": 1.0, \"b\": {}}", json!({"a": 1, "b": {}})),
            (
                "a: &x {k: v}\nb: *x\nc:\n  <<: *x\n  k: own\n",
                json!({"a": {"k": "v"}, "b": {"k": "v"}, "c": {"k": "own"}}),
            ),
            ("a: !!str 5\nb: |\n  text\n", json!({"a": "5", "b": "text\n"})),
            ("y: 1\n2: b\n", json!({"true": 1, "2": "b"})),
            ("a: 1\n---\nb: 2\n", json!({"a": 1})),
        ] {
            assert_eq!(document(text.as_bytes()).unwrap().value, want, "{text}");
        }
        let twice = document(b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(twice.value, json!({"a": 3, "b": 2}));
        assert_eq!(twice.duplicates, ["line 3: key \"a\" already set in map"]);
        assert_eq!(
            document(br#"{"a": 1, "a": 2}"#).unwrap().duplicates,
            ["line 1: key \"a\" already set in map"]
        );
    }

    #[test]
    fn complaints() {
        for (text, want) in [
            ("not: [yaml", "yaml: line 1: did not find expected ',' or ']'"),
            ("a: *nobody", "yaml: unknown anchor 'nobody' referenced"),
            ("a: &a [*a]", "yaml: anchor 'a' value contains itself"),
            ("a: 1\n\tb: 2\n", "yaml: line 2: found character that cannot start any token"),
            ("a: b: c\n", "yaml: mapping values are not allowed in this context"),
        ] {
            assert_eq!(document(text.as_bytes()).unwrap_err(), want, "{text}");
        }
        assert_eq!(object(b"- a\n").unwrap_err(), YamlError::NotAnObject("array"));
    }

    #[test]
    fn texts_may_end_anywhere() {
        assert_eq!(document(b"a: \"b\\").unwrap_err(), "yaml: line 2: found unexpected end of stream");
        assert_eq!(document(b"a: b\\").unwrap().value, json!({"a": "b\\"}));
        assert_eq!(document(b"a: |\n  b\\").unwrap().value, json!({"a": "b\\\n"}));
        let text = "a: \"\\x41\\u00e9\\U0001F600\\n\\\\ \\\n  b\"\nc: 'd''\\'\ne: &f !!str g\\\nh: |+2\n  i\\\n? *f\n: [j, {k: l}]\n...\n";
        assert!(document(text.as_bytes()).is_ok());
        for end in 0..=text.len() {
            let _ = document(&text.as_bytes()[..end]);
            let units = || text[..end].encode_utf16();
            let _ =
                document(&[&[0xff, 0xfe], &*units().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat());
            let _ =
                document(&[&[0xfe, 0xff], &*units().flat_map(u16::to_be_bytes).collect::<Vec<_>>()].concat());
        }
    }

    #[test]
    fn bombs_stay_small() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let refs = vec![format!("*a{}", n - 1); 9].join(",");
            text.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
        }
        assert_eq!(document(text.as_bytes()).unwrap_err(), "yaml: document contains excessive aliasing");
        let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 900].join(","));
        assert_eq!(document(long.as_bytes()).unwrap_err(), "yaml: document contains excessive aliasing");
        let nested =
            format!("{}x{}", "&a [".repeat(200), "]".repeat(200)).replacen('x', &"y".repeat(1 << 20), 1);
        assert_eq!(document(nested.as_bytes()).unwrap_err(), "yaml: document contains excessive aliasing");
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            document(deep.as_bytes()).unwrap_err(),
            format!("yaml: exceeded max depth of {DEPTH_MAX}")
        );
        assert!(document("{".repeat(100_000).as_bytes()).is_err());
    }
}
