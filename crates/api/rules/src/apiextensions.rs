//! The group `apiextensions.k8s.io`: CustomResourceDefinition, without the structure of its schemas.

use crate::admission::webhook;
use crate::check::{Errs, dns_1035_label, dns_subdomain, path_segment};
use crate::fill::{set, text};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{BadValue, List, Str};
use std::collections::BTreeSet;
use types::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionVersion,
};

const WARNING_BYTES_MAX: usize = 256;

impl Rules for CustomResourceDefinition {
    const NAME: crate::check::NameCheck = path_segment;
    const KNOWN_FINALIZERS: bool = false;
    spec_and_status!(generation);

    fn default(&mut self) {
        let names = &mut self.spec.names;
        if names.singular.is_empty() {
            names.singular = names.kind.to_lowercase();
        }
        if names.list_kind.is_empty() && !names.kind.is_empty() {
            names.list_kind = format!("{}List", names.kind).into();
        }
        let conversion = self.spec.conversion.get_or_insert_default();
        text(&mut conversion.strategy, "None");
        if let Some(service) = conversion
            .webhook
            .as_mut()
            .and_then(|w| w.client_config.as_mut())
            .and_then(|c| c.service.as_mut())
        {
            set(&mut service.port, 443);
        }
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.metadata.generation = 1;
        self.clear_status();
        let stored = self.spec.versions.iter().filter(|v| v.storage).map(|v| v.name.clone());
        self.status.stored_versions = stored.collect();
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.keep_status(old);
        self.count_generation(old);
        for version in self.spec.versions.iter().filter(|v| v.storage) {
            if !self.status.stored_versions.contains(&version.name) {
                self.status.stored_versions.push(version.name.clone());
            }
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let expected = format!("{}.{}", self.spec.names.plural, self.spec.group);
        if self.metadata.name != expected {
            let metadata = Path::root("metadata");
            e.invalid(
                &metadata.child("name"),
                &self.metadata.name,
                "must be spec.names.plural+\".\"+spec.group",
            );
        }
        spec(e, self);
        stored(e, self);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        let established =
            old.status.conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
        let at = Path::root("spec");
        if established {
            e.immutable(&at.child("scope"), &self.spec.scope, &old.spec.scope, || (&self.spec.scope).into());
            let (new, old) = (&self.spec.names.kind, &old.spec.names.kind);
            e.immutable(&at.child("names").child("kind"), new, old, || new.into());
        }
        e.immutable(&at.child("group"), &self.spec.group, &old.spec.group, || (&self.spec.group).into());
        let (new, old) = (&self.spec.names.plural, &old.spec.names.plural);
        e.immutable(&at.child("names").child("plural"), new, old, || new.into());
    }
}

fn spec(e: &mut Errs, crd: &CustomResourceDefinition) {
    let at = Path::root("spec");
    let spec = &crd.spec;
    let group = at.child("group");
    if spec.group.is_empty() {
        e.required(&group, "");
    } else {
        let messages = dns_subdomain(&spec.group);
        if !messages.is_empty() {
            e.invalid(&group, &spec.group, messages.join(","));
        } else if spec.group.split('.').count() < 2 {
            e.invalid(&group, &spec.group, "should be a domain with at least one dot");
        }
    }
    e.required_one_of(&at.child("scope"), &spec.scope, &["Cluster", "Namespaced"]);
    versions(e, &at.child("versions"), &spec.versions);
    names(e, &at.child("names"), &spec.names);
    e.present(&at.child("names").child("singular"), &spec.names.singular);
    e.present(&at.child("names").child("listKind"), &spec.names.list_kind);
    if spec.preserve_unknown_fields {
        e.invalid(&at.child("preserveUnknownFields"), true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead");
    }
    conversion(e, &at.child("conversion"), spec.conversion.as_deref());
}

fn versions(e: &mut Errs, at: &Path<'_>, versions: &List<CustomResourceDefinitionVersion>) {
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (i, v) in versions.iter().enumerate() {
        let at = at.index(i);
        unique &= seen.insert(&v.name);
        let messages = dns_1035_label(&v.name);
        if !messages.is_empty() {
            e.invalid(&at.child("name"), &v.name, messages.join(","));
        }
        version(e, &at, v);
    }
    if !unique {
        e.invalid(at, BadValue::of(versions), "must contain unique version names");
    }
    if versions.iter().filter(|v| v.storage).count() != 1 {
        e.invalid(at, BadValue::of(versions), "must have exactly one version marked as storage version");
    }
    for (i, v) in versions.iter().enumerate() {
        if v.schema.as_ref().is_none_or(|s| s.open_apiv3_schema.is_none()) {
            let item = at.index(i);
            e.required(&item.child("schema").child("openAPIV3Schema"), "schemas are required");
        }
    }
}

fn version(e: &mut Errs, at: &Path<'_>, v: &CustomResourceDefinitionVersion) {
    if let Some(warning) = &v.deprecation_warning {
        let at = at.child("deprecationWarning");
        if !v.deprecated {
            e.invalid(&at, warning, "can only be set for deprecated versions");
        }
        if warning.len() > WARNING_BYTES_MAX {
            e.invalid(&at, warning, format!("must be <= {WARNING_BYTES_MAX} characters long"));
        }
        if warning.is_empty() {
            e.invalid(&at, warning, "must not be an empty string");
        }
        if let Some((i, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
            e.invalid(
                &at,
                warning,
                format!(
                    "must only contain printable UTF-8 characters; non-printable character found at index {i}"
                ),
            );
        }
    }
    let columns = at.child("additionalPrinterColumns");
    for (i, c) in v.additional_printer_columns.iter().enumerate() {
        let at = columns.index(i);
        e.present(&at.child("name"), &c.name);
        const TYPES: [&str; 5] = ["integer", "number", "string", "boolean", "date"];
        if c.type_.is_empty() {
            e.required(&at.child("type"), "must be one of integer,number,string,boolean,date");
        } else if !TYPES.contains(&c.type_.as_str()) {
            e.invalid(&at.child("type"), &c.type_, "must be one of boolean,date,integer,number,string");
        }
        const FORMATS: [&str; 7] = ["", "int32", "int64", "float", "double", "byte", "date"];
        if !FORMATS.contains(&c.format.as_str()) && !["date-time", "password"].contains(&c.format.as_str()) {
            e.invalid(
                &at.child("format"),
                &c.format,
                "must be one of byte,date,date-time,double,float,int32,int64,password",
            );
        }
        e.present(&at.child("jsonPath"), &c.json_path);
    }
    if let Some(scale) = v.subresources.as_ref().and_then(|s| s.scale.as_ref()) {
        let subresources = at.child("subresources");
        let at = subresources.child("scale");
        for (field, path, prefix) in [
            ("specReplicasPath", &scale.spec_replicas_path, ".spec."),
            ("statusReplicasPath", &scale.status_replicas_path, ".status."),
        ] {
            if path.is_empty() {
                e.required(&at.child(field), "");
            } else if !path.starts_with(prefix) {
                let detail = format!("should be a json path under {}", prefix.trim_end_matches('.'));
                e.invalid(&at.child(field), path, detail);
            }
        }
    }
}

fn names(e: &mut Errs, at: &Path<'_>, names: &CustomResourceDefinitionNames) {
    let label = |e: &mut Errs, at: &Path<'_>, value: &Str| {
        let messages = dns_1035_label(value);
        if !messages.is_empty() {
            e.invalid(at, value, messages.join(","));
        }
    };
    let mixed = |e: &mut Errs, at: &Path<'_>, value: &Str| {
        let messages = dns_1035_label(&value.to_lowercase());
        if !messages.is_empty() {
            e.invalid(
                at,
                value,
                format!("may have mixed case, but should otherwise match: {}", messages.join(",")),
            );
        }
    };
    label(e, &at.child("plural"), &names.plural);
    if !names.singular.is_empty() {
        label(e, &at.child("singular"), &names.singular);
    }
    mixed(e, &at.child("kind"), &names.kind);
    if !names.list_kind.is_empty() {
        mixed(e, &at.child("listKind"), &names.list_kind);
    }
    let list = at.child("shortNames");
    for (i, name) in names.short_names.iter().enumerate() {
        label(e, &list.index(i), name);
    }
    if !names.kind.is_empty() && names.kind == names.list_kind {
        e.invalid(&at.child("listKind"), &names.list_kind, "kind and listKind may not be the same");
    }
    let list = at.child("categories");
    for (i, name) in names.categories.iter().enumerate() {
        label(e, &list.index(i), name);
    }
}

fn conversion(e: &mut Errs, at: &Path<'_>, conversion: Option<&CustomResourceConversion>) {
    let Some(c) = conversion else { return };
    e.required_one_of(&at.child("strategy"), &c.strategy, &["None", "Webhook"]);
    let webhook_at = at.child("webhook");
    let client_at = webhook_at.child("clientConfig");
    let versions_at = webhook_at.child("conversionReviewVersions");
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
                webhook::service(
                    e,
                    &client_at.child("service"),
                    &s.name,
                    &s.namespace,
                    s.path.as_deref(),
                    port,
                );
            }
            _ => e.required(&client_at, "exactly one of url or service is required"),
        },
    }
    match versions.filter(|v| !v.is_empty()) {
        None => e.required(&versions_at, ""),
        Some(versions) if !versions.iter().any(|v| v == "v1" || v == "v1beta1") => {
            e.invalid(&versions_at, BadValue::of(versions), "must include at least one of v1, v1beta1");
        }
        Some(_) => {}
    }
}

fn stored(e: &mut Errs, crd: &CustomResourceDefinition) {
    let status = Path::root("status");
    let at = status.child("storedVersions");
    if crd.status.stored_versions.is_empty() {
        return e.invalid(&at, BadValue::Plain("[]".into()), "must have at least one stored version");
    }
    for (i, v) in crd.status.stored_versions.iter().enumerate() {
        if !crd.spec.versions.iter().any(|s| s.name == *v) {
            e.invalid(&at.index(i), v, "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions".replace("v1 ", &format!("{v} ")).as_str());
        }
    }
}
