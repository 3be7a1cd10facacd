//! Type checking of a policy's expressions against each kind that its rules name.

use std::sync::Arc;

use cel::schema::{Builtin, DeclField, DeclKind};
use cel::{DeclType, Env, Type};
use meta::v1::ObjectMeta;
use rules::environments;
use schema::structural::Schema;
use scheme::Resource;
use types::admissionregistration::v1::{ExpressionWarning, ValidatingAdmissionPolicySpec};
use types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionVersion};

/// Kinds that are looked at.
const KINDS_MAX: usize = 10;

/// A kind that a rule names, and what CEL may select from its objects.
struct Known {
    group: String,
    version: String,
    kind: String,
    declared: Arc<DeclType>,
}

impl Known {
    fn built_in(resource: &Resource) -> Option<Known> {
        let declared = DeclType::of(&Builtin::of(resource.object.info()?), false)?;
        let (group, version) = (resource.group.to_string(), resource.version.to_string());
        Some(Known { group, version, kind: resource.kind.to_string(), declared })
    }

    fn custom(
        definition: &CustomResourceDefinition,
        version: &CustomResourceDefinitionVersion,
    ) -> Option<Known> {
        let spec = &definition.spec;
        let (group, name) = (spec.group.to_string(), version.name.to_string());
        Some(Known { group, version: name, kind: spec.names.kind.to_string(), declared: declared(version)? })
    }

    fn order(&self) -> (&str, &str, &str) {
        (&self.group, &self.version, &self.kind)
    }
}

/// What CEL may select from custom objects: what their schema says, and the metadata that all objects have.
fn declared(version: &CustomResourceDefinitionVersion) -> Option<Arc<DeclType>> {
    let props = version.schema.as_ref()?.open_apiv3_schema.as_ref()?;
    let root = DeclType::of(&Schema::read(props).ok()?, false)?;
    let DeclKind::Object(fields) = &root.kind else { return None };
    let mut fields = fields.clone();
    let text = DeclType::simple(DeclKind::String);
    let metadata = environments::builtin_type::<ObjectMeta>()?;
    for (name, ty) in [("apiVersion", text.clone()), ("kind", text), ("metadata", metadata)] {
        fields.insert(name.into(), DeclField { json: name.into(), ty, required: false });
    }
    Some(DeclType::simple(DeclKind::Object(fields)))
}

/// The kinds that the rules name, in order. Rules with wildcards name none in particular.
fn kinds(spec: &ValidatingAdmissionPolicySpec, definitions: &[Arc<CustomResourceDefinition>]) -> Vec<Known> {
    let mut found: Vec<Known> = Vec::new();
    let Some(constraints) = &spec.match_constraints else { return found };
    for rule in &constraints.resource_rules {
        let names = [&rule.api_groups, &rule.api_versions, &rule.resources];
        if names.iter().any(|list| list.iter().any(|name| name.contains('*'))) {
            continue;
        }
        let named = |group: &str, version: &str, plural: &str| {
            rule.api_groups.iter().any(|named| *named == group)
                && rule.api_versions.iter().any(|named| *named == version)
                && rule.resources.iter().any(|named| *named == plural)
        };
        let built_in = scheme::RESOURCES
            .iter()
            .filter(|resource| named(&resource.group, &resource.version, &resource.plural))
            .filter_map(Known::built_in);
        let custom = definitions.iter().flat_map(|definition| {
            let spec = &definition.spec;
            let served = spec.versions.iter().filter(|version| version.served);
            served
                .filter(|version| named(&spec.group, &version.name, &spec.names.plural))
                .filter_map(|version| Known::custom(definition, version))
        });
        for known in built_in.chain(custom) {
            if found.len() < KINDS_MAX && found.iter().all(|other| other.order() != known.order()) {
                found.push(known);
            }
        }
    }
    found.sort_by(|a, b| a.order().cmp(&b.order()));
    found
}

/// What is wrong, one entry for each expression, one paragraph for each kind.
pub(super) fn warnings(
    spec: &ValidatingAdmissionPolicySpec,
    definitions: &[Arc<CustomResourceDefinition>],
) -> Vec<ExpressionWarning> {
    let params = params(spec, definitions);
    let environments: Vec<(String, Env)> = kinds(spec, definitions)
        .into_iter()
        .map(|known| {
            let name = format!("{}/{}, Kind={}", known.group, known.version, known.kind);
            (name, environment(spec, known.declared, params.clone()))
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
fn environment(
    spec: &ValidatingAdmissionPolicySpec,
    declared: Arc<DeclType>,
    params: Option<Arc<DeclType>>,
) -> Env {
    let base = environments::policy(spec.param_kind.is_some())
        .declared("object", "object", declared.clone())
        .declared("oldObject", "object", declared);
    let base = match params {
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
fn params(
    spec: &ValidatingAdmissionPolicySpec,
    definitions: &[Arc<CustomResourceDefinition>],
) -> Option<Arc<DeclType>> {
    let kind = spec.param_kind.as_ref()?;
    let (group, version) = kind.api_version.split_once('/').unwrap_or(("", &kind.api_version));
    if let Some(found) = scheme::by_kind(group, version, &kind.kind) {
        return DeclType::of(&Builtin::of(found.object.info()?), false);
    }
    let of = |definition: &&Arc<CustomResourceDefinition>| {
        definition.spec.group == group && definition.spec.names.kind == kind.kind
    };
    let definition = definitions.iter().find(of)?;
    declared(definition.spec.versions.iter().find(|served| served.served && served.name == version)?)
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
        let found = warnings(&spec("deployments", "object.replicas > 1"), &[]);
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
        assert_eq!(warnings(&with_params("params.data.x == '1'"), &[]), []);
        assert_eq!(
            warnings(&with_params("params.foo == '1'"), &[])[0].warning,
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | params.foo == '1'\n | ......^\n"
        );
        for (resource, expression) in [
            ("deployments", "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'"),
            ("deployments", "object.spec.template.spec.containers.all(c, c.image.startsWith('x'))"),
            ("*", "object.replicas > 1"),
        ] {
            assert_eq!(warnings(&spec(resource, expression), &[]), [], "{expression}");
        }
    }
    #[test]
    fn custom_kinds_are_checked_by_their_schemas() {
        let definition: CustomResourceDefinition = meta::from_value(serde_json::json!({
            "metadata": { "name": "crontabs.stable.example.com" },
            "spec": { "group": "stable.example.com", "scope": "Namespaced",
                "names": { "plural": "crontabs", "singular": "crontab", "kind": "CronTab" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": { "spec": { "type": "object", "properties": {
                        "replicas": { "type": "integer" }, "free": { "x-kubernetes-int-or-string": true } } } } } } }] }
        }))
        .expect("a definition");
        let definitions = [Arc::new(definition)];
        let found = |expression: &str| {
            let spec: ValidatingAdmissionPolicySpec = meta::from_value(serde_json::json!({
                "paramKind": { "apiVersion": "stable.example.com/v1", "kind": "CronTab" },
                "matchConstraints": { "resourceRules": [{ "apiGroups": ["stable.example.com"], "apiVersions": ["v1"],
                    "operations": ["CREATE"], "resources": ["crontabs"] }] },
                "validations": [{ "expression": expression }]
            }))
            .expect("a policy");
            warnings(&spec, &definitions).first().map(|found| found.warning.to_string()).unwrap_or_default()
        };
        for (expression, problem) in [
            (
                "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b' && object.kind == 'CronTab'",
                "",
            ),
            ("object.spec.free == 'any'", ""),
            (
                "object.spec.replicas > '1'",
                "1:22: found no matching overload for '_>_' applied to '(int, string)'",
            ),
            ("object.spec.maxRetries == 1", "1:12: undefined field 'maxRetries'"),
            ("params.status == 1", "1:7: undefined field 'status'"),
        ] {
            let warning = found(expression);
            assert_eq!(warning.is_empty(), problem.is_empty(), "{expression}: {warning}");
            assert!(warning.contains(problem), "{expression}: {warning}");
            assert!(
                warning.is_empty()
                    || warning.starts_with("stable.example.com/v1, Kind=CronTab: ERROR: <input>:")
            );
        }
    }
}
