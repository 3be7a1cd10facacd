//! The group `rbac.authorization.k8s.io`: roles and bindings.

use crate::check::{Errs, Messages, labels, name_subdomain, path_segment};
use crate::fill::text;
use crate::{Context, Path, Rules};
use meta::{BadValue, List};
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Roles and bindings may be named like requests are: anything that fits into a path.
/// Prefixes of names are judged as whole names here.
fn name(name: &str, _prefix: bool) -> Messages {
    path_segment(name, false)
}

fn rules(e: &mut Errs, rules: &List<PolicyRule>, namespaced: bool) {
    let list = Path::root("rules");
    for (i, rule) in rules.iter().enumerate() {
        let at = list.index(i);
        if rule.verbs.is_empty() {
            e.required(&at.child("verbs"), "verbs must contain at least one value");
        }
        if !rule.non_resource_urls.is_empty() {
            let urls = at.child("nonResourceURLs");
            let shown = || BadValue::of(&rule.non_resource_urls);
            if namespaced {
                e.invalid(&urls, shown(), "namespaced rules cannot apply to non-resource URLs");
            }
            let others = [&rule.api_groups, &rule.resources, &rule.resource_names];
            if others.iter().any(|l| !l.is_empty()) {
                e.invalid(
                    &urls,
                    shown(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if rule.api_groups.is_empty() {
            e.required(&at.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if rule.resources.is_empty() {
            e.required(&at.child("resources"), "resource rules must supply at least one resource");
        }
    }
}

impl Rules for Role {
    const NAME: crate::check::NameCheck = name;
    const CREATE_ON_UPDATE: bool = true;
    const REVALIDATES_METADATA: u8 = 1;

    fn check(&self, e: &mut Errs, _cx: &Context) {
        rules(e, &self.rules, true);
    }
}

impl Rules for ClusterRole {
    const NAME: crate::check::NameCheck = name;
    const CREATE_ON_UPDATE: bool = true;
    const REVALIDATES_METADATA: u8 = 1;

    fn check(&self, e: &mut Errs, _cx: &Context) {
        rules(e, &self.rules, false);
        if let Some(aggregation) = &self.aggregation_rule {
            let at = Path::root("aggregationRule");
            let list = at.child("clusterRoleSelectors");
            if aggregation.cluster_role_selectors.is_empty() {
                return e.required(
                    &list,
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                );
            }
            for (i, selector) in aggregation.cluster_role_selectors.iter().enumerate() {
                let at = list.index(i);
                if !labels::usable_selector(e, &at, selector) {
                    // Upstream shows what could not be made of it, which is nothing.
                    e.invalid(&at, BadValue::Plain("null".into()), "invalid label selector.");
                }
            }
        }
    }
}

fn default_binding(role: &mut RoleRef, subjects: &mut List<Subject>) {
    text(&mut role.api_group, GROUP);
    for subject in subjects.iter_mut() {
        if subject.kind == "User" || subject.kind == "Group" {
            text(&mut subject.api_group, GROUP);
        }
    }
}

fn binding(e: &mut Errs, role: &RoleRef, subjects: &List<Subject>, kinds: &[&str], namespaced: bool) {
    let at = Path::root("roleRef");
    e.one_of(&at.child("apiGroup"), &role.api_group, &[GROUP]);
    e.one_of(&at.child("kind"), &role.kind, kinds);
    if e.present(&at.child("name"), &role.name) {
        e.each(&at.child("name"), &role.name, path_segment(&role.name, false));
    }
    let list = Path::root("subjects");
    for (i, subject) in subjects.iter().enumerate() {
        let at = list.index(i);
        e.present(&at.child("name"), &subject.name);
        match subject.kind.as_str() {
            "ServiceAccount" => {
                if !subject.name.is_empty() {
                    e.each(&at.child("name"), &subject.name, name_subdomain(&subject.name, false));
                }
                if !subject.api_group.is_empty() {
                    e.unsupported(&at.child("apiGroup"), &subject.api_group, &[""]);
                }
                if !namespaced {
                    e.present(&at.child("namespace"), &subject.namespace);
                }
            }
            "User" | "Group" => e.one_of(&at.child("apiGroup"), &subject.api_group, &[GROUP]),
            other => e.unsupported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
        }
    }
}

fn same_role(e: &mut Errs, new: &RoleRef, old: &RoleRef) {
    if new != old {
        let shown = format!(
            r#"{{"APIGroup":{},"Kind":{},"Name":{}}}"#,
            crate::check::json_string(&new.api_group),
            crate::check::json_string(&new.kind),
            crate::check::json_string(&new.name)
        );
        e.invalid(&Path::root("roleRef"), BadValue::Plain(shown), "cannot change roleRef");
    }
}

impl Rules for RoleBinding {
    const NAME: crate::check::NameCheck = name;
    const CREATE_ON_UPDATE: bool = true;
    const REVALIDATES_METADATA: u8 = 1;

    fn default(&mut self) {
        default_binding(&mut self.role_ref, &mut self.subjects);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        binding(e, &self.role_ref, &self.subjects, &["Role", "ClusterRole"], true);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        same_role(e, &self.role_ref, &old.role_ref);
    }
}

impl Rules for ClusterRoleBinding {
    const NAME: crate::check::NameCheck = name;
    const CREATE_ON_UPDATE: bool = true;
    const REVALIDATES_METADATA: u8 = 1;

    fn default(&mut self) {
        default_binding(&mut self.role_ref, &mut self.subjects);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        binding(e, &self.role_ref, &self.subjects, &["ClusterRole"], false);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        same_role(e, &self.role_ref, &old.role_ref);
    }
}
