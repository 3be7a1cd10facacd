//! Patches, server-side apply and OpenAPI.
