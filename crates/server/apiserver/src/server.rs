//! The server: its parts, how it is started and how it is stopped.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use aggregate::Aggregator;
use authn::oidc::Issuers;
use authn::{
    Authenticator, Identified, Issuer, KeyError, RequestHeaderNames, TokenFile, TokenFileError, Tokens, User,
};
use authz::Authorizer;
use call::Transport;
use env::Env;
use ipnet::IpNet;
use meta::{Status, Str};
use mvcc::Store;
use registry::Registry;
use serving::{Followed, Pair, Pem, TlsError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::directory::FeedDirectory;
use crate::endpoints::{CustomDocuments, Discovery};
use crate::identity::{Authentication, Authorization, TokenKeys};
use crate::impersonation::Impersonator;
use crate::metrics::Metrics;
use crate::serve::listen::listen;
use crate::serve::tls::{Tls, TlsFiles};
use crate::start;
use crate::stream::KubeletClient;
use crate::transport::InProcess;

/// How long open connections may take to finish when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The serving key material is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The ServiceAccount key is unusable.
    #[error("ServiceAccount key: {0}")]
    Key(#[from] KeyError),
    /// The configuration of token issuers is unusable.
    #[error(transparent)]
    Issuers(#[from] authn::oidc::ConfigurationError),
    /// The static token file is unusable.
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    /// The socket could not be used.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The store could not be read or the first objects not written.
    #[error("{0}")]
    Store(Box<Status>),
}

/// What a server is started with.
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Clock and randomness.
    pub env: Env,
    /// The socket to serve on; bound by the caller, who thus knows its port before anything else starts.
    pub listener: TcpListener,
    /// Address that the `kubernetes` Service's endpoint names; the listener's own when absent.
    pub advertise_address: Option<IpAddr>,
    /// Serving certificate and client CA.
    pub tls: TlsFiles,
    /// Which proxies may name users, and in which headers.
    pub request_header: RequestHeaderNames,
    /// Text of a static token file, empty for none.
    pub token_file: String,
    /// Private key that signs ServiceAccount tokens.
    pub service_account_key: Pem,
    /// Issuer of ServiceAccount tokens, `https://kubernetes.default.svc.cluster.local` by default.
    pub service_account_issuer: String,
    /// Ranges of cluster IPs; the first is the default family.
    pub service_ranges: Vec<IpNet>,
    /// Node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Client certificate for kubelets; without it, streams to nodes are refused.
    pub kubelet_client: Option<KubeletClient>,
    /// Who is accepted beside those that the options above name.
    pub authentication: Authentication,
    /// What they may do.
    pub authorization: Authorization,
    /// The front proxy's certificate, by which extension API servers know this one.
    pub proxy_client: Option<Pair>,
    /// Reach extension API servers by their endpoints alone (`--enable-aggregator-routing`).
    pub aggregator_routing: bool,
    /// The admission plugins.
    pub admission: admission::Chain,
    /// Tells of requests; `None` costs nothing.
    pub audit: Option<Arc<audit::Auditor>>,
    /// Health checks besides the server's own.
    pub checks: Vec<HealthCheck>,
}

/// What extension API servers have in namespaces.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Group, version and plural of each resource that can be listed and deleted as a whole.
    pub resources: Vec<(Str, Str, Str)>,
    /// Groups and versions of which is not known what they have.
    pub stale: Vec<(Str, Str)>,
}

/// A health check: its name, and what is wrong.
pub type HealthCheck = (&'static str, Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

/// What answers need besides the request.
pub(crate) struct Shared {
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// See the module.
pub struct Server {
    pub(crate) registry: Arc<Registry>,
    pub(crate) authenticator: Authenticator,
    pub(crate) tls: Arc<ArcSwap<Tls>>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) impersonator: Impersonator,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) env: Env,
    pub(crate) flow: flow::Flow,
    pub(crate) metrics: Metrics,
    pub(crate) openapi: CustomDocuments,
    pub(crate) aggregator: Aggregator,
    pub(crate) discovery: Discovery,
    pub(crate) shared: Shared,
    pub(crate) kubelet_client: Option<KubeletClient>,
    pub(crate) audit: Option<Arc<audit::Auditor>>,
    pub(crate) checks: Vec<HealthCheck>,
    pub(crate) hooks: start::Hooks,
    pub(crate) slis: telemetry::Slis,
    pub(crate) address: SocketAddr,
    pub(crate) ready: AtomicBool,
    audit_ids: AtomicU64,
    audit_seed: u64,
}

impl Server {
    pub(crate) fn now_s(&self) -> i64 {
        self.env.unix_ms().div_euclid(1000)
    }

    /// An id for the Audit-ID header: unique, cheap, and shaped like upstream's.
    pub(crate) fn next_audit_id(&self) -> String {
        let n = self.audit_ids.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (a, b) = (n ^ self.audit_seed, n.rotate_left(29).wrapping_add(self.audit_seed));
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}

/// Starts servers.
pub struct ApiServer;

/// A running server.
pub struct ApiServerHandle {
    server: Arc<Server>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl ApiServer {
    /// Opens the store's caches, writes what every cluster starts with, and serves.
    pub async fn start(config: Config) -> Result<ApiServerHandle, StartError> {
        let failed = |status: Status| StartError::Store(Box::new(status));
        let followed = start::FollowedKeys {
            tls: Followed::new("TLS", config.tls.paths()),
            kubelet: Followed::new(
                "client certificate for kubelets",
                start::kubelet_files(&config.kubelet_client),
            ),
            proxy: Followed::new("front proxy certificate", start::pair_files(&config.proxy_client)),
        };
        let tls = Arc::new(ArcSwap::from_pointee(Tls::new(&config.tls, config.request_header)?));
        let proxy_identity = config.proxy_client.as_ref().map(start::identity).transpose()?;
        let authentication = config.authentication;
        let keys = TokenKeys { signer: config.service_account_key, accepted: authentication.accepted_keys };
        let followed_keys = Followed::new("keys of ServiceAccount tokens", keys.files());
        let (signer, accepted) = keys.read()?;
        let issuer = Issuer {
            url: config.service_account_issuer.clone(),
            also: authentication.accepted_issuers,
            audiences: match authentication.audiences {
                none if none.is_empty() => vec![Str::from(config.service_account_issuer.as_str())],
                given => given,
            },
        };
        let tokens = Tokens::new(issuer, signer, accepted).with(authentication.tokens);
        let tokens = Arc::new(tokens);
        let authorizer = Arc::new(Authorizer::new(config.authorization.chain));
        let bound = config.listener.local_addr()?;
        let address = SocketAddr::new(config.advertise_address.unwrap_or(bound.ip()), bound.port());
        let registry = Registry::open(registry::Config {
            store: config.store,
            env: config.env.clone(),
            authorizer: authorizer.clone(),
            tokens: tokens.clone(),
            chain: config.admission,
            service_ranges: config.service_ranges,
            node_ports: config.node_ports,
        })
        .await
        .map_err(failed)?;
        let (directory, used) = FeedDirectory::new(registry.clone());
        let issuers = Issuers::start(&authentication.issuers, &config.env)?;
        let authenticator = Authenticator {
            token_file: TokenFile::parse(&config.token_file)?,
            tokens: tokens.clone(),
            directory: Arc::new(directory),
            issuers: ArcSwap::from_pointee(issuers),
            webhook: authentication.webhook,
            anonymous: authentication.anonymous,
        };
        ::audit::show_metrics();
        let (stop, stopping) = watch::channel(false);
        let server = Arc::new(Server {
            registry,
            authenticator,
            tls: tls.clone(),
            authorizer,
            impersonator: Impersonator::new(),
            tokens,
            audit_seed: config.env.random.u64(),
            env: config.env,
            flow: flow::Flow::new(crate::flow::SEATS),
            metrics: Metrics::new(),
            openapi: CustomDocuments::default(),
            aggregator: Aggregator::new(proxy_identity, config.aggregator_routing),
            discovery: Discovery::default(),
            shared: Shared { stopping: stopping.clone() },
            kubelet_client: config.kubelet_client,
            audit: config.audit,
            checks: config.checks,
            hooks: start::Hooks::default(),
            slis: telemetry::Slis::default(),
            address,
            ready: AtomicBool::new(false),
            audit_ids: AtomicU64::new(1),
        });
        server.hooks.done(start::hooks::STORAGE);
        let mut tasks = start::follow_policy(&server).await.map_err(failed)?;
        let files = [
            authentication.file.map(start::Followed::Authentication),
            config.authorization.file.map(|file| start::Followed::Authorization {
                file,
                policy_file: config.authorization.policy_file,
            }),
        ];
        tasks.extend(files.into_iter().flatten().map(|file| start::follow_file(&server, file)));
        tasks.push(start::note_used_tokens(&server, used));
        start::write_first_objects(&server).await.map_err(failed)?;
        start::count_objects(&server);
        tasks.extend(start::keep_first_objects(&server));
        tasks.extend(start::follow_keys(&server, followed, config.tls, config.proxy_client));
        tasks.push(start::follow_token_keys(&server, followed_keys, keys));
        tasks.extend(start::follow_definitions(&server).await.map_err(failed)?);
        tasks.extend(start::follow_aggregation(&server).await.map_err(failed)?);
        tasks.push(start::aggregate_roles(&server));
        tasks.push(start::follow_flow(&server));
        tasks.extend(start::follow_addresses(&server));
        tasks.extend(start::keep_leases(&server));
        tasks.push(tokio::spawn(listen(config.listener, tls, server.clone(), stopping)));
        server.ready.store(true, Ordering::Release);
        crate::endpoints::look_at_health(&server).await;
        Ok(ApiServerHandle { server, stop, tasks })
    }
}

impl ApiServerHandle {
    /// A transport for a component of this process that acts as `user`. Its calls meet the same authorization and
    /// admission as everybody's.
    pub fn transport(&self, user: User) -> Arc<dyn Transport> {
        Arc::new(InProcess::new(self.server.clone(), Identified::in_process(Arc::new(user))))
    }

    /// Where the server is reached.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// What extension API servers have in namespaces, as it is whenever that is asked.
    pub fn extensions(&self) -> impl Fn() -> Extensions + Send + Sync + 'static {
        let server = self.server.clone();
        move || {
            let mut found = Extensions::default();
            for remote in server.aggregator.remotes() {
                let documents = remote.documents();
                match &documents.discovery {
                    Some(entry) if documents.fresh => {
                        let plurals = aggregate::discovery::sweepable(entry).into_iter();
                        found.resources.extend(
                            plurals
                                .map(|plural| (remote.group.clone(), remote.version.clone(), plural.into())),
                        );
                    }
                    _ => found.stale.push((remote.group.clone(), remote.version.clone())),
                }
            }
            found
        }
    }

    /// Issues ServiceAccount tokens.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.server.tokens
    }

    /// The registry, for components that share its caches.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.server.registry
    }

    /// Stops: no new connections, watches end, running requests get some seconds.
    pub async fn shutdown(self) {
        self.server.ready.store(false, Ordering::Release);
        let _ = self.stop.send(true);
        for task in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout(DRAIN_TIMEOUT, task).await.is_err() {
                abort.abort();
            }
        }
        if let Some(audit) = &self.server.audit
            && tokio::time::timeout(DRAIN_TIMEOUT, audit.flush()).await.is_err()
        {
            tracing::error!("audit events were not delivered in time and are lost");
        }
    }
}
