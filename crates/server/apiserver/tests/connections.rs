//! Connections to pods that are refused before any node is asked: who may not connect, and what makes no sense.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

mod machine;

use machine::Machine;
use serde_json::{Value as Json, json};

const POD: &str = "/api/v1/namespaces/web/pods/absent";

async fn refused(machine: &Machine, token: &str, path: &str) -> (u16, String) {
    let (status, answer) = machine.with_token(token, "GET", &format!("{POD}/{path}"), &Json::Null).await;
    (status, answer["message"].as_str().unwrap_or_default().to_owned())
}

/// A browser's GET must not do what only `create` allows.
#[tokio::test(flavor = "multi_thread")]
async fn reading_is_no_right_to_run_commands() {
    let machine = Machine::start().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/web";
    let rules = |verbs: &[&str]| json!([{ "apiGroups": [""], "resources": ["pods/exec", "pods/attach", "pods/portforward"], "verbs": verbs }]);
    let role = json!({ "metadata": { "name": "r" }, "rules": rules(&["get"]) });
    machine.admin("POST", &format!("{rbac}/roles"), &role).await;
    let binding = json!({
        "metadata": { "name": "r" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice" }],
    });
    machine.admin("POST", &format!("{rbac}/rolebindings"), &binding).await;
    for what in ["exec", "attach", "portforward"] {
        let said = refused(&machine, "alice", what).await;
        assert_eq!(said, (403, "pods \"absent\" is forbidden: ".to_owned()), "{what}");
    }
    machine.admin("PATCH", &format!("{rbac}/roles/r"), &json!({ "rules": rules(&["get", "create"]) })).await;
    for what in ["exec", "attach", "portforward"] {
        assert_eq!(
            refused(&machine, "alice", what).await,
            (404, "pods \"absent\" not found".to_owned()),
            "{what}"
        );
    }
}

/// Parameters are read before the pod is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_checked_first() {
    let machine = Machine::start().await;
    let (status, message) = refused(&machine, "admin", "log?tailLines=-1").await;
    assert_eq!(status, 422);
    assert!(
        message.starts_with("PodLogOptions \"absent\" is invalid: tailLines: Invalid value: -1"),
        "{message}"
    );
    let (status, message) = refused(&machine, "admin", "portforward?ports=web").await;
    let want = "cannot convert to []int32: strconv.ParseUint: parsing \"web\": invalid syntax";
    assert_eq!((status, message.as_str()), (400, want));
    for (kind, name) in [("pods", "a:b:c:d"), ("services", "ftp:web:21"), ("nodes", "::")] {
        let scope = if kind == "nodes" { "/api/v1" } else { "/api/v1/namespaces/web" };
        let path = format!("{scope}/{kind}/{name}/proxy/");
        let (status, answer) = machine.with_token("admin", "GET", &path, &Json::Null).await;
        let want = format!("invalid {} request {name:?}", kind.trim_end_matches('s'));
        assert_eq!((status, answer["message"].as_str().unwrap()), (400, want.as_str()));
    }
}
