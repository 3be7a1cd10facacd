//! Paths into a schema as rules and selectable fields write them: `.spec.field`, `.spec['other field'].more`.

use schema::structural::Schema;

/// What a path says and where it leads, or a text that says what is wrong with it. `brackets` allows the form with quotes.
pub fn resolve<'s>(
    path: &str,
    schema: &'s Schema,
    brackets: bool,
) -> Result<(Vec<String>, Option<&'s Schema>), String> {
    let end = || "unexpected end of JSON path".to_owned();
    let mut names = Vec::new();
    let mut at = Some(schema);
    let mut rest = path;
    while let Some(delimiter) = token(&mut rest) {
        let name = match delimiter {
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = token(&mut rest).ok_or_else(end)?;
                let inside = quoted.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\''));
                unescape(inside.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?)?
            }
            "." => token(&mut rest).ok_or_else(end)?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let unknown = || "does not refer to a valid field".to_owned();
        let here = at.ok_or_else(unknown)?;
        at = if !here.properties.is_empty() {
            Some(here.properties.get(name.as_str()).ok_or_else(unknown)?)
        } else if here.additional.is_some() {
            here.additional_schema()
        } else {
            return Err(unknown());
        };
        names.push(name);
        if delimiter == "[" {
            match token(&mut rest).ok_or_else(end)? {
                "]" => {}
                other => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok((names, at))
}

/// Takes a delimiter, a text in quotes, or what stands before the next delimiter.
fn token<'p>(rest: &mut &'p str) -> Option<&'p str> {
    let text = *rest;
    let first = text.chars().next()?;
    let length = match first {
        '.' | '[' | ']' => 1,
        '\'' => {
            let bytes = text.as_bytes();
            (1..bytes.len())
                .find(|i| bytes[*i] == b'\'' && bytes[i - 1] != b'\\')
                .map_or(bytes.len(), |i| i + 1)
        }
        _ => text.find(['.', '[', ']']).unwrap_or(text.len()),
    };
    let (token, after) = text.split_at(length);
    *rest = after;
    Some(token)
}

/// The text that is meant by one in quotes, without them.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | '\'' | '"')) => out.push(c),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                _ => return Err("invalid string literal: invalid syntax".to_owned()),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use meta::Codec;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_followed() {
        let document = json!({ "type": "object", "properties": {
            "spec": { "type": "object", "properties": {
                "a": { "type": "string" },
                "a.b": { "type": "object", "properties": { "c": { "type": "string" } } },
                "m": { "type": "object", "additionalProperties": { "type": "string" } },
            } },
        } });
        let props =
            types::apiextensions::v1::JSONSchemaProps::from_json(document.to_string().as_bytes()).unwrap();
        let schema = Schema::read(&props).unwrap();
        let unknown = Err("does not refer to a valid field");
        for (path, expected) in [
            (".spec.a", Ok(vec!["spec", "a"])),
            (".spec['a.b'].c", Ok(vec!["spec", "a.b", "c"])),
            (".spec.m.x", Ok(vec!["spec", "m", "x"])),
            ("spec.a", Err("expected [ or . but got: spec")),
            (".spec.", Err("unexpected end of JSON path")),
            (".spec.b", unknown.clone()),
            (".spec..a", unknown.clone()),
            (".spec.a ", unknown.clone()),
            (".spec.a.b", unknown.clone()),
            (".spec[a]", Err("expected single quoted string but got a")),
            (".spec['a'", Err("unexpected end of JSON path")),
            (".spec['a'.", Err("expected ] but got .")),
        ] {
            let found = resolve(path, &schema, true).map(|(names, _)| names);
            let found = found.as_ref().map(|names| names.iter().map(String::as_str).collect());
            assert_eq!(found.map_err(String::as_str), expected, "{path}");
        }
    }
}
