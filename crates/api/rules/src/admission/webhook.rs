//! Configurations of mutating and validating webhooks.

use super::match_conditions;
use super::rules::{self, View};
use crate::check::{Errs, dns_subdomain, labels, port_number};
use crate::fill::{set, text_opt};
use crate::{Context, Path, Rules};
use meta::{BadValue, List, Str, is_absent};
use std::collections::BTreeSet;
use types::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};

const TIMEOUT_SECONDS: i32 = 10;

/// The fields that both sorts of webhooks share.
struct Hook<'a> {
    name: &'a Str,
    client: &'a WebhookClientConfig,
    rules: &'a List<RuleWithOperations>,
    failure_policy: Option<&'a Str>,
    match_policy: Option<&'a Str>,
    namespace_selector: Option<&'a meta::v1::LabelSelector>,
    object_selector: Option<&'a meta::v1::LabelSelector>,
    side_effects: Option<&'a Str>,
    timeout_seconds: Option<i32>,
    versions: &'a List<Str>,
    conditions: &'a List<MatchCondition>,
}

macro_rules! configuration {
    ($t:ty) => {
        impl Rules for $t {
            const UNCONDITIONAL_UPDATE: bool = false;
            const GENERATION: bool = true;
            const KNOWN_FINALIZERS: bool = false;
            const REVALIDATES_METADATA: u8 = 1;
            const RECHECKS_UPDATED_METADATA: bool = false;

            fn default(&mut self) {
                for hook in self.webhooks.iter_mut() {
                    text_opt(&mut hook.failure_policy, "Fail");
                    text_opt(&mut hook.match_policy, "Equivalent");
                    set(&mut hook.namespace_selector, Default::default());
                    set(&mut hook.object_selector, Default::default());
                    set(&mut hook.timeout_seconds, TIMEOUT_SECONDS);
                    if let Some(service) = &mut hook.client_config.service {
                        set(&mut service.port, 443);
                    }
                    for rule in hook.rules.iter_mut() {
                        text_opt(&mut rule.scope, "*");
                    }
                    Self::default_hook(hook);
                }
            }

            fn spec_differs(&self, old: &Self) -> bool {
                self.webhooks != old.webhooks
                    || is_absent(&self.webhooks) != is_absent(&old.webhooks)
                    || self.webhooks.iter().any(crate::diff::holds_empty)
            }

            fn check(&self, e: &mut Errs, _cx: &Context) {
                let list = Path::root("webhooks");
                let mut names = BTreeSet::new();
                for (i, hook) in self.webhooks.iter().enumerate() {
                    let at = list.index(i);
                    let view = Hook {
                        name: &hook.name,
                        client: &hook.client_config,
                        rules: &hook.rules,
                        failure_policy: hook.failure_policy.as_ref(),
                        match_policy: hook.match_policy.as_ref(),
                        namespace_selector: hook.namespace_selector.as_deref(),
                        object_selector: hook.object_selector.as_deref(),
                        side_effects: hook.side_effects.as_ref(),
                        timeout_seconds: hook.timeout_seconds,
                        versions: &hook.admission_review_versions,
                        conditions: &hook.match_conditions,
                    };
                    check(e, &at, &view);
                    Self::check_hook(e, &at, hook);
                    if !hook.name.is_empty() && !names.insert(&hook.name) {
                        e.duplicate(&at.child("name"), &hook.name);
                    }
                }
            }
        }
    };
}
configuration!(ValidatingWebhookConfiguration);
configuration!(MutatingWebhookConfiguration);

/// What differs between the two sorts.
trait Sort {
    type Hook;
    fn default_hook(_hook: &mut Self::Hook) {}
    fn check_hook(_e: &mut Errs, _at: &Path<'_>, _hook: &Self::Hook) {}
}

impl Sort for ValidatingWebhookConfiguration {
    type Hook = types::admissionregistration::v1::ValidatingWebhook;
}

impl Sort for MutatingWebhookConfiguration {
    type Hook = types::admissionregistration::v1::MutatingWebhook;

    fn default_hook(hook: &mut Self::Hook) {
        text_opt(&mut hook.reinvocation_policy, "Never");
    }

    fn check_hook(e: &mut Errs, at: &Path<'_>, hook: &Self::Hook) {
        if let Some(policy) = &hook.reinvocation_policy {
            e.one_of(&at.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
        }
    }
}

fn check(e: &mut Errs, at: &Path<'_>, hook: &Hook<'_>) {
    name(e, &at.child("name"), hook.name);
    versions(e, &at.child("admissionReviewVersions"), hook.versions);
    let list = at.child("rules");
    for (i, rule) in hook.rules.iter().enumerate() {
        let view = View {
            operations: &rule.operations,
            api_groups: &rule.api_groups,
            api_versions: &rule.api_versions,
            resources: &rule.resources,
            scope: rule.scope.as_ref(),
        };
        rules::check(e, &list.index(i), &view, true);
    }
    if let Some(policy) = hook.failure_policy {
        e.one_of(&at.child("failurePolicy"), policy, &["Fail", "Ignore"]);
    }
    if let Some(policy) = hook.match_policy {
        e.one_of(&at.child("matchPolicy"), policy, &["Equivalent", "Exact"]);
    }
    match hook.side_effects {
        None => e.required(&at.child("sideEffects"), "must specify one of None, NoneOnDryRun"),
        Some(effects) => e.one_of(&at.child("sideEffects"), effects, &["None", "NoneOnDryRun"]),
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|s| !(1..=30).contains(s)) {
        e.invalid(&at.child("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
    }
    labels::selector_opt(e, &at.child("namespaceSelector"), hook.namespace_selector);
    labels::selector_opt(e, &at.child("objectSelector"), hook.object_selector);
    client(e, &at.child("clientConfig"), hook.client);
    match_conditions(e, &at.child("matchConditions"), crate::environments::admission(), hook.conditions);
}

/// A domain of at least three parts.
fn name(e: &mut Errs, at: &Path<'_>, name: &str) {
    if !e.present(at, name) {
        return;
    }
    let messages = dns_subdomain(name);
    if !messages.is_empty() {
        e.invalid(at, name, messages.join(","));
    } else if name.split('.').count() < 3 {
        e.invalid(at, name, "should be a domain with at least three segments separated by dots");
    }
}

fn versions(e: &mut Errs, at: &Path<'_>, versions: &List<Str>) {
    if versions.is_empty() {
        return e.required(at, "must specify one of v1, v1beta1");
    }
    let mut seen = BTreeSet::new();
    let mut known = false;
    for (i, v) in versions.iter().enumerate() {
        if !seen.insert(v) {
            e.invalid(&at.index(i), v, "duplicate version");
            continue;
        }
        e.each(&at.index(i), v, crate::check::dns_1035_label(v));
        known |= v == "v1" || v == "v1beta1";
    }
    if !known {
        e.invalid(at, BadValue::of(versions), "must include at least one of v1, v1beta1");
    }
}

fn client(e: &mut Errs, at: &Path<'_>, client: &WebhookClientConfig) {
    match (&client.url, &client.service) {
        (Some(_), Some(_)) | (None, None) => e.required(at, "exactly one of url or service is required"),
        (Some(u), None) => url(e, &at.child("url"), u),
        (None, Some(s)) => {
            let port = s.port.unwrap_or(443);
            service(e, &at.child("service"), &s.name, &s.namespace, s.path.as_deref(), port);
        }
    }
}

/// The address of a webhook outside the cluster.
pub(crate) fn url(e: &mut Errs, at: &Path<'_>, text: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let named = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let (scheme, rest) = text.split_once(':').filter(|(scheme, _)| named(scheme)).unwrap_or(("", text));
    let scheme = scheme.to_ascii_lowercase();
    // Without two slashes everything is a path.
    let rest = rest.strip_prefix("//").unwrap_or_default();
    if scheme != "https" {
        e.invalid(at, &scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').map_or((rest, ""), |(r, f)| (r, f));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (authority, query) = match authority.split_once('?') {
        Some((authority, query)) => (authority, query),
        None => (authority, path.split_once('?').map_or("", |(_, q)| q)),
    };
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(u, h)| (u, h));
    if host.is_empty() {
        e.invalid(at, host, format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        e.invalid(at, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        e.invalid(at, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        e.invalid(at, query, "query parameters are not permitted in the URL");
    }
}

/// A service that answers a webhook.
pub(crate) fn service(
    e: &mut Errs,
    at: &Path<'_>,
    name: &str,
    namespace: &str,
    path: Option<&str>,
    port: i32,
) {
    // Upstream takes each for the other.
    if namespace.is_empty() {
        e.required(&at.child("name"), "");
    }
    if name.is_empty() {
        e.required(&at.child("namespace"), "");
    }
    let wrong = port_number(port.into());
    if !wrong.is_empty() {
        e.invalid(&at.child("port"), port, format!("port is not valid: {}", wrong.join(", ")));
    }
    let Some(path) = path.filter(|p| !matches!(*p, "" | "/")) else { return };
    let at = at.child("path");
    if !path.starts_with('/') {
        e.invalid(&at, path, "must start with a '/'");
    }
    // Upstream passes over the first character whatever it is.
    let mut rest = path.chars();
    rest.next();
    let rest = rest.as_str();
    let steps = rest.strip_suffix('/').unwrap_or(rest);
    for (i, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            e.invalid(&at, path, format!("segment[{i}] may not be empty"));
            continue;
        }
        for message in dns_subdomain(step) {
            e.invalid(&at, path, format!("segment[{i}]: {message}"));
        }
    }
}
