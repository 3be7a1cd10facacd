//! A kind as it is served: its row of the scheme's table with its rules.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use rules::KindRules;
use scheme::{Resource, Subresource};

/// One resource of one version.
#[derive(Clone, Copy)]
pub struct Served {
    /// Names, verbs, codec.
    pub resource: &'static Resource,
    /// Defaults, validation, preparation.
    pub rules: &'static KindRules,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.resource.group, self.resource.version, self.resource.plural)
    }
}

/// The rules of kinds that are never stored, such as reviews: nothing beyond their decoding.
static PLAIN: KindRules = KindRules {
    group: "",
    version: "",
    kind: "",
    create_on_update: false,
    unconditional_update: true,
    orphans_by_default: false,
    field_labels: &[],
    default: |_| {},
    prepare_create: |_, _| {},
    settle: |_| {},
    prepare_update: |_, _, _, _| {},
    validate_create: |_, _| Vec::new(),
    validate_update: |_, _, _, _| Vec::new(),
    warnings: |_, _| Vec::new(),
    graceful_delete: |_, _| None,
    field: |object, label| match label {
        "metadata.name" => Some(object.meta().name.clone()),
        "metadata.namespace" => Some(object.meta().namespace.clone()),
        _ => None,
    },
};

type Names = (&'static str, &'static str, &'static str);

static TABLE: LazyLock<HashMap<Names, Served>> = LazyLock::new(|| {
    let rows = scheme::RESOURCES.iter().map(|resource| {
        let rules = rules::of(resource.group, resource.version, resource.kind).unwrap_or(&PLAIN);
        ((resource.group, resource.version, resource.plural), Served { resource, rules })
    });
    rows.collect()
});

impl Served {
    /// The resource behind a path.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<Served> {
        // The key's lifetime is static only because the table's is; a shorter one looks up as well.
        TABLE.get(&(group, version, plural) as &(&str, &str, &str)).copied()
    }

    /// The version in which a resource is stored.
    pub fn stored_version(group: &str, plural: &str) -> Option<Served> {
        static STORED: LazyLock<HashMap<(&'static str, &'static str), Served>> = LazyLock::new(|| {
            let stored = TABLE.values().filter(|s| crate::feeds::is_storage_version(s.resource));
            stored.map(|s| ((s.resource.group, s.resource.plural), *s)).collect()
        });
        STORED.get(&(group, plural) as &(&str, &str)).copied()
    }

    /// A subresource.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.resource.subresources.iter().find(|s| s.name == name)
    }

    /// The store's key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Bytes {
        let mut key =
            String::with_capacity(self.resource.key_prefix.len() + namespace.len() + name.len() + 1);
        key.push_str(self.resource.key_prefix);
        if self.resource.namespaced {
            key.push_str(namespace);
            key.push('/');
        }
        key.push_str(name);
        Bytes::from(key)
    }

    /// What every key of the collection begins with; an empty namespace means all.
    pub fn prefix(&self, namespace: &str) -> Bytes {
        if namespace.is_empty() || !self.resource.namespaced {
            return Bytes::from_static(self.resource.key_prefix.as_bytes());
        }
        Bytes::from(format!("{}{namespace}/", self.resource.key_prefix))
    }

    /// How the JSON of every object of the kind begins: `{"kind":"Pod","apiVersion":"v1",`.
    pub fn json_prefix(&self) -> String {
        format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", self.resource.kind, self.api_version())
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        match self.resource.group {
            "" => self.resource.version.to_owned(),
            group => format!("{group}/{}", self.resource.version),
        }
    }
}
