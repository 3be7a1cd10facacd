//! What expressions cost: one model, from which both the estimate before and the charge while evaluating are taken.
//!
//! The numbers are an API: which rules a CustomResourceDefinition may have depends on them.

mod estimate;
mod model;
mod size;

pub use estimate::estimate;
pub use model::{Model, actual};
pub use size::{CostEstimate, SizeEstimate};

/// Traversing one character.
const CHARACTER: f64 = 0.1;
/// Applying one character of a pattern.
const PATTERN_CHARACTER: f64 = 0.25;
/// Reading a name, or a field.
pub const READ: u64 = 1;
/// Making a list.
pub const NEW_LIST: u64 = 10;
/// Making a map.
pub const NEW_MAP: u64 = 30;
/// Making an object.
pub const NEW_OBJECT: u64 = 40;

/// Rounds up after scaling.
fn scaled(amount: u64, factor: f64) -> u64 {
    // Casts from floats saturate.
    (amount as f64 * factor).ceil() as u64
}
