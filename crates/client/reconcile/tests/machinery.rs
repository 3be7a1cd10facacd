//! Plans, events and elections over a server in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use call::Action;
use client::fake::{Fake, Fault, eventually, paused_env};
use informer::Informers;
use meta::Status;
use reconcile::{Election, Executor, Next, Note, Plan, Recorder, Write, elect};
use types::core::v1::{ConfigMap, Event};

fn map(prefix: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.namespace = "default".into();
    map.metadata.generate_name = prefix.into();
    map
}

fn executor(server: &Arc<Fake>, env: &env::Env) -> Executor {
    let informers = Informers::new(server.client(), env.clone());
    let recorder = Recorder::start(server.client(), "tester", env.clone());
    Executor::new(server.client(), informers, recorder, env.clone())
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_happens_once() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let creates = AtomicU32::new(0);
    server.fault(move |call| match call.action {
        Action::Create(..) if creates.fetch_add(1, Ordering::Relaxed) == 0 => Fault::LoseAnswer,
        _ => Fault::None,
    });
    let mut plan = Plan::new();
    plan.create(map("a-"));
    assert_eq!(executor(&server, &env).perform(plan, Next::Done).await, Next::Done);
    assert_eq!(server.list::<ConfigMap>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_the_plan_but_not_the_continuation() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let mut plan = Plan::new();
    plan.push(Write::update(ConfigMap {
        metadata: meta::ObjectMeta::namespaced("default", "none"),
        ..ConfigMap::default()
    }));
    plan.create(map("never-"));
    plan.then(|outcome, plan| {
        assert_eq!(outcome.error().map(|status| status.code), Some(404));
        plan.create(map("instead-"));
        Next::After(Duration::from_secs(7))
    });
    let next = executor(&server, &env).perform(plan, Next::Done).await;
    assert_eq!(next, Next::After(Duration::from_secs(7)));
    let maps = server.list::<ConfigMap>();
    assert_eq!(maps.len(), 1);
    assert!(maps[0].metadata.name.starts_with("instead-"));
}

#[tokio::test(start_paused = true)]
async fn slow_start_stops_at_the_first_failing_batch() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let creates = AtomicU32::new(0);
    server.fault(move |call| match call.action {
        Action::Create(..) if creates.fetch_add(1, Ordering::Relaxed) == 2 => {
            Fault::Refuse(Status::bad_request("no"))
        }
        _ => Fault::None,
    });
    let mut plan = Plan::new();
    plan.slow_start((0..20).map(|_| Write::create(map("a-"))).collect());
    assert_eq!(executor(&server, &env).perform(plan, Next::Done).await, Next::Retry);
    assert_eq!(server.list::<ConfigMap>().len(), 2, "one, then two of which one failed");
}

#[tokio::test(start_paused = true)]
async fn events_are_counted() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let recorder = Recorder::start(server.client(), "tester", env);
    let about = server
        .put(ConfigMap { metadata: meta::ObjectMeta::namespaced("default", "a"), ..ConfigMap::default() });
    for _ in 0..3 {
        recorder.record(Note::normal(&*about, "Tested", "it works"));
    }
    let counted = || server.list::<Event>().first().is_some_and(|event| event.count == 3);
    assert!(eventually(counted).await, "{:?}", server.list::<Event>());
    let events = server.list::<Event>();
    assert_eq!(
        (events.len(), events[0].source.component.as_str(), events[0].reason.as_str()),
        (1, "tester", "Tested")
    );
    assert_eq!(
        (events[0].involved_object.kind.as_str(), events[0].involved_object.name.as_str()),
        ("ConfigMap", "a")
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_said_again_becomes_a_series() {
    use types::events::v1::Event;
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let recorder = Recorder::start_series(server.client(), "tester", "host", env);
    let about = server
        .put(ConfigMap { metadata: meta::ObjectMeta::namespaced("default", "a"), ..ConfigMap::default() });
    let note = |text: &str| Note::normal(&*about, "Tested", text).doing("Testing");
    let counts = || -> Vec<Option<i32>> {
        server.list::<Event>().iter().map(|event| event.series.as_ref().map(|series| series.count)).collect()
    };
    recorder.record(note("it works"));
    assert!(eventually(|| counts() == [None]).await);
    // The note is not what tells events apart: it follows from the state of the object.
    for _ in 0..3 {
        recorder.record(note("it still works"));
    }
    assert!(eventually(|| counts() == [Some(2)]).await, "{:?}", counts());
    let event = server.list::<Event>()[0].clone();
    assert_eq!(
        (event.reporting_controller.as_str(), event.reporting_instance.as_str(), event.action.as_str()),
        ("tester", "tester-host", "Testing")
    );
    assert_eq!((event.note.as_str(), event.deprecated_count), ("it works", 0));
    // When it is over, the rest of the count is written, and the next one is another event.
    tokio::time::sleep(Duration::from_secs(800)).await;
    assert!(eventually(|| counts() == [Some(4)]).await, "{:?}", counts());
    recorder.record(note("it works"));
    assert!(eventually(|| counts().len() == 2).await);
}

#[tokio::test(start_paused = true)]
async fn one_leads_at_a_time_and_another_follows() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let candidate = |identity: &str| {
        let (leading, leads) = tokio::sync::watch::channel(false);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut election = Election::new("kube-system", "test", identity);
        election.recorder = Some(Recorder::start(server.client(), "tester", env.clone()));
        tokio::spawn(elect(server.client(), election, env.clone(), leading, async move {
            let _ = stopped.await;
        }));
        (leads, stop)
    };
    let (first, stop_first) = candidate("one");
    assert!(eventually(|| *first.borrow()).await);
    let (second, _stop_second) = candidate("two");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(*first.borrow() && !*second.borrow());
    drop(stop_first);
    assert!(eventually(|| *second.borrow()).await);
    assert!(!*first.borrow());
    let told = || {
        let mut told: Vec<String> =
            server.list::<Event>().iter().map(|event| event.message.to_string()).collect();
        told.sort();
        told == ["one became leader", "one stopped leading", "two became leader"]
    };
    assert!(eventually(told).await, "{:?}", server.list::<Event>());
}

/// A connection on which nothing comes back once it is cut.
struct Cable {
    inner: client::Client,
    cut: Arc<std::sync::atomic::AtomicBool>,
}

#[async_trait::async_trait]
impl call::Transport for Cable {
    async fn call(&self, call: call::Call) -> Result<call::Reply, Status> {
        if self.cut.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.inner.call(call).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_server_falls_silent_stands_down_before_another_takes_over() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let cut = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (leading, first) = tokio::sync::watch::channel(false);
    let cable = client::Client::new(Arc::new(Cable { inner: server.client(), cut: cut.clone() }));
    let election = |identity: &str| Election::new("kube-system", "test", identity);
    tokio::spawn(elect(cable, election("one"), env.clone(), leading, std::future::pending::<()>()));
    assert!(eventually(|| *first.borrow()).await);
    let (leading, second) = tokio::sync::watch::channel(false);
    tokio::spawn(elect(server.client(), election("two"), env.clone(), leading, std::future::pending::<()>()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    cut.store(true, Ordering::Relaxed);
    assert!(
        eventually(|| {
            assert!(!(*first.borrow() && *second.borrow()), "two lead at once");
            *second.borrow()
        })
        .await
    );
    assert!(!*first.borrow());
}
