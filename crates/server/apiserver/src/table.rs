//! Tables: objects as rows for people (`as=Table;g=meta.k8s.io;v=v1`). Columns and cells come from crate `printers`.

use std::cmp::Ordering;

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
    let columns = Columns::of(served);
    table(&columns, objects, include, version, &listing.continue_token, listing.remaining)
}

/// How a kind is shown.
enum Columns<'a> {
    BuiltIn(&'static Printer),
    Custom(&'a custom::columns::Columns),
}

impl<'a> Columns<'a> {
    fn of(served: &'a Served) -> Self {
        let resource = served.resource();
        match served.custom() {
            Some(custom) => Columns::Custom(custom.kind.columns()),
            None => Columns::BuiltIn(printers::of(&resource.group, &resource.version, &resource.kind)),
        }
    }

    fn definitions(&self) -> Vec<Value> {
        match self {
            Columns::BuiltIn(printer) => printer.columns.iter().map(|c| column(printer, c)).collect(),
            Columns::Custom(columns) => {
                let plain = printers::of("", "", "");
                let about = |at: usize| plain.columns.get(at).map_or("", |column| plain.describe(column));
                columns.definitions(about(0), about(1))
            }
        }
    }

    fn order(&self, one: &dyn Object, other: &dyn Object) -> Ordering {
        match self {
            Columns::BuiltIn(printer) => printer.order(one, other),
            Columns::Custom(_) => Ordering::Equal,
        }
    }

    fn row(&self, object: &dyn Object, include: Include, now: Time) -> Value {
        let mut row = json!({ "cells": self.cells(object, now), "object": carried(object, include) });
        if let Columns::BuiltIn(printer) = self
            && let Some(conditions) = printer.conditions(object)
        {
            row["conditions"] = conditions;
        }
        row
    }

    fn cells(&self, object: &dyn Object, now: Time) -> Vec<Value> {
        match self {
            Columns::BuiltIn(printer) => match registry::in_stored_version(object) {
                Some(stored) => printer.cells(&*stored, now),
                None => printer.cells(object, now),
            },
            Columns::Custom(columns) => columns.cells(object, now, printers::since),
        }
    }
}

/// The Table of some objects of one kind.
pub(crate) fn of_objects(
    served: Option<&Served>,
    objects: &[&dyn Object],
    include: Include,
    version: &str,
    continue_token: &str,
    remaining: Option<i64>,
) -> Value {
    let kind = objects.first().map(|object| object.group_version_kind()).unwrap_or_default();
    let of_kind = || Columns::BuiltIn(printers::of(&kind.group, &kind.version, &kind.kind));
    let columns = served.map_or_else(of_kind, Columns::of);
    table(&columns, objects, include, version, continue_token, remaining)
}

fn table(
    columns: &Columns<'_>,
    objects: &[&dyn Object],
    include: Include,
    version: &str,
    continue_token: &str,
    remaining: Option<i64>,
) -> Value {
    let now = Time::from_unix(crate::clock::now_s());
    let mut objects = objects.to_vec();
    objects.sort_by(|one, other| columns.order(*one, *other));
    let rows: Vec<Value> = objects.into_iter().map(|object| columns.row(object, include, now)).collect();
    let mut list_meta = json!({ "resourceVersion": version });
    if !continue_token.is_empty() {
        list_meta["continue"] = json!(continue_token);
    }
    if let Some(remaining) = remaining {
        list_meta["remainingItemCount"] = json!(remaining);
    }
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": columns.definitions(),
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
