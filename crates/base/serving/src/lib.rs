//! TLS of servers, the same for the API server, the kubelet and the scheduler.
//!
//! [`Policy`] says which versions and suites are spoken, [`NamedPair`] which certificate answers to which name, and
//! [`Material`] where all that key material is. [`Material::load`] makes of it what a listener needs ([`Chosen`]);
//! [`Followed`] tells when a file changes, so that nobody restarts a server for a new certificate; [`Live`] puts both together.

mod chosen;
mod follow;
mod live;
mod named;
mod pem;
mod policy;

pub use chosen::{Chosen, Material};
pub use follow::Followed;
pub use live::Live;
pub use named::{BadNamedPair, NamedPair};
pub use pem::{Pair, Pem, TlsError, certificates, private_key, roots};
pub use policy::{BadPolicy, Policy};
