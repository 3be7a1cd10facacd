//! What a listener does its handshakes with, made of key material.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::server::danger::ClientCertVerifier;

use crate::named::{NamedPair, Names};
use crate::pem::{Pair, TlsError};
use crate::policy::Policy;

/// What a server's TLS is made of.
#[derive(Clone, Debug)]
pub struct Material {
    /// The certificate for whoever asks for no name that another one answers to.
    pub pair: Pair,
    /// Certificates by name.
    pub named: Vec<NamedPair>,
    /// Versions and suites.
    pub policy: Policy,
    /// Protocols by ALPN, the most wanted first.
    pub alpn: &'static [&'static [u8]],
}

/// The configurations of one moment; connections keep the one that they began with.
#[derive(Debug)]
pub struct Chosen {
    default: Arc<ServerConfig>,
    /// For those who name nobody but reach one of these addresses.
    by_address: HashMap<IpAddr, Arc<ServerConfig>>,
}

impl Material {
    /// The default for a certificate: HTTP/2 and HTTP/1.1.
    pub fn new(pair: Pair) -> Material {
        Material { pair, named: Vec::new(), policy: Policy::default(), alpn: &[b"h2", b"http/1.1"] }
    }

    /// Reads the files; `verifier` judges client certificates, without one nobody is asked for any.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should.
    pub fn load(&self, verifier: Option<Arc<dyn ClientCertVerifier>>) -> Result<Chosen, TlsError> {
        let provider = self.policy.provider();
        let default = self.pair.load(&provider)?;
        let named = self.named.iter().map(|one| Ok((one.names.clone(), one.pair.load(&provider)?)));
        let names = Names::new(default, named.collect::<Result<_, TlsError>>()?);
        let config = |names: Names| -> Result<Arc<ServerConfig>, TlsError> {
            let builder = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(self.policy.versions())?;
            let builder = match &verifier {
                Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
                None => builder.with_no_client_auth(),
            };
            let resolver: Arc<dyn ResolvesServerCert> = Arc::new(names);
            let mut config = builder.with_cert_resolver(resolver);
            config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.to_vec()).collect();
            Ok(Arc::new(config))
        };
        let by_address =
            names.addresses().map(|(address, key)| Ok((address, config(names.with_default(key))?)));
        let by_address = by_address.collect::<Result<_, TlsError>>()?;
        Ok(Chosen { default: config(names)?, by_address })
    }

    /// Every file that it is made of.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = self.named.iter().flat_map(|named| named.pair.files());
        self.pair.files().chain(named).collect()
    }
}

impl Chosen {
    /// The configuration for a connection that reached this address of ours.
    pub fn at(&self, local: Option<IpAddr>) -> Arc<ServerConfig> {
        let special = local.and_then(|address| self.by_address.get(&address.to_canonical()));
        special.unwrap_or(&self.default).clone()
    }
}
