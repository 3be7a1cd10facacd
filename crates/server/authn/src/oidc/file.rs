//! The fields of an AuthenticationConfiguration file.

use serde::Deserialize;
use serde_json::Value as Json;

const GROUP: &str = "apiserver.config.k8s.io";
const KIND: &str = "AuthenticationConfiguration";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// The whole file without its type.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthenticationConfiguration {
    pub jwt: Vec<Authenticator>,
    pub anonymous: Option<Anonymous>,
}

/// Who may come without a credential.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Anonymous {
    pub enabled: bool,
    pub conditions: Vec<Condition>,
}

/// Where they may go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Condition {
    pub path: String,
}

/// One issuer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Authenticator {
    pub issuer: Issuer,
    pub claim_validation_rules: Vec<ClaimRule>,
    pub claim_mappings: ClaimMappings,
    pub user_validation_rules: Vec<UserRule>,
}

/// Whose tokens they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Issuer {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    pub certificate_authority: String,
    pub audiences: Vec<String>,
    pub audience_match_policy: String,
    pub egress_selector_type: String,
}

/// What claims must be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClaimRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

/// What becomes of claims.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClaimMappings {
    pub username: PrefixedClaimOrExpression,
    pub groups: PrefixedClaimOrExpression,
    pub uid: ClaimOrExpression,
    pub extra: Vec<Extra>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PrefixedClaimOrExpression {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

/// A claim, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClaimOrExpression {
    pub claim: String,
    pub expression: String,
}

/// One extra fact.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Extra {
    pub key: String,
    pub value_expression: String,
}

/// What the user must be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UserRule {
    pub expression: String,
    pub message: String,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<AuthenticationConfiguration, String> {
    let mut whole: Json = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    let fields = whole.as_object_mut().ok_or("the file holds no object")?;
    let mut take = |field: &str| match fields.remove(field) {
        Some(Json::String(text)) => text,
        _ => String::new(),
    };
    let (version, kind) = (take("apiVersion"), take("kind"));
    if kind.is_empty() {
        return Err(format!("Object 'Kind' is missing in '{}'", text.trim()));
    }
    let known = version.split_once('/').is_some_and(|(g, v)| g == GROUP && VERSIONS.contains(&v));
    if !known || kind != KIND {
        return Err(format!("no kind {kind:?} is registered for version {version:?}"));
    }
    serde_json::from_value(whole).map_err(|error| format!("strict decoding error: {error}"))
}
