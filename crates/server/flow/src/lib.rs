//! API Priority and Fairness (KEP-1040): which requests run now, which wait, and which are told to come back.
//!
//! A FlowSchema sorts a request into a priority level and a flow ([`matching`]). A level has seats, its share of
//! the server's; what finds none waits in one of the level's queues. Flows are dealt few of many queues
//! ([`shuffle`]), and queues take turns by the work that they were given ([`queues`]), so that a flow that asks
//! for much delays mostly itself. [`Flow`] holds the levels and is what the pipeline enters; [`bootstrap`] has the
//! objects that every cluster starts with.

pub mod bootstrap;
mod enter;
pub mod matching;
mod metrics;
mod plan;
mod queues;
mod shuffle;

pub use enter::{Flow, Rejection, Seat};
pub use matching::Digest;
