//! The group `node.k8s.io`: RuntimeClass.

use crate::check::{Errs, dns_label, labels};
use crate::core::pod::{resources, scheduling, warnings};
use crate::fill::round_up;
use crate::{Context, Path, Rules};
use types::core::v1::ResourceRequirements;
use types::node::v1::RuntimeClass;

impl Rules for RuntimeClass {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const KNOWN_FINALIZERS: bool = false;
    fn default(&mut self) {
        if let Some(overhead) = &mut self.overhead {
            round_up(&mut overhead.pod_fixed);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        if e.present(&Path::root("handler"), &self.handler) {
            e.each(&Path::root("handler"), &self.handler, dns_label(&self.handler));
        }
        if let Some(overhead) = &self.overhead {
            let at = Path::root("overhead");
            let r = ResourceRequirements { limits: overhead.pod_fixed.clone(), ..Default::default() };
            resources::container(e, &at, &r, &Default::default());
        }
        if let Some(s) = &self.scheduling {
            let at = Path::root("scheduling");
            labels::labels(e, &at.child("nodeSelector"), &s.node_selector);
            let list = at.child("tolerations");
            scheduling::tolerations(e, &list, &s.tolerations);
            for (i, t) in s.tolerations.iter().enumerate() {
                if s.tolerations[..i].contains(t) {
                    e.duplicate(&list.index(i), crate::diff::shown(t));
                }
            }
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        e.immutable(&Path::root("handler"), &self.handler, &old.handler, || (&self.handler).into());
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let at = Path::root("scheduling");
        let selector = at.child("nodeSelector");
        let labels = self.scheduling.iter().flat_map(|s| s.node_selector.keys());
        labels.filter_map(|k| Some(format!("{}: {}", selector.key(k), warnings::node_label(k)?))).collect()
    }
}
