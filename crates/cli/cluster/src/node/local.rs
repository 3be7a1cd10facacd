//! The node inside of `ferrokube up`: beside its control plane, with certificates of the cluster's own making.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use authn::User;
use call::{PatchKind, WriteOptions};
use client::Client;
use env::Task;
use kubelet::credentials::{self, Purpose, Rotation};
use kubelet::{LogLimits, Policy, Tls};
use serving::{Material, Pair, Pem};
use types::core::v1::Node as NodeObject;

use super::{Duties, Node, Reach, Site, dns_service};
use crate::control_plane::{ControlPlane, service_address};
use crate::kubeconfig;
use crate::options::Settings;
use crate::pki::Pki;

/// Index of cluster DNS in the service range, as kubeadm has it.
const DNS_INDEX: u32 = 10;
/// Pause before what machines that join need is published again.
const PUBLISH_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The node of a cluster with these settings.
pub fn site(settings: &Settings) -> Result<Site> {
    let options = &settings.options;
    Ok(Site {
        name: settings.node_name.clone(),
        ips: vec![settings.node_ip],
        data: settings.paths.data().to_owned(),
        cluster_cidr: options.cluster_cidr.clone(),
        service_cidr: options.service_cidr.clone(),
        cluster_domain: options.cluster_domain.clone(),
        cluster_dns: vec![service_address(&options.service_cidr, DNS_INDEX)?],
        insecure_registries: options.insecure_registry.clone(),
    })
}

/// Starts it.
///
/// # Errors
/// See [`Node::start`].
pub fn start(settings: &Settings, pki: &Pki, plane: &ControlPlane) -> Result<Node> {
    let reach = Reach {
        node: plane.client(User::node(&settings.node_name)),
        informers: plane.informers().clone(),
        env: plane.env().clone(),
    };
    let mut node = Node::start(&site(settings)?, duties(settings, pki)?, &reach)?;
    if settings.options.rotate_certificates {
        let link = credentials::current(&credentials_folder(settings), &Purpose::Client);
        let path = settings.paths.data().join("kubelet.kubeconfig");
        let access = kubeconfig::Following {
            server: settings.server_url(),
            ca_pem: Some(pki.ca.certificate_pem.clone().into_bytes()),
            tls_server_name: None,
            insecure: false,
        };
        access.write(&path, &link)?;
    }
    for rotation in rotations(settings, plane) {
        node.keep(rotation);
    }
    let (masters, name) = (addons(plane), settings.node_name.clone());
    let informers = plane.informers().clone();
    node.keep(env::spawn("node-role", async move {
        let nodes = informers.cache::<NodeObject>();
        let changed = nodes.changes();
        while nodes.get("", &name).is_none() {
            changed.notified().await;
        }
        show_role(&name, &masters).await;
    }));
    Ok(node)
}

/// What the control plane does for its nodes: cluster DNS has a Service, and machines that join find what they need.
///
/// # Errors
/// The range of Services is none.
pub fn serve_nodes(settings: &Settings, pki: &Pki, plane: &ControlPlane) -> Result<Vec<Task>> {
    let address = service_address(&settings.options.service_cidr, DNS_INDEX)?;
    let (masters, env) = (addons(plane), plane.env().clone());
    let dns = dns_service::publish(masters.clone(), plane.informers().clone(), env, address);
    let mut tasks = vec![env::spawn("dns-service", dns)];
    if !settings.options.no_node {
        let (joining, ca) = (crate::bootstrap::Joining::of(settings)?, pki.ca.certificate_pem.clone());
        let waiting = plane.env().clone();
        tasks.push(env::spawn("cluster-info", async move {
            // The API server's own right to speak to kubelets is among it, so this does not rest until it is done.
            while let Err(error) = crate::bootstrap::publish(&masters, &joining, &ca).await {
                tracing::error!("{error:#}");
                waiting.sleep(PUBLISH_AGAIN).await;
            }
        }));
    }
    Ok(tasks)
}

fn addons(plane: &ControlPlane) -> Client {
    plane.client(User::new("system:kube-addon-manager", &[authn::MASTERS, authn::AUTHENTICATED]))
}

fn duties(settings: &Settings, pki: &Pki) -> Result<Duties> {
    Ok(Duties {
        listen: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), settings.options.kubelet_port),
        tls: Tls {
            serving: Material::new(serving_pair(settings, pki)?),
            client_ca: pki.files("ca").certificate,
            policy: Policy::default(),
        },
        root_dir: settings.paths.kubelet(),
        pod_logs_dir: settings.paths.data().join("logs/pods"),
        static_pods_dir: Some(settings.paths.manifests()),
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
        max_pods: settings.options.max_pods,
        pod_pids_limit: None,
        seccomp_default: false,
        log: LogLimits::default(),
        parallel_pulls: 1,
        labels: vec![],
        taints: vec![],
    })
}

/// The certificate of the kubelet's API: the locally made one, or a link that leads to one that the API issued.
fn serving_pair(settings: &Settings, pki: &Pki) -> Result<Pair> {
    if !settings.options.rotate_server_certificates {
        return Ok(pki.files("kubelet"));
    }
    let folder = credentials_folder(settings);
    let link = credentials::current(&folder, &serving(settings));
    if !link.exists() {
        env::create_private_dir(&folder)?;
        let both = format!("{}{}", pki.kubelet_server.certificate_pem, pki.kubelet_server.key_pem);
        env::remove_optional(&link)?;
        env::write_atomic(&link, both.as_bytes(), 0o600)
            .with_context(|| format!("cannot write {}", link.display()))?;
    }
    Ok(Pair { certificate: Pem::File(link.clone()), key: Pem::File(link) })
}

fn credentials_folder(settings: &Settings) -> PathBuf {
    settings.paths.kubelet().join("pki")
}

fn serving(settings: &Settings) -> Purpose {
    Purpose::Serving(vec![settings.node_ip])
}

/// What keeps the node's certificates fresh, where that is wanted.
fn rotations(settings: &Settings, plane: &ControlPlane) -> Vec<Task> {
    let options = &settings.options;
    let wanted = [
        (options.rotate_certificates, Purpose::Client),
        (options.rotate_server_certificates, serving(settings)),
    ];
    let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, purpose)| purpose);
    let rotation = |purpose| Rotation {
        client: plane.client(User::node(&settings.node_name)),
        env: plane.env().clone(),
        node_name: settings.node_name.clone(),
        purpose,
        folder: credentials_folder(settings),
    };
    wanted.map(|purpose| env::spawn("certificate-rotation", rotation(purpose).run())).collect()
}

/// Labels the node as part of the control plane, as kubeadm does; a node may not give itself that label.
async fn show_role(name: &str, masters: &Client) {
    let patch = br#"{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}"#;
    let nodes = masters.all::<NodeObject>();
    let patched =
        nodes.patch(name, PatchKind::Merge, patch.as_slice().into(), &WriteOptions::default()).await;
    if let Err(status) = patched {
        tracing::warn!("the node's role is not shown: {}", status.message);
    }
}
