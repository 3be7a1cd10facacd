//! Paths into a schema as rules and selectable fields write them: `.spec.field`, `.spec['other field'].more`.

use schema::structural::Schema;

/// The names along a path, and the schema that it leads to; a text that says what is wrong otherwise. `brackets` allows
/// the form with quotes.
pub fn resolve<'s>(
    path: &str,
    schema: &'s Schema,
    brackets: bool,
) -> Result<(Vec<String>, Option<&'s Schema>), String> {
    let names = split(path, brackets)?;
    let mut at = schema;
    for name in &names {
        at = match at.properties.get(name.as_str()) {
            Some(inner) => inner,
            None => match at.additional_schema() {
                Some(inner) => inner,
                None => return Err(format!("does not refer to a valid field: {name}")),
            },
        };
    }
    Ok((names, Some(at)))
}

fn split(path: &str, brackets: bool) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            if name.is_empty() {
                return Err("unexpected end of JSON path".to_owned());
            }
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-$".contains(&b)) {
                return Err(format!("expected only valid identifier characters but got: {name}"));
            }
            names.push(name.to_owned());
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            if !brackets {
                return Err("array notation is not allowed".to_owned());
            }
            let inside = after.strip_prefix('\'').and_then(|inner| {
                let mut name = String::new();
                let mut chars = inner.char_indices();
                while let Some((at, c)) = chars.next() {
                    match c {
                        '\\' => name.push(chars.next()?.1),
                        '\'' => return inner[at + 1..].strip_prefix(']').map(|rest| (name, rest)),
                        c => name.push(c),
                    }
                }
                None
            });
            let Some((name, after)) = inside else {
                return Err("expected single quoted string".to_owned());
            };
            names.push(name);
            rest = after;
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        }
    }
    if names.is_empty() {
        return Err("unexpected end of JSON path".to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn paths_split() {
        let table = [
            (".spec.a", Ok(vec!["spec", "a"])),
            (".spec['a.b'].c", Ok(vec!["spec", "a.b", "c"])),
            ("spec", Err("expected [ or . but got: spec")),
            (".spec.", Err("unexpected end of JSON path")),
        ];
        for (path, expected) in table {
            let found = split(path, true);
            let found = found.as_ref().map(|names| names.iter().map(String::as_str).collect());
            assert_eq!(found.map_err(String::as_str), expected, "{path}");
        }
    }
}
