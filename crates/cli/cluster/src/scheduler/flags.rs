//! The flags of kube-scheduler about its endpoint, those whom it serves, its queue and its metrics.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::scheduler::config::SchedulerConfig;
use anyhow::{Context, Result, bail};
use delegated::Freshness;
use nix::sys::socket::sockopt;
use outbound::Rate;
use serving::{Material, Pair, Pem};
use tokio::net::{TcpListener, TcpSocket};

use super::serve;
use super::trust::RequestHeaderFlags;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// How the endpoint is served.
#[derive(Clone, Debug, clap::Args)]
pub struct ServingFlags {
    /// Address of the HTTPS endpoint
    #[arg(long, default_value = "0.0.0.0", value_name = "IP")]
    pub bind_address: IpAddr,
    /// Port of the HTTPS endpoint: /healthz, /livez, /readyz, /metrics, /configz, /statusz, /flagz, questions; 0 for none
    #[arg(long, default_value_t = 10259)]
    pub secure_port: u16,
    /// Where kube-scheduler.crt and kube-scheduler.key are kept, which are made when they are missing; without it, and without
    /// --tls-cert-file, they live as long as the process
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Speak HTTP/1.1 only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false", require_equals = true, action = clap::ArgAction::Set)]
    pub disable_http2_serving: bool,
    /// Most requests at once on an HTTP/2 connection; 0 for the library's default
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub http2_max_streams_per_connection: u32,
    /// Bind the port although other sockets may be in TIME_WAIT (SO_REUSEADDR); listeners have it on this system anyhow
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false", require_equals = true, action = clap::ArgAction::Set)]
    pub permit_address_sharing: bool,
    /// Let several processes bind the same address and port (SO_REUSEPORT)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false", require_equals = true, action = clap::ArgAction::Set)]
    pub permit_port_sharing: bool,
}

impl ServingFlags {
    /// The listener of the endpoint.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(super) fn listen(&self) -> Result<TcpListener> {
        let address = (self.bind_address, self.secure_port).into();
        let open = || {
            let socket = match self.bind_address {
                IpAddr::V4(_) => TcpSocket::new_v4()?,
                IpAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            if self.permit_port_sharing {
                nix::sys::socket::setsockopt(&socket, sockopt::ReusePort, &true)?;
            }
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        open().with_context(|| format!("cannot listen on {address}"))
    }

    /// The certificate to show unless one was given.
    ///
    /// # Errors
    /// The directory cannot be written, or holds one of the two files only.
    pub(super) fn own_pair(&self) -> Result<Pair> {
        let Some(directory) = &self.cert_dir else { return serve::self_signed() };
        let (certificate, key) = (directory.join("kube-scheduler.crt"), directory.join("kube-scheduler.key"));
        match (certificate.exists(), key.exists()) {
            (true, true) => {}
            (false, false) => {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("cannot make {}", directory.display()))?;
                let (shown, secret) = serve::self_signed_pem()?;
                env::write_atomic(&key, secret.as_bytes(), 0o600).with_context(|| cannot_write(&key))?;
                env::write_atomic(&certificate, shown.as_bytes(), 0o644)
                    .with_context(|| cannot_write(&certificate))?;
            }
            _ => bail!("of {} and {} one is missing", certificate.display(), key.display()),
        }
        Ok(Pair { certificate: Pem::File(certificate), key: Pem::File(key) })
    }

    /// What is negotiated with clients.
    pub(super) fn restrict(&self, material: &mut Material) {
        if self.disable_http2_serving {
            material.alpn = &[b"http/1.1"];
        }
    }

    /// Most requests at once on an HTTP/2 connection, if that is to be limited.
    pub(super) fn streams_max(&self) -> Option<u32> {
        Some(self.http2_max_streams_per_connection).filter(|most| *most > 0)
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Whom the endpoint serves.
#[derive(Clone, Debug, clap::Args)]
pub struct AccessFlags {
    /// Authority of client certificates; the cluster's own without
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Whom to ask about tokens; the scheduler's own API server without
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// Do not look up the cluster's authority of client certificates
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false", require_equals = true, action = clap::ArgAction::Set)]
    pub authentication_skip_lookup: bool,
    /// Go on when the cluster's authority cannot be looked up: then no client certificate is taken
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub authentication_tolerate_lookup_failure: bool,
    /// How long an answer about a token is used again
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = super::seconds)]
    pub authentication_token_webhook_cache_ttl: Duration,
    /// Whom to ask about access; the scheduler's own API server without
    #[arg(long, value_name = "FILE")]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Paths that everyone may ask for; one that ends with * means all that begin so
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<String>,
    /// How long a yes about access is used again
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = super::seconds)]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long a no about access is used again
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = super::seconds)]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
    /// Proxies in front.
    #[command(flatten)]
    pub request_header: RequestHeaderFlags,
}

impl AccessFlags {
    /// How long answers are used again.
    pub(super) fn freshness(&self) -> Freshness {
        Freshness {
            token: self.authentication_token_webhook_cache_ttl,
            allowed: self.authorization_webhook_cache_authorized_ttl,
            denied: self.authorization_webhook_cache_unauthorized_ttl,
        }
    }
}

/// How the API server is asked, unless a configuration file says so.
#[derive(Clone, Debug, clap::Args)]
pub struct ApiFlags {
    /// Requests a second to the API server in the long run; below zero for any number [default: any number, where
    /// upstream's is 50]. Ignored with --config
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub kube_api_qps: Option<f32>,
    /// Requests at once after a pause. Ignored with --config
    #[arg(long, value_name = "NUMBER", default_value_t = 100, allow_negative_numbers = true)]
    pub kube_api_burst: i32,
    /// Media type of requests; kinds of the API go as protobuf and others as JSON whatever it says. Ignored with --config
    #[arg(long, value_name = "TYPE", default_value = "application/vnd.kubernetes.protobuf")]
    pub kube_api_content_type: String,
}

impl ApiFlags {
    /// How many requests are sent at most, if that is to be limited.
    pub(super) fn rate(&self) -> Option<Rate> {
        rate(self.kube_api_qps?.into(), self.kube_api_burst.into())
    }
}

/// The limit that these numbers mean; none for a rate that is not above zero.
pub(super) fn rate(per_second: f64, burst: i64) -> Option<Rate> {
    let burst = u32::try_from(burst.max(1)).unwrap_or(u32::MAX);
    (per_second > 0.0).then_some(Rate { per_second, burst })
}

/// What is measured and tried, and for how long pods wait.
#[derive(Clone, Debug, clap::Args)]
pub struct TuningFlags {
    /// How long a pod waits at most that fitted nowhere, before it is tried again whatever happened
    #[arg(long, value_name = "DURATION", value_parser = super::seconds)]
    pub pod_max_in_unschedulable_pods_duration: Option<Duration>,
    /// Profiles over HTTP, which are for Go's runtime: only false is possible
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub profiling: Option<bool>,
    /// Profiles of contention, likewise: only false is possible
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub contention_profiling: Option<bool>,
}

impl TuningFlags {
    /// Takes effect.
    ///
    /// # Errors
    /// A flag asks for what is not there.
    pub(super) fn apply(&self, config: &mut SchedulerConfig) -> Result<()> {
        for (name, wanted) in
            [("profiling", self.profiling), ("contention-profiling", self.contention_profiling)]
        {
            if wanted == Some(true) {
                bail!("--{name}: there are no profiles over HTTP");
            }
        }
        if let Some(most) = self.pod_max_in_unschedulable_pods_duration {
            config.pod_max_unschedulable = most;
        }
        Ok(())
    }
}
