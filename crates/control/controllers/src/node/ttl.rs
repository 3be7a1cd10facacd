//! How long kubelets may keep secrets and config maps: the longer, the larger the cluster, told in an annotation of each
//! node.

use std::sync::atomic::{AtomicUsize, Ordering};

use call::PatchKind;
use informer::{Change, Key};
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use serde_json::json;
use types::core::v1::Node;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Up to `most` nodes, and from `least` nodes on, so that a cluster at a border does not swing; and the seconds.
struct Step {
    least: usize,
    most: usize,
    seconds: u32,
}

const STEPS: [Step; 5] = [
    Step { least: 0, most: 100, seconds: 0 },
    Step { least: 90, most: 500, seconds: 15 },
    Step { least: 450, most: 1000, seconds: 30 },
    Step { least: 900, most: 2000, seconds: 60 },
    Step { least: 1800, most: usize::MAX, seconds: 300 },
];

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("ttlcontroller", "ttl-controller", context.clone(), Ttl::default())
        .on_change::<Node>(|change, world| match change {
            Change::Updated { new, .. } => vec![Key::of(&**new)],
            // Another number of nodes may mean other seconds for all.
            _ => world.list_all::<Node>().iter().map(|node| Key::of(&**node)).collect(),
        })
        .start()
}

#[derive(Default)]
pub(crate) struct Ttl {
    step: AtomicUsize,
}

impl Reconciler for Ttl {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(node) = world.get_key::<Node>(key) else { return Next::Done };
        let step = step(self.step.load(Ordering::Relaxed), world.cache::<Node>().len());
        self.step.store(step, Ordering::Relaxed);
        let seconds = STEPS[step].seconds.to_string();
        if node.metadata.annotations.get(ANNOTATION).is_some_and(|known| *known == seconds) {
            return Next::Done;
        }
        let document = json!({"metadata": {"annotations": {ANNOTATION: seconds}}}).to_string();
        plan.push(Write::patch::<Node>("", &key.name, "", PatchKind::Strategic, document.into()).ignore(404));
        Next::Done
    }
}

/// The step for this many nodes, coming from step `from`.
fn step(from: usize, nodes: usize) -> usize {
    let mut step = from.min(STEPS.len() - 1);
    while nodes > STEPS[step].most {
        step += 1;
    }
    while nodes < STEPS[step].least {
        step -= 1;
    }
    step
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::common::testing::look;

    #[test]
    fn a_cluster_at_a_border_does_not_swing() {
        let walk = [1, 100, 101, 95, 89, 2001, 1801, 1799, 0];
        let mut at = 0;
        let seconds = walk.map(|nodes| {
            at = step(at, nodes);
            STEPS[at].seconds
        });
        assert_eq!(seconds, [0, 0, 15, 15, 0, 300, 300, 60, 0]);
    }

    #[test]
    fn a_new_node_is_told() {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "n1"}});
        expect![[r#"
            patch /api/v1/nodes/n1 {"metadata":{"annotations":{"node.alpha.kubernetes.io/ttl":"0"}}}
            Done
        "#]]
        .assert_eq(&look(&Ttl::default(), ("", "n1"), &[node]));
    }
}
