//! Which kind of work each function is, and what it is charged while evaluating.

use super::{CHARACTER, NEW_LIST, NEW_OBJECT, PATTERN_CHARACTER, scaled};
use crate::value::{Opaque, Value};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Always the same.
    Fixed(u64),
    /// Goes through a list, or a string, once.
    Scan,
    /// Goes through the first argument.
    Parse,
    /// Goes through the first argument twice.
    ParseTwice,
    /// Reads a URL.
    Url,
    /// A string of the size of the target.
    Transform,
    /// `replace`
    Replace,
    /// `split`
    Split,
    /// `join`
    Join,
    /// `find`, `findAll`
    Find,
    /// `matches`
    Matches,
    /// `contains`
    Contains,
    /// Goes through the last argument: `startsWith`, `endsWith`.
    Affix,
    /// `bytes(string)`
    StringToBytes,
    /// `string(bytes)`
    BytesToString,
    /// `strings.quote`
    Quote,
    /// `format` of strings.
    FormatString,
    /// `in` a list.
    InList,
    /// Goes through the shorter one of two.
    Compare,
    /// As [`Model::Compare`], at once where estimates know the type to have no parts. That they do not for `!=` is
    /// upstream's.
    Equal,
    /// Puts two strings, or two bytes, together.
    Concat,
    /// Puts two lists together.
    ConcatLists,
    /// `containsIP`; whether the argument must be read first.
    ContainsIp(bool),
    /// `containsCIDR`; whether the argument must be read first.
    ContainsCidr(bool),
    /// `validate` of a format.
    Validate,
    /// A selector that is read.
    Selector,
    /// Compares each of one list with each of another, so many times.
    Sets(u64),
    /// A list as long as the result.
    MakeList,
    /// A list, each of whose elements is compared with the others.
    Quadratic,
    /// `_[_]` of a list.
    IndexList,
    /// `_[_]` of a map.
    IndexMap,
    /// `_&&_`, `_||_`
    Logic,
    /// `_?_:_`
    Conditional,
}

impl Model {
    /// The work of a function, by the overload that is meant.
    pub fn of(function: &str, overload: &str) -> Self {
        Self::by_function(function, overload).unwrap_or_else(|| Self::by_overload(overload))
    }

    fn by_function(function: &str, overload: &str) -> Option<Self> {
        Some(match function {
            // So that two checks fit into one expression.
            "check" => Model::Fixed(350_000),
            "fieldSelector" | "labelSelector" => Model::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Model::Scan,
            "url" | "jsonpatch.escapeKey" => Model::Url,
            "lowerAscii" | "upperAscii" | "substring" | "trim" => Model::Transform,
            "replace" => Model::Replace,
            "split" => Model::Split,
            "join" => Model::Join,
            "find" | "findAll" => Model::Find,
            "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => Model::Parse,
            "ip" if overload != "cidr_ip" => Model::Parse,
            "ip.isCanonical" => Model::ParseTwice,
            "containsIP" => Model::ContainsIp(overload == "cidr_contains_ip_string"),
            "containsCIDR" => Model::ContainsCidr(overload == "cidr_contains_cidr_string"),
            "validate" => Model::Validate,
            _ => return None,
        })
    }

    fn by_overload(overload: &str) -> Self {
        match overload {
            "string_format" => Model::FormatString,
            "string_to_bytes" => Model::StringToBytes,
            "bytes_to_string" => Model::BytesToString,
            "strings_quote" => Model::Quote,
            "starts_with_string" | "ends_with_string" => Model::Affix,
            "in_list" => Model::InList,
            "matches_string" => Model::Matches,
            "contains_string" => Model::Contains,
            "logical_and" | "logical_or" => Model::Logic,
            "conditional" => Model::Conditional,
            "add_string" | "add_bytes" => Model::Concat,
            "add_list" => Model::ConcatLists,
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "not_equals" => Model::Compare,
            "equals" => Model::Equal,
            "index_list" => Model::IndexList,
            "index_map" => Model::IndexMap,
            "list_sets_contains_list" | "list_sets_intersects_list" => Model::Sets(1),
            "list_sets_equivalent_list" => Model::Sets(2),
            "list_slice" | "list_flatten" | "list_flatten_int" | "lists_range" | "list_reverse" => {
                Model::MakeList
            }
            "list_distinct" => Model::Quadratic,
            sort if sort.ends_with("_sort") || sort.ends_with("_sortByAssociatedKeys") => Model::Quadratic,
            _ => Model::Fixed(1),
        }
    }
}

/// What a call is charged, once its arguments and its result are known.
pub fn actual(model: Model, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    let characters = |index: usize| scaled(size(index), CHARACTER);
    match model {
        Model::Fixed(cost) => cost,
        Model::Scan => args.first().map_or(0, traversal),
        Model::Parse | Model::Url | Model::Transform | Model::StringToBytes | Model::BytesToString => {
            characters(0)
        }
        // The affix is what is compared; the reference charges for the target.
        Model::Affix => characters(0),
        Model::Quote => scaled(size(0), CHARACTER),
        Model::ParseTwice | Model::Replace | Model::Split => scaled(size(0), 2.0 * CHARACTER),
        Model::Join => scaled(result.map_or(1, Value::size), 2.0 * CHARACTER),
        Model::Find | Model::Matches => pattern(size(0), size(1)),
        Model::Contains => characters(0).saturating_mul(characters(1)),
        Model::FormatString => 1,
        Model::InList => size(1),
        Model::Compare | Model::Equal if matches!(args.first(), Some(Value::Opaque(_))) => 1,
        Model::Compare | Model::Equal => scaled(size(0).min(size(1)), CHARACTER),
        Model::Concat => scaled(size(0).saturating_add(size(1)), CHARACTER),
        Model::ContainsIp(parse) => scaled(size(0) * 2, CHARACTER) + if parse { characters(1) } else { 0 },
        Model::ContainsCidr(parse) => {
            scaled(size(0) * 2, CHARACTER) + characters(0) + 1 + if parse { characters(1) } else { 0 }
        }
        Model::Validate => match args.first() {
            Some(Value::Opaque(Opaque::Format(format))) => pattern(size(1), format.regex_size),
            _ => 1,
        },
        Model::Selector => selector(size(1)),
        Model::Sets(factor) => size(0).saturating_mul(size(1)).saturating_mul(factor).saturating_add(1),
        Model::MakeList => result.map_or(1, Value::size).saturating_add(1),
        Model::Quadratic => size(0).saturating_mul(size(0)).saturating_add(NEW_LIST + 1),
        Model::ConcatLists | Model::IndexList | Model::IndexMap => 1,
        Model::Logic | Model::Conditional => 0,
    }
}

/// Reading a selector: a list, and for every two characters, which the shortest requirement has, an object and a list.
pub(super) fn selector(text: u64) -> u64 {
    let requirements = scaled(text, 0.5).saturating_mul(NEW_LIST + NEW_OBJECT);
    NEW_LIST.saturating_add(scaled(text, CHARACTER)).saturating_add(requirements)
}

/// Applying a pattern to a text. One is added so that an empty text does not make a pattern free.
fn pattern(text: u64, pattern: u64) -> u64 {
    scaled(text.saturating_add(1), CHARACTER).saturating_mul(scaled(pattern, PATTERN_CHARACTER))
}

/// Going through a value with everything in it.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * CHARACTER) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * CHARACTER) as u64,
        Value::List(list) => list.iter().map(|element| traversal(&element)).sum(),
        Value::Map(map) => map
            .keys()
            .iter()
            .map(|key| {
                let inside = map.get(key).and_then(Result::ok);
                traversal(key) + inside.map_or(0, |value| traversal(&value))
            })
            .sum(),
        _ => 1,
    }
}
