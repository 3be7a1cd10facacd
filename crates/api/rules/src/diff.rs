//! How upstream shows its internal structs: as JSON in some errors, and as a unified diff of that JSON in others.
//!
//! The internal structs have the fields of the v1 structs under their Go names, every field present. What differs is
//! named in [`fields`].

use meta::{BadValue, Field, List, Struct, Ty, TypeInfo, is_absent, json::JsonWriter};
use serde_json::Value;

const CONTEXT_LINES: usize = 3;
/// Beyond this many cells of the table of common lines, the differing middle is shown as replaced.
const CELLS_MAX: usize = 4_000_000;

/// The lines in which the internal forms of two values differ.
pub fn internal<T: Struct>(old: &T, new: &T) -> String {
    unified(&pretty(old), &pretty(new))
}

/// As [`internal`], of a struct whose `outer` fields stand beside the part that is compared.
pub fn internal_without<T: Struct>(old: &T, new: &T, outer: &[&str]) -> String {
    unified(&pretty_without(old, outer), &pretty_without(new, outer))
}

/// The internal form of a value as JSON in one line.
pub fn internal_json<T: Struct>(value: &T) -> String {
    let mut out = String::new();
    write(&mut out, Ty::Struct(T::INFO), false, &plain(value), None);
    out
}

/// The internal form of a value, as errors quote it.
pub fn shown<T: Struct>(value: &T) -> BadValue {
    BadValue::Plain(internal_json(value))
}

/// The internal form of what may be absent.
pub fn shown_option<T: Struct>(value: Option<&T>) -> BadValue {
    BadValue::Plain(value.map_or_else(|| "null".to_owned(), internal_json))
}

/// The internal form of a list.
pub fn shown_list<T: Struct>(values: &List<T>) -> BadValue {
    match is_absent(values) {
        true => BadValue::Plain("null".to_owned()),
        false => BadValue::Plain(crate::check::json_list(values.iter().map(internal_json))),
    }
}

/// Whether a list or map somewhere inside came empty instead of not at all. Go's `reflect.DeepEqual` tells the two apart,
/// and a stored object has none that are empty.
pub fn holds_empty<T: Struct>(value: &T) -> bool {
    holds_empty_value(Ty::Struct(T::INFO), &plain(value))
}

fn holds_empty_value(ty: Ty, value: &Value) -> bool {
    match (ty, value) {
        (Ty::Struct(info), Value::Object(entries)) => {
            info.fields.iter().any(|f| entries.get(f.name).is_some_and(|v| holds_empty_value(f.ty, v)))
        }
        (Ty::List(element), Value::Array(items)) => {
            items.is_empty() || items.iter().any(|v| holds_empty_value(*element, v))
        }
        (Ty::Map(element), Value::Object(entries)) => {
            entries.is_empty() || entries.values().any(|v| holds_empty_value(*element, v))
        }
        _ => false,
    }
}

fn pretty<T: Struct>(value: &T) -> Vec<String> {
    pretty_without(value, &[])
}

fn pretty_without<T: Struct>(value: &T, outer: &[&str]) -> Vec<String> {
    let mut out = String::new();
    let value = plain(value);
    let shown = fields(T::INFO, &value).into_iter().filter(|(f, _)| !outer.contains(&f.name)).collect();
    write_fields(&mut out, T::INFO, shown, &value, Some(0));
    out.lines().map(str::to_owned).collect()
}

fn plain<T: Struct>(value: &T) -> Value {
    let mut w = JsonWriter { as_sent: true, empties: true, ..JsonWriter::default() };
    value.write_json_value(&mut w);
    serde_json::from_slice(&w.out).unwrap_or(Value::Null)
}

/// Where the types live that internal structs use as they are.
const SHARED: &str = "io.k8s.apimachinery.";

/// Fields that the internal pod spec keeps inside its security context.
const IN_SECURITY_CONTEXT: [&str; 5] =
    ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

/// Fields that stand elsewhere in the internal struct: each right after the second one.
const MOVED: [(&str, &str, &str); 9] = [
    ("Volume", "quobyte", "rbd"),
    ("PersistentVolumeSpec", "quobyte", "rbd"),
    ("PersistentVolumeSpec", "flexVolume", "iscsi"),
    ("PodSpec", "setHostnameAsFQDN", "subdomain"),
    ("PodSpec", "preemptionPolicy", "priority"),
    ("PodSpec", "overhead", "runtimeClassName"),
    ("PodSecurityContext", "fsGroupChangePolicy", "fsGroup"),
    ("JobSpec", "activeDeadlineSeconds", "successPolicy"),
    ("CSIDriverSpec", "fsGroupPolicy", "attachRequired"),
];

/// The fields of a struct in the order of its internal form.
fn ordered(info: &'static TypeInfo) -> Vec<&'static Field> {
    let mut fields: Vec<&'static Field> = info.fields.iter().collect();
    for (_, name, after) in MOVED.iter().filter(|(of, ..)| *of == info.name) {
        let find = |fields: &[&Field], name: &str| fields.iter().position(|f| f.name == name);
        if let Some(from) = find(&fields, name) {
            let field = fields.remove(from);
            let to = find(&fields, after).map_or(fields.len(), |at| at + 1);
            fields.insert(to, field);
        }
    }
    fields
}

/// The fields of a struct's internal form, each with the object that holds its value.
fn fields<'a>(info: &'static TypeInfo, value: &'a Value) -> Vec<(&'static Field, &'a Value)> {
    let own = |names: &dyn Fn(&str) -> bool| -> Vec<(&'static Field, &'a Value)> {
        ordered(info).into_iter().filter(|f| names(f.name)).map(|f| (f, &value[f.name])).collect()
    };
    match info.name {
        // The internal pod spec lists some fields elsewhere and knows one name of the service account.
        "PodSpec" => own(&|n| n != "serviceAccount" && !IN_SECURITY_CONTEXT.contains(&n)),
        _ => own(&|_| true),
    }
}

fn write_struct(out: &mut String, info: &'static TypeInfo, value: &Value, indent: Option<usize>) {
    write_fields(out, info, fields(info, value), value, indent);
}

fn write_fields(
    out: &mut String,
    info: &'static TypeInfo,
    fields: Vec<(&'static Field, &Value)>,
    value: &Value,
    indent: Option<usize>,
) {
    open(out, '{', indent);
    let mut i = 0;
    for (field, inner) in &fields {
        // Metadata is embedded, so its fields stand among the others, under their public names.
        if field.name == "metadata" {
            let Ty::Struct(metadata) = field.ty else { continue };
            for f in metadata.fields.iter().filter(|f| is_written(f, inner)) {
                item(out, i, indent);
                name(out, f.name, indent);
                public(out, f.ty, &inner[f.name], indent.map(|n| n + 1));
                i += 1;
            }
            continue;
        }
        item(out, i, indent);
        i += 1;
        name(out, field.go_name, indent);
        if info.name == "PodSpec" && field.name == "securityContext" && !inner.is_null() {
            security_context(out, info, field, value, inner, indent.map(|n| n + 1));
        } else {
            write(out, field.ty, field.pointer, inner, indent.map(|n| n + 1));
        }
    }
    close(out, '}', indent);
}

fn security_context(
    out: &mut String,
    pod: &'static TypeInfo,
    field: &'static Field,
    spec: &Value,
    value: &Value,
    indent: Option<usize>,
) {
    let Ty::Struct(info) = field.ty else { return };
    let moved = IN_SECURITY_CONTEXT.iter().filter_map(|n| pod.fields.iter().find(|f| f.name == *n));
    let all = moved.map(|f| (f, &spec[f.name])).chain(ordered(info).into_iter().map(|f| (f, &value[f.name])));
    open(out, '{', indent);
    for (i, (field, inner)) in all.enumerate() {
        item(out, i, indent);
        name(out, field.go_name, indent);
        write(out, field.ty, field.pointer, inner, indent.map(|n| n + 1));
    }
    close(out, '}', indent);
}

fn write(out: &mut String, ty: Ty, pointer: bool, value: &Value, indent: Option<usize>) {
    let absent = value.is_null();
    match ty {
        Ty::Struct(_) if absent && pointer => out.push_str("null"),
        // What all groups share has one form only.
        Ty::Struct(info) if info.model.starts_with(SHARED) => public_struct(out, info, value, indent),
        Ty::Struct(info) => write_struct(out, info, value, indent),
        Ty::List(element) => match value.as_array() {
            None => out.push_str("null"),
            Some(items) if items.is_empty() => out.push_str("[]"),
            Some(items) => {
                open(out, '[', indent);
                for (i, v) in items.iter().enumerate() {
                    item(out, i, indent);
                    write(out, *element, false, v, indent.map(|n| n + 1));
                }
                close(out, ']', indent);
            }
        },
        Ty::Map(element) => match value.as_object() {
            None => out.push_str("null"),
            Some(entries) if entries.is_empty() => out.push_str("{}"),
            Some(entries) => {
                open(out, '{', indent);
                for (i, (k, v)) in entries.iter().enumerate() {
                    item(out, i, indent);
                    name(out, k, indent);
                    write(out, *element, false, v, indent.map(|n| n + 1));
                }
                close(out, '}', indent);
            }
        },
        _ if absent && pointer => out.push_str("null"),
        Ty::Str if absent => out.push_str("\"\""),
        Ty::Bool if absent => out.push_str("false"),
        Ty::Int32 | Ty::Int64 | Ty::Double if absent => out.push('0'),
        Ty::Quantity if absent => out.push_str("\"0\""),
        Ty::IntOrString if absent => out.push('0'),
        _ => match value.as_str() {
            Some(text) => out.push_str(&crate::check::json_string(text)),
            None => out.push_str(&value.to_string()),
        },
    }
}

/// A shared struct, whose fields stand in the order of their declaration.
fn public_struct(out: &mut String, info: &'static TypeInfo, value: &Value, indent: Option<usize>) {
    let fields: Vec<&Field> = info.fields.iter().filter(|f| is_written(f, value)).collect();
    if fields.is_empty() {
        return out.push_str("{}");
    }
    open(out, '{', indent);
    for (i, field) in fields.into_iter().enumerate() {
        item(out, i, indent);
        name(out, field.name, indent);
        public(out, field.ty, &value[field.name], indent.map(|n| n + 1));
    }
    close(out, '}', indent);
}

/// Whether a field is there in a struct as clients know it.
fn is_written(field: &Field, value: &Value) -> bool {
    match value.get(field.name) {
        None => false,
        Some(_) if !field.omitempty => true,
        Some(Value::Null) => false,
        Some(_) if field.pointer => true,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(set)) => *set,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty() || !matches!(field.ty, Ty::Map(_)),
    }
}

/// A value as clients know it.
fn public(out: &mut String, ty: Ty, value: &Value, indent: Option<usize>) {
    let inner = match ty {
        Ty::Map(element) | Ty::List(element) => *element,
        Ty::Struct(info) if value.is_object() => return public_struct(out, info, value, indent),
        _ => Ty::Raw,
    };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            open(out, '{', indent);
            for (i, (k, v)) in entries.iter().enumerate() {
                item(out, i, indent);
                name(out, k, indent);
                public(out, inner, v, indent.map(|n| n + 1));
            }
            close(out, '}', indent);
        }
        Value::Array(items) if !items.is_empty() => {
            open(out, '[', indent);
            for (i, v) in items.iter().enumerate() {
                item(out, i, indent);
                public(out, inner, v, indent.map(|n| n + 1));
            }
            close(out, ']', indent);
        }
        Value::String(text) => out.push_str(&crate::check::json_string(text)),
        Value::Null => out.push_str("{}"),
        other => out.push_str(&other.to_string()),
    }
}

fn open(out: &mut String, bracket: char, _indent: Option<usize>) {
    out.push(bracket);
}

fn item(out: &mut String, i: usize, indent: Option<usize>) {
    if i > 0 {
        out.push(',');
    }
    line(out, indent.map(|n| n + 1));
}

fn name(out: &mut String, name: &str, indent: Option<usize>) {
    out.push_str(&crate::check::json_string(name));
    out.push_str(if indent.is_some() { ": " } else { ":" });
}

fn close(out: &mut String, bracket: char, indent: Option<usize>) {
    line(out, indent);
    out.push(bracket);
}

fn line(out: &mut String, indent: Option<usize>) {
    if let Some(n) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', n));
    }
}

/// One step from the old lines to the new ones.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Keep,
    Remove,
    Add,
}

fn unified(old: &[String], new: &[String]) -> String {
    let steps = steps(old, new);
    let mut out = String::new();
    let changed: Vec<usize> = (0..steps.len()).filter(|i| steps[*i] != Step::Keep).collect();
    let mut next = 0;
    while next < changed.len() {
        let start = changed[next].saturating_sub(CONTEXT_LINES);
        let mut last = changed[next];
        while next < changed.len() && changed[next] <= last + 2 * CONTEXT_LINES + 1 {
            last = changed[next];
            next += 1;
        }
        let end = (last + CONTEXT_LINES + 1).min(steps.len());
        hunk(&mut out, &steps, start, end, old, new);
    }
    out
}

fn hunk(out: &mut String, steps: &[Step], start: usize, end: usize, old: &[String], new: &[String]) {
    let count = |range: &[Step], not: Step| range.iter().filter(|s| **s != not).count();
    let (mut o, mut n) = (count(&steps[..start], Step::Add), count(&steps[..start], Step::Remove));
    let (olds, news) = (count(&steps[start..end], Step::Add), count(&steps[start..end], Step::Remove));
    let range = |first: usize, lines: usize| match lines {
        1 => format!("{}", first + 1),
        0 => format!("{first},0"),
        lines => format!("{},{lines}", first + 1),
    };
    out.push_str(&format!("@@ -{} +{} @@\n", range(o, olds), range(n, news)));
    for step in &steps[start..end] {
        let (mark, text) = match step {
            Step::Keep => (' ', &old[o]),
            Step::Remove => ('-', &old[o]),
            Step::Add => ('+', &new[n]),
        };
        out.push(mark);
        out.push_str(text);
        out.push('\n');
        o += usize::from(*step != Step::Add);
        n += usize::from(*step != Step::Remove);
    }
}

/// The longest common subsequence between the equal beginning and the equal end.
fn steps(old: &[String], new: &[String]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut out = vec![Step::Keep; head];
    if a.len().saturating_mul(b.len()) > CELLS_MAX {
        out.extend(a.iter().map(|_| Step::Remove).chain(b.iter().map(|_| Step::Add)));
    } else {
        let width = b.len() + 1;
        let mut common = vec![0u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                common[i * width + j] = match a[i] == b[j] {
                    true => common[(i + 1) * width + j + 1] + 1,
                    false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && a[i] == b[j] {
                out.push(Step::Keep);
                (i, j) = (i + 1, j + 1);
            } else if j == b.len()
                || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
            {
                out.push(Step::Remove);
                i += 1;
            } else {
                out.push(Step::Add);
                j += 1;
            }
        }
    }
    out.extend(vec![Step::Keep; tail]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;
    use types::core::v1::{EphemeralContainer, PodSpec};

    #[test]
    fn shows_what_changed() {
        let old = EphemeralContainer { name: "dbg".into(), image: "busybox".into(), ..Default::default() };
        let new = EphemeralContainer { image: "other".into(), ..old.clone() };
        let expected = "@@ -1,6 +1,6 @@\n {\n  \"Name\": \"dbg\",\n- \"Image\": \"busybox\",\n+ \"Image\": \"other\",\n  \"Command\": null,\n  \"Args\": null,\n  \"WorkingDir\": \"\",\n";
        assert_eq!(internal(&old, &new), expected);
        assert_eq!(internal(&old, &old), "");
    }

    #[test]
    fn host_namespaces_are_in_the_security_context() {
        let old = PodSpec { security_context: Some(Default::default()), ..Default::default() };
        let new = PodSpec { host_network: true, ..old.clone() };
        assert!(
            internal(&old, &new).contains(
                "  \"SecurityContext\": {\n-  \"HostNetwork\": false,\n+  \"HostNetwork\": true,\n"
            )
        );
    }

    #[test]
    fn what_came_empty_is_told_from_what_did_not_come() {
        use types::networking::v1::NetworkPolicySpec;
        let table = [
            (r#"{"podSelector":{}}"#, false),
            (r#"{"podSelector":{},"ingress":null}"#, false),
            (r#"{"podSelector":{},"ingress":[{}]}"#, false),
            (r#"{"podSelector":{},"ingress":[]}"#, true),
            (r#"{"podSelector":{},"ingress":[{"from":[]}]}"#, true),
            (r#"{"podSelector":{"matchLabels":{}}}"#, true),
            (r#"{"podSelector":{"matchLabels":{"a":"b"}}}"#, false),
        ];
        for (json, expected) in table {
            let spec = NetworkPolicySpec::from_json(json.as_bytes()).expect("JSON");
            assert_eq!(holds_empty(&spec), expected, "{json}");
        }
    }

    #[test]
    fn errors_quote_the_internal_form() {
        use types::{batch::v1::PodFailurePolicyRule, policy::v1::PodDisruptionBudgetSpec};
        let rule = br#"{"action":"Ignore","onExitCodes":{"operator":"In","values":[]}}"#;
        let rule = PodFailurePolicyRule::from_json(rule).expect("JSON");
        let exit_codes = r#"{"ContainerName":null,"Operator":"In","Values":[]}"#;
        let text = format!(r#"{{"Action":"Ignore","OnExitCodes":{exit_codes},"OnPodConditions":null}}"#);
        assert_eq!(internal_json(&rule), text);
        let budget = br#"{"minAvailable":"5%","selector":{"matchLabels":{"a":"b"}}}"#;
        let budget = PodDisruptionBudgetSpec::from_json(budget).expect("JSON");
        assert_eq!(
            internal_json(&budget),
            r#"{"MinAvailable":"5%","Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":null,"UnhealthyPodEvictionPolicy":null}"#
        );
        let template = br#"{"metadata":{"labels":{"a":"b"}},"spec":{"nodeName":"n"}}"#;
        let template = types::core::v1::PodTemplateSpec::from_json(template).expect("JSON");
        assert!(internal_json(&template).starts_with(r#"{"labels":{"a":"b"},"Spec":{"Volumes":null,"#));
    }
}
