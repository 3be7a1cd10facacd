//! What the server does before it serves: it begins to follow the policy objects and writes what every cluster starts
//! with.

mod first;
mod follow;
mod policy;

pub(crate) use first::write_first_objects;
pub(crate) use follow::follow_policy;
