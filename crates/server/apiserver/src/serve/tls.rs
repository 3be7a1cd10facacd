//! TLS of the API server: HTTP/2 and HTTP/1.1 by ALPN, client certificates asked for and never required.
//!
//! All of it may be replaced while the server runs. A connection keeps the keys that it began with, but what its client
//! certificate is worth is judged anew when the authorities change, and when a certificate's time is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use authn::{
    AnyClientCertificate, CertificateAuthority, CertificateVerdict, RequestHeader, RequestHeaderNames,
};
use rustls_pki_types::CertificateDer;
use serving::{Chosen, Material, Pem, TlsError, roots};

/// Key material, in files that are followed or as texts.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Serving certificates, versions and suites.
    pub serving: Material,
    /// CA of client certificates; empty turns the method off.
    pub client_ca: Pem,
    /// CA of the client certificates of proxies that name users in headers; empty turns the method off.
    pub proxy_ca: Pem,
}

impl TlsFiles {
    /// The files among it.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let authorities = [&self.client_ca, &self.proxy_ca];
        let authorities = authorities.into_iter().filter_map(|pem| pem.file().map(Path::to_owned));
        self.serving.files().into_iter().chain(authorities).collect()
    }
}

/// What the listener and authentication need of the files, as they were at one moment.
pub(crate) struct Tls {
    chosen: Chosen,
    client_authority: Option<CertificateAuthority>,
    request_header: RequestHeader,
    /// When the certificate that is served ends, in seconds since 1970.
    ends_s: u64,
    /// What the files of the authorities hold.
    pub client_ca: Vec<u8>,
    /// The same of proxies.
    pub proxy_ca: Vec<u8>,
}

/// What a connection's client certificate is worth.
pub(crate) struct Verdict {
    /// Whom it names.
    pub certificate: CertificateVerdict,
    /// It is that of a proxy that may name users in headers.
    pub proxy: bool,
    /// When a certificate of its chain ends, in seconds since 1970.
    pub ends_s: u64,
}

impl Tls {
    /// Reads the files.
    pub fn new(files: &TlsFiles, names: RequestHeaderNames) -> Result<Self, TlsError> {
        let (client_ca, proxy_ca) = (files.client_ca.read()?, files.proxy_ca.read()?);
        let clients = roots("client CA", &client_ca)?;
        let proxies = roots("CA of proxies", &proxy_ca)?;
        // Clients choose their certificate by what is welcome.
        let mut welcome = clients.clone();
        welcome.extend(proxies.roots.iter().cloned());
        let served = serving::certificates("serving certificate", &files.serving.pair.certificate.read()?)?;
        let chosen = files.serving.load(Some(Arc::new(AnyClientCertificate::new(&welcome))))?;
        Ok(Tls {
            chosen,
            client_authority: CertificateAuthority::new(clients),
            request_header: RequestHeader::new(CertificateAuthority::new(proxies), names),
            ends_s: authn::ends_s(&served),
            client_ca,
            proxy_ca,
        })
    }

    /// The state after the files changed. An authority that was there does not go by an empty file.
    pub fn renewed(&self, files: &TlsFiles) -> Result<Self, TlsError> {
        let new = Tls::new(files, self.request_header.names().clone())?;
        let emptied = |old: bool, new: bool, what| match old && !new {
            true => Err(TlsError::Pem { what, why: "not loading an empty bundle".to_owned() }),
            false => Ok(()),
        };
        emptied(self.client_authority.is_some(), new.client_authority.is_some(), "client CA")?;
        emptied(!self.proxy_ca.is_empty(), !new.proxy_ca.is_empty(), "CA of proxies")?;
        Ok(new)
    }

    /// When the certificate that is served ends, in seconds since 1970.
    pub fn ends_s(&self) -> i64 {
        i64::try_from(self.ends_s).unwrap_or(i64::MAX)
    }

    /// For the handshake of a connection that reached this address of ours.
    pub fn handshake(&self, local: Option<std::net::IpAddr>) -> Arc<rustls::ServerConfig> {
        self.chosen.at(local)
    }

    /// The headers by which proxies name users.
    pub fn request_header(&self) -> &RequestHeader {
        &self.request_header
    }

    /// Judges a client's certificate, leaf first.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now_s: u64) -> Verdict {
        if chain.is_empty() {
            return Verdict { certificate: Ok(None), proxy: false, ends_s: u64::MAX };
        }
        let proxy = self.request_header.trusts(chain, now_s);
        let certificate = match &self.client_authority {
            // That of a proxy need not hold for a user.
            Some(authority) => authority.user(chain, now_s).map_err(|error| {
                if !proxy {
                    tracing::info!(%error, "a client certificate does not hold");
                }
            }),
            None => Ok(None),
        };
        // What does not hold now is not asked again with every request.
        let lives = certificate.is_ok() || proxy;
        let ends_s = if lives { authn::ends_s(chain) } else { u64::MAX };
        Verdict { certificate, proxy, ends_s }
    }
}
