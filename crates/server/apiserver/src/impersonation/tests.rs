//! Who may act as whom, mode by mode, and how refusals read.

use std::sync::Arc;

use authz::rbac::Change;
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};

use super::*;

/// An authorizer that allows a user these rules: verbs, groups, resources.
fn authorizer(user: &str, rules: &[(&str, &str, &str)]) -> Authorizer {
    let list = |text: &str| text.split(',').map(Str::from).collect();
    let authorizer = Authorizer::node_rbac();
    let mut role = ClusterRole::default();
    role.metadata.name = "r".into();
    role.rules = rules
        .iter()
        .map(|(verbs, groups, resources)| PolicyRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            ..PolicyRule::default()
        })
        .collect();
    let mut binding = ClusterRoleBinding::default();
    binding.metadata.name = "b".into();
    binding.role_ref = RoleRef { kind: "ClusterRole".into(), name: "r".into(), ..RoleRef::default() };
    binding.subjects =
        [Subject { kind: "User".into(), name: user.into(), ..Subject::default() }].into_iter().collect();
    authorizer.policy.write().apply(Change::ClusterRole(&role));
    authorizer.policy.write().apply(Change::ClusterRoleBinding(&binding));
    authorizer
}

fn wanted(headers: &[(&str, &str)]) -> Impersonation {
    Impersonation::from_headers(headers.iter().copied()).unwrap().unwrap()
}

async fn take(authorizer: &Authorizer, requester: User, headers: &[(&str, &str)]) -> Result<User, String> {
    let request = Attributes::resource("list", "", "pods", "web", "");
    let identified = Identified::in_process(Arc::new(requester));
    let taken = Impersonator::new().take_over(authorizer, &identified, wanted(headers), &request).await;
    taken.map(|taken| User::clone(taken.user())).map_err(|status| status.message.to_string())
}

#[tokio::test]
async fn without_rights_the_refusal_is_that_of_the_first_mode_that_applies() {
    let nothing = Authorizer::node_rbac();
    let alice = || User::new("alice", &[]);
    let on = |mode: &str| {
        Err(format!(
            "pods is forbidden: User \"alice\" cannot impersonate-on:{mode}:list resource \"pods\" in API group \"\" in the namespace \"web\""
        ))
    };
    type Headers = &'static [(&'static str, &'static str)];
    let table: &[(Headers, Result<User, String>)] = &[
        (&[("Impersonate-User", "bob")], on("user-info")),
        (&[("Impersonate-User", "system:node:n1")], on("arbitrary-node")),
        (&[("Impersonate-User", "system:serviceaccount:ns:sa")], on("serviceaccount")),
        (
            &[("Impersonate-User", "system:node:n1"), ("Impersonate-Group", "system:nodes")],
            Err("users \"system:node:n1\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope".into()),
        ),
        (
            &[("Impersonate-User", "system:serviceaccount:ns:sa"), ("Impersonate-Uid", "1")],
            Err("serviceaccounts \"sa\" is forbidden: User \"alice\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"ns\"".into()),
        ),
    ];
    for (headers, expected) in table {
        assert_eq!(take(&nothing, alice(), headers).await, *expected, "{headers:?}");
    }
}

#[tokio::test]
async fn the_old_verb_still_takes_every_part() {
    let old = authorizer(
        "alice",
        &[
            ("impersonate", "", "users,groups,serviceaccounts"),
            ("impersonate", GROUP, "uids,userextras/scopes"),
        ],
    );
    let alice = || User::new("alice", &[]);
    let headers = [
        ("Impersonate-User", "bob"),
        ("Impersonate-Group", "system:masters"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-Scopes", "view"),
    ];
    let bob = take(&old, alice(), &headers).await.unwrap();
    assert_eq!((bob.name.as_str(), bob.uid.as_str()), ("bob", "7"));
    assert_eq!(bob.groups, ["system:masters", "system:authenticated"].map(Str::from).to_vec());
    assert_eq!(bob.extra, vec![("scopes".into(), vec!["view".into()])]);
    let account = take(&old, alice(), &[("Impersonate-User", "system:serviceaccount:ns:sa")]).await.unwrap();
    assert_eq!(
        account.groups,
        ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
            .map(Str::from)
            .to_vec()
    );
    let anonymous = take(&old, alice(), &[("Impersonate-User", ANONYMOUS)]).await.unwrap();
    assert_eq!(anonymous.groups, vec![Str::from(UNAUTHENTICATED)]);
    // A part that is not allowed refuses the whole.
    let refused = take(&old, alice(), &[("Impersonate-User", "bob"), ("Impersonate-Extra-Other", "x")]).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn constrained_modes_bound_what_is_taken() {
    let constrained = authorizer(
        "alice",
        &[
            ("impersonate-on:user-info:list", "", "pods"),
            ("impersonate:user-info", GROUP, "users,groups,userextras/acme.io/x"),
            ("impersonate-on:arbitrary-node:list", "", "pods"),
            ("impersonate:arbitrary-node", GROUP, "nodes"),
        ],
    );
    let alice = || User::new("alice", &[]);
    let bob = take(&constrained, alice(), &[("Impersonate-User", "bob"), ("Impersonate-Group", "dev")]).await;
    assert_eq!(bob.unwrap().groups, ["dev", "system:authenticated"].map(Str::from).to_vec());
    let node = take(&constrained, alice(), &[("Impersonate-User", "system:node:n1")]).await.unwrap();
    assert_eq!(node.as_node(), Some("n1"));
    let refused = |headers: Vec<(&'static str, &'static str)>| {
        let constrained = &constrained;
        async move { take(constrained, alice(), &headers).await.unwrap_err() }
    };
    let masters = refused(vec![("Impersonate-User", "bob"), ("Impersonate-Group", MASTERS)]).await;
    assert!(masters.ends_with("impersonating the system:masters group is not allowed"), "{masters}");
    let extra = refused(vec![("Impersonate-User", "bob"), ("Impersonate-Extra-Bare", "x")]).await;
    assert!(
        extra.contains(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \"bare\""
        ),
        "{extra}"
    );
    let empty = refused(vec![("Impersonate-User", "bob"), ("Impersonate-Extra-Acme.io%2fx", "")]).await;
    assert!(empty.ends_with("impersonating the empty string value in extra is not allowed"), "{empty}");
    // Another verb than the one that the mode is allowed for.
    let request = Attributes::resource("delete", "", "pods", "web", "p");
    let identified = Identified::in_process(Arc::new(alice()));
    let asked = wanted(&[("Impersonate-User", "bob")]);
    let taken = Impersonator::new().take_over(&constrained, &identified, asked, &request).await;
    assert!(taken.is_err());
}

#[tokio::test]
async fn an_agent_acts_as_the_node_that_it_runs_on_and_no_other() {
    let name = "system:serviceaccount:kube-system:agent";
    let associated = authorizer(
        name,
        &[
            ("impersonate-on:associated-node:list", "", "pods"),
            ("impersonate:associated-node", GROUP, "nodes"),
        ],
    );
    let agent = |node: &str| {
        let mut agent = User::service_account("kube-system", "agent");
        agent.add_extra("authentication.kubernetes.io/node-name", node);
        agent
    };
    let node = take(&associated, agent("n1"), &[("Impersonate-User", "system:node:n1")]).await.unwrap();
    assert_eq!(node.as_node(), Some("n1"));
    assert!(take(&associated, agent("n2"), &[("Impersonate-User", "system:node:n1")]).await.is_err());
}
