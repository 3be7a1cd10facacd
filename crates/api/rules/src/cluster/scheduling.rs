//! The group `scheduling.k8s.io`: PriorityClass.

use crate::check::Errs;
use crate::fill::text_opt;
use crate::{Context, Path, Rules};
use meta::BadValue;
use types::scheduling::v1::PriorityClass;

const USER_VALUE_MAX: i32 = 1_000_000_000;
/// The classes that Kubernetes itself has, and their values.
const SYSTEM: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Rules for PriorityClass {
    const GENERATION: bool = true;

    fn default(&mut self) {
        text_opt(&mut self.preemption_policy, "PreemptLowerPriority");
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let name = self.metadata.name.as_str();
        if name.starts_with("system-") {
            let known = SYSTEM.iter().find(|(n, _)| *n == name);
            let problem = match known {
                None => Some(format!("{name} is not a known system priority class")),
                Some((_, value)) if *value != self.value => {
                    Some(format!("value of {name} PriorityClass must be {value}"))
                }
                Some(_) if self.global_default => {
                    Some(format!("globalDefault of {name} PriorityClass must be false"))
                }
                Some(_) => None,
            };
            if let Some(problem) = problem {
                let metadata = Path::root("metadata");
                e.forbidden(
                    &metadata.child("name"),
                    format!("priority class names with 'system-' prefix are reserved for system use only. error: {problem}"),
                );
            }
        } else if self.value > USER_VALUE_MAX {
            e.forbidden(
                &Path::root("value"),
                format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}"),
            );
        }
        if let Some(policy) = &self.preemption_policy {
            e.required_one_of(&Path::root("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        if self.value != old.value {
            e.forbidden(&Path::root("value"), "may not be changed in an update.");
        }
        e.immutable(&Path::root("preemptionPolicy"), &self.preemption_policy, &old.preemption_policy, || {
            BadValue::of(&self.preemption_policy)
        });
    }
}
