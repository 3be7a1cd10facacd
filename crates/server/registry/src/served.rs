//! A kind as it is served: its row of the scheme's table with its rules, behind a handle that is cheap to clone.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use meta::{FieldError, Object, Str};
use rules::KindRules;
use scheme::{Resource, Subresource};

use crate::definitions::Custom;

/// One resource of one version.
#[derive(Clone)]
pub struct Served(Handle);

#[derive(Clone)]
enum Handle {
    /// Part of the program: finding it takes neither a lock nor memory.
    BuiltIn(&'static BuiltIn),
    /// Described by a definition, and kept for as long as anybody uses it.
    Custom(Arc<Custom>),
}

struct BuiltIn {
    resource: &'static Resource,
    rules: &'static dyn KindRules,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resource = self.resource();
        write!(f, "{}/{} {}", resource.group, resource.version, resource.plural)
    }
}

/// The rules of kinds that are never stored, such as reviews: nothing beyond their decoding.
struct Plain;

impl KindRules for Plain {
    fn group(&self) -> &str {
        ""
    }
    fn version(&self) -> &str {
        ""
    }
    fn kind(&self) -> &str {
        ""
    }
    fn has_field(&self, _: &str) -> bool {
        false
    }
    fn has_fields(&self) -> bool {
        false
    }
    fn default(&self, _: &mut dyn Object) {}
    fn prepare_create(&self, _: &rules::Context, _: &mut dyn Object) {}
    fn settle(&self, _: &mut dyn Object) {}
    fn prepare_update(
        &self,
        _: &rules::Context,
        _: &mut dyn Object,
        _: &dyn Object,
        _: rules::Subresource<'_>,
    ) {
    }
    fn validate_create(&self, _: &rules::Context, _: &dyn Object) -> Vec<FieldError> {
        Vec::new()
    }
    fn validate_update(
        &self,
        _: &rules::Context,
        _: &dyn Object,
        _: &dyn Object,
        _: rules::Subresource<'_>,
    ) -> Vec<FieldError> {
        Vec::new()
    }
    fn warnings(&self, _: &dyn Object, _: Option<&dyn Object>) -> Vec<String> {
        Vec::new()
    }
    fn graceful_delete(&self, _: &dyn Object, _: Option<i64>) -> Option<i64> {
        None
    }
    fn field(&self, object: &dyn Object, label: &str) -> Option<Str> {
        rules::metadata_field(object, label)
    }
}

type Names = (&'static str, &'static str, &'static str);

static ROWS: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
    let rows = scheme::RESOURCES.iter().map(|resource| {
        let rules = rules::of(&resource.group, &resource.version, &resource.kind).unwrap_or(&Plain);
        BuiltIn { resource, rules }
    });
    rows.collect()
});

static TABLE: LazyLock<HashMap<Names, &'static BuiltIn>> = LazyLock::new(|| {
    let names = |r: &'static Resource| (&*r.group, &*r.version, &*r.plural);
    ROWS.iter().map(|row| (names(row.resource), row)).collect()
});

impl Served {
    /// The built-in resource behind a path.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<Served> {
        // The key's lifetime is static only because the table's is; a shorter one looks up as well.
        let row = TABLE.get(&(group, version, plural) as &(&str, &str, &str)).copied()?;
        Some(Served(Handle::BuiltIn(row)))
    }

    /// The version in which a built-in resource is stored.
    pub fn stored_version(group: &str, plural: &str) -> Option<Served> {
        static STORED: LazyLock<HashMap<(&'static str, &'static str), &'static BuiltIn>> =
            LazyLock::new(|| {
                let stored = ROWS.iter().filter(|row| row.resource.is_storage_version());
                stored.map(|row| ((&*row.resource.group, &*row.resource.plural), row)).collect()
            });
        let row = STORED.get(&(group, plural) as &(&str, &str)).copied()?;
        Some(Served(Handle::BuiltIn(row)))
    }

    /// Names, verbs, codec.
    pub fn resource(&self) -> &Resource {
        match &self.0 {
            Handle::BuiltIn(row) => row.resource,
            Handle::Custom(custom) => custom.kind.resource(),
        }
    }

    /// Defaults, validation, preparation.
    pub fn rules(&self) -> &dyn KindRules {
        match &self.0 {
            Handle::BuiltIn(row) => row.rules,
            Handle::Custom(custom) => &*custom.kind,
        }
    }

    /// A version of a definition.
    pub(crate) fn of_definition(custom: Custom) -> Self {
        Served(Handle::Custom(Arc::new(custom)))
    }

    /// What only custom resources have.
    pub fn custom(&self) -> Option<&Custom> {
        match &self.0 {
            Handle::BuiltIn(_) => None,
            Handle::Custom(custom) => Some(custom),
        }
    }

    /// A subresource.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.resource().subresource(name)
    }

    /// The store's key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Bytes {
        let resource = self.resource();
        let mut key = String::with_capacity(resource.key_prefix.len() + namespace.len() + name.len() + 1);
        key.push_str(&resource.key_prefix);
        if resource.namespaced {
            key.push_str(namespace);
            key.push('/');
        }
        key.push_str(name);
        Bytes::from(key)
    }

    /// What every key of the collection begins with; an empty namespace means all.
    pub fn prefix(&self, namespace: &str) -> Bytes {
        let resource = self.resource();
        if namespace.is_empty() || !resource.namespaced {
            return Bytes::copy_from_slice(resource.key_prefix.as_bytes());
        }
        Bytes::from(format!("{}{namespace}/", resource.key_prefix))
    }

    /// How the JSON of every object of the kind begins: `{"kind":"Pod","apiVersion":"v1",`.
    pub fn json_prefix(&self) -> String {
        format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", self.resource().kind, self.api_version())
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        self.resource().api_version()
    }
}
