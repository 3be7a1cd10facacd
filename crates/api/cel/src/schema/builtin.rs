//! Built-in types as schemas.

use meta::{Ty, TypeInfo};

use super::{ListKind, Schema};

/// A built-in type, or the type of one of its fields.
///
/// Types that contain themselves end where they would repeat: what is below is dynamic.
#[derive(Debug)]
pub struct Builtin {
    ty: Ty,
    list: ListKind,
    required: bool,
    items: Option<Box<Builtin>>,
    fields: Vec<(&'static str, Builtin)>,
    /// It contains itself, and ends here.
    repeats: bool,
}

impl Builtin {
    /// The schema of a type.
    pub fn of(info: &'static TypeInfo) -> Self {
        Self::build(Ty::Struct(info), &mut Vec::new())
    }

    fn build(ty: Ty, above: &mut Vec<*const TypeInfo>) -> Self {
        let mut schema = Self {
            ty,
            list: ListKind::Atomic,
            required: false,
            items: None,
            fields: Vec::new(),
            repeats: false,
        };
        match ty {
            Ty::List(inner) | Ty::Map(inner) => schema.items = Some(Box::new(Self::build(*inner, above))),
            Ty::Struct(info) if above.contains(&(info as *const _)) => schema.repeats = true,
            Ty::Struct(info) => {
                above.push(info);
                schema.fields = info
                    .fields
                    .iter()
                    .map(|field| {
                        let mut inner = Self::build(field.ty, above);
                        inner.required = field.required || !(field.optional || field.omitempty);
                        inner.list = match field.list_type {
                            "set" => ListKind::Set,
                            "map" => {
                                ListKind::Map(field.list_map_keys.iter().map(|key| (*key).into()).collect())
                            }
                            _ => ListKind::Atomic,
                        };
                        (field.name, inner)
                    })
                    .collect();
                if info.type_meta.is_some() {
                    for name in ["kind", "apiVersion"] {
                        schema.fields.push((name, Self::build(Ty::Str, above)));
                    }
                }
                above.pop();
            }
            _ => {}
        }
        schema
    }
}

impl Schema for Builtin {
    fn kind(&self) -> &str {
        match self.ty {
            Ty::Str | Ty::Bytes | Ty::Time | Ty::MicroTime | Ty::Duration => "string",
            Ty::Bool => "boolean",
            Ty::Int32 | Ty::Int64 => "integer",
            Ty::Double => "number",
            Ty::Struct(_) | Ty::Map(_) => "object",
            Ty::List(_) => "array",
            Ty::Quantity | Ty::IntOrString | Ty::Raw => "",
        }
    }

    fn format(&self) -> &str {
        match self.ty {
            Ty::Bytes => "byte",
            Ty::Time | Ty::MicroTime => "date-time",
            _ => "",
        }
    }

    fn items(&self) -> Option<&dyn Schema> {
        self.items.as_deref().map(|items| items as &dyn Schema)
    }

    fn properties(&self) -> Vec<(&str, &dyn Schema)> {
        self.fields.iter().map(|(name, field)| (*name, field as &dyn Schema)).collect()
    }

    fn additional_properties(&self) -> Option<&dyn Schema> {
        if matches!(self.ty, Ty::Map(_)) { self.items() } else { None }
    }

    fn required(&self) -> Vec<&str> {
        self.fields.iter().filter(|(_, field)| field.required).map(|(name, _)| *name).collect()
    }

    /// Quantities and raw JSON are as open as int-or-string is: any value may stand there.
    fn int_or_string(&self) -> bool {
        self.repeats || matches!(self.ty, Ty::Quantity | Ty::IntOrString | Ty::Raw)
    }

    fn list_kind(&self) -> ListKind {
        self.list.clone()
    }
}
