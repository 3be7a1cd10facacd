//! Label selectors ([`labels`]) and field selectors ([`fields`]).

pub mod fields;
pub mod labels;
mod lexer;

/// Why a selector could not be read; displays upstream's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
