//! Small texts inside cells: ages, joined lists, selectors.

use meta::{LabelSelector, LabelSelectorRequirement, Map, Object, Str, Time};
use serde_json::{Value, json};

/// A span of time as kubectl writes ages: two units at most, coarser with length.
pub fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => two(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

/// The time since `then`, `<unknown>` when there is none.
pub fn since(then: Option<Time>, now: Time) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| age(now.seconds_since(then)))
}

/// The name, and whether one of these annotations makes the object the default of its kind.
pub fn marked(object: &dyn Object, annotations: &[&str]) -> Value {
    let says = |key: &&str| object.meta().annotations.get(key).is_some_and(|value| value == "true");
    match annotations.iter().any(says) {
        true => json!(format!("{} (default)", object.meta().name)),
        false => name(object),
    }
}

pub fn name(object: &dyn Object) -> Value {
    json!(object.meta().name.as_str())
}

pub fn age_cell(object: &dyn Object, now: Time) -> Value {
    json!(since(object.meta().creation_timestamp, now))
}

pub fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

pub fn or(text: &str, other: &str) -> Value {
    json!(if text.is_empty() { other } else { text })
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(labels: &Map<Str>) -> Value {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    or_none(&pairs.join(","))
}

fn requirement(one: &LabelSelectorRequirement) -> String {
    let mut values: Vec<&str> = one.values.iter().map(|value| value.as_str()).collect();
    values.sort_unstable();
    match one.operator.as_str() {
        "In" => format!("{} in ({})", one.key, values.join(",")),
        "NotIn" => format!("{} notin ({})", one.key, values.join(",")),
        "Exists" => one.key.to_string(),
        _ => format!("!{}", one.key),
    }
}

/// A label selector in its string form: `<none>` when absent, empty text replaced by `empty`.
pub fn selector(selector: Option<&LabelSelector>, empty: &str) -> Value {
    let Some(selector) = selector else { return json!("<none>") };
    let mut parts: Vec<(String, String)> = selector
        .match_labels
        .iter()
        .map(|(key, value)| (key.to_string(), format!("{key}={value}")))
        .collect();
    parts.extend(selector.match_expressions.iter().map(|one| (one.key.to_string(), requirement(one))));
    parts.sort_by(|(a, _), (b, _)| a.cmp(b));
    let text = parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",");
    or(&text, empty)
}

/// At most three items, then how many more there are.
pub fn some(items: &[String], max: usize) -> String {
    match items.len() {
        0 => "<none>".to_owned(),
        len if len > max => format!("{} + {} more...", items[..max].join(","), len - max),
        _ => items.join(","),
    }
}
