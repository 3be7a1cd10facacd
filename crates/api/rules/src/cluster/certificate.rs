//! The group `certificates.k8s.io`: CertificateSigningRequest.

use crate::check::{BadValue, Errs, dns_label, dns_subdomain, metadata};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{List, Str};
use types::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use x509_parser::asn1_rs::{Class, Header, Tag};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

/// Most bytes of a domain name.
const NAME_BYTES_MAX: usize = 253;
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
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
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
        // Approval and denial come through the subresource of that name only. What is neither added nor removed stays as
        // it was; the rest is refused when it is checked.
        for kind in ["Approved", "Denied"] {
            let before: Vec<_> = instances(old, kind).cloned().collect();
            if instances(self, kind).count() == before.len() {
                let now = self.status.conditions.iter_mut().filter(|c| c.type_ == kind);
                now.zip(before).for_each(|(now, before)| *now = before);
            }
        }
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
        updated_metadata(e, self, old);
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        let at = status.child("certificate");
        let changed = self.status.certificate != old.status.certificate;
        object_metadata(e, self);
        conditions(e, self, old);
        if let Some(problem) = certificate_problem(&self.status.certificate.0).filter(|_| changed) {
            e.invalid(&at, "<certificate data>", problem);
        }
        conditions_stay(e, self, old);
        decisions_stay(e, self, old);
        if changed && !old.status.certificate.0.is_empty() {
            e.forbidden(&at, "updates may not modify existing certificate content");
        }
        updated_metadata(e, self, old);
    }

    fn check_subresource(&self, old: &Self, _name: &str, e: &mut Errs, _cx: &Context) {
        object_metadata(e, self);
        conditions(e, self, old);
        conditions_stay(e, self, old);
        updated_metadata(e, self, old);
    }

    fn field(&self, label: &str) -> Option<Str> {
        (label == "spec.signerName").then(|| self.spec.signer_name.clone())
    }
}

/// The metadata of a request as of any object. Whatever writes to a request has it looked at again.
fn object_metadata(e: &mut Errs, request: &CertificateSigningRequest) {
    metadata::create(e, &request.metadata, false, CertificateSigningRequest::NAME);
    metadata::known_finalizers(e, &request.metadata);
}

/// What an update may not do to the metadata comes last.
fn updated_metadata(e: &mut Errs, new: &CertificateSigningRequest, old: &CertificateSigningRequest) {
    metadata::update(e, &new.metadata, &old.metadata);
    metadata::known_finalizers(e, &new.metadata);
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
fn request_problem(request: &[u8]) -> Option<String> {
    let block = Pem::iter_from_buffer(request).next().and_then(Result::ok);
    let Some(block) = block.filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Some("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    let Ok((rest, parsed)) = X509CertificationRequest::from_der(&block.contents) else {
        return Some(
            no_sequence(&block.contents).unwrap_or("x509: malformed certificate request".to_owned()),
        );
    };
    if !rest.is_empty() {
        return Some("asn1: syntax error: trailing data".to_owned());
    }
    // In Go's words, by the kind of key.
    let kind = parsed.certification_request_info.subject_pki.parsed().ok();
    let why = match kind {
        Some(PublicKey::RSA(_)) => "crypto/rsa: verification error",
        Some(PublicKey::EC(_)) => "x509: ECDSA verification failure",
        _ => "x509: signature of the certificate request does not hold",
    };
    parsed.verify_signature().is_err().then(|| why.to_owned())
}

/// What Go says of bytes that are not one sequence.
fn no_sequence(der: &[u8]) -> Option<String> {
    let syntax = |why: &str| Some(format!("asn1: syntax error: {why}"));
    if der.is_empty() {
        return syntax("sequence truncated");
    }
    let Ok((rest, header)) = Header::from_der(der) else { return syntax("truncated tag or length") };
    let Ok(length) = header.length().definite() else { return syntax("indefinite length found (not DER)") };
    if header.tag() != Tag::Sequence || header.class() != Class::Universal || !header.is_constructed() {
        return Some(format!(
            "asn1: structure error: tags don't match (16 vs {{class:{} tag:{} length:{length} isCompound:{}}}) {{optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false}} certificateRequest @{}",
            header.class() as u8,
            header.tag().0,
            header.is_constructed(),
            der.len() - rest.len()
        ));
    }
    if length > rest.len() { syntax("data truncated") } else { None }
}

/// What is wrong with certificates.
fn certificate_problem(pem: &[u8]) -> Option<String> {
    if pem.is_empty() {
        return None;
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(pem).map_while(Result::ok) {
        if block.label != "CERTIFICATE" {
            let found = meta::go_quote(&block.label);
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {found}"));
        }
        blocks += 1;
        let mut rest = block.contents.as_slice();
        if rest.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        while !rest.is_empty() {
            match X509Certificate::from_der(rest) {
                Ok((after, _)) => rest = after,
                Err(_) => return Some("x509: malformed certificate".to_owned()),
            }
        }
    }
    (blocks == 0).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
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
    if domain.len() > NAME_BYTES_MAX {
        e.too_long(at, NAME_BYTES_MAX);
    }
    // Of each part the first segment that is wrong is told.
    let segments = |e: &mut Errs, part: &str, check: &dyn Fn(&str) -> meta::names::Messages| {
        let wrong =
            part.split('.').map(|label| (label, check(label))).find(|(_, messages)| !messages.is_empty());
        for (label, message) in
            wrong.iter().flat_map(|(label, messages)| messages.iter().map(move |m| (label, m)))
        {
            e.invalid(at, part, format!("validating label {}: {message}", meta::go_quote(label)));
        }
    };
    segments(e, domain, &dns_label);
    if !domain.contains('.') {
        e.invalid(at, domain, "should be a domain with at least two segments separated by dots");
    }
    segments(e, path, &dns_subdomain);
    const MAX: usize = 2 * NAME_BYTES_MAX + 63 + 2;
    if name.len() > MAX {
        e.too_long(at, MAX);
    }
}

/// The conditions of a type.
fn instances<'a>(
    csr: &'a CertificateSigningRequest,
    kind: &'a str,
) -> impl Iterator<Item = &'a CertificateSigningRequestCondition> {
    csr.status.conditions.iter().filter(move |c| c.type_ == kind)
}

/// Checks the conditions; what was wrong before is borne.
fn conditions(e: &mut Errs, csr: &CertificateSigningRequest, old: &CertificateSigningRequest) {
    let status = Path::root("status");
    let list = status.child("conditions");
    let before = &old.status.conditions;
    let had = |kind: &str| instances(old, kind).next().is_some();
    let both = had("Approved") && had("Denied");
    let repeated = (0..before.len()).any(|i| before[..i].iter().any(|c| c.type_ == before[i].type_));
    let mut decided: Option<&Str> = None;
    for (i, condition) in csr.status.conditions.iter().enumerate() {
        let at = list.index(i);
        let kind = &condition.type_;
        if kind.is_empty() && !had("") {
            e.required(&at.child("type"), "");
        }
        let always = ["Approved", "Denied", "Failed"].contains(&kind.as_str());
        match condition.status.as_str() {
            "" => e.required(&at.child("status"), ""),
            "True" => {}
            other if always => e.unsupported(&at.child("status"), other, &["True"]),
            other => e.one_of(&at.child("status"), other, &["False", "True", "Unknown"]),
        }
        if !both && (kind == "Approved" || kind == "Denied") {
            if decided.is_some_and(|other| other != kind) {
                e.invalid(&list, kind, "Approved and Denied conditions are mutually exclusive");
            }
            decided = decided.or(Some(kind));
        }
        if !repeated && csr.status.conditions[..i].iter().any(|c| c.type_ == *kind) {
            e.duplicate(&at.child("type"), kind);
        }
    }
}

/// A decision is made through the subresource of that name only.
fn decisions_stay(e: &mut Errs, new: &CertificateSigningRequest, old: &CertificateSigningRequest) {
    let status = Path::root("status");
    let at = status.child("conditions");
    for kind in ["Approved", "Denied"] {
        if instances(new, kind).count() > instances(old, kind).count() {
            e.forbidden(&at, format!("updates may not add a condition of type \"{kind}\""));
        }
    }
}

/// A decision is not taken back.
fn conditions_stay(e: &mut Errs, new: &CertificateSigningRequest, old: &CertificateSigningRequest) {
    let status = Path::root("status");
    let at = status.child("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        if instances(new, kind).count() < instances(old, kind).count() {
            e.forbidden(&at, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use meta::Codec as _;

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
        let none = Some("PEM block type must be CERTIFICATE REQUEST".to_owned());
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(request_problem(text.as_bytes()), none, "{text}");
        }
        let junk = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
        let wanted = "asn1: structure error: tags don't match (16 vs {class:0 tag:0 length:0 isCompound:false}) {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false} certificateRequest @2";
        assert_eq!(request_problem(junk.as_bytes()).as_deref(), Some(wanted));
        let (_, block) = x509_parser::pem::parse_x509_pem(GOOD.as_bytes()).unwrap();
        let jane = block.contents.windows(4).position(|part| part == b"jane").unwrap();
        let mut forged = block.contents.clone();
        forged[jane] = b'J';
        let forged = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            base64::engine::general_purpose::STANDARD.encode(forged)
        );
        assert_eq!(request_problem(forged.as_bytes()).as_deref(), Some("x509: ECDSA verification failure"));
    }

    #[test]
    fn decisions_and_certificates_of_a_status() {
        let of = |conditions: serde_json::Value, certificate: &str| {
            let certificate = base64::engine::general_purpose::STANDARD.encode(certificate);
            let json = serde_json::json!({ "metadata": { "name": "r", "resourceVersion": "1" }, "status": { "conditions": conditions, "certificate": certificate } });
            CertificateSigningRequest::from_json(json.to_string().as_bytes()).unwrap()
        };
        let condition = |kind: &str, status: &str| serde_json::json!({ "type": kind, "status": status });
        let none = of(serde_json::json!([]), "");
        let list = |conditions: &[serde_json::Value]| of(serde_json::Value::from(conditions.to_vec()), "");
        let (approved, denied) = (condition("Approved", "True"), condition("Denied", "True"));
        let add = |kind: &str| {
            format!("status.conditions: Forbidden: updates may not add a condition of type \"{kind}\"")
        };
        for (new, wanted) in [
            (list(&[condition("Failed", "True")]), vec![]),
            (list(std::slice::from_ref(&approved)), vec![add("Approved")]),
            (
                list(&[approved.clone(), denied]),
                vec![
                    "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
                        .to_owned(),
                    add("Approved"),
                    add("Denied"),
                ],
            ),
            (
                list(&[condition("Foo", "True"), condition("Foo", "X")]),
                vec![
                    "status.conditions[1].status: Unsupported value: \"X\": supported values: \"False\", \"True\", \"Unknown\""
                        .to_owned(),
                    "status.conditions[1].type: Duplicate value: \"Foo\"".to_owned(),
                ],
            ),
            (
                of(serde_json::json!([]), "x"),
                vec![
                    "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"
                        .to_owned(),
                ],
            ),
            (
                of(serde_json::json!([]), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                vec!["status.certificate: Invalid value: \"<certificate data>\": x509: malformed certificate".to_owned()],
            ),
        ] {
            let mut e = Errs::default();
            new.check_status(&none, &mut e, &Context::default());
            let found: Vec<String> = e.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted);
        }
        // What a status says of decisions that were made does not count.
        let mut new = list(&[serde_json::json!({ "type": "Approved", "status": "True", "reason": "other" })]);
        let old = list(&[serde_json::json!({ "type": "Approved", "status": "True", "reason": "why" })]);
        new.prepare_status(&old, &Context::default());
        assert_eq!(new.status.conditions[0].reason, "why");
    }
}
