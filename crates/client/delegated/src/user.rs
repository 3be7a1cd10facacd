//! Who asks.

use meta::Str;
use rustls_pki_types::CertificateDer;
use types::authentication::v1::UserInfo;
use x509_parser::prelude::{FromDer, X509Certificate};

const AUTHENTICATED: &str = "system:authenticated";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// Name.
    pub name: Str,
    /// Distinguishes users of one name over time.
    pub uid: Str,
    /// Groups.
    pub groups: Vec<Str>,
    /// Whatever else the authenticator knows, in the order of its keys.
    pub extra: Vec<(Str, Vec<Str>)>,
}

impl User {
    /// Who shows nothing.
    pub fn anonymous() -> Self {
        User {
            name: "system:anonymous".into(),
            uid: Str::default(),
            groups: vec!["system:unauthenticated".into()],
            extra: Vec::new(),
        }
    }

    /// The user of a client certificate that TLS has verified; `None` when it names nobody.
    pub fn of_certificate(certificates: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificates?.first()?).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?.into();
        let mut groups: Vec<Str> =
            subject.iter_organization().filter_map(|one| one.as_str().ok()).map(Str::from).collect();
        groups.push(AUTHENTICATED.into());
        Some(User { name, uid: Str::default(), groups, extra: Vec::new() })
    }

    /// The user that the API server found behind a token.
    pub(crate) fn of_review(told: &UserInfo) -> Self {
        let extra = told.extra.iter().map(|(key, values)| (key.clone(), values.iter().cloned().collect()));
        User {
            name: told.username.clone(),
            uid: told.uid.clone(),
            groups: told.groups.iter().cloned().collect(),
            extra: extra.collect(),
        }
    }

    /// Whether the user is of a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(common: Option<&str>, organizations: &[&str]) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for organization in organizations {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, *organization);
        }
        if let Some(common) = common {
            params.distinguished_name.push(rcgen::DnType::CommonName, common);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn subjects_become_users() {
        let user = |common, organizations: &[&str]| {
            User::of_certificate(Some(&[certificate(common, organizations)]))
        };
        let jane = user(Some("jane"), &["devs"]).unwrap();
        assert_eq!((jane.name.as_str(), jane.is_in("devs"), jane.is_in(AUTHENTICATED)), ("jane", true, true));
        assert_eq!(user(None, &["system:masters"]), None, "groups alone are nobody");
        assert_eq!(User::of_certificate(None), None);
        assert_eq!(User::of_certificate(Some(&[])), None);
    }
}
