//! Values of Kubernetes' libraries.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use meta::Quantity;

use crate::library::semver::Semver;
use crate::library::url::Url;

use crate::library::authorizer::{AuthorizerHandle, Decision, GroupCheck, PathCheck, ResourceCheck};
use crate::library::format::NamedFormat;

/// A value that only the functions of its library look into.
#[derive(Clone, Debug)]
pub enum Opaque {
    /// An amount.
    Quantity(Quantity),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses, with the host's bits as they were given.
    Cidr(IpNet),
    /// A URL.
    Url(Arc<Url>),
    /// A semantic version.
    Semver(Arc<Semver>),
    /// A named format of strings.
    Format(&'static NamedFormat),
    /// Who is asked whether something is allowed.
    Authorizer(AuthorizerHandle),
    /// A question about a path.
    PathCheck(Arc<PathCheck>),
    /// A question about a group.
    GroupCheck(Arc<GroupCheck>),
    /// A question about a resource.
    ResourceCheck(Arc<ResourceCheck>),
    /// An answer.
    Decision(Arc<Decision>),
}

impl Opaque {
    /// The name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Opaque::Quantity(_) => "kubernetes.Quantity",
            Opaque::Ip(_) => "net.IP",
            Opaque::Cidr(_) => "net.CIDR",
            Opaque::Url(_) => "kubernetes.URL",
            Opaque::Semver(_) => "kubernetes.Semver",
            Opaque::Format(_) => "kubernetes.NamedFormat",
            Opaque::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Opaque::PathCheck(_) => "kubernetes.authorization.PathCheck",
            Opaque::GroupCheck(_) => "kubernetes.authorization.GroupCheck",
            Opaque::ResourceCheck(_) => "kubernetes.authorization.ResourceCheck",
            Opaque::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// Addresses are as large as they have bytes.
    pub(super) fn size(&self) -> u64 {
        let address = |v4| if v4 { 4 } else { 16 };
        match self {
            Opaque::Ip(ip) => address(ip.is_ipv4()),
            Opaque::Cidr(net) => u64::from(net.prefix_len()).div_ceil(8),
            _ => 1,
        }
    }
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Opaque::Quantity(one), Opaque::Quantity(other)) => one == other,
            (Opaque::Ip(one), Opaque::Ip(other)) => one == other,
            (Opaque::Cidr(one), Opaque::Cidr(other)) => one == other,
            (Opaque::Url(one), Opaque::Url(other)) => one == other,
            (Opaque::Semver(one), Opaque::Semver(other)) => one == other,
            (Opaque::Format(one), Opaque::Format(other)) => one.name == other.name,
            _ => false,
        }
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opaque::Quantity(quantity) => quantity.fmt(f),
            Opaque::Ip(ip) => ip.fmt(f),
            Opaque::Cidr(net) => net.fmt(f),
            Opaque::Url(url) => url.fmt(f),
            Opaque::Semver(version) => version.fmt(f),
            Opaque::Format(format) => f.write_str(format.name),
            other => f.write_str(other.type_name()),
        }
    }
}
