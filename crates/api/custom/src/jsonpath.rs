//! The JSONPath of printer columns: names, indices, slices, wildcards and simple filters.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// A field.
    Field(String),
    /// A field at any depth.
    Deep(String),
    /// An element; negative counts from the end.
    Index(i64),
    /// Elements from, to and by.
    Slice(Option<i64>, Option<i64>, i64),
    /// Everything inside.
    All,
    /// What several of these lead to.
    Union(Vec<Step>),
    /// Elements of which something is true.
    Filter(JsonPath, Option<(Op, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path such as `.status.conditions[?(@.type=="Ready")].status`; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                let (name, after) = name(after)?;
                steps.push(Step::Deep(name));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() {
                    break;
                }
                if let Some(after) = after.strip_prefix('*') {
                    steps.push(Step::All);
                    rest = after;
                } else if after.starts_with('[') {
                    rest = after;
                } else {
                    let (name, after) = name(after)?;
                    steps.push(Step::Field(name));
                    rest = after;
                }
            } else if rest.starts_with('[') {
                let close = closing(rest)?;
                steps.push(bracket(rest[1..close].trim())?);
                rest = &rest[close + 1..];
            } else {
                return None;
            }
        }
        Some(JsonPath(steps))
    }

    /// What the path leads to, in order.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.0.iter().fold(vec![value], |found, step| {
            let mut next = Vec::new();
            found.into_iter().for_each(|value| step.follow(value, &mut next));
            next
        })
    }
}

impl Step {
    fn follow<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>) {
        match self {
            Step::Field(name) => out.extend(value.get(name.as_str())),
            Step::Deep(name) => deep(name, value, out),
            Step::Index(index) => {
                let Some(list) = value.as_array() else { return };
                out.extend(position(*index, list.len()).and_then(|at| list.get(at)));
            }
            Step::Slice(from, to, by) => {
                let Some(list) = value.as_array() else { return };
                let length = list.len() as i64;
                let bound = |n: i64| if n < 0 { n + length } else { n }.clamp(0, length) as usize;
                let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(length)));
                if from < to && *by > 0 {
                    out.extend(list[from..to].iter().step_by(*by as usize));
                }
            }
            Step::All => match value {
                Value::Array(list) => out.extend(list),
                Value::Object(map) => out.extend(map.values()),
                _ => {}
            },
            Step::Union(steps) => steps.iter().for_each(|step| step.follow(value, out)),
            Step::Filter(path, test) => {
                let Some(list) = value.as_array() else { return };
                out.extend(list.iter().filter(|element| {
                    let found = path.find(element);
                    match (found.first(), test) {
                        (None, _) => false,
                        (Some(_), None) => true,
                        (Some(left), Some((op, right))) => op.holds(left, right),
                    }
                }));
            }
        }
    }
}

impl Op {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b))
            }
            (a, b) => (a == b).then_some(std::cmp::Ordering::Equal),
        };
        match self {
            Op::Equal => order.is_some_and(|o| o.is_eq()),
            Op::Different => order.is_none_or(|o| o.is_ne()),
            Op::Less => order.is_some_and(|o| o.is_lt()),
            Op::LessOrEqual => order.is_some_and(|o| o.is_le()),
            Op::Greater => order.is_some_and(|o| o.is_gt()),
            Op::GreaterOrEqual => order.is_some_and(|o| o.is_ge()),
        }
    }
}

fn deep<'v>(name: &str, value: &'v Value, out: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            out.extend(map.get(name));
            map.values().for_each(|inner| deep(name, inner, out));
        }
        Value::Array(list) => list.iter().for_each(|inner| deep(name, inner, out)),
        _ => {}
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let at = if index < 0 { index + length as i64 } else { index };
    usize::try_from(at).ok()
}

/// A name up to the next step. A backslash takes the next character as it is.
fn name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => return (!name.is_empty()).then(|| (name, &text[at..])),
            c if c.is_whitespace() || "{}()|,".contains(c) => return None,
            c => name.push(c),
        }
    }
    (!name.is_empty()).then_some((name, ""))
}

/// Where the bracket that opens the text is closed.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        return self::filter(filter.trim());
    }
    if let Some(name) = quoted(inside).filter(|name| !name.contains(['\'', '"'])) {
        return Some(Step::Field(name));
    }
    if inside.contains(',') {
        let parts: Option<Vec<Step>> = inside.split(',').map(|part| bracket(part.trim())).collect();
        return parts.map(Step::Union);
    }
    if inside.contains(':') {
        let parts: Vec<&str> = inside.split(':').collect();
        let bound = |part: Option<&&str>| match part.map(|p| p.trim()) {
            None | Some("") => Some(None),
            Some(n) => n.parse::<i64>().ok().map(Some),
        };
        let (from, to, by) = (bound(parts.first())?, bound(parts.get(1))?, bound(parts.get(2))?);
        return (parts.len() <= 3).then_some(Step::Slice(from, to, by.unwrap_or(1)));
    }
    inside.parse().ok().map(Step::Index)
}

fn quoted(text: &str) -> Option<String> {
    let inner = ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))?;
    Some(inner.to_owned())
}

fn filter(text: &str) -> Option<Step> {
    const OPS: [(&str, Op); 6] = [
        ("==", Op::Equal),
        ("!=", Op::Different),
        ("<=", Op::LessOrEqual),
        (">=", Op::GreaterOrEqual),
        ("<", Op::Less),
        (">", Op::Greater),
    ];
    let found = OPS.iter().filter_map(|(sign, op)| Some((text.find(sign)?, *sign, *op))).min_by_key(|f| f.0);
    let path = |text: &str| JsonPath::parse(text.trim().strip_prefix('@')?);
    let Some((at, sign, op)) = found else { return Some(Step::Filter(path(text)?, None)) };
    let right = text[at + sign.len()..].trim();
    let literal = match quoted(right) {
        Some(text) => Value::String(text),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Filter(path(&text[..at])?, Some((op, literal))))
}

#[cfg(test)]
mod tests {
    use super::JsonPath;
    use serde_json::json;

    #[test]
    fn paths_find() {
        let value = json!({
            "spec": { "a.b": 1, "list": [1, 2, 3], "deep": { "x": 5 } },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "B" }] },
        });
        let table = [
            (".spec.list[0]", "[1]"),
            (".spec.list[-1]", "[3]"),
            (".spec.list[1:]", "[2,3]"),
            (".spec.list[*]", "[1,2,3]"),
            (".spec.list[2,0]", "[3,1]"),
            (".spec['deep','a.b']", "[{\"x\":5},1]"),
            (".spec['a.b']", "[1]"),
            (".spec.a\\.b", "[1]"),
            ("..x", "[5]"),
            (".status.conditions[?(@.type==\"Ready\")].status", "[\"True\"]"),
            (".status.conditions[?(@.status)].type", "[\"Ready\"]"),
            (".nothing.here", "[]"),
        ];
        for (path, expected) in table {
            let found = JsonPath::parse(path).map(|p| json!(p.find(&value)).to_string());
            assert_eq!(found.as_deref(), Some(expected), "{path}");
        }
        for bad in ["spec", ".a[", ".a[x]", ".a b"] {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
    }
}
