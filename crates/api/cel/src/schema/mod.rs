//! Types that schemas declare: what CEL may select from an object, and how large things can get.
//!
//! [`Schema`] is what a schema must tell; structural schemas of custom resources and the built-in types both do.
//! [`DeclType::of`] turns one into a tree that the checker, the cost model and the evaluator share.

mod builtin;
mod escape;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use builtin::Builtin;
pub use escape::{escape, is_reserved, unescape};

use crate::types::Type;

/// Largest request that is accepted, in bytes.
pub const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Size of `""`.
const STRING_SIZE_MIN: u64 = 2;
/// Longest duration as JSON.
const DURATION_SIZE_MAX: u64 = 32;
/// Shortest duration as JSON, `"0"`.
const DURATION_SIZE_MIN: u64 = 3;
/// `"2006-01-02"`
const DATE_SIZE: u64 = 12;
/// `"2006-01-02T15:04:05Z"`, as upstream counts it.
const DATETIME_SIZE: u64 = 21;
/// Deepest nesting of schemas that is followed; what is below is dynamic.
const DEPTH_MAX: usize = 64;

/// What CEL asks of a schema. Answers are those of `x-kubernetes` structural schemas.
pub trait Schema {
    /// `type`: `object`, `array`, `string`, `integer`, `number`, `boolean` or empty.
    fn kind(&self) -> &str;
    /// `format`
    fn format(&self) -> &str {
        ""
    }
    /// Schema of the elements.
    fn items(&self) -> Option<&dyn Schema> {
        None
    }
    /// Properties by name.
    fn properties(&self) -> Vec<(&str, &dyn Schema)> {
        Vec::new()
    }
    /// Schema of values, where the keys are not known.
    fn additional_properties(&self) -> Option<&dyn Schema> {
        None
    }
    /// Names of properties that must be there.
    fn required(&self) -> Vec<&str> {
        Vec::new()
    }
    /// There is a default.
    fn has_default(&self) -> bool {
        false
    }
    /// `maxLength`
    fn max_length(&self) -> Option<i64> {
        None
    }
    /// `maxItems`
    fn max_items(&self) -> Option<i64> {
        None
    }
    /// `maxProperties`
    fn max_properties(&self) -> Option<i64> {
        None
    }
    /// Longest string among the allowed values, in bytes; `None` without an enumeration.
    fn enum_length_max(&self) -> Option<u64> {
        None
    }
    /// `x-kubernetes-int-or-string`
    fn int_or_string(&self) -> bool {
        false
    }
    /// `x-kubernetes-embedded-resource`
    fn embedded_resource(&self) -> bool {
        false
    }
    /// `x-kubernetes-list-type` and `x-kubernetes-list-map-keys`
    fn list_kind(&self) -> ListKind {
        ListKind::Atomic
    }
}

/// How a list compares and adds up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// In order.
    #[default]
    Atomic,
    /// Without order, each element once.
    Set,
    /// Elements told apart by these keys.
    Map(Vec<Arc<str>>),
}

/// A declared type.
#[derive(Debug, PartialEq)]
pub struct DeclType {
    /// What it is.
    pub kind: DeclKind,
    /// Most elements, entries, or characters of values.
    pub elements_max: u64,
    /// Fewest bytes of a value as JSON.
    pub size_min: u64,
}

/// What a declared type is.
#[derive(Debug, PartialEq)]
pub enum DeclKind {
    /// Anything.
    Dyn,
    /// `boolean`
    Bool,
    /// `integer`
    Int,
    /// `number`
    Double,
    /// `string`
    String,
    /// `string` that is base64
    Bytes,
    /// `string` that is a date or a time
    Timestamp,
    /// `string` that is a duration
    Duration,
    /// A list.
    List(Arc<DeclType>, ListKind),
    /// A map from strings.
    Map(Arc<DeclType>),
    /// An object with fields.
    Object(DeclFields),
    /// A type of a library.
    Opaque(Type),
}

/// Fields by the name that CEL gives them.
pub type DeclFields = BTreeMap<Arc<str>, DeclField>;

/// A declared field.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclField {
    /// Its name in JSON.
    pub json: Arc<str>,
    /// Its type.
    pub ty: Arc<DeclType>,
    /// It must be there.
    pub required: bool,
}

impl DeclType {
    /// A type without a length.
    pub fn simple(kind: DeclKind) -> Arc<Self> {
        let size_min = match kind {
            DeclKind::Bool => 4,
            DeclKind::Int | DeclKind::Double | DeclKind::Dyn => 1,
            DeclKind::Duration => DURATION_SIZE_MIN,
            DeclKind::Timestamp => DATETIME_SIZE,
            _ => STRING_SIZE_MIN,
        };
        Arc::new(Self { kind, elements_max: 0, size_min })
    }

    /// An object with these fields, named as in JSON.
    pub fn object(fields: &[(&str, Arc<DeclType>)]) -> Arc<Self> {
        let fields = fields.iter().map(|(name, ty)| {
            let field = DeclField { json: (*name).into(), ty: ty.clone(), required: false };
            (Arc::from(*name), field)
        });
        Self::simple(DeclKind::Object(fields.collect()))
    }

    /// A list of elements, of unknown length.
    pub fn list(element: Arc<DeclType>) -> Arc<Self> {
        let elements_max = items_max(element.size_min);
        Arc::new(Self { kind: DeclKind::List(element, ListKind::Atomic), elements_max, size_min: 2 })
    }

    /// A map to values, of unknown length.
    pub fn map(value: Arc<DeclType>) -> Arc<Self> {
        let elements_max = entries_max(value.size_min);
        Arc::new(Self { kind: DeclKind::Map(value), elements_max, size_min: 2 })
    }

    /// What a schema declares; `None` when CEL cannot see into it. `resource` says that values are whole resources, which
    /// have `kind`, `apiVersion` and a name even when the schema does not say so.
    pub fn of(schema: &dyn Schema, resource: bool) -> Option<Arc<Self>> {
        Self::build(schema, resource, 0)
    }

    fn build(schema: &dyn Schema, resource: bool, depth: usize) -> Option<Arc<Self>> {
        if schema.int_or_string() || depth > DEPTH_MAX {
            return Some(Arc::new(Self {
                kind: DeclKind::Dyn,
                elements_max: REQUEST_BYTES_MAX - 2,
                size_min: 1,
            }));
        }
        let child = |schema: &dyn Schema| Self::build(schema, schema.embedded_resource(), depth + 1);
        let declared = match schema.kind() {
            "array" => {
                let element = child(schema.items()?)?;
                let elements_max = schema.max_items().map_or(items_max(element.size_min), clamp);
                Self { kind: DeclKind::List(element, schema.list_kind()), elements_max, size_min: 2 }
            }
            "object" => match schema.additional_properties() {
                Some(values) if !resource => {
                    let value = child(values)?;
                    let elements_max = schema.max_properties().map_or(entries_max(value.size_min), clamp);
                    Self { kind: DeclKind::Map(value), elements_max, size_min: 2 }
                }
                _ => Self::fields_of(schema, resource, child),
            },
            "string" => Self::string(schema),
            "boolean" => return Some(Self::simple(DeclKind::Bool)),
            "number" => return Some(Self::simple(DeclKind::Double)),
            "integer" => return Some(Self::simple(DeclKind::Int)),
            _ => return None,
        };
        Some(Arc::new(declared))
    }

    fn fields_of(
        schema: &dyn Schema,
        resource: bool,
        child: impl Fn(&dyn Schema) -> Option<Arc<Self>>,
    ) -> Self {
        let required = schema.required();
        let mut fields = DeclFields::new();
        let mut size_min = 2;
        for (name, property) in schema.properties() {
            let Some(ty) = child(property) else { continue };
            let required = required.contains(&name);
            if required && !property.has_default() {
                size_min += name.len() as u64 + ty.size_min + 4;
            }
            if let Some(cel) = escape(name) {
                fields.insert(cel.into(), DeclField { json: name.into(), ty, required });
            }
        }
        if resource {
            with_object_meta(&mut fields);
        }
        Self { kind: DeclKind::Object(fields), elements_max: 0, size_min }
    }

    fn string(schema: &dyn Schema) -> Self {
        let (kind, elements_max, size_min) = match schema.format() {
            "byte" => {
                let max = schema.max_length().map_or(REQUEST_BYTES_MAX - 2, clamp);
                (DeclKind::Bytes, max, STRING_SIZE_MIN)
            }
            "duration" => (DeclKind::Duration, DURATION_SIZE_MAX, DURATION_SIZE_MIN),
            "date" => (DeclKind::Timestamp, DATE_SIZE, DATE_SIZE),
            "date-time" => (DeclKind::Timestamp, DATETIME_SIZE, DATETIME_SIZE),
            _ => {
                // A character takes up to four bytes, and sizes are compared with requests, which are counted in bytes.
                let max = match (schema.max_length(), schema.enum_length_max()) {
                    (Some(max), _) => clamp(max).saturating_mul(4),
                    (None, Some(max)) => max,
                    (None, None) => REQUEST_BYTES_MAX - 2,
                };
                (DeclKind::String, max, STRING_SIZE_MIN)
            }
        };
        Self { kind, elements_max, size_min }
    }

    /// The type as the checker knows it. Objects have the name `name`, those inside are named after their place.
    pub(crate) fn cel_type(&self, name: &str) -> Type {
        match &self.kind {
            DeclKind::Dyn => Type::Dyn,
            DeclKind::Bool => Type::Bool,
            DeclKind::Int => Type::Int,
            DeclKind::Double => Type::Double,
            DeclKind::String => Type::String,
            DeclKind::Bytes => Type::Bytes,
            DeclKind::Timestamp => Type::Timestamp,
            DeclKind::Duration => Type::Duration,
            DeclKind::List(element, _) => Type::list(element.cel_type(&format!("{name}.@idx"))),
            DeclKind::Map(value) => Type::map(Type::String, value.cel_type(&format!("{name}.@elem"))),
            DeclKind::Object(_) => Type::Object(name.into()),
            DeclKind::Opaque(ty) => ty.clone(),
        }
    }

    /// A part of the type: a field by CEL's name, or `@items`, `@values`.
    pub(crate) fn part(&self, step: &str) -> Option<&Arc<DeclType>> {
        match (&self.kind, step) {
            (DeclKind::List(element, _), "@items") => Some(element),
            (DeclKind::Map(value), "@values") => Some(value),
            (DeclKind::Object(fields), name) => fields.get(name).map(|field| &field.ty),
            _ => None,
        }
    }
}

/// Longest a list can be within a request.
fn items_max(element_size: u64) -> u64 {
    (REQUEST_BYTES_MAX - 2) / (element_size + 1)
}

/// Most entries that a map can have within a request.
fn entries_max(value_size: u64) -> u64 {
    (REQUEST_BYTES_MAX - 2) / (value_size + 6)
}

fn clamp(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(0)
}

/// What every resource has.
fn with_object_meta(fields: &mut DeclFields) {
    let text = Arc::new(DeclType {
        kind: DeclKind::String,
        elements_max: REQUEST_BYTES_MAX - 2,
        size_min: STRING_SIZE_MIN,
    });
    let field =
        |name: &str, ty: &Arc<DeclType>| DeclField { json: name.into(), ty: ty.clone(), required: true };
    for name in ["kind", "apiVersion"] {
        fields.insert(name.into(), field(name, &text));
    }
    let mut metadata = match fields.get("metadata").map(|field| &field.ty.kind) {
        Some(DeclKind::Object(declared)) => declared.clone(),
        _ => DeclFields::new(),
    };
    metadata.retain(|name, _| matches!(&**name, "name" | "generateName"));
    for name in ["name", "generateName"] {
        metadata.entry(name.into()).or_insert_with(|| field(name, &text));
    }
    let metadata = DeclType::simple(DeclKind::Object(metadata));
    fields.insert("metadata".into(), field("metadata", &metadata));
}
