//! The certificate of the kubelet's API: a given one, one that the API issues, or one of its own making.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use kubelet::credentials::{self, Purpose};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use serving::{Pair, Pem};

/// A certificate of its own making under upstream's names, `kubelet.crt` and `kubelet.key`. What is there stays.
///
/// # Errors
/// When it cannot be made or written.
pub(super) fn own(folder: &Path, name: &str, ips: &[IpAddr]) -> Result<Pair> {
    let (certificate_file, key_file) = (folder.join("kubelet.crt"), folder.join("kubelet.key"));
    if !certificate_file.exists() || !key_file.exists() {
        let (certificate, key) = made(name, ips)?;
        env::create_private_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        write(&key_file, &key)?;
        write(&certificate_file, &certificate)?;
    }
    Ok(Pair { certificate: Pem::File(certificate_file), key: Pem::File(key_file) })
}

/// The link that leads to a certificate that the API issued; until there is one, to one of its own making.
///
/// # Errors
/// When that cannot be made or written.
pub(super) fn issued(folder: &Path, name: &str, ips: &[IpAddr]) -> Result<Pair> {
    let link = credentials::current(folder, &Purpose::Serving(ips.to_vec()));
    if !link.exists() {
        let (certificate, key) = made(name, ips)?;
        env::create_private_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        env::remove_optional(&link)?;
        write(&link, &(certificate + &key))?;
    }
    Ok(Pair { certificate: Pem::File(link.clone()), key: Pem::File(link) })
}

fn write(path: &Path, text: &str) -> Result<()> {
    env::write_atomic(path, text.as_bytes(), 0o600)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn made(name: &str, ips: &[IpAddr]) -> Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.subject_alt_names.extend(ips.iter().copied().map(SanType::IpAddress));
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_there_stays_and_keys_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("pki");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        own(&dir, "n1", &["192.0.2.1".parse().unwrap()]).unwrap();
        let first = read("kubelet.crt");
        own(&dir, "n1", &[]).unwrap();
        assert_eq!(read("kubelet.crt"), first);
        issued(&dir, "n1", &[]).unwrap();
        let both = read("kubelet-server-current.pem");
        assert!(both.contains("BEGIN CERTIFICATE") && both.contains("PRIVATE KEY"));
        for name in ["kubelet.key", "kubelet-server-current.pem"] {
            assert_eq!(std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o077, 0, "{name}");
        }
    }
}
