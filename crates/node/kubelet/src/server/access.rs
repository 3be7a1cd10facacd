//! TLS and who may use the kubelet's API: the API server by its client certificate, and administrators.

use rustls_pki_types::CertificateDer;
use serving::{Material, Pem};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Common name of the API server's client certificate.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
/// Groups that may do everything.
const MASTERS: [&str; 2] = ["system:masters", "kubeadm:cluster-admins"];

/// Certificates of the kubelet's API.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Serving certificates, versions and suites.
    pub serving: Material,
    /// CA of the certificates that clients show.
    pub client_ca: Pem,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Common name.
    pub name: String,
    /// Organizations.
    pub groups: Vec<String>,
}

impl User {
    /// Whether this user may use the kubelet's API.
    pub fn may_use_kubelet(&self) -> bool {
        self.name == API_SERVER || self.groups.iter().any(|g| MASTERS.contains(&g.as_str()))
    }
}

/// The user of a verified client certificate.
pub fn user(certs: Option<&[CertificateDer<'_>]>) -> Option<User> {
    let (_, cert) = X509Certificate::from_der(certs?.first()?).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(User { name, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may() {
        let user = |name: &str, group: &str| User { name: name.into(), groups: vec![group.into()] };
        assert!(user(API_SERVER, "").may_use_kubelet());
        assert!(user("admin", "system:masters").may_use_kubelet());
        assert!(!user("alice", "dev").may_use_kubelet());
    }
}
