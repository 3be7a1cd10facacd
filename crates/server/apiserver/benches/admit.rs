//! What authentication, authorization and admission add to the creation of a pod, with 1,000 RBAC bindings and 50 quotas.
//!
//! Three figures, each the median: reading the ServiceAccount token of a request; the decision of Node and RBAC; and the
//! creation through the in-process transport (authorization and admission, no sockets and no encoding), beside the same on a
//! server that allows everything and has no admission plugins. Pods are created with dry run, so that neither waits for a disk.
//! `cargo bench -p ferrokube-apiserver`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot start has nothing to tell")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::{Admission, AdmissionChoice, ApiServer, ApiServerHandle, Authorization, Config, TlsFiles};
use authn::{
    AUTHENTICATED, Bound, Directory, LegacyToken, MASTERS, PodFacts, SigningKey, TokenIssue, Tokens, User,
};
use authz::rbac::Change;
use authz::{Attributes, Authorizer, Chain};
use call::{Action, Call, DryRun, Target, Transport, WriteOptions};
use env::Env;
use meta::{Object, Str};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serving::{Material, Pair, Pem};
use tokio::net::TcpListener;
use types::core::v1::{Namespace, Pod, ResourceQuota, ServiceAccount};
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};

const BINDINGS: usize = 1000;
const QUOTAS: usize = 50;
const ROUNDS: usize = 2000;
/// The goal of issue 4.
const GOAL: Duration = Duration::from_micros(150);

fn read<K: meta::Codec>(text: &str) -> K {
    K::from_json(text.as_bytes()).unwrap()
}

async fn server(authorization: Authorization, admission: Admission) -> ApiServerHandle {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "bench");
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let env = Env::real();
    let disk = engine::MemoryDisk::default();
    let store = mvcc::Embedded::in_memory(&disk, &env, &mvcc::Options::default()).unwrap();
    let config = Config {
        store: Arc::new(store),
        env,
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        advertise_address: Some("192.0.2.2".parse().unwrap()),
        tls: TlsFiles {
            serving: Material::new(Pair {
                certificate: leaf.pem().into_bytes().into(),
                key: key.serialize_pem().into_bytes().into(),
            }),
            client_ca: ca.into_bytes().into(),
            proxy_ca: Pem::default(),
        },
        token_file: String::new(),
        service_account_key: KeyPair::generate().unwrap().serialize_pem().into_bytes().into(),
        service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
        service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
        node_ports: 30000..=32767,
        kubelet_client: None,
        proxy_client: None,
        aggregator_routing: false,
        authentication: apiserver::Authentication::default(),
        authorization,
        admission,
        audit: None,
        checks: Vec::new(),
        request_header: apiserver::RequestHeaderNames::default(),
    };
    ApiServer::start(config).await.unwrap()
}

async fn create<K: meta::Kind + Object>(transport: &dyn Transport, object: K) {
    let target = Target::of::<K>(&object.meta().namespace);
    let action = Action::Create(Box::new(object), WriteOptions::default());
    transport.call(Call { target, action }).await.map(drop).unwrap();
}

/// A namespace with quotas, and bindings of which a few concern the user.
async fn furnish(server: &ApiServerHandle) {
    let admin = server.transport(User::new("admin", &[MASTERS, AUTHENTICATED]));
    create(&*admin, read::<Namespace>(r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"web"}}"#))
        .await;
    create(
        &*admin,
        read::<ServiceAccount>(
            r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"web"}}"#,
        ),
    )
    .await;
    for n in 0..QUOTAS {
        let text = format!(
            r#"{{"apiVersion":"v1","kind":"ResourceQuota","metadata":{{"name":"q{n}","namespace":"web"}},"spec":{{"hard":{{"pods":"100000","requests.cpu":"100000"}}}},
            "status":{{"hard":{{"pods":"100000","requests.cpu":"100000"}},"used":{{"pods":"0","requests.cpu":"0"}}}}}}"#
        );
        create(&*admin, read::<ResourceQuota>(&text)).await;
        let mut target = Target::of::<ResourceQuota>("web").named(&format!("q{n}"));
        target.subresource = "status".into();
        let action = Action::Update(Box::new(read::<ResourceQuota>(&text)), WriteOptions::default());
        admin.call(Call { target, action }).await.unwrap();
    }
    let rules = rules();
    create(&*admin, rules.role).await;
    for binding in rules.cluster_bindings {
        create(&*admin, binding).await;
    }
    for binding in rules.bindings {
        create(&*admin, binding).await;
    }
}

struct Rules {
    role: ClusterRole,
    cluster_bindings: Vec<ClusterRoleBinding>,
    bindings: Vec<RoleBinding>,
}

/// Every tenth binding is for a group of the user but gives nothing that helps; the one that allows comes last.
fn rules() -> Rules {
    let head = r#""apiVersion":"rbac.authorization.k8s.io/v1""#;
    let role = |name: &str| {
        format!(
            r#""roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"{name}"}}"#
        )
    };
    let subjects = |kind: &str, name: &str| {
        format!(r#""subjects":[{{"apiGroup":"rbac.authorization.k8s.io","kind":"{kind}","name":"{name}"}}]"#)
    };
    let (mut cluster_bindings, mut bindings) = (Vec::new(), Vec::new());
    for n in 0..BINDINGS {
        let subject = if n % 20 < 2 { subjects("Group", "dev") } else { subjects("User", "other") };
        let role = role("system:discovery");
        if n % 2 == 0 {
            cluster_bindings.push(read(&format!(
                r#"{{{head},"kind":"ClusterRoleBinding","metadata":{{"name":"b{n}"}},{role},{subject}}}"#
            )));
        } else {
            bindings.push(read(&format!(r#"{{{head},"kind":"RoleBinding","metadata":{{"name":"b{n}","namespace":"web"}},{role},{subject}}}"#)));
        }
    }
    let (last, subject) = (role("pods"), subjects("User", "alice"));
    bindings.push(read(&format!(
        r#"{{{head},"kind":"RoleBinding","metadata":{{"name":"zz","namespace":"web"}},{last},{subject}}}"#
    )));
    let role = read(&format!(
        r#"{{{head},"kind":"ClusterRole","metadata":{{"name":"pods"}},"rules":[{{"apiGroups":[""],"resources":["pods"],"verbs":["create"]}}]}}"#
    ));
    Rules { role, cluster_bindings, bindings }
}

fn alice() -> User {
    User::new("alice", &["dev", AUTHENTICATED])
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The median time of a pod's creation by `alice`.
async fn creation(server: &ApiServerHandle) -> Duration {
    let transport = server.transport(alice());
    let mut times = Vec::with_capacity(ROUNDS);
    for n in 0..ROUNDS {
        let pod = read::<Pod>(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{n}","namespace":"web"}},"spec":{{"containers":[{{"name":"c","image":"i","resources":{{"requests":{{"cpu":"1m"}}}}}}]}}}}"#
        ));
        let options = WriteOptions { dry_run: DryRun::All, ..WriteOptions::default() };
        let call = Call { target: Target::of::<Pod>("web"), action: Action::Create(Box::new(pod), options) };
        let started = Instant::now();
        let answer = transport.call(call).await;
        times.push(started.elapsed());
        answer.map(drop).unwrap();
    }
    median(times)
}

/// The median time of the decision on that.
fn decision() -> Duration {
    let authorizer = Authorizer::node_rbac();
    let (rules, boot) = (rules(), authz::bootstrap::policy());
    {
        let mut policy = authorizer.policy.write();
        boot.cluster_roles
            .iter()
            .chain([&rules.role])
            .for_each(|role| policy.apply(Change::ClusterRole(role)));
        let bindings = boot.cluster_role_bindings.iter().chain(&rules.cluster_bindings);
        bindings.for_each(|binding| policy.apply(Change::ClusterRoleBinding(binding)));
        rules.bindings.iter().for_each(|binding| policy.apply(Change::RoleBinding(binding)));
    }
    let (user, request) = (alice(), Attributes::resource("create", "", "pods", "web", ""));
    let times = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        assert!(authorizer.allows(&user, &request));
        started.elapsed()
    });
    median(times.collect())
}

/// Everything that a token may be bound to is there.
struct All;

impl Directory for All {
    fn service_account(&self, _: &str, _: &str) -> Option<Str> {
        Some("uid".into())
    }
    fn pod(&self, _: &str, _: &str) -> Option<PodFacts> {
        Some(PodFacts { uid: "uid".into(), node: "n".into() })
    }
    fn secret(&self, _: &str, _: &str) -> Option<Str> {
        Some("uid".into())
    }
    fn node(&self, _: &str) -> Option<Str> {
        Some("uid".into())
    }
    fn bootstrap_token(&self, _: &str) -> Option<HashMap<String, String>> {
        None
    }
    fn legacy_token(&self, _: &str, _: &str) -> Option<LegacyToken> {
        None
    }
    fn legacy_token_used(&self, _: &str, _: &str, _: &str) {}
}

/// The median time of reading a token that came before.
fn authentication() -> Duration {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let issuer =
        authn::Issuer { url: "https://k".into(), also: Vec::new(), audiences: vec!["https://k".into()] };
    let audiences = issuer.audiences.clone();
    let tokens = Tokens::new(issuer, SigningKey::from_pem(key.as_bytes()).unwrap(), Vec::new());
    let token = tokens
        .issue(&TokenIssue {
            namespace: "web".into(),
            name: "default".into(),
            uid: "uid".into(),
            audiences: audiences.clone(),
            now_s: 0,
            lifetime_s: 3600,
            warn_after_s: None,
            bound: Some(Bound::Pod("p".into(), "uid".into(), None)),
            id: "id".into(),
        })
        .unwrap();
    let times = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        tokens.check(&token, &audiences, &All, 60).unwrap().unwrap();
        started.elapsed()
    });
    median(times.collect())
}

/// The plugins that are on by default.
const PLUGINS: &str = "NamespaceLifecycle LimitRanger ServiceAccount TaintNodesByCondition PodSecurity Priority DefaultTolerationSeconds DefaultStorageClass StorageObjectInUseProtection PodGroupProtection PersistentVolumeClaimResize RuntimeClass CertificateApproval CertificateSigning ClusterTrustBundleAttest CertificateSubjectRestriction DefaultIngressClass PodTopologyLabels PodGroupWorkloadExists NodeDeclaredFeatureValidator JobValidation PodResizeValidator MutatingAdmissionPolicy MutatingAdmissionWebhook ValidatingAdmissionPolicy ValidatingAdmissionWebhook ResourceQuota";

#[tokio::main]
async fn main() {
    let full = server(Authorization::default(), Admission::default()).await;
    furnish(&full).await;
    let none = AdmissionChoice {
        disable: PLUGINS.split(' ').map(str::to_owned).collect(),
        ..AdmissionChoice::default()
    };
    let open = Authorization { chain: Chain::always_allow(), ..Authorization::default() };
    let bare = server(open, Admission::of(&none, &Env::real()).unwrap()).await;
    furnish(&bare).await;
    let (with, without) = (creation(&full).await, creation(&bare).await);
    let (token, decision) = (authentication(), decision());
    let added = token + with.saturating_sub(without);
    println!("authentication by token              p50 {token:?}");
    println!("authorization alone                  p50 {decision:?}");
    println!("pod create, everything on            p50 {with:?}");
    println!("pod create, nothing on               p50 {without:?}");
    println!("added by all three                   p50 {added:?} (goal {GOAL:?})");
    full.shutdown().await;
    bare.shutdown().await;
}
