//! Decisions a second of the core alone, without API server: the workloads of upstream's `scheduler_perf` by their public
//! description. `cargo bench -p ferrokube-scheduler [-- PART OF A NAME]`.

use std::sync::Arc;
use std::time::Instant;

use meta::Codec;
use scheduler::core::{Core, Decision};
use scheduler::pod_info::PodInfo;
use scheduler::post_filter;
use scheduler::preemption::least_harm;
use scheduler::profile::Profile;
use types::core::v1::{Node, Pod};

const ZONES: usize = 3;

fn node(number: usize) -> Arc<Node> {
    let zone = number % ZONES;
    let text = format!(
        r#"{{"metadata":{{"name":"node-{number}","labels":{{"kubernetes.io/hostname":"node-{number}",
            "topology.kubernetes.io/zone":"zone-{zone}"}}}},"status":{{"allocatable":{{"cpu":"4","memory":"32Gi","pods":"110"}}}}}}"#
    );
    Arc::new(Node::from_json(text.as_bytes()).expect("the template is a valid object"))
}

/// A pod of 100m CPU and 500Mi as upstream's templates have it.
fn pod(number: usize, labels: &str, spec: &str) -> Arc<PodInfo> {
    let text = format!(
        r#"{{"metadata":{{"name":"pod-{number}","namespace":"default","uid":"{number}","labels":{{{labels}}}}},
            "spec":{{{spec}"containers":[{{"name":"pause","image":"registry.k8s.io/pause:3.10","ports":[{{"containerPort":80}}],
            "resources":{{"requests":{{"cpu":"100m","memory":"500Mi"}}}}}}]}}}}"#
    );
    Arc::new(PodInfo::new(Arc::new(Pod::from_json(text.as_bytes()).expect("the template is a valid object"))))
}

fn cluster(nodes: usize) -> Core {
    let mut core = Core::new(vec![Profile::default()]);
    for number in 0..nodes {
        core.snapshot.set_node(node(number));
    }
    core
}

/// Time that this thread computed, which other programs on the machine do not change; wall time where Linux does not tell.
struct Stopwatch(Option<u64>, Instant);

fn computed_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

impl Stopwatch {
    fn start() -> Self {
        Stopwatch(computed_ns(), Instant::now())
    }

    fn seconds(&self) -> f64 {
        match (self.0, computed_ns()) {
            (Some(start), Some(end)) => (end - start) as f64 / 1e9,
            _ => self.1.elapsed().as_secs_f64(),
        }
    }
}

/// Schedules the pods one after the other and prints how many a second.
fn run(name: &str, core: &mut Core, pods: &[Arc<PodInfo>]) {
    let watch = Stopwatch::start();
    let mut placed = 0;
    for (tie, pod) in pods.iter().enumerate() {
        if let Decision::Node { index, .. } = core.decide(pod, 0, tie as u64, None) {
            core.place(pod, index);
            placed += 1;
        }
    }
    let rate = pods.len() as f64 / watch.seconds();
    println!("{name:50} {rate:12.0} pods/s  ({placed} of {} placed)", pods.len());
}

fn many(from: usize, count: usize, labels: &str, spec: &str) -> Vec<Arc<PodInfo>> {
    (from..from + count).map(|number| pod(number, labels, spec)).collect()
}

fn term(kind: &str, color: &str, key: &str) -> String {
    format!(
        r#""affinity":{{"{kind}":{{"requiredDuringSchedulingIgnoredDuringExecution":[{{"labelSelector":{{"matchLabels":{{"color":"{color}"}}}},"topologyKey":"{key}"}}]}}}},"#
    )
}

fn preferred(kind: &str, color: &str) -> String {
    format!(
        r#""affinity":{{"{kind}":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":1,"podAffinityTerm":{{"labelSelector":{{"matchLabels":{{"color":"{color}"}}}},"topologyKey":"kubernetes.io/hostname"}}}}]}}}},"#
    )
}

fn in_zones() -> String {
    r#""affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"topology.kubernetes.io/zone","operator":"In","values":["zone-0","zone-1"]}]}]}}},"#.into()
}

fn spread(action: &str) -> String {
    format!(
        r#""topologySpreadConstraints":[{{"maxSkew":5,"topologyKey":"topology.kubernetes.io/zone","whenUnsatisfiable":"{action}","labelSelector":{{"matchLabels":{{"color":"blue"}}}}}}],"#
    )
}

/// Regular pods beside some that preempt: upstream's five a second beside 570 others.
fn preemption_beside(nodes: usize) {
    let mut core = cluster(nodes);
    for number in 0..nodes * 4 {
        core.place(&heavy(number, 0, "900m"), number % nodes);
    }
    let pods = many(1_000_000, 10_000, "", "");
    let high: Vec<_> = (0..pods.len() / 114 + 1).map(|number| heavy(2_000_000 + number, 100, "3")).collect();
    let watch = Stopwatch::start();
    let mut placed = 0;
    for (tie, pod) in pods.iter().enumerate() {
        if tie % 114 == 0 {
            preempt(&mut core, &high[tie / 114], tie as u64);
        }
        if let Decision::Node { index, .. } = core.decide(pod, 0, tie as u64, None) {
            core.place(pod, index);
            placed += 1;
        }
    }
    let rate = pods.len() as f64 / watch.seconds();
    println!("{:50} {rate:12.0} pods/s  ({placed} placed)", "PreemptionAsync");
}

fn heavy(number: usize, priority: i32, cpu: &str) -> Arc<PodInfo> {
    let text = format!(
        r#"{{"metadata":{{"name":"pod-{number}","namespace":"default","uid":"{number}"}},"spec":{{"priority":{priority},
            "containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}","memory":"500Mi"}}}}}}]}}}}"#
    );
    Arc::new(PodInfo::new(Arc::new(Pod::from_json(text.as_bytes()).expect("the template is a valid object"))))
}

/// Preempts and places a pod: the number of its victims, if there was a way.
fn preempt(core: &mut Core, pod: &Arc<PodInfo>, tie: u64) -> Option<usize> {
    let Decision::Failed(mut failure) = core.decide(pod, 0, tie, None) else { return None };
    let candidates = post_filter::run(core, pod, 0, &mut failure, tie)?;
    let best = Arc::clone(least_harm(&candidates)[0]);
    for victim in &best.victims {
        core.snapshot.remove_pod(victim.uid());
    }
    let name = core.snapshot.name(best.node);
    core.nominate(pod.clone(), name);
    let Decision::Node { index, .. } = core.decide(pod, 0, tie, None) else { return None };
    core.place(pod, index);
    Some(best.victims.len())
}

fn preemption(nodes: usize) {
    let mut core = cluster(nodes);
    for number in 0..nodes * 4 {
        core.place(&heavy(number, 0, "900m"), number % nodes);
    }
    let count = 5_000;
    let high: Vec<_> = (0..count).map(|number| heavy(1_000_000 + number, 100, "3")).collect();
    let watch = Stopwatch::start();
    let (mut preempted, mut victims) = (0, 0);
    for (tie, pod) in high.iter().enumerate() {
        if let Some(gone) = preempt(&mut core, pod, tie as u64) {
            preempted += 1;
            victims += gone;
        }
    }
    let rate = count as f64 / watch.seconds();
    println!("{:50} {rate:12.0} pods/s  ({preempted} placed, {victims} victims)", "Preemption by every pod");
}

/// Resident memory of this process in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn large() {
    let mut core = cluster(100_000);
    let mut number = 0;
    while number < 1_000_000 {
        let low = pod(number, r#""color":"blue""#, "");
        core.place(&low, number % 100_000);
        number += 1;
    }
    let pods = many(number, 20_000, r#""color":"blue""#, "");
    run("100,000 nodes, 1,000,000 pods", &mut core, &pods);
    println!("{:50} {:12} MiB resident", "", resident_mib());
}

fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let wanted = |name: &str| name.contains(&only);
    let blue = r#""color":"blue""#;
    let hostname = "kubernetes.io/hostname";
    let zone = "topology.kubernetes.io/zone";
    let basic = [
        ("SchedulingBasic", blue, String::new(), "", String::new()),
        (
            "SchedulingPodAffinity",
            blue,
            term("podAffinity", "blue", zone),
            blue,
            term("podAffinity", "blue", zone),
        ),
        (
            "SchedulingPodAntiAffinity",
            r#""color":"green""#,
            term("podAntiAffinity", "green", hostname),
            r#""color":"red""#,
            term("podAntiAffinity", "green", hostname),
        ),
        (
            "SchedulingPreferredPodAffinity",
            blue,
            preferred("podAffinity", "blue"),
            blue,
            preferred("podAffinity", "blue"),
        ),
        (
            "SchedulingPreferredPodAntiAffinity",
            blue,
            preferred("podAntiAffinity", "blue"),
            blue,
            preferred("podAntiAffinity", "blue"),
        ),
        ("SchedulingNodeAffinity", blue, in_zones(), blue, in_zones()),
        ("TopologySpreading", blue, String::new(), blue, spread("DoNotSchedule")),
        ("PreferredTopologySpreading", blue, String::new(), blue, spread("ScheduleAnyway")),
    ];
    for (name, init_labels, init, labels, spec) in basic {
        if !wanted(name) {
            continue;
        }
        let mut core = cluster(5_000);
        for (number, pod) in many(0, 1_000, init_labels, &init).iter().enumerate() {
            core.place(pod, number % 5_000);
        }
        run(name, &mut core, &many(1_000, 10_000, labels, &spec));
    }
    if wanted("MixedSchedulingBasePod") {
        let mut core = cluster(5_000);
        let kinds = [
            (blue, String::new()),
            (blue, term("podAffinity", "blue", zone)),
            (r#""color":"green""#, term("podAntiAffinity", "green", hostname)),
            (r#""color":"red""#, preferred("podAffinity", "red")),
            (r#""color":"yellow""#, preferred("podAntiAffinity", "yellow")),
        ];
        for (kind, (labels, spec)) in kinds.iter().enumerate() {
            for (number, pod) in many(kind * 2_000, 2_000, labels, spec).iter().enumerate() {
                core.place(pod, number);
            }
        }
        run("MixedSchedulingBasePod", &mut core, &many(10_000, 10_000, "", ""));
    }
    if wanted("Preemption") {
        preemption_beside(5_000);
        preemption(5_000);
    }
    if wanted("Large") {
        large();
    }
}
