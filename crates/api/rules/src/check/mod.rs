//! The vocabulary in which rules are written: formats, combinators and the list of errors.

pub mod conditions;
pub mod errors;
pub mod ip;
pub mod json;
pub mod labels;
pub mod metadata;

pub use errors::{Errs, IMMUTABLE, NOT_NEGATIVE, NOT_POSITIVE, domain_prefixed_key, domain_prefixed_path};
pub use json::{go_json_object_error, json_list, json_object, json_option, json_string};
pub use meta::BadValue;
pub use meta::names::*;

/// Text that is printed as it is, because it is JSON already.
#[allow(non_snake_case)]
pub fn Raw(text: String) -> BadValue {
    BadValue::Plain(text)
}
