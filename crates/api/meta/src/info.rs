//! Facts about a generated struct, as static data: what OpenAPI, patches, server-side apply and error messages need.

/// Facts about one struct.
#[derive(Debug)]
pub struct TypeInfo {
    /// Go name: `PodSpec`.
    pub name: &'static str,
    /// OpenAPI model name: `io.k8s.api.core.v1.PodSpec`.
    pub model: &'static str,
    /// Go's qualified name as error messages print it: `v1.PodSpec`.
    pub go: &'static str,
    /// API group of the package; empty for the core group.
    pub group: &'static str,
    /// API version of the package.
    pub version: &'static str,
    /// The struct is one unit for server-side apply (`structType=atomic`).
    pub atomic: bool,
    /// For kinds, the JSON text `"kind":"Pod","apiVersion":"v1"` that opens an encoded object.
    pub type_meta: Option<&'static str>,
    /// Upstream defines a protobuf form.
    pub proto: bool,
    /// Fields in JSON order, embedded structs flattened. `kind` and `apiVersion` are not among them.
    pub fields: &'static [Field],
}

/// Facts about one field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// Go name.
    pub go_name: &'static str,
    /// Go types from the field's own to its innermost element, separated by `>`: `[]v1.Container>v1.Container`.
    pub go: &'static str,
    /// Protobuf number, 0 when there is none. Fields of embedded structs have the number of the inner message.
    pub number: u32,
    /// Value type; pointers are transparent.
    pub ty: Ty,
    /// A pointer in Go: absent differs from zero.
    pub pointer: bool,
    /// `omitempty` in the JSON tag.
    pub omitempty: bool,
    /// `omitzero` in the JSON tag.
    pub omitzero: bool,
    /// Marked `+optional`.
    pub optional: bool,
    /// Marked `+required`.
    pub required: bool,
    /// `merge`, `retainKeys`, `merge,retainKeys`, or empty.
    pub patch_strategy: &'static str,
    /// Key of the elements for strategic merge patches.
    pub patch_merge_key: &'static str,
    /// `atomic`, `map`, `set`, or empty.
    pub list_type: &'static str,
    /// Keys of the elements for server-side apply.
    pub list_map_keys: &'static [&'static str],
    /// `atomic`, `granular`, or empty.
    pub map_type: &'static str,
    /// Default as written in the declaration (JSON or a reference to a constant), or empty.
    pub default: &'static str,
    /// Allowed values of an enumerated string, sorted.
    pub values: &'static [&'static str],
    /// The structs that Go embeds the field's own struct by, outermost first: `VolumeSource`, `RuleWithOperations.Rule`.
    pub embedded: &'static str,
}

impl Field {
    /// A field with nothing set, for struct update syntax.
    pub const NONE: Field = Field {
        name: "",
        go_name: "",
        go: "",
        number: 0,
        ty: Ty::Str,
        pointer: false,
        omitempty: false,
        omitzero: false,
        optional: false,
        required: false,
        patch_strategy: "",
        patch_merge_key: "",
        list_type: "",
        list_map_keys: &[],
        map_type: "",
        default: "",
        values: &[],
        embedded: "",
    };
}

/// Type of a value.
#[derive(Clone, Copy)]
pub enum Ty {
    /// String.
    Str,
    /// Boolean.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Floating point number.
    Double,
    /// Bytes, base64 in JSON.
    Bytes,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.Time`.
    Time,
    /// `metav1.MicroTime`.
    MicroTime,
    /// `metav1.Duration`.
    Duration,
    /// Any JSON.
    Raw,
    /// A generated struct.
    Struct(&'static TypeInfo),
    /// A list of elements.
    List(&'static Ty),
    /// A map from strings.
    Map(&'static Ty),
}

impl std::fmt::Debug for Ty {
    /// Prints structs by name only: types may be recursive.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ty::Struct(info) => f.write_str(info.model),
            Ty::List(t) => write!(f, "[]{t:?}"),
            Ty::Map(t) => write!(f, "map[]{t:?}"),
            Ty::Str => f.write_str("string"),
            Ty::Bool => f.write_str("bool"),
            Ty::Int32 => f.write_str("int32"),
            Ty::Int64 => f.write_str("int64"),
            Ty::Double => f.write_str("double"),
            Ty::Bytes => f.write_str("bytes"),
            Ty::Quantity => f.write_str("Quantity"),
            Ty::IntOrString => f.write_str("IntOrString"),
            Ty::Time => f.write_str("Time"),
            Ty::MicroTime => f.write_str("MicroTime"),
            Ty::Duration => f.write_str("Duration"),
            Ty::Raw => f.write_str("any"),
        }
    }
}

impl TypeInfo {
    /// Index of a JSON field. `hint` is where to look first: documents mostly follow declaration order.
    pub fn find(&self, name: &[u8], hint: usize) -> Option<usize> {
        let n = self.fields.len();
        let hint = hint.min(n);
        let matches = |i: &usize| self.fields[*i].name.as_bytes() == name;
        (hint..n).find(matches).or_else(|| (0..hint).find(matches))
    }

    /// A field by JSON name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}
