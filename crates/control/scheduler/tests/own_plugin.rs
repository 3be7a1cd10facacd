//! The worked example of CONTRIBUTING.md: a plugin of one's own, in a profile beside the default ones.

use std::sync::Arc;

use meta::Codec;
use scheduler::config::ProfileConfig;
use scheduler::core::{Core, Decision};
use scheduler::plugin::{ClusterEvent, Cx, Plugin, PreFilter, Rejection, local_filter};
use scheduler::pod_info::PodInfo;
use scheduler::profile::Profile;
use types::core::v1::{Node, Pod};

/// Keeps pods off nodes whose name ends in `-spare`.
pub struct NoSpares;

impl Plugin for NoSpares {
    fn name(&self) -> &'static str {
        "NoSpares"
    }

    fn pre_filter(&self, _: &Cx<'_>) -> PreFilter {
        PreFilter::Run(local_filter(|_, row| {
            let spare = row.node().is_some_and(|node| node.metadata.name.ends_with("-spare"));
            spare.then(|| Rejection::unresolvable("NoSpares", "node(s) were spares"))
        }))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::NodeAdded
    }
}

#[test]
fn keeps_pods_off_spares() {
    let profile = Profile::new(&ProfileConfig::default(), &[(Arc::new(NoSpares), 1)]);
    let mut core = Core::new(vec![profile]);
    let pod = Pod::from_json(br#"{"metadata":{"name":"p","uid":"1"}}"#).unwrap();
    let pod = Arc::new(PodInfo::new(Arc::new(pod)));
    let node = |name: &str| {
        let text = format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{"allocatable":{{"pods":"9"}}}}}}"#);
        Arc::new(Node::from_json(text.as_bytes()).unwrap())
    };
    core.snapshot.set_node(node("a-spare"));
    let Decision::Failed(failure) = core.decide(&pod, 0, 0, None) else { panic!("a spare was taken") };
    assert_eq!(failure.message(), "0/1 nodes are available: 1 node(s) were spares.");
    core.snapshot.set_node(node("b"));
    let Decision::Node { index, .. } = core.decide(&pod, 0, 0, None) else { panic!("no node") };
    assert_eq!(core.snapshot.name(index), "b");
}

/// The example in CONTRIBUTING.md is this file's.
#[test]
fn is_what_contributing_shows() {
    let page = include_str!("../../../../CONTRIBUTING.md");
    let start = page.find("pub struct NoSpares").expect("the example is in CONTRIBUTING.md");
    let example = &page[start..start + page[start..].find("```").expect("the example ends")];
    assert!(include_str!("own_plugin.rs").contains(example.trim()));
}
