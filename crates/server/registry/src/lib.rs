//! The only writer to the store, generic over kinds.
