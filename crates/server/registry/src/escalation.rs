//! Writes of roles and bindings: nobody grants what they do not hold (the verbs `escalate` and `bind` excepted).

use authn::MASTERS;
use authz::{Attributes, Decision, Rule, escalation};
use meta::{GroupResource, Object, Status};
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};

use crate::errors;
use crate::registry::{Registry, Request};

const GROUP: &str = "rbac.authorization.k8s.io";

impl Registry {
    /// Refuses a role or binding that grants more than its author holds.
    pub(crate) async fn check_escalation(
        &self,
        request: &Request<'_>,
        new: &dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<(), Status> {
        if request.served.resource().group != GROUP || request.authorized.user().in_group(MASTERS) {
            return Ok(());
        }
        if let Some(role) = meta::downcast_ref::<Role>(new) {
            if only_for_collection(role, old) || self.may_escalate(request).await {
                return Ok(());
            }
            return self.check_rules(request, &role.metadata.name, &role.rules);
        }
        if let Some(role) = meta::downcast_ref::<ClusterRole>(new) {
            if only_for_collection(role, old) || self.may_escalate(request).await {
                return Ok(());
            }
            self.check_rules(request, &role.metadata.name, &role.rules)?;
            return self.check_aggregation(request, role, old.and_then(meta::downcast_ref));
        }
        if let Some(binding) = meta::downcast_ref::<RoleBinding>(new) {
            if only_for_collection(binding, old) {
                return Ok(());
            }
            let namespace = request.target.namespace.as_str();
            return self.check_binding(request, &binding.role_ref, namespace, new).await;
        }
        match meta::downcast_ref::<ClusterRoleBinding>(new) {
            Some(binding) if !only_for_collection(binding, old) => {
                self.check_binding(request, &binding.role_ref, "", new).await
            }
            _ => Ok(()),
        }
    }

    async fn permits(&self, request: &Request<'_>, question: &Attributes) -> bool {
        let outcome = self.authorizer.decide(request.authorized.user(), question).await;
        matches!(outcome.decision, Decision::Allow(_))
    }

    /// The question names the object as the request does, which a create does not.
    async fn may_escalate(&self, request: &Request<'_>) -> bool {
        let target = request.target;
        let mut question =
            Attributes::resource("escalate", GROUP, &target.resource, &target.namespace, &target.name);
        question.version = "*".into();
        self.permits(request, &question).await
    }

    fn check_rules(&self, request: &Request<'_>, name: &str, rules: &[PolicyRule]) -> Result<(), Status> {
        let wanted: Vec<Rule> = rules.iter().map(Rule::from).collect();
        self.check_held(request, name, &request.target.namespace, &wanted)
    }

    /// What a role gathers from others can become anything, so it takes everything to say what it gathers.
    fn check_aggregation(
        &self,
        request: &Request<'_>,
        role: &ClusterRole,
        old: Option<&ClusterRole>,
    ) -> Result<(), Status> {
        let gathers = |role: &ClusterRole| {
            role.aggregation_rule.as_ref().is_some_and(|rule| !rule.cluster_role_selectors.is_empty())
        };
        if !gathers(role) && !old.is_some_and(gathers) {
            return Ok(());
        }
        let star = || vec!["*".into()];
        let everything = [
            Rule { verbs: star(), groups: star(), resources: star(), ..Rule::default() },
            Rule { verbs: star(), paths: star(), ..Rule::default() },
        ];
        let (held, _) = self.authorizer.policy.read().rules_for(request.authorized.user(), "");
        if escalation::uncovered(&held, &everything).is_empty() {
            return Ok(());
        }
        Err(forbidden(
            request,
            &role.metadata.name,
            "must have cluster-admin privileges to use the aggregationRule",
        ))
    }

    async fn check_binding(
        &self,
        request: &Request<'_>,
        reference: &RoleRef,
        namespace: &str,
        new: &dyn Object,
    ) -> Result<(), Status> {
        let resource = if reference.kind == "ClusterRole" { "clusterroles" } else { "roles" };
        let mut bind = Attributes::resource("bind", GROUP, resource, namespace, &reference.name);
        bind.version = "*".into();
        if self.permits(request, &bind).await {
            return Ok(());
        }
        match reference.kind.as_str() {
            "Role" if namespace.is_empty() => {
                return Err(errors::bad_request("Namespace parameter required."));
            }
            "Role" | "ClusterRole" if reference.name.is_empty() => {
                return Err(errors::bad_request("Name parameter required."));
            }
            "Role" | "ClusterRole" => {}
            other => {
                return Err(errors::bare(format!(
                    "unsupported role reference kind: {}",
                    meta::go_quote(other)
                )));
            }
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

/// Whether an update only changes what the garbage collector has to change until the object is gone.
fn only_for_collection<K: meta::Kind + Object + Clone + PartialEq>(
    new: &K,
    old: Option<&dyn Object>,
) -> bool {
    let Some(old) = old.and_then(meta::downcast_ref::<K>) else { return false };
    let mut same = new.clone();
    let (metadata, before) = (same.meta_mut(), old.meta());
    metadata.owner_references = before.owner_references.clone();
    metadata.finalizers = before.finalizers.clone();
    metadata.managed_fields = before.managed_fields.clone();
    same == *old
}

fn forbidden(request: &Request<'_>, name: &str, why: &str) -> Status {
    Status::forbidden(&GroupResource::new(GROUP, request.target.resource.clone()), name, why)
}
