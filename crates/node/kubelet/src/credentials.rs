//! The node's certificates, asked for over the API and asked for again before they end: `rotateCertificates` for the one
//! that says who the node is, `serverTLSBootstrap` for the one of the kubelet's own API.
//!
//! Each is one file, certificate and key together, behind the link `kubelet-<purpose>-current.pem`, as upstream's kubelet
//! keeps it. Whoever uses it follows the link. A request is approved by a controller or a person; until then, and when it is
//! refused, the old certificate stays.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use call::Target;
use client::Client;
use env::Env;
use informer::{Cache, Reflection, reflect};
use meta::{ByteString, Status, Time};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use types::certificates::v1::CertificateSigningRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a request may wait for its certificate before another one is made.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Pauses after a failure: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// What a certificate is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Says who the node is.
    Client,
    /// Serves the kubelet's API under the node's name and these addresses.
    Serving(Vec<IpAddr>),
}

impl Purpose {
    fn name(&self) -> &'static str {
        match self {
            Purpose::Client => "client",
            Purpose::Serving(_) => "server",
        }
    }
}

/// A certificate that is kept fresh.
pub struct Rotation {
    /// Asks, as the node; for the first certificate, with a bootstrap token.
    pub client: Client,
    /// Clock and randomness.
    pub env: Env,
    /// Name of the node.
    pub node_name: String,
    /// What the certificate is for.
    pub purpose: Purpose,
    /// Where it is kept (`/var/lib/kubelet/pki`).
    pub folder: PathBuf,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum RotationError {
    /// The API refused or was not reached. Worth another try.
    #[error("{}", .0.message)]
    Api(Box<Status>),
    /// The request was denied, or its signer found it wrong. Another one may fare better.
    #[error("certificate signing request {name} was refused: {why}")]
    Refused {
        /// Name of the request.
        name: String,
        /// What its condition says.
        why: String,
    },
    /// Nobody approved or signed it. Worth another request.
    #[error("certificate signing request {0} was not answered in time")]
    Unanswered(String),
    /// What was issued is no certificate of the key that was made for it.
    #[error("the certificate that was issued for {0} is not the one that was asked for")]
    Foreign(String),
    /// No request can be made of the names.
    #[error("no certificate can be asked for: {0}")]
    Request(#[from] rcgen::Error),
    /// The files cannot be written. Worth another try.
    #[error("cannot keep the certificate: {0}")]
    Disk(#[from] std::io::Error),
}

/// The link to the certificate of a purpose.
pub fn current(folder: &Path, purpose: &Purpose) -> PathBuf {
    folder.join(format!("kubelet-{}-current.pem", purpose.name()))
}

impl Rotation {
    /// Keeps the certificate fresh until dropped.
    pub async fn run(self) {
        loop {
            let kept = std::fs::read(current(&self.folder, &self.purpose)).ok();
            let fraction = 0.7 + 0.2 * self.env.random.fraction();
            let due_s = kept.and_then(|pem| due_s(&pem, self.issued_here(), fraction)).unwrap_or(i64::MIN);
            let now_s = self.env.unix_ms().div_euclid(1000);
            match u64::try_from(due_s.saturating_sub(now_s)) {
                // A day at most: the time that a machine sleeps does not count for timers.
                Ok(left_s @ 1..) => self.env.sleep(Duration::from_secs(left_s.min(24 * 3600))).await,
                _ => self.obtain().await,
            }
        }
    }

    /// Asks for a certificate until there is one: the first, or the next.
    pub async fn obtain(&self) {
        let mut pause = PAUSES.0;
        while let Err(error) = self.renew().await {
            tracing::warn!(purpose = self.purpose.name(), %error, "the node has no new certificate");
            self.env.sleep(self.env.random.jitter(pause, 0.1)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Whether the link leads to a certificate that this code asked for, and not to one that was put there for the start.
    fn issued_here(&self) -> bool {
        std::fs::read_link(current(&self.folder, &self.purpose)).is_ok()
    }

    async fn renew(&self) -> Result<(), RotationError> {
        let key = KeyPair::generate()?;
        let request = self.request(&key)?;
        let created = self.client.all::<CertificateSigningRequest>().create(request).await;
        let name = created.map_err(|status| RotationError::Api(Box::new(status)))?.metadata.name.to_string();
        let certificate = self.answer(&name).await?;
        if !belongs(&certificate, &key) {
            return Err(RotationError::Foreign(name));
        }
        let now = Time::from_unix(self.env.unix_ms().div_euclid(1000));
        keep(&self.folder, &self.purpose, &certificate, &key.serialize_pem(), now)?;
        tracing::info!(purpose = self.purpose.name(), request = name, "the node has a new certificate");
        Ok(())
    }

    fn request(&self, key: &KeyPair) -> Result<CertificateSigningRequest, RotationError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{}", self.node_name));
        let (signer, usage) = match &self.purpose {
            Purpose::Client => ("kubernetes.io/kube-apiserver-client-kubelet", "client auth"),
            Purpose::Serving(addresses) => {
                params.subject_alt_names = vec![SanType::DnsName(self.node_name.as_str().try_into()?)];
                params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
                ("kubernetes.io/kubelet-serving", "server auth")
            }
        };
        let pem = params.serialize_request(key)?.pem()?;
        let mut csr = CertificateSigningRequest::default();
        csr.metadata.generate_name = "csr-".into();
        csr.spec.request = ByteString(pem.into_bytes());
        csr.spec.signer_name = signer.into();
        csr.spec.usages = ["digital signature".into(), usage.into()].into_iter().collect();
        Ok(csr)
    }

    /// The certificate that is issued for a request.
    async fn answer(&self, name: &str) -> Result<Vec<u8>, RotationError> {
        let cache: Arc<Cache<CertificateSigningRequest>> = Arc::new(Cache::new());
        let news = cache.changes();
        let mut what = Reflection::of(Target::of::<CertificateSigningRequest>(""));
        what.field_selector = format!("metadata.name={name}").into();
        let following = reflect(self.client.clone(), what, self.env.clone(), cache.clone());
        let _following = env::spawn("certificate-request", following);
        let waiting = async {
            loop {
                if let Some(answer) = cache.get("", name).and_then(|csr| verdict(&csr)) {
                    return answer;
                }
                news.notified().await;
            }
        };
        tokio::select! {
            answer = waiting => answer.map_err(|why| RotationError::Refused { name: name.to_owned(), why }),
            () = self.env.sleep(PATIENCE) => Err(RotationError::Unanswered(name.to_owned())),
        }
    }
}

/// The certificate of a request, or why there will be none; `None` while that is open.
fn verdict(csr: &CertificateSigningRequest) -> Option<Result<Vec<u8>, String>> {
    let refused = |kind: &str| kind == "Denied" || kind == "Failed";
    if let Some(refusal) = csr.status.conditions.iter().find(|c| refused(&c.type_)) {
        return Some(Err(format!("{} {}: {}", refusal.type_, refusal.reason, refusal.message)));
    }
    let issued = &csr.status.certificate.0;
    (!issued.is_empty()).then(|| Ok(issued.clone()))
}

/// Whether the first certificate of a PEM text says that it still holds, seconds since 1970.
pub fn holds(pem: &[u8], now_s: i64) -> bool {
    parsed(pem, |certificate| certificate.validity().not_after.timestamp() >= now_s).unwrap_or(false)
}

fn parsed<T>(pem: &[u8], read: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let certificate = x509_parser::pem::Pem::iter_from_buffer(pem)
        .filter_map(Result::ok)
        .find(|block| block.label == "CERTIFICATE")?;
    let (_, certificate) = X509Certificate::from_der(&certificate.contents).ok()?;
    Some(read(&certificate))
}

/// When a certificate is to be renewed, after this fraction of its life; `None` for at once.
fn due_s(pem: &[u8], issued_here: bool, fraction: f64) -> Option<i64> {
    let (begins, ends) = parsed(pem, |certificate| {
        let validity = certificate.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    })?;
    issued_here.then(|| begins + ((ends - begins) as f64 * fraction) as i64)
}

fn belongs(certificate: &[u8], key: &KeyPair) -> bool {
    parsed(certificate, |found| found.public_key().raw == rcgen::PublicKeyData::subject_public_key_info(key))
        .unwrap_or(false)
}

/// Writes certificate and key into a file of their own and turns the link to it, at once and for good. Of older files, the
/// last one stays.
fn keep(
    folder: &Path,
    purpose: &Purpose,
    certificate: &[u8],
    key: &str,
    now: Time,
) -> Result<(), std::io::Error> {
    let prefix = format!("kubelet-{}-", purpose.name());
    let link = current(folder, purpose);
    let before = std::fs::read_link(&link).ok();
    let file = format!("{prefix}{}.pem", now.to_string().trim_end_matches('Z').replace(['T', ':'], "-"));
    let mut text = certificate.to_vec();
    text.extend_from_slice(key.as_bytes());
    env::create_private_dir(folder)?;
    env::write_atomic(&folder.join(&file), &text, 0o600)?;
    let beside = folder.join(format!("{prefix}next.pem"));
    env::remove_optional(&beside)?;
    std::os::unix::fs::symlink(&file, &beside)?;
    std::fs::rename(&beside, &link)?;
    env::sync_dir(folder)?;
    for entry in std::fs::read_dir(folder)?.filter_map(Result::ok) {
        let name = entry.file_name();
        let own = name.to_str().is_some_and(|name| name.starts_with(&prefix));
        let needed =
            entry.path() == link || name == *file || before.as_ref().is_some_and(|old| *old == *name);
        if own && !needed {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use types::certificates::v1::CertificateSigningRequestCondition;

    use super::*;

    fn made(life_days: i64) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = params.not_before + Duration::from_secs(life_days.unsigned_abs() * 86_400);
        (params.self_signed(&key).unwrap().pem(), key)
    }

    #[test]
    fn answers_are_waited_for() {
        let mut csr = CertificateSigningRequest::default();
        assert!(verdict(&csr).is_none());
        let condition = |kind: &str| CertificateSigningRequestCondition {
            type_: kind.into(),
            reason: "No".into(),
            message: "never".into(),
            ..CertificateSigningRequestCondition::default()
        };
        csr.status.conditions.push(condition("Approved"));
        assert!(verdict(&csr).is_none(), "approved is not issued");
        csr.status.certificate = ByteString(b"pem".to_vec());
        assert_eq!(verdict(&csr), Some(Ok(b"pem".to_vec())));
        csr.status.conditions.push(condition("Failed"));
        assert_eq!(verdict(&csr), Some(Err("Failed No: never".to_owned())));
    }

    #[test]
    fn certificates_are_renewed_before_they_end() {
        let begins = 1_767_225_600;
        let (pem, key) = made(100);
        assert_eq!(due_s(pem.as_bytes(), true, 0.7), Some(begins + 70 * 86_400));
        assert_eq!(due_s(pem.as_bytes(), false, 0.7), None, "what was there for the start is replaced");
        assert_eq!(due_s(b"nonsense", true, 0.7), None);
        assert!(belongs(pem.as_bytes(), &key));
        assert!(!belongs(pem.as_bytes(), &made(1).1));
        let ends = begins + 100 * 86_400;
        assert!(holds(pem.as_bytes(), ends) && !holds(pem.as_bytes(), ends + 1) && !holds(b"nonsense", 0));
    }

    #[test]
    fn the_link_leads_to_the_newest_and_the_last_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (pem, key) = made(1);
        let link = current(folder.path(), &Purpose::Client);
        std::fs::write(folder.path().join("kubelet-server-2026.pem"), "another's").unwrap();
        for second in 0..4 {
            let now = Time::from_unix(1_767_225_600 + second);
            keep(folder.path(), &Purpose::Client, pem.as_bytes(), &key.serialize_pem(), now).unwrap();
        }
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("kubelet-client-2026-01-01-00-00-03.pem"));
        assert_eq!(std::fs::metadata(&link).unwrap().permissions().mode() & 0o077, 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
        let both = std::fs::read_to_string(&link).unwrap();
        assert!(both.contains("BEGIN CERTIFICATE") && both.contains("PRIVATE KEY"));
    }
}
