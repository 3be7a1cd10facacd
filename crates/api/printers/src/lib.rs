//! Tables as kubectl shows them: for each kind its columns and the cells of one object. Pure functions.
//!
//! The registry answers `as=Table` with these. Columns and cell texts are those of upstream's `printers/internalversion`;
//! a kind without an entry gets its name and creation time.

mod about;
mod admin;
mod core;
mod human;
mod network;
mod pod;
mod policies;
mod storage;
mod workloads;

use std::cmp::Ordering;

use meta::{Object, Time, TypeInfo};
use serde_json::{Value, json};

pub use human::{age, since};

/// One column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub type_: &'static str,
    /// `name` for the column that names the object, else empty.
    pub format: &'static str,
    /// 0 for columns that are always shown, 1 for `-o wide`.
    pub priority: i32,
}

pub(crate) const fn text(name: &'static str) -> Column {
    Column { name, type_: "string", format: "", priority: 0 }
}

pub(crate) const fn named(name: &'static str) -> Column {
    Column { name, type_: "string", format: "name", priority: 0 }
}

pub(crate) const fn number(name: &'static str) -> Column {
    Column { name, type_: "integer", format: "", priority: 0 }
}

pub(crate) const fn flag(name: &'static str) -> Column {
    Column { name, type_: "boolean", format: "", priority: 0 }
}

pub(crate) const fn wide(name: &'static str) -> Column {
    Column { name, type_: "string", format: "", priority: 1 }
}

/// How one kind is shown.
pub struct Printer {
    info: Option<&'static TypeInfo>,
    /// Its columns.
    pub columns: &'static [Column],
    cells: fn(&dyn Object, Time) -> Vec<Value>,
    conditions: fn(&dyn Object) -> Option<Value>,
    order: fn(&dyn Object, &dyn Object) -> Ordering,
}

/// Makes the entry of a kind from a function over its type.
macro_rules! printer {
    ($kind:ty, $columns:expr, $cells:expr) => {
        crate::Printer {
            info: Some(<$kind as meta::Struct>::INFO),
            columns: $columns,
            conditions: |_| None,
            order: |_, _| std::cmp::Ordering::Equal,
            cells: |object, now| {
                let cells: fn(&$kind, meta::Time) -> Vec<serde_json::Value> = $cells;
                meta::downcast_ref::<$kind>(object).map(|object| cells(object, now)).unwrap_or_default()
            },
        }
    };
}
pub(crate) use printer;

const DEFAULT: Printer = Printer {
    info: None,
    columns: &[named("Name"), Column { name: "Created At", type_: "date", format: "", priority: 0 }],
    conditions: |_| None,
    order: |_, _| Ordering::Equal,
    cells: |object, _| {
        let created = object.meta().creation_timestamp.map(|created| created.to_string());
        vec![json!(object.meta().name.as_str()), json!(created.unwrap_or_default())]
    },
};

/// The printer of a kind, or the one for kinds that have none. Autoscalers of any version are shown in the one that tells
/// all of them, and must be given so.
pub fn of(group: &str, version: &str, kind: &str) -> &'static Printer {
    let version = if (group, kind) == ("autoscaling", "HorizontalPodAutoscaler") { "v2" } else { version };
    [core::TABLE, pod::TABLE, workloads::TABLE, network::TABLE, storage::TABLE, admin::TABLE, policies::TABLE]
        .into_iter()
        .flatten()
        .find(|printer| {
            printer.info.is_some_and(|info| (info.group, info.version, info.name) == (group, version, kind))
        })
        .unwrap_or(&DEFAULT)
}

impl Printer {
    /// What a column of this table shows; empty where nothing is known.
    pub fn describe(&self, column: &Column) -> &'static str {
        about::column(self.info.map_or("", |info| info.name), column)
    }

    /// The same printer, whose rows carry conditions (`TableRow.conditions`).
    const fn with_conditions(self, conditions: fn(&dyn Object) -> Option<Value>) -> Self {
        Printer { conditions, ..self }
    }

    /// The same printer, whose rows have an order of their own.
    const fn in_order(self, order: fn(&dyn Object, &dyn Object) -> Ordering) -> Self {
        Printer { order, ..self }
    }

    /// What the row of an object says of it as a whole, such as that it has ended: a list of `TableRowCondition`.
    pub fn conditions(&self, object: &dyn Object) -> Option<Value> {
        (self.conditions)(object)
    }

    /// Which of two objects has the earlier row; equal where a table keeps the order of the list.
    pub fn order(&self, one: &dyn Object, other: &dyn Object) -> Ordering {
        (self.order)(one, other)
    }

    /// The cells of one object, one for each column; ages are counted to `now`.
    pub fn cells(&self, object: &dyn Object, now: Time) -> Vec<Value> {
        (self.cells)(object, now)
    }
}

#[cfg(test)]
mod tests;
