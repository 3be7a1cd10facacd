//! Follows APIServices: makes those of what this server serves itself, and finds out whether the servers behind the others
//! can be reached and what they serve.
//!
//! Each extension API server has two tasks. One judges its availability: at every change of its APIService, Service or
//! endpoints, and now and then, since a network tells nobody when it breaks. The other reads its documents.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aggregate::availability::{self, Finding, Verdict};
use aggregate::groups::{self, ALWAYS, MANAGED, OF_DEFINITIONS};
use aggregate::{Remote, address, documents};
use futures::future::try_join_all;
use meta::{Object, Status, Str, Time};
use parking_lot::Mutex;
use registry::Served;
use telemetry::{CounterFamily, GaugeFamily};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use types::apiextensions::v1::CustomResourceDefinition;
use types::apiregistration::v1::APIService;
use types::core::v1::Service;
use types::discovery::v1::EndpointSlice;

use super::feeds::each_change;
use super::first::Writer;
use super::hooks;
use super::until_stopped;
use crate::server::Server;

const MANAGER: &str = "kube-apiserver";
const GROUP: &str = groups::OWN_GROUP;
/// How often an available server is asked again, and its documents are read again (upstream's).
const RECHECK: Duration = Duration::from_secs(30);
const REREAD: Duration = Duration::from_secs(60);
/// Pauses after failures, doubled each time up to [`RECHECK`] and [`REREAD`] (upstream's).
const CHECK_AGAIN: Duration = Duration::from_millis(5);
const READ_AGAIN: Duration = Duration::from_millis(500);

static UNAVAILABLE: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Gauge of APIServices which are marked as unavailable broken down by APIService name.";
    telemetry::gauge("aggregator_unavailable_apiservice", help, &["name"])
});
static BECAME_UNAVAILABLE: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "APIServices that became unavailable, by name and reason.";
    telemetry::counter("aggregator_unavailable_apiservice_total", help, &["name", "reason"])
});

/// Makes the APIServices of built-in groups, learns of all others, and begins to follow them.
pub(crate) async fn follow_aggregation(server: &Arc<Server>) -> Result<Vec<JoinHandle<()>>, Status> {
    let Some(served) = Served::stored_version(GROUP, "apiservices") else { return Ok(Vec::new()) };
    let writer = Writer::new(server, MANAGER);
    try_join_all(groups::built_in().map(|api| writer.ensure(api))).await?;
    server.hooks.done(hooks::SERVERS_LOCAL);
    server.hooks.done(hooks::REGISTERED);
    let registrar = Arc::new(Registrar::default());
    let known = server.registry.all(&served, "").await?;
    server.hooks.done(hooks::SERVERS);
    known.iter().for_each(|stored| see(server, &registrar, stored.object(), false));
    server.hooks.done(hooks::SERVERS_SYNCED);
    let followed = server.clone();
    let (told, defining) = (registrar.clone(), registrar.clone());
    let apis = async move {
        let forget = |server: &Arc<Server>, there: &BTreeSet<Str>| {
            server.aggregator.names().iter().filter(|name| !there.contains(*name)).for_each(|name| {
                server.aggregator.remove(name);
            });
        };
        each_change(&followed, GROUP, "apiservices", forget, |server, object, gone| {
            see(server, &told, object, gone);
        })
        .await;
    };
    let defined = server.clone();
    let definitions = async move {
        each_change(
            &defined,
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            |_, _| {},
            |server, object, _| {
                let Some(crd) = meta::downcast_ref::<CustomResourceDefinition>(&**object) else { return };
                let group = &crd.spec.group;
                crd.spec.versions.iter().for_each(|version| defining.dirty(group, &version.name));
                // Versions that it had before are gone.
                let of_group = server.aggregator.all().into_iter().filter(|api| api.spec.group == *group);
                of_group.for_each(|api| defining.dirty(group, &api.spec.version));
            },
        )
        .await;
    };
    let services = wake_by(server.clone(), "", "services", |object| {
        let metadata = meta::downcast_ref::<Service>(object)?.metadata.name.clone();
        Some(metadata)
    });
    let slices = wake_by(server.clone(), "discovery.k8s.io", "endpointslices", |object| {
        let slice = meta::downcast_ref::<EndpointSlice>(object)?;
        Some(slice.metadata.label("kubernetes.io/service-name").into())
    });
    let register = registrar.run(server.clone());
    let tasks = vec![
        until_stopped(server, apis),
        until_stopped(server, definitions),
        until_stopped(server, services),
        until_stopped(server, slices),
        until_stopped(server, register),
    ];
    // Each server is checked and its documents are read by tasks that begin when its APIService is seen.
    for part in [hooks::SERVERS_FOLLOWED, hooks::SERVERS_DISCOVERY, hooks::SERVERS_V2, hooks::SERVERS_V3] {
        server.hooks.lives(part, &tasks[0]);
    }
    tasks[2..4].iter().for_each(|task| server.hooks.lives(hooks::SERVERS_REMOTE, task));
    server.hooks.lives(hooks::REGISTRATION, &tasks[1]);
    server.hooks.lives(hooks::REGISTRATION, &tasks[4]);
    Ok(tasks)
}

/// Takes over the state of an APIService.
fn see(server: &Arc<Server>, registrar: &Registrar, object: &Arc<dyn Object>, gone: bool) {
    let Some(api) = meta::downcast::<APIService>(object.clone()) else { return };
    if api.metadata.label(MANAGED) == ALWAYS || gone {
        registrar.dirty(&api.spec.group, &api.spec.version);
    }
    if gone {
        server.aggregator.remove(&api.metadata.name);
        UNAVAILABLE.remove(&[&api.metadata.name]);
        return;
    }
    if api.spec.service.is_none() {
        // What this server serves itself is there.
        UNAVAILABLE.with(&[&api.metadata.name]).set(0.0);
    }
    if let Some(remote) = server.aggregator.apply(&api) {
        let task = |work| drop(until_stopped(server, work));
        let (checked, read) = (server.clone(), server.clone());
        let same = remote.clone();
        let both = async move { tokio::join!(keep_checking(&checked, &remote), keep_reading(&read, &same)) };
        task(async move {
            both.await;
        });
    }
}

/// Wakes the servers whose Service is concerned by a change of another object.
async fn wake_by(
    server: Arc<Server>,
    group: &'static str,
    plural: &'static str,
    service_of: impl Fn(&dyn Object) -> Option<Str> + Send + Sync,
) {
    each_change(
        &server,
        group,
        plural,
        |_, _| {},
        |server, object, _| {
            for remote in server.aggregator.remotes() {
                let service = remote.link().service();
                let near = service.namespace == object.meta().namespace;
                if near && service_of(&**object).is_some_and(|name| name == service.name) {
                    remote.changed.notify_one();
                }
            }
        },
    )
    .await;
}

/// Keeps the condition of a server true.
async fn keep_checking(server: &Arc<Server>, remote: &Remote) {
    let mut failures = 0_u32;
    while !remote.is_gone() {
        let finding = find(server, remote).await;
        let pause = match &finding {
            Ok(finding) if finding.reason != "FailedDiscoveryCheck" => RECHECK,
            _ => CHECK_AGAIN.saturating_mul(1 << failures.min(16)).min(RECHECK),
        };
        let written = match finding {
            Ok(finding) => tell(server, remote, &finding).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(%error, name = %remote.name, "the condition of an APIService was not written");
        }
        failures = if pause == RECHECK { 0 } else { failures + 1 };
        tokio::select! {
            () = remote.changed.notified() => failures = 0,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What is known of a server now. Its addresses are found on the way.
async fn find(server: &Arc<Server>, remote: &Remote) -> Result<Finding, Status> {
    let link = remote.link();
    let reference = link.service();
    let of =
        |group, plural| Served::stored_version(group, plural).ok_or_else(registry::errors::no_such_resource);
    let found =
        server.registry.find_object(&of("", "services")?, &reference.namespace, &reference.name).await?;
    let service = found.and_then(|stored| meta::downcast::<Service>(stored.object().clone()));
    let mut slices = Vec::new();
    for stored in
        server.registry.all(&of("discovery.k8s.io", "endpointslices")?, &reference.namespace).await?
    {
        let Some(slice) = meta::downcast::<EndpointSlice>(stored.object().clone()) else { continue };
        if slice.metadata.label("kubernetes.io/service-name") == reference.name.as_str() {
            slices.push(slice);
        }
    }
    let only = server.aggregator.endpoints_only();
    remote.set_addresses(match &service {
        Some(service) => address::resolve(service, &slices, link.port(), only),
        None => Err(format!("service {:?} not found", reference.name.as_str())),
    });
    let api = APIService { spec: link.spec.clone(), ..APIService::default() };
    match availability::judge(&api, service.as_deref(), &slices) {
        Verdict::Unavailable(finding) => Ok(finding),
        Verdict::Ask => Ok(documents::check(remote, &server.env.random).await),
    }
}

/// Writes the condition, if it is news.
async fn tell(server: &Arc<Server>, remote: &Remote, finding: &Finding) -> Result<(), Status> {
    let name = remote.name.as_str();
    UNAVAILABLE.with(&[name]).set(if finding.available { 0.0 } else { 1.0 });
    let writer = Writer::new(server, MANAGER);
    let mut wanted = APIService::default();
    wanted.metadata.name = remote.name.clone();
    let Some(current) = writer.current(&wanted).await? else { return Ok(()) };
    if current.spec.service.is_none() {
        return Ok(());
    }
    let was = availability::is_available(&current);
    let mut told = (*current).clone();
    if !availability::tell(&mut told, finding, Time::from_unix(server.now_s())) {
        return Ok(());
    }
    if was && !finding.available {
        BECAME_UNAVAILABLE.with(&[name, finding.reason]).inc();
    }
    if was != finding.available {
        remote.reread.notify_one();
    }
    writer.update_status(told).await
}

/// Keeps what a server says about itself up to date.
async fn keep_reading(server: &Arc<Server>, remote: &Remote) {
    let mut failures = 0_u32;
    while !remote.is_gone() {
        let known = remote.documents();
        let new = documents::read(remote, &server.env.random, &known).await;
        failures = if new.fresh { 0 } else { failures + 1 };
        let pause =
            if new.fresh { REREAD } else { READ_AGAIN.saturating_mul(1 << failures.min(8)).min(REREAD) };
        server.aggregator.learn(remote, new);
        tokio::select! {
            () = remote.reread.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Keeps the APIServices of definitions' groups: there while a version is served, gone when it no longer is.
#[derive(Default)]
struct Registrar {
    dirty: Mutex<BTreeSet<(Str, Str)>>,
    changed: Notify,
}

impl Registrar {
    fn dirty(&self, group: &Str, version: &Str) {
        self.dirty.lock().insert((group.clone(), version.clone()));
        self.changed.notify_one();
    }

    async fn run(self: Arc<Self>, server: Arc<Server>) {
        loop {
            self.changed.notified().await;
            let dirty = std::mem::take(&mut *self.dirty.lock());
            for (group, version) in dirty {
                if let Err(error) = register(&server, &group, &version).await {
                    tracing::warn!(%error, %group, %version, "an APIService was not registered");
                    tokio::time::sleep(READ_AGAIN).await;
                    self.dirty(&group, &version);
                }
            }
        }
    }
}

/// Brings the APIService of a definition's group and version up to date. Those that people made are theirs.
async fn register(server: &Arc<Server>, group: &Str, version: &Str) -> Result<(), Status> {
    if groups::priorities(group, version).is_some() {
        return Ok(());
    }
    let Some(served) = Served::stored_version("apiextensions.k8s.io", "customresourcedefinitions") else {
        return Ok(());
    };
    let serves = server.registry.all(&served, "").await?.iter().any(|stored| {
        let crd = meta::downcast_ref::<CustomResourceDefinition>(&**stored.object());
        crd.is_some_and(|crd| {
            crd.spec.group == *group && crd.spec.versions.iter().any(|v| v.served && v.name == *version)
        })
    });
    let wanted = groups::local(group, version, OF_DEFINITIONS, ALWAYS);
    let writer = Writer::new(server, MANAGER);
    match (writer.current(&wanted).await?, serves) {
        (None, true) => writer.ensure(wanted).await,
        (Some(current), _) if current.metadata.label(MANAGED) != ALWAYS => Ok(()),
        (Some(current), false) => writer.delete(&*current).await,
        (Some(current), true) if current.spec != wanted.spec => {
            let mut changed = (*current).clone();
            changed.spec = wanted.spec;
            writer.update(changed).await
        }
        _ => Ok(()),
    }
}
