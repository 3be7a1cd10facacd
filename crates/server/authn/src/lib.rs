//! Who sent the request.
