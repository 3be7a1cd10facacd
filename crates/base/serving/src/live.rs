//! TLS that follows its files, for servers that judge client certificates at the handshake.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::chosen::{Chosen, Material};
use crate::follow::Followed;
use crate::pem::{Pem, TlsError, roots};

/// See the module.
#[derive(Debug)]
pub struct Live {
    material: Material,
    client_ca: Pem,
    current: ArcSwap<Chosen>,
}

impl Live {
    /// Loads the files. Clients may show certificates of `client_ca`, or none; an empty one takes none.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should.
    pub fn new(material: Material, client_ca: Pem) -> Result<(Arc<Live>, Followed), TlsError> {
        let mut files = material.files();
        files.extend(client_ca.file().map(ToOwned::to_owned));
        let followed = Followed::new("TLS", files);
        let current = ArcSwap::from_pointee(material.load(verifier(&client_ca.read()?)?)?);
        Ok((Arc::new(Live { material, client_ca, current }), followed))
    }

    /// The configuration for a new connection that reached this address of ours.
    pub fn at(&self, local: Option<IpAddr>) -> Arc<ServerConfig> {
        self.current.load().at(local)
    }

    /// Takes over what the files hold whenever they change; never returns.
    pub async fn follow(&self, mut followed: Followed) {
        loop {
            followed.changed().await;
            followed.tell(self.reload());
        }
    }

    fn reload(&self) -> Result<(), TlsError> {
        let client_ca = self.client_ca.read()?;
        let verifier = verifier(&client_ca)?;
        if verifier.is_none() && self.client_ca.file().is_some() {
            return Err(TlsError::Pem { what: "client CA", why: "not loading an empty bundle".to_owned() });
        }
        self.current.store(Arc::new(self.material.load(verifier)?));
        Ok(())
    }
}

fn verifier(client_ca: &[u8]) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let roots = roots("client CA", client_ca)?;
    if roots.is_empty() {
        return Ok(None);
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let verifier = verifier.allow_unauthenticated().build();
    Ok(Some(verifier.map_err(|error| TlsError::Pem { what: "client CA", why: error.to_string() })?))
}
