//! What to do about one object.

use std::sync::Arc;
use std::time::Duration;

use call::{Action, DeleteOptions, Target, WriteOptions};
use informer::Key;
use meta::{Object, OwnerReference, Status, Str};
use parking_lot::Mutex;
use reconcile::{Answer, Next, Note, Outcome, Plan, Reconciler, World, Write};

use super::graph::{FOREGROUND, Graph, Node, ORPHAN, Task, Tasks};
use super::kinds::{Kinds, Place};

#[derive(Clone)]
pub(super) struct Collector {
    pub(super) graph: Arc<Mutex<Graph>>,
    pub(super) kinds: Arc<Mutex<Kinds>>,
}

impl Reconciler for Collector {
    fn reconcile(&self, key: &Key, _world: &World, plan: &mut Plan) -> Next {
        let (task, uid) = Task::of(key);
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Next::Done };
        match task {
            Task::Delete => self.consider(node, plan),
            Task::Orphan => self.let_go(node, plan),
        }
    }
}

fn target(node: &Node) -> Target {
    node.resource.target(&node.namespace).named(&node.name)
}

/// The object that a read brought: `Ok(None)` when there is none, or another of the same name.
fn found(outcome: &Outcome, index: usize, uid: &str) -> Result<Option<Arc<dyn Object>>, Status> {
    match outcome.results.get(index) {
        Some(Ok(Answer::Object(object))) if object.meta().uid == uid => Ok(Some(object.clone())),
        Some(Ok(_)) | None => Ok(None),
        Some(Err(status)) if status.code == 404 => Ok(None),
        Some(Err(status)) => Err(status.clone()),
    }
}

impl Collector {
    fn consider(&self, node: Node, plan: &mut Plan) -> Next {
        if node.seen && node.being_deleted && !node.waits_for_dependents {
            return Next::Done;
        }
        let this = self.clone();
        plan.push(Write::get(target(&node)));
        plan.then(move |outcome, plan| match found(outcome, 0, &node.uid) {
            Err(_) => Next::Retry,
            Ok(None) => {
                // It does not exist: what it owns is looked at next. A watch that still shows it will also show its end.
                let tasks = this.graph.lock().remove(&node.uid);
                this.go_on(tasks, plan);
                Next::Done
            }
            // It exists but was not seen yet: its own event will come.
            Ok(Some(_)) if !node.seen => Next::After(Duration::from_secs(1)),
            Ok(Some(object)) if node.waits_for_dependents => this.finish_foreground(&node, &*object, plan),
            Ok(Some(object)) => this.judge(node, object, plan),
        });
        Next::Done
    }

    /// Continues at once with what a change of the graph calls for.
    fn go_on(&self, tasks: Tasks, plan: &mut Plan) {
        for (task, uid) in tasks {
            let Some(node) = self.graph.lock().get(&uid).cloned() else { continue };
            let this = self.clone();
            plan.then(move |_, plan| match task {
                Task::Delete => this.consider(node, plan),
                Task::Orphan => this.let_go(node, plan),
            });
        }
    }

    /// The object waits for its dependents: its finalizer goes when none blocks any more.
    fn finish_foreground(&self, node: &Node, object: &dyn Object, plan: &mut Plan) -> Next {
        let blocking: Vec<Node> = self.graph.lock().blocking(&node.uid).into_iter().cloned().collect();
        if blocking.is_empty() {
            plan.push(without_finalizer(node, object, FOREGROUND));
            return Next::Done;
        }
        // Each of them was put into the queue when the wait began; they are asked again for those that came later.
        let late = blocking
            .into_iter()
            .filter(|dependent| !dependent.waits_for_dependents && !dependent.being_deleted);
        for dependent in late {
            let this = self.clone();
            plan.then(move |_, plan| this.consider(dependent, plan));
        }
        Next::Done
    }

    /// Asks for every owner, then decides.
    fn judge(&self, node: Node, object: Arc<dyn Object>, plan: &mut Plan) -> Next {
        let owners: Vec<OwnerReference> = object.meta().owner_references.iter().cloned().collect();
        if owners.is_empty() {
            return Next::Done;
        }
        self.tell_of_misplaced(&node, &*object, plan);
        let mut places: Vec<Option<Target>> = Vec::with_capacity(owners.len());
        {
            let kinds = self.kinds.lock();
            for owner in &owners {
                match kinds.place(owner, &node.namespace) {
                    Place::At(resource, namespace) => {
                        places.push(Some(resource.target(&namespace).named(&owner.name)));
                    }
                    Place::UnknownKind => places.push(None),
                    // An owner that cannot be asked for may well be there: nothing is collected, and nothing changed.
                    Place::Nowhere => return Next::Done,
                }
            }
        }
        let this = self.clone();
        let mut reads = Vec::new();
        for place in places.iter().flatten() {
            reads.push(Write::get(place.clone()).ignore(404));
        }
        let known: Vec<bool> = places.iter().map(Option::is_some).collect();
        plan.all(reads);
        plan.then(move |outcome, plan| {
            let (mut solid, mut dangling, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
            let mut index = 0;
            for (owner, known) in owners.iter().zip(known) {
                if !known {
                    // Of a kind that nobody serves: no ground to delete anything.
                    solid.push(owner.uid.clone());
                    continue;
                }
                let answer = found(outcome, index, &owner.uid);
                index += 1;
                match answer {
                    Err(_) => return Next::Retry,
                    Ok(None) => dangling.push(owner.uid.clone()),
                    Ok(Some(owner_object)) => {
                        let meta = owner_object.meta();
                        let foreground = meta.finalizers.iter().any(|finalizer| finalizer == FOREGROUND);
                        let elsewhere =
                            !meta.namespace.is_empty() && meta.namespace != object.meta().namespace;
                        if elsewhere {
                            dangling.push(owner.uid.clone());
                        } else if meta.deletion_timestamp.is_some() && foreground {
                            waiting.push(owner.uid.clone());
                        } else {
                            solid.push(owner.uid.clone());
                        }
                    }
                }
            }
            this.act(&node, &*object, (solid, dangling, waiting), plan)
        });
        Next::Done
    }

    /// Tells of owners that were seen in another namespace than the one in which they are looked for (upstream's
    /// `reportInvalidNamespaceOwnerRef`).
    fn tell_of_misplaced(&self, node: &Node, object: &dyn Object, plan: &mut Plan) {
        let graph = self.graph.lock();
        for owner in object.meta().owner_references.iter() {
            let elsewhere = graph.get(&owner.uid).is_some_and(|found| {
                found.seen && !found.namespace.is_empty() && found.namespace != node.namespace
            });
            if elsewhere {
                let OwnerReference { api_version, kind, name, uid, .. } = owner;
                let namespace = &node.namespace;
                plan.event(Note::warning(
                    object,
                    "OwnerRefInvalidNamespace",
                    format!(
                        "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace {:?}",
                        namespace.as_str()
                    ),
                ));
            }
        }
    }

    fn act(
        &self,
        node: &Node,
        object: &dyn Object,
        (solid, dangling, waiting): (Vec<Str>, Vec<Str>, Vec<Str>),
        plan: &mut Plan,
    ) -> Next {
        if !solid.is_empty() {
            // Somebody still holds it: only the references to those that are gone, or going, are taken off.
            if !dangling.is_empty() || !waiting.is_empty() {
                let gone: Vec<Str> = dangling.into_iter().chain(waiting).collect();
                plan.push(changed(node, object, |object| {
                    object.meta_mut().owner_references.retain(|owner| !gone.contains(&owner.uid));
                }));
            }
            return Next::Done;
        }
        let has_dependents = self.graph.lock().get(&node.uid).is_some_and(|node| !node.dependents.is_empty());
        if !waiting.is_empty() && has_dependents {
            let circle = {
                let graph = self.graph.lock();
                let dependents = graph.get(&node.uid).map(|node| node.dependents.clone()).unwrap_or_default();
                dependents
                    .iter()
                    .any(|uid| graph.get(uid).is_some_and(|dependent| dependent.waits_for_dependents))
            };
            if circle {
                // Two that wait for each other would wait for ever: this one stops to block its owners.
                plan.push(changed(node, object, |object| {
                    for owner in object.meta_mut().owner_references.iter_mut() {
                        owner.block_owner_deletion = Some(false);
                    }
                }));
            }
            plan.push(delete(node, object, "Foreground"));
            return Next::Done;
        }
        let has = |finalizer: &str| object.meta().finalizers.iter().any(|known| known == finalizer);
        let policy = if has(ORPHAN) {
            "Orphan"
        } else if has(FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        plan.push(delete(node, object, policy));
        Next::Done
    }

    /// The object's dependents lose their reference to it, then its finalizer goes.
    fn let_go(&self, node: Node, plan: &mut Plan) -> Next {
        let dependents: Vec<Node> = {
            let graph = self.graph.lock();
            node.dependents
                .iter()
                .filter_map(|uid| graph.get(uid).cloned())
                .filter(|node| node.seen)
                .collect()
        };
        plan.all(dependents.iter().map(|dependent| Write::get(target(dependent)).ignore(404)).collect());
        plan.then(move |outcome, plan| {
            if outcome.error().is_some() {
                return Next::Retry;
            }
            let mut writes = Vec::new();
            for (index, dependent) in dependents.iter().enumerate() {
                let Ok(Some(object)) = found(outcome, index, &dependent.uid) else { continue };
                writes.push(changed(dependent, &*object, |object| {
                    object.meta_mut().owner_references.retain(|owner| owner.uid != node.uid);
                }));
            }
            plan.all(writes);
            plan.then(move |outcome, plan| {
                if outcome.error().is_some() {
                    return Next::Retry;
                }
                plan.push(Write::get(target(&node)).ignore(404));
                plan.then(move |outcome, plan| {
                    if let Ok(Some(object)) = found(outcome, 0, &node.uid) {
                        plan.push(without_finalizer(&node, &*object, ORPHAN));
                        return Next::Done;
                    }
                    outcome.verdict()
                });
                Next::Done
            });
            Next::Done
        });
        Next::Done
    }
}

/// The object with a change, written if nobody else wrote meanwhile.
fn changed(node: &Node, object: &dyn Object, change: impl FnOnce(&mut dyn Object)) -> Write {
    let mut copy = object.clone_object();
    change(&mut *copy);
    Write::call(target(node), Action::Update(copy, WriteOptions::default())).ignore(404)
}

fn without_finalizer(node: &Node, object: &dyn Object, finalizer: &str) -> Write {
    changed(node, object, |object| object.meta_mut().finalizers.retain(|known| known != finalizer))
}

fn delete(node: &Node, object: &dyn Object, policy: &str) -> Write {
    let options = DeleteOptions { propagation_policy: policy.into(), ..DeleteOptions::default() };
    Write::delete_any(&node.resource, object, options).ignore(409)
}
