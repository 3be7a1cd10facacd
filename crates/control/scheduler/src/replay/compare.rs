//! Compares an attempt with its recording.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::Trace;
use crate::failure::Failure;
use crate::plugin::{Code, Rejection};
use crate::preemption::{self, Candidate};
use crate::snapshot::Snapshot;

/// What our attempt came to.
pub(super) struct Attempt {
    pub(super) trace: Trace,
    pub(super) failure: Option<Failure>,
    pub(super) chosen: Option<usize>,
    pub(super) preemption: Option<Vec<Arc<Candidate>>>,
}

fn refusal(rejection: &Rejection) -> Value {
    let code = match rejection.code {
        Code::Unschedulable => "Unschedulable",
        Code::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
    };
    let reasons: Vec<&str> = rejection.reasons.iter().map(|reason| reason.as_str()).collect();
    json!({"code": code, "plugin": rejection.plugin, "reasons": reasons})
}

/// Reasons in any order: upstream walks a map for extended resources.
fn sorted(mut refusal: Value) -> Value {
    if let Some(reasons) = refusal["reasons"].as_array_mut() {
        reasons.sort_by_key(|reason| reason.to_string());
    }
    refusal
}

pub(super) fn differ(what: &str, mine: &Value, want: &Value) -> Option<String> {
    (mine != want).then(|| format!("{what}: {mine} instead of {want}"))
}

/// The differences of one attempt.
pub(super) fn compare_attempt(
    snapshot: &Snapshot,
    mine: &Attempt,
    want: &Value,
    no_scoring: bool,
) -> Vec<String> {
    let mut found = Vec::new();
    let pre_filter = mine.failure.as_ref().and_then(|failure| failure.pre_filter.as_ref()).map(refusal);
    found.extend(differ("preFilter", &pre_filter.unwrap_or(Value::Null), &want["preFilter"]));
    if !no_scoring {
        found.extend(compare_nodes(snapshot, mine, want));
        found.extend(compare_scores(snapshot, mine, want));
    }
    if let Some(failure) = &mine.failure {
        found.extend(differ("message", &failure.message().into(), &want["message"]));
        found.extend(differ("postFilter", &failure.post_filter.as_str().into(), &want["postFilter"]));
    } else if want["message"].is_string() {
        found.push(format!("chose {:?} instead of failing with {}", mine.chosen, want["message"]));
    }
    found
}

fn compare_nodes(snapshot: &Snapshot, mine: &Attempt, want: &Value) -> Vec<String> {
    let mut feasible: Vec<String> =
        mine.trace.feasible.iter().map(|node| snapshot.name(*node as usize).to_string()).collect();
    feasible.sort();
    let mut found: Vec<String> =
        differ("feasible", &json!(feasible), &want["feasible"]).into_iter().collect();
    let mine: BTreeMap<String, Value> = mine
        .trace
        .rejected
        .iter()
        .map(|(node, rejection)| (snapshot.name(*node as usize).to_string(), sorted(refusal(rejection))))
        .collect();
    let none = serde_json::Map::new();
    let theirs = want["rejected"].as_object().unwrap_or(&none);
    for (node, want) in theirs {
        let got = mine.get(node).unwrap_or(&Value::Null);
        found.extend(differ(&format!("rejected {node}"), got, &sorted(want.clone())));
    }
    for (node, got) in mine.iter().filter(|(node, _)| !theirs.contains_key(*node)) {
        found.push(format!("rejected {node}: {got} instead of nothing"));
    }
    found
}

fn compare_scores(snapshot: &Snapshot, mine: &Attempt, want: &Value) -> Vec<String> {
    let mut order: Vec<usize> = (0..mine.trace.feasible.len()).collect();
    order.sort_by_key(|at| snapshot.name(mine.trace.feasible[*at] as usize));
    let by_name = |scores: &[i64]| -> Value { order.iter().map(|at| scores[*at]).collect::<Vec<_>>().into() };
    let mut found = Vec::new();
    let none = serde_json::Map::new();
    let theirs = want["scores"].as_object().unwrap_or(&none);
    for (plugin, raw, scores) in &mine.trace.scores {
        found.extend(differ(&format!("raw {plugin}"), &by_name(raw), &want["raw"][*plugin]));
        found.extend(differ(&format!("scores {plugin}"), &by_name(scores), &want["scores"][*plugin]));
    }
    for plugin in theirs.keys() {
        if !mine.trace.scores.iter().any(|(other, _, _)| other == plugin) {
            found.push(format!("scores {plugin}: nothing instead of {}", theirs[plugin]));
        }
    }
    if want["final"].is_array() {
        let sums = if mine.trace.sums.is_empty() { vec![0; order.len()] } else { mine.trace.sums.clone() };
        found.extend(differ("final", &by_name(&sums), &want["final"]));
    }
    found
}

/// Candidates, victims, violations, and that the nominated node is among those that hurt least.
pub(super) fn compare_preemption(
    snapshot: &Snapshot,
    candidates: &[Arc<Candidate>],
    step: &Value,
    want: &Value,
) -> Vec<String> {
    let mut mine = serde_json::Map::new();
    for candidate in candidates {
        let victims: Vec<String> = candidate
            .victims
            .iter()
            .map(|victim| format!("{}/{}", victim.pod.metadata.namespace, victim.pod.metadata.name))
            .collect();
        let node = snapshot.name(candidate.node).to_string();
        mine.insert(node, json!({"victims": victims, "pdbViolations": candidate.pdb_violations}));
    }
    let mut found: Vec<String> =
        differ("preemptionCandidates", &Value::Object(mine), &want["preemptionCandidates"])
            .into_iter()
            .collect();
    let nominated = step["nominatedNodeName"].as_str().unwrap_or_default();
    let best = preemption::least_harm(candidates);
    if !best.iter().any(|candidate| snapshot.name(candidate.node) == nominated) {
        let names: Vec<_> = best.iter().map(|candidate| snapshot.name(candidate.node)).collect();
        found.push(format!("nominated one of {names:?} instead of {nominated}"));
    }
    found
}
