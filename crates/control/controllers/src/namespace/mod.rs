//! The end of namespaces: everything in one is deleted before it goes.
//!
//! Pods go first and alone, so that what they depend on outlives them (KEP-5080). Then every other resource is deleted
//! and looked at again; what still remains, and why, is told in conditions. At the end the namespace's own finalizer is
//! taken off.

mod conditions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use call::{Action, DeleteOptions, ListOptions, Target};
use client::Resource;
use informer::Key;
use meta::Object;
use reconcile::{Answer, Context, Controller, Next, Outcome, Plan, Reconciler, Running, World, Write};
use types::apiextensions::v1::CustomResourceDefinition;
use types::core::v1::{Namespace, Pod};

use crate::table::Extend;
use conditions::Findings;

const FINALIZER: &str = "kubernetes";

/// Starts the controller.
pub(crate) fn start(context: &Context, extensions: Extend) -> Running {
    Controller::new("namespace", "namespace-controller", context.clone(), Namespaces { extensions })
        .reads::<CustomResourceDefinition>()
        .on::<Namespace>(|namespace, _| match namespace.metadata.deletion_timestamp {
            Some(_) => vec![Key::of(namespace)],
            None => Vec::new(),
        })
        .workers(10)
        .start()
}

pub(crate) struct Namespaces {
    /// What extension API servers have.
    extensions: Extend,
}

impl Reconciler for Namespaces {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(namespace) = world.get_key::<Namespace>(key) else { return Next::Done };
        if namespace.metadata.deletion_timestamp.is_none() {
            return Next::Done;
        }
        if namespace.status.phase != "Terminating" {
            let mut told = (*namespace).clone();
            told.status.phase = "Terminating".into();
            plan.update_status(told);
            return Next::Done;
        }
        if namespace.spec.finalizers.is_empty() {
            return Next::Done;
        }
        let extensions = (self.extensions)();
        let resources = resources(world, extensions.resources);
        let stale = extensions.stale;
        let now = world.now();
        sweep(&[Resource::of::<Pod>()], &namespace, plan);
        plan.then(move |outcome, plan| {
            let mut findings = Findings::default();
            findings.take(&[Resource::of::<Pod>()], outcome);
            if findings.is_clean() {
                sweep(&resources, &namespace, plan);
                plan.then(move |outcome, plan| {
                    findings.take(&resources, outcome);
                    findings.stale = stale;
                    conclude(namespace, findings, now, plan)
                });
                return Next::Done;
            }
            conclude(namespace, findings, now, plan)
        });
        Next::Done
    }
}

/// Every namespaced resource that can be deleted, each once.
fn resources(world: &World, extensions: Vec<Resource>) -> Vec<Resource> {
    let mut known: BTreeMap<(String, String), Resource> = BTreeMap::new();
    let whole =
        |verbs: &[&str]| ["list", "delete", "deletecollection"].iter().all(|verb| verbs.contains(verb));
    for entry in scheme::RESOURCES.iter().filter(|entry| entry.namespaced && whole(entry.verbs)) {
        // Events have two names and one store.
        if entry.group == "events.k8s.io" || (entry.group.is_empty() && entry.plural == "pods") {
            continue;
        }
        known
            .entry((entry.group.to_string(), entry.plural.to_string()))
            .or_insert_with(|| Resource::new(&entry.group, &entry.version, &entry.plural));
    }
    for definition in world.list_all::<CustomResourceDefinition>() {
        let spec = &definition.spec;
        let Some(version) = spec.versions.iter().find(|version| version.served) else { continue };
        if spec.scope == "Namespaced" {
            known.insert(
                (spec.group.to_string(), spec.names.plural.to_string()),
                Resource::new(&spec.group, &version.name, &spec.names.plural),
            );
        }
    }
    for resource in extensions {
        known.entry((resource.group.to_string(), resource.plural.to_string())).or_insert(resource);
    }
    known.into_values().collect()
}

/// Plans the deletion of `resources` in the namespace, then a look at what is left: two answers for each resource.
fn sweep(resources: &[Resource], namespace: &Namespace, plan: &mut Plan) {
    let target = |resource: &Resource| resource.target(&namespace.metadata.name);
    let delete = DeleteOptions { propagation_policy: "Background".into(), ..DeleteOptions::default() };
    let mut writes = Vec::new();
    for resource in resources {
        let action = Action::DeleteCollection(ListOptions::default(), delete.clone());
        writes.push(Write::call(target(resource), action).ignore(404).ignore(405));
    }
    for resource in resources {
        writes.push(Write::list(target(resource), ListOptions::default()).ignore(404).ignore(405));
    }
    // Lists have to come after deletes, and both must be made whatever fails: so one continuation between them.
    let lists = writes.split_off(resources.len());
    plan.all(writes);
    plan.then(move |outcome, plan| {
        let errors: Vec<_> = outcome.results.iter().filter_map(|result| result.clone().err()).collect();
        plan.all(lists);
        plan.carry(errors);
        Next::Done
    });
}

fn conclude(namespace: Arc<Namespace>, findings: Findings, now: meta::Time, plan: &mut Plan) -> Next {
    let mut told = (*namespace).clone();
    findings.tell(&mut told.status, now);
    let changed = told.status != namespace.status;
    if changed {
        plan.update_status(told.clone());
    }
    if !findings.is_clean() {
        let wait = findings.seconds_to_wait();
        return if findings.failed() { Next::Retry } else { Next::After(Duration::from_secs(wait)) };
    }
    plan.then(move |outcome: &Outcome, plan: &mut Plan| {
        if outcome.error().is_some() {
            return outcome.verdict();
        }
        let mut last = match outcome.results.last() {
            Some(Ok(Answer::Object(stored))) => {
                meta::downcast::<Namespace>(stored.clone()).map_or(told, |ns| (*ns).clone())
            }
            _ => told,
        };
        last.spec.finalizers.retain(|finalizer| finalizer != FINALIZER);
        let target = Target::of::<Namespace>("").named(&last.metadata.name).subresource("finalize");
        plan.push(Write::call(target, Action::Update(Box::new(last), Default::default())).ignore(404));
        Next::Done
    });
    Next::Done
}

/// The finalizers of what is left, for the conditions.
fn finalizers(items: &[Arc<dyn Object>]) -> impl Iterator<Item = &meta::Str> {
    items.iter().flat_map(|item| item.meta().finalizers.iter())
}
