//! Extenders: HTTP servers that filter, score, preempt and bind along (the v1 extender API).
//!
//! An extender is not trusted: a filtered node that it was not asked about makes its answer an error, scores and reasons for
//! such nodes are ignored, an answer that takes too long or is too large is none, and one that is not ignorable fails the
//! attempt instead of the scheduler.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use client::remote::{Config as RemoteConfig, Remote};
use http::Request;
use http_body_util::{BodyExt, Limited};
use meta::{Codec, Str};
use serde_json::{Value, json};
use types::core::v1::{Node, Pod};

use crate::config::{ExtenderConfig, Pem};
use crate::plugin::SCORE_MAX;
use crate::pod_info::PodInfo;
use crate::preemption::Candidate;

/// Largest answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Highest score that an extender gives.
const EXTENDER_SCORE_MAX: i64 = 10;

/// One extender, reachable.
pub(super) struct Extender {
    pub(super) config: ExtenderConfig,
    remote: Remote,
    path: String,
}

/// What filtering by an extender left: the nodes, and for the others why not and whether preemption could help.
pub(super) struct Left {
    pub(super) nodes: Vec<Str>,
    pub(super) failed: Vec<(Str, String, bool)>,
}

/// A node that an extender lets preemption take, with the pods that have to go.
pub(super) struct Sacrifice {
    pub(super) node: Str,
    pub(super) pods: Vec<Str>,
    pub(super) pdb_violations: usize,
}

/// PEM from where the configuration says; `None` when it says nothing.
fn read(pem: &Pem) -> Result<Option<Vec<u8>>, String> {
    match (&pem.data[..], pem.file.as_str()) {
        ([], "") => Ok(None),
        ([], file) => std::fs::read(file).map(Some).map_err(|error| {
            let why = error.to_string().to_lowercase();
            format!("open {file}: {}", why.split(" (os error").next().unwrap_or_default())
        }),
        (data, _) => Ok(Some(data.to_owned())),
    }
}

/// A field by its Go name, in whatever case the extender writes it.
fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let found = value.as_object().and_then(|object| {
        object
            .get(name)
            .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    });
    found.unwrap_or(&Value::Null)
}

/// An object as extenders get it: without its kind, which they know, and without who wrote which of its fields.
fn json_of<T: Codec>(object: &T) -> Value {
    let mut value = serde_json::from_slice(&object.to_json()).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut value {
        fields.remove("kind");
        fields.remove("apiVersion");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.remove("managedFields");
        }
    }
    value
}

impl Extender {
    /// An extender as configured.
    pub(super) fn new(config: ExtenderConfig) -> Result<Self, String> {
        let uri: http::Uri = config
            .url_prefix
            .parse()
            .map_err(|error| format!("extender {:?}: {error}", config.url_prefix))?;
        let tls = &config.tls;
        let scheme = uri.scheme_str().unwrap_or("http");
        let authority = read(&tls.authority)?;
        let insecure = tls.insecure || config.enable_https && authority.is_none();
        let server = RemoteConfig {
            server: format!("{scheme}://{}", uri.authority().map_or("", |authority| authority.as_str())),
            user_agent: "kube-scheduler".into(),
            certificate_authority: authority.filter(|_| !insecure),
            insecure_skip_tls_verify: insecure,
            tls_server_name: (!tls.server_name.is_empty()).then(|| tls.server_name.clone()),
            client_certificate: read(&tls.certificate)?.zip(read(&tls.key)?),
            ..RemoteConfig::default()
        };
        let remote = Remote::new(server).map_err(|error| error.to_string())?;
        Ok(Extender { path: uri.path().trim_end_matches('/').to_owned(), config, remote })
    }

    /// Whether the pod asks for something that this extender manages; without such a list, every pod does.
    pub(super) fn is_interested(&self, pod: &PodInfo) -> bool {
        let managed = &self.config.managed_resources;
        managed.is_empty()
            || managed.iter().any(|(name, _)| {
                let spec = &pod.pod.spec;
                spec.containers.iter().chain(spec.init_containers.iter()).any(|container| {
                    container.resources.requests.contains_key(name)
                        || container.resources.limits.contains_key(name)
                })
            })
    }

    async fn send(&self, verb: &str, body: &Value) -> Result<Value, String> {
        let path = format!("{}/{}", self.path, verb.trim_start_matches('/'));
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| error.to_string())?;
        let url = format!("{}/{verb}", self.config.url_prefix.trim_end_matches('/'));
        let exchange = async {
            let response =
                self.remote.send(request).await.map_err(|error| format!("Post {url:?}: {error}"))?;
            let status = response.status();
            // Upstream takes nothing but 200. Where a redirect leads to was not configured, so nobody goes there.
            if status != http::StatusCode::OK {
                return Err(format!("failed {verb} with extender at URL {url}, code {}", status.as_u16()));
            }
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| error.to_string())
        };
        match tokio::time::timeout(self.config.http_timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!(
                "Post {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            )),
        }
    }

    fn args(&self, pod: &Pod, nodes: &[Arc<Node>]) -> Value {
        let (mut list, mut names) = (Value::Null, Value::Null);
        if self.config.node_cache_capable {
            names = nodes.iter().map(|node| node.metadata.name.as_str()).collect();
        } else {
            list = json!({"metadata": {}, "items": nodes.iter().map(|node| json_of(&**node)).collect::<Vec<_>>()});
        }
        json!({"Pod": json_of(pod), "Nodes": list, "NodeNames": names})
    }

    /// Filters nodes.
    ///
    /// # Errors
    /// That it does not answer, or says that something is wrong.
    pub(super) async fn filter(&self, pod: &Pod, nodes: &[Arc<Node>]) -> Result<Left, String> {
        let answer = self.send(&self.config.filter_verb, &self.args(pod, nodes)).await?;
        let error = field(&answer, "Error").as_str().unwrap_or_default();
        if !error.is_empty() {
            return Err(error.to_owned());
        }
        let names: HashSet<&str> = nodes.iter().map(|node| node.metadata.name.as_str()).collect();
        let asked = |name: &str| names.contains(name);
        let left: Vec<&str> = match field(&answer, "NodeNames").as_array() {
            Some(names) if self.config.node_cache_capable => names.iter().filter_map(Value::as_str).collect(),
            _ => field(field(&answer, "Nodes"), "items")
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|node| node["metadata"]["name"].as_str())
                .collect(),
        };
        if let Some(stranger) = left.iter().find(|name| !asked(name)) {
            return Err(format!(
                "extender {:?} claims a filtered node {stranger:?} which is not found in the input node list",
                self.config.url_prefix
            ));
        }
        let mut failed = Vec::new();
        for (name, resolvable) in [("FailedNodes", true), ("FailedAndUnresolvableNodes", false)] {
            for (node, reason) in field(&answer, name).as_object().into_iter().flatten() {
                if asked(node) {
                    failed.push((
                        Str::from(node.as_str()),
                        reason.as_str().unwrap_or_default().to_owned(),
                        resolvable,
                    ));
                }
            }
        }
        Ok(Left { nodes: left.into_iter().map(Str::from).collect(), failed })
    }

    /// Adds this extender's scores to `sums`, which are in the order of `nodes`. Its failure changes nothing.
    pub(super) async fn prioritize(&self, pod: &Pod, nodes: &[Arc<Node>], sums: &mut [i64]) {
        let answer = match self.send(&self.config.prioritize_verb, &self.args(pod, nodes)).await {
            Ok(answer) => answer,
            Err(error) => return tracing::warn!(extender = %self.config.url_prefix, %error, "no scores"),
        };
        let places: HashMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.metadata.name.as_str(), at)).collect();
        for one in answer.as_array().into_iter().flatten() {
            let host = field(one, "Host").as_str().unwrap_or_default();
            let score = field(one, "Score").as_i64().unwrap_or(0);
            if let Some(at) = places.get(host) {
                let points = score.saturating_mul(self.config.weight);
                let points = points.saturating_mul(SCORE_MAX / EXTENDER_SCORE_MAX);
                sums[*at] = sums[*at].saturating_add(points);
            }
        }
    }

    /// What it makes of the candidates: the nodes that it leaves, with the pods that have to go there.
    ///
    /// # Errors
    /// That it does not answer.
    pub(super) async fn preempt(
        &self,
        pod: &Pod,
        candidates: &[(Str, Arc<Candidate>)],
    ) -> Result<Vec<Sacrifice>, String> {
        let victims = |candidate: &Candidate| -> Vec<Value> {
            let each = candidate.victims.iter();
            match self.config.node_cache_capable {
                true => each.map(|victim| json!({"UID": victim.uid().as_str()})).collect(),
                false => each.map(|victim| json_of(&*victim.pod)).collect(),
            }
        };
        let by_node = candidates.iter().map(|(node, candidate)| {
            let pods = victims(candidate);
            (node.to_string(), json!({"Pods": pods, "NumPDBViolations": candidate.pdb_violations}))
        });
        let (mut full, mut names) = (Value::Null, Value::Null);
        let given = match self.config.node_cache_capable {
            true => &mut names,
            false => &mut full,
        };
        *given = Value::Object(by_node.collect());
        let args = json!({"Pod": json_of(pod), "NodeNameToVictims": full, "NodeNameToMetaVictims": names});
        let answer = self.send(&self.config.preempt_verb, &args).await?;
        let nodes = field(&answer, "NodeNameToMetaVictims").as_object().into_iter().flatten();
        let sacrifice = |(node, victims): (&String, &Value)| Sacrifice {
            node: node.as_str().into(),
            pods: field(victims, "Pods")
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|pod| field(pod, "UID").as_str().map(Str::from))
                .collect(),
            pdb_violations: field(victims, "NumPDBViolations").as_u64().unwrap_or(0) as usize,
        };
        Ok(nodes.map(sacrifice).collect())
    }

    /// Binds the pod.
    ///
    /// # Errors
    /// That it does not answer, or refuses.
    pub(super) async fn bind(&self, pod: &Pod, node: &str) -> Result<(), String> {
        let args = json!({
            "PodName": pod.metadata.name.as_str(),
            "PodNamespace": pod.metadata.namespace.as_str(),
            "PodUID": pod.metadata.uid.as_str(),
            "Node": node,
        });
        let answer = self.send(&self.config.bind_verb, &args).await?;
        match field(&answer, "Error").as_str() {
            None | Some("") => Ok(()),
            Some(error) => Err(error.to_owned()),
        }
    }
}
