//! NodeDeclaredFeatures: a pod that needs a feature of the kubelet goes only to nodes that declare it (KEP-5328).

use meta::Str;
use types::core::v1::Pod;

use crate::plugin::{About, ClusterEvent, Cx, Happening, Plugin, PreFilter, Rejection, local_filter};
use crate::pod_info::PodInfo;

/// The plugin.
pub struct NodeDeclaredFeatures;

/// Its name.
pub const NAME: &str = "NodeDeclaredFeatures";

/// Whether a pod needs a feature.
type Needs = fn(&Pod) -> bool;

/// Whether a pod needs the feature, by the feature's name. Features that only concern changes of a running pod (resizes)
/// are none of a scheduler's business.
const FEATURES: &[(&str, Needs)] = &[
    ("RestartAllContainersOnContainerExits", |pod| {
        let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
        let mut rules = containers.flat_map(|container| &container.restart_policy_rules);
        rules.any(|rule| rule.action == "RestartAllContainers")
    }),
    ("UserNamespacesHostNetworkSupport", |pod| pod.spec.host_network && pod.spec.host_users == Some(false)),
];

/// The features that the pod needs.
pub fn required(pod: &Pod) -> Vec<Str> {
    FEATURES.iter().filter(|(_, needs)| needs(pod)).map(|(name, _)| Str::from(*name)).collect()
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let required = required(cx.object());
        if required.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Run(local_filter(move |_, row| {
            let declared = row.node().map(|node| &node.status.declared_features);
            let all = required.iter().all(|one| declared.is_some_and(|declared| declared.contains(one)));
            (!all).then(|| Rejection::unresolvable(NAME, "node(s) didn't match Pod's required features"))
        }))
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        let About::Node(_, Some(node)) = happening.about else { return true };
        required(&pod.pod).iter().all(|one| node.status.declared_features.contains(one))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeFeatures | ClusterEvent::PodChanged)
    }
}
