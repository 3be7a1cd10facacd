//! Policies and bindings, compiled. What does not compile is kept as the reason, which requests then meet.

use std::sync::Arc;

use cel::{Env, Program, Type};
use meta::Str;
use rules::environments;
use types::admissionregistration::v1::{
    MatchCondition, MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ParamKind,
    ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, Variable,
};

use super::conditions::Conditions;
use super::matching::Matcher;
use super::variables::Named;

/// A program, or why there is none.
type Compiled = Result<Program, String>;

/// A policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub name: Str,
    pub matcher: Matcher,
    pub params: Option<ParamKind>,
    /// Failures refuse the request.
    pub fails: bool,
    pub conditions: Conditions,
    pub variables: Named,
    pub action: Action,
}

/// What a policy does.
#[derive(Debug)]
pub(crate) enum Action {
    Validate { validations: Vec<Validation>, audit: Vec<(Str, Compiled)> },
    Mutate { mutations: Vec<Mutation>, again: bool },
}

/// One thing that must hold.
#[derive(Debug)]
pub(crate) struct Validation {
    pub expression: Str,
    pub program: Compiled,
    pub message: Str,
    pub message_program: Option<Compiled>,
    pub reason: Str,
}

/// One change.
#[derive(Debug)]
pub(crate) enum Mutation {
    Apply(Compiled),
    Patch(Compiled),
}

fn compile(env: &Env, expression: &str, wanted: &[Type]) -> Compiled {
    environments::compile(env, expression, wanted).map_err(|refused| refused.to_string())
}

/// The environment of a policy's expressions with its variables, and these compiled.
fn named(base: &Env, variables: &[Variable]) -> (Env, Named) {
    let mut known: Vec<(Arc<str>, Type)> = Vec::new();
    let mut programs: Named = Vec::new();
    let mut env = environments::with_variables(base, &known);
    for variable in variables {
        let program = compile(&env, &variable.expression, &[]);
        let ty = program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        known.push((variable.name.as_str().into(), ty));
        programs.push((variable.name.as_str().into(), program));
        env = environments::with_variables(base, &known);
    }
    (env, programs)
}

/// The parts that both sorts of policies have.
struct Common<'p> {
    name: &'p Str,
    constraints: Option<&'p MatchResources>,
    params: Option<&'p ParamKind>,
    failure_policy: Option<&'p Str>,
    conditions: &'p [MatchCondition],
    variables: &'p [Variable],
}

impl Policy {
    pub(crate) fn validating(policy: &ValidatingAdmissionPolicy) -> Self {
        let spec = &policy.spec;
        let common = Common {
            name: &policy.metadata.name,
            constraints: spec.match_constraints.as_deref(),
            params: spec.param_kind.as_deref(),
            failure_policy: spec.failure_policy.as_ref(),
            conditions: &spec.match_conditions,
            variables: &spec.variables,
        };
        Self::new(&common, |env| {
            let validations = spec.validations.iter().map(|validation| Validation {
                expression: validation.expression.clone(),
                program: compile(env, &validation.expression, &[Type::Bool]),
                message: validation.message.clone(),
                message_program: (!validation.message_expression.is_empty())
                    .then(|| compile(env, &validation.message_expression, &[Type::String])),
                reason: validation.reason.clone().unwrap_or_else(|| "Invalid".into()),
            });
            let audit = spec.audit_annotations.iter().map(|annotation| {
                let program = compile(env, &annotation.value_expression, &[Type::String, Type::Null]);
                (annotation.key.clone(), program)
            });
            Action::Validate { validations: validations.collect(), audit: audit.collect() }
        })
    }

    pub(crate) fn mutating(policy: &MutatingAdmissionPolicy) -> Self {
        let spec = &policy.spec;
        let common = Common {
            name: &policy.metadata.name,
            constraints: spec.match_constraints.as_deref(),
            params: spec.param_kind.as_deref(),
            failure_policy: spec.failure_policy.as_ref(),
            conditions: &spec.match_conditions,
            variables: &spec.variables,
        };
        Self::new(&common, |env| {
            let env = env.clone().with_mutations();
            let mutations = spec.mutations.iter().filter_map(|mutation| {
                if let Some(apply) = &mutation.apply_configuration {
                    let program = compile(&env, &apply.expression, &[Type::Object("Object".into())]);
                    return Some(Mutation::Apply(program));
                }
                let patch = mutation.json_patch.as_ref()?;
                let wanted = [Type::list(Type::Object("JSONPatch".into()))];
                Some(Mutation::Patch(compile(&env, &patch.expression, &wanted)))
            });
            Action::Mutate { mutations: mutations.collect(), again: spec.reinvocation_policy == "IfNeeded" }
        })
    }

    fn new(common: &Common<'_>, action: impl FnOnce(&Env) -> Action) -> Self {
        let base = environments::policy(common.params.is_some());
        let (env, variables) = named(&base, common.variables);
        let nothing = MatchResources::default();
        Self {
            name: common.name.clone(),
            matcher: Matcher::of_resources(common.constraints.unwrap_or(&nothing), false),
            params: common.params.cloned(),
            fails: common.failure_policy.is_none_or(|policy| policy != "Ignore"),
            conditions: Conditions::new(&env, common.conditions),
            variables,
            action: action(&env),
        }
    }
}

/// A binding.
#[derive(Debug)]
pub(crate) struct Binding {
    pub name: Str,
    pub policy: Str,
    pub matcher: Option<Matcher>,
    pub params: Option<ParamRef>,
    /// `Deny`, `Warn`, `Audit`; none for policies that mutate.
    pub actions: Vec<Str>,
}

impl Binding {
    pub(crate) fn validating(binding: &ValidatingAdmissionPolicyBinding) -> Self {
        let spec = &binding.spec;
        Self {
            name: binding.metadata.name.clone(),
            policy: spec.policy_name.clone(),
            matcher: spec.match_resources.as_deref().map(|resources| Matcher::of_resources(resources, true)),
            params: spec.param_ref.as_deref().cloned(),
            actions: spec.validation_actions.iter().cloned().collect(),
        }
    }

    pub(crate) fn mutating(binding: &MutatingAdmissionPolicyBinding) -> Self {
        let spec = &binding.spec;
        Self {
            name: binding.metadata.name.clone(),
            policy: spec.policy_name.clone(),
            matcher: spec.match_resources.as_deref().map(|resources| Matcher::of_resources(resources, true)),
            params: spec.param_ref.as_deref().cloned(),
            actions: Vec::new(),
        }
    }
}
