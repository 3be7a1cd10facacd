//! The options of `ferrokube kubelet`, under upstream's names, and what they come to with the configuration file.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use kubelet::{Policy, Tls};
use serving::Pem;
use types::core::v1::Taint;

use super::configuration::{self, Configuration};
use super::serving as certificates;
use crate::control_plane::service_address;
use crate::node::{Duties, Site};
use crate::paths::Paths;
use crate::tls::TlsOptions;

/// Index of cluster DNS in the service range, as kubeadm has it.
const DNS_INDEX: u32 = 10;

/// Options of `ferrokube kubelet`. They win over the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KubeletOptions {
    /// How to reach the API server, as this node; written when --bootstrap-kubeconfig is used [default:
    /// kubelet.kubeconfig in the data directory]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How to ask the API server for a client certificate, such as with a bootstrap token, while --kubeconfig has none that
    /// holds
    #[arg(long, value_name = "FILE")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// KubeletConfiguration, YAML or JSON
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where certificates are kept [default: kubelet/pki in the data directory]
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Name of the node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Addresses of the node, the primary one first [default: that of the default route]
    #[arg(long, value_delimiter = ',', value_name = "IP,...")]
    pub node_ip: Vec<IpAddr>,
    /// Labels of the node at its registration
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,...")]
    pub node_labels: Vec<String>,
    /// Taints of the node at its registration
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE:EFFECT,...")]
    pub register_with_taints: Vec<String>,
    /// Directory with manifests of static pods [default: manifests in the data directory]
    #[arg(long, value_name = "DIR")]
    pub pod_manifest_path: Option<PathBuf>,
    /// Address the kubelet's API listens on
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Port of the kubelet's API
    #[arg(long)]
    pub port: Option<u16>,
    /// TLS of the kubelet's API.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Authorities of the certificates that clients of the kubelet's API show, such as the API server
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Ask the API for new client certificates before they end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub rotate_certificates: Option<bool>,
    /// Ask the API for the certificate of the kubelet's API; each request waits for somebody's approval
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub rotate_server_certificates: Option<bool>,
    /// Addresses of cluster DNS [default: the tenth of --service-cidr]
    #[arg(long, value_delimiter = ',', value_name = "IP,...")]
    pub cluster_dns: Vec<IpAddr>,
    /// DNS domain of the cluster [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Most pods on the node
    #[arg(long)]
    pub max_pods: Option<u32>,
    /// The node's resolver file [default: /etc/resolv.conf]
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// Containers without a seccomp profile get RuntimeDefault
    #[arg(long)]
    pub seccomp_default: bool,
    /// Addresses of Services
    #[arg(long, default_value = "10.96.0.0/16", value_name = "CIDR")]
    pub service_cidr: String,
    /// Addresses of pods
    #[arg(long, default_value = "10.244.0.0/16", value_name = "CIDR")]
    pub cluster_cidr: String,
    /// Who may see all Nodes, Services, EndpointSlices and Namespaces, from which this node's network is made [default: the
    /// node itself, which some clusters do not allow]
    #[arg(long, value_name = "FILE")]
    pub network_kubeconfig: Option<PathBuf>,
    /// Registry to be spoken to without TLS, as host or host:port; loopback always is (may be repeated)
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
    /// Features, logs and metrics.
    #[command(flatten)]
    pub component: crate::component::ComponentFlags,
}

/// What the options and the file come to.
pub(super) struct Plan {
    pub(super) site: Site,
    pub(super) kubeconfig: PathBuf,
    pub(super) bootstrap_kubeconfig: Option<PathBuf>,
    pub(super) network_kubeconfig: Option<PathBuf>,
    pub(super) cert_dir: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) rotate_client: bool,
    pub(super) rotate_serving: bool,
    tls: TlsOptions,
    client_ca: Pem,
    labels: Vec<(String, String)>,
    taints: Vec<Taint>,
    configuration: Configuration,
}

/// Where the node's kubeconfig is unless told otherwise.
pub(super) fn default_kubeconfig(paths: &Paths) -> PathBuf {
    paths.data().join("kubelet.kubeconfig")
}

impl KubeletOptions {
    /// Reads the configuration file and puts both together. Changes nothing.
    ///
    /// # Errors
    /// What is wrong with an option or with the file.
    pub(super) fn plan(self, paths: &Paths) -> Result<Plan> {
        ensure!(
            self.kubeconfig.is_some() || self.bootstrap_kubeconfig.is_some(),
            "a node needs an API server: give --kubeconfig, or --bootstrap-kubeconfig to join one"
        );
        let configuration = read(self.config.as_deref())?;
        if !configuration.ignored.is_empty() {
            tracing::warn!(
                fields = configuration.ignored.join(", "),
                "fields of --config change nothing here"
            );
        }
        let site = self.site(paths, &configuration)?;
        let address = match (self.address, configuration.address.as_deref()) {
            (Some(address), _) => address,
            (None, Some(text)) => text.parse().with_context(|| format!("address {text} is no address"))?,
            (None, None) => IpAddr::from([0, 0, 0, 0]),
        };
        let port = self.port.or(configuration.port).unwrap_or(10250);
        let labels = self.node_labels.iter().map(|text| label(text)).collect::<Result<_>>()?;
        let taints = match self.register_with_taints.as_slice() {
            [] => configuration.taints.clone(),
            given => given.iter().map(|text| taint(text)).collect::<Result<_>>()?,
        };
        let client_ca = self.client_ca_file.or_else(|| configuration.client_ca.clone());
        let tls = joined(self.tls, &configuration);
        // A certificate that was given is nobody's to renew.
        let rotate_serving = self.rotate_server_certificates.unwrap_or(configuration.rotate_serving);
        let rotate_serving = rotate_serving && tls.given().is_none();
        Ok(Plan {
            kubeconfig: self.kubeconfig.unwrap_or_else(|| default_kubeconfig(paths)),
            bootstrap_kubeconfig: self.bootstrap_kubeconfig,
            network_kubeconfig: self.network_kubeconfig,
            cert_dir: std::path::absolute(self.cert_dir.unwrap_or_else(|| paths.kubelet().join("pki")))?,
            listen: SocketAddr::new(address, port),
            rotate_client: self.rotate_certificates.unwrap_or(configuration.rotate_client),
            rotate_serving,
            tls,
            // Without an authority nobody is known by a certificate.
            client_ca: client_ca.map_or_else(|| Pem::from(Vec::new()), Pem::File),
            labels,
            taints,
            configuration: Configuration {
                static_pods: self.pod_manifest_path.or(configuration.static_pods),
                max_pods: self.max_pods.or(configuration.max_pods),
                seccomp_default: self.seccomp_default || configuration.seccomp_default,
                resolv_conf: self.resolv_conf.or(configuration.resolv_conf),
                ..configuration
            },
            site,
        })
    }

    fn site(&self, paths: &Paths, configuration: &Configuration) -> Result<Site> {
        let name = match &self.hostname_override {
            Some(name) => name.trim().to_lowercase(),
            None => nix::unistd::gethostname()
                .context("cannot read the host name; give one with --hostname-override")?
                .to_string_lossy()
                .trim()
                .to_lowercase(),
        };
        ensure!(!name.is_empty(), "empty hostname is invalid");
        let file_dns = configuration
            .cluster_dns
            .iter()
            .map(|text| text.parse::<IpAddr>().with_context(|| format!("clusterDNS {text} is no address")));
        let cluster_dns = match self.cluster_dns.as_slice() {
            [] if configuration.cluster_dns.is_empty() => {
                vec![service_address(&self.service_cidr, DNS_INDEX)?]
            }
            [] => file_dns.collect::<Result<_>>()?,
            given => given.to_vec(),
        };
        let ips = match self.node_ip.as_slice() {
            [] => vec![crate::preflight::machine_address()],
            given => given.to_vec(),
        };
        Ok(Site {
            name,
            ips,
            data: paths.data().to_owned(),
            cluster_cidr: self.cluster_cidr.clone(),
            service_cidr: self.service_cidr.clone(),
            cluster_domain: self
                .cluster_domain
                .clone()
                .or_else(|| configuration.cluster_domain.clone())
                .unwrap_or_else(|| "cluster.local".to_owned()),
            cluster_dns,
            insecure_registries: self.insecure_registry.clone(),
        })
    }
}

impl Plan {
    /// The link to the rotated client certificate, where it is rotated.
    pub(super) fn rotated_client(&self) -> Option<PathBuf> {
        use kubelet::credentials::{Purpose, current};
        self.rotate_client.then(|| current(&self.cert_dir, &Purpose::Client))
    }

    /// URL of the API server.
    ///
    /// # Errors
    /// The kubeconfig cannot be read.
    pub(super) fn server(&self) -> Result<String> {
        Ok(client::remote::Config::from_kubeconfig(&self.kubeconfig, None)?.server)
    }

    /// What the kubelet is to do. Makes a serving certificate where none is given.
    ///
    /// # Errors
    /// TLS options that mean nothing, or files that cannot be written.
    pub(super) fn duties(&self) -> Result<Duties> {
        let (paths, configuration) = (self.site.paths(), &self.configuration);
        let (name, ips) = (&self.site.name, &self.site.ips);
        let own = match self.tls.given() {
            Some(given) => given,
            None if self.rotate_serving => certificates::issued(&self.cert_dir, name, ips)?,
            None => certificates::own(&self.cert_dir, name, ips)?,
        };
        Ok(Duties {
            listen: self.listen,
            tls: Tls {
                serving: self.tls.material(own)?,
                client_ca: self.client_ca.clone(),
                policy: configuration.policy,
            },
            root_dir: paths.kubelet(),
            pod_logs_dir: configuration.pod_logs.clone().unwrap_or_else(|| paths.data().join("logs/pods")),
            static_pods_dir: Some(configuration.static_pods.clone().unwrap_or_else(|| paths.manifests())),
            resolv_conf: configuration.resolv_conf.clone().unwrap_or_else(|| "/etc/resolv.conf".into()),
            max_pods: configuration.max_pods.unwrap_or(110),
            pod_pids_limit: configuration.pod_pids_limit,
            seccomp_default: configuration.seccomp_default,
            log: configuration.log,
            parallel_pulls: configuration.parallel_pulls.unwrap_or(1),
            labels: self.labels.clone(),
            taints: self.taints.clone(),
        })
    }
}

fn read(path: Option<&Path>) -> Result<Configuration> {
    let Some(path) = path else {
        return Ok(Configuration { policy: Policy::default(), ..Default::default() });
    };
    let folder = std::path::absolute(path)?.parent().map(Path::to_owned).unwrap_or_default();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read kubelet config file {}", path.display()))?;
    configuration::parse(&text, &folder)
        .with_context(|| format!("failed to load kubelet config file, path: {}", path.display()))
}

/// The TLS options, filled up from the file.
fn joined(mut options: TlsOptions, configuration: &Configuration) -> TlsOptions {
    if options.given().is_none()
        && let Some((certificate, key)) = &configuration.tls_files
    {
        options.tls_cert_file = Some(certificate.clone());
        options.tls_private_key_file = Some(key.clone());
    }
    if options.tls_cipher_suites.is_empty() {
        options.tls_cipher_suites.clone_from(&configuration.suites);
    }
    if options.tls_min_version.is_empty() {
        options.tls_min_version.clone_from(&configuration.min_version);
    }
    if options.tls_curve_preferences.is_empty() {
        options.tls_curve_preferences.clone_from(&configuration.curves);
    }
    options
}

/// A label, which a node may give itself (NodeRestriction refuses others later; upstream's kubelet refuses them at once).
fn label(text: &str) -> Result<(String, String)> {
    let (key, value) =
        text.split_once('=').with_context(|| format!("malformed pair, expect string=string: {text}"))?;
    let (key, value) = (key.trim(), value.trim());
    if !may_label(key) {
        bail!(
            "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{key}]\n\
             --node-labels in the 'kubernetes.io' namespace must begin with an allowed prefix (kubelet.kubernetes.io, \
             node.kubernetes.io) or be in the specifically allowed set ({})",
            ALLOWED.join(", ")
        );
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Labels of the project's own namespace that a kubelet may set.
const ALLOWED: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

fn may_label(key: &str) -> bool {
    let namespace = key.split_once('/').map(|(namespace, _)| namespace).unwrap_or_default();
    let within = |domain: &str| {
        namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let projects = within("kubernetes.io") || within("k8s.io");
    !projects || ALLOWED.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

fn taint(text: &str) -> Result<Taint> {
    let invalid = || format!("invalid taint spec: {text}");
    let (pair, effect) = text.trim().rsplit_once(':').with_context(invalid)?;
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    ensure!(
        !key.is_empty() && ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect),
        "{}, unsupported taint effect or empty key",
        invalid()
    );
    Ok(Taint { key: key.into(), value: value.into(), effect: effect.into(), ..Taint::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: KubeletOptions,
    }

    fn plan(folder: &Path, arguments: &[&str]) -> Result<Plan> {
        let line = ["kubelet"].iter().chain(arguments).copied();
        let Line { options } = clap::Parser::try_parse_from(line)?;
        options.plan(&Paths::new(folder))
    }

    #[test]
    fn options_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nport: 1234\nmaxPods: 7\n\
                    clusterDNS: [192.0.2.53]\nrotateCertificates: true\nauthentication: {x509: {clientCAFile: ca.crt}}\n";
        std::fs::write(&file, text).unwrap();
        let config = format!("--config={}", file.display());
        let base = ["--kubeconfig=k", &config, "--node-ip=192.0.2.1", "--hostname-override=N1"];
        let seen = plan(folder.path(), &base).unwrap();
        assert_eq!((seen.site.name.as_str(), seen.listen.to_string().as_str()), ("n1", "0.0.0.0:1234"));
        assert_eq!(seen.site.cluster_dns, ["192.0.2.53".parse::<IpAddr>().unwrap()]);
        assert!(seen.rotate_client && !seen.rotate_serving);
        assert!(matches!(&seen.client_ca, Pem::File(path) if *path == folder.path().join("ca.crt")));
        let more = ["--port=99", "--rotate-certificates=false", "--max-pods=9", "--cluster-dns=192.0.2.1"];
        let more: Vec<&str> = base.iter().copied().chain(more).collect();
        let seen = plan(folder.path(), &more).unwrap();
        assert_eq!((seen.listen.port(), seen.rotate_client), (99, false));
        assert_eq!(seen.configuration.max_pods, Some(9));
        assert_eq!(seen.site.cluster_dns, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let said =
            |arguments: &[&str]| format!("{:#}", plan(folder.path(), arguments).map(drop).unwrap_err());
        assert!(said(&[]).contains("--bootstrap-kubeconfig"));
        let refused = said(&["--kubeconfig=k", "--node-labels=kubernetes.io/role=master"]);
        assert!(refused.contains("unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels"));
        assert!(
            said(&["--kubeconfig=k", "--node-labels=a"]).contains("malformed pair, expect string=string: a")
        );
        assert!(
            said(&["--kubeconfig=k", "--register-with-taints=a:Never"])
                .contains("invalid taint spec: a:Never")
        );
        let missing = said(&["--kubeconfig=k", "--config=/none/such"]);
        assert!(missing.contains("failed to read kubelet config file /none/such"), "{missing}");
    }

    #[test]
    fn labels_that_a_kubelet_may_set() {
        for key in ["a", "x.io/a", "node.kubernetes.io/a", "a.kubelet.kubernetes.io/b", "kubernetes.io/os"] {
            assert!(may_label(key), "{key}");
        }
        for key in ["kubernetes.io/a", "node-role.kubernetes.io/master", "x.k8s.io/a"] {
            assert!(!may_label(key), "{key}");
        }
        let seen = taint("a=b:NoExecute").unwrap();
        assert_eq!((seen.key.as_str(), seen.value.as_str(), seen.effect.as_str()), ("a", "b", "NoExecute"));
    }
}
