//! Claims and volumes: protection while in use, claims of ephemeral volumes, and binding.

mod bind;
mod counts;
mod default_class;
mod ephemeral;
mod expand;
mod protect;

pub(crate) use bind::start as start_binder;
pub(crate) use ephemeral::start as start_ephemeral;
pub(crate) use expand::start as start_expander;
pub(crate) use protect::{
    start_claims as start_claim_protection, start_classes as start_class_protection,
    start_volumes as start_volume_protection,
};
