//! StorageClasses and VolumeAttributesClasses.

use crate::check::{Errs, qualified_name};
use crate::core::pod::warnings;
use crate::fill::text_opt;
use crate::{Context, Path, Rules};
use meta::{BadValue, List, Map, Str};
use std::collections::BTreeSet;
use types::core::v1::TopologySelectorTerm;
use types::storage::v1::{StorageClass, VolumeAttributesClass};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

impl Rules for StorageClass {
    const REVALIDATES_METADATA: u8 = 1;
    fn default(&mut self) {
        text_opt(&mut self.reclaim_policy, "Delete");
        text_opt(&mut self.volume_binding_mode, "Immediate");
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        provisioner(e, &Path::root("provisioner"), &self.provisioner);
        parameters(e, &self.parameters, true);
        if let Some(policy) = self.reclaim_policy.as_ref().filter(|p| !p.is_empty()) {
            e.one_of(&Path::root("reclaimPolicy"), policy, &["Delete", "Retain"]);
        }
        match &self.volume_binding_mode {
            None => e.required(&Path::root("volumeBindingMode"), ""),
            Some(mode) => {
                e.one_of(&Path::root("volumeBindingMode"), mode, &["Immediate", "WaitForFirstConsumer"])
            }
        }
        topologies(e, &self.allowed_topologies);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        if self.parameters != old.parameters {
            e.invalid(&Path::root("parameters"), BadValue::of(&self.parameters), crate::check::IMMUTABLE);
        }
        if self.provisioner != old.provisioner {
            e.invalid(&Path::root("provisioner"), &self.provisioner, crate::check::IMMUTABLE);
        }
        for (field, new, old) in [
            ("reclaimPolicy", &self.reclaim_policy, &old.reclaim_policy),
            ("volumeBindingMode", &self.volume_binding_mode, &old.volume_binding_mode),
        ] {
            e.immutable(&Path::root(field), new, old, || BadValue::of(new));
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let list = Path::root("allowedTopologies");
        let mut out = Vec::new();
        for (i, term) in self.allowed_topologies.iter().enumerate() {
            let at = list.index(i);
            let expressions = at.child("matchLabelExpressions");
            for (j, r) in term.match_label_expressions.iter().enumerate() {
                if let Some(text) = warnings::node_label(&r.key) {
                    out.push(format!("{}: {text}", expressions.index(j).child("key")));
                }
            }
        }
        out
    }
}

fn provisioner(e: &mut Errs, at: &Path<'_>, name: &Str) {
    if e.present(at, name) {
        let lower = name.to_ascii_lowercase();
        e.each(at, &lower, qualified_name(&lower));
    }
}

fn parameters(e: &mut Errs, parameters: &Map<Str>, may_be_empty: bool) {
    let at = Path::root("parameters");
    if parameters.is_empty() && !may_be_empty {
        e.required(&at, "must contain at least one key/value pair");
    }
    if parameters.len() > PARAMETERS_MAX {
        e.too_long(&at, PARAMETERS_MAX);
        return;
    }
    for (key, _) in parameters.iter().filter(|(k, _)| k.is_empty()) {
        e.invalid(&at, key, "field can not be empty.");
    }
    if parameters.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > PARAMETERS_BYTES_MAX {
        e.too_long(&at, PARAMETERS_BYTES_MAX);
    }
}

fn topologies(e: &mut Errs, terms: &List<TopologySelectorTerm>) {
    let list = Path::root("allowedTopologies");
    for (i, term) in terms.iter().enumerate() {
        let at = list.index(i);
        let expressions = at.child("matchLabelExpressions");
        let mut keys = BTreeSet::new();
        for (j, r) in term.match_label_expressions.iter().enumerate() {
            let at = expressions.index(j);
            let values = at.child("values");
            if r.values.is_empty() {
                e.required(&values, "");
            }
            for (k, value) in r.values.iter().enumerate() {
                if r.values[..k].contains(value) {
                    e.duplicate(&values.index(k), value);
                }
            }
            e.each(&at.child("key"), &r.key, qualified_name(&r.key));
            if !keys.insert(&r.key) {
                e.duplicate(&at.child("key"), &r.key);
            }
        }
        let same = terms[..i].iter().filter(|t| *t == term).count();
        // Upstream compares with as many empty terms as there are terms, too.
        let same = same + if term.match_label_expressions.is_empty() { terms.len() } else { 0 };
        for _ in 0..same {
            e.duplicate(&at.child("matchLabelExpressions"), "");
        }
    }
}

impl Rules for VolumeAttributesClass {
    const REVALIDATES_METADATA: u8 = 1;
    fn check(&self, e: &mut Errs, _cx: &Context) {
        provisioner(e, &Path::root("driverName"), &self.driver_name);
        parameters(e, &self.parameters, false);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        if self.driver_name != old.driver_name {
            e.forbidden(&Path::root("driverName"), "updates to driverName are forbidden.");
        }
        if self.parameters != old.parameters {
            e.forbidden(&Path::root("parameters"), "updates to parameters are forbidden.");
        }
        self.check(e, cx);
    }
}
