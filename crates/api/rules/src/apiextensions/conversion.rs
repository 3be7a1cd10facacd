//! How a CustomResourceDefinition converts between its versions.

use std::collections::BTreeSet;

use crate::Path;
use crate::admission::webhook;
use crate::check::{Errs, dns_1035_label};
use meta::BadValue;
use types::apiextensions::v1::CustomResourceConversion;

/// Checks the conversion. Paths are those of the form in which upstream checks it.
pub(super) fn conversion(e: &mut Errs, at: &Path<'_>, conversion: Option<&CustomResourceConversion>) {
    let Some(c) = conversion else { return };
    e.required_one_of(&at.child("strategy"), &c.strategy, &["None", "Webhook"]);
    let client_at = at.child("webhookClientConfig");
    let versions_at = at.child("conversionReviewVersions");
    let client = c.webhook.as_ref().and_then(|w| w.client_config.as_ref());
    let versions = c.webhook.as_ref().map(|w| &w.conversion_review_versions);
    if c.strategy != "Webhook" {
        if client.is_some() {
            e.forbidden(&client_at, "should not be set when strategy is not set to Webhook");
        }
        if versions.is_some_and(|v| !v.is_empty()) {
            e.forbidden(&versions_at, "should not be set when strategy is not set to Webhook");
        }
        return;
    }
    match client {
        None => e.required(&client_at, "required when strategy is set to Webhook"),
        Some(client) => match (&client.url, &client.service) {
            (Some(url), None) => webhook::url(e, &client_at.child("url"), url),
            (None, Some(s)) => {
                let port = s.port.unwrap_or(443);
                let at = client_at.child("service");
                webhook::service(e, &at, &s.name, &s.namespace, s.path.as_deref(), port);
            }
            _ => e.required(&client_at, "exactly one of url or service is required"),
        },
    }
    let Some(versions) = versions.filter(|v| !v.is_empty()) else {
        return e.required(&versions_at, "");
    };
    let mut seen = BTreeSet::new();
    for (i, version) in versions.iter().enumerate() {
        let at = versions_at.index(i);
        if !seen.insert(version) {
            e.invalid(&at, version, "duplicate version");
            continue;
        }
        e.each(&at, version, dns_1035_label(version));
    }
    if !versions.iter().any(|v| v == "v1" || v == "v1beta1") {
        e.invalid(&versions_at, BadValue::of(versions), "must include at least one of v1, v1beta1");
    }
}
