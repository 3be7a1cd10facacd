//! Handshakes with real clients: which certificate, which version, which suite, before and after files change.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use outbound::tls::AnyServer;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use serving::{Followed, Material, NamedPair, Pair, Pem, Policy};

fn write(folder: &Path, name: &str, common: &str) -> Pair {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, common);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (certificate_file, key_file) =
        (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    env::write_atomic(&key_file, key.serialize_pem().as_bytes(), 0o600).unwrap();
    env::write_atomic(&certificate_file, certificate.pem().as_bytes(), 0o600).unwrap();
    Pair { certificate: Pem::File(certificate_file), key: Pem::File(key_file) }
}

/// What a client gets: the certificate's name, version, suite and protocol.
async fn shake(
    config: Arc<rustls::ServerConfig>,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<String, String> {
    let (client, server) = tokio::io::duplex(64 << 10);
    let mut wanted = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(AnyServer::new())
        .with_no_client_auth();
    wanted.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(wanted));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (accepted, connected) =
        tokio::join!(tokio_rustls::TlsAcceptor::from(config).accept(server), connector.connect(name, client));
    let connected = connected.map_err(|error| error.to_string())?;
    accepted.map_err(|error| error.to_string())?;
    let (_, session) = connected.get_ref();
    let suite = session.negotiated_cipher_suite().unwrap().suite();
    let protocol = String::from_utf8(session.alpn_protocol().unwrap_or_default().to_vec()).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&session.peer_certificates().unwrap()[0]).unwrap();
    let common = leaf.subject().iter_common_name().next().unwrap().as_str().unwrap();
    Ok(format!("{common} {:?} {suite:?} {protocol}", session.protocol_version().unwrap()))
}

#[tokio::test]
async fn names_addresses_versions_and_suites() {
    let folder = tempfile::tempdir().unwrap();
    let mut material = Material::new(write(folder.path(), "default", "default"));
    let names = vec!["*.a.io".to_owned(), "192.0.2.1".to_owned()];
    material.named = vec![NamedPair { pair: write(folder.path(), "a", "a"), names }];
    let chosen = material.load(None).unwrap();
    let suite = "TLS13_AES_256_GCM_SHA384 h2";
    for (local, name, want) in [
        (None, "b.io", "default"),
        (None, "x.a.io", "a"),
        (Some("192.0.2.1"), "b.io", "a"),
        (Some("192.0.2.1"), "192.0.2.1", "a"),
        (Some("::ffff:192.0.2.1"), "192.0.2.1", "a"),
        (Some("192.0.2.2"), "192.0.2.2", "default"),
    ] {
        let config = chosen.at(local.map(|address| address.parse().unwrap()));
        let got = shake(config, name, rustls::ALL_VERSIONS).await.unwrap();
        assert_eq!(got, format!("{want} TLSv1_3 {suite}"), "{local:?} {name}");
    }
    let old = &[&rustls::version::TLS12];
    material.policy = Policy::parse("", &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned()]).unwrap();
    let got = shake(material.load(None).unwrap().at(None), "b.io", old).await.unwrap();
    assert_eq!(got, "default TLSv1_2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 h2");
    material.policy = Policy::parse("VersionTLS13", &[]).unwrap();
    let refused = shake(material.load(None).unwrap().at(None), "b.io", old).await.unwrap_err();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

#[tokio::test]
async fn new_files_are_in_use_at_once_and_bad_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let material = Material::new(write(folder.path(), "s", "one"));
    let mut followed = Followed::new("test", material.files());
    let current = Arc::new(Mutex::new(material.load(None).unwrap()));
    let (told, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
    let shared = current.clone();
    let following = tokio::spawn(async move {
        loop {
            followed.changed().await;
            let loaded = material.load(None).map_err(|error| error.to_string());
            let outcome = loaded.map(|loaded| *shared.lock().unwrap() = loaded);
            followed.tell(outcome.clone());
            told.send(outcome).unwrap();
        }
    });
    let common = async || {
        let config = current.lock().unwrap().at(None);
        shake(config, "b.io", rustls::ALL_VERSIONS).await.unwrap().split(' ').next().unwrap().to_owned()
    };
    assert_eq!(common().await, "one");
    write(folder.path(), "s", "two");
    // A key may be seen before its certificate; what counts is how it ends.
    while outcomes.recv().await.unwrap().is_err() {}
    assert_eq!(common().await, "two");
    std::fs::write(folder.path().join("s.crt"), "nonsense").unwrap();
    let mut outcome = outcomes.recv().await.unwrap();
    while outcome.is_ok() {
        outcome = outcomes.recv().await.unwrap();
    }
    assert_eq!(outcome.unwrap_err(), "serving certificate: no certificate in it");
    assert_eq!(common().await, "two");
    following.abort();
}
