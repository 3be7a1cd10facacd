//! Sockets: TLS, connections, and what bounds them.

pub mod listen;
mod streams;
pub mod tls;
