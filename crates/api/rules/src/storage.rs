//! The group `storage.k8s.io`.

mod attachment;
mod class;
mod csi;
