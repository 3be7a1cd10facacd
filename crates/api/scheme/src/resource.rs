//! One entry of the table of resources, and how to find it.

use std::collections::HashMap;
use std::sync::LazyLock;

use meta::{Codec as _, DecodeContext, DecodeError, GroupResource, GroupVersionKind, Kind, Object, TypeInfo};

use crate::RESOURCES;

/// One served resource.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Kind of its lists; empty when it cannot be listed.
    pub list_kind: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Name for one.
    pub singular: &'static str,
    /// Names that kubectl accepts as well.
    pub short_names: &'static [&'static str],
    /// Groups such as `all`.
    pub categories: &'static [&'static str],
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of the resource itself, sorted.
    pub verbs: &'static [&'static str],
    /// Its subresources, sorted by name.
    pub subresources: &'static [Subresource],
    /// Group in which objects are stored (differs for events, which two groups share).
    pub storage_group: &'static str,
    /// Version in which objects are stored.
    pub storage_version: &'static str,
    /// Where objects are stored: `/registry/pods/`; a namespaced object's key continues with `namespace/name`.
    pub key_prefix: &'static str,
    /// Facts about the struct of its objects.
    pub info: &'static TypeInfo,
    /// Makes and decodes objects.
    pub object: ObjectType,
}

/// One subresource.
#[derive(Debug)]
pub struct Subresource {
    /// Name in paths: `status`.
    pub name: &'static str,
    /// Group of its kind.
    pub group: &'static str,
    /// Version of its kind.
    pub version: &'static str,
    /// Kind that it takes and gives.
    pub kind: &'static str,
    /// Discovery names the group and version because they differ from the resource's, or because a request may use
    /// several.
    pub explicit: bool,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
}

/// A decoded object or why there is none.
pub type ObjectResult = Result<Box<dyn Object>, DecodeError>;

/// How to make objects of one kind.
#[derive(Debug, Clone, Copy)]
pub struct ObjectType {
    /// Facts about the struct.
    pub info: &'static TypeInfo,
    /// An empty one.
    pub new: fn() -> Box<dyn Object>,
    /// Decodes JSON; unknown and duplicate fields are recorded in the context.
    pub decode_json: fn(&[u8], &mut DecodeContext) -> ObjectResult,
    /// Decodes a protobuf message without envelope.
    pub decode_proto: fn(&[u8]) -> ObjectResult,
}

fn new<T: Kind>() -> Box<dyn Object> {
    Box::new(T::default())
}

fn decode_json<T: Kind>(json: &[u8], context: &mut DecodeContext) -> ObjectResult {
    Ok(Box::new(T::from_json_with(json, context)?))
}

fn decode_proto<T: Kind>(bytes: &[u8]) -> ObjectResult {
    Ok(Box::new(T::from_proto(bytes)?))
}

impl ObjectType {
    /// The entry of a kind.
    pub const fn of<T: Kind>() -> Self {
        Self { info: T::INFO, new: new::<T>, decode_json: decode_json::<T>, decode_proto: decode_proto::<T> }
    }
}

impl Resource {
    /// Group and plural: `deployments.apps`.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group, self.plural)
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group, self.version, self.kind)
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource itself allows the verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Key of an object in the store.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced && !namespace.is_empty() {
            format!("{}{namespace}/{name}", self.key_prefix)
        } else {
            format!("{}{name}", self.key_prefix)
        }
    }

    /// The path of its collection for all namespaces: `/apis/apps/v1/deployments`.
    pub fn collection_path(&self) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}/{}", self.api_version(), self.plural)
    }
}

struct Index {
    by_plural: HashMap<(&'static str, &'static str, &'static str), &'static Resource>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), &'static Resource>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| Index {
    by_plural: RESOURCES.iter().map(|r| ((r.group, r.version, r.plural), r)).collect(),
    by_kind: RESOURCES.iter().map(|r| ((r.group, r.version, r.kind), r)).collect(),
});

/// The resource with this group, version and plural name.
pub fn lookup(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    INDEX.by_plural.get(&(group, version, plural)).copied()
}

/// The resource whose objects have this kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    INDEX.by_kind.get(&(group, version, kind)).copied()
}

/// The resource of a typed kind.
pub fn list_of<K: Kind>() -> Option<&'static Resource> {
    by_kind(K::GROUP, K::VERSION, K::KIND)
}

/// All resources of a group and version, in discovery's order.
pub fn resources_of(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(move |r| r.group == group && r.version == version)
}
