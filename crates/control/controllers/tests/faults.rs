//! The controllers end to end over an API server in memory that fails in every way: refusals, conflicts, lost answers,
//! caches that lag, forgotten history.

use std::sync::Arc;

use call::{Action, Call};
use client::fake::{Fake, Fault, eventually, paused_env};
use controllers::{Config, Handle};
use env::{Env, Random};
use meta::{LabelSelector, Object, Status};
use types::apps::v1::{Deployment, ReplicaSet};
use types::core::v1::{Container, Namespace, Pod, PodCondition};

fn start(server: &Arc<Fake>, env: &Env) -> Handle {
    let server = server.clone();
    controllers::run(Config {
        transports: Box::new(move |_| server.transport()),
        env: env.clone(),
        cluster_cidr: "10.244.0.0/16".parse().ok(),
        root_ca: "-----BEGIN CERTIFICATE-----".into(),
        signing: None,
        legacy_tokens: None,
        extensions: Arc::new(controllers::Extensions::default),
        enabled: Box::new(|_| true),
    })
}

fn labels() -> meta::Map<meta::Str> {
    [("app", "web".into())].into_iter().collect()
}

fn replicaset(replicas: i32) -> ReplicaSet {
    let mut set = ReplicaSet::default();
    set.metadata.namespace = "default".into();
    set.metadata.name = "web".into();
    set.spec.replicas = Some(replicas);
    set.spec.selector = Some(Box::new(LabelSelector { match_labels: labels(), ..LabelSelector::default() }));
    set.spec.template.metadata.labels = labels();
    set.spec.template.spec.containers.push(Container { name: "main".into(), ..Container::default() });
    set
}

fn deployment(image: &str) -> Deployment {
    let mut deployment = Deployment::default();
    deployment.metadata.namespace = "default".into();
    deployment.metadata.name = "web".into();
    deployment.spec.replicas = Some(3);
    deployment.spec.progress_deadline_seconds = Some(600);
    deployment.spec.selector = replicaset(1).spec.selector;
    deployment.spec.template = replicaset(1).spec.template;
    deployment.spec.template.spec.containers[0].image = image.into();
    deployment
}

fn active(server: &Fake) -> usize {
    server.list::<Pod>().iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
}

fn make_ready(server: &Fake) {
    for pod in server.list::<Pod>() {
        if pod.status.conditions.is_empty() {
            server.change::<Pod>("default", &pod.metadata.name, |pod| {
                pod.status.phase = "Running".into();
                pod.status.conditions.push(PodCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    ..PodCondition::default()
                });
            });
        }
    }
}

fn random_faults(random: Random) -> impl FnMut(&Call) -> Fault + Send {
    move |call| {
        if matches!(call.action, Action::Watch(_) | Action::List(_)) {
            return Fault::None;
        }
        match random.below(6) {
            0 => Fault::Refuse(Status::too_many_requests("slow down", 1)),
            1 => Fault::LoseAnswer,
            2 => Fault::Refuse(Status::service_unavailable("not now")),
            _ => Fault::None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn five_replicas_are_five_pods_under_every_fault() {
    for seed in 0..20 {
        let env = paused_env(seed);
        let server = Fake::new(env.clone());
        let running = start(&server, &env);
        running.synced().await;
        server.fault(random_faults(env.random.clone()));
        server.put(replicaset(5));
        let most = std::cell::Cell::new(0);
        let reached = eventually(|| {
            most.set(most.get().max(active(&server)));
            server.hold(env.random.below(3) == 0);
            active(&server) == 5
                && server.get::<ReplicaSet>("default", "web").is_some_and(|set| set.status.replicas == 5)
        });
        assert!(reached.await, "seed {seed}: {} pods", active(&server));
        server.heal();
        server.hold(false);
        tokio::time::sleep(std::time::Duration::from_secs(120)).await;
        assert_eq!((active(&server), most.get().max(5)), (5, 5), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_ends_with_the_new_template_and_keeps_its_floor() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    let running = start(&server, &env);
    running.synced().await;
    server.put(deployment("one"));
    let complete = |image: &'static str| {
        let server = server.clone();
        move || {
            make_ready(&server);
            let pods = server.list::<Pod>();
            pods.len() == 3
                && pods.iter().all(|pod| pod.spec.containers[0].image == image)
                && server.get::<Deployment>("default", "web").is_some_and(|deployment| {
                    let conditions = &deployment.status.conditions;
                    deployment.status.available_replicas == 3
                        && conditions.iter().any(|condition| condition.reason == "NewReplicaSetAvailable")
                })
        }
    };
    assert!(eventually(complete("one")).await, "{:?}", server.get::<Deployment>("default", "web"));
    server.change::<Deployment>("default", "web", |stored| {
        stored.spec.template = deployment("two").spec.template;
        stored.metadata.generation += 1;
    });
    let least = std::cell::Cell::new(usize::MAX);
    let done = complete("two");
    assert!(
        eventually(|| {
            least.set(least.get().min(active(&server)));
            done()
        })
        .await
    );
    assert!(least.get() >= 3, "one surge pod comes before an old one goes: {}", least.get());
    let mut revisions: Vec<_> = server
        .list::<ReplicaSet>()
        .iter()
        .map(|set| {
            (set.metadata.annotation("deployment.kubernetes.io/revision").to_owned(), set.spec.replicas)
        })
        .collect();
    revisions.sort();
    assert_eq!(revisions, [("1".to_owned(), Some(0)), ("2".to_owned(), Some(3))]);
    assert_eq!(
        server
            .get::<Deployment>("default", "web")
            .unwrap()
            .metadata
            .annotation("deployment.kubernetes.io/revision"),
        "2"
    );
}

#[tokio::test(start_paused = true)]
async fn dependents_do_not_outlive_their_owner() {
    let env = paused_env(2);
    let server = Fake::new(env.clone());
    let running = start(&server, &env);
    running.synced().await;
    server.put(deployment("one"));
    assert!(eventually(|| active(&server) == 3).await);
    server.remove::<Deployment>("default", "web");
    assert!(
        eventually(|| server.list::<Pod>().is_empty() && server.list::<ReplicaSet>().is_empty()).await,
        "{:?}",
        server.list::<Pod>().iter().map(|pod| pod.meta().name.clone()).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_gets_its_account_and_certificate_and_ends_empty() {
    let env = paused_env(3);
    let server = Fake::new(env.clone());
    let running = start(&server, &env);
    running.synced().await;
    let mut namespace = Namespace::default();
    namespace.metadata.name = "default".into();
    namespace.spec.finalizers.push("kubernetes".into());
    server.put(namespace);
    server.put(replicaset(2));
    let made = || {
        server.get::<types::core::v1::ServiceAccount>("default", "default").is_some()
            && server.get::<types::core::v1::ConfigMap>("default", "kube-root-ca.crt").is_some()
            && active(&server) == 2
    };
    assert!(eventually(made).await);
    server.change::<Namespace>("", "default", |namespace| {
        namespace.metadata.deletion_timestamp = Some(meta::Time::from_unix(1));
        namespace.status.phase = "Terminating".into();
    });
    let ended = || {
        server.get::<Namespace>("", "default").is_none_or(|namespace| namespace.spec.finalizers.is_empty())
            && server.list::<ReplicaSet>().is_empty()
    };
    assert!(eventually(ended).await, "{:?}", server.get::<Namespace>("", "default"));
}
