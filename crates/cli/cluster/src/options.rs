//! The options of `ferrokube up`, and what they come to on this machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;

/// What a person can choose when a cluster starts. Kept in the data directory, so that the next `up` without options
/// starts the same cluster again.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
pub struct UpOptions {
    /// Port of the API server
    #[arg(long, default_value_t = 6443)]
    pub port: u16,
    /// Address the API server listens on
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Address by which the other machines and the pods reach this one [default: that of the default route]
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Name of this node [default: the host name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Addresses of Services
    #[arg(long, default_value = "10.96.0.0/16", value_name = "CIDR")]
    pub service_cidr: String,
    /// Addresses of pods
    #[arg(long, default_value = "10.244.0.0/16", value_name = "CIDR")]
    pub cluster_cidr: String,
    /// DNS domain of the cluster
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Port of the kubelet's API
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Ask the API for the node's client certificate, and again before it ends; `kubelet.kubeconfig` in the data directory
    /// shows it (KubeletConfiguration's rotateCertificates)
    #[arg(long)]
    #[serde(default)]
    pub rotate_certificates: bool,
    /// Ask the API for the certificate of the kubelet's own API, and again before it ends. Each request waits for somebody's
    /// approval (`kubectl certificate approve`); until the first, the locally made one is served (serverTLSBootstrap)
    #[arg(long)]
    #[serde(default)]
    pub rotate_server_certificates: bool,
    /// Most pods on this node
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// Registry to be spoken to without TLS, as host or host:port; loopback always is (may be repeated)
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
    /// Run the control plane alone: no node, no network, no containers
    #[arg(long)]
    pub no_node: bool,
    /// Do not run the scheduler
    #[arg(long)]
    pub no_scheduler: bool,
    /// KubeSchedulerConfiguration of the scheduler, YAML or JSON
    #[arg(long, value_name = "FILE")]
    #[serde(default)]
    pub scheduler_config: Option<PathBuf>,
    /// Port of the scheduler's HTTPS endpoint (/healthz, /metrics, why and whatif), on this machine only; 0 for none
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    #[serde(default)]
    pub scheduler_secure_port: u16,
    /// Controllers to run: `*` for all that need not be named, `name` for one, `-name` for all but this one. Those of
    /// bootstrap tokens must be named
    #[arg(
        long,
        default_value = "*,bootstrap-signer-controller,token-cleaner-controller",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_name = "LIST"
    )]
    pub controllers: Vec<String>,
    /// CSV file of static tokens: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// TLS of the API server.
    #[command(flatten)]
    #[serde(flatten)]
    pub tls: crate::tls::TlsOptions,
    /// Authorities of client certificates; read again when it changes. The cluster's own credentials hold only while its
    /// own authority is among them [default: the cluster's own]
    #[arg(long, value_name = "FILE")]
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Admission plugins to run besides those that are on by default
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    #[serde(default)]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins not to run
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    #[serde(default)]
    pub disable_admission_plugins: Vec<String>,
    /// Proxies in front, and extension API servers behind.
    #[command(flatten)]
    #[serde(flatten)]
    pub front_proxy: crate::front_proxy::FrontProxyOptions,
    /// File with the configuration of admission plugins
    #[arg(long, value_name = "FILE")]
    #[serde(default)]
    pub admission_control_config_file: Option<PathBuf>,
    /// Who is accepted.
    #[command(flatten)]
    #[serde(flatten)]
    pub authentication: crate::auth::AuthenticationOptions,
    /// What they may do.
    #[command(flatten)]
    #[serde(flatten)]
    pub authorization: crate::auth::AuthorizationOptions,
    /// Encryption at rest.
    #[command(flatten)]
    #[serde(flatten)]
    pub encryption: crate::encryption::EncryptionOptions,
    /// The audit log.
    #[command(flatten)]
    #[serde(flatten)]
    pub audit: crate::audit::AuditOptions,
    /// Features, logs and metrics.
    #[command(flatten)]
    #[serde(flatten)]
    pub component: crate::component::ComponentFlags,
}

/// The options with everything filled in that only this machine knows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The options as given.
    pub options: UpOptions,
    /// Where the files are.
    pub paths: Paths,
    /// Name of the node.
    pub node_name: String,
    /// Address of the node.
    pub node_ip: IpAddr,
    /// Distinguishes this cluster's links, nft tables and cgroups from those of another one on the same machine.
    pub instance: String,
}

impl Settings {
    /// Fills in what was not given.
    ///
    /// # Errors
    /// When the host name cannot be read or is no valid node name.
    pub fn resolve(options: UpOptions, data_dir: &Path) -> Result<Settings> {
        let node_name = match &options.node_name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname()
                .context("cannot read the host name; give one with --node-name")?
                .to_string_lossy()
                .to_lowercase(),
        };
        let node_ip = options.node_ip.unwrap_or_else(crate::preflight::machine_address);
        Ok(Settings {
            node_name,
            node_ip,
            instance: instance(data_dir),
            paths: Paths::new(data_dir),
            options,
        })
    }

    /// Where a client on this machine reaches the API server.
    pub fn server_url(&self) -> String {
        let host = match self.options.bind_address {
            address if address.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
            address => address,
        };
        match host {
            IpAddr::V4(host) => format!("https://{host}:{}", self.options.port),
            IpAddr::V6(host) => format!("https://[{host}]:{}", self.options.port),
        }
    }

    /// The name of the kubeconfig context.
    pub fn context(&self) -> &str {
        &self.instance
    }
}

/// `ferrokube` for the default data directory, with a suffix that the path determines for every other.
pub fn instance(data_dir: &Path) -> String {
    if data_dir == Path::new(Paths::DATA_DEFAULT) {
        return "ferrokube".to_owned();
    }
    // FNV-1a: the suffix must be the same on every run, which std's hasher does not promise.
    let hash =
        data_dir.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("ferrokube-{:08x}", (hash >> 32) as u32 ^ hash as u32)
}

/// A flag's value as a duration in Go's form, such as `15s` or `1m30s`.
pub(crate) fn duration(flag: &str, text: &str) -> Result<Duration> {
    let parsed = meta::Duration::parse(text).with_context(|| format!("--{flag}"))?;
    Ok(parsed.to_std())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_with_other_data_directories_never_share_names() {
        let (default, one, two) = (
            instance(Path::new(Paths::DATA_DEFAULT)),
            instance(Path::new("/tmp/one")),
            instance(Path::new("/tmp/two")),
        );
        assert_eq!(default, "ferrokube");
        assert!(one != two && one != default, "{one} {two}");
        assert_eq!(one, instance(Path::new("/tmp/one")));
    }
}
