//! The group `networking.k8s.io`: NetworkPolicy, Ingress, IngressClass, IPAddress, ServiceCIDR.

mod address;
mod ingress;
mod policy;
