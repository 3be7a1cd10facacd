//! `why` and `whatif` over HTTPS, for a console: the same answers as the commands', as JSON.

use std::sync::Arc;

use ::scheduler::config::ProfileConfig;
use ::scheduler::core::Core;
use ::scheduler::explain;
use ::scheduler::plugin::{Code, Rejection};
use ::scheduler::pod_info::PodInfo;
use ::scheduler::profile::Profile;
use anyhow::{Context, Result};
use informer::Informers;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use types::core::v1::Pod;

use crate::explain::{WhatIf, suppose};

/// What questions are answered from.
pub(super) struct Questions {
    informers: Arc<Informers>,
    profiles: Vec<ProfileConfig>,
    /// One at a time: each takes the whole cluster in.
    turn: Semaphore,
}

/// A question that cannot be answered.
pub(super) enum Refusal {
    /// What is asked about is not there.
    NotFound(String),
    /// The question makes no sense.
    Bad(String),
}

impl Questions {
    /// Answers by these profiles.
    pub(super) fn new(informers: Arc<Informers>, profiles: Vec<ProfileConfig>) -> Self {
        Questions { informers, profiles, turn: Semaphore::new(1) }
    }

    async fn core(&self) -> Core {
        let profiles = self.profiles.iter().map(|profile| Profile::new(profile, &[])).collect();
        ::scheduler::live::load(&self.informers, profiles).await
    }

    /// What the pods ask for, as metrics.
    pub(super) fn consumption(&self) -> String {
        ::scheduler::consumption::page(&self.informers.cache::<Pod>().list())
    }

    /// Why a pod does not run.
    pub(super) async fn why(&self, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let Ok(_turn) = self.turn.acquire().await else {
            return Err(Refusal::Bad("the scheduler stops".into()));
        };
        let pods = self.informers.cache::<Pod>();
        pods.synced().await;
        let Some(pod) = pods.get(namespace, name) else {
            return Err(Refusal::NotFound(format!("pods \"{name}\" not found")));
        };
        let mut answer = json!({"namespace": namespace, "pod": name});
        if !pod.spec.node_name.is_empty() {
            answer["node"] = json!(pod.spec.node_name.as_str());
            return Ok(answer);
        }
        let mut core = self.core().await;
        let Some(profile) = core.profile(&pod.spec.scheduler_name) else {
            answer["ignored"] = json!(format!("no profile is named {:?}", pod.spec.scheduler_name.as_str()));
            return Ok(answer);
        };
        if let Some(gate) = ::scheduler::queue::gate(&core.profiles[profile], &pod, &core.snapshot.cluster) {
            answer["gate"] = refusal(&gate);
            return Ok(answer);
        }
        match explain::why(&mut core, &Arc::new(PodInfo::new(pod)), profile) {
            Err(everywhere) => answer["everywhere"] = refusal(&everywhere),
            Ok(verdicts) => {
                let each = verdicts.iter().map(|verdict| {
                    json!({
                        "node": verdict.node.as_str(),
                        "fits": verdict.refusals.is_empty(),
                        "refusals": verdict.refusals.iter().map(refusal).collect::<Vec<_>>(),
                        "changes": verdict.changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
                        "text": verdict.line(),
                    })
                });
                answer["nodes"] = each.collect();
            }
        }
        Ok(answer)
    }

    /// Where pods would go.
    pub(super) async fn what_if(&self, asked: &WhatIf) -> Result<Value, Refusal> {
        let Ok(_turn) = self.turn.acquire().await else {
            return Err(Refusal::Bad("the scheduler stops".into()));
        };
        let (mut core, asked) = (self.core().await, asked.clone());
        // It may take seconds, in which others are to be served.
        let answer = tokio::task::spawn_blocking(move || -> Result<Value> {
            let supposed = suppose(&mut core, &asked)?;
            let each = explain::what_if(&mut core, supposed.pods, 0).into_iter().map(|(pod, outcome)| {
                let metadata = &pod.pod.metadata;
                let mut answer =
                    json!({"namespace": metadata.namespace.as_str(), "pod": metadata.name.as_str()});
                match outcome {
                    Ok(node) => answer["node"] = json!(node.as_str()),
                    Err(reason) => answer["reason"] = json!(reason),
                }
                answer
            });
            Ok(json!({"pods": each.collect::<Vec<_>>(), "others": supposed.others}))
        });
        let answer = answer.await.map_err(anyhow::Error::from).and_then(|answer| answer);
        answer.map_err(|error| Refusal::Bad(format!("{error:#}")))
    }
}

fn refusal(refusal: &Rejection) -> Value {
    json!({
        "plugin": refusal.plugin,
        "preemptionMayHelp": refusal.code == Code::Unschedulable,
        "reasons": refusal.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>(),
    })
}

/// The question of a query such as `drain=n1&addNode=cpu=8,memory=32Gi`, with a manifest in the body.
pub(super) fn what_if_of(query: &str, manifest: &str) -> Result<WhatIf> {
    let mut asked = WhatIf { namespace: "default".into(), ..WhatIf::default() };
    for (key, value) in pairs(query) {
        match key.as_str() {
            "drain" => asked.drain.push(value),
            "addNode" => asked.add_node.push(value),
            "namespace" => asked.namespace = value,
            other => anyhow::bail!("unknown parameter {other:?}"),
        }
    }
    if !manifest.trim().is_empty() {
        asked.manifests.push(manifest.to_owned());
    }
    Ok(asked)
}

/// The parameters of a query, decoded.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    })
}

/// Percent-decoding; what is malformed stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = || u8::from_str_radix(std::str::from_utf8(after.get(..2)?).ok()?, 16).ok();
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                if let Some(byte) = hex() {
                    bytes.push(byte);
                    rest = &after[2..];
                    continue;
                }
                bytes.push(b'%');
            }
            other => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One parameter of a query.
pub(super) fn parameter(query: &str, name: &str) -> Result<String> {
    pairs(query)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
        .with_context(|| format!("{name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let asked = what_if_of("drain=n%31&addNode=cpu%3D8,disk=ssd&drain=a+b&namespace=x", "").unwrap();
        assert_eq!(
            (asked.drain, asked.add_node),
            (vec!["n1".into(), "a b".into()], vec!["cpu=8,disk=ssd".into()])
        );
        assert!(what_if_of("color=red", "").is_err());
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(parameter("a=1&b=2", "b").unwrap(), "2");
    }
}
