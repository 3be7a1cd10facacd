//! The question that a plugin is asked.

use std::sync::Arc;

use authn::User;
use call::{DeleteOptions, Target, WriteOptions};
use meta::{Object, Str};
use serde_json::Value as Json;

use crate::notes::Notes;

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It replaces an older state.
    Update,
    /// It goes away.
    Delete,
    /// Somebody connects to it: exec, attach, portforward, proxy.
    Connect,
}

impl Operation {
    /// As reviews and metrics write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// One change under review.
pub struct Review<'a> {
    /// The operation.
    pub operation: Operation,
    /// Where; the name is empty when it is yet to be generated.
    pub target: &'a Target,
    /// Who.
    pub user: &'a Arc<User>,
    /// The state before, for updates and deletes.
    pub old: Option<&'a dyn Object>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// Takes what plugins say besides yes and no.
    pub notes: &'a Notes,
    /// What the client asked for besides.
    pub options: Options<'a>,
    /// Reads what programmed admission made of the object.
    pub codec: &'a dyn ObjectCodec,
}

/// The options of a request.
#[derive(Clone, Copy, Debug)]
pub enum Options<'a> {
    /// There are none.
    None,
    /// Of a create or an update.
    Write(&'a WriteOptions),
    /// Of a delete.
    Delete(&'a DeleteOptions),
    /// Of a connection, as the object that upstream makes of them: `PodExecOptions` and the like.
    Connect(&'a Json),
}

/// Reads objects of the kind under review.
pub trait ObjectCodec: Send + Sync {
    /// The object, defaulted; the error says what is wrong with the JSON.
    fn decode(&self, json: &Json) -> Result<Box<dyn Object>, String>;

    /// As [`ObjectCodec::decode`]; fields that the kind does not have are an error, where it is known what it has.
    fn decode_strict(&self, json: &Json) -> Result<Box<dyn Object>, String> {
        self.decode(json)
    }

    /// What such an object is made of, for merging into it.
    fn place(&self, object: &dyn Object) -> schema::apply::Place<'_> {
        object.type_info().map_or(schema::apply::Place::Deduced, schema::apply::Place::Struct)
    }
}

/// For reviews of what has no object, or whose object cannot be replaced.
pub struct NoCodec;

impl ObjectCodec for NoCodec {
    fn decode(&self, _: &Json) -> Result<Box<dyn Object>, String> {
        Err("the object cannot be changed".to_owned())
    }
}

impl Review<'_> {
    /// Whether this is `operation` on the resource itself.
    pub fn is(&self, operation: Operation, group: &str, resource: &str) -> bool {
        self.operation == operation && self.on(group, resource) && self.target.subresource.is_empty()
    }

    /// Whether the resource, or any subresource of it, is meant.
    pub fn on(&self, group: &str, resource: &str) -> bool {
        self.target.group.as_str() == group && self.target.resource.as_str() == resource
    }

    /// The namespace of the request.
    pub fn namespace(&self) -> &Str {
        &self.target.namespace
    }
}

/// The object as `T`.
pub(crate) fn as_mut<T: 'static>(object: &mut dyn Object) -> Option<&mut T> {
    object.as_any_mut().downcast_mut()
}

/// The object as `T`.
pub(crate) fn as_ref<T: 'static>(object: &dyn Object) -> Option<&T> {
    object.as_any().downcast_ref()
}
