//! HTTP as the API speaks it: request lines, queries, media types, bodies. Nothing here knows kinds or stores.

pub mod body;
pub mod info;
pub mod media;
pub mod query;
