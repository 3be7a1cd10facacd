//! `ferrokube up`: checks the machine, starts everything in one process, and stays until it is told to stop.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::answers::Answers;
use crate::control_plane::{ControlPlane, service_address};
use crate::kubeconfig::{self, Access};
use crate::node::local;
use crate::options::{Settings, UpOptions};
use crate::paths::Paths;
use crate::pki::{Names, Pki};
use crate::preflight::{self, Port};
use crate::process;
use crate::progress::Progress;
use crate::renewal;

/// Where the options of a cluster are kept between runs.
pub fn remember(paths: &Paths, options: &UpOptions) -> Result<()> {
    env::create_private_dir(paths.data())
        .with_context(|| format!("cannot create {}", paths.data().display()))?;
    let text = serde_json::to_vec_pretty(options)?;
    env::write_atomic(&paths.settings(), &text, 0o600).context("cannot keep the options")
}

/// The options of the last `up` in this data directory.
pub fn remembered(paths: &Paths) -> Result<Option<UpOptions>> {
    let Some(text) = env::read_optional(&paths.settings())? else { return Ok(None) };
    Ok(Some(
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged", paths.settings().display()))?,
    ))
}

/// Refuses a node without root, before anything is written.
pub fn check_rights(settings: &Settings) -> Result<()> {
    if settings.options.no_node { Ok(()) } else { preflight::require_root() }
}

/// Everything that can be refused before a process is started for it.
pub fn check(settings: &Settings) -> Result<()> {
    check_rights(settings)?;
    let options = &settings.options;
    let mut ports = vec![Port {
        purpose: "the API server",
        address: SocketAddr::new(options.bind_address, options.port),
        option: "--port",
    }];
    if !options.no_node {
        let address = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), options.kubelet_port);
        ports.push(Port { purpose: "the kubelet", address, option: "--kubelet-port" });
    }
    preflight::require_free(&ports)
}

/// Runs the cluster in this process until it is told to stop (SIGTERM or SIGINT).
pub async fn run(settings: Settings, merge_kubeconfig: bool) -> Result<()> {
    let progress = Progress::new();
    let _claim = process::claim(&settings.paths)?;
    check(&settings)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let pki = Pki::open(&settings.paths.pki(), &names(&settings)?, OffsetDateTime::now_utc())?;
    let plane = ControlPlane::start(&settings, &pki).await?;
    write_kubeconfigs(&settings, &pki, merge_kubeconfig)?;
    progress.step(&format!("API server is ready at {}", settings.server_url()));
    let node = match settings.options.no_node {
        true => None,
        false => Some(Arc::new(local::start(&settings, &pki, &plane)?)),
    };
    let _serving_nodes = local::serve_nodes(&settings, &pki, &plane)?;
    let _renewal = env::spawn("renewal", renewal::keep(settings.clone(), pki, plane.env().clone()));
    let site = local::site(&settings)?;
    let handler = Arc::new(Answers::new(settings.server_url(), site, node.clone()));
    let serving = admin::serve(&settings.paths, handler);
    tokio::pin!(serving);
    if let Some(node) = &node {
        tokio::select! {
            () = node.ready() => progress.step(&format!("node {} is Ready", settings.node_name)),
            end = &mut serving => return end,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
    progress.done(&format!("Try: kubectl --context {} get nodes,pods,svc -A", settings.context()));
    tokio::select! {
        end = &mut serving => end?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; containers go on");
    plane.stop().await;
    Ok(())
}

/// The names under which this member is reached.
pub(crate) fn names(settings: &Settings) -> Result<Names> {
    let mut addresses = vec![
        IpAddr::from([127, 0, 0, 1]),
        service_address(&settings.options.service_cidr, 1)?,
        settings.node_ip,
    ];
    if !settings.options.bind_address.is_unspecified() {
        addresses.push(settings.options.bind_address);
    }
    addresses.sort();
    addresses.dedup();
    Ok(Names { node: settings.node_name.clone(), addresses, domain: settings.options.cluster_domain.clone() })
}

fn with_access<T>(settings: &Settings, pki: &Pki, then: impl FnOnce(Access<'_>) -> Result<T>) -> Result<T> {
    let server = settings.server_url();
    then(Access {
        name: settings.context(),
        server: &server,
        ca_pem: &pki.ca.certificate_pem,
        identity: &pki.admin,
    })
}

fn write_kubeconfigs(settings: &Settings, pki: &Pki, merge: bool) -> Result<()> {
    with_access(settings, pki, |access| {
        access.write(&settings.paths.admin_kubeconfig())?;
        match kubeconfig::default_path().filter(|_| merge) {
            Some(path) => access.merge(&path),
            None => Ok(()),
        }
    })
}

/// Writes the administrator's new certificate where its old one is: the cluster's own kubeconfig, and the person's if this
/// cluster has a context there.
pub(crate) fn refresh_kubeconfigs(settings: &Settings, pki: &Pki) -> Result<()> {
    with_access(settings, pki, |access| {
        access.write(&settings.paths.admin_kubeconfig())?;
        kubeconfig::default_path().map_or(Ok(()), |path| access.refresh(&path))
    })
}
