//! The group `certificates.k8s.io`: CertificateSigningRequest.

use crate::check::{BadValue, Errs, dns_label, dns_subdomain};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{List, Str};
use types::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const SECONDS_MIN: i32 = 600;

impl Rules for CertificateSigningRequest {
    const REVALIDATES_METADATA: bool = true;
    const NAME: crate::check::NameCheck = |_, _| Vec::new();
    const FIELD_LABELS: &'static [&'static str] = &["spec.signerName"];
    spec_and_status!();

    fn prepare_create(&mut self, cx: &Context) {
        // Who asks is what the server saw, not what the request says.
        let spec = &mut self.spec;
        spec.username = cx.username.clone();
        spec.uid = cx.uid.clone();
        spec.groups = cx.groups.clone();
        spec.extra = cx.extra.clone();
        self.clear_status();
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Self, cx: &Context) {
        self.spec.clone_from(&old.spec);
        // Approval and denial come through the subresource of that name only.
        let decided = |kind: &str| kind == "Approved" || kind == "Denied";
        let kept: Vec<_> = old.status.conditions.iter().filter(|c| decided(&c.type_)).cloned().collect();
        let added = std::mem::take(&mut self.status.conditions);
        let sent_decided = added.iter().any(|c| decided(&c.type_));
        self.status.conditions = match sent_decided {
            true => {
                let mut kept = kept.into_iter();
                added
                    .into_iter()
                    .filter_map(|c| if decided(&c.type_) { kept.next() } else { Some(c) })
                    .collect()
            }
            false => added,
        };
        stamp(&mut self.status.conditions, old, cx);
    }

    fn prepare_subresource(&mut self, old: &Self, _name: &str, cx: &Context) {
        // An approval changes conditions and nothing else.
        let conditions = std::mem::take(&mut self.status.conditions);
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
        self.status.conditions = conditions;
        stamp(&mut self.status.conditions, old, cx);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        if let Some(problem) = request_problem(&spec.request.0) {
            let shown = match spec.request.0.is_empty() {
                true => BadValue::Plain("null".into()),
                false => BadValue::of(&spec.request),
            };
            e.invalid(&at.child("request"), shown, problem);
        }
        let usages = at.child("usages");
        if spec.usages.is_empty() {
            e.required(&usages, "");
        }
        for (i, usage) in spec.usages.iter().enumerate() {
            e.one_of(&usages.index(i), usage, &USAGES);
            if spec.usages[..i].contains(usage) {
                e.duplicate(&usages.index(i), usage);
            }
        }
        if spec.signer_name == "kubernetes.io/legacy-unknown" {
            e.invalid(
                &at.child("signerName"),
                &spec.signer_name,
                "the legacy signerName is not allowed via this API version",
            );
        } else {
            signer_name(e, &at.child("signerName"), &spec.signer_name);
        }
        if let Some(seconds) = spec.expiration_seconds.filter(|s| *s < SECONDS_MIN) {
            e.invalid(
                &at.child("expirationSeconds"),
                seconds,
                "may not specify a duration less than 600 seconds (10 minutes)",
            );
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        conditions_stay(e, self, old);
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        let at = status.child("certificate");
        let certificate = &self.status.certificate;
        if !old.status.certificate.0.is_empty() && *certificate != old.status.certificate {
            e.forbidden(&at, "updates may not set certificate content");
        }
        if !certificate.0.is_empty()
            && !certificate.0.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----")
        {
            e.invalid(&at, "<certificate data>", "must contain at least one CERTIFICATE PEM block");
        }
        conditions(e, self);
        conditions_stay(e, self, old);
    }

    fn check_subresource(&self, old: &Self, _name: &str, e: &mut Errs, _cx: &Context) {
        conditions(e, self);
        conditions_stay(e, self, old);
    }

    fn field(&self, label: &str) -> Option<Str> {
        (label == "spec.signerName").then(|| self.spec.signer_name.clone())
    }
}

/// Times that a client left out: when a condition was told, and since when it is as it is.
fn stamp(
    conditions: &mut List<CertificateSigningRequestCondition>,
    old: &CertificateSigningRequest,
    cx: &Context,
) {
    for condition in conditions.iter_mut() {
        condition.last_update_time = condition.last_update_time.or(cx.now);
        if condition.last_transition_time.is_none() {
            let mut known = old.status.conditions.iter();
            let same = known.find(|c| c.type_ == condition.type_ && c.status == condition.status);
            condition.last_transition_time = same.and_then(|c| c.last_transition_time).or(cx.now);
        }
    }
}

/// What is wrong with a request: that it is none, or that whoever made it does not hold its key.
fn request_problem(request: &[u8]) -> Option<&'static str> {
    let block = Pem::iter_from_buffer(request).next().and_then(Result::ok);
    let Some(block) = block.filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Some("PEM block type must be CERTIFICATE REQUEST");
    };
    let Ok((rest, parsed)) = X509CertificationRequest::from_der(&block.contents) else {
        return Some("x509: malformed certificate request");
    };
    if !rest.is_empty() {
        return Some("asn1: syntax error: trailing data");
    }
    // In Go's words, by the kind of key.
    let kind = parsed.certification_request_info.subject_pki.parsed().ok();
    parsed.verify_signature().is_err().then_some(match kind {
        Some(PublicKey::RSA(_)) => "crypto/rsa: verification error",
        Some(PublicKey::EC(_)) => "x509: ECDSA verification failure",
        _ => "x509: signature of the certificate request does not hold",
    })
}

/// The name of a signer: a domain and a path, such as `example.com/signer`.
fn signer_name(e: &mut Errs, at: &Path<'_>, name: &str) {
    if !e.present(at, name) {
        return;
    }
    let Some((domain, path)) = name.split_once('/') else {
        return e.invalid(
            at,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    };
    if path.contains('/') {
        return e.invalid(
            at,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    }
    for message in dns_subdomain(domain) {
        e.invalid(at, name, format!("validating label \"{domain}\": {message}"));
    }
    for label in domain.split('.') {
        for message in dns_label(label) {
            e.invalid(at, name, format!("validating label \"{label}\": {message}"));
        }
    }
    if domain.split('.').count() < 2 {
        e.invalid(at, name, "should be a domain with at least two segments separated by dots");
    }
    for message in dns_subdomain(path) {
        e.invalid(at, name, format!("validating label \"{path}\": {message}"));
    }
}

fn conditions(e: &mut Errs, csr: &CertificateSigningRequest) {
    let status = Path::root("status");
    let list = status.child("conditions");
    let has = |kind: &str| csr.status.conditions.iter().any(|c| c.type_ == kind);
    for (i, condition) in csr.status.conditions.iter().enumerate() {
        let at = list.index(i);
        e.present(&at.child("type"), &condition.type_);
        let decided = ["Approved", "Denied", "Failed"].contains(&condition.type_.as_str());
        match condition.status.as_str() {
            "" => e.required(&at.child("status"), ""),
            "True" => {}
            other if decided => e.unsupported(&at.child("status"), other, &["True"]),
            other => e.one_of(&at.child("status"), other, &["True", "False", "Unknown"]),
        }
        if csr.status.conditions[..i].iter().any(|c| c.type_ == condition.type_) {
            e.duplicate(&at.child("type"), &condition.type_);
        }
    }
    if has("Approved") && has("Denied") {
        let at = list.index(csr.status.conditions.len().saturating_sub(1));
        e.invalid(&at.child("type"), "Denied", "Approved and Denied conditions are mutually exclusive");
    }
}

/// A decision is not taken back.
fn conditions_stay(e: &mut Errs, new: &CertificateSigningRequest, old: &CertificateSigningRequest) {
    let status = Path::root("status");
    let at = status.child("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        let count =
            |c: &CertificateSigningRequest| c.status.conditions.iter().filter(|c| c.type_ == kind).count();
        let (now, then) = (count(new), count(old));
        if now < then {
            e.forbidden(&at, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    /// A request for `CN=jane`, made by its key's holder.
    const GOOD: &str = "-----BEGIN CERTIFICATE REQUEST-----\n\
        MIHXMH8CAQAwHTEMMAoGA1UECgwDZGV2MQ0wCwYDVQQDDARqYW5lMFkwEwYHKoZI\n\
        zj0CAQYIKoZIzj0DAQcDQgAE/3bdJptHw4UPvrE5koHccQ4sPJta00MpvlEeZDjY\n\
        QtlF7zuhn+h+QJql1xqORhrcRt2wbuWPAO54pOzEG50ynKAAMAoGCCqGSM49BAMC\n\
        A0gAMEUCIEJIUk6/pRFK8sXP/90z4WWSBa6NY1JMvlbmmCWC0PpnAiEAtMre4HOo\n\
        A355XjN02HiOZgbmxfFAbNRxtfmKpx2Jjj8=\n\
        -----END CERTIFICATE REQUEST-----\n";

    #[test]
    fn requests_are_of_those_who_hold_their_key() {
        assert_eq!(request_problem(GOOD.as_bytes()), None);
        let none = Some("PEM block type must be CERTIFICATE REQUEST");
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(request_problem(text.as_bytes()), none, "{text}");
        }
        let junk = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
        assert_eq!(request_problem(junk.as_bytes()), Some("x509: malformed certificate request"));
        let (_, block) = x509_parser::pem::parse_x509_pem(GOOD.as_bytes()).unwrap();
        let jane = block.contents.windows(4).position(|part| part == b"jane").unwrap();
        let mut forged = block.contents.clone();
        forged[jane] = b'J';
        let forged = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            base64::engine::general_purpose::STANDARD.encode(forged)
        );
        assert_eq!(request_problem(forged.as_bytes()), Some("x509: ECDSA verification failure"));
    }
}
