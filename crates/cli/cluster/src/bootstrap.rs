//! What machines that join need, as kubeadm sets it up: the ConfigMap `kube-public/cluster-info`, which everyone may read,
//! the rights to ask for a node's certificate, and how the cluster's networks and kubelets are set up (`kubeadm-config` and
//! `kubelet-config`, which joining machines and nodes may read). And what ours need besides: the right of nodes to see what
//! their part of the network is made of, which elsewhere the agents of kube-proxy, CoreDNS and CNI plugins on every node have.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use client::Client;
use meta::{Kind, Object, Status};
use serde_json::json;
use types::core::v1::ConfigMap;
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};

use crate::kubeconfig;
use crate::node::local;
use crate::options::Settings;

const RBAC: &str = "rbac.authorization.k8s.io";
const SYSTEM: &str = "kube-system";
pub(crate) const PUBLIC: &str = "kube-public";
pub(crate) const INFO: &str = "cluster-info";
/// How kubelets are set up: key `kubelet`, a KubeletConfiguration.
pub(crate) const KUBELET_CONFIG: &str = "kubelet-config";
/// How the cluster is set up: key `ClusterConfiguration`, kubeadm's.
pub(crate) const CLUSTER_CONFIG: &str = "kubeadm-config";
/// What nodes see of the cluster's network.
const NETWORK: &str = "ferrokube:node-network";
const READERS: &str = "kubeadm:bootstrap-signer-clusterinfo";
/// The group of bootstrap tokens for nodes.
pub(crate) const JOINING: &str = "system:bootstrappers:kubeadm:default-node-token";
const NODES: &str = "system:nodes";
/// Bindings: name, role, group.
const BINDINGS: [(&str, &str, &str); 5] = [
    // The API server is of this group where it speaks to kubelets, which ask it what it may.
    ("kubeadm:cluster-admins", "cluster-admin", "kubeadm:cluster-admins"),
    (NETWORK, NETWORK, NODES),
    ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", JOINING),
    (
        "kubeadm:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        JOINING,
    ),
    (
        "kubeadm:node-autoapprove-certificate-rotation",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        NODES,
    ),
];

/// What joining machines are told.
pub(crate) struct Joining {
    /// URL of the API server, as other machines reach it.
    pub(crate) server: String,
    /// Addresses of pods.
    pub(crate) cluster_cidr: String,
    /// Addresses of Services.
    pub(crate) service_cidr: String,
    /// Domain of cluster DNS.
    pub(crate) cluster_domain: String,
    /// Addresses of cluster DNS.
    pub(crate) cluster_dns: Vec<String>,
}

impl Joining {
    /// Of a cluster with these settings.
    pub(crate) fn of(settings: &Settings) -> Result<Self> {
        let site = local::site(settings)?;
        Ok(Joining {
            server: format!("https://{}", SocketAddr::new(settings.node_ip, settings.options.port)),
            cluster_cidr: site.cluster_cidr,
            service_cidr: site.service_cidr,
            cluster_domain: site.cluster_domain,
            cluster_dns: site.cluster_dns.iter().map(ToString::to_string).collect(),
        })
    }

    /// kubeadm's ClusterConfiguration, as far as a node needs it.
    fn cluster_configuration(&self) -> serde_json::Value {
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "clusterName": "kubernetes",
            "kubernetesVersion": crate::VERSION.split('+').next(),
            "networking": {
                "dnsDomain": self.cluster_domain, "podSubnet": self.cluster_cidr, "serviceSubnet": self.service_cidr,
            },
        })
    }

    /// How kubelets are set up; who joins adds what only its machine knows.
    fn kubelet_configuration(&self) -> serde_json::Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
            "authorization": {"mode": "Webhook"},
            "clusterDNS": self.cluster_dns,
            "clusterDomain": self.cluster_domain,
            "rotateCertificates": true,
        })
    }
}

/// Writes what is missing, and the kubeconfig anew if the cluster's address or authority is another one.
///
/// # Errors
/// When the API refuses.
pub(crate) async fn publish(masters: &Client, joining: &Joining, ca_pem: &str) -> Result<()> {
    write(masters, joining, ca_pem)
        .await
        .map_err(|status| anyhow::anyhow!("{}", status.message))
        .context("what joining machines need is not published")
}

async fn write(masters: &Client, joining: &Joining, ca_pem: &str) -> Result<(), Status> {
    let mut network = ClusterRole::default();
    network.metadata.name = NETWORK.into();
    network.rules = [
        rule(&["list", "watch"], "", &["namespaces", "nodes", "services"], &[]),
        rule(&["list", "watch"], "discovery.k8s.io", &["endpointslices"], &[]),
    ]
    .into_iter()
    .collect();
    ensure(masters, network).await?;
    for (name, role, group) in BINDINGS {
        let mut binding =
            ClusterRoleBinding { role_ref: role_ref("ClusterRole", role), ..Default::default() };
        binding.metadata.name = name.into();
        binding.subjects = [subject("Group", group)].into_iter().collect();
        ensure(masters, binding).await?;
    }
    let everyone = [subject("User", "system:anonymous")];
    readable(masters, PUBLIC, READERS, INFO, &everyone).await?;
    let joiners = [subject("Group", JOINING), subject("Group", NODES)];
    let maps = [
        (
            "kubeadm:nodes-kubeadm-config",
            CLUSTER_CONFIG,
            "ClusterConfiguration",
            joining.cluster_configuration(),
        ),
        ("kubeadm:kubelet-config", KUBELET_CONFIG, "kubelet", joining.kubelet_configuration()),
    ];
    for (role, name, key, content) in maps {
        readable(masters, SYSTEM, role, name, &joiners).await?;
        let mut map = ConfigMap::default();
        map.metadata.name = name.into();
        map.metadata.namespace = SYSTEM.into();
        // A document of texts can always be printed.
        map.data.insert(key, serde_norway::to_string(&content).unwrap_or_default().into());
        ensure(masters, map).await?;
    }
    let api = masters.namespaced::<ConfigMap>(PUBLIC);
    let content = kubeconfig::of_cluster(&joining.server, ca_pem);
    match api.get_optional(INFO).await? {
        Some(known) if known.data.get("kubeconfig").is_some_and(|known| *known == content.as_str()) => Ok(()),
        Some(known) => {
            let mut map = (*known).clone();
            map.data.insert("kubeconfig", content.into());
            api.update(map).await.map(drop)
        }
        None => {
            let mut map = ConfigMap::default();
            map.metadata.name = INFO.into();
            map.data.insert("kubeconfig", content.into());
            api.create(map).await.map(drop)
        }
    }
}

/// Lets somebody read one ConfigMap.
async fn readable(
    masters: &Client,
    namespace: &str,
    role: &str,
    map: &str,
    subjects: &[Subject],
) -> Result<(), Status> {
    let mut object = Role::default();
    object.metadata.name = role.into();
    object.metadata.namespace = namespace.into();
    object.rules = [rule(&["get"], "", &["configmaps"], &[map])].into_iter().collect();
    ensure(masters, object).await?;
    let mut binding = RoleBinding { role_ref: role_ref("Role", role), ..Default::default() };
    binding.metadata.name = role.into();
    binding.metadata.namespace = namespace.into();
    binding.subjects = subjects.iter().cloned().collect();
    ensure(masters, binding).await
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> PolicyRule {
    PolicyRule {
        verbs: verbs.iter().map(|verb| (*verb).into()).collect(),
        api_groups: [group.into()].into_iter().collect(),
        resources: resources.iter().map(|resource| (*resource).into()).collect(),
        resource_names: names.iter().map(|name| (*name).into()).collect(),
        ..PolicyRule::default()
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: RBAC.into(), kind: kind.into(), name: name.into() }
}

fn subject(kind: &str, name: &str) -> Subject {
    Subject { api_group: RBAC.into(), kind: kind.into(), name: name.into(), ..Subject::default() }
}

/// Creates an object; what an administrator made of it stays.
async fn ensure<K: Kind + Object>(masters: &Client, object: K) -> Result<(), Status> {
    let created = match object.meta().namespace.is_empty() {
        true => masters.all::<K>().create(object).await,
        false => masters.namespaced::<K>(&object.meta().namespace.clone()).create(object).await,
    };
    match created {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use authn::User;
    use call::ListOptions;
    use client::TypedEvent;
    use env::{DirWatch, Env};
    use futures::StreamExt;
    use kubelet::credentials::{Purpose, Rotation, current};
    use types::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

    use super::*;
    use crate::control_plane::ControlPlane;
    use crate::options::{Settings, UpOptions};
    use crate::pki::Pki;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: UpOptions,
    }

    /// A control plane of its own, on a port that was free a moment ago.
    async fn plane(folder: &std::path::Path) -> (ControlPlane, Pki) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = format!("--port={free}");
        let line = ["up", "--no-node", "--no-scheduler", "--node-name=n1", "--bind-address=127.0.0.1", &port];
        let Line { options } = clap::Parser::parse_from(line);
        let settings = Settings::resolve(options, folder).unwrap();
        let names = crate::up::names(&settings).unwrap();
        let pki = Pki::open(&settings.paths.pki(), &names, time::OffsetDateTime::now_utc()).unwrap();
        (ControlPlane::start(&settings, &pki).await.unwrap(), pki)
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), future).await.expect("in time")
    }

    /// The subject of the certificate that a link leads to, once it leads to one.
    async fn issued(link: &std::path::Path) -> String {
        let watch = DirWatch::new(link.parent().unwrap()).unwrap();
        while std::fs::read_link(link).is_err() {
            watch.changed().await;
        }
        let text = std::fs::read(link).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&pem.contents).unwrap();
        certificate.subject().to_string()
    }

    /// A node gets its client certificate by right, and that of its API when somebody approves it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_asks_for_its_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let (plane, pki) = plane(&folder.path().join("data")).await;
        let admin = plane.client(User::new("admin", &[authn::MASTERS, authn::AUTHENTICATED]));
        let joining = Joining {
            server: "https://192.0.2.1:6443".into(),
            cluster_cidr: "10.244.0.0/16".into(),
            service_cidr: "10.96.0.0/16".into(),
            cluster_domain: "cluster.local".into(),
            cluster_dns: vec!["10.96.0.10".into()],
        };
        publish(&admin, &joining, &pki.ca.certificate_pem).await.unwrap();
        // A second time changes nothing.
        publish(&admin, &joining, &pki.ca.certificate_pem).await.unwrap();
        let node = plane.client(User::node("n1"));
        // Rights that have just been given are in force a moment later.
        let map = soon(async {
            loop {
                match node.namespaced::<ConfigMap>(SYSTEM).get(KUBELET_CONFIG).await {
                    Err(status) if status.code == 403 => {}
                    map => return map,
                }
            }
        });
        let map = map.await.unwrap();
        assert!(map.data.get("kubelet").unwrap().contains("rotateCertificates: true"));
        node.all::<types::core::v1::Namespace>().list(&ListOptions::default()).await.unwrap();
        let info = admin.namespaced::<ConfigMap>(PUBLIC).get(INFO).await.unwrap();
        assert!(info.data.get("kubeconfig").unwrap().contains("https://192.0.2.1:6443"));
        let anybody = plane.client(User::new(authn::ANONYMOUS, &[authn::UNAUTHENTICATED]));
        anybody.namespaced::<ConfigMap>(PUBLIC).get(INFO).await.unwrap();

        let keys = folder.path().join("keys");
        env::create_private_dir(&keys).unwrap();
        let rotate = |purpose| {
            let rotation = Rotation {
                client: plane.client(User::node("n1")),
                env: Env::real(),
                node_name: "n1".into(),
                purpose,
                folder: keys.clone(),
            };
            env::spawn("rotation", rotation.run())
        };
        let _client = rotate(Purpose::Client);
        let subject = soon(issued(&current(&keys, &Purpose::Client))).await;
        assert_eq!(subject, "O=system:nodes, CN=system:node:n1");

        let serving = Purpose::Serving(vec!["192.0.2.1".parse().unwrap()]);
        let requests = admin.all::<CertificateSigningRequest>();
        let mut events = requests.watch(&ListOptions::default()).await.unwrap();
        let _serving = rotate(serving.clone());
        let asked = loop {
            if let Ok(TypedEvent::Added(csr)) = soon(events.next()).await.unwrap()
                && csr.spec.signer_name == "kubernetes.io/kubelet-serving"
            {
                break csr;
            }
        };
        assert!(asked.status.conditions.is_empty(), "nobody approves serving certificates by right");
        let mut approved = (*asked).clone();
        approved.status.conditions.push(CertificateSigningRequestCondition {
            type_: "Approved".into(),
            status: "True".into(),
            reason: "Known".into(),
            ..CertificateSigningRequestCondition::default()
        });
        let target = requests.target().named(&asked.metadata.name).subresource("approval");
        let action = call::Action::Update(Box::new(approved), call::WriteOptions::default());
        admin.call(call::Call { target, action }).await.unwrap();
        let subject = soon(issued(&current(&keys, &serving))).await;
        assert_eq!(subject, "O=system:nodes, CN=system:node:n1");
        plane.stop().await;
    }
}
