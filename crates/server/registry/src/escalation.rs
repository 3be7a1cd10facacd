//! Writes of roles and bindings: nobody grants what they do not hold (the verbs `escalate` and `bind` excepted).

use authn::MASTERS;
use authz::{Attributes, Rule, escalation};
use meta::{GroupResource, Object, Status};
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};

use crate::registry::{Registry, Request};

const GROUP: &str = "rbac.authorization.k8s.io";

impl Registry {
    /// Refuses a role or binding that grants more than its author holds.
    pub(crate) fn check_escalation(
        &self,
        request: &Request<'_>,
        new: &dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<(), Status> {
        if request.served.resource().group != GROUP || request.authorized.user().in_group(MASTERS) {
            return Ok(());
        }
        let namespace = request.target.namespace.as_str();
        if let Some(role) = meta::downcast_ref::<Role>(new) {
            let before = old.and_then(meta::downcast_ref::<Role>).map(|r| &r.rules[..]);
            return self.check_rules(request, &role.metadata.name, &role.rules, before);
        }
        if let Some(role) = meta::downcast_ref::<ClusterRole>(new) {
            let before = old.and_then(meta::downcast_ref::<ClusterRole>);
            self.check_aggregation(request, role, before)?;
            return self.check_rules(request, &role.metadata.name, &role.rules, before.map(|r| &r.rules[..]));
        }
        if let Some(binding) = meta::downcast_ref::<RoleBinding>(new) {
            let same = old
                .and_then(meta::downcast_ref::<RoleBinding>)
                .is_some_and(|o| o.role_ref == binding.role_ref && o.subjects == binding.subjects);
            return if same {
                Ok(())
            } else {
                self.check_binding(request, &binding.role_ref, namespace, new)
            };
        }
        if let Some(binding) = meta::downcast_ref::<ClusterRoleBinding>(new) {
            let same = old
                .and_then(meta::downcast_ref::<ClusterRoleBinding>)
                .is_some_and(|o| o.role_ref == binding.role_ref && o.subjects == binding.subjects);
            return if same { Ok(()) } else { self.check_binding(request, &binding.role_ref, "", new) };
        }
        Ok(())
    }

    fn check_rules(
        &self,
        request: &Request<'_>,
        name: &str,
        rules: &[PolicyRule],
        before: Option<&[PolicyRule]>,
    ) -> Result<(), Status> {
        if before == Some(rules) {
            return Ok(());
        }
        let target = request.target;
        let escalate = Attributes::resource("escalate", GROUP, &target.resource, &target.namespace, name);
        if self.authorizer.allows(request.authorized.user(), &escalate) {
            return Ok(());
        }
        let wanted: Vec<Rule> = rules.iter().map(Rule::from).collect();
        self.check_held(request, name, &target.namespace, &wanted)
    }

    fn check_aggregation(
        &self,
        request: &Request<'_>,
        role: &ClusterRole,
        before: Option<&ClusterRole>,
    ) -> Result<(), Status> {
        let changed = before.is_none_or(|b| b.aggregation_rule != role.aggregation_rule);
        if role.aggregation_rule.is_none() || !changed {
            return Ok(());
        }
        let all = Rule {
            verbs: vec!["*".into()],
            groups: vec!["*".into()],
            resources: vec!["*".into()],
            ..Rule::default()
        };
        let (held, _) = self.authorizer.policy.read().rules_for(request.authorized.user(), "");
        if escalation::uncovered(&held, &[all]).is_empty() {
            return Ok(());
        }
        Err(forbidden(
            request,
            &role.metadata.name,
            "must have cluster-admin privileges to use the aggregationRule",
        ))
    }

    fn check_binding(
        &self,
        request: &Request<'_>,
        reference: &RoleRef,
        namespace: &str,
        new: &dyn Object,
    ) -> Result<(), Status> {
        let (resource, scope) =
            if reference.kind == "ClusterRole" { ("clusterroles", "") } else { ("roles", namespace) };
        let mut bind = Attributes::resource("bind", GROUP, resource, namespace, &reference.name);
        if scope.is_empty() && namespace.is_empty() {
            bind.namespace = "".into();
        }
        if self.authorizer.allows(request.authorized.user(), &bind) {
            return Ok(());
        }
        let rules = self.authorizer.policy.read().role(reference, namespace);
        let Some(rules) = rules else {
            return Err(Status::not_found(
                &GroupResource::new(GROUP, request.target.resource.clone()),
                &reference.name,
            ));
        };
        self.check_held(request, &new.meta().name, namespace, &rules)
    }

    fn check_held(
        &self,
        request: &Request<'_>,
        name: &str,
        namespace: &str,
        wanted: &[Rule],
    ) -> Result<(), Status> {
        let user = request.authorized.user();
        let (held, errors) = self.authorizer.policy.read().rules_for(user, namespace);
        let missing = escalation::uncovered(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        Err(forbidden(request, name, &escalation::message(&user.name, &user.groups, &missing, &errors)))
    }
}

fn forbidden(request: &Request<'_>, name: &str, why: &str) -> Status {
    Status::forbidden(&GroupResource::new(GROUP, request.target.resource.clone()), name, why)
}
