//! What a request asks, as far as authorization is concerned.

use meta::Str;
use meta::selector::fields::FieldTerm;
use meta::selector::labels::Requirement;

/// The question to an authorizer, without the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, a special verb such
    /// as `impersonate`, or the lower-case HTTP method for a path.
    pub verb: Str,
    /// Whether this is about a resource and not about a plain path.
    pub is_resource: bool,
    /// API group, empty for core.
    pub group: Str,
    /// API version.
    pub version: Str,
    /// Plural resource name.
    pub resource: Str,
    /// Subresource or empty.
    pub subresource: Str,
    /// Namespace, empty for cluster scope and for requests across namespaces.
    pub namespace: Str,
    /// Object name, empty for collections.
    pub name: Str,
    /// The path, for requests that are not about resources.
    pub path: Str,
    /// Terms of the field selector of list, watch and deletecollection.
    pub fields: Vec<FieldTerm>,
    /// Requirements of the label selector of these.
    pub labels: Vec<Requirement>,
}

impl Attributes {
    /// A question about a resource.
    pub fn resource(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        Attributes {
            verb: verb.into(),
            is_resource: true,
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    /// A question about a path.
    pub fn path(verb: &str, path: &str) -> Self {
        Attributes { verb: verb.into(), path: path.into(), ..Attributes::default() }
    }

    /// Resource and subresource as RBAC rules write them, `pods/log`.
    pub fn combined_resource(&self) -> Str {
        if self.subresource.is_empty() {
            return self.resource.clone();
        }
        format!("{}/{}", self.resource, self.subresource).into()
    }

    /// Whether the selectors pin `key` to `value`.
    pub fn pinned(&self, key: &str, value: &str) -> bool {
        self.fields.iter().any(|term| term.equal && term.field == key && term.value == value)
    }

    /// Takes over the selectors of a list, watch or deletecollection. What does not parse narrows nothing.
    pub fn select(&mut self, fields: &str, labels: &str) {
        if !fields.is_empty() {
            self.fields = meta::FieldSelector::parse(fields).map(|s| s.terms).unwrap_or_default();
        }
        if !labels.is_empty() {
            let parsed = meta::Selector::parse(labels);
            self.labels = parsed.map(|s| s.requirements().to_vec()).unwrap_or_default();
        }
    }

    /// The size of what the requester chose.
    pub(crate) fn bytes(&self) -> usize {
        [
            &self.verb,
            &self.group,
            &self.version,
            &self.resource,
            &self.subresource,
            &self.namespace,
            &self.name,
            &self.path,
        ]
        .iter()
        .map(|part| part.len())
        .sum()
    }
}
