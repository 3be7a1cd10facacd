//! Scripted pods: states in, next steps out.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use runtime::{ContainerConfig, ContainerState, Exit, Sandbox, SandboxConfig};

use super::*;

const NOW: u64 = 1_000_000;

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

/// A scenario: containers by name (`i…` init, `s…` sidecar, else regular) and their states.
struct Scene {
    pod: Pod,
    view: PodView,
    health: HashMap<String, Health>,
    in_flight: InFlight,
    restarts: Backoff,
    resting: HashMap<String, SystemTime>,
}

fn scene(policy: &str, states: &[&str]) -> Scene {
    let mut pod = Pod::default();
    pod.spec.restart_policy = policy.into();
    let config = Arc::new(SandboxConfig::default());
    let sandbox = Sandbox {
        id: "sb".into(),
        config,
        ready: true,
        created_at_ns: 1,
        netns: None,
        ips: vec!["10.0.0.1".parse().unwrap()],
        cgroup: Default::default(),
    };
    let (mut containers, mut health) = (vec![], HashMap::new());
    for entry in states {
        let (name, state) = entry.split_once('=').unwrap();
        let mut container = Container { name: name.into(), ..Default::default() };
        match &name[..1] {
            "i" => pod.spec.init_containers.push(container),
            "s" => {
                container.restart_policy = Some("Always".into());
                pod.spec.init_containers.push(container);
            }
            _ => pod.spec.containers.push(container),
        }
        let id = format!("{name}-id");
        let state = match state.split_once(':').unwrap_or((state, "")) {
            ("run", how) => {
                let failed = (how == "dead").then_some(ProbeFailure::Liveness);
                health.insert(id.clone(), Health { started: how != "starting", failed });
                ContainerState::Running { pid: 1, started_at_ns: 1 }
            }
            ("made", _) => ContainerState::Created,
            ("end", code) => ContainerState::Exited(Exit {
                exit_code: code.parse().unwrap(),
                finished_at_ns: (NOW as i64 - 1) * 1_000_000_000,
                ..Default::default()
            }),
            _ => continue,
        };
        containers.push(Running {
            id,
            sandbox_id: "sb".into(),
            config: Arc::new(ContainerConfig { name: name.into(), ..Default::default() }),
            image_id: String::new(),
            image_ref: String::new(),
            state,
            created_at_ns: 1,
            log_path: Default::default(),
            user: Default::default(),
            cgroup: Default::default(),
            stop_signal: String::new(),
        });
    }
    Scene {
        pod,
        view: PodView::new(vec![sandbox], containers),
        health,
        in_flight: InFlight::default(),
        restarts: Backoff::kubelet(),
        resting: HashMap::new(),
    }
}

impl Scene {
    fn plan(&self) -> Plan {
        plan(&World {
            pod: &self.pod,
            view: &self.view,
            health: &self.health,
            in_flight: &self.in_flight,
            restarts: &self.restarts,
            resting: &self.resting,
            set_up_rests: None,
            volumes_ready: true,
            now: at(NOW),
        })
    }

    /// Actions in short: `+a` starts, `-a` stops, `!` is the end, `setup`.
    fn short(&self) -> String {
        let plan = self.plan();
        let mut out: Vec<String> = plan
            .actions
            .iter()
            .map(|a| match a {
                Action::SetUp => "setup".into(),
                Action::Start { name, attempt: 0, .. } => format!("+{name}"),
                Action::Start { name, attempt, .. } => format!("+{name}#{attempt}"),
                Action::Stop { name, .. } => format!("-{name}"),
            })
            .collect();
        if plan.done {
            out.push("!".into());
        }
        out.join(" ")
    }
}

#[test]
fn table() {
    for (policy, states, want) in [
        ("Always", &["a=none", "b=none"][..], "+a"),
        ("Always", &["a=run", "b=none"], "+b"),
        ("Always", &["a=run", "b=run"], ""),
        ("Always", &["a=end:0"], "+a#1"),
        ("Always", &["a=made"], "+a"),
        ("Never", &["a=end:1"], "!"),
        ("Never", &["a=end:1", "b=run"], ""),
        ("OnFailure", &["a=end:0", "b=end:1"], "+b#1"),
        ("OnFailure", &["a=end:0"], "!"),
        ("Always", &["i1=none", "i2=none", "a=none"], "+i1"),
        ("Always", &["i1=run", "i2=none", "a=none"], ""),
        ("Always", &["i1=end:0", "i2=none", "a=none"], "+i2"),
        ("Always", &["i1=end:1", "a=none"], "+i1#1"),
        ("Never", &["i1=end:1", "a=none"], "!"),
        ("Always", &["i1=end:0", "a=none"], "+a"),
        ("Always", &["i1=none", "a=run"], ""),
        ("Always", &["s=none", "i=none", "a=none"], "+s"),
        ("Always", &["s=run:starting", "i=none", "a=none"], ""),
        ("Always", &["s=run", "i=none", "a=none"], "+i"),
        ("Always", &["s=run", "i=run", "a=none"], ""),
        ("Always", &["s=end:0", "i=run", "a=none"], "+s#1"),
        ("Always", &["s=end:1", "a=run"], "+s#1"),
        ("Never", &["s=run", "a=end:0"], "!"),
        ("Always", &["a=run:dead"], "-a"),
    ] {
        assert_eq!(scene(policy, states).short(), want, "{policy} {states:?}");
    }
}

#[test]
fn one_start_at_a_time_and_none_while_resting() {
    let mut s = scene("Always", &["a=none", "b=none"]);
    s.in_flight.starting = Some("a".into());
    assert_eq!(s.short(), "");
    s.in_flight.starting = None;
    s.resting.insert("a".into(), at(NOW + 7));
    assert_eq!(s.short(), "+b", "a failed pull of one does not hold up the next");
    assert_eq!(s.plan().wake_in, Some(Duration::from_secs(7)));
}

#[test]
fn a_crash_loop_waits() {
    let mut s = scene("Always", &["a=end:1"]);
    s.restarts.next("a", at(NOW - 5), at(NOW - 5));
    let plan = s.plan();
    assert!(plan.actions.is_empty());
    assert_eq!(plan.crash_looping, [("a".to_string(), Duration::from_secs(10))]);
    assert_eq!(plan.wake_in, Some(Duration::from_secs(9)));
}

#[test]
fn a_lost_sandbox_is_made_again_only_if_worth_it() {
    for (policy, states, want) in [
        ("Always", &["a=end:137"][..], "setup"),
        ("Never", &["a=end:137"], "!"),
        ("OnFailure", &["a=end:0"], "!"),
        ("OnFailure", &["a=end:1"], "setup"),
    ] {
        let mut s = scene(policy, states);
        s.view.sandboxes[0].ready = false;
        assert_eq!(s.short(), want, "{policy} {states:?}");
    }
    let mut s = scene("Always", &["i=end:0", "a=run"]);
    s.view.sandboxes[0].ready = false;
    s.view.sandboxes.insert(0, Sandbox { id: "sb2".into(), ready: true, ..s.view.sandboxes[0].clone() });
    assert_eq!(s.short(), "+i#1", "init containers run again in a new sandbox");
}
