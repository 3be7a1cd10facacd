//! `$(NAME)` in commands, arguments, environment values and subPathExpr.

/// Replaces `$(NAME)` by what `lookup` knows; unknown names stay as they are, and `$$` is a dollar sign.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Names in `text` that `lookup` does not know.
pub fn unknown<'t, 'a>(text: &'t str, lookup: impl Fn(&str) -> Option<&'a str>) -> Vec<&'t str> {
    let mut names = vec![];
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            if lookup(name).is_none() {
                names.push(name);
            }
            rest = tail;
        } else {
            rest = after;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let lookup = |name: &str| match name {
            "VAR" => Some("value"),
            "EMPTY" => Some(""),
            "DOLLAR" => Some("$(VAR)"),
            _ => None,
        };
        for (text, want) in [
            ("", ""),
            ("plain", "plain"),
            ("$(VAR)", "value"),
            ("a$(VAR)b$(EMPTY)c", "avaluebc"),
            ("$$(VAR)", "$(VAR)"),
            ("$$$(VAR)", "$value"),
            ("$$$$(VAR)", "$$(VAR)"),
            ("$(NONE)", "$(NONE)"),
            ("$(VAR", "$(VAR"),
            ("$VAR ${VAR}", "$VAR ${VAR}"),
            ("$(DOLLAR)", "$(VAR)"),
            ("$", "$"),
            ("ü$(VAR)", "üvalue"),
        ] {
            assert_eq!(expand(text, lookup), want, "{text}");
        }
        assert_eq!(unknown("$(VAR)/$(X)/$$(Y)", lookup), ["X"]);
    }
}
