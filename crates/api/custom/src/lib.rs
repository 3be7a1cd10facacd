//! Kinds that CustomResourceDefinitions describe, as pure functions of a definition.
//!
//! [`Kind::read`] makes one version of a definition into what the built-in table has for its rows: a
//! [`scheme::Resource`] with its codec, and [`rules::KindRules`]. [`columns`] makes rows of tables, [`scale`] reads and
//! writes the scale, [`review`] speaks with conversion webhooks, and [`definition`] decides on the status of the
//! definition itself.

mod codec;
pub mod columns;
pub mod definition;
mod jsonpath;
mod kind;
pub mod review;
mod rules_of;
pub mod scale;

pub use codec::whole;
pub use kind::{Kind, ReadError};
