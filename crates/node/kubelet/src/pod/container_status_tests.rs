//! Container statuses: what users see in each state.

use std::sync::Arc;

use runtime::{ContainerConfig, Exit};

use super::*;

fn running(name: &str, attempt: u32, state: State) -> Running {
    Running {
        id: format!("{name}{attempt}"),
        sandbox_id: "sb".into(),
        config: Arc::new(ContainerConfig {
            name: name.into(),
            attempt,
            image: "img".into(),
            ..Default::default()
        }),
        image_id: "sha256:1".into(),
        image_ref: "img@sha256:1".into(),
        state,
        created_at_ns: i64::from(attempt) + 1,
        log_path: Default::default(),
        user: Default::default(),
        cgroup: Default::default(),
        stop_signal: String::new(),
    }
}

fn ended(code: i32) -> State {
    State::Exited(Exit {
        exit_code: code,
        reason: if code == 0 { "Completed" } else { "Error" }.into(),
        started_at_ns: 1_000_000_000,
        finished_at_ns: 2_000_000_000,
        ..Default::default()
    })
}

const RUNNING: State = State::Running { pid: 1, started_at_ns: 5_000_000_000 };

fn check(
    containers: Vec<Running>,
    waiting: Option<(&str, &str)>,
    old: Option<ContainerStatus>,
) -> ContainerStatus {
    let mut pod = Pod::default();
    pod.spec.restart_policy = "Always".into();
    let container = Container { name: "a".into(), image: "img".into(), ..Default::default() };
    let waiting = waiting.map(|(r, m)| ("a".to_string(), Waiting { reason: r.into(), message: m.into() }));
    let waiting: HashMap<_, _> = waiting.into_iter().collect();
    let view = PodView::new(vec![], containers);
    let messages = HashMap::from([("a0".to_string(), "last words".to_string())]);
    let facts = Facts {
        pod: &pod,
        view: &view,
        runtime_name: "ferrokube",
        waiting: &waiting,
        started: &|_| true,
        ready: &|_| true,
        messages: &messages,
        resources: &HashMap::new(),
    };
    let old: Vec<_> = old.into_iter().collect();
    statuses(&facts, &[(Role::Regular, &container)], &old).into_iter().next().unwrap()
}

#[test]
fn before_it_runs() {
    let s = check(vec![], None, None);
    assert_eq!(s.state.waiting.unwrap().reason, "ContainerCreating");
    assert_eq!((s.ready, s.started, s.container_id.as_str()), (false, Some(false), ""));
    let s = check(vec![], Some(("ErrImagePull", "no such image")), None);
    let w = s.state.waiting.unwrap();
    assert_eq!((w.reason.as_str(), w.message.as_str()), ("ErrImagePull", "no such image"));
}

#[test]
fn while_it_runs() {
    let s = check(vec![running("a", 0, ended(1)), running("a", 1, RUNNING)], None, None);
    assert!(s.state.running.is_some() && s.ready && s.started == Some(true));
    assert_eq!((s.restart_count, s.container_id.as_str()), (1, "ferrokube://a1"));
    let last = s.last_state.terminated.unwrap();
    assert_eq!((last.exit_code, last.message.as_str()), (1, "last words"));
}

#[test]
fn a_crash_loop_shows_the_end_as_last_state() {
    let s = check(vec![running("a", 0, ended(1))], None, None);
    assert_eq!(s.state.terminated.as_ref().unwrap().reason, "Error");
    let s = check(vec![running("a", 0, ended(1))], Some(("CrashLoopBackOff", "back-off 10s")), None);
    assert_eq!(s.state.waiting.unwrap().reason, "CrashLoopBackOff");
    assert_eq!(s.last_state.terminated.unwrap().exit_code, 1);
}

#[test]
fn a_container_that_vanished_is_said_to_have_ended() {
    let before = check(vec![running("a", 0, RUNNING)], None, None);
    let s = check(vec![], None, Some(before));
    assert_eq!(s.last_state.terminated.unwrap().reason, "ContainerStatusUnknown");
    assert_eq!(s.restart_count, 1);
    let before = check(vec![running("a", 0, ended(0))], None, None);
    assert_eq!(check(vec![], None, Some(before.clone())), before);
}
