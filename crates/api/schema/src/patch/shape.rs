//! What a strategic merge patch must know of a type: for each field whether maps and lists are merged or replaced,
//! and by which key list elements are matched (the `patchStrategy` and `patchMergeKey` of the Go types).

/// How a field takes a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The default: maps are merged, lists are replaced.
    #[default]
    Default,
    /// Lists are merged by key, or as sets where there is no key.
    Merge,
    /// Maps are replaced too.
    Replace,
}

/// One type of the schema. Implementations are small copies of a reference into a static table.
pub trait Shape: Copy {
    /// The name of the struct, for refusals; `None` for maps and scalars.
    fn kind(self) -> Option<&'static str>;
    /// The type behind a field of this struct, or the element type behind a list field; `None` for a field that the
    /// type does not have and for types without fields.
    fn field(self, name: &str) -> Option<Self>;
    /// How the field takes a patch.
    fn strategy(self, name: &str) -> Strategy;
    /// The key by which the elements of the list field are matched; empty for lists of scalars.
    fn merge_key(self, name: &str) -> &'static str;
}
