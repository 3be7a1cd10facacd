//! Key material in PEM: where it is, and what it holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS could not be set up. The files must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A PEM text does not hold what it should.
    #[error("{what}: {why}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Key and certificate do not go together, or TLS cannot be spoken with them.
    #[error("serving certificate: {0}")]
    Certificate(#[from] rustls::Error),
}

/// Where a PEM text is.
#[derive(Clone)]
pub enum Pem {
    /// Here. It never changes.
    Text(Arc<[u8]>),
    /// In a file that is read anew whenever it changes.
    File(PathBuf),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pem::Text(_) => f.write_str("Text"),
            Pem::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Default for Pem {
    /// No text.
    fn default() -> Self {
        Pem::Text(Arc::default())
    }
}

impl From<Vec<u8>> for Pem {
    fn from(text: Vec<u8>) -> Self {
        Pem::Text(text.into())
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Pem::File(path)
    }
}

impl Pem {
    /// The text as it is now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Pem::Text(text) => Ok(text.to_vec()),
            Pem::File(path) => {
                std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })
            }
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Pem::Text(_) => None,
            Pem::File(path) => Some(path),
        }
    }
}

/// A certificate chain, leaf first, and its private key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The chain.
    pub certificate: Pem,
    /// The key.
    pub key: Pem,
}

impl Pair {
    /// Reads both and checks that they go together.
    pub(crate) fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = certificates("serving certificate", &self.certificate.read()?)?;
        if chain.is_empty() {
            return Err(TlsError::Pem {
                what: "serving certificate",
                why: "no certificate in it".to_owned(),
            });
        }
        let key = private_key("serving key", &self.key.read()?)?;
        Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
    }

    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        [&self.certificate, &self.key].into_iter().filter_map(|pem| pem.file().map(Path::to_owned))
    }
}

/// Certificates of a PEM text.
///
/// # Errors
/// The text is damaged.
pub fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| TlsError::Pem { what, why: e.to_string() })
}

/// A root store of every certificate in a PEM text.
///
/// # Errors
/// The text is damaged, or a certificate in it cannot be an authority's.
pub fn roots(what: &'static str, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        store.add(certificate).map_err(|e| TlsError::Pem { what, why: e.to_string() })?;
    }
    Ok(store)
}

/// The private key of a PEM text.
///
/// # Errors
/// There is none.
pub fn private_key(what: &'static str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|e| TlsError::Pem { what, why: e.to_string() })
}
