//! JSON of values that the API has no public form of: upstream quotes its internal structs in some messages.

use meta::{BadValue, Str};

/// A JSON string as Go's encoder writes it.
pub fn json_string(s: &str) -> String {
    match BadValue::of(&Str::from(s)) {
        BadValue::Plain(text) | BadValue::Text(text) => text,
        BadValue::Omitted => String::new(),
    }
}

/// A JSON array of values that are JSON already.
pub fn json_list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

/// A JSON object of fields whose values are JSON already, in the order given.
pub fn json_object<K: AsRef<str>>(fields: impl IntoIterator<Item = (K, String)>) -> String {
    let fields: Vec<String> =
        fields.into_iter().map(|(k, v)| format!("{}:{v}", json_string(k.as_ref()))).collect();
    format!("{{{}}}", fields.join(","))
}

/// An optional string: JSON `null` when absent.
pub fn json_option(s: Option<&Str>) -> String {
    s.map_or_else(|| "null".to_owned(), |s| json_string(s))
}

/// Why bytes are not a JSON object, in the words of Go's decoder; nothing when they are one.
pub fn go_json_object_error(bytes: &[u8]) -> Option<String> {
    let mut reader = meta::json::JsonReader::new(bytes);
    if let Err(e) = reader.skip_value() {
        return Some(e.to_string());
    }
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace())?;
    let kind = match first {
        b'{' | b'n' => return None,
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "bool",
        _ => "number",
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}
