//! The plugin's document: standards for namespaces that ask for none, and whom none applies to.

use std::collections::BTreeSet;

use serde::Deserialize;
use types::core::v1::PodSpec;

use super::PodSecurity;
use super::policy::{Level, Policy, Standard, Version};
use crate::configuration::versioned;
use crate::plugins::Setup;

/// Versions of the document.
const VERSIONS: [&str; 3] = [
    "pod-security.admission.config.k8s.io/v1",
    "pod-security.admission.config.k8s.io/v1beta1",
    "pod-security.admission.config.k8s.io/v1alpha1",
];

/// Whom nothing applies to.
#[derive(Debug, Default)]
pub(super) struct Exemptions {
    users: BTreeSet<String>,
    runtime_classes: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    defaults: Defaults,
    exemptions: ExemptionLists,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ExemptionLists {
    usernames: Vec<String>,
    runtime_classes: Vec<String>,
    namespaces: Vec<String>,
}

impl Exemptions {
    pub(super) fn has_user(&self, name: &str) -> bool {
        self.users.contains(name)
    }

    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    pub(super) fn has_runtime_class(&self, spec: &PodSpec) -> bool {
        spec.runtime_class_name.as_ref().is_some_and(|name| self.runtime_classes.contains(name.as_str()))
    }
}

impl PodSecurity {
    /// As the plugin's document says.
    pub(crate) fn configured(setup: &Setup<'_>) -> Result<Self, String> {
        let Some(document) = setup.document("PodSecurity") else { return Ok(Self::default()) };
        let document: Document = versioned(document, "PodSecurityConfiguration", &VERSIONS)?;
        let defaults = &document.defaults;
        let defaults = Policy {
            enforce: standard("enforce", &defaults.enforce, &defaults.enforce_version)?,
            audit: standard("audit", &defaults.audit, &defaults.audit_version)?,
            warn: standard("warn", &defaults.warn, &defaults.warn_version)?,
        };
        let lists = document.exemptions;
        let exemptions = Exemptions {
            users: unique("usernames", lists.usernames)?,
            runtime_classes: unique("runtimeClasses", lists.runtime_classes)?,
            namespaces: unique("namespaces", lists.namespaces)?,
        };
        Ok(Self { defaults, exemptions })
    }
}

/// A level and a version, of which both may be left out.
fn standard(mode: &str, level: &str, version: &str) -> Result<Standard, String> {
    let wrong =
        |field: String, value: &str, why: &str| format!("defaults.{field}: Invalid value: {value:?}: {why}");
    let level = match level {
        "" => Level::Privileged,
        level => Level::parse(level).map_err(|why| wrong(mode.to_owned(), level, why))?,
    };
    let version = match version {
        "" => Version::Latest,
        version => Version::parse(version).map_err(|why| wrong(format!("{mode}-version"), version, why))?,
    };
    Ok(Standard { level, version })
}

fn unique(list: &str, names: Vec<String>) -> Result<BTreeSet<String>, String> {
    let mut unique = BTreeSet::new();
    for (index, name) in names.into_iter().enumerate() {
        let place = || format!("exemptions.{list}[{index}]");
        if name.is_empty() {
            return Err(format!("{}: Invalid value: \"\": must not be empty", place()));
        }
        if unique.contains(&name) {
            return Err(format!("{}: Duplicate value: {name:?}", place()));
        }
        unique.insert(name);
    }
    Ok(unique)
}
