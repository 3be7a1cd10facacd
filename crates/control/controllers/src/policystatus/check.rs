//! Type checking of a policy's expressions against each kind that its rules name.

use std::sync::Arc;

use cel::schema::Builtin;
use cel::{DeclType, Env, Type};
use rules::environments;
use scheme::Resource;
use types::admissionregistration::v1::{ExpressionWarning, ValidatingAdmissionPolicySpec};

/// Kinds that are looked at.
const KINDS_MAX: usize = 10;

/// The kinds that the rules name. Rules with wildcards name none in particular.
fn kinds(spec: &ValidatingAdmissionPolicySpec) -> Vec<&'static Resource> {
    let mut found: Vec<&'static Resource> = Vec::new();
    let Some(constraints) = &spec.match_constraints else { return found };
    for rule in &constraints.resource_rules {
        let names = [&rule.api_groups, &rule.api_versions, &rule.resources];
        if names.iter().any(|list| list.iter().any(|name| name.contains('*'))) {
            continue;
        }
        for resource in scheme::RESOURCES {
            let named = rule.api_groups.iter().any(|group| *group == *resource.group)
                && rule.api_versions.iter().any(|version| *version == *resource.version)
                && rule.resources.iter().any(|plural| *plural == *resource.plural);
            let known = found.iter().any(|known| std::ptr::eq(*known, resource));
            if named && !known && found.len() < KINDS_MAX {
                found.push(resource);
            }
        }
    }
    found
}

/// What is wrong, one entry for each expression, one paragraph for each kind.
pub(super) fn warnings(spec: &ValidatingAdmissionPolicySpec) -> Vec<ExpressionWarning> {
    let environments: Vec<(String, Env)> = kinds(spec)
        .into_iter()
        .filter_map(|resource| {
            let declared = DeclType::of(&Builtin::of(resource.object.info()?), false)?;
            let name = format!("{}/{}, Kind={}", resource.group, resource.version, resource.kind);
            Some((name, environment(spec, declared)))
        })
        .collect();
    let mut warnings = Vec::new();
    let mut check = |field: String, expression: &str| {
        if expression.trim().is_empty() {
            return;
        }
        let problems: Vec<String> = environments
            .iter()
            .filter_map(|(kind, env)| env.compile(expression).err().map(|error| format!("{kind}: {error}\n")))
            .collect();
        if !problems.is_empty() {
            let warning = problems.join("\n");
            warnings.push(ExpressionWarning { field_ref: field.into(), warning: warning.into() });
        }
    };
    for (i, validation) in spec.validations.iter().enumerate() {
        check(format!("spec.validations[{i}].expression"), &validation.expression);
        check(format!("spec.validations[{i}].messageExpression"), &validation.message_expression);
    }
    warnings
}

/// The policy's environment with the object's type known, and the variables' as far as they compile.
fn environment(spec: &ValidatingAdmissionPolicySpec, declared: Arc<DeclType>) -> Env {
    let base = environments::policy(spec.param_kind.is_some())
        .declared("object", "object", declared.clone())
        .declared("oldObject", "object", declared);
    let base = match params(spec) {
        Some(declared) => base.declared("params", "params", declared),
        None => base,
    };
    let mut known: Vec<(Arc<str>, Type)> = Vec::new();
    let mut env = environments::with_variables(&base, &known);
    for variable in &spec.variables {
        let ty = env.compile(&variable.expression).map_or(Type::Dyn, |program| program.result_type().clone());
        known.push((variable.name.as_str().into(), ty));
        env = environments::with_variables(&base, &known);
    }
    env
}

/// The type of the parameters, where their kind is known.
fn params(spec: &ValidatingAdmissionPolicySpec) -> Option<Arc<DeclType>> {
    let kind = spec.param_kind.as_ref()?;
    let (group, version) = kind.api_version.split_once('/').unwrap_or(("", &kind.api_version));
    let found = scheme::by_kind(group, version, &kind.kind)?;
    DeclType::of(&Builtin::of(found.object.info()?), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::admissionregistration::v1::{MatchResources, NamedRuleWithOperations, ParamKind, Validation};

    #[test]
    fn expressions_are_checked_against_the_kinds_of_the_rules() {
        let rule = |resource: &str| NamedRuleWithOperations {
            api_groups: ["apps".into()].into_iter().collect(),
            api_versions: ["v1".into()].into_iter().collect(),
            resources: [resource.into()].into_iter().collect(),
            ..NamedRuleWithOperations::default()
        };
        let spec = |resource: &str, expression: &str| ValidatingAdmissionPolicySpec {
            match_constraints: Some(Box::new(MatchResources {
                resource_rules: [rule(resource)].into_iter().collect(),
                ..MatchResources::default()
            })),
            validations: [Validation { expression: expression.into(), ..Validation::default() }]
                .into_iter()
                .collect(),
            ..ValidatingAdmissionPolicySpec::default()
        };
        let found = warnings(&spec("deployments", "object.replicas > 1"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].field_ref, "spec.validations[0].expression");
        assert_eq!(
            found[0].warning,
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n"
        );
        let with_params = |expression: &str| ValidatingAdmissionPolicySpec {
            param_kind: Some(Box::new(ParamKind { api_version: "v1".into(), kind: "ConfigMap".into() })),
            ..spec("deployments", expression)
        };
        assert_eq!(warnings(&with_params("params.data.x == '1'")), []);
        assert_eq!(
            warnings(&with_params("params.foo == '1'"))[0].warning,
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | params.foo == '1'\n | ......^\n"
        );
        for (resource, expression) in [
            ("deployments", "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'"),
            ("deployments", "object.spec.template.spec.containers.all(c, c.image.startsWith('x'))"),
            ("*", "object.replicas > 1"),
        ] {
            assert_eq!(warnings(&spec(resource, expression)), [], "{expression}");
        }
    }
}
