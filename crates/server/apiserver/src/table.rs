//! Tables: objects as rows for people (`as=Table;g=meta.k8s.io;v=v1`). Columns and cells come from crate `printers`.

use meta::{Object, Time};
use printers::{Column, Printer};
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
    /// Reads the parameter; the default is metadata, and nonsense gives its text back.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        match text {
            Some("None") => Ok(Include::None),
            Some("Object") => Ok(Include::Object),
            None | Some("" | "Metadata") => Ok(Include::Metadata),
            Some(other) => Err(other.to_owned()),
        }
    }
}

/// The Table of a collection.
pub(crate) fn of_listing(
    served: &Served,
    objects: &[&dyn Object],
    include: Include,
    version: &str,
    listing: &Listing,
) -> Value {
    let resource = served.resource();
    let printer = printers::of(&resource.group, &resource.version, &resource.kind);
    table(printer, objects, include, version, &listing.continue_token, listing.remaining)
}

/// The Table of some objects of one kind.
pub(crate) fn of_objects(
    objects: &[&dyn Object],
    include: Include,
    version: &str,
    continue_token: &str,
    remaining: Option<i64>,
) -> Value {
    let kind = objects.first().map(|object| object.group_version_kind());
    let printer = kind.map_or_else(
        || printers::of("", "", ""),
        |kind| printers::of(&kind.group, &kind.version, &kind.kind),
    );
    table(printer, objects, include, version, continue_token, remaining)
}

fn table(
    printer: &Printer,
    objects: &[&dyn Object],
    include: Include,
    version: &str,
    continue_token: &str,
    remaining: Option<i64>,
) -> Value {
    let now = Time::from_unix(crate::clock::now_s());
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| json!({ "cells": printer.cells(*object, now), "object": carried(*object, include) }))
        .collect();
    let mut list_meta = json!({ "resourceVersion": version });
    if !continue_token.is_empty() {
        list_meta["continue"] = json!(continue_token);
    }
    if let Some(remaining) = remaining {
        list_meta["remainingItemCount"] = json!(remaining);
    }
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": printer.columns.iter().map(|c| column(printer, c)).collect::<Vec<_>>(),
        "rows": rows,
    })
}

fn column(printer: &Printer, column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.type_,
        "format": column.format,
        "description": printer.describe(column),
        "priority": column.priority,
    })
}

fn carried(object: &dyn Object, include: Include) -> Value {
    match include {
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
    }
}
