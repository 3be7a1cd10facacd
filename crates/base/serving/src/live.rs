//! TLS that follows its files, for servers that judge client certificates at the handshake.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::chosen::{Chosen, Material};
use crate::follow::Followed;
use crate::pem::{Pem, TlsError, roots};

/// See the module.
#[derive(Debug)]
pub struct Live {
    material: Material,
    authorities: Vec<Pem>,
    current: ArcSwap<Current>,
}

/// What the files held last.
#[derive(Debug)]
struct Current {
    chosen: Chosen,
    /// By authority; none for one that vouches for nobody.
    verifiers: Vec<Option<Arc<dyn ClientCertVerifier>>>,
}

impl Live {
    /// Loads the files. Clients may show certificates of any of these authorities, or none; an empty one vouches for nobody.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should.
    pub fn new(material: Material, authorities: Vec<Pem>) -> Result<(Arc<Live>, Followed), TlsError> {
        let mut files = material.files();
        files.extend(authorities.iter().filter_map(|one| one.file().map(ToOwned::to_owned)));
        let followed = Followed::new("TLS", files);
        let current = ArcSwap::from_pointee(load(&material, &authorities)?);
        Ok((Arc::new(Live { material, authorities, current }), followed))
    }

    /// The configuration for a new connection that reached this address of ours.
    pub fn at(&self, local: Option<IpAddr>) -> Arc<ServerConfig> {
        self.current.load().chosen.at(local)
    }

    /// Whether the authority of this index vouches for a client's certificates, leaf first; `now_s` is in seconds since 1970.
    pub fn vouches(&self, authority: usize, chain: &[CertificateDer<'_>], now_s: u64) -> bool {
        let current = self.current.load();
        let Some((leaf, intermediates)) = chain.split_first() else { return false };
        let verifier = current.verifiers.get(authority).and_then(Option::as_ref);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        verifier.is_some_and(|one| one.verify_client_cert(leaf, intermediates, now).is_ok())
    }

    /// Takes over what the files hold whenever they change; never returns.
    pub async fn follow(&self, mut followed: Followed) {
        loop {
            followed.changed().await;
            followed.tell(self.reload());
        }
    }

    fn reload(&self) -> Result<(), TlsError> {
        let current = load(&self.material, &self.authorities)?;
        let mut both = self.authorities.iter().zip(&current.verifiers);
        if both.any(|(pem, verifier)| verifier.is_none() && pem.file().is_some()) {
            return Err(TlsError::Pem { what: "client CA", why: "not loading an empty bundle".to_owned() });
        }
        self.current.store(Arc::new(current));
        Ok(())
    }
}

fn load(material: &Material, authorities: &[Pem]) -> Result<Current, TlsError> {
    let mut all = RootCertStore::empty();
    let mut verifiers = Vec::new();
    for authority in authorities {
        let roots = roots("client CA", &authority.read()?)?;
        all.roots.extend(roots.roots.iter().cloned());
        verifiers.push(verifier(roots)?);
    }
    Ok(Current { chosen: material.load(verifier(all)?)?, verifiers })
}

fn verifier(roots: RootCertStore) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let verifier = verifier.allow_unauthenticated().build();
    Ok(Some(verifier.map_err(|error| TlsError::Pem { what: "client CA", why: error.to_string() })?))
}
