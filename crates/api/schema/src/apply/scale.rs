//! Managers of the `scale` subresource: the same owners seen through another kind.
//!
//! A scale shows its workload's replicas under `.spec.replicas` of `autoscaling/v1`; whoever owns one owns the other.

use super::managers::{Manager, Managers, Operation};
use super::set::Set;

/// The version of scales.
const SCALE: &str = "autoscaling/v1";
/// Where scales keep the replicas.
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// Translates managers between a workload and its scale.
#[derive(Clone, Copy)]
pub struct ScaleManagers<'c> {
    /// The version that the request goes to, `apps/v1`.
    pub api_version: &'c str,
    /// Where the workload keeps its replicas, for every version that is served (empty where that version has no scale);
    /// `None` for versions that are not served.
    pub path: &'c dyn Fn(&str) -> Option<&'c [&'c str]>,
}

impl ScaleManagers<'_> {
    /// The owners of the replicas, as managers of the scale.
    pub fn of_scale(&self, parent: &Managers) -> Managers {
        let owners = parent
            .0
            .iter()
            .filter(|manager| (self.path)(&manager.id.api_version).is_some_and(|path| manager.set.has(path)));
        let translated = owners.map(|manager| {
            let mut id = manager.id.clone();
            id.api_version = SCALE.into();
            Manager { id, time: manager.time, set: Set::of(&REPLICAS) }
        });
        Managers(translated.collect())
    }

    /// The workload's managers after a write through its scale.
    ///
    /// Updaters are named with their version, and the versions of a workload and its scale differ, so an updater's
    /// replicas always move to an entry of their own, without time. That is what upstream stores.
    pub fn of_parent(&self, parent: Managers, mut scale: Managers) -> Managers {
        let mut out = Managers::default();
        for manager in &parent.0 {
            let Some(path) = (self.path)(&manager.id.api_version) else { continue };
            let stolen = manager.set.has(path) && scale.take(&manager.id).is_none();
            let mut manager = manager.clone();
            if stolen {
                manager.set = manager.set.difference(&Set::of(path));
            }
            if !manager.set.is_empty() {
                out.0.push(manager);
            }
        }
        let Some(path) = (self.path)(self.api_version) else { return out };
        for manager in scale.0.into_iter().filter(|manager| manager.set.has(&REPLICAS)) {
            let time = parent.find(&manager.id).and_then(|known| known.time);
            let applier = manager.id.operation == Operation::Apply;
            let mut id = manager.id;
            id.api_version = self.api_version.into();
            let manager = Manager { id, time, set: Set::of(path) };
            if applier { out.put(manager) } else { out.0.push(manager) }
        }
        out
    }
}
