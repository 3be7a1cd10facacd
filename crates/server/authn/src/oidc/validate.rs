//! What is wrong with a configuration, in upstream's words.

use std::collections::HashSet;

use cel::{Program, selects};
use meta::{BadValue, FieldError, FieldErrors, FieldPath, go_quote, names};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::expressions;
use super::file::{
    AuthenticationConfiguration, Authenticator, ClaimMappings, ClaimRule, Issuer, PrefixedClaimOrExpression,
    UserRule,
};

/// Most issuers.
const ISSUERS_MAX: usize = 64;

/// The findings on a configuration.
pub(super) fn configuration(file: &AuthenticationConfiguration, own_issuers: &[String]) -> FieldErrors {
    let root = FieldPath::new("jwt");
    let mut found = FieldErrors::new();
    if file.jwt.len() > ISSUERS_MAX {
        found.push(FieldError::too_many(&root, file.jwt.len() as i64, ISSUERS_MAX as i64));
        return found;
    }
    let (mut urls, mut discovery) = (HashSet::new(), HashSet::new());
    for (index, jwt) in file.jwt.iter().enumerate() {
        let at = root.index(index);
        authenticator(&at, jwt, own_issuers, &mut found);
        let issuer = at.child("issuer");
        if !urls.insert(&jwt.issuer.url) {
            found.push(FieldError::duplicate(&issuer.child("url"), jwt.issuer.url.as_str()));
        }
        let url = &jwt.issuer.discovery_url;
        if !url.is_empty() && !discovery.insert(url) {
            found.push(FieldError::duplicate(&issuer.child("discoveryURL"), url.as_str()));
        }
    }
    if let Some(anonymous) = file.anonymous.as_ref().filter(|a| !a.enabled && !a.conditions.is_empty()) {
        let paths = anonymous.conditions.iter().map(|c| serde_json::json!({ "Path": c.path }));
        let shown = BadValue::Plain(serde_json::Value::from_iter(paths).to_string());
        let at = FieldPath::new("anonymous").child("conditions");
        found.push(FieldError::invalid(
            &at,
            shown,
            "enabled should be set to true when conditions are defined",
        ));
    }
    found
}

/// Which claims expressions use: an e-mail address is worth nothing unless its being verified is looked at.
#[derive(Default)]
struct Uses {
    email: bool,
    email_verified: bool,
}

fn authenticator(at: &FieldPath, jwt: &Authenticator, own_issuers: &[String], found: &mut FieldErrors) {
    let mut uses = Uses::default();
    issuer(&at.child("issuer"), &jwt.issuer, own_issuers, found);
    claim_rules(&at.child("claimValidationRules"), &jwt.claim_validation_rules, &mut uses, found);
    mappings(&at.child("claimMappings"), &jwt.claim_mappings, &mut uses, found);
    user_rules(&at.child("userValidationRules"), &jwt.user_validation_rules, found);
}

fn issuer(at: &FieldPath, issuer: &Issuer, own_issuers: &[String], found: &mut FieldErrors) {
    let here = at.child("url");
    if issuer.url.is_empty() {
        found.push(FieldError::required(&here, ""));
    } else {
        url(&here, &issuer.url, own_issuers, found);
    }
    let (here, discovery) = (at.child("discoveryURL"), issuer.discovery_url.as_str());
    if !discovery.is_empty() {
        if !issuer.url.is_empty() && issuer.url.trim_end_matches('/') == discovery.trim_end_matches('/') {
            found.push(FieldError::invalid(&here, discovery, "discoveryURL must be different from URL"));
        }
        url(&here, discovery, &[], found);
    }
    audiences(at, issuer, found);
    let authority = issuer.certificate_authority.as_bytes();
    if !authority.is_empty() && CertificateDer::pem_slice_iter(authority).flatten().next().is_none() {
        let why = "data does not contain any valid RSA or ECDSA certificates";
        found.push(FieldError::invalid(&at.child("certificateAuthority"), "<omitted>", why));
    }
    let egress = issuer.egress_selector_type.as_str();
    if !matches!(egress, "" | "controlplane" | "cluster") {
        let why = "egress selector must be either controlplane or cluster";
        found.push(FieldError::invalid(&at.child("egressSelectorType"), egress, why));
    }
}

fn url(at: &FieldPath, url: &str, own_issuers: &[String], found: &mut FieldErrors) {
    let mut wrong = |why: String| found.push(FieldError::invalid(at, url, why));
    if own_issuers.iter().any(|own| own == url) {
        let mut sorted: Vec<&str> = own_issuers.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        wrong(format!("URL must not overlap with disallowed issuers: [{}]", sorted.join(" ")));
    }
    if let Some(bad) = url.bytes().find(|b| b.is_ascii_control()) {
        let _ = bad;
        wrong(format!("parse {}: net/url: invalid control character in URL", go_quote(url)));
        return;
    }
    let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (before, query) = before.split_once('?').unwrap_or((before, ""));
    let (scheme, rest) = before.split_once("://").unwrap_or(("", before));
    if !scheme.eq_ignore_ascii_case("https") {
        wrong("URL scheme must be https".to_owned());
    }
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        wrong("URL must not contain a username or password".to_owned());
    }
    if !query.is_empty() {
        wrong("URL must not contain a query".to_owned());
    }
    if !fragment.is_empty() {
        wrong("URL must not contain a fragment".to_owned());
    }
}

fn audiences(at: &FieldPath, issuer: &Issuer, found: &mut FieldErrors) {
    let list = at.child("audiences");
    if issuer.audiences.is_empty() {
        found.push(FieldError::required(&list, format!("at least one {list} is required")));
        return;
    }
    let mut seen = HashSet::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        if audience.is_empty() {
            found.push(FieldError::required(&list.index(index), ""));
        }
        if !seen.insert(audience) {
            found.push(FieldError::duplicate(&list.index(index), audience.as_str()));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let why = match (issuer.audiences.len(), policy) {
        (_, "MatchAny") | (1, "") => return,
        (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
        _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
    };
    found.push(FieldError::invalid(&at.child("audienceMatchPolicy"), policy, why));
}

fn claim_rules(at: &FieldPath, rules: &[ClaimRule], uses: &mut Uses, found: &mut FieldErrors) {
    let (mut claims, mut seen) = (HashSet::new(), HashSet::new());
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => found.push(FieldError::required(&at, "claim or expression is required")),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    found.push(FieldError::invalid(&at.child("message"), rule.message.as_str(), why));
                }
                if !claims.insert(claim) {
                    found.push(FieldError::duplicate(&at.child("claim"), claim));
                }
            }
            ("", expression) => {
                if !rule.required_value.is_empty() {
                    let (here, value) = (at.child("requiredValue"), rule.required_value.as_str());
                    let why = "may not be specified when expression is set";
                    found.push(FieldError::invalid(&here, value, why));
                }
                let here = at.child("expression");
                if !seen.insert(expression) {
                    found.push(FieldError::duplicate(&here, expression));
                } else if compiled(&here, expression, expressions::claims_condition, found) {
                    uses.email_verified |= selects(expression, "claims", "email_verified");
                }
            }
            (claim, _) => {
                found.push(FieldError::invalid(&at, claim, "claim and expression can't both be set"));
            }
        }
    }
}

fn mappings(at: &FieldPath, mappings: &ClaimMappings, uses: &mut Uses, found: &mut FieldErrors) {
    let username = &mappings.username;
    if prefixed(&at.child("username"), username, true, found) {
        uses.email |= selects(&username.expression, "claims", "email");
        uses.email_verified |= selects(&username.expression, "claims", "email_verified");
    }
    prefixed(&at.child("groups"), &mappings.groups, false, found);
    let here = at.child("uid");
    match (mappings.uid.claim.as_str(), mappings.uid.expression.as_str()) {
        (_, "") => {}
        ("", expression) => {
            compiled(&here.child("expression"), expression, expressions::over_claims, found);
        }
        _ => found.push(FieldError::invalid(&here, "", "claim and expression can't both be set")),
    }
    let mut keys = HashSet::new();
    for (index, extra) in mappings.extra.iter().enumerate() {
        let (here, key) = (at.child("extra").index(index), extra.key.as_str());
        extra_key(&here.child("key"), key, found);
        if !keys.insert(key) {
            found.push(FieldError::duplicate(&here.child("key"), key));
            continue;
        }
        let (here, expression) = (here.child("valueExpression"), extra.value_expression.as_str());
        if expression.is_empty() {
            found.push(FieldError::required(&here, ""));
        } else if compiled(&here, expression, expressions::over_claims, found) {
            uses.email_verified |= selects(expression, "claims", "email_verified");
        }
    }
    if uses.email && !uses.email_verified {
        found.push(FieldError::invalid(
            &at.children(&["username", "expression"]),
            username.expression.as_str(),
            "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
        ));
    }
}

fn extra_key(at: &FieldPath, key: &str, found: &mut FieldErrors) {
    match key.split_once('/') {
        _ if key.is_empty() => found.push(FieldError::required(at, "")),
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            for why in names::dns_subdomain(host) {
                found.push(FieldError::invalid(at, host, why));
            }
            if !names::http_path_ok(path) {
                let why = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
                found.push(FieldError::invalid(at, path, why));
            }
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            found.push(FieldError::invalid(at, key, why));
        }
    }
    if key.chars().any(char::is_uppercase) {
        found.push(FieldError::invalid(at, key, "must be lowercase"));
    }
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let reserved = ["kubernetes.io", "k8s.io"]
        .iter()
        .any(|own| domain.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.')));
    if reserved {
        let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        found.push(FieldError::invalid(at, key, why));
    }
}

/// Whether there is an expression, and it compiles.
fn prefixed(
    at: &FieldPath,
    mapping: &PrefixedClaimOrExpression,
    required: bool,
    found: &mut FieldErrors,
) -> bool {
    match (mapping.claim.as_str(), mapping.expression.as_str()) {
        ("", "") if required => found.push(FieldError::required(at, "claim or expression is required")),
        ("", "") => {}
        (_, "") => {
            if mapping.prefix.is_none() {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                found.push(FieldError::required(&at.child("prefix"), why));
            }
        }
        ("", expression) => {
            if let Some(prefix) = &mapping.prefix {
                let why = "may not be specified when expression is set";
                found.push(FieldError::invalid(&at.child("prefix"), prefix.as_str(), why));
            }
            return compiled(&at.child("expression"), expression, expressions::over_claims, found);
        }
        _ => found.push(FieldError::invalid(at, "", "claim and expression can't both be set")),
    }
    false
}

fn user_rules(at: &FieldPath, rules: &[UserRule], found: &mut FieldErrors) {
    let mut seen = HashSet::new();
    for (index, rule) in rules.iter().enumerate() {
        let (here, expression) = (at.index(index).child("expression"), rule.expression.as_str());
        if expression.is_empty() {
            found.push(FieldError::required(&here, ""));
        } else if !seen.insert(expression) {
            found.push(FieldError::duplicate(&here, expression));
        } else {
            compiled(&here, expression, expressions::user_condition, found);
        }
    }
}

fn compiled(
    at: &FieldPath,
    expression: &str,
    compile: impl FnOnce(&str) -> Result<Program, String>,
    found: &mut FieldErrors,
) -> bool {
    match compile(expression) {
        Ok(_) => true,
        Err(why) => {
            found.push(FieldError::invalid(at, expression, why));
            false
        }
    }
}
