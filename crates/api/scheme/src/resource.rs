//! One entry of the table of resources, and how to find it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use meta::{Codec as _, DecodeContext, DecodeError, GroupResource, GroupVersionKind, Kind, Object, TypeInfo};

use crate::RESOURCES;

/// A name in the table: part of the program for built-in resources, read from a definition for custom ones.
pub type Name = Cow<'static, str>;

/// One served resource.
#[derive(Debug, Clone)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: Name,
    /// API version.
    pub version: Name,
    /// Kind of its objects.
    pub kind: Name,
    /// Kind of its lists; empty when it cannot be listed.
    pub list_kind: Name,
    /// Name in paths.
    pub plural: Name,
    /// Name for one.
    pub singular: Name,
    /// Names that kubectl accepts as well.
    pub short_names: Cow<'static, [Name]>,
    /// Groups such as `all`.
    pub categories: Cow<'static, [Name]>,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of the resource itself, in discovery's order.
    pub verbs: &'static [&'static str],
    /// Its subresources, sorted by name.
    pub subresources: Cow<'static, [Subresource]>,
    /// Group in which objects are stored (differs for events, which two groups share).
    pub storage_group: Name,
    /// Version in which objects are stored.
    pub storage_version: Name,
    /// Where objects are stored: `/registry/pods/`; a namespaced object's key continues with `namespace/name`.
    pub key_prefix: Name,
    /// Makes and decodes objects.
    pub object: Objects,
}

/// One subresource.
#[derive(Debug, Clone)]
pub struct Subresource {
    /// Name in paths: `status`.
    pub name: &'static str,
    /// Group of its kind.
    pub group: Name,
    /// Version of its kind.
    pub version: Name,
    /// Kind that it takes and gives.
    pub kind: Name,
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

/// Makes and decodes the objects of a kind that a definition describes.
pub trait CustomObjects: Send + Sync {
    /// An empty one.
    fn new_object(&self) -> Box<dyn Object>;
    /// Decodes JSON; fields that the schema does not know are recorded in the context.
    fn decode_json(&self, json: &[u8], context: &mut DecodeContext) -> ObjectResult;
}

/// Makes and decodes the objects of one resource.
#[derive(Clone)]
pub enum Objects {
    /// Objects with a struct of their own.
    Typed(ObjectType),
    /// Objects of a custom resource.
    Custom(Arc<dyn CustomObjects>),
}

impl Objects {
    /// The entry of a kind with a struct.
    pub const fn of<T: Kind>() -> Self {
        Self::Typed(ObjectType::of::<T>())
    }

    /// Facts about the struct; `None` for custom resources.
    pub fn info(&self) -> Option<&'static TypeInfo> {
        match self {
            Self::Typed(typed) => Some(typed.info),
            Self::Custom(_) => None,
        }
    }

    /// An empty object.
    pub fn new_object(&self) -> Box<dyn Object> {
        match self {
            Self::Typed(typed) => (typed.new)(),
            Self::Custom(custom) => custom.new_object(),
        }
    }

    /// Decodes JSON; unknown and duplicate fields are recorded in the context.
    pub fn decode_json(&self, json: &[u8], context: &mut DecodeContext) -> ObjectResult {
        match self {
            Self::Typed(typed) => (typed.decode_json)(json, context),
            Self::Custom(custom) => custom.decode_json(json, context),
        }
    }

    /// Decodes a protobuf message without envelope, a form that custom resources do not have.
    pub fn decode_proto(&self, bytes: &[u8]) -> ObjectResult {
        match self {
            Self::Typed(typed) => (typed.decode_proto)(bytes),
            Self::Custom(_) => Err(DecodeError::text("custom resources have no protobuf form")),
        }
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().map_or("custom", |info| info.model))
    }
}

impl Resource {
    /// Group and plural: `deployments.apps`.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, &*self.plural)
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&*self.group, &*self.version, &*self.kind)
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone().into_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource itself allows the verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether objects are stored in this version of the resource.
    pub fn is_storage_version(&self) -> bool {
        self.storage_version == self.version && self.storage_group == self.group
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
    by_plural: RESOURCES.iter().map(|r| ((&*r.group, &*r.version, &*r.plural), r)).collect(),
    by_kind: RESOURCES.iter().map(|r| ((&*r.group, &*r.version, &*r.kind), r)).collect(),
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
