//! `ferrokube join`: makes this machine a node of a cluster of which it knows an address, a bootstrap token and the pin of its
//! authority, as `kubeadm join` does.
//!
//! The cluster is asked who it is without being trusted. Its answer, the ConfigMap `kube-public/cluster-info`, is taken only
//! when the token has signed it and the authority in it is the pinned one; and once more when the same answer comes over a
//! connection that this authority vouches for. Then the token reads how kubelets are set up, and the node begins
//! ([`crate::kubelet`]).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use client::{Client, remote};
use ring::hmac;
use serde_json::{Value, json};
use types::core::v1::ConfigMap;

use crate::bootstrap::{CLUSTER_CONFIG, INFO, KUBELET_CONFIG, PUBLIC};
use crate::kubelet::KubeletOptions;
use crate::paths::Paths;
use crate::{kubeconfig, kubelet, preflight, token};

/// Options of `ferrokube join`.
#[derive(Clone, Debug, clap::Args)]
pub struct JoinOptions {
    /// The cluster's API server, such as 192.0.2.1:6443
    pub server: String,
    /// Bootstrap token, made by `ferrokube token create` or `kubeadm token create`
    #[arg(long, env = "FERROKUBE_JOIN_TOKEN", hide_env_values = true)]
    pub token: String,
    /// Pin of the cluster's authority, sha256:...; one of them must fit (may be repeated)
    #[arg(long, value_name = "PIN", required_unless_present = "discovery_token_unsafe_skip_ca_verification")]
    pub ca_cert_hash: Vec<String>,
    /// Trust whatever authority the cluster names: whoever knows the token could be it
    #[arg(long, conflicts_with = "ca_cert_hash")]
    pub discovery_token_unsafe_skip_ca_verification: bool,
    /// Name of the node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Addresses of the node, the primary one first [default: that of the default route]
    #[arg(long, value_delimiter = ',', value_name = "IP,...")]
    pub node_ip: Vec<IpAddr>,
    /// Labels of the node at its registration
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,...")]
    pub node_labels: Vec<String>,
    /// Port of the kubelet's API
    #[arg(long)]
    pub kubelet_port: Option<u16>,
    /// Registry to be spoken to without TLS, as host or host:port (may be repeated)
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
}

/// Joins, and runs the node until it is told to stop.
///
/// # Errors
/// When the cluster is not the one that is meant, or cannot be reached.
pub async fn run(options: JoinOptions, paths: &Paths) -> Result<()> {
    preflight::require_root()?;
    token_of(&options.token)?;
    kubelet::check_vacant(paths)?;
    let files = files(paths);
    // A node that has joined goes on with what it has, as after a restart of the machine. One that has no credentials that
    // hold begins anew with what is given now.
    if kubelet::remembered(paths)?.is_none() || !kubelet::has_credentials(paths) {
        prepare(&options, &files).await?;
    }
    kubelet::run(complete(options, files)?, paths).await
}

/// Files of a node that joins.
struct Files {
    ca: PathBuf,
    bootstrap: PathBuf,
    config: PathBuf,
    networks: PathBuf,
}

fn files(paths: &Paths) -> Files {
    Files {
        ca: paths.pki().join("ca.crt"),
        bootstrap: paths.data().join("bootstrap-kubelet.kubeconfig"),
        config: paths.data().join("kubelet.yaml"),
        networks: paths.data().join("networks.json"),
    }
}

/// Learns who the cluster is and writes what the kubelet starts with.
async fn prepare(options: &JoinOptions, files: &Files) -> Result<()> {
    let server = url(&options.server);
    let cluster = discover(&server, options).await.context("the cluster does not prove itself")?;
    let client = client_of(&cluster.server, Some(cluster.ca.clone()), Some(options.token.clone()))?;
    let map = async |name: &str, key: &str| -> Result<Value> {
        let map = client.namespaced::<ConfigMap>("kube-system").get(name).await;
        let map = map.map_err(|status| anyhow::anyhow!("{}", status.message))?;
        let text = map.data.get(key).with_context(|| format!("ConfigMap {name} has no {key}"))?;
        serde_norway::from_str(text).with_context(|| format!("ConfigMap {name} is damaged"))
    };
    let config = configuration(map(KUBELET_CONFIG, "kubelet").await?, &files.ca)?;
    let networks = map(CLUSTER_CONFIG, "ClusterConfiguration").await?;
    let networks = networks.get("networking").cloned().unwrap_or_default();
    let ca = String::from_utf8(cluster.ca).context("the cluster's authority is no text")?;
    let bootstrap = kubeconfig::of_token(&cluster.server, &ca, &options.token);
    for (path, text) in [
        (&files.ca, ca.as_str()),
        (&files.bootstrap, bootstrap.as_str()),
        (&files.config, serde_norway::to_string(&config)?.as_str()),
        (&files.networks, networks.to_string().as_str()),
    ] {
        if let Some(parent) = path.parent() {
            env::create_private_dir(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        env::write_atomic(path, text.as_bytes(), 0o600)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The cluster's KubeletConfiguration, made this machine's.
fn configuration(mut config: Value, ca: &Path) -> Result<Value> {
    let damaged = "ConfigMap kubelet-config is damaged: it holds no KubeletConfiguration";
    let fields = config.as_object_mut().context(damaged)?;
    // What is for another runtime's control plane says nothing here.
    fields.insert("staticPodPath".into(), Value::Null);
    let authentication = fields.entry("authentication").or_insert_with(|| json!({}));
    if authentication.is_null() {
        *authentication = json!({});
    }
    let authentication = authentication.as_object_mut().context(damaged)?;
    authentication.insert("x509".into(), json!({ "clientCAFile": ca }));
    Ok(config)
}

/// The kubelet's options, from what was written and what was given.
fn complete(options: JoinOptions, files: Files) -> Result<KubeletOptions> {
    let text = std::fs::read(&files.networks).with_context(|| {
        format!("{} is not there: this node did not join by this command", files.networks.display())
    })?;
    let networks: Value = serde_json::from_slice(&text).context("the networks of the cluster are damaged")?;
    let range = |key: &str, default: &str| {
        networks[key].as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    Ok(KubeletOptions {
        bootstrap_kubeconfig: Some(files.bootstrap),
        config: Some(files.config),
        client_ca_file: Some(files.ca),
        hostname_override: options.node_name,
        node_ip: options.node_ip,
        node_labels: options.node_labels,
        port: options.kubelet_port,
        rotate_certificates: Some(true),
        rotate_server_certificates: Some(true),
        service_cidr: range("serviceSubnet", "10.96.0.0/12"),
        cluster_cidr: range("podSubnet", "10.244.0.0/16"),
        insecure_registry: options.insecure_registry,
        ..KubeletOptions::default()
    })
}

/// A cluster that has proved itself.
struct Cluster {
    server: String,
    ca: Vec<u8>,
}

async fn discover(server: &str, options: &JoinOptions) -> Result<Cluster> {
    let (id, secret) = token_of(&options.token)?;
    let first = info(server, None).await?;
    let cluster = proved(&first, id, secret, &options.ca_cert_hash)?;
    // The answer came from anybody; its proof holds only when the authority vouches for the same.
    let second = info(&cluster.server, Some(cluster.ca.clone())).await?;
    ensure!(
        first.data.get("kubeconfig") == second.data.get("kubeconfig"),
        "the second answer, over a verified connection, is another one"
    );
    Ok(cluster)
}

/// `cluster-info`, asked for as nobody; without an authority the answer may come from anybody.
async fn info(server: &str, ca: Option<Vec<u8>>) -> Result<Arc<ConfigMap>> {
    let map = client_of(server, ca, None)?.namespaced::<ConfigMap>(PUBLIC).get(INFO).await;
    map.map_err(|status| anyhow::anyhow!("{server}: {}", status.message))
}

fn client_of(server: &str, ca: Option<Vec<u8>>, token: Option<String>) -> Result<Client> {
    let config = remote::Config {
        server: server.to_owned(),
        insecure_skip_tls_verify: ca.is_none(),
        certificate_authority: ca,
        token,
        user_agent: "ferrokube-join".into(),
        ..remote::Config::default()
    };
    Ok(Client::new(Arc::new(remote::Remote::new(config)?)))
}

/// Takes a cluster from its `cluster-info` if the token signed it and a pin fits its authority.
fn proved(info: &ConfigMap, id: &str, secret: &str, pins: &[String]) -> Result<Cluster> {
    let content =
        info.data.get("kubeconfig").context("there is no kubeconfig in the cluster-info ConfigMap")?;
    let signature = info.data.get(&format!("jws-kubeconfig-{id}")).with_context(|| {
        format!("token id {id:?} is invalid for this cluster or it has expired. Make another with: ferrokube token create")
    })?;
    ensure!(
        signed(content, signature, id, secret),
        "failed to verify JWS signature of received cluster info object"
    );
    let document: Value = serde_norway::from_str(content).context("the cluster's kubeconfig is damaged")?;
    let cluster = &document["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().context("the cluster's kubeconfig names no server")?.to_owned();
    ensure!(server.starts_with("https://"), "the cluster's kubeconfig names a server without TLS");
    let encoded = cluster["certificate-authority-data"].as_str().unwrap_or_default();
    let ca = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .context("the cluster's authority is not base64")?;
    let found = token::pins(&ca)?;
    ensure!(
        pins.is_empty() || found.iter().any(|pin| pins.iter().any(|wanted| wanted.eq_ignore_ascii_case(pin))),
        "cluster CA found in cluster-info ConfigMap is invalid: none of the public keys {} are pinned",
        found.join(", ")
    );
    Ok(Cluster { server, ca })
}

/// Whether a detached signature (JWS, HS256) of a text was made with a token.
fn signed(content: &str, signature: &str, id: &str, secret: &str) -> bool {
    let Some((header, tag)) = signature.split_once("..") else { return false };
    let decoded = B64.decode(header).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    // The algorithm is fixed: what a header says otherwise is not followed but refused.
    if !decoded.is_some_and(|header| header["alg"] == "HS256" && header["kid"] == id) {
        return false;
    }
    let Ok(tag) = B64.decode(tag) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::verify(&key, format!("{header}.{}", B64.encode(content)).as_bytes(), &tag).is_ok()
}

fn url(server: &str) -> String {
    if server.starts_with("https://") { server.to_owned() } else { format!("https://{server}") }
}

/// Id and secret of a token.
fn token_of(token: &str) -> Result<(&str, &str)> {
    let letter = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    let fits = |text: &str, length| text.len() == length && text.bytes().all(letter);
    match token.split_once('.') {
        Some((id, secret)) if fits(id, 6) && fits(secret, 16) => Ok((id, secret)),
        _ => bail!("the bootstrap token is not of the form \"[a-z0-9]{{6}}.[a-z0-9]{{16}}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn signature(content: &str, header: &str, secret: &str) -> String {
        let header = B64.encode(header);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("{header}.{}", B64.encode(content)).as_bytes());
        format!("{header}..{}", B64.encode(tag))
    }

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    fn info(content: &str, signature: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.data.insert("kubeconfig", content.into());
        map.data.insert("jws-kubeconfig-abcdef", signature.into());
        map
    }

    #[test]
    fn a_cluster_proves_itself_by_token_and_pin() {
        let ca = authority();
        let content = kubeconfig::of_cluster("https://192.0.2.1:6443", &ca);
        let good = signature(&content, r#"{"alg":"HS256","kid":"abcdef"}"#, SECRET);
        let pin = token::pin(ca.as_bytes()).unwrap();
        let cluster = proved(&info(&content, &good), "abcdef", SECRET, std::slice::from_ref(&pin)).unwrap();
        assert_eq!(
            (cluster.server.as_str(), cluster.ca),
            ("https://192.0.2.1:6443", ca.clone().into_bytes())
        );
        proved(&info(&content, &good), "abcdef", SECRET, &[pin.to_uppercase().replace("SHA", "sha")])
            .unwrap();

        let said = |map: &ConfigMap, id: &str, pins: &[String]| {
            proved(map, id, SECRET, pins).map(drop).unwrap_err().to_string()
        };
        let other = token::pin(authority().as_bytes()).unwrap();
        assert!(said(&info(&content, &good), "abcdef", &[other]).contains("are pinned"));
        assert!(
            said(&info(&content, &good), "fedcba", &[])
                .contains("invalid for this cluster or it has expired")
        );
        let refused = "failed to verify JWS signature of received cluster info object";
        let changed = kubeconfig::of_cluster("https://198.51.100.1:6443", &ca);
        for (content, signature) in [
            (&changed, good.clone()),
            (&content, signature(&content, r#"{"alg":"HS256","kid":"abcdef"}"#, "fedcba9876543210")),
            (&content, signature(&content, r#"{"alg":"none","kid":"abcdef"}"#, SECRET)),
            (&content, signature(&content, r#"{"alg":"HS256","kid":"fedcba"}"#, SECRET)),
            (&content, good.replace("..", ".e30.")),
            (&content, format!("{}..", B64.encode(r#"{"alg":"HS256","kid":"abcdef"}"#))),
            (&content, String::new()),
        ] {
            assert_eq!(said(&info(content, &signature), "abcdef", &[]), refused, "{signature}");
        }
        let plain = kubeconfig::of_cluster("http://192.0.2.1:6443", &ca);
        let signed = signature(&plain, r#"{"alg":"HS256","kid":"abcdef"}"#, SECRET);
        assert!(said(&info(&plain, &signed), "abcdef", &[pin]).contains("without TLS"));
    }

    #[test]
    fn what_the_cluster_says_of_kubelets_may_be_anything() {
        let made = |config: Value| configuration(config, Path::new("/ca.crt"));
        let wanted = json!({"authentication": {"x509": {"clientCAFile": "/ca.crt"}}, "staticPodPath": null});
        assert_eq!(made(json!({"staticPodPath": "/x"})).unwrap(), wanted);
        assert_eq!(made(json!({"authentication": null})).unwrap(), wanted);
        for bad in [json!("text"), json!([]), json!(null), json!({"authentication": "x"})] {
            assert!(made(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_have_a_form() {
        assert_eq!(token_of("abcdef.0123456789abcdef").unwrap(), ("abcdef", SECRET));
        for bad in
            ["", "abcdef", "abcdef.0123456789ABCDEF", "abcdef.0123456789abcde", "abcdef.0123456789abcdef.x"]
        {
            assert!(token_of(bad).is_err(), "{bad}");
        }
    }
}
