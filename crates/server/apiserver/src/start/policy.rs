//! The bootstrap policy, reconciled: roles get back the rules that they lack, bindings their subjects, unless the
//! object opts out by its autoupdate annotation. What an administrator added stays.

use authz::Rule;
use authz::bootstrap::policy;
use authz::escalation::uncovered;
use meta::{Object, Status};
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};

use super::first::Writer;

const OPT_OUT: (&str, &str) = ("rbac.authorization.kubernetes.io/autoupdate", "false");

/// Writes what is missing.
pub(super) async fn reconcile(writer: &Writer<'_>) -> Result<(), Status> {
    let policy = policy();
    for role in policy.cluster_roles {
        writer.reconcile(role, update_cluster_role).await?;
    }
    for binding in policy.cluster_role_bindings {
        let update = |old: &mut ClusterRoleBinding, new: &ClusterRoleBinding| {
            old.role_ref == new.role_ref && add_subjects(&mut old.subjects, &new.subjects)
        };
        writer.reconcile(binding, update).await?;
    }
    for role in policy.roles {
        writer.reconcile(role, |old: &mut Role, new: &Role| add_rules(&mut old.rules, &new.rules)).await?;
    }
    for binding in policy.role_bindings {
        let update = |old: &mut RoleBinding, new: &RoleBinding| {
            old.role_ref == new.role_ref && add_subjects(&mut old.subjects, &new.subjects)
        };
        writer.reconcile(binding, update).await?;
    }
    Ok(())
}

/// Whether the object wants to be left alone.
pub(super) fn opted_out(object: &dyn Object) -> bool {
    object.meta().annotations.get(OPT_OUT.0).is_some_and(|v| v == OPT_OUT.1)
}

fn update_cluster_role(old: &mut ClusterRole, new: &ClusterRole) -> bool {
    if new.aggregation_rule.is_some() {
        // The rules of an aggregating role belong to the aggregation.
        let changed = old.aggregation_rule != new.aggregation_rule;
        old.aggregation_rule.clone_from(&new.aggregation_rule);
        return changed;
    }
    add_rules(&mut old.rules, &new.rules)
}

fn add_rules(old: &mut meta::List<PolicyRule>, new: &[PolicyRule]) -> bool {
    let held: Vec<Rule> = old.iter().map(Rule::from).collect();
    let missing: Vec<&PolicyRule> =
        new.iter().filter(|rule| !uncovered(&held, &[Rule::from(*rule)]).is_empty()).collect();
    old.extend(missing.iter().map(|rule| (*rule).clone()));
    !missing.is_empty()
}

fn add_subjects(old: &mut meta::List<Subject>, new: &[Subject]) -> bool {
    let missing: Vec<Subject> = new.iter().filter(|s| !old.contains(s)).cloned().collect();
    let changed = !missing.is_empty();
    old.extend(missing);
    changed
}
