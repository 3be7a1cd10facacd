//! Tables: objects as rows for people (`as=Table;g=meta.k8s.io;v=v1`).

use meta::{Object, Time};
use registry::{Listing, Served};
use serde_json::{Value, json};

use crate::encode;

/// What of the object each row carries (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads the parameter; the default is metadata.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            _ => Include::Metadata,
        }
    }
}

/// The Table of a collection.
pub(crate) fn of_listing(
    served: Served,
    objects: &[&dyn Object],
    include: Include,
    version: &str,
    listing: &Listing,
) -> Value {
    let _ = served;
    of_objects(objects, include, version, &listing.continue_token, listing.remaining)
}

/// The Table of some objects.
pub(crate) fn of_objects(
    objects: &[&dyn Object],
    include: Include,
    version: &str,
    continue_token: &str,
    remaining: Option<i64>,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(*object, include)).collect();
    let mut list_meta = json!({ "resourceVersion": version });
    if !continue_token.is_empty() {
        list_meta["continue"] = json!(continue_token);
    }
    if let Some(remaining) = remaining {
        list_meta["remainingItemCount"] = json!(remaining);
    }
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": [
            column("Name", "name", "Name must be unique within a namespace. Is required when creating resources."),
            column("Age", "", "When the object was created, as the time that has passed since."),
        ],
        "rows": rows,
    })
}

fn column(name: &str, format: &str, description: &str) -> Value {
    json!({ "name": name, "type": "string", "format": format, "description": description, "priority": 0 })
}

fn row(object: &dyn Object, include: Include) -> Value {
    let carried = match include {
        Include::None => Value::Null,
        Include::Metadata => {
            let mut partial = encode::metadata(object);
            partial["kind"] = json!("PartialObjectMetadata");
            partial["apiVersion"] = json!("meta.k8s.io/v1");
            partial
        }
        Include::Object => {
            let mut json = Vec::new();
            object.encode_json(&mut json);
            serde_json::from_slice(&json).unwrap_or_default()
        }
    };
    let metadata = object.meta();
    json!({
        "cells": [metadata.name.as_str(), age(metadata.creation_timestamp)],
        "object": carried,
    })
}

/// The time since `when` as people say it: `5s`, `3m20s`, `4d`.
pub(crate) fn age(when: Option<Time>) -> String {
    let Some(when) = when else { return "<unknown>".into() };
    let s = crate::clock::now_s() - when.seconds;
    human_duration(s)
}

/// Upstream's `HumanDuration`.
pub(crate) fn human_duration(s: i64) -> String {
    let (m, h, d) = (s / 60, s / 3600, s / 86400);
    let two = |a: i64, ua: &str, b: i64, ub: &str| {
        if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua}{b}{ub}") }
    };
    match s {
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{s}s"),
        _ if m < 10 => two(m, "m", s % 60, "s"),
        _ if m < 180 => format!("{m}m"),
        _ if h < 8 => two(h, "h", m % 60, "m"),
        _ if h < 48 => format!("{h}h"),
        _ if d < 8 => two(d, "d", h % 24, "h"),
        _ if d < 365 * 2 => format!("{d}d"),
        _ if d < 365 * 8 => two(d / 365, "y", d % 365, "d"),
        _ => format!("{}y", d / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn ages() {
        for (s, text) in [
            (5, "5s"),
            (119, "119s"),
            (180, "3m"),
            (200, "3m20s"),
            (700, "11m"),
            (3 * 3600 + 120, "3h2m"),
            (9 * 3600, "9h"),
            (3 * 86400 + 3600, "3d1h"),
            (100 * 86400, "100d"),
            (-5, "<invalid>"),
        ] {
            assert_eq!(human_duration(s), text);
        }
    }
}
