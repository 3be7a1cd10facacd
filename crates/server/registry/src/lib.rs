//! The only writer to the store, generic over kinds.
//!
//! A request that passed authorization comes here as a [`Request`] and leaves as an [`Outcome`]. One file per verb; each
//! works for every kind of [`scheme`]'s table with the kind's [`rules`], and the few kinds that do more (Services
//! and their addresses, pods and their eviction, tokens) have a file each beside them. Everything that changes the
//! store goes through `commit`, whose input only the admission chain can make.
//!
//! Start at [`Registry::perform`].
#![expect(
    clippy::result_large_err,
    reason = "refusals are values that travel on; boxing them would cost each an allocation"
)]

mod admin_access;
mod allocate;
mod commit;
mod conversion;
mod convert;
mod create;
mod definitions;
mod delete;
pub mod delete_options;
pub mod errors;
mod escalation;
mod feeds;
mod managed;
mod outcome;
mod owners;
mod paging;
mod patch;
mod read;
mod registry;
mod selection;
mod served;
mod services;
mod shape;
mod stored;
mod subresources;
mod update;
mod watch;
mod world;

pub use convert::in_stored_version;
pub use definitions::{Conversion, Custom, Definition, Definitions};
pub use feeds::{Feeds, ObjectFeed};
pub use outcome::{Listing, Outcome, Watching};
pub use registry::{Amount, Config, Registry, Request};
pub use selection::Selection;
pub use served::Served;
pub use stored::Stored;
pub use watch::{Change, Changes};
