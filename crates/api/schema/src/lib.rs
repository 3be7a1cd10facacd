//! What can be done to an object knowing only the shape of its kind: patches today, server-side apply and OpenAPI
//! documents beside them. Everything works on JSON values and is pure.

pub mod patch;
