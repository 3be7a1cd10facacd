//! Policies in CEL and their bindings.

use super::rules::{self, View};
use super::{expression, match_conditions};
use crate::check::{Errs, c_identifier, conditions, labels, metadata, qualified_name};
use crate::fill::{set, text_opt};
use crate::rule::{spec_and_status, spec_only};
use crate::{Context, Path, Rules, environments};
use cel::{Env, Type};
use meta::{BadValue, List, Str};
use std::collections::BTreeSet;
use std::sync::Arc;
use types::admissionregistration::v1::{
    MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, NamedRuleWithOperations,
    ParamKind, ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, Validation, Variable,
};

const AUDIT_MAX: usize = 20;
/// Longest expression of an audit annotation, in bytes.
const AUDIT_EXPRESSION_BYTES_MAX: usize = 5 * 1024;

fn default_match(resources: &mut MatchResources) {
    text_opt(&mut resources.match_policy, "Equivalent");
    set(&mut resources.namespace_selector, Default::default());
    set(&mut resources.object_selector, Default::default());
    for rule in resources.resource_rules.iter_mut().chain(resources.exclude_resource_rules.iter_mut()) {
        text_opt(&mut rule.scope, "*");
    }
}

impl Rules for ValidatingAdmissionPolicy {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    spec_and_status!(generation);

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        metadata::keep_described(&mut self.metadata, &old.metadata);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("status");
        let checking = at.child("typeChecking");
        let list = checking.child("expressionWarnings");
        for (i, warning) in self.status.type_checking.iter().flat_map(|c| &c.expression_warnings).enumerate()
        {
            let at = list.index(i);
            e.present(&at.child("warning"), &warning.warning);
            e.present(&at.child("fieldRef"), warning.field_ref.trim());
        }
        conditions::conditions(e, &at.child("conditions"), &self.status.conditions);
    }

    fn default(&mut self) {
        text_opt(&mut self.spec.failure_policy, "Fail");
        if let Some(resources) = &mut self.spec.match_constraints {
            default_match(resources);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        failure_policy(e, &at.child("failurePolicy"), spec.failure_policy.as_ref());
        if let Some(kind) = &spec.param_kind {
            param_kind(e, &at.child("paramKind"), kind);
        }
        constraints(e, &at.child("matchConstraints"), spec.match_constraints.as_deref());
        let base = environments::policy(spec.param_kind.is_some());
        let env = variables(e, &at.child("variables"), &base, &spec.variables);
        const ONE: &str = "validations or auditAnnotations must contain at least one item";
        if spec.validations.is_empty() && spec.audit_annotations.is_empty() {
            e.required(&at.child("validations"), ONE);
            e.required(&at.child("auditAnnotations"), ONE);
        }
        let list = at.child("validations");
        for (i, v) in spec.validations.iter().enumerate() {
            validation(e, &list.index(i), &env, v);
        }
        let list = at.child("auditAnnotations");
        if spec.audit_annotations.len() > AUDIT_MAX {
            e.invalid(
                &list,
                crate::diff::shown_list(&spec.audit_annotations),
                format!("must not have more than {AUDIT_MAX} auditAnnotations"),
            );
        }
        let mut keys = BTreeSet::new();
        for (i, a) in spec.audit_annotations.iter().enumerate() {
            let at = list.index(i);
            // What is recorded is named after the policy.
            let name = self.metadata.name.as_str();
            if name.is_empty() {
                e.invalid(&at.child("key"), &a.key, "requires metadata.name be non-empty");
            } else {
                let key = Str::from(format!("{name}/{}", a.key));
                e.each(&at.child("key"), &key, qualified_name(&key));
            }
            let value = at.child("valueExpression");
            let text = a.value_expression.trim();
            if text.is_empty() {
                e.required(&value, "valueExpression is not specified");
            } else if text.len() > AUDIT_EXPRESSION_BYTES_MAX {
                e.required(&value, format!("must not exceed {AUDIT_EXPRESSION_BYTES_MAX} bytes in length"));
            } else {
                expression(e, &value, &env, &a.value_expression, &[Type::String, Type::Null]);
            }
            if !keys.insert(&a.key) {
                e.duplicate(&at.child("key"), &a.key);
            }
        }
        match_conditions(e, &at.child("matchConditions"), &base, &spec.match_conditions);
    }
}

impl Rules for MutatingAdmissionPolicy {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    spec_only!();

    fn default(&mut self) {
        text_opt(&mut self.spec.failure_policy, "Fail");
        if let Some(resources) = &mut self.spec.match_constraints {
            default_match(resources);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        failure_policy(e, &at.child("failurePolicy"), spec.failure_policy.as_ref());
        if let Some(kind) = &spec.param_kind {
            param_kind(e, &at.child("paramKind"), kind);
        }
        constraints(e, &at.child("matchConstraints"), spec.match_constraints.as_deref());
        if let Some(resources) = &spec.match_constraints {
            mutated_operations(e, &at.child("matchConstraints"), resources);
        }
        let base = environments::policy(spec.param_kind.is_some());
        let env = variables(e, &at.child("variables"), &base, &spec.variables).with_mutations();
        let list = at.child("mutations");
        if spec.mutations.is_empty() {
            e.required(&list, "mutations must contain at least one item");
        }
        for (i, m) in spec.mutations.iter().enumerate() {
            let at = list.index(i);
            let (apply, json) = (at.child("applyConfiguration"), at.child("jsonPatch"));
            match m.patch_type.as_str() {
                "" => e.required(&at.child("patchType"), ""),
                "ApplyConfiguration" => {
                    match &m.apply_configuration {
                        None => e.required(&apply, "must be specified when patchType is ApplyConfiguration"),
                        Some(c) if c.expression.trim().is_empty() => {
                            e.required(&apply.child("expression"), "")
                        }
                        Some(c) => {
                            let wanted = [Type::Object("Object".into())];
                            expression(e, &apply.child("expression"), &env, &c.expression, &wanted);
                        }
                    }
                    if m.json_patch.is_some() {
                        let why = "must not be specified when patchType is ApplyConfiguration";
                        e.invalid(&json, "{jsonPatch}", why);
                    }
                }
                "JSONPatch" => {
                    match &m.json_patch {
                        None => e.required(&json, "must be specified when patchType is JSONPatch"),
                        Some(p) if p.expression.trim().is_empty() => {
                            e.required(&json.child("expression"), "")
                        }
                        Some(p) => {
                            let wanted = [Type::list(Type::Object("JSONPatch".into()))];
                            expression(e, &json.child("expression"), &env, &p.expression, &wanted);
                        }
                    }
                    if m.apply_configuration.is_some() {
                        let why = "must not be specified when patchType is JSONPatch";
                        e.invalid(&apply, "{applyConfiguration}", why);
                    }
                }
                other => e.unsupported(&at.child("patchType"), other, &["ApplyConfiguration", "JSONPatch"]),
            }
        }
        e.required_one_of(&at.child("reinvocationPolicy"), &spec.reinvocation_policy, &["IfNeeded", "Never"]);
        match_conditions(e, &at.child("matchConditions"), &base, &spec.match_conditions);
    }
}

impl Rules for ValidatingAdmissionPolicyBinding {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    spec_only!();

    fn default(&mut self) {
        if let Some(resources) = &mut self.spec.match_resources {
            default_match(resources);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        binding(e, &at, &spec.policy_name, spec.param_ref.as_deref(), spec.match_resources.as_deref());
        let list = at.child("validationActions");
        if spec.validation_actions.is_empty() {
            e.required(&list, "at least one validation action is required");
        }
        for (i, action) in spec.validation_actions.iter().enumerate() {
            e.one_of(&list.index(i), action, &["Audit", "Deny", "Warn"]);
            if spec.validation_actions[..i].contains(action) {
                e.duplicate(&list.index(i), action);
            }
        }
        let has = |name: &str| spec.validation_actions.iter().any(|a| a == name);
        if has("Deny") && has("Warn") {
            e.invalid(
                &list,
                BadValue::Plain(r#"["Deny","Warn"]"#.into()),
                "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
            );
        }
    }
}

impl Rules for MutatingAdmissionPolicyBinding {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    spec_only!();

    fn default(&mut self) {
        if let Some(resources) = &mut self.spec.match_resources {
            default_match(resources);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = &self.spec;
        let at = Path::root("spec");
        binding(e, &at, &spec.policy_name, spec.param_ref.as_deref(), spec.match_resources.as_deref());
        if let Some(resources) = &spec.match_resources {
            mutated_operations(e, &at.child("matchResources"), resources);
        }
    }
}

/// Only what creates, updates or connects can be changed.
fn mutated_operations(e: &mut Errs, at: &Path<'_>, resources: &MatchResources) {
    let rules = at.child("resourceRules");
    for operation in resources.resource_rules.iter().flat_map(|rule| &rule.operations) {
        e.one_of(&rules.child("operations"), operation, &["*", "CONNECT", "CREATE", "UPDATE"]);
    }
}

fn failure_policy(e: &mut Errs, at: &Path<'_>, policy: Option<&Str>) {
    match policy {
        None => e.required(at, ""),
        Some(policy) => e.one_of(at, policy, &["Fail", "Ignore"]),
    }
}

fn param_kind(e: &mut Errs, at: &Path<'_>, kind: &ParamKind) {
    if e.present(&at.child("apiVersion"), &kind.api_version) && kind.api_version.matches('/').count() > 1 {
        e.invalid(
            &at.child("apiVersion"),
            &kind.api_version,
            format!("unexpected GroupVersion string: {}", kind.api_version),
        );
    }
    if e.present(&at.child("kind"), &kind.kind) {
        let lower = kind.kind.to_ascii_lowercase();
        for message in crate::check::dns_1035_label(&lower) {
            e.invalid(
                &at.child("kind"),
                &kind.kind,
                format!("may have mixed case, but should otherwise match: {message}"),
            );
        }
    }
}

fn constraints(e: &mut Errs, at: &Path<'_>, resources: Option<&MatchResources>) {
    let Some(resources) = resources else { return e.required(at, "") };
    match_resources(e, at, resources);
    if resources.resource_rules.is_empty() {
        e.required(&at.child("resourceRules"), "");
    }
}

fn match_resources(e: &mut Errs, at: &Path<'_>, resources: &MatchResources) {
    if let Some(policy) = &resources.match_policy {
        e.one_of(&at.child("matchPolicy"), policy, &["Equivalent", "Exact"]);
    }
    match &resources.namespace_selector {
        None => e.required(&at.child("namespaceSelector"), ""),
        Some(selector) => labels::selector(e, &at.child("namespaceSelector"), selector),
    }
    match &resources.object_selector {
        None => e.required(&at.child("objectSelector"), ""),
        Some(selector) => labels::selector(e, &at.child("objectSelector"), selector),
    }
    for (field, list) in [
        ("resourceRules", &resources.resource_rules),
        ("excludeResourceRules", &resources.exclude_resource_rules),
    ] {
        let list_at = at.child(field);
        for (i, rule) in list.iter().enumerate() {
            named_rule(e, &list_at.index(i), rule);
        }
    }
}

fn named_rule(e: &mut Errs, at: &Path<'_>, rule: &NamedRuleWithOperations) {
    let view = View {
        operations: &rule.operations,
        api_groups: &rule.api_groups,
        api_versions: &rule.api_versions,
        resources: &rule.resources,
        scope: rule.scope.as_ref(),
    };
    rules::check(e, at, &view, true);
    let names = at.child("resourceNames");
    for (i, name) in rule.resource_names.iter().enumerate() {
        e.each(&names.index(i), name, crate::check::path_segment(name, false));
        if rule.resource_names[..i].contains(name) {
            e.duplicate(&names.index(i), name);
        }
    }
}

/// Checks the variables one after the other, and gives the environment in which all of them are known.
fn variables(e: &mut Errs, at: &Path<'_>, base: &Env, variables: &List<Variable>) -> Env {
    // A policy that names none has no `variables`.
    if variables.is_empty() {
        return base.clone();
    }
    let mut known: Vec<(Arc<str>, Type)> = Vec::new();
    let mut env = environments::with_variables(base, &known);
    for (i, v) in variables.iter().enumerate() {
        let at = at.index(i);
        if v.name.trim().is_empty() {
            e.required(&at.child("name"), "name is not specified");
        } else if !c_identifier(&v.name).is_empty() || cel::schema::is_reserved(&v.name) {
            e.invalid(&at.child("name"), &v.name, "must be a valid CEL identifier");
        }
        if v.expression.trim().is_empty() {
            e.required(&at.child("expression"), "expression is not specified");
        } else if let Some(program) = expression(e, &at.child("expression"), &env, &v.expression, &[]) {
            known.push((v.name.as_str().into(), program.result_type().clone()));
            env = environments::with_variables(base, &known);
        }
    }
    env
}

fn validation(e: &mut Errs, at: &Path<'_>, env: &Env, v: &Validation) {
    let message = v.message.trim();
    if v.expression.trim().is_empty() {
        e.required(&at.child("expression"), "expression is not specified");
    } else {
        expression(e, &at.child("expression"), env, &v.expression, &[Type::Bool]);
    }
    if v.message_expression.trim().is_empty() {
        if !v.message_expression.is_empty() {
            let why = "must be non-empty if specified";
            e.invalid(&at.child("messageExpression"), &v.message_expression, why);
        }
    } else {
        expression(e, &at.child("messageExpression"), env, &v.message_expression, &[Type::String]);
    }
    let message_at = at.child("message");
    if !v.message.is_empty() && message.is_empty() {
        e.invalid(&message_at, &v.message, "must be non-empty if specified");
    } else if message.contains(['\n', '\r']) {
        e.invalid(&message_at, &v.message, "must not contain line breaks");
    }
    if let Some(reason) = &v.reason {
        e.one_of(&at.child("reason"), reason, &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
    }
}

fn binding(
    e: &mut Errs,
    at: &Path<'_>,
    policy: &Str,
    param: Option<&ParamRef>,
    resources: Option<&MatchResources>,
) {
    if e.present(&at.child("policyName"), policy) {
        e.each(&at.child("policyName"), policy, crate::check::name_subdomain(policy, false));
    }
    if let Some(p) = param {
        let at = at.child("paramRef");
        const BOTH: &str = "name and selector are mutually exclusive";
        const ONE: &str = "one of name or selector must be specified";
        match (p.name.is_empty(), &p.selector) {
            (false, Some(_)) => {
                e.forbidden(&at.child("name"), BOTH);
                e.forbidden(&at.child("selector"), BOTH);
            }
            (false, None) => e.each(&at.child("name"), &p.name, crate::check::path_segment(&p.name, false)),
            (true, Some(selector)) => labels::selector(e, &at.child("selector"), selector),
            (true, None) => e.required(&at, ONE),
        }
        match &p.parameter_not_found_action {
            Some(action) if !action.is_empty() => {
                if !matches!(action.as_str(), "Deny" | "Allow") {
                    e.unsupported(&at.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
                }
            }
            _ => e.required(&at.child("parameterNotFoundAction"), ""),
        }
    }
    if let Some(resources) = resources {
        match_resources(e, &at.child("matchResources"), resources);
    }
}
