//! ImageLocality: prefers nodes that have the pod's images already, the larger and the more widespread the better.

use crate::plugin::{ClusterEvent, Cx, Plugin, SCORE_MAX, Scope, Score};
use meta::Str;

/// The plugin.
pub struct ImageLocality;

const MIB: i64 = 1024 * 1024;
/// Less than this is not worth a preference.
const BYTES_MIN: i64 = 23 * MIB;
/// More than this a container makes no difference.
const BYTES_MAX_PER_CONTAINER: i64 = 1000 * MIB;

/// Names of the pod's images, and how many of them containers run: images that are mounted as volumes add to what a node has
/// to offer, not to what is expected of it.
struct Locality {
    names: Vec<Str>,
    containers: i64,
}

/// An image name with its tag: without one it is `latest`.
fn normalized(name: &str) -> Str {
    let tag = name.rfind(':').map_or(-1, |at| at as i64);
    let path = name.rfind('/').map_or(-1, |at| at as i64);
    if tag <= path { format!("{name}:latest").into() } else { name.into() }
}

impl Score for Locality {
    fn score(&self, cx: &Cx<'_>, node: usize) -> i64 {
        let Some(node) = cx.row(node).node() else { return 0 };
        let total = cx.snapshot.count() as f64;
        let bytes: i64 = self
            .names
            .iter()
            .filter(|name| node.status.images.iter().any(|image| image.names.contains(name)))
            .filter_map(|name| cx.snapshot.image(name))
            .map(|(bytes, nodes)| (bytes as f64 * (f64::from(nodes) / total)) as i64)
            .sum();
        let max = BYTES_MAX_PER_CONTAINER * self.containers.max(1);
        SCORE_MAX * (bytes.clamp(BYTES_MIN, max) - BYTES_MIN) / (max - BYTES_MIN)
    }

    fn scope(&self) -> Scope {
        Scope::RowFinal
    }
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn scorer(&self, cx: &Cx<'_>) -> Option<Box<dyn Score>> {
        let spec = &cx.object().spec;
        let containers = spec.init_containers.iter().chain(spec.containers.iter());
        let mut names: Vec<Str> = containers.map(|one| normalized(&one.image)).collect();
        let containers = names.len() as i64;
        let volumes = spec.volumes.iter().filter_map(|volume| volume.image.as_ref());
        names.extend(volumes.map(|image| normalized(&image.reference)));
        Some(Box::new(Locality { names, containers }))
    }

    fn may_help(&self, _: ClusterEvent) -> bool {
        false
    }
}
