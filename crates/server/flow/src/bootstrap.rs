//! The FlowSchemas and PriorityLevelConfigurations of every cluster.
//!
//! Those called `exempt` and `catch-all` are mandatory: the server puts them right whatever happens to them. The
//! others are suggestions, kept up to date until somebody takes the annotation `apf.kubernetes.io/autoupdate-spec`
//! off them.

use meta::{List, Str};
use types::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, FlowDistinguisherMethod, FlowSchema, GroupSubject, LimitResponse,
    LimitedPriorityLevelConfiguration, NonResourcePolicyRule, PolicyRulesWithSubjects,
    PriorityLevelConfiguration, QueuingConfiguration, ResourcePolicyRule, ServiceAccountSubject, Subject,
    UserSubject,
};

/// Annotation by which an object says whether the server may change it.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Names of the mandatory objects of both kinds.
pub const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

fn list(texts: &[&str]) -> List<Str> {
    texts.iter().map(|text| Str::from(*text)).collect()
}

/// A limited level: shares, percent that it lends, queues and hand size.
fn limited(name: &str, shares: i32, lendable: i32, queues: i32, hand: i32) -> PriorityLevelConfiguration {
    let response = match queues {
        0 => LimitResponse { type_: "Reject".into(), ..Default::default() },
        queues => LimitResponse {
            type_: "Queue".into(),
            queuing: Some(Box::new(QueuingConfiguration { queues, hand_size: hand, queue_length_limit: 50 })),
        },
    };
    let mut level = PriorityLevelConfiguration::default();
    level.metadata.name = name.into();
    level.metadata.annotations.insert(AUTO_UPDATE, "true".into());
    level.spec.type_ = "Limited".into();
    level.spec.limited = Some(Box::new(LimitedPriorityLevelConfiguration {
        nominal_concurrency_shares: Some(shares),
        lendable_percent: Some(lendable),
        limit_response: response,
        ..Default::default()
    }));
    level
}

/// The levels.
pub fn levels() -> Vec<PriorityLevelConfiguration> {
    let mut exempt = limited("exempt", 0, 0, 0, 0);
    exempt.spec.type_ = "Exempt".into();
    exempt.spec.limited = None;
    exempt.spec.exempt = Some(Box::new(ExemptPriorityLevelConfiguration {
        nominal_concurrency_shares: Some(0),
        lendable_percent: Some(0),
    }));
    vec![
        exempt,
        limited("catch-all", 5, 0, 0, 0),
        limited("system", 30, 33, 64, 6),
        limited("node-high", 40, 25, 64, 6),
        limited("leader-election", 10, 0, 16, 4),
        limited("workload-high", 40, 50, 128, 6),
        limited("workload-low", 100, 90, 128, 6),
        limited("global-default", 20, 50, 128, 6),
    ]
}

fn group(name: &str) -> Subject {
    Subject {
        kind: "Group".into(),
        group: Some(Box::new(GroupSubject { name: name.into() })),
        ..Default::default()
    }
}

fn user(name: &str) -> Subject {
    Subject {
        kind: "User".into(),
        user: Some(Box::new(UserSubject { name: name.into() })),
        ..Default::default()
    }
}

fn system_accounts() -> Subject {
    let account = ServiceAccountSubject { namespace: "kube-system".into(), name: "*".into() };
    Subject { kind: "ServiceAccount".into(), service_account: Some(Box::new(account)), ..Default::default() }
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> ResourcePolicyRule {
    ResourcePolicyRule {
        verbs: list(verbs),
        api_groups: list(&[group]),
        resources: list(resources),
        cluster_scope,
        namespaces: list(&["*"]),
    }
}

fn paths(verbs: &[&str], urls: &[&str]) -> NonResourcePolicyRule {
    NonResourcePolicyRule { verbs: list(verbs), non_resource_urls: list(urls) }
}

/// A rule for everything that these subjects ask.
fn everything(subjects: Vec<Subject>) -> PolicyRulesWithSubjects {
    PolicyRulesWithSubjects {
        subjects: subjects.into_iter().collect(),
        resource_rules: [resources(&["*"], "*", &["*"], true)].into_iter().collect(),
        non_resource_rules: [paths(&["*"], &["*"])].into_iter().collect(),
    }
}

fn schema(name: &str, level: &str, precedence: i32, by: &str, rule: PolicyRulesWithSubjects) -> FlowSchema {
    let mut schema = FlowSchema::default();
    schema.metadata.name = name.into();
    schema.metadata.annotations.insert(AUTO_UPDATE, "true".into());
    schema.spec.priority_level_configuration.name = level.into();
    schema.spec.matching_precedence = precedence;
    schema.spec.distinguisher_method =
        (!by.is_empty()).then(|| Box::new(FlowDistinguisherMethod { type_: by.into() }));
    schema.spec.rules = [rule].into_iter().collect();
    schema
}

/// The schemas.
pub fn schemas() -> Vec<FlowSchema> {
    let everybody = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let probes = PolicyRulesWithSubjects {
        subjects: everybody().into_iter().collect(),
        non_resource_rules: [paths(&["get"], &["/healthz", "/readyz", "/livez"])].into_iter().collect(),
        ..Default::default()
    };
    let leases = resources(&["*"], "coordination.k8s.io", &["leases"], false);
    let nodes = PolicyRulesWithSubjects {
        subjects: [group("system:nodes")].into_iter().collect(),
        resource_rules: [resources(&["*"], "", &["nodes", "nodes/status"], true), leases]
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let election = PolicyRulesWithSubjects {
        subjects: [user(manager), user(scheduler), system_accounts()].into_iter().collect(),
        resource_rules: [resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)]
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let accounts = everything(vec![group("system:serviceaccounts")]);
    vec![
        schema("exempt", "exempt", 1, "", everything(vec![group("system:masters")])),
        schema("catch-all", "catch-all", 10000, "ByUser", everything(everybody())),
        schema("probes", "exempt", 2, "", probes),
        schema("system-leader-election", "leader-election", 100, "ByUser", election),
        schema("system-node-high", "node-high", 400, "ByUser", nodes),
        schema("system-nodes", "system", 500, "ByUser", everything(vec![group("system:nodes")])),
        schema(manager_name(manager), "workload-high", 800, "ByNamespace", everything(vec![user(manager)])),
        schema(
            manager_name(scheduler),
            "workload-high",
            800,
            "ByNamespace",
            everything(vec![user(scheduler)]),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            "ByNamespace",
            everything(vec![system_accounts()]),
        ),
        schema("service-accounts", "workload-low", 9000, "ByUser", accounts),
        schema("global-default", "global-default", 9900, "ByUser", everything(everybody())),
    ]
}

/// A component's name without the prefix of its user.
fn manager_name(user: &str) -> &str {
    user.strip_prefix("system:").unwrap_or(user)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use authn::User;

    use super::*;
    use crate::matching::{Digest, matches};

    fn first(user: &User, verb: &str, path: Option<&str>, resource: &str, namespace: &str) -> String {
        let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
        let digest = Digest { user, verb, path, group, resource, namespace };
        let mut found = schemas();
        found.sort_by_key(|schema| schema.spec.matching_precedence);
        let found = found.into_iter().find(|schema| matches(schema, &digest));
        found.map(|schema| schema.metadata.name.to_string()).unwrap_or_default()
    }

    #[test]
    fn requests_are_sorted_as_upstream_sorts_them() {
        let authenticated = "system:authenticated";
        let node = User::new("system:node:n", &["system:nodes", authenticated]);
        let admin = User::new("admin", &["system:masters", authenticated]);
        let account = User::new("system:serviceaccount:d:a", &["system:serviceaccounts", authenticated]);
        let system =
            User::new("system:serviceaccount:kube-system:a", &["system:serviceaccounts", authenticated]);
        let person = User::new("eve", &[authenticated]);
        for (user, verb, path, resource, namespace, want) in [
            (&admin, "get", None, "pods", "d", "exempt"),
            (&person, "get", Some("/readyz"), "", "", "probes"),
            (&person, "get", Some("/version"), "", "", "global-default"),
            (&node, "update", None, "nodes/status", "", "system-node-high"),
            (&node, "update", None, "leases", "kube-node-lease", "system-node-high"),
            (&node, "get", None, "pods", "d", "system-nodes"),
            (&system, "update", None, "leases", "kube-system", "system-leader-election"),
            (&system, "list", None, "pods", "", "kube-system-service-accounts"),
            (&account, "list", None, "pods", "d", "service-accounts"),
            (&person, "list", None, "pods", "d", "global-default"),
        ] {
            assert_eq!(first(user, verb, path, resource, namespace), want, "{} {verb} {resource}", user.name);
        }
    }

    #[test]
    fn the_objects_equal_the_recorded_ones() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/golden/bootstrap");
        if !folder.is_dir() {
            println!("skipped: no recorded objects beside the checkout");
            return;
        }
        fn recorded<K: meta::Kind>(file: &Path) -> std::collections::BTreeMap<Str, K> {
            let mut list: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            let items = list["items"].as_array_mut().unwrap();
            items
                .iter_mut()
                .map(|item| {
                    // Times, uids and versions are symbols there.
                    let name = Str::from(item["metadata"]["name"].as_str().unwrap());
                    let spec = serde_json::json!({ "spec": item["spec"] });
                    (name, meta::from_value::<K>(spec).unwrap())
                })
                .collect()
        }
        let want = recorded::<FlowSchema>(&folder.join("flowschemas.json"));
        for schema in schemas() {
            assert_eq!(schema.spec, want[&schema.metadata.name].spec, "{}", schema.metadata.name);
        }
        let want = recorded::<PriorityLevelConfiguration>(&folder.join("prioritylevelconfigurations.json"));
        assert_eq!(want.len(), levels().len());
        for level in levels() {
            assert_eq!(level.spec, want[&level.metadata.name].spec, "{}", level.metadata.name);
        }
    }
}
