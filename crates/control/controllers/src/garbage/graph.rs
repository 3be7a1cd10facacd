//! Owners and dependents, by uid.
//!
//! An owner that is named but was never seen is a *virtual* node: it may not exist, or only be seen later. Every change
//! of the graph answers with the nodes that should be looked at because of it.

use std::collections::{BTreeSet, HashMap};

use client::Resource;
use informer::Key;
use meta::{Object, OwnerReference, Str};

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// What to find out about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Whether it has to be deleted, or is done waiting for dependents.
    Delete,
    /// Its dependents have to be let go.
    Orphan,
}

impl Task {
    /// The work queue's key for this task about the node `uid`.
    pub(super) fn key(self, uid: &str) -> Key {
        match self {
            Task::Delete => Key::new("", uid),
            Task::Orphan => Key::new(ORPHAN, uid),
        }
    }

    /// The task and uid of a key.
    pub(super) fn of(key: &Key) -> (Task, &Str) {
        (if key.namespace == ORPHAN { Task::Orphan } else { Task::Delete }, &key.name)
    }
}

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) uid: Str,
    pub(super) resource: Resource,
    pub(super) namespace: Str,
    pub(super) name: Str,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: BTreeSet<Str>,
    /// Seen on a watch, and not only named by a dependent.
    pub(super) seen: bool,
    pub(super) being_deleted: bool,
    /// Waits, deleted in the foreground, for the end of its dependents.
    pub(super) waits_for_dependents: bool,
    /// Its dependents are to be let go before it ends.
    pub(super) lets_go: bool,
}

/// All objects.
#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Str, Node>,
    /// uids of each resource, to find what a new list no longer has.
    by_resource: HashMap<Resource, BTreeSet<Str>>,
}

/// Nodes to look at.
pub(super) type Tasks = Vec<(Task, Str)>;

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// uids of all seen objects of a resource.
    pub(super) fn of_resource(&self, resource: &Resource) -> Vec<Str> {
        self.by_resource.get(resource).into_iter().flatten().cloned().collect()
    }

    /// Takes in the state of an object. `locate` finds the resource and namespace of a named owner, `None` for unknown
    /// kinds.
    pub(super) fn put(
        &mut self,
        resource: &Resource,
        object: &dyn Object,
        locate: impl Fn(&OwnerReference, &str) -> Option<(Resource, Str)>,
    ) -> Tasks {
        let mut tasks = Tasks::new();
        let meta = object.meta();
        let has = |finalizer: &str| meta.finalizers.iter().any(|known| known == finalizer);
        let being_deleted = meta.deletion_timestamp.is_some();
        let (waits, lets_go) = (being_deleted && has(FOREGROUND), being_deleted && has(ORPHAN));
        let owners: Vec<OwnerReference> = meta.owner_references.iter().cloned().collect();
        let uid = meta.uid.clone();

        let before = self.nodes.get(&uid).cloned();
        let mut node = before.clone().unwrap_or_else(|| Node {
            uid: uid.clone(),
            resource: resource.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            owners: Vec::new(),
            dependents: BTreeSet::new(),
            seen: false,
            being_deleted: false,
            waits_for_dependents: false,
            lets_go: false,
        });
        // What named it may have been wrong about where it is.
        (node.resource, node.namespace, node.name) =
            (resource.clone(), meta.namespace.clone(), meta.name.clone());
        let old_owners = std::mem::replace(&mut node.owners, owners.clone());
        let starts_waiting = waits && !before.as_ref().is_some_and(|before| before.waits_for_dependents);
        let starts_letting_go = lets_go && !before.as_ref().is_some_and(|before| before.lets_go);
        node.seen = true;
        node.being_deleted = being_deleted;
        node.waits_for_dependents = waits;
        node.lets_go = lets_go;
        if starts_waiting {
            tasks.extend(node.dependents.iter().map(|dependent| (Task::Delete, dependent.clone())));
            tasks.push((Task::Delete, uid.clone()));
        }
        if starts_letting_go {
            tasks.push((Task::Orphan, uid.clone()));
        }
        let namespace = node.namespace.clone();
        self.nodes.insert(uid.clone(), node);
        self.by_resource.entry(resource.clone()).or_default().insert(uid.clone());

        for owner in old_owners.iter().filter(|old| !owners.iter().any(|new| new.uid == old.uid)) {
            tasks.extend(self.unlink(&owner.uid, &uid));
        }
        for owner in &owners {
            let known = old_owners.iter().find(|old| old.uid == owner.uid);
            let unblocked = known.is_some_and(|old| {
                old.block_owner_deletion == Some(true) && owner.block_owner_deletion != Some(true)
            });
            if unblocked {
                tasks.push((Task::Delete, owner.uid.clone()));
            }
            if known.is_none() {
                tasks.extend(self.link(owner, &uid, &namespace, &locate));
            }
        }
        tasks
    }

    fn link(
        &mut self,
        owner: &OwnerReference,
        dependent: &Str,
        namespace: &str,
        locate: &impl Fn(&OwnerReference, &str) -> Option<(Resource, Str)>,
    ) -> Tasks {
        if let Some(node) = self.nodes.get_mut(&owner.uid) {
            node.dependents.insert(dependent.clone());
            // An owner of another namespace is none: the dependent is to be looked at.
            let elsewhere = !node.namespace.is_empty() && node.namespace != namespace;
            let waits = node.waits_for_dependents;
            return if elsewhere || waits { vec![(Task::Delete, dependent.clone())] } else { Tasks::new() };
        }
        let Some((resource, namespace)) = locate(owner, namespace) else { return Tasks::new() };
        let node = Node {
            uid: owner.uid.clone(),
            resource,
            namespace,
            name: owner.name.clone(),
            owners: Vec::new(),
            dependents: [dependent.clone()].into(),
            seen: false,
            being_deleted: false,
            waits_for_dependents: false,
            lets_go: false,
        };
        self.nodes.insert(owner.uid.clone(), node);
        vec![(Task::Delete, owner.uid.clone())]
    }

    fn unlink(&mut self, owner: &Str, dependent: &Str) -> Tasks {
        let Some(node) = self.nodes.get_mut(owner) else { return Tasks::new() };
        node.dependents.remove(dependent);
        if node.waits_for_dependents {
            return vec![(Task::Delete, owner.clone())];
        }
        // A virtual node is only kept for those that name it.
        if !node.seen && node.dependents.is_empty() {
            self.nodes.remove(owner);
        }
        Tasks::new()
    }

    /// Takes in the end of an object.
    pub(super) fn remove(&mut self, uid: &str) -> Tasks {
        let Some(node) = self.nodes.remove(uid) else { return Tasks::new() };
        if let Some(uids) = self.by_resource.get_mut(&node.resource) {
            uids.remove(uid);
        }
        let mut tasks: Tasks =
            node.dependents.iter().map(|dependent| (Task::Delete, dependent.clone())).collect();
        for owner in &node.owners {
            tasks.extend(self.unlink(&owner.uid, &node.uid));
        }
        tasks
    }

    /// Dependents of `uid` that hold up its end.
    pub(super) fn blocking(&self, uid: &str) -> Vec<&Node> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks = |dependent: &&Node| {
            dependent.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        node.dependents.iter().filter_map(|dependent| self.nodes.get(dependent)).filter(blocks).collect()
    }
}
