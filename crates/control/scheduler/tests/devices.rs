//! Devices: which node has them for a pod's claims, what the claims get, and that what is remembered changes no answer.

#![expect(clippy::unwrap_used, reason = "what the helpers of these tests read is written here")]

use std::collections::BTreeMap;
use std::sync::Arc;

use env::Random;
use meta::{Codec, Kind, Object};
use scheduler::cluster::Tabled;
use scheduler::core::{Core, Decision, Trace};
use scheduler::plugin::Cx;
use scheduler::plugins::dynamic_resources;
use scheduler::pod_info::PodInfo;
use scheduler::post_filter;
use scheduler::profile::Profile;
use serde_json::{Value, json};
use types::core::v1::{Node, Pod};
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};

fn object<K: Codec>(value: Value) -> Arc<K> {
    Arc::new(K::from_json(value.to_string().as_bytes()).unwrap())
}

fn set<K: Tabled + Kind + Object + Codec>(core: &mut Core, value: Value) {
    core.snapshot.set(object::<K>(value));
}

fn node(name: &str, extra: Value) -> Value {
    let mut allocatable = json!({"cpu": "8", "memory": "8Gi", "pods": "20"});
    for (key, value) in extra.as_object().into_iter().flatten() {
        allocatable[key] = value.clone();
    }
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "status": {"allocatable": allocatable}})
}

/// Two nodes, a class for all devices of the driver.
fn cluster() -> Core {
    let mut core = Core::new(vec![Profile::default()]);
    for name in ["n1", "n2"] {
        core.snapshot.set_node(object::<Node>(node(name, json!({}))));
    }
    set::<DeviceClass>(
        &mut core,
        json!({"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": "device.driver == 'd'"}}]}}),
    );
    core
}

fn slice(core: &mut Core, name: &str, node: &str, count: u32, devices: Value) {
    let pool = json!({"name": node, "generation": 1, "resourceSliceCount": count});
    set::<ResourceSlice>(
        core,
        json!({"metadata": {"name": name}, "spec": {"driver": "d", "nodeName": node, "pool": pool, "devices": devices}}),
    );
}

fn claim(name: &str, requests: Value, constraints: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "x", "uid": name},
        "spec": {"devices": {"requests": requests, "constraints": constraints}}})
}

fn request(name: &str, more: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        exactly[key] = value.clone();
    }
    json!({"name": name, "exactly": exactly})
}

fn pod(name: &str, claims: &[&str]) -> Arc<PodInfo> {
    let claims: Vec<_> =
        claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
    Arc::new(PodInfo::new(object::<Pod>(json!({
        "metadata": {"name": name, "namespace": "x", "uid": name},
        "spec": {"resourceClaims": claims, "containers": [{"name": "c"}]},
    }))))
}

/// What the pod's claims get, node by node; else what the decision says.
fn outcome(core: &mut Core, pod: &Arc<PodInfo>) -> String {
    let mut trace = Trace::default();
    match core.decide(pod, 0, 0, Some(&mut trace)) {
        Decision::Error(error) => error,
        Decision::Failed(mut failure) => {
            post_filter::run(core, pod, 0, &mut failure, 0);
            failure.message()
        }
        Decision::Node { .. } => {
            let mut nodes = BTreeMap::new();
            for index in &trace.feasible {
                let given =
                    dynamic_resources::choose(&Cx::new(pod, &core.snapshot), *index as usize).unwrap();
                let each = given.iter().flat_map(|one| one.result.devices.results.iter());
                let devices: Vec<String> =
                    each.map(|one| format!("{}={}", one.request, one.device)).collect();
                nodes.insert(core.snapshot.name(*index as usize).to_string(), devices.join(" "));
            }
            let each: Vec<String> =
                nodes.iter().map(|(node, devices)| format!("{node}: {devices}")).collect();
            each.join("; ")
        }
    }
}

fn attribute(value: &str) -> Value {
    json!({"vendor": {"string": value}})
}

#[test]
fn requests_get_devices_that_meet_them() {
    let selector = |text: &str| json!({"selectors": [{"cel": {"expression": text}}]});
    let four = json!([
        {"name": "a", "attributes": attribute("x")}, {"name": "b", "attributes": attribute("y")},
        {"name": "c", "attributes": attribute("x")},
        {"name": "t", "attributes": attribute("y"), "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
    ]);
    let cases = [
        (json!([request("r", json!({}))]), json!([]), "n1: r=a"),
        (json!([request("r", json!({"count": 3}))]), json!([]), "n1: r=a r=b r=c"),
        (json!([request("r", json!({"count": 4}))]), json!([]), "cannot allocate all claims"),
        (
            json!([request("r", json!({"count": 4, "tolerations": [{"key": "k", "operator": "Exists"}]}))]),
            json!([]),
            "n1: r=a r=b r=c r=t",
        ),
        (json!([request("r", selector("device.attributes['d'].vendor == 'y'"))]), json!([]), "n1: r=b"),
        (json!([request("r", json!({"count": 2}))]), json!([{"matchAttribute": "d/vendor"}]), "n1: r=a r=c"),
        (
            json!([request("r", json!({})), request("s", json!({}))]),
            json!([{"distinctAttribute": "d/vendor", "requests": ["r", "s"]}]),
            "n1: r=a s=b",
        ),
        (
            json!([request("r", json!({"count": 2}))]),
            json!([{"matchAttribute": "d/none"}]),
            "cannot allocate all claims",
        ),
        (
            json!([request("r", json!({"allocationMode": "All", "tolerations": [{"operator": "Exists"}]}))]),
            json!([]),
            "n1: r=a r=b r=c r=t",
        ),
        (
            json!([request("r", json!({"allocationMode": "All", "tolerations": [{"operator": "Exists"}]}))]),
            json!([{"matchAttribute": "d/vendor"}]),
            r#"running "DynamicResources" filter plugin: claim x/c, request r: cannot add device d/n1/b because a claim constraint would not be satisfied"#,
        ),
        (
            json!([request("r", selector("device.attributes['d'].missing == 'y'"))]),
            json!([]),
            r#"running "DynamicResources" filter plugin: claim x/c: selector #0: CEL runtime error: no such key: missing"#,
        ),
        (
            json!([request("r", json!({"count": 33}))]),
            json!([]),
            r#"running "DynamicResources" filter plugin: claim x/c: number of requested devices 33 exceeds the claim limit of 32"#,
        ),
        (
            json!([request("r", json!({"deviceClassName": "none"}))]),
            json!([]),
            "0/2 nodes are available: request r: device class none does not exist.",
        ),
        (
            json!([{"name": "r", "firstAvailable": [
                {"name": "many", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 9},
                {"name": "one", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}]}]),
            json!([]),
            "n1: r/one=a",
        ),
        (
            json!([request("r", json!({"adminAccess": true})), request("s", json!({}))]),
            json!([]),
            "n1: r=a s=b",
        ),
    ];
    for (requests, constraints, want) in cases {
        let mut core = cluster();
        slice(&mut core, "s1", "n1", 1, four.clone());
        set::<ResourceClaim>(&mut core, claim("c", requests.clone(), constraints.clone()));
        let got = outcome(&mut core, &pod("p", &["c"]));
        assert!(got.contains(want), "{requests} {constraints}: {got} instead of {want}");
    }
}

#[test]
fn pools_that_are_not_whole_or_contradict_themselves_give_nothing() {
    let mut core = cluster();
    set::<ResourceClaim>(&mut core, claim("c", json!([request("r", json!({}))]), json!([])));
    set::<ResourceClaim>(
        &mut core,
        claim("all", json!([request("r", json!({"allocationMode": "All"}))]), json!([])),
    );
    slice(&mut core, "s1", "n1", 2, json!([{"name": "a"}]));
    assert!(
        outcome(&mut core, &pod("p", &["c"])).contains("cannot allocate all claims"),
        "half of the slices"
    );
    assert_eq!(
        outcome(&mut core, &pod("q", &["all"])),
        r#"running "DynamicResources" filter plugin: claim x/all, request r: asks for all devices, but resource pool d/n1 is currently being updated"#
    );
    slice(&mut core, "s2", "n1", 2, json!([{"name": "a"}]));
    assert!(
        outcome(&mut core, &pod("p", &["c"])).contains("invalid resource pools were encountered"),
        "two devices of one name"
    );
    slice(&mut core, "s2", "n1", 2, json!([{"name": "b"}]));
    assert_eq!(outcome(&mut core, &pod("p", &["c"])), "n1: r=a");
    assert_eq!(outcome(&mut core, &pod("q", &["all"])), "n1: r=a r=b");
}

#[test]
fn partitions_share_counters_and_shares_share_capacity() {
    let mut core = cluster();
    let pool = json!({"name": "n1", "generation": 1, "resourceSliceCount": 2});
    set::<ResourceSlice>(
        &mut core,
        json!({"metadata": {"name": "counters"}, "spec": {"driver": "d", "pool": pool, "nodeName": "n1",
            "sharedCounters": [{"name": "gpu0", "counters": {"memory": {"value": "40Gi"}}}]}}),
    );
    let part = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "gpu0", "counters": {"memory": {"value": memory}}}]});
    slice(&mut core, "s1", "n1", 2, json!([part("big", "30Gi"), part("mid", "20Gi"), part("small", "10Gi")]));
    set::<ResourceClaim>(&mut core, claim("two", json!([request("r", json!({"count": 2}))]), json!([])));
    set::<ResourceClaim>(&mut core, claim("three", json!([request("r", json!({"count": 3}))]), json!([])));
    assert_eq!(outcome(&mut core, &pod("p", &["two"])), "n1: r=big r=small");
    assert!(outcome(&mut core, &pod("q", &["three"])).contains("cannot allocate all claims"));
    let mut core = cluster();
    slice(
        &mut core,
        "s1",
        "n1",
        1,
        json!([{"name": "nic", "allowMultipleAllocations": true, "capacity": {"bandwidth": {"value": "10"}}}]),
    );
    let asks = |amount: &str| json!([request("r", json!({"capacity": {"requests": {"bandwidth": amount}}}))]);
    for (name, amount) in [("six", "6"), ("four", "4"), ("five", "5")] {
        set::<ResourceClaim>(&mut core, claim(name, asks(amount), json!([])));
    }
    assert_eq!(outcome(&mut core, &pod("p", &["six", "four"])), "n1: r=nic r=nic");
    assert!(outcome(&mut core, &pod("q", &["six", "five"])).contains("cannot allocate all claims"));
}

#[test]
fn devices_stand_behind_extended_resources() {
    let mut core = cluster();
    core.snapshot.set_node(object::<Node>(node("n2", json!({"example.com/gpu": "2"}))));
    let asks = |name: &str, resource: &str, count: u32| {
        let amounts = json!({resource: count.to_string()});
        Arc::new(PodInfo::new(object::<Pod>(json!({
            "metadata": {"name": name, "namespace": "x", "uid": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": amounts, "limits": amounts}}]},
        }))))
    };
    let wants = asks("p", "example.com/gpu", 2);
    assert_eq!(outcome(&mut core, &wants), "n2: ", "the node's own");
    slice(&mut core, "s1", "n1", 1, json!([{"name": "a"}, {"name": "b"}]));
    set::<DeviceClass>(
        &mut core,
        json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
    );
    assert_eq!(
        outcome(&mut core, &wants),
        "n1: container-0-request-0=a container-0-request-0=b; n2: ",
        "devices where the node has none of its own"
    );
    assert_eq!(
        outcome(&mut core, &asks("q", "deviceclass.resource.kubernetes.io/gpu", 1)),
        "n1: container-0-request-0=a"
    );
    let three = outcome(&mut core, &asks("r", "example.com/gpu", 3));
    assert!(three.contains("1 Insufficient example.com/gpu, 1 cannot allocate all claims"), "{three}");
    let index = core.snapshot.index_of("n1").unwrap();
    let given = dynamic_resources::choose(&Cx::new(&wants, &core.snapshot), index).unwrap();
    assert_eq!(given[0].mappings[0].request_name, "container-0-request-0");
    assert_eq!(given[0].claim.metadata.generate_name, "p-extended-resources-");
}

#[test]
fn a_search_without_end_is_given_up() {
    let args = json!({"filterTimeout": "200ms"}).to_string();
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{pluginConfig: [{{name: DynamicResources, args: {args}}}]}}]\n"
    );
    let config = scheduler::config::parse(&text).unwrap();
    let mut core = Core::new(vec![Profile::new(&config.profiles[0], &[])]);
    set::<DeviceClass>(&mut core, json!({"metadata": {"name": "gpu"}, "spec": {}}));
    // Half of 40 devices, all of different vendors, cannot be of one.
    for name in ["n1", "n2"] {
        core.snapshot.set_node(object::<Node>(node(name, json!({}))));
        let devices: Vec<_> = (0..40)
            .map(|at| json!({"name": format!("g{at}"), "attributes": attribute(&(at / 19).to_string())}))
            .collect();
        slice(&mut core, name, name, 1, json!(devices));
    }
    let constraints = json!([{"matchAttribute": "d/vendor"}]);
    set::<ResourceClaim>(&mut core, claim("c", json!([request("r", json!({"count": 20}))]), constraints));
    let begun = std::time::Instant::now();
    let got = outcome(&mut core, &pod("p", &["c"]));
    assert!(got.starts_with("0/2 nodes are available: 2 timed out trying to allocate devices."), "{got}");
    assert!(begun.elapsed().as_secs() < 20);
}

/// A random world of devices, in which pods of a few templates come and go. Answers all decisions.
fn live(seed: u64, remembers: bool) -> Vec<String> {
    let random = Random::seeded(seed);
    let mut core = Core::new(vec![Profile::default()]);
    set::<DeviceClass>(&mut core, json!({"metadata": {"name": "gpu"}, "spec": {}}));
    for at in 0..15 {
        core.snapshot.set_node(object::<Node>(node(&format!("n{at}"), json!({}))));
    }
    let mut decisions = Vec::new();
    let mut placed: Vec<(Arc<PodInfo>, Vec<Arc<ResourceClaim>>)> = Vec::new();
    for number in 0..150 {
        match random.below(6) {
            0 => {
                let at = random.below(15);
                let devices: Vec<_> =
                    (0..random.below(4)).map(|at| json!({"name": format!("g{at}")})).collect();
                slice(&mut core, &format!("s{at}"), &format!("n{at}"), 1, json!(devices));
            }
            1 if !placed.is_empty() => {
                let (gone, claims) = placed.swap_remove(random.below(placed.len()));
                core.snapshot.remove_pod(gone.uid());
                claims.iter().for_each(|claim| core.snapshot.remove(&**claim));
            }
            2 => core.snapshot.set_node(object::<Node>(node(&format!("n{}", random.below(15)), json!({})))),
            _ => {}
        }
        let name = format!("p{number}");
        let count = 1 + random.below(2);
        let requests = match random.below(3) {
            0 => json!([{"name": "r", "firstAvailable": [
                {"name": "two", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2},
                {"name": "one", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}]}]),
            _ => json!([request("r", json!({"count": count}))]),
        };
        let plain = random.below(5) == 0;
        let named = [name.as_str()];
        let info = pod(&name, if plain { &[] } else { &named });
        if !plain {
            set::<ResourceClaim>(&mut core, claim(&name, requests, json!([])));
        }
        if !remembers {
            core.forget();
        }
        let mut trace = Trace::default();
        let decision = core.decide(&info, 0, random.u64(), Some(&mut trace));
        let told = match &decision {
            Decision::Node { index, .. } => core.snapshot.name(*index).to_string(),
            Decision::Failed(failure) => failure.message(),
            Decision::Error(error) => error.clone(),
        };
        decisions.push(format!("{told} {:?} {:?}", trace.feasible, trace.sums));
        if let Decision::Node { index, .. } = decision {
            let given = dynamic_resources::choose(&Cx::new(&info, &core.snapshot), index).unwrap();
            let mut claims = Vec::new();
            for one in given {
                let mut claim = (*one.claim).clone();
                claim.status.allocation = Some(Box::new(one.result));
                claims.push(Arc::new(claim));
                core.snapshot.set(claims[claims.len() - 1].clone());
            }
            core.place(&info, index);
            placed.push((info, claims));
        }
    }
    decisions
}

#[test]
fn what_is_remembered_of_devices_changes_no_answer() {
    let mut bound = 0;
    for seed in 0..12 {
        let (remembering, forgetful) = (live(seed, true), live(seed, false));
        for (number, (one, other)) in remembering.iter().zip(&forgetful).enumerate() {
            assert_eq!(one, other, "seed {seed}, pod {number}");
        }
        bound += remembering.iter().filter(|one| one.starts_with('n')).count();
    }
    assert!(bound > 300, "only {bound} pods found a node");
}
