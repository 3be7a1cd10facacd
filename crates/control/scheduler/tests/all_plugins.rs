//! Clusters with everything at once: volumes of every sort, devices, ports, taints, spreading with all its policies,
//! affinity across namespaces, images, resizes, nominated pods. What the core remembers between pods equals what is
//! computed from nothing, whatever changed in between.

#![expect(clippy::unwrap_used, reason = "what the helpers of these tests read is written here")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use env::Random;
use meta::Codec;
use scheduler::cluster::Tabled;
use scheduler::core::{Core, Decision, Trace, best};
use scheduler::explain::{Change, why};
use scheduler::pod_info::PodInfo;
use scheduler::profile::Profile;
use types::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service, Toleration};
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use types::storage::v1::{CSINode, StorageClass};

const NODES: usize = 12;
const ZONES: usize = 3;

/// Seeds to go through; `SEEDS=500` for a long run.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
}

fn read<T: Codec>(text: &str) -> Arc<T> {
    Arc::new(T::from_json(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn one<'a>(random: &Random, of: &[&'a str]) -> &'a str {
    of[random.below(of.len())]
}

/// Everything of a cluster, so that a core can be made of it anew.
#[derive(Clone, Default)]
struct World {
    nodes: BTreeMap<usize, Arc<Node>>,
    csi_nodes: BTreeMap<usize, Arc<CSINode>>,
    claims: BTreeMap<usize, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<usize, Arc<PersistentVolume>>,
    device_claims: BTreeMap<usize, Arc<ResourceClaim>>,
    slices: BTreeMap<usize, Arc<ResourceSlice>>,
    namespaces: BTreeMap<usize, Arc<Namespace>>,
    placed: Vec<(Arc<Pod>, String)>,
    guests: Vec<(Arc<Pod>, String)>,
}

fn fixed(core: &mut Core) {
    for class in [
        r#"{"metadata":{"name":"local"},"provisioner":"kubernetes.io/no-provisioner","volumeBindingMode":"WaitForFirstConsumer"}"#,
        r#"{"metadata":{"name":"csi"},"provisioner":"x.csi","volumeBindingMode":"WaitForFirstConsumer","allowedTopologies":[{"matchLabelExpressions":[{"key":"topology.kubernetes.io/zone","values":["z0","z1"]}]}]}"#,
        r#"{"metadata":{"name":"now"},"provisioner":"x.csi","volumeBindingMode":"Immediate"}"#,
    ] {
        core.snapshot.set(read::<StorageClass>(class));
    }
    core.snapshot.set(read::<DeviceClass>(
        r#"{"metadata":{"name":"gpu"},"spec":{"selectors":[{"cel":{"expression":"device.driver == 'd'"}}]}}"#,
    ));
    core.snapshot
        .set(read::<Service>(r#"{"metadata":{"name":"s","namespace":"d"},"spec":{"selector":{"app":"a"}}}"#));
}

fn node(number: usize, random: &Random) -> Arc<Node> {
    let mut labels = format!(r#""kubernetes.io/hostname":"n{number}""#);
    if random.below(6) > 0 {
        let _ = write!(labels, r#","topology.kubernetes.io/zone":"z{}""#, random.below(ZONES));
    }
    let _ = write!(labels, r#","disk":"{}""#, one(random, &["ssd", "hdd"]));
    let taint = match random.below(6) {
        0 => r#""taints":[{"key":"k","value":"v","effect":"PreferNoSchedule"}]"#,
        1 => r#""taints":[{"key":"k","value":"v","effect":"NoSchedule"}]"#,
        2 => r#""unschedulable":true"#,
        _ => "",
    };
    let image = match random.below(3) {
        0 => r#","images":[{"names":["i:1"],"sizeBytes":500000000}]"#,
        _ => "",
    };
    read(&format!(
        r#"{{"metadata":{{"name":"n{number}","labels":{{{labels}}}}},"spec":{{{taint}}},
            "status":{{"allocatable":{{"cpu":"{}","memory":"8Gi","pods":"12","example.com/x":"{}"}}{image}}}}}"#,
        1 + random.below(4),
        random.below(3),
    ))
}

fn csi_node(number: usize, random: &Random) -> Arc<CSINode> {
    read(&format!(
        r#"{{"metadata":{{"name":"n{number}"}},"spec":{{"drivers":[{{"name":"x.csi","nodeID":"n{number}","allocatable":{{"count":{}}}}}]}}}}"#,
        1 + random.below(3)
    ))
}

fn volume(number: usize, random: &Random) -> Arc<PersistentVolume> {
    let affinity = match random.below(3) {
        0 => String::new(),
        1 => format!(
            r#","nodeAffinity":{{"required":{{"nodeSelectorTerms":[{{"matchExpressions":[{{"key":"kubernetes.io/hostname","operator":"In","values":["n{}"]}}]}}]}}}}"#,
            random.below(NODES)
        ),
        _ => format!(
            r#","nodeAffinity":{{"required":{{"nodeSelectorTerms":[{{"matchExpressions":[{{"key":"topology.kubernetes.io/zone","operator":"In","values":["z{}"]}}]}}]}}}}"#,
            random.below(ZONES)
        ),
    };
    let zone = match random.below(4) {
        0 => format!(r#","labels":{{"topology.kubernetes.io/zone":"z{}"}}"#, random.below(ZONES)),
        _ => String::new(),
    };
    let class = one(random, &["local", "csi"]);
    let source = r#""csi":{"driver":"x.csi","volumeHandle":"h"}"#.replace("\"h\"", &format!("\"h{number}\""));
    read(&format!(
        r#"{{"metadata":{{"name":"v{number}","uid":"vu{number}"{zone}}},"spec":{{"capacity":{{"storage":"{}Gi"}},"accessModes":["ReadWriteOnce"],
            "storageClassName":"{class}",{source}{affinity}}},"status":{{"phase":"Available"}}}}"#,
        1 + random.below(3)
    ))
}

fn claim(number: usize, random: &Random) -> Arc<PersistentVolumeClaim> {
    let (class, mode) =
        (one(random, &["local", "csi", "now"]), one(random, &["ReadWriteOnce", "ReadWriteOncePod"]));
    let (bound, annotations, phase) = match random.below(2) {
        0 => (
            format!(r#","volumeName":"v{}""#, random.below(8)),
            r#""pv.kubernetes.io/bind-completed":"yes""#,
            "Bound",
        ),
        _ => (String::new(), "", "Pending"),
    };
    read(&format!(
        r#"{{"metadata":{{"name":"c{number}","namespace":"d","uid":"cu{number}","annotations":{{{annotations}}}}},"spec":{{"accessModes":["{mode}"],
            "storageClassName":"{class}","resources":{{"requests":{{"storage":"1Gi"}}}}{bound}}},"status":{{"phase":"{phase}"}}}}"#
    ))
}

fn slice(number: usize, random: &Random) -> Arc<ResourceSlice> {
    let devices: Vec<String> = (0..random.below(4))
        .map(|at| {
            format!(r#"{{"name":"g{at}","attributes":{{"fast":{{"bool":{}}}}}}}"#, random.below(2) == 0)
        })
        .collect();
    read(&format!(
        r#"{{"metadata":{{"name":"s{number}"}},"spec":{{"driver":"d","nodeName":"n{number}","pool":{{"name":"n{number}","generation":{},"resourceSliceCount":1}},
            "devices":[{}]}}}}"#,
        1 + random.below(1000),
        devices.join(",")
    ))
}

fn device_claim(number: usize, random: &Random) -> Arc<ResourceClaim> {
    let selector = match random.below(2) {
        0 => r#","selectors":[{"cel":{"expression":"device.attributes['d'].fast"}}]"#,
        _ => "",
    };
    let allocation = match random.below(3) {
        0 => format!(
            r#","status":{{"allocation":{{"devices":{{"results":[{{"request":"r","driver":"d","pool":"n{0}","device":"g0"}}]}},
                "nodeSelector":{{"nodeSelectorTerms":[{{"matchFields":[{{"key":"metadata.name","operator":"In","values":["n{0}"]}}]}}]}}}}}}"#,
            random.below(NODES)
        ),
        _ => String::new(),
    };
    read(&format!(
        r#"{{"metadata":{{"name":"r{number}","namespace":"d","uid":"ru{number}"}},"spec":{{"devices":{{"requests":[{{"name":"r","exactly":{{"deviceClassName":"gpu",
            "allocationMode":"ExactCount","count":{}{selector}}}}}]}}}}{allocation}}}"#,
        1 + random.below(2)
    ))
}

fn namespace(number: usize, random: &Random) -> Arc<Namespace> {
    let name = ["d", "e"][number];
    read(&format!(r#"{{"metadata":{{"name":"{name}","labels":{{"team":"{}"}}}}}}"#, random.below(2)))
}

fn selector(random: &Random) -> String {
    match random.below(4) {
        0 => r#""labelSelector":{"matchExpressions":[{"key":"app","operator":"Exists"}]}"#.into(),
        1 => {
            r#""labelSelector":{"matchExpressions":[{"key":"app","operator":"NotIn","values":["a"]}]}"#.into()
        }
        _ => format!(r#""labelSelector":{{"matchLabels":{{"app":"{}"}}}}"#, one(random, &["a", "b"])),
    }
}

fn key(random: &Random) -> &'static str {
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone", "disk"][random.below(3)]
}

fn spreading(random: &Random) -> String {
    let action = one(random, &["DoNotSchedule", "ScheduleAnyway"]);
    let mut more = String::new();
    if action == "DoNotSchedule" && random.below(3) == 0 {
        let _ = write!(more, r#","minDomains":{}"#, 1 + random.below(5));
    }
    if random.below(3) == 0 {
        more.push_str(r#","matchLabelKeys":["hash"]"#);
    }
    for policy in ["nodeTaintsPolicy", "nodeAffinityPolicy"] {
        if random.below(2) == 0 {
            let _ = write!(more, r#","{policy}":"{}""#, one(random, &["Honor", "Ignore"]));
        }
    }
    format!(
        r#"{{"maxSkew":{},"topologyKey":"{}","whenUnsatisfiable":"{action}",{}{more}}}"#,
        1 + random.below(2),
        key(random),
        selector(random)
    )
}

fn term(random: &Random) -> String {
    let space = match random.below(4) {
        0 => r#","namespaceSelector":{"matchLabels":{"team":"1"}}"#,
        1 => r#","namespaceSelector":{}"#,
        2 => r#","namespaces":["e"]"#,
        _ => "",
    };
    let keys = match random.below(4) {
        0 => r#","matchLabelKeys":["hash"]"#,
        1 => r#","mismatchLabelKeys":["hash"]"#,
        _ => "",
    };
    format!(r#"{{{},"topologyKey":"{}"{space}{keys}}}"#, selector(random), key(random))
}

fn affinity(random: &Random) -> String {
    let which = one(random, &["podAffinity", "podAntiAffinity"]);
    match random.below(2) {
        0 => format!(r#""{which}":{{"requiredDuringSchedulingIgnoredDuringExecution":[{}]}}"#, term(random)),
        _ => format!(
            r#""{which}":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":{},"podAffinityTerm":{}}}]}}"#,
            1 + random.below(100),
            term(random)
        ),
    }
}

fn pod(number: usize, random: &Random) -> Arc<Pod> {
    let mut spec = format!(r#""priority":{},"#, random.below(3) * 10);
    let mut volumes = String::new();
    let mut container = format!(r#""name":"c","image":"{}""#, one(random, &["i:1", "i:2"]));
    for _ in 0..1 + random.below(3) {
        match random.below(14) {
            0 | 1 if !spec.contains("topologySpread") => {
                let all: Vec<String> = (0..1 + random.below(2)).map(|_| spreading(random)).collect();
                let _ = write!(spec, r#""topologySpreadConstraints":[{}],"#, all.join(","));
            }
            2 | 3 if !spec.contains("affinity") => {
                let _ = write!(spec, r#""affinity":{{{}}},"#, affinity(random));
            }
            4 if !spec.contains("affinity") => {
                let _ = write!(
                    spec,
                    r#""affinity":{{"nodeAffinity":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":5,"preference":{{"matchExpressions":[{{"key":"disk","operator":"In","values":["ssd"]}}]}}}}]}}}},"#
                );
            }
            5 if !spec.contains("nodeSelector") => spec.push_str(r#""nodeSelector":{"disk":"ssd"},"#),
            6 if !spec.contains("tolerations") => {
                spec.push_str(r#""tolerations":[{"key":"k","operator":"Exists"}],"#)
            }
            7 | 8 if volumes.is_empty() => {
                let all: Vec<String> = (0..1 + random.below(2))
                    .map(|at| {
                        let claim = random.below(6);
                        format!(r#"{{"name":"w{at}","persistentVolumeClaim":{{"claimName":"c{claim}"}}}}"#)
                    })
                    .collect();
                volumes = all.join(",");
            }
            9 if volumes.is_empty() => {
                let disk = random.below(2);
                volumes = format!(r#"{{"name":"w","gcePersistentDisk":{{"pdName":"d{disk}"}}}}"#);
            }
            10 | 11 if !spec.contains("resourceClaims") => {
                let claim = random.below(6);
                let _ = write!(spec, r#""resourceClaims":[{{"name":"x","resourceClaimName":"r{claim}"}}],"#);
            }
            12 if !container.contains("ports") => {
                let _ = write!(
                    container,
                    r#","ports":[{{"containerPort":80,"hostPort":{},"hostIP":"{}"}}]"#,
                    80 + random.below(2),
                    one(random, &["", "127.0.0.1"])
                );
            }
            _ => {}
        }
    }
    let scalar = if random.below(5) == 0 { r#","example.com/x":"1""# } else { "" };
    let _ = write!(container, r#","resources":{{"requests":{{"cpu":"{}m"{scalar}}}}}"#, 50 * random.below(8));
    let namespace = if spec.contains("resourceClaims") || volumes.contains("Claim") {
        "d"
    } else {
        one(random, &["d", "d", "e"])
    };
    read(&format!(
        r#"{{"metadata":{{"name":"p{number}","namespace":"{namespace}","uid":"u{number}","labels":{{"app":"{}","hash":"{}"}}}},
            "spec":{{{spec}"volumes":[{volumes}],"containers":[{{{container}}}]}}}}"#,
        one(random, &["a", "b"]),
        random.below(2)
    ))
}

/// One of `count` objects becomes another, in the world and in the core that remembers.
fn renew<K: Tabled>(
    core: &mut Core,
    kept: &mut BTreeMap<usize, Arc<K>>,
    count: usize,
    make: fn(usize, &Random) -> Arc<K>,
    random: &Random,
) {
    let at = random.below(count);
    let changed = make(at, random);
    core.snapshot.set(changed.clone());
    kept.insert(at, changed);
}

impl World {
    fn new(random: &Random) -> Self {
        let mut world = World::default();
        for number in 0..NODES {
            world.nodes.insert(number, node(number, random));
            world.csi_nodes.insert(number, csi_node(number, random));
            world.slices.insert(number, slice(number, random));
        }
        for number in 0..8 {
            world.volumes.insert(number, volume(number, random));
        }
        for number in 0..6 {
            world.claims.insert(number, claim(number, random));
            world.device_claims.insert(number, device_claim(number, random));
        }
        for number in 0..2 {
            world.namespaces.insert(number, namespace(number, random));
        }
        world
    }

    /// A core that knows this cluster and nothing of the past.
    fn core(&self) -> Core {
        let mut core = Core::new(vec![Profile::default()]);
        fixed(&mut core);
        self.nodes.values().for_each(|node| core.snapshot.set_node(node.clone()));
        self.csi_nodes.values().for_each(|node| core.snapshot.set(node.clone()));
        self.volumes.values().for_each(|volume| core.snapshot.set(volume.clone()));
        self.claims.values().for_each(|claim| core.snapshot.set(claim.clone()));
        self.device_claims.values().for_each(|claim| core.snapshot.set(claim.clone()));
        self.slices.values().for_each(|slice| core.snapshot.set(slice.clone()));
        self.namespaces.values().for_each(|namespace| core.snapshot.set(namespace.clone()));
        for (pod, node) in &self.placed {
            core.snapshot.place(Arc::new(PodInfo::new(pod.clone())), node);
        }
        for (pod, node) in &self.guests {
            core.nominate(Arc::new(PodInfo::new(pod.clone())), node.as_str().into());
        }
        core
    }

    /// Something happens, here and in the core that remembers.
    fn happen(&mut self, core: &mut Core, number: usize, random: &Random) {
        match random.below(16) {
            0 => {
                let at = random.below(NODES);
                let changed = node(at, random);
                core.snapshot.set_node(changed.clone());
                self.nodes.insert(at, changed);
            }
            1 if self.nodes.len() > 4 => {
                let gone = *self.nodes.keys().nth(random.below(self.nodes.len())).unwrap();
                self.nodes.remove(&gone);
                core.snapshot.remove_node(&format!("n{gone}"));
            }
            2 => renew(core, &mut self.csi_nodes, NODES, csi_node, random),
            3 => renew(core, &mut self.volumes, 8, volume, random),
            4 => renew(core, &mut self.claims, 6, claim, random),
            5 => renew(core, &mut self.device_claims, 6, device_claim, random),
            6 => renew(core, &mut self.slices, NODES, slice, random),
            7 => renew(core, &mut self.namespaces, 2, namespace, random),
            8 | 9 if !self.placed.is_empty() => {
                let (gone, _) = self.placed.swap_remove(random.below(self.placed.len()));
                core.snapshot.remove_pod(&gone.metadata.uid);
            }
            10 => {
                let guest = pod(10_000 + number, random);
                let at = format!("n{}", random.below(NODES));
                core.nominate(Arc::new(PodInfo::new(guest.clone())), at.as_str().into());
                self.guests.push((guest, at));
            }
            11 if !self.guests.is_empty() => {
                let (gone, _) = self.guests.swap_remove(random.below(self.guests.len()));
                core.release(&gone.metadata.uid);
            }
            12 if !self.claims.is_empty() => {
                let gone = random.below(6);
                if let Some(gone) = self.claims.remove(&gone) {
                    core.snapshot.remove(&*gone);
                }
            }
            _ => {}
        }
    }
}

/// Feasible nodes with their sums, refused nodes with their reasons, and the message, by name.
type Answer = (BTreeMap<String, i64>, BTreeMap<String, String>, String);

fn answer(core: &mut Core, pod: &Arc<PodInfo>) -> Answer {
    let mut trace = Trace::default();
    // What is remembered decides; the trace asks anew.
    let decision = core.decide(pod, 0, 5, Some(&mut trace));
    match &decision {
        Decision::Node { index, .. } if trace.feasible.len() > 1 => {
            assert_eq!(*index, best(&trace.feasible, &trace.sums, 5) as usize);
        }
        Decision::Node { index, .. } => assert_eq!(trace.feasible, [*index as u32]),
        _ => assert!(trace.feasible.is_empty()),
    }
    let name = |node: u32| core.snapshot.name(node as usize).to_string();
    let sum = |at: usize| trace.sums.get(at).copied().unwrap_or(0);
    let feasible = trace.feasible.iter().enumerate().map(|(at, node)| (name(*node), sum(at))).collect();
    let refused =
        trace.rejected.iter().map(|(node, refusal)| (name(*node), format!("{refusal:?}"))).collect();
    let message = match decision {
        Decision::Failed(failure) => failure.message(),
        Decision::Error(error) => error,
        Decision::Node { .. } => String::new(),
    };
    (feasible, refused, message)
}

#[test]
fn what_is_remembered_equals_what_is_computed_from_nothing_with_every_plugin() {
    let (mut bound, mut refused) = (0, 0);
    // The last one found that terms of nominated pods were not counted where nobody had named their label before.
    for seed in (0..seeds()).chain([40]) {
        let random = Random::seeded(seed);
        let mut world = World::new(&random);
        let mut core = world.core();
        let mut kinds: Vec<Arc<Pod>> = Vec::new();
        for number in 0..150 {
            world.happen(&mut core, number, &random);
            // Half of the pods are like one before, as those of one owner are.
            let mut wanted = pod(number, &random);
            if random.below(2) == 0 && !kinds.is_empty() {
                let mut twin = (*kinds[random.below(kinds.len())]).clone();
                twin.metadata.name = format!("p{number}").into();
                twin.metadata.uid = format!("u{number}").into();
                wanted = Arc::new(twin);
            } else {
                kinds.push(wanted.clone());
            }
            let info = Arc::new(PodInfo::new(wanted.clone()));
            let mine = answer(&mut core, &info);
            let naive = answer(&mut world.core(), &info);
            assert_eq!(
                mine,
                naive,
                "seed {seed}, pod {number}: {}",
                String::from_utf8_lossy(&wanted.to_json())
            );
            match mine.0.iter().max_by_key(|(_, sum)| **sum).map(|(node, _)| node.clone()) {
                None => refused += 1,
                Some(node) => {
                    bound += 1;
                    core.snapshot.place(info, &node);
                    world.placed.push((wanted, node));
                }
            }
        }
    }
    assert!(bound > 300 && refused > 100, "{bound} bound, {refused} refused");
}

impl World {
    /// The pod after the change, which may change the node instead.
    fn change(&mut self, pod: &mut Pod, at: usize, change: &Change) {
        let mut node = (*self.nodes[&at]).clone();
        match change {
            Change::Less { resource, amount } => {
                let requests = &mut pod.spec.containers[0].resources.requests;
                let asked = requests.get(resource).unwrap();
                let rest = match resource.as_str() {
                    "cpu" => format!("{}m", asked.milli_value() - amount),
                    _ => (asked.value() - amount).to_string(),
                };
                requests.insert(resource.clone(), rest.parse().unwrap());
            }
            Change::Tolerate { key, value, effect } => {
                let (key, value, effect) = (key.clone(), value.clone(), effect.clone());
                pod.spec.tolerations.push(Toleration { key, value, effect, ..Toleration::default() });
            }
            Change::Uncordon => node.spec.unschedulable = false,
            Change::Label(labels) => {
                for (key, value) in labels {
                    node.metadata.labels.insert(key.clone(), value.clone());
                }
            }
            Change::FreePort { port, .. } => {
                for (other, place) in &mut self.placed {
                    let freed = format!("n{at}") == *place;
                    for container in Arc::make_mut(other).spec.containers.iter_mut().filter(|_| freed) {
                        container.ports.retain(|held| held.host_port != *port);
                    }
                }
            }
            Change::FewerPods(pods) => {
                let held = node.status.allocatable.get("pods").unwrap().value();
                node.status.allocatable.insert("pods", (held + pods).to_string().parse().unwrap());
            }
            Change::Without(pods) => {
                let stays = |other: &Pod| {
                    let metadata = &other.metadata;
                    !pods.contains(&format!("{}/{}", metadata.namespace, metadata.name).into())
                };
                self.placed.retain(|(other, _)| stays(other));
            }
            Change::Near { selector, .. } => {
                let mut other = Pod::default();
                other.metadata.name = "near".into();
                other.metadata.uid = "near".into();
                other.metadata.namespace = pod.metadata.namespace.clone();
                for asked in selector.split(',').filter(|asked| !asked.contains(" notin ")) {
                    let (key, value) =
                        asked.split_once('=').or(asked.split_once(" in ")).unwrap_or((asked, "x"));
                    other.metadata.labels.insert(key, value.trim_matches(['(', ')']).into());
                }
                self.placed.push((Arc::new(other), format!("n{at}")));
            }
            Change::OwnDomain(key) => {
                node.metadata.labels.insert(key.clone(), "nobody-else".into());
            }
            Change::MaxSkew { key, skew } => {
                for constraint in &mut pod.spec.topology_spread_constraints {
                    if constraint.topology_key == *key && constraint.when_unsatisfiable == "DoNotSchedule" {
                        constraint.max_skew = constraint.max_skew.max(*skew as i32);
                    }
                }
            }
        }
        self.nodes.insert(at, Arc::new(node));
    }
}

#[test]
fn what_is_said_to_help_helps() {
    let (mut fitting, mut helped) =
        (0, std::collections::HashMap::<std::mem::Discriminant<Change>, usize>::new());
    for seed in 1000..1000 + seeds() {
        let random = Random::seeded(seed);
        let mut world = World::new(&random);
        let mut core = world.core();
        for number in 0..100 {
            world.happen(&mut core, number, &random);
            let wanted = pod(number, &random);
            let info = Arc::new(PodInfo::new(wanted.clone()));
            let (feasible, _, _) = answer(&mut world.core(), &info);
            if let Ok(verdicts) = why(&mut core, &info, 0) {
                for verdict in verdicts {
                    let about = || format!("seed {seed}, pod {number}: {}", verdict.line());
                    let fits = verdict.refusals.is_empty();
                    assert_eq!(fits, feasible.contains_key(verdict.node.as_str()), "{}", about());
                    fitting += usize::from(fits);
                    // A cluster made anew is dear; some of them will do.
                    if verdict.changes.is_empty() || random.below(4) > 0 {
                        continue;
                    }
                    let mut changed = world.clone();
                    let mut other = (*wanted).clone();
                    let at: usize = verdict.node[1..].parse().unwrap();
                    for change in &verdict.changes {
                        changed.change(&mut other, at, change);
                        *helped.entry(std::mem::discriminant(change)).or_default() += 1;
                    }
                    let other = Arc::new(PodInfo::new(Arc::new(other)));
                    let (feasible, refused, _) = answer(&mut changed.core(), &other);
                    let now = refused.get(verdict.node.as_str());
                    assert!(feasible.contains_key(verdict.node.as_str()), "{}: {now:?}", about());
                }
            }
            if let Some(node) = feasible.keys().next() {
                core.snapshot.place(info, node);
                world.placed.push((wanted, node.clone()));
            }
        }
    }
    assert!(fitting > 100 && helped.len() >= 8, "{fitting} fit, {helped:?}");
}
