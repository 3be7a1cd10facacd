//! Generated types as strategic merge patches see them.

use meta::{Ty, TypeInfo};
use schema::patch::{Shape, Strategy};

/// A struct, or nothing that has fields.
#[derive(Clone, Copy)]
pub(crate) struct TypeShape(Option<&'static TypeInfo>);

/// The shape of a struct.
pub(crate) fn of(info: Option<&'static TypeInfo>) -> TypeShape {
    TypeShape(info)
}

fn element(ty: Ty) -> Option<&'static TypeInfo> {
    match ty {
        Ty::Struct(info) => Some(info),
        Ty::List(inner) | Ty::Map(inner) => element(*inner),
        _ => None,
    }
}

impl Shape for TypeShape {
    fn kind(self) -> Option<&'static str> {
        self.0.map(|info| info.name)
    }

    fn field(self, name: &str) -> Option<Self> {
        Some(TypeShape(element(self.0?.field(name)?.ty)))
    }

    fn strategy(self, name: &str) -> Strategy {
        let written = self.0.and_then(|info| info.field(name)).map(|f| f.patch_strategy).unwrap_or_default();
        if written.split(',').any(|s| s == "merge") {
            Strategy::Merge
        } else if written.split(',').any(|s| s == "replace") {
            Strategy::Replace
        } else {
            Strategy::Default
        }
    }

    fn merge_key(self, name: &str) -> &'static str {
        self.0.and_then(|info| info.field(name)).map(|f| f.patch_merge_key).unwrap_or_default()
    }
}
