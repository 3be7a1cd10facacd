//! What several controllers share: ownership, pods of workloads, selectors, hashes.

pub(crate) mod claim;
pub(crate) mod hash;
pub(crate) mod numbers;
pub(crate) mod owners;
pub(crate) mod pods;
pub(crate) mod rank;
pub(crate) mod revisions;
pub(crate) mod scheduling;
pub(crate) mod selector;
#[cfg(test)]
pub(crate) mod testing;
