//! The cluster's certificates: made once, kept in one directory with mode 0600, renewed when less than a third of their
//! life is left. The set and the names in it are those of a kubeadm cluster.
//!
//! Start at [`Pki::open`]; [`crate::renewal`] calls it again in time.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use env::{LockFile, create_private_dir, write_atomic};
use serving::{Pair, Pem};

const CA_LIFE: Duration = Duration::days(3650);
const LEAF_LIFE: Duration = Duration::days(365);
/// Certificates are valid from a little before now, so that machines whose clocks differ trust them at once.
const BACKDATE: Duration = Duration::hours(1);

/// The certificates that authorities sign, each with its authority: what is renewed.
pub const LEAVES: [(&str, &str); 5] = [
    ("admin", "ca"),
    ("apiserver", "ca"),
    ("apiserver-kubelet-client", "ca"),
    ("front-proxy-client", "front-proxy-ca"),
    ("kubelet", "ca"),
];
/// The authorities.
pub const AUTHORITIES: [&str; 2] = ["ca", "front-proxy-ca"];
/// Public keys that signed ServiceAccount tokens once.
const RETIRED: &str = "sa-retired.pub";

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, followed by nothing: the authority is known to whoever verifies.
    pub certificate_pem: String,
    /// PKCS#8 key. Never logged.
    pub key_pem: String,
}

/// Every certificate and key that a server with its own node needs.
pub struct Pki {
    /// Signs all the certificates below.
    pub ca: Identity,
    /// Signs the front proxy's client certificate, and nothing else.
    pub front_proxy_ca: Identity,
    /// Serving certificate of the API server.
    pub apiserver: Identity,
    /// Client certificate by which the API server is known to kubelets.
    pub apiserver_kubelet_client: Identity,
    /// Client certificate by which the API server is known to extension API servers.
    pub front_proxy_client: Identity,
    /// The administrator, group `system:masters`.
    pub admin: Identity,
    /// Serving certificate of this node's kubelet.
    pub kubelet_server: Identity,
    /// Key pair that signs ServiceAccount tokens: the public half in place of a certificate.
    pub service_account: Identity,
    dir: PathBuf,
}

/// The names under which this member is reached.
pub struct Names {
    /// The node's name.
    pub node: String,
    /// Addresses of the machine and the API server's service address.
    pub addresses: Vec<IpAddr>,
    /// The cluster's DNS domain, `cluster.local` by default.
    pub domain: String,
}

impl Pki {
    /// Reads the certificates in `dir`, and makes those that are missing, foreign to the authority, near their end or
    /// without one of the `names`.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else than the PEM that belongs there.
    pub fn open(dir: &Path, names: &Names, now: OffsetDateTime) -> Result<Pki> {
        Pki::renew(dir, names, now, &[])
    }

    /// Like [`Pki::open`], and makes the certificates `anew`, by name, whatever is left of them.
    ///
    /// # Errors
    /// As above.
    pub fn renew(dir: &Path, names: &Names, now: OffsetDateTime, anew: &[&str]) -> Result<Pki> {
        let _lock = lock(dir)?;
        let workshop = Workshop { dir: dir.to_owned(), now, anew };
        let retired = dir.join(RETIRED);
        if !retired.exists() {
            write_atomic(&retired, b"", 0o600)
                .with_context(|| format!("cannot write {}", retired.display()))?;
        }
        let ca = workshop.authority("ca", "kubernetes")?;
        let front_proxy_ca = workshop.authority("front-proxy-ca", "front-proxy-ca")?;
        let server_names = server_names(names);
        let node_names: Vec<SanType> = std::iter::once(dns_name(&names.node))
            .chain(names.addresses.iter().map(|address| Ok(SanType::IpAddress(*address))))
            .collect::<Result<_>>()?;
        let node = format!("system:node:{}", names.node);
        Ok(Pki {
            apiserver: workshop.leaf(
                "apiserver",
                &ca,
                "kube-apiserver",
                "",
                server_names?,
                Purpose::ServerAuth,
            )?,
            apiserver_kubelet_client: workshop.leaf(
                "apiserver-kubelet-client",
                &ca,
                "kube-apiserver-kubelet-client",
                "kubeadm:cluster-admins",
                vec![],
                Purpose::ClientAuth,
            )?,
            front_proxy_client: workshop.leaf(
                "front-proxy-client",
                &front_proxy_ca,
                "front-proxy-client",
                "",
                vec![],
                Purpose::ClientAuth,
            )?,
            admin: workshop.leaf(
                "admin",
                &ca,
                "kubernetes-admin",
                "system:masters",
                vec![],
                Purpose::ClientAuth,
            )?,
            kubelet_server: workshop.leaf(
                "kubelet",
                &ca,
                &node,
                "system:nodes",
                node_names,
                Purpose::ServerAuth,
            )?,
            service_account: workshop.signing_key("sa")?,
            ca,
            front_proxy_ca,
            dir: workshop.dir.clone(),
        })
    }

    /// When the first of the certificates is to be renewed; at once when one cannot be read.
    pub fn due(&self) -> OffsetDateTime {
        let own = [
            &self.apiserver,
            &self.apiserver_kubelet_client,
            &self.front_proxy_client,
            &self.admin,
            &self.kubelet_server,
        ];
        let ends = own.map(|identity| ends(identity.certificate_pem.as_bytes()));
        ends.into_iter().flatten().min().map_or(OffsetDateTime::UNIX_EPOCH, renewed_from)
    }

    /// The public keys that signed ServiceAccount tokens once and still verify them.
    pub fn retired_keys(&self) -> Pem {
        Pem::File(self.dir.join(RETIRED))
    }

    /// The files of a certificate and its key, for who follows them.
    pub fn files(&self, name: &str) -> Pair {
        let file = |suffix: &str| Pem::File(self.dir.join(format!("{name}.{suffix}")));
        Pair { certificate: file("crt"), key: file("key") }
    }
}

/// Two processes that make the same certificate would part key and certificate.
fn lock(dir: &Path) -> Result<LockFile> {
    create_private_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(LockFile::acquire(&dir.join(".lock"))?)
}

/// When a PEM certificate ends.
pub fn ends(pem: &[u8]) -> Option<OffsetDateTime> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&pem.contents).ok()?;
    OffsetDateTime::from_unix_timestamp(certificate.validity().not_after.timestamp()).ok()
}

/// When a certificate that ends then is renewed.
pub fn renewed_from(end: OffsetDateTime) -> OffsetDateTime {
    end - LEAF_LIFE / 3
}

/// Makes a new key that signs ServiceAccount tokens from now on. The old one verifies its tokens until it is forgotten.
///
/// # Errors
/// A file cannot be read or written.
pub fn rotate_service_account_key(dir: &Path) -> Result<()> {
    let _lock = lock(dir)?;
    let retired = dir.join(RETIRED);
    let old = fs::read(dir.join("sa.crt")).context("there is no key to rotate")?;
    let mut all = env::read_optional(&retired).context("cannot read the retired keys")?.unwrap_or_default();
    all.extend(old);
    // The old key verifies as a retired one before it goes as the one that signs.
    write_atomic(&retired, &all, 0o600).with_context(|| format!("cannot write {}", retired.display()))?;
    let workshop = Workshop { dir: dir.to_owned(), now: OffsetDateTime::UNIX_EPOCH, anew: &["sa"] };
    workshop.signing_key("sa").map(drop)
}

/// Ends every ServiceAccount token that a retired key signed. Answers how many keys were forgotten.
///
/// # Errors
/// A file cannot be read or written.
pub fn forget_retired_keys(dir: &Path) -> Result<usize> {
    let _lock = lock(dir)?;
    let retired = dir.join(RETIRED);
    let text = env::read_optional(&retired).context("cannot read the retired keys")?.unwrap_or_default();
    let keys = String::from_utf8_lossy(&text).matches("-----BEGIN ").count();
    write_atomic(&retired, b"", 0o600).with_context(|| format!("cannot write {}", retired.display()))?;
    Ok(keys)
}

fn dns_name(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(name.try_into().with_context(|| format!("{name:?} cannot stand in a certificate"))?))
}

fn server_names(names: &Names) -> Result<Vec<SanType>> {
    let service = "kubernetes.default.svc";
    let full = format!("{service}.{}", names.domain);
    ["kubernetes", "kubernetes.default", service, &full, "localhost", &names.node]
        .into_iter()
        .map(dns_name)
        .chain(names.addresses.iter().map(|address| Ok(SanType::IpAddress(*address))))
        .collect()
}

/// Where certificates are made and kept.
struct Workshop<'a> {
    dir: PathBuf,
    now: OffsetDateTime,
    /// What is made anew whatever is left of it.
    anew: &'a [&'a str],
}

impl Workshop<'_> {
    fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")))
    }

    fn stored(&self, name: &str) -> Result<Option<Identity>> {
        let (certificate, key) = self.paths(name);
        if !certificate.exists() || !key.exists() {
            return Ok(None);
        }
        let read =
            |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(Some(Identity { certificate_pem: read(&certificate)?, key_pem: read(&key)? }))
    }

    /// The key is written first: a certificate on disk always has its key.
    fn keep(&self, name: &str, identity: Identity) -> Result<Identity> {
        let (certificate, key) = self.paths(name);
        for (path, pem) in [(key, &identity.key_pem), (certificate, &identity.certificate_pem)] {
            write_atomic(&path, pem.as_bytes(), 0o600)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(identity)
    }

    fn authority(&self, name: &str, common_name: &str) -> Result<Identity> {
        if let Some(identity) = self.stored(name)? {
            return Ok(identity);
        }
        let mut params = self.params(common_name, "", vec![], CA_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        self.keep(name, Identity { certificate_pem, key_pem: key.serialize_pem() })
    }

    fn leaf(
        &self,
        name: &str,
        authority: &Identity,
        common_name: &str,
        organization: &str,
        names: Vec<SanType>,
        purpose: Purpose,
    ) -> Result<Identity> {
        if let Some(identity) = self.stored(name)?
            && !self.anew.contains(&name)
            && self.still_good(&identity, authority, &names)
        {
            return Ok(identity);
        }
        let mut params = self.params(common_name, organization, names, LEAF_LIFE);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let authority_key =
            KeyPair::from_pem(&authority.key_pem).context("the authority's key is damaged")?;
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate_pem, authority_key)?;
        let key = KeyPair::generate()?;
        let certificate_pem = params.signed_by(&key, &issuer)?.pem();
        self.keep(name, Identity { certificate_pem, key_pem: key.serialize_pem() })
    }

    fn signing_key(&self, name: &str) -> Result<Identity> {
        if let Some(identity) = self.stored(name)?.filter(|_| !self.anew.contains(&name)) {
            return Ok(identity);
        }
        let key = KeyPair::generate()?;
        self.keep(name, Identity { certificate_pem: key.public_key_pem(), key_pem: key.serialize_pem() })
    }

    fn params(
        &self,
        common_name: &str,
        organization: &str,
        names: Vec<SanType>,
        life: Duration,
    ) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        if !organization.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.subject_alt_names = names;
        params.not_before = self.now - BACKDATE;
        params.not_after = self.now + life;
        params.use_authority_key_identifier_extension = true;
        params
    }

    /// Whether a stored certificate was signed by the authority, has a third of its life before it, and all the names.
    fn still_good(&self, identity: &Identity, authority: &Identity, names: &[SanType]) -> bool {
        let parse =
            |pem: &str| x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok().map(|(_, pem)| pem.contents);
        let (Some(leaf), Some(ca)) = (parse(&identity.certificate_pem), parse(&authority.certificate_pem))
        else {
            return false;
        };
        let (Ok((_, leaf)), Ok((_, ca))) =
            (x509_parser::parse_x509_certificate(&leaf), x509_parser::parse_x509_certificate(&ca))
        else {
            return false;
        };
        let ends = leaf.validity().not_after.timestamp();
        let due_s =
            OffsetDateTime::from_unix_timestamp(ends).map_or(0, |end| renewed_from(end).unix_timestamp());
        let present = leaf.subject_alternative_name().ok().flatten();
        let has = |wanted: &SanType| {
            present.as_ref().is_some_and(|found| {
                found.value.general_names.iter().any(|name| match (name, wanted) {
                    (x509_parser::extensions::GeneralName::DNSName(name), SanType::DnsName(wanted)) => {
                        *name == wanted.as_str()
                    }
                    (x509_parser::extensions::GeneralName::IPAddress(bytes), SanType::IpAddress(wanted)) => {
                        match wanted {
                            IpAddr::V4(address) => *bytes == address.octets(),
                            IpAddr::V6(address) => *bytes == address.octets(),
                        }
                    }
                    _ => false,
                })
            })
        };
        leaf.verify_signature(Some(ca.public_key())).is_ok()
            && due_s > self.now.unix_timestamp()
            && names.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(addresses: &[&str]) -> Names {
        Names {
            node: "n1".into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            domain: "cluster.local".into(),
        }
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap()
    }

    #[test]
    fn certificates_are_renewed_in_time_or_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let names = names(&["127.0.0.1"]);
        let first = Pki::open(dir.path(), &names, now()).unwrap();
        let due = first.due();
        assert_eq!((due - now()).whole_days(), 243);
        let before = Pki::open(dir.path(), &names, due - Duration::seconds(1)).unwrap();
        assert_eq!(before.kubelet_server.certificate_pem, first.kubelet_server.certificate_pem);
        let after = Pki::open(dir.path(), &names, due).unwrap();
        assert_ne!(after.kubelet_server.certificate_pem, first.kubelet_server.certificate_pem);
        assert_ne!(after.front_proxy_client.certificate_pem, first.front_proxy_client.certificate_pem);
        assert_eq!(after.ca.certificate_pem, first.ca.certificate_pem);
        assert!(after.due() > due + Duration::days(242));
        let asked = Pki::renew(dir.path(), &names, due, &["admin"]).unwrap();
        assert_ne!(asked.admin.key_pem, after.admin.key_pem);
        assert_eq!(asked.apiserver.key_pem, after.apiserver.key_pem);
    }

    #[test]
    fn a_key_that_was_rotated_verifies_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path(), &names(&["127.0.0.1"]), now()).unwrap();
        rotate_service_account_key(dir.path()).unwrap();
        rotate_service_account_key(dir.path()).unwrap();
        let third = Pki::open(dir.path(), &names(&["127.0.0.1"]), now()).unwrap();
        assert_ne!(third.service_account.key_pem, first.service_account.key_pem);
        let retired = String::from_utf8(third.retired_keys().read().unwrap()).unwrap();
        assert!(retired.starts_with(&first.service_account.certificate_pem));
        assert_eq!(retired.matches("BEGIN PUBLIC KEY").count(), 2);
        assert_eq!(forget_retired_keys(dir.path()).unwrap(), 2);
        assert!(third.retired_keys().read().unwrap().is_empty());
    }

    #[test]
    fn certificates_stay_until_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path(), &names(&["127.0.0.1", "10.96.0.1"]), now()).unwrap();
        let again = Pki::open(dir.path(), &names(&["127.0.0.1", "10.96.0.1"]), now()).unwrap();
        assert_eq!(first.apiserver.certificate_pem, again.apiserver.certificate_pem);
        assert_eq!(first.service_account.key_pem, again.service_account.key_pem);

        let moved = Pki::open(dir.path(), &names(&["127.0.0.1", "10.96.0.1", "192.0.2.7"]), now()).unwrap();
        assert_ne!(
            first.apiserver.certificate_pem, moved.apiserver.certificate_pem,
            "a new address is missing"
        );
        assert_eq!(first.ca.certificate_pem, moved.ca.certificate_pem);
        assert_eq!(first.admin.certificate_pem, moved.admin.certificate_pem);
    }

    #[test]
    fn a_new_authority_replaces_every_leaf() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path(), &names(&["127.0.0.1"]), now()).unwrap();
        fs::remove_file(dir.path().join("ca.crt")).unwrap();
        let second = Pki::open(dir.path(), &names(&["127.0.0.1"]), now()).unwrap();
        assert_ne!(first.admin.certificate_pem, second.admin.certificate_pem);
        assert_eq!(first.front_proxy_client.certificate_pem, second.front_proxy_client.certificate_pem);
    }

    #[test]
    fn keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        Pki::open(dir.path(), &names(&["127.0.0.1"]), now()).unwrap();
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
        }
    }
}
