//! What a scheduling plugin is: the extension points of upstream's framework.
//!
//! A plugin implements the points it takes part in and leaves the others at their defaults. It is one file in
//! [`crate::plugins`] and one line in [`crate::plugins::TABLE`].
//!
//! Where upstream keeps a plugin's per-pod state in a `CycleState`, here PreFilter and PreScore hand out a value that
//! answers: a [`Filter`] or a [`Score`]. Such a value outlives the cycle. It serves all pods of one class
//! ([`crate::pod_info::PodInfo::class`]), and hears of every pod that comes or goes ([`Filter::pod_moved`], upstream's
//! AddPod and RemovePod), so that counts need not be made anew for each pod. The same calls let preemption ask what
//! would be without some pods.

use std::any::Any;
use std::cmp::Ordering;
use std::pin::Pin;
use std::time::Duration;

use meta::Str;
use types::core::v1::{Node, Pod};

use crate::cluster::Cluster;
use crate::explain::Change;
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeRow, Snapshot};

/// Why a plugin says no, and whether removing other pods could change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Other pods are in the way: preemption may help.
    Unschedulable,
    /// The node itself does not fit, whatever runs on it.
    UnschedulableAndUnresolvable,
}

/// A refusal with the reasons that a person reads in events and conditions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rejection {
    /// Whether preemption may help.
    pub code: Code,
    /// Name of the plugin.
    pub plugin: &'static str,
    /// One or more reasons, in the plugin's order.
    pub reasons: Vec<Str>,
}

impl Rejection {
    /// A refusal that ends when other pods go.
    pub fn unschedulable(plugin: &'static str, reason: impl Into<Str>) -> Self {
        Rejection { code: Code::Unschedulable, plugin, reasons: vec![reason.into()] }
    }

    /// A refusal that lies in the node or the pod.
    pub fn unresolvable(plugin: &'static str, reason: impl Into<Str>) -> Self {
        Rejection { code: Code::UnschedulableAndUnresolvable, plugin, reasons: vec![reason.into()] }
    }
}

/// The pod in question and the cluster to judge it by.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The pod being scheduled.
    pub pod: &'a PodInfo,
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// A node that is to be seen differently than in the snapshot: without victims, or with nominated pods.
    pub instead: Option<(usize, &'a NodeRow)>,
}

impl<'a> Cx<'a> {
    /// The pod against the cluster as it is.
    pub fn new(pod: &'a PodInfo, snapshot: &'a Snapshot) -> Self {
        Cx { pod, snapshot, instead: None }
    }

    /// A node's row.
    pub fn row(&self, node: usize) -> &'a NodeRow {
        match self.instead {
            Some((index, row)) if index == node => row,
            _ => self.snapshot.row(node),
        }
    }

    /// The pod's object.
    pub fn object(&self) -> &'a Pod {
        &self.pod.pod
    }

    /// Everything besides nodes and pods.
    pub fn cluster(&self) -> &'a Cluster {
        &self.snapshot.cluster
    }
}

/// What PreFilter came to.
pub enum PreFilter {
    /// Filter is to be called.
    Run(Box<dyn Filter>),
    /// The plugin has nothing to say about this pod: its Filter is not called.
    Skip,
    /// Only the nodes with these names are worth a look.
    Only(Vec<Str>, Box<dyn Filter>),
    /// No node will do.
    Reject(Rejection),
}

/// Filter: says no to nodes, for pods of one class.
pub trait Filter: Send {
    /// Why the node will not do.
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection>;

    /// Whether the node will do: [`Filter::check`] for when nobody asks why not.
    fn passes(&self, cx: &Cx<'_>, node: usize) -> bool {
        self.check(cx, node).is_none()
    }

    /// Whether the answer depends on nothing but the pod, the node's row and what [`Snapshot::epoch`] covers. It is
    /// then asked once for every change of the row.
    fn local(&self) -> bool {
        false
    }

    /// PreFilter's Skip, for a filter whose state decides: `true` while it would refuse no node.
    fn idle(&self) -> bool {
        false
    }

    /// An error met while checking, which no other node makes good: the attempt ends with it.
    fn fatal(&self) -> Option<&str> {
        None
    }

    /// The changes that together end the refusal of a node and bring about no other: what `ferrokube why` offers. `None`
    /// where none is known.
    fn remedy(&self, _cx: &Cx<'_>, _node: usize) -> Option<Vec<Change>> {
        None
    }

    /// A pod came to a node (`by` 1) or left it (`by` -1).
    fn pod_moved(&mut self, _cx: &Cx<'_>, _pod: &PodInfo, _node: usize, _by: i64) {}
}

/// What a scorer's answers depend on, which says how long they may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anything: every pod asks anew.
    Cluster,
    /// The pod, the node's row and what [`Snapshot::epoch`] covers; and normalising looks at nothing but the scores. Every
    /// change of the row asks anew.
    Row,
    /// The same, and the raw score is the final one.
    RowFinal,
}

/// Score: gives points to nodes, for pods of one class.
pub trait Score: Send {
    /// PreScore: a look at the nodes that are left. `false` when the plugin has no preference.
    fn begin(&mut self, _cx: &Cx<'_>, _feasible: &[u32]) -> bool {
        true
    }

    /// The raw score of one node.
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64;

    /// The raw scores of many.
    fn score_all(&self, cx: &Cx<'_>, nodes: &[u32], scores: &mut [i64]) {
        for (score, node) in scores.iter_mut().zip(nodes) {
            *score = self.score(cx, *node as usize);
        }
    }

    /// NormalizeScore: brings raw scores into 0..=100.
    fn normalize(&self, _cx: &Cx<'_>, _nodes: &[u32], _scores: &mut [i64]) {}

    /// What the raw scores depend on.
    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    /// A pod came to a node (`by` 1) or left it (`by` -1).
    fn pod_moved(&mut self, _cx: &Cx<'_>, _pod: &PodInfo, _node: usize, _by: i64) {}
}

/// A kind of objects besides nodes and pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // They are the API's.
pub enum What {
    Namespace,
    PersistentVolumeClaim,
    PersistentVolume,
    StorageClass,
    CSINode,
    CSIDriver,
    CSIStorageCapacity,
    VolumeAttachment,
    ResourceClaim,
    ResourceSlice,
    DeviceClass,
}

/// What happened in the cluster that may make a waiting pod schedulable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClusterEvent {
    /// A node appeared.
    NodeAdded,
    /// A node's allocatable amounts changed.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints or its `unschedulable` flag changed.
    NodeTaints,
    /// The features that a node declares changed.
    NodeFeatures,
    /// A node went.
    NodeDeleted,
    /// A pod got a node.
    PodPlaced,
    /// A pod that had a node is gone, or gave some of its resources back.
    PodFreed,
    /// The labels of a pod that has a node changed.
    PodLabels,
    /// The waiting pod itself changed.
    PodChanged,
    /// An object of another kind appeared.
    Added(What),
    /// It changed.
    Updated(What),
    /// It went.
    Deleted(What),
}

macro_rules! names {
    ($what:expr, $action:literal: $($group:literal $($kind:ident)*;)*) => {
        match $what {
            $($(What::$kind => concat!($group, stringify!($kind), $action),)*)*
        }
    };
}

macro_rules! name {
    ($what:expr, $action:literal) => {
        names!($what, $action:
            "" Namespace PersistentVolumeClaim PersistentVolume;
            "storage.k8s.io/" StorageClass CSINode CSIDriver CSIStorageCapacity VolumeAttachment;
            "resource.k8s.io/" ResourceClaim ResourceSlice DeviceClass;)
    };
}

impl ClusterEvent {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ClusterEvent::NodeAdded => "NodeAdd",
            ClusterEvent::NodeAllocatable => "NodeUpdateNodeAllocatable",
            ClusterEvent::NodeLabels => "NodeUpdateNodeLabel",
            ClusterEvent::NodeTaints => "NodeUpdateNodeTaint",
            ClusterEvent::NodeFeatures => "NodeUpdateNodeDeclaredFeature",
            ClusterEvent::NodeDeleted => "NodeDelete",
            ClusterEvent::PodPlaced => "AssignedPodAdd",
            ClusterEvent::PodFreed => "AssignedPodDelete",
            ClusterEvent::PodLabels => "AssignedPodUpdatePodLabel",
            ClusterEvent::PodChanged => "UnschedulablePodUpdate",
            ClusterEvent::Added(what) => name!(what, "Add"),
            ClusterEvent::Updated(what) => name!(what, "Update"),
            ClusterEvent::Deleted(what) => name!(what, "Delete"),
        }
    }

    /// Whether an object of the kind appeared or changed.
    pub fn brings(self, kind: What) -> bool {
        matches!(self, ClusterEvent::Added(what) | ClusterEvent::Updated(what) if what == kind)
    }
}

/// The objects that an event is about.
#[derive(Clone, Copy)]
pub enum About<'a> {
    /// Nothing that is known.
    Other,
    /// An object of another kind before and after; `None` where it did not exist.
    Object(Option<&'a dyn Any>, Option<&'a dyn Any>),
    /// A node before and after; `None` where it did not exist.
    Node(Option<&'a Node>, Option<&'a Node>),
    /// A pod before and after; `None` where it did not exist or had no node.
    Pod(Option<&'a Pod>, Option<&'a Pod>),
}

/// An event with what it is about.
#[derive(Clone, Copy)]
pub struct Happening<'a> {
    /// What kind of event.
    pub event: ClusterEvent,
    /// What it is about.
    pub about: About<'a>,
    /// The cluster after it.
    pub cluster: &'a Cluster,
}

impl<'a> Happening<'a> {
    /// The event's name in metrics.
    pub fn name(&self) -> &'static str {
        match (self.event, self.about) {
            // It gave back a part of what it had.
            (ClusterEvent::PodFreed, About::Pod(_, Some(_))) => "AssignedPodUpdatePodScaleDown",
            (event, _) => event.name(),
        }
    }

    /// The object before and after, when the event is about one of this kind.
    pub fn object<K: 'static>(&self) -> Option<(Option<&'a K>, Option<&'a K>)> {
        let About::Object(old, new) = self.about else { return None };
        let typed = |object: Option<&'a dyn Any>| object.and_then(|object| object.downcast_ref::<K>());
        let both = (typed(old), typed(new));
        (both.0.is_some() || both.1.is_some()).then_some(both)
    }
}

/// Permit's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The pod may be bound.
    Allow,
    /// It may not, for this reason; another plugin's word does not change that.
    Deny(String),
    /// It may when the plugin says so later ([`crate::service::Waiting`]), and not after this time.
    Wait(Duration),
}

/// What comes of something that takes time; the error is for people.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// A scheduling plugin. What decides is pure: what it needs of the cluster is in the snapshot. What carries out
/// ([`Plugin::pre_bind`]) may talk.
pub trait Plugin: Send + Sync {
    /// The name in profiles, reasons and metrics.
    fn name(&self) -> &'static str;

    /// PreEnqueue: why the pod may not enter the queue yet.
    fn pre_enqueue(&self, _pod: &Pod, _cluster: &Cluster) -> Option<Rejection> {
        None
    }

    /// Whether what the plugin says about this pod is for it alone, not for all pods of its class: its claims are its own.
    /// Such a plugin is asked anew for every pod, and its PreFilter narrows no nodes.
    fn is_own(&self, _cx: &Cx<'_>) -> bool {
        false
    }

    /// Node labels whose columns ([`Snapshot::topology`]) the plugin will read for this pod.
    fn topology_keys(&self, _pod: &PodInfo) -> Vec<Str> {
        Vec::new()
    }

    /// PreFilter: a look at the pod before any node.
    fn pre_filter(&self, _cx: &Cx<'_>) -> PreFilter {
        PreFilter::Skip
    }

    /// What scores nodes for pods like this one, if the plugin has a preference.
    fn scorer(&self, _cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        None
    }

    /// QueueSort: which of two pods is tried first; `None` leaves it to priority and age. The first profile's first plugin
    /// with an opinion decides for all.
    fn compare(&self, _one: &PodInfo, _other: &PodInfo) -> Option<Ordering> {
        None
    }

    /// Reserve: the pod is about to get the node.
    ///
    /// # Errors
    /// Why not, after all. It is tried again after a back-off.
    fn reserve(&self, _cx: &Cx<'_>, _node: usize) -> Result<(), String> {
        Ok(())
    }

    /// Unreserve: the pod does not get the node, whoever said so. Also called without [`Plugin::reserve`] before.
    fn unreserve(&self, _pod: &PodInfo, _node: &str) {}

    /// Permit: whether the pod may be bound to its node now.
    fn permit(&self, _pod: &PodInfo, _node: &str) -> Permit {
        Permit::Allow
    }

    /// A pod that some plugin told to wait is known to wait now.
    fn waits(&self, _pod: &PodInfo) {}

    /// PreBind: what has to be done before the pod is bound.
    fn pre_bind<'a>(&'a self, _pod: &'a PodInfo, _node: &'a str) -> Pending<'a> {
        Box::pin(async { Ok(()) })
    }

    /// PostBind: the pod is bound.
    fn post_bind(&self, _pod: &PodInfo, _node: &str) {}

    /// Whether such events may turn this plugin's refusal of some pod into a yes.
    fn may_help(&self, _event: ClusterEvent) -> bool {
        true
    }

    /// Queueing hint: whether this very event, of a kind that [`Plugin::may_help`] accepts, may turn the plugin's refusal
    /// of the pod into a yes. The answer holds for all pods of the pod's class.
    fn hint(&self, _happening: &Happening<'_>, _pod: &PodInfo) -> bool {
        true
    }
}

/// Highest score after normalisation.
pub const SCORE_MAX: i64 = 100;

/// The usual normalisation: scale to 0..=100 by the greatest score, and turn it round where less is better.
pub fn normalize_by_max(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores.iter_mut() {
        *score = match (max, reverse) {
            (0, true) => SCORE_MAX,
            (0, false) => 0,
            (max, false) => SCORE_MAX * *score / max,
            (max, true) => SCORE_MAX - SCORE_MAX * *score / max,
        };
    }
}

/// A filter that looks at the node's row alone, from a closure.
pub fn local_filter(
    check: impl Fn(&Cx<'_>, &NodeRow) -> Option<Rejection> + Send + 'static,
) -> Box<dyn Filter> {
    struct Local<F>(F);
    impl<F: Fn(&Cx<'_>, &NodeRow) -> Option<Rejection> + Send> Filter for Local<F> {
        fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
            self.0(cx, cx.row(node))
        }
        fn local(&self) -> bool {
            true
        }
    }
    Box::new(Local(check))
}
