//! What must hold in any cluster: answers that are remembered and counted on equal answers computed from nothing, one by
//! one; and preemption takes no more than it must.

#![expect(clippy::unwrap_used, reason = "what the helpers of these tests read is written here")]

use std::collections::BTreeMap;
use std::sync::Arc;

use env::Random;
use meta::Codec;
use scheduler::core::{Core, Decision, Trace, best};
use scheduler::pod_info::PodInfo;
use scheduler::post_filter;
use scheduler::preemption::least_harm;
use scheduler::profile::Profile;
use types::core::v1::{Node, Pod};
use types::policy::v1::PodDisruptionBudget;

fn node(number: usize, random: &Random) -> Arc<Node> {
    let zone = random.below(3);
    let taint = match random.below(5) {
        0 => r#""taints":[{"key":"k","value":"v","effect":"PreferNoSchedule"}]"#,
        1 => r#""taints":[{"key":"k","value":"v","effect":"NoSchedule"}]"#,
        _ => "",
    };
    let labels = match random.below(6) {
        0 => String::new(),
        _ => format!(r#""topology.kubernetes.io/zone":"z{zone}","#),
    };
    let cpu = 1 + random.below(4);
    let text = format!(
        r#"{{"metadata":{{"name":"n{number}","labels":{{{labels}"kubernetes.io/hostname":"n{number}"}}}},"spec":{{{taint}}},
            "status":{{"allocatable":{{"cpu":"{cpu}","memory":"8Gi","pods":"12"}}}}}}"#
    );
    Arc::new(Node::from_json(text.as_bytes()).unwrap())
}

/// Pods of a few kinds: plain, spreading, gathering, avoiding.
fn pod(number: usize, random: &Random) -> Arc<Pod> {
    let app = ["a", "b"][random.below(2)];
    let selector =
        format!(r#""labelSelector":{{"matchLabels":{{"app":"{}"}}}}"#, ["a", "b"][random.below(2)]);
    let key = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"][random.below(2)];
    let term = format!(r#"{{{selector},"topologyKey":"{key}"}}"#);
    let action = ["DoNotSchedule", "ScheduleAnyway"][random.below(2)];
    let special = match random.below(8) {
        0 => format!(
            r#""topologySpreadConstraints":[{{"maxSkew":1,"topologyKey":"{key}","whenUnsatisfiable":"{action}",{selector}}}],"#
        ),
        1 => format!(
            r#""affinity":{{"podAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}},"#
        ),
        2 => format!(
            r#""affinity":{{"podAntiAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}},"#
        ),
        3 => format!(
            r#""affinity":{{"podAffinity":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":7,"podAffinityTerm":{term}}}]}}}},"#
        ),
        _ => String::new(),
    };
    let (cpu, priority) = (100 * (1 + random.below(6)), random.below(3) * 10);
    let text = format!(
        r#"{{"metadata":{{"name":"p{number}","namespace":"d","uid":"u{number}","labels":{{"app":"{app}"}}}},
            "spec":{{{special}"priority":{priority},"containers":[{{"name":"c","image":"i","resources":{{"requests":{{"cpu":"{cpu}m"}}}}}}]}}}}"#
    );
    Arc::new(Pod::from_json(text.as_bytes()).unwrap())
}

/// Feasible nodes with their sums, refused nodes with their reasons: by name, since indices differ between cores.
type Answer = (BTreeMap<String, i64>, BTreeMap<String, String>);

fn answer(core: &mut Core, pod: &Arc<PodInfo>) -> Answer {
    let mut trace = Trace::default();
    // What is remembered decides; the trace asks anew.
    let decision = core.decide(pod, 0, 5, Some(&mut trace));
    if let (Decision::Node { index, .. }, true) = (&decision, trace.feasible.len() > 1) {
        assert_eq!(*index, best(&trace.feasible, &trace.sums, 5) as usize);
    }
    let name = |node: u32| core.snapshot.name(node as usize).to_string();
    let sum = |at: usize| trace.sums.get(at).copied().unwrap_or(0);
    let feasible = trace.feasible.iter().enumerate().map(|(at, node)| (name(*node), sum(at))).collect();
    let refused =
        trace.rejected.iter().map(|(node, refusal)| (name(*node), format!("{refusal:?}"))).collect();
    (feasible, refused)
}

/// A cluster that remembers nothing.
fn from_nothing(nodes: &BTreeMap<usize, Arc<Node>>, placed: &[(Arc<Pod>, String)]) -> Core {
    let mut core = Core::new(vec![Profile::default()]);
    for node in nodes.values() {
        core.snapshot.set_node(node.clone());
    }
    for (pod, node) in placed {
        core.snapshot.place(Arc::new(PodInfo::new(pod.clone())), node);
    }
    core
}

#[test]
fn what_is_remembered_equals_what_is_computed_from_nothing() {
    for seed in 0..25 {
        let random = Random::seeded(seed);
        let mut core = Core::new(vec![Profile::default()]);
        let mut nodes = BTreeMap::new();
        let mut placed: Vec<(Arc<Pod>, String)> = Vec::new();
        for number in 0..12 {
            let node = node(number, &random);
            core.snapshot.set_node(node.clone());
            nodes.insert(number, node);
        }
        for number in 0..120 {
            match random.below(12) {
                0 => {
                    let changed = random.below(12);
                    let node = node(changed, &random);
                    core.snapshot.set_node(node.clone());
                    nodes.insert(changed, node);
                }
                1 if nodes.len() > 4 => {
                    let gone = *nodes.keys().nth(random.below(nodes.len())).unwrap();
                    let node = nodes.remove(&gone).unwrap();
                    core.snapshot.remove_node(&node.metadata.name);
                }
                2 | 3 if !placed.is_empty() => {
                    let (pod, _) = placed.swap_remove(random.below(placed.len()));
                    core.snapshot.remove_pod(&pod.metadata.uid);
                }
                _ => {}
            }
            let pod = pod(number, &random);
            let info = Arc::new(PodInfo::new(pod.clone()));
            let mine = answer(&mut core, &info);
            let naive = answer(&mut from_nothing(&nodes, &placed), &info);
            assert_eq!(mine, naive, "seed {seed}, pod {number}");
            let best = mine.0.iter().max_by_key(|(_, sum)| **sum).map(|(node, _)| node.clone());
            if let Some(node) = best {
                core.snapshot.place(info, &node);
                placed.push((pod, node));
            }
        }
    }
}

/// The node that a decision came to, by name, or the message.
fn told(core: &Core, decision: &Decision) -> String {
    match decision {
        Decision::Node { index, feasible, evaluated } => {
            format!("{} of {feasible} of {evaluated}", core.snapshot.name(*index))
        }
        Decision::Failed(failure) => failure.message(),
        Decision::Error(error) => error.clone(),
    }
}

/// A profile that looks at part of the nodes only.
fn partial() -> Profile {
    Profile { percentage_of_nodes_to_score: Some(40), ..Profile::default() }
}

/// Lets the same things happen to a core: pods come, go, are nominated; nodes change. Answers all decisions.
fn live(seed: u64, remembers: bool) -> Vec<String> {
    let random = Random::seeded(seed);
    let mut core = Core::new(vec![partial()]);
    for number in 0..160 {
        core.snapshot.set_node(node(number, &random));
    }
    let mut placed: Vec<Arc<PodInfo>> = Vec::new();
    let mut nominated: Vec<Arc<PodInfo>> = Vec::new();
    let mut decisions = Vec::new();
    for number in 0..300 {
        match random.below(10) {
            0 => core.snapshot.set_node(node(random.below(160), &random)),
            1 => core.snapshot.remove_node(&format!("n{}", random.below(160))),
            2 | 3 if !placed.is_empty() => {
                let gone = placed.swap_remove(random.below(placed.len()));
                core.snapshot.remove_pod(gone.uid());
            }
            4 => {
                let guest = Arc::new(PodInfo::new(pod(10_000 + number, &random)));
                core.nominate(guest.clone(), format!("n{}", random.below(160)).into());
                nominated.push(guest);
            }
            5 if !nominated.is_empty() => {
                let guest = nominated.swap_remove(random.below(nominated.len()));
                core.release(guest.uid());
            }
            _ => {}
        }
        let mut wanted = (*pod(number, &random)).clone();
        if random.below(8) == 0 {
            let names: Vec<String> = (0..3).map(|_| format!(r#""n{}""#, random.below(160))).collect();
            let text = format!(
                r#"{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{{"matchFields":[{{"key":"metadata.name","operator":"In","values":[{}]}}]}}]}}}}}}"#,
                names.join(",")
            );
            wanted.spec.affinity =
                Some(types::core::v1::Affinity::from_json(text.as_bytes()).unwrap().into());
        }
        let info = Arc::new(PodInfo::new(Arc::new(wanted)));
        if !remembers {
            core.forget();
        }
        let decision = core.decide(&info, 0, random.u64(), None);
        decisions.push(told(&core, &decision));
        if let Decision::Node { index, .. } = decision {
            core.place(&info, index);
            placed.push(info);
        }
    }
    decisions
}

#[test]
fn searches_that_stop_early_do_not_depend_on_what_is_remembered() {
    for seed in 0..8 {
        let (remembering, forgetful) = (live(seed, true), live(seed, false));
        for (number, (one, other)) in remembering.iter().zip(&forgetful).enumerate() {
            assert_eq!(one, other, "seed {seed}, pod {number}");
        }
        assert_eq!(remembering, live(seed, true), "the same seed gives the same decisions");
        let placed = remembering.iter().filter(|one| one.contains(" of 100 of ")).count();
        assert!(placed > 50, "only {placed} searches stopped early");
    }
}

#[test]
fn preemption_takes_no_more_than_it_must() {
    let mut preemptions = 0;
    for seed in 0..60 {
        let random = Random::seeded(1000 + seed);
        let mut core = Core::new(vec![Profile::default()]);
        for number in 0..6 {
            core.snapshot.set_node(node(number, &random));
        }
        for app in ["a", "b"] {
            let allowed = random.below(2);
            let text = format!(
                r#"{{"metadata":{{"name":"{app}","namespace":"d"}},"spec":{{"selector":{{"matchLabels":{{"app":"{app}"}}}}}},
                    "status":{{"disruptionsAllowed":{allowed}}}}}"#
            );
            core.snapshot.set(Arc::new(PodDisruptionBudget::from_json(text.as_bytes()).unwrap()));
        }
        for number in 0..40 {
            let info = Arc::new(PodInfo::new(pod(number, &random)));
            if let Decision::Node { index, .. } = core.decide(&info, 0, random.u64(), None) {
                core.place(&info, index);
            }
        }
        let mut high = (*pod(999, &random)).clone();
        high.spec.priority = Some(1000);
        let high = Arc::new(PodInfo::new(Arc::new(high)));
        let Decision::Failed(mut failure) = core.decide(&high, 0, 0, None) else { continue };
        let Some(candidates) = post_filter::run(&mut core, &high, 0, &mut failure, 0) else { continue };
        preemptions += 1;
        let fewest = candidates.iter().map(|candidate| candidate.pdb_violations).min();
        for best in least_harm(&candidates) {
            assert_eq!(Some(best.pdb_violations), fewest, "seed {seed}");
            let name = core.snapshot.name(best.node);
            for victim in &best.victims {
                core.snapshot.remove_pod(victim.uid());
            }
            assert!(
                answer(&mut core, &high).0.contains_key(name.as_str()),
                "seed {seed}: it fits without them"
            );
            for victim in &best.victims {
                core.snapshot.place(victim.clone(), &name);
                assert!(
                    !answer(&mut core, &high).0.contains_key(name.as_str()),
                    "seed {seed}: each one is in the way"
                );
                core.snapshot.remove_pod(victim.uid());
            }
            for victim in &best.victims {
                core.snapshot.place(victim.clone(), &name);
            }
        }
    }
    assert!(preemptions > 10, "only {preemptions} clusters needed preemption");
}

#[test]
fn impossible_and_contradictory_pods_are_refused_everywhere() {
    let mut core = Core::new(vec![Profile::default()]);
    let random = Random::seeded(7);
    for number in 0..20 {
        core.snapshot.set_node(node(number, &random));
    }
    for spec in [
        r#""containers":[{"name":"c","resources":{"requests":{"cpu":"9223372036854775807","memory":"9223372036854775807"}}}]"#,
        r#""nodeSelector":{"a":"b"},"containers":[]"#,
        r#""affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}}"#,
        r#""affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchLabels":{"no":"body"}},"topologyKey":"kubernetes.io/hostname"}]}}"#,
        r#""affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchExpressions":[{"key":"x","operator":"Sideways"}]},"topologyKey":""}]}}"#,
        r#""nodeName":"nowhere""#,
    ] {
        let text = format!(
            r#"{{"metadata":{{"name":"p","uid":"{}","namespace":"d"}},"spec":{{{spec}}}}}"#,
            spec.len()
        );
        let pod = Arc::new(PodInfo::new(Arc::new(Pod::from_json(text.as_bytes()).unwrap())));
        let Decision::Failed(mut failure) = core.decide(&pod, 0, 3, None) else {
            panic!("{spec} found a node")
        };
        assert!(post_filter::run(&mut core, &pod, 0, &mut failure, 3).is_none(), "{spec}");
        assert!(failure.message().starts_with("0/20 nodes are available: "), "{spec}: {}", failure.message());
    }
}
