//! The control plane in this process: store, API server, controllers, scheduler.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::{ApiServer, ApiServerHandle, KubeletClient, TlsFiles};
use authn::User;
use client::Client;
use env::{Env, Task};
use informer::Informers;
use serving::Pem;

use crate::encryption::Opened;
use crate::options::Settings;
use crate::pki::Pki;
use crate::scheduler::InProcess;

/// A running control plane. [`ControlPlane::stop`] ends it in order.
pub struct ControlPlane {
    server: ApiServerHandle,
    informers: Arc<Informers>,
    env: Env,
    controllers: controllers::Handle,
    scheduler: Option<InProcess>,
    _encryption: Option<Task>,
}

impl ControlPlane {
    /// Opens the store and serves the API.
    ///
    /// # Errors
    /// When the store cannot be opened, the port is taken, or a given file is unusable.
    pub async fn start(settings: &Settings, pki: &Pki) -> Result<ControlPlane> {
        let env = Env::real();
        let mut opened = crate::encryption::open(settings, &env).await?;
        let following = opened.following.take();
        let server = serve(settings, pki, &opened, env.clone()).await?;
        let reader = Client::new(server.transport(User::component("system:kube-controller-manager")));
        let informers = Informers::new(reader, env.clone());
        let controllers = run_controllers(settings, pki, &server, &informers, env.clone())?;
        let scheduler = match settings.options.no_scheduler {
            true => None,
            false => {
                let client = Client::new(server.transport(User::component("system:kube-scheduler")));
                Some(InProcess::start(settings, pki, client, &informers, env.clone()).await?)
            }
        };
        Ok(ControlPlane { server, informers, env, controllers, scheduler, _encryption: following })
    }

    /// A client of the API that acts as `user`.
    pub fn client(&self, user: User) -> Client {
        Client::new(self.server.transport(user))
    }

    /// The caches that the components of this process share.
    pub fn informers(&self) -> &Arc<Informers> {
        &self.informers
    }

    /// Clock and randomness.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Ends scheduler, controllers and server, in this order, so that nobody acts without a server.
    pub async fn stop(self) {
        if let Some(scheduler) = self.scheduler {
            scheduler.stop().await;
        }
        drop(self.controllers);
        self.server.shutdown().await;
    }
}

async fn serve(settings: &Settings, pki: &Pki, opened: &Opened, env: Env) -> Result<ApiServerHandle> {
    let options = &settings.options;
    let address = (options.bind_address, options.port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {}:{}", options.bind_address, options.port))?;
    let token_file = match &options.token_auth_file {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => String::new(),
    };
    let configuration = match &options.admission_control_config_file {
        Some(path) => apiserver::AdmissionConfiguration::load(path)?,
        None => apiserver::AdmissionConfiguration::default(),
    };
    let choice = apiserver::AdmissionChoice {
        enable: options.enable_admission_plugins.clone(),
        disable: options.disable_admission_plugins.clone(),
        configuration,
    };
    let admission = apiserver::Admission::of(&choice, &env)?;
    let audit = crate::audit::auditor(&options.audit, &env)?;
    let authentication = options.authentication.open(&options.cluster_domain, &pki.retired_keys(), &env)?;
    let authorization = options.authorization.open(&env)?;
    let front_proxy = crate::front_proxy::open(&options.front_proxy, pki)?;
    let range = options.service_cidr.parse().context("--service-cidr is no range of addresses")?;
    let advertised = match options.bind_address {
        address if address.is_unspecified() || address.is_loopback() => settings.node_ip,
        address => address,
    };
    ApiServer::start(apiserver::Config {
        store: opened.store.clone(),
        env,
        listener,
        advertise_address: Some(advertised),
        tls: TlsFiles {
            serving: options.tls.material(pki.files("apiserver"))?,
            client_ca: client_ca(settings, pki),
            proxy_ca: front_proxy.authority,
        },
        request_header: front_proxy.names,
        proxy_client: Some(front_proxy.client),
        aggregator_routing: options.front_proxy.enable_aggregator_routing,
        token_file,
        service_account_key: match &options.authentication.service_account_signing_key_file {
            Some(path) => Pem::File(path.clone()),
            None => pki.files("sa").key,
        },
        service_account_issuer: options.authentication.issuer(&options.cluster_domain),
        service_ranges: vec![range],
        node_ports: 30_000..=32_767,
        kubelet_client: Some(kubelet_client(pki)?),
        authentication,
        authorization,
        admission,
        audit,
        checks: opened.check().into_iter().collect(),
    })
    .await
    .context("the API server did not start")
}

fn kubelet_client(pki: &Pki) -> Result<KubeletClient> {
    KubeletClient::new(pki.files("apiserver-kubelet-client"), Some(pki.files("ca").certificate))
        .context("the API server's client certificate for kubelets is unusable")
}

/// Where the authorities of client certificates are.
pub(crate) fn client_ca(settings: &Settings, pki: &Pki) -> Pem {
    settings.options.client_ca_file.clone().map_or_else(|| pki.files("ca").certificate, Pem::File)
}

fn run_controllers(
    settings: &Settings,
    pki: &Pki,
    server: &ApiServerHandle,
    informers: &Arc<Informers>,
    env: Env,
) -> Result<controllers::Handle> {
    let accounts: std::collections::BTreeMap<&str, _> = controllers::TABLE
        .iter()
        .map(|entry| {
            let user = User::service_account("kube-system", entry.account);
            (entry.account, server.transport(user))
        })
        .collect();
    let reader = server.transport(User::component("system:kube-controller-manager"));
    let cidr =
        settings.options.cluster_cidr.parse().context("--cluster-cidr is no range of IPv4 addresses")?;
    let transports = move |user: &str| {
        let account = user.rsplit(':').next().unwrap_or_default();
        accounts.get(account).unwrap_or(&reader).clone()
    };
    let chosen = settings.options.controllers.clone();
    let tokens = server.tokens().clone();
    let sign = move |token: &controllers::LegacyToken| {
        tokens
            .legacy(&token.namespace, &token.account, &token.account_uid, &token.secret)
            .map_err(|error| error.to_string())
    };
    let authority = controllers::Authority::new(&pki.ca.certificate_pem, &pki.ca.key_pem)
        .context("the cluster's certificate authority cannot sign")?;
    let extensions = server.extensions();
    let extensions = move || {
        let found = extensions();
        let resources = found.resources.iter();
        controllers::Extensions {
            resources: resources
                .map(|(group, version, plural)| client::Resource::new(group, version, plural))
                .collect(),
            stale: found.stale.iter().map(|(group, version)| format!("{group}/{version}")).collect(),
        }
    };
    let config = controllers::Config {
        transports: Box::new(transports),
        env,
        cluster_cidr: Some(cidr),
        root_ca: pki.ca.certificate_pem.as_str().into(),
        signing: Some(Arc::new(authority)),
        legacy_tokens: Some(Arc::new(sign)),
        extensions: Arc::new(extensions),
        enabled: Box::new(move |name| controllers::enabled(&chosen, name)),
    };
    Ok(controllers::run_on(&config, informers.clone()))
}

/// The address of the service range at `index`, such as 1 for the API server and 10 for DNS.
pub fn service_address(range: &str, index: u32) -> Result<IpAddr> {
    let range: ipnet::IpNet = range.parse().context("--service-cidr is no range of addresses")?;
    Ok(match range {
        ipnet::IpNet::V4(range) => IpAddr::V4(u32::from(range.network()).wrapping_add(index).into()),
        ipnet::IpNet::V6(range) => {
            IpAddr::V6(u128::from(range.network()).wrapping_add(u128::from(index)).into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_service_addresses() {
        assert_eq!(service_address("10.96.0.0/16", 10).unwrap().to_string(), "10.96.0.10");
        assert_eq!(service_address("fd00::/112", 1).unwrap().to_string(), "fd00::1");
        assert!(service_address("nonsense", 1).is_err());
    }
}
