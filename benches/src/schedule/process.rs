//! A cluster in this process: store, API server over HTTPS, and the scheduler.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use apiserver::{ApiServer, ApiServerHandle, TlsFiles};
use authn::User;
use client::{Client, remote};
use env::{Env, Task};
use informer::Informers;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use scheduler::config::SchedulerConfig;
use scheduler::service;
use serving::{Material, Pair, Pem};
use tokio::net::TcpListener;

const TOKEN: &str = "bench";

/// The cluster; it ends when this is dropped.
pub struct Cluster {
    scheduler: Task,
    server: ApiServerHandle,
}

impl Cluster {
    /// Starts it with its store in `directory`, and says how to reach it.
    pub async fn start(directory: &Path) -> Result<(Cluster, remote::Config)> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate()?;
        let ca = params.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let env = Env::real();
        let store = mvcc::Embedded::open(&directory.join("store"), &env, &mvcc::Options::default())?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let server = ApiServer::start(apiserver::Config {
            store: Arc::new(store),
            env: env.clone(),
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
            token_file: format!("{TOKEN},admin,admin,\"system:masters\"\n"),
            service_account_key: KeyPair::generate()?.serialize_pem().into_bytes().into(),
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            service_ranges: vec!["10.96.0.0/16".parse()?],
            node_ports: 30_000..=32_767,
            kubelet_client: None,
            proxy_client: None,
            aggregator_routing: false,
            authentication: apiserver::Authentication::default(),
            authorization: apiserver::Authorization::default(),
            admission: apiserver::Admission::default(),
            audit: None,
            checks: Vec::new(),
        })
        .await?;
        let client = Client::new(server.transport(User::component("system:kube-scheduler")));
        let informers = Informers::new(client.clone(), env.clone());
        let config = service::Config {
            client,
            informers,
            env,
            config: SchedulerConfig::default(),
            plugins: Vec::new(),
            waiting: Default::default(),
            host: "bench".into(),
        };
        let scheduler = env::spawn("scheduler", service::run(config));
        std::fs::write(directory.join("ca.crt"), &ca)?;
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters:\n- name: c\n  cluster: {{server: \"https://{address}\", certificate-authority: {}}}\n\
             users:\n- name: c\n  user: {{token: {TOKEN}}}\n\
             contexts:\n- name: c\n  context: {{cluster: c, user: c}}\n",
            directory.join("ca.crt").display()
        );
        let path = directory.join("kubeconfig");
        std::fs::write(&path, kubeconfig)?;
        Ok((Cluster { scheduler, server }, remote::Config::from_kubeconfig(&path, None)?))
    }

    /// Ends it.
    pub async fn stop(self) {
        self.scheduler.abort();
        self.scheduler.join().await;
        self.server.shutdown().await;
    }
}
