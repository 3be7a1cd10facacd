//! What configurations are refused for, and what a webhook of a good one is asked.

use super::*;

fn findings(text: &str) -> String {
    Configuration::parse(text).and_then(|c| c.validate()).unwrap_err().to_string()
}

#[test]
fn files_are_refused_as_upstream_refuses_them() {
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";
    let table = [
        ("authorizers: []", "authorizers: Required value: at least one authorization mode must be defined"),
        (
            "authorizers: [{type: Foo, name: x}]",
            "authorizers[0].type: Unsupported value: \"Foo\": supported values: \"ABAC\", \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
        ),
        ("authorizers: [{name: x}]", "authorizers[0].type: Required value"),
        ("authorizers: [{type: RBAC}]", "authorizers[0].name: Required value"),
        (
            "authorizers: [{type: RBAC, name: a}, {type: RBAC, name: b}]",
            "authorizers[1].type: Duplicate value: \"RBAC\"",
        ),
        (
            "authorizers: [{type: RBAC, name: a}, {type: Node, name: a}]",
            "authorizers[1].name: Duplicate value: \"a\"",
        ),
        (
            "authorizers: [{type: RBAC, name: a, webhook: {}}]",
            "authorizers[0].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook",
        ),
        (
            "authorizers: [{type: Webhook, name: a}]",
            "authorizers[0].webhook: Required value: required when type=Webhook",
        ),
        (
            "authorizers: [{type: RBAC, name: a, typo: 1}]",
            "strict decoding error: unknown field `typo`, expected one of `type`, `name`, `webhook`",
        ),
        (
            "authorizers: [{type: Webhook, name: a, webhook: {timeout: 31s, authorizedTTL: -1s, subjectAccessReviewVersion: v2, failurePolicy: Allow, connectionInfo: {type: KubeConfigFile, kubeConfigFile: rel}, matchConditions: [{expression: ''}, {expression: 'true'}, {expression: 'true'}]}}]",
            "[authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s, authorizers[0].authorizedTTL: Invalid value: \"-1s\": must be > 0s, authorizers[0].subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\", authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified, authorizers[0].failurePolicy: Unsupported value: \"Allow\": supported values: \"NoOpinion\", \"Deny\", authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"rel\": must be an absolute path, authorizers[0].matchConditions[0].expression: Required value, authorizers[0].matchConditions[2].expression: Duplicate value: \"true\"]",
        ),
        (
            "authorizers: [{type: Webhook, name: a, webhook: {timeout: 3s, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /nowhere}, matchConditions: [{expression: request.user}]}}]",
            "[authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"/nowhere\": error loading file: stat /nowhere: no such file or directory, authorizers[0].matchConditions[0].expression: Invalid value: \"request.user\": must evaluate to bool but got string]",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(findings(&format!("{head}{text}")), expected, "{text}");
    }
    for version in ["v1beta1", "v1alpha1"] {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/{version}\nkind: AuthorizationConfiguration\nauthorizers: [{{type: RBAC, name: r}}]"
        );
        Configuration::parse(&text).unwrap().validate().unwrap();
    }
    assert_eq!(
        findings("apiVersion: apiserver.config.k8s.io/v9\nkind: AuthorizationConfiguration"),
        "no kind \"AuthorizationConfiguration\" is registered for version \"apiserver.config.k8s.io/v9\""
    );
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let refused = |modes: &[&str], policy: bool, hook: bool| {
        let flags = Flags {
            modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
            policy_file: policy.then(|| "/p".into()),
            webhook_config_file: hook.then(|| "/w".into()),
            webhook_version: "v1beta1".to_owned(),
            ..Flags::default()
        };
        Configuration::of_modes(&flags).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(refused(&["Node", "RBAC"], false, false), Ok(()));
    let table: &[(&[&str], bool, bool, &str)] = &[
        (&[], false, false, "at least one authorization-mode must be passed"),
        (&["Rbac"], false, false, "authorization-mode \"Rbac\" is not a valid mode"),
        (&["ABAC"], false, false, "authorization-mode ABAC's authorization policy file not passed"),
        (&["Webhook"], false, false, "authorization-mode Webhook's authorization config file not passed"),
        (&["RBAC"], true, false, "cannot specify --authorization-policy-file without mode ABAC"),
        (&["RBAC"], false, true, "cannot specify --authorization-webhook-config-file without mode Webhook"),
        (
            &["RBAC", "RBAC"],
            false,
            false,
            "authorization-mode [\"RBAC\" \"RBAC\"] has mode specified more than once",
        ),
    ];
    for (modes, policy, hook, expected) in table {
        assert_eq!(refused(modes, *policy, *hook), Err((*expected).to_owned()), "{modes:?}");
    }
}

#[test]
fn a_file_gives_its_authorizers_in_order() {
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: Node, name: n}, {type: AlwaysDeny, name: d}, {type: RBAC, name: r}]";
    let configuration = Configuration::parse(text).unwrap();
    configuration.validate().unwrap();
    assert_eq!(configuration.chain(None, &Env::real()).unwrap().describe(), "Node/n,AlwaysDeny/d,RBAC/r");
}
