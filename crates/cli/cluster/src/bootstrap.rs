//! What machines that join need before they have a certificate, as kubeadm sets it up: the ConfigMap
//! `kube-public/cluster-info`, which everyone may read, and the rights to ask for a node's certificate.

use anyhow::{Context, Result};
use client::Client;
use meta::{Kind, Object, Status};
use types::core::v1::ConfigMap;
use types::rbac::v1::{ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};

use crate::kubeconfig;

const RBAC: &str = "rbac.authorization.k8s.io";
const PUBLIC: &str = "kube-public";
const INFO: &str = "cluster-info";
const READERS: &str = "kubeadm:bootstrap-signer-clusterinfo";
/// The group of bootstrap tokens for nodes.
const JOINING: &str = "system:bootstrappers:kubeadm:default-node-token";
const NODES: &str = "system:nodes";
/// Bindings: name, role, group.
const BINDINGS: [(&str, &str, &str); 3] = [
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

/// Writes what is missing, and the kubeconfig anew if the cluster's address or authority is another one.
///
/// # Errors
/// When the API refuses.
pub(crate) async fn publish(masters: &Client, server: &str, ca_pem: &str) -> Result<()> {
    write(masters, server, ca_pem)
        .await
        .map_err(|status| anyhow::anyhow!("{}", status.message))
        .context("what joining machines need is not published")
}

async fn write(masters: &Client, server: &str, ca_pem: &str) -> Result<(), Status> {
    for (name, role, group) in BINDINGS {
        let mut binding =
            ClusterRoleBinding { role_ref: role_ref("ClusterRole", role), ..Default::default() };
        binding.metadata.name = name.into();
        binding.subjects = [subject("Group", group)].into_iter().collect();
        ensure(masters, binding).await?;
    }
    let mut role = Role::default();
    role.metadata.name = READERS.into();
    role.metadata.namespace = PUBLIC.into();
    let rule = PolicyRule {
        verbs: ["get".into()].into_iter().collect(),
        api_groups: ["".into()].into_iter().collect(),
        resources: ["configmaps".into()].into_iter().collect(),
        resource_names: [INFO.into()].into_iter().collect(),
        ..PolicyRule::default()
    };
    role.rules = [rule].into_iter().collect();
    ensure(masters, role).await?;
    let mut binding = RoleBinding { role_ref: role_ref("Role", READERS), ..Default::default() };
    binding.metadata.name = READERS.into();
    binding.metadata.namespace = PUBLIC.into();
    binding.subjects = [subject("User", "system:anonymous")].into_iter().collect();
    ensure(masters, binding).await?;
    let api = masters.namespaced::<ConfigMap>(PUBLIC);
    let content = kubeconfig::of_cluster(server, ca_pem);
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
        publish(&admin, "https://192.0.2.1:6443", &pki.ca.certificate_pem).await.unwrap();
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
