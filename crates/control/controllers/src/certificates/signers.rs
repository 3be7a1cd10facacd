//! The signers of Kubernetes, and what each asks of a request.

use meta::Str;
use types::certificates::v1::CertificateSigningRequest;

use super::authority::Subject;

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    ApiServerClient,
    KubeletClient,
    KubeletServing,
    LegacyUnknown,
}

impl Signer {
    pub(super) fn of(csr: &CertificateSigningRequest) -> Option<Signer> {
        match csr.spec.signer_name.as_str() {
            "kubernetes.io/kube-apiserver-client" => Some(Signer::ApiServerClient),
            "kubernetes.io/kube-apiserver-client-kubelet" => Some(Signer::KubeletClient),
            "kubernetes.io/kubelet-serving" => Some(Signer::KubeletServing),
            "kubernetes.io/legacy-unknown" => Some(Signer::LegacyUnknown),
            _ => None,
        }
    }

    /// What is wrong with a request for this signer.
    pub(super) fn problem(self, subject: &Subject, usages: &[Str]) -> Option<String> {
        match self {
            Signer::ApiServerClient => client_usages(usages),
            Signer::KubeletClient => kubelet_client(subject, usages),
            Signer::KubeletServing => kubelet_serving(subject, usages),
            Signer::LegacyUnknown => None,
        }
    }
}

fn client_usages(usages: &[Str]) -> Option<String> {
    let optional = |usage: &str| matches!(usage, "digital signature" | "key encipherment" | "client auth");
    if let Some(other) = usages.iter().find(|usage| !optional(usage)) {
        return Some(format!("invalid usage for client certificate: {other}"));
    }
    (!usages.iter().any(|usage| usage == "client auth"))
        .then(|| "missing required usage for client certificate: client auth".to_owned())
}

/// Whether the usages are exactly `purpose` and `digital signature`, with or without what RSA keys need.
fn usages_match(usages: &[Str], purpose: &str) -> bool {
    let required = [purpose, "digital signature"];
    let known = |usage: &Str| required.contains(&usage.as_str()) || usage == "key encipherment";
    usages.iter().all(known) && required.iter().all(|wanted| usages.iter().any(|usage| usage == wanted))
}

const NOT_NODES: &str = "subject organization is not system:nodes";
const NO_EMAIL: &str = "email subjectAltNames are not allowed";
const NO_URI: &str = "URI subjectAltNames are not allowed";
const NOT_A_NODE: &str = "subject common name does not begin with system:node:";

/// A client certificate of a kubelet.
pub(super) fn kubelet_client(subject: &Subject, usages: &[Str]) -> Option<String> {
    let rules = [
        (subject.organizations != ["system:nodes"], NOT_NODES),
        (subject.dns_names > 0, "DNS subjectAltNames are not allowed"),
        (subject.emails > 0, NO_EMAIL),
        (subject.addresses > 0, "IP subjectAltNames are not allowed"),
        (subject.uris > 0, NO_URI),
        (!subject.common_name.starts_with("system:node:"), NOT_A_NODE),
        (
            !usages_match(usages, "client auth"),
            "usages did not match [client auth digital signature key encipherment]",
        ),
    ];
    first(&rules)
}

fn kubelet_serving(subject: &Subject, usages: &[Str]) -> Option<String> {
    let rules = [
        (subject.organizations != ["system:nodes"], NOT_NODES),
        (
            subject.dns_names == 0 && subject.addresses == 0,
            "at least one DNS or IP subjectAltName is required",
        ),
        (subject.emails > 0, NO_EMAIL),
        (subject.uris > 0, NO_URI),
        (
            !usages_match(usages, "server auth"),
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (!subject.common_name.starts_with("system:node:"), NOT_A_NODE),
    ];
    first(&rules)
}

fn first(rules: &[(bool, &str)]) -> Option<String> {
    rules.iter().find(|(broken, _)| *broken).map(|(_, text)| (*text).to_owned())
}

/// Whether a condition of this type holds.
pub(super) fn has(csr: &CertificateSigningRequest, kind: &str) -> bool {
    csr.status.conditions.iter().any(|c| c.type_ == kind && c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, organization: &str, dns_names: usize, addresses: usize) -> Subject {
        Subject {
            common_name: name.into(),
            organizations: vec![organization.into()],
            dns_names,
            addresses,
            ..Subject::default()
        }
    }

    #[test]
    fn each_signer_has_its_rules() {
        let client: &[&str] = &["client auth", "digital signature"];
        let server: &[&str] = &["server auth", "digital signature", "key encipherment"];
        let rows = [
            (Signer::ApiServerClient, subject("a", "b", 0, 0), client, None),
            (
                Signer::ApiServerClient,
                subject("a", "b", 0, 0),
                server,
                Some("invalid usage for client certificate: server auth"),
            ),
            (
                Signer::ApiServerClient,
                subject("a", "b", 0, 0),
                &["digital signature"],
                Some("missing required usage for client certificate: client auth"),
            ),
            (Signer::KubeletClient, subject("system:node:a", "system:nodes", 0, 0), client, None),
            (
                Signer::KubeletClient,
                subject("system:node:a", "system:nodes", 1, 0),
                client,
                Some("DNS subjectAltNames are not allowed"),
            ),
            (Signer::KubeletClient, subject("a", "system:nodes", 0, 0), client, Some(NOT_A_NODE)),
            (Signer::KubeletClient, subject("system:node:a", "x", 0, 0), client, Some(NOT_NODES)),
            (Signer::KubeletServing, subject("system:node:a", "system:nodes", 0, 1), server, None),
            (
                Signer::KubeletServing,
                subject("system:node:a", "system:nodes", 0, 0),
                server,
                Some("at least one DNS or IP subjectAltName is required"),
            ),
            (
                Signer::KubeletServing,
                subject("system:node:a", "system:nodes", 1, 0),
                client,
                Some("usages did not match [digital signature key encipherment server auth]"),
            ),
            (Signer::LegacyUnknown, subject("a", "b", 0, 0), server, None),
        ];
        for (signer, subject, usages, expected) in rows {
            let usages: Vec<Str> = usages.iter().map(|u| Str::from(*u)).collect();
            assert_eq!(signer.problem(&subject, &usages).as_deref(), expected, "{signer:?} {subject:?}");
        }
    }
}
