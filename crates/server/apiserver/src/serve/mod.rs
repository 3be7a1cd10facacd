//! Sockets: TLS, connections, and what bounds them.

pub mod listen;
pub mod tls;
