//! Serves the API alone, for development: an in-memory store or one in a directory, a CA of its own, a static token and
//! a kubeconfig.
//!
//! `serve DIRECTORY [PORT] [--memory]` writes `ca.crt`, `admin.token` and `kubeconfig` there and serves until it is killed.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use apiserver::{ApiServer, Config, TlsFiles};
use env::Env;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serving::{Material, Pair, Pem};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = Path::new(arguments.first().context("usage: serve DIRECTORY [PORT] [--memory]")?);
    let port: u16 = arguments.get(1).and_then(|p| p.parse().ok()).unwrap_or(0);
    std::fs::create_dir_all(directory)?;
    telemetry::init_logs(&std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into()))?;
    let started = std::time::Instant::now();

    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ferrokube-dev");
    let ca = params.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate()?;
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned(), "kubernetes.default.svc".to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let certificate = params.signed_by(&key, &issuer)?.pem();

    let env = Env::real();
    let memory = arguments.iter().any(|a| a == "--memory");
    let store: Arc<dyn mvcc::Store> = if memory {
        Arc::new(mvcc::Embedded::in_memory(&engine::MemoryDisk::default(), &env, &mvcc::Options::default())?)
    } else {
        Arc::new(mvcc::Embedded::open(&directory.join("store"), &env, &mvcc::Options::default())?)
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    let token = "dev-admin-token";
    let config = Config {
        store,
        env,
        listener,
        advertise_address: Some("192.0.2.2".parse()?),
        tls: TlsFiles {
            serving: Material::new(Pair {
                certificate: certificate.into_bytes().into(),
                key: key.serialize_pem().into_bytes().into(),
            }),
            client_ca: ca.clone().into_bytes().into(),
            proxy_ca: Pem::default(),
        },
        request_header: apiserver::RequestHeaderNames::default(),
        token_file: format!("{token},admin,admin,\"system:masters\"\n"),
        service_account_key: KeyPair::generate()?.serialize_pem().into_bytes().into(),
        service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
        service_ranges: vec!["10.96.0.0/16".parse()?],
        node_ports: 30000..=32767,
        kubelet_client: None,
        authentication: apiserver::Authentication::default(),
        authorization: apiserver::Authorization::default(),
        proxy_client: None,
        aggregator_routing: false,
        admission: apiserver::Admission::default(),
        audit: None,
        checks: Vec::new(),
    };
    let _handle = ApiServer::start(config).await?;
    std::fs::write(directory.join("ca.crt"), &ca)?;
    std::fs::write(directory.join("admin.token"), token)?;
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\n\
         clusters:\n- name: dev\n  cluster: {{server: \"https://{address}\", certificate-authority: {ca}}}\n\
         users:\n- name: dev\n  user: {{token: {token}}}\n\
         contexts:\n- name: dev\n  context: {{cluster: dev, user: dev}}\n",
        ca = directory.join("ca.crt").canonicalize()?.display(),
    );
    std::fs::write(directory.join("kubeconfig"), kubeconfig)?;
    println!("serving https://{address} after {:?}", started.elapsed());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
