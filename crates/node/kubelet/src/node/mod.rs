//! The node itself: what the machine is ([`info`]), how it is ([`pressure`]), and telling the API ([`report`], [`lease`]).

pub mod info;
pub mod lease;
pub mod pressure;
pub mod report;
pub mod status;
