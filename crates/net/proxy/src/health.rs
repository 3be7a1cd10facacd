//! Health checks for load balancers: a service with `externalTrafficPolicy: Local` has a port on every node that tells whether that node
//! has endpoints of it, so that a balancer sends clients only where they are served.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::endpoints::local_count;
use crate::spec::{NodeSpec, SliceSpec, Snapshot, TrafficPolicy};

/// What one port answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHealth {
    /// Namespace of the service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// The health check ports of a snapshot and their answers.
pub fn wanted(snapshot: &Snapshot, node: &NodeSpec) -> BTreeMap<u16, ServiceHealth> {
    let mut all = BTreeMap::new();
    for service in snapshot.services.iter().filter(|s| s.external_traffic_policy == TrafficPolicy::Local) {
        let Some(port) = service.health_check_node_port else { continue };
        let ours =
            |slice: &&SliceSpec| (&slice.namespace, &slice.service) == (&service.namespace, &service.name);
        let slices: Vec<_> = snapshot.slices.iter().filter(ours).collect();
        all.entry(port).or_insert_with(|| ServiceHealth {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            local_endpoints: local_count(&slices, node),
        });
    }
    all
}

/// The answer of a port: status and JSON body.
pub fn answer(health: &ServiceHealth, local_endpoints: usize) -> (StatusCode, String) {
    let body = serde_json::json!({
        "service": {"namespace": health.namespace, "name": health.name},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": true,
    });
    let status = if local_endpoints > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, body.to_string())
}

/// The open ports.
#[derive(Debug)]
pub struct HealthServer {
    address: IpAddr,
    open: HashMap<u16, Open>,
}

#[derive(Debug)]
struct Open {
    health: ServiceHealth,
    local_endpoints: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthServer {
    /// A server that will listen on `address`, with no port open.
    pub fn new(address: IpAddr) -> HealthServer {
        HealthServer { address, open: HashMap::new() }
    }

    /// Opens, closes and updates ports. A port that cannot be opened is logged and tried at the next call.
    pub async fn sync(&mut self, wanted: BTreeMap<u16, ServiceHealth>) {
        self.open.retain(|port, open| {
            wanted
                .get(port)
                .is_some_and(|now| (&now.namespace, &now.name) == (&open.health.namespace, &open.health.name))
        });
        for (port, health) in wanted {
            if let Some(open) = self.open.get(&port) {
                open.local_endpoints.store(health.local_endpoints, Ordering::Relaxed);
                continue;
            }
            match TcpListener::bind(SocketAddr::new(self.address, port)).await {
                Ok(listener) => {
                    let local_endpoints = Arc::new(AtomicUsize::new(health.local_endpoints));
                    let task =
                        tokio::spawn(serve(listener, health.clone(), local_endpoints.clone())).abort_handle();
                    self.open.insert(port, Open { health, local_endpoints, task });
                }
                Err(error) => tracing::warn!(
                    %error, port, service = %format!("{}/{}", health.namespace, health.name),
                    "health check port not opened"
                ),
            }
        }
    }
}

async fn serve(listener: TcpListener, health: ServiceHealth, local_endpoints: Arc<AtomicUsize>) {
    let health = Arc::new(health);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "health check connection not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (health, local_endpoints) = (health.clone(), local_endpoints.clone());
        let service = service_fn(move |_request| {
            let count = local_endpoints.load(Ordering::Relaxed);
            let (status, body) = answer(&health, count);
            let response = Response::builder()
                .status(status)
                .header("Content-Type", "application/json")
                .header("X-Content-Type-Options", "nosniff")
                .header("X-Load-Balancing-Endpoint-Weight", count)
                .body(Full::new(Bytes::from(body)));
            async move { Ok::<_, Infallible>(response.expect("all headers are plain ASCII")) }
        });
        connections.spawn(async move {
            // A client that goes away in the middle of an answer concerns nobody else.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
