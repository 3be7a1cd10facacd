//! A scheduling cycle in which extenders have a say: the state is locked between their answers, never during them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use meta::Str;
use types::core::v1::Node;

use super::extender::{Extender, Sacrifice};
use super::{Next, Scheduler, metrics};
use crate::core::best;
use crate::failure::Failure;
use crate::plugin::{Code, Rejection};
use crate::post_filter;
use crate::preemption::Candidate;
use crate::queue::Popped;

/// The plugin that refusals of extenders are counted for.
const EXTENDER: &str = "Extender";

impl Scheduler {
    /// Decides about a pod that some extender is interested in.
    pub(super) async fn decide_extended(&self, popped: Popped) -> Next {
        let started = Instant::now();
        let next = match self.choose_extended(&popped).await {
            Ok(index) => {
                let now = self.now();
                self.state.lock().set_aside(popped, index, now)
            }
            Err(Stop::Error(error)) => {
                let now = self.now();
                self.state.lock().error(popped, error, now)
            }
            Err(Stop::Failure(failure)) => self.fail_extended(popped, *failure).await,
        };
        metrics::attempted(&next, &self.state.lock().core, started.elapsed());
        next
    }

    fn interested<'a>(
        &'a self,
        popped: &'a Popped,
        verb: fn(&Extender) -> &str,
    ) -> impl Iterator<Item = &'a Extender> {
        self.extenders
            .iter()
            .filter(move |extender| !verb(extender).is_empty() && extender.is_interested(&popped.pod))
    }

    async fn choose_extended(&self, popped: &Popped) -> Result<usize, Stop> {
        let (mut nodes, mut failure) = {
            let mut state = self.state.lock();
            let core = &mut state.core;
            let (indices, failure) = core.feasible(&popped.pod, popped.profile).map_err(Stop::Failure)?;
            let node = |index: u32| Some((index, core.snapshot.row(index as usize).shared_node()?));
            (indices.into_iter().filter_map(node).collect::<Vec<(u32, Arc<Node>)>>(), failure)
        };
        for extender in self.interested(popped, |extender| &extender.config.filter_verb) {
            if nodes.is_empty() {
                break;
            }
            let objects: Vec<Arc<Node>> = nodes.iter().map(|(_, node)| node.clone()).collect();
            match extender.filter(&popped.pod.pod, &objects).await {
                Ok(left) => {
                    for (name, reason, resolvable) in left.failed {
                        let code =
                            if resolvable { Code::Unschedulable } else { Code::UnschedulableAndUnresolvable };
                        if let Some((index, _)) = nodes.iter().find(|(_, node)| node.metadata.name == name) {
                            let refusal = Rejection { code, plugin: EXTENDER, reasons: vec![reason.into()] };
                            failure.refuse(*index, refusal);
                        }
                    }
                    let kept: HashSet<Str> = left.nodes.into_iter().collect();
                    nodes.retain(|(_, node)| kept.contains(&node.metadata.name));
                }
                Err(error) if extender.config.ignorable => {
                    tracing::warn!(extender = %extender.config.url_prefix, %error, "an extender was ignored");
                }
                Err(error) => return Err(Stop::Error(error)),
            }
        }
        let (indices, objects): (Vec<u32>, Vec<Arc<Node>>) = nodes.into_iter().unzip();
        match indices[..] {
            [] => return Err(Stop::Failure(Box::new(failure))),
            [only] => return Ok(only as usize),
            _ => {}
        }
        let mut sums = self.state.lock().core.sums(&popped.pod, popped.profile, &indices);
        for extender in self.interested(popped, |extender| &extender.config.prioritize_verb) {
            extender.prioritize(&popped.pod.pod, &objects, &mut sums).await;
        }
        Ok(best(&indices, &sums, self.env.random.u64()) as usize)
    }

    async fn fail_extended(&self, popped: Popped, mut failure: Failure) -> Next {
        let tie = self.env.random.u64();
        let mut candidates = {
            let core = &mut self.state.lock().core;
            post_filter::run(core, &popped.pod, popped.profile, &mut failure, tie).unwrap_or_default()
        };
        for extender in self.interested(&popped, |extender| &extender.config.preempt_verb) {
            if candidates.is_empty() {
                break;
            }
            let names = self.names(&candidates);
            let asked: Vec<(Str, Arc<Candidate>)> =
                names.into_iter().zip(candidates.iter().cloned()).collect();
            let ignorable = extender.config.ignorable;
            let said = extender.preempt(&popped.pod.pod, &asked).await;
            match said.and_then(|said| self.sacrifices(extender, &asked, said)) {
                Ok(left) => candidates = left,
                Err(error) if ignorable => {
                    tracing::warn!(extender = %extender.config.url_prefix, %error, "an extender was ignored");
                }
                Err(error) => {
                    failure.post_filter = format!("preemption: {error}");
                    candidates.clear();
                }
            }
        }
        let now = self.now();
        self.state.lock().fail(popped, failure, candidates, tie, now)
    }

    /// The candidates that an extender left, with the victims that it chose among the pods of their nodes.
    fn sacrifices(
        &self,
        extender: &Extender,
        asked: &[(Str, Arc<Candidate>)],
        said: Vec<Sacrifice>,
    ) -> Result<Vec<Arc<Candidate>>, String> {
        let state = self.state.lock();
        let snapshot = &state.core.snapshot;
        let mut left = Vec::new();
        for Sacrifice { node, pods, pdb_violations } in said {
            let Some(index) = snapshot.index_of(&node) else {
                return Err(format!("nodeinfo not found for node name {node:?}"));
            };
            let mut victims = Vec::new();
            for uid in pods {
                let victim = snapshot.pod(&uid).filter(|(_, place)| *place == index);
                let Some((victim, _)) = victim else {
                    let url = &extender.config.url_prefix;
                    return Err(format!(
                        "extender: {url} claims to preempt pod (UID: &{{{uid}}}) on node: {node}, but the pod is not found on that node"
                    ));
                };
                victims.push(victim.clone());
            }
            if victims.is_empty() {
                if extender.config.ignorable {
                    continue;
                }
                return Err(format!("expected at least one victim pod on node {node:?}"));
            }
            // A node that was no candidate is none now.
            if let Some((_, candidate)) = asked.iter().find(|(name, _)| *name == node) {
                left.push(Arc::new(candidate.with_victims(victims, pdb_violations)));
            }
        }
        Ok(left)
    }

    fn names(&self, candidates: &[Arc<Candidate>]) -> Vec<Str> {
        let state = self.state.lock();
        candidates.iter().map(|candidate| state.core.snapshot.name(candidate.node)).collect()
    }
}

/// Why no node was chosen.
enum Stop {
    Failure(Box<Failure>),
    Error(String),
}
