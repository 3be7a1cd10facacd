//! Nodes.

use super::names;
use super::pod::scheduling::TAINT_EFFECTS;
use crate::check::{Errs, ip, json_string, label_value, qualified_name};
use crate::fill::round_up;
use crate::{Context, Path, Rules};
use meta::{BadValue, List, Str, thin_vec};
use std::collections::BTreeSet;
use types::core::v1::*;

impl Rules for Node {
    const REVALIDATES_METADATA: u8 = 1;
    const FIELD_LABELS: &'static [&'static str] = &["spec.unschedulable"];

    fn default(&mut self) {
        let spec = &mut self.spec;
        // The first range and the list of ranges are one fact in two fields.
        // Where both say something else, the older one counts.
        if !spec.pod_cidr.is_empty() && spec.pod_cidrs.first() != Some(&spec.pod_cidr) {
            spec.pod_cidrs = thin_vec![spec.pod_cidr.clone()];
        }
        if let Some(first) = spec.pod_cidrs.first() {
            spec.pod_cidr = first.clone();
        }
        let status = &mut self.status;
        if status.allocatable.is_empty() {
            status.allocatable = status.capacity.clone();
        }
        round_up(&mut status.capacity);
        round_up(&mut status.allocatable);
    }

    fn keep_status(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.spec.config_source = None;
        self.status.config = None;
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        self.status.config = None;
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        taints(e, &self.spec.taints);
        resources(e, &self.status);
        declared_features(e, &self.status.declared_features);
        pod_ranges(e, &self.spec.pod_cidrs);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        // The whole node is judged, and much of it again by the rules of changes.
        self.check(e, cx);
        update(self, old, e);
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        update(self, old, e);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut out = Vec::new();
        if self.spec.config_source.is_some() && old.is_none_or(|o| o.spec.config_source.is_none()) {
            out.push("spec.configSource: the feature is removed".into());
        }
        if !self.spec.external_id.is_empty() {
            out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        let spec = Path::root("spec");
        let list = spec.child("podCIDRs");
        for (i, range) in self.spec.pod_cidrs.iter().enumerate() {
            out.extend(ip::range_warnings(&list.index(i), range));
        }
        out
    }

    fn field(&self, label: &str) -> Option<Str> {
        (label == "spec.unschedulable").then(|| if self.spec.unschedulable { "true" } else { "false" }.into())
    }
}

fn taints(e: &mut Errs, taints: &List<Taint>) {
    let metadata = Path::root("metadata");
    let list = metadata.child("taints");
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let at = list.index(i);
        e.each(&at.child("key"), &taint.key, qualified_name(&taint.key));
        let messages = label_value(&taint.value);
        if !messages.is_empty() {
            e.invalid(&at.child("value"), &taint.value, messages.join(";"));
        }
        e.required_one_of(&at.child("effect"), &taint.effect, &TAINT_EFFECTS);
        if !seen.insert((&taint.effect, &taint.key)) {
            let added =
                taint.time_added.as_ref().map_or_else(|| "null".to_owned(), |t| json_string(&t.to_string()));
            let quoted = format!(
                r#"{{"Key":{},"Value":{},"Effect":{},"TimeAdded":{added}}}"#,
                json_string(&taint.key),
                json_string(&taint.value),
                json_string(&taint.effect)
            );
            e.duplicate_because(&at, BadValue::Plain(quoted), "taints must be unique by key and effect pair");
        }
    }
}

fn resources(e: &mut Errs, status: &NodeStatus) {
    let at = Path::root("status");
    for (field, list) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
        let at = at.child(field);
        for (name, value) in list.iter() {
            names::amount(e, &at.child(name), name, value);
        }
    }
}

/// Names of features that a node says it has, in their order: `MyFeature`, `MyFeature/mySubFeature` (KEP-5328).
fn declared_features(e: &mut Errs, features: &List<Str>) {
    let status = Path::root("status");
    let list = status.child("declaredFeatures");
    for (i, name) in features.iter().enumerate() {
        if name.len() > 253 {
            let why = format!("invalid feature name {name:?}: must be no more than 253 characters");
            e.invalid(&list.index(i), name, why);
        } else if !is_feature(name) {
            let why = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            e.invalid(&list.index(i), name, why);
        }
        match features.get(i + 1) {
            Some(next) if next == name => e.duplicate(&list.index(i + 1), next),
            Some(next) if next < name => {
                e.invalid(&list.index(i + 1), next, "list must be sorted alphabetically");
            }
            _ => {}
        }
    }
}

fn is_feature(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.split('/').all(|part| plain(part) && part.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn pod_ranges(e: &mut Errs, ranges: &List<Str>) {
    let spec = Path::root("spec");
    let at = spec.child("podCIDRs");
    let parsed: Vec<_> =
        ranges.iter().enumerate().map(|(i, value)| ip::range(e, &at.index(i), value)).collect();
    if ranges.len() < 2 {
        return;
    }
    if let Some(nth) = parsed.iter().position(Option::is_none) {
        let wrong = &ranges[nth];
        let why = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{nth}]: <nil> (invalid CIDR address: {wrong})"
        );
        e.internal(&at, why);
    }
    let v6: Vec<bool> = parsed.iter().flatten().map(|c| c.network.is_ipv6()).collect();
    if ranges.len() > 2 || !(v6.contains(&true) && v6.contains(&false)) {
        e.invalid(&at, BadValue::of(ranges), "may specify no more than one CIDR for each IP family");
    }
}

fn update(new: &Node, old: &Node, e: &mut Errs) {
    let spec = Path::root("spec");
    resources(e, &new.status);
    declared_features(e, &new.status.declared_features);
    let status = Path::root("status");
    let list = status.child("addresses");
    for (i, address) in new.status.addresses.iter().enumerate() {
        if new.status.addresses[..i].contains(address) {
            let quoted = format!(
                r#"{{"Type":{},"Address":{}}}"#,
                json_string(&address.type_),
                json_string(&address.address)
            );
            e.duplicate(&list.index(i), BadValue::Plain(quoted));
        }
    }
    const RANGE: &str = "node updates may not change podCIDR except from \"\" to valid";
    let (now, before) = (&new.spec.pod_cidrs, &old.spec.pod_cidrs);
    if !before.is_empty() {
        let changed = match now.len() == before.len() {
            true => now.iter().zip(before.iter()).filter(|(a, b)| a != b).count(),
            false => 1,
        };
        for _ in 0..changed {
            e.forbidden(&spec.child("podCIDRs"), RANGE);
        }
    }
    if !old.spec.provider_id.is_empty() && old.spec.provider_id != new.spec.provider_id {
        e.forbidden(
            &spec.child("providerID"),
            "node updates may not change providerID except from \"\" to valid",
        );
    }
    taints(e, &new.spec.taints);
    if new.spec.external_id != old.spec.external_id {
        e.forbidden(&spec.child("externalID"), "may not be updated");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_features() {
        for (name, fits) in [
            ("A", true),
            ("MyFeature/mySubFeature", true),
            ("myFeature", false),
            ("A/", false),
            ("A/-b", false),
            ("", false),
        ] {
            assert_eq!(is_feature(name), fits, "{name}");
        }
        let mut e = Errs::new();
        declared_features(&mut e, &["B", "A", "A"].into_iter().map(Str::from).collect());
        let told: Vec<String> = e.into_vec().iter().map(|p| format!("{} {}", p.field, p.detail)).collect();
        assert_eq!(
            told,
            ["status.declaredFeatures[1] list must be sorted alphabetically", "status.declaredFeatures[2] "]
        );
    }

    #[test]
    fn ranges_of_pods_are_one_fact() {
        // The older field, the list; then the list as it is read.
        for (one, list, read) in [
            ("a", &[][..], &["a"][..]),
            ("a", &["a", "b"], &["a", "b"]),
            ("a", &["b"], &["a"]),
            ("", &["b", "c"], &["b", "c"]),
        ] {
            let mut node: Node = std::default::Default::default();
            node.spec.pod_cidr = one.into();
            node.spec.pod_cidrs = list.iter().map(|r| Str::from(*r)).collect();
            Rules::default(&mut node);
            let found: Vec<&str> = node.spec.pod_cidrs.iter().map(Str::as_str).collect();
            assert_eq!((node.spec.pod_cidr.as_str(), &found[..]), (read[0], read));
        }
    }
}
