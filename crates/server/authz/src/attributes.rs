//! What a request asks, as far as authorization is concerned.

use meta::Str;

/// `key = value` of a field selector: the only form that an authorizer may narrow a permission by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Field label, for example `spec.nodeName`.
    pub key: Str,
    /// The value that it must equal.
    pub value: Str,
}

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
    /// Equality requirements of the field selector of list, watch and deletecollection.
    pub fields: Vec<FieldRequirement>,
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
        self.fields.iter().any(|f| f.key.as_str() == key && f.value.as_str() == value)
    }
}
