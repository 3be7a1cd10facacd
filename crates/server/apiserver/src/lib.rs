//! The request pipeline.
pub mod clock;
pub mod http;
pub mod serve;
