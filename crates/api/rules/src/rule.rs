//! One kind's rules as a trait over its type, and the same without the type.
//!
//! A group's file implements [`Rules`] for its kinds, overriding what differs from the ordinary; [`row`] turns
//! that into the [`KindRules`] of the table, which the registry calls without knowing types.
//! The order in which the registry calls: `default` after decoding; on create `prepare_create`, `validate_create`,
//! `warnings`; on update `prepare_update`, `validate_update`, `warnings`.

use std::any::Any;
use std::marker::PhantomData;

use crate::check::{Errs, NameCheck, ip, metadata, name_subdomain, path_segment};
use meta::{FieldError, Kind, List, Map, Object, Str, Time};

/// What of the request a rule may depend on.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks.
    pub username: Str,
    /// The asker's uid, when the authenticator knows one.
    pub uid: Str,
    /// The asker's groups.
    pub groups: List<Str>,
    /// What else the authenticator knows of the asker.
    pub extra: Map<List<Str>>,
    /// Whether containers may be privileged in this cluster (`--allow-privileged`).
    pub allow_privileged: bool,
    /// Whether a new object came without labels of its own: those that it has were given by defaulting.
    pub unlabelled: bool,
    /// When the request is handled, for the times that the server writes into objects.
    pub now: Option<Time>,
}

impl Default for Context {
    fn default() -> Self {
        Context {
            username: Str::default(),
            uid: Str::default(),
            groups: List::default(),
            extra: Map::default(),
            allow_privileged: true,
            unlabelled: false,
            now: None,
        }
    }
}

/// Which part of an object an update goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource<'a> {
    /// The object itself.
    Main,
    /// Its `status`.
    Status,
    /// Another subresource that writes the object: `finalize`, `approval`, `resize`, `ephemeralcontainers`, ...
    Other(&'a str),
}

/// The rules of a kind. Every method has the behaviour of a kind without peculiarities.
pub trait Rules: Kind + Object + Sized {
    /// What names look like.
    const NAME: NameCheck = name_subdomain;
    /// Whether `generateName` is held to what names look like.
    const CHECKS_GENERATE_NAME: bool = true;
    /// Whether finalizers must be standard ones or carry a domain.
    const KNOWN_FINALIZERS: bool = true;
    /// How often an update runs the checks of a new object's metadata again, as upstream does for some kinds.
    const REVALIDATES_METADATA: u8 = 0;
    /// Whether an update's checks of metadata are made by the kind too, and so reported twice.
    const RECHECKS_UPDATED_METADATA: bool = true;
    /// The same of an update of the status.
    const RECHECKS_STATUS_METADATA: bool = Self::RECHECKS_UPDATED_METADATA;
    /// Whether PUT creates what does not exist.
    const CREATE_ON_UPDATE: bool = false;
    /// Whether an update without `resourceVersion` overwrites whatever is there.
    const UNCONDITIONAL_UPDATE: bool = true;
    /// Whether deletion without a policy leaves dependents behind.
    const ORPHANS_BY_DEFAULT: bool = false;
    /// Whether `metadata.generation` counts the changes of the spec.
    const GENERATION: bool = false;
    /// Field labels for selectors besides `metadata.name` and `metadata.namespace`.
    const FIELD_LABELS: &'static [&'static str] = &[];

    /// Fills in what the user left out.
    fn default(&mut self) {}

    /// Sets the status back to that of a new object.
    fn clear_status(&mut self) {}

    /// Takes the status of the stored object, which an update of the object may not change.
    fn keep_status(&mut self, _old: &Self) {}

    /// Takes the spec of the stored object, which an update of the status may not change.
    fn keep_spec(&mut self, _old: &Self) {}

    /// Whether the part that `generation` counts differs.
    fn spec_differs(&self, _old: &Self) -> bool {
        false
    }

    /// Takes out fields of features that are off, before a written object is made ready.
    fn drop_disabled(&mut self) {}

    /// Makes a new object ready to be validated and stored.
    fn prepare_create(&mut self, _cx: &Context) {
        self.clear_status();
        if Self::GENERATION {
            self.meta_mut().generation = 1;
        }
    }

    /// What reading a stored object fills in or puts right: it happens to what was validated, before it is stored.
    fn settle(&mut self) {}

    /// Makes a changed object ready to be validated and stored.
    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.keep_status(old);
        self.count_generation(old);
    }

    /// Makes an object whose status changed ready to be validated and stored.
    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
    }

    /// As [`Rules::prepare_update`], for subresources other than the status.
    fn prepare_subresource(&mut self, old: &Self, _name: &str, cx: &Context) {
        self.prepare_update(old, cx);
    }

    /// Raises the generation when the spec changed.
    fn count_generation(&mut self, old: &Self) {
        if Self::GENERATION && self.spec_differs(old) {
            self.meta_mut().generation = old.meta().generation + 1;
        }
    }

    /// Checks a new object; its metadata was checked before.
    fn check(&self, _e: &mut Errs, _cx: &Context) {}

    /// What only a new object is held to; upstream reports it after the rest.
    fn check_created(&self, _e: &mut Errs) {}

    /// Checks a changed object; its metadata was checked before.
    fn check_update(&self, _old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
    }

    /// Checks an object whose status changed; its metadata was checked before.
    fn check_status(&self, _old: &Self, _e: &mut Errs, _cx: &Context) {}

    /// As [`Rules::check_update`], for subresources other than the status.
    fn check_subresource(&self, old: &Self, _name: &str, e: &mut Errs, cx: &Context) {
        self.check_update(old, e, cx);
    }

    /// What to tell the user about an accepted object, for `Warning` headers.
    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        Vec::new()
    }

    /// What to tell the user about an object whose status changed.
    fn status_warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What to tell the user about a new object as it came, before it is made ready.
    fn early_warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why upstream's unversioned type cannot take the object, although it is one of its kind.
    fn unreadable(&self) -> Option<String> {
        None
    }

    /// For kinds that end gracefully: how many seconds a deletion gives, zero for at once.
    fn graceful_delete(&self, _requested_seconds: Option<i64>) -> Option<i64> {
        None
    }

    /// The value of one of [`Rules::FIELD_LABELS`].
    fn field(&self, _label: &str) -> Option<Str> {
        None
    }
}

/// Whether an update counted as a change, or the object is new: what upstream repeats its warnings of templates for.
pub(crate) fn counted<T: Object>(new: &T, old: Option<&T>) -> bool {
    old.is_none_or(|old| old.meta().generation != new.meta().generation)
}

/// Implements the parts of [`Rules`] that concern `spec` and `status`. With the word `generation`, changes of the
/// spec are counted.
macro_rules! spec_and_status {
    (generation) => {
        const GENERATION: bool = true;
        spec_and_status!();
    };
    () => {
        fn clear_status(&mut self) {
            self.status = std::default::Default::default();
        }
        fn keep_status(&mut self, old: &Self) {
            self.status.clone_from(&old.status);
        }
        fn keep_spec(&mut self, old: &Self) {
            self.spec.clone_from(&old.spec);
        }
        fn spec_differs(&self, old: &Self) -> bool {
            self.spec != old.spec
        }
    };
}
pub(crate) use spec_and_status;

/// Implements the part of [`Rules`] for kinds that have a spec whose changes are counted, and no status.
macro_rules! spec_only {
    () => {
        const GENERATION: bool = true;
        fn spec_differs(&self, old: &Self) -> bool {
            self.spec != old.spec
        }
    };
}
pub(crate) use spec_only;

/// The rules of a kind, whatever its type: a row of the table for built-in kinds, a schema for custom ones. An object of
/// another kind is left alone.
pub trait KindRules: Send + Sync {
    /// API group, empty for the core group.
    fn group(&self) -> &str;
    /// API version.
    fn version(&self) -> &str;
    /// Kind.
    fn kind(&self) -> &str;
    /// Whether PUT creates what does not exist.
    fn create_on_update(&self) -> bool {
        false
    }
    /// Whether an update without `resourceVersion` overwrites whatever is there.
    fn unconditional_update(&self) -> bool {
        true
    }
    /// Whether deletion without a policy leaves dependents behind.
    fn orphans_by_default(&self) -> bool {
        false
    }
    /// Whether the kind has a field label for selectors besides `metadata.name` and `metadata.namespace`.
    fn has_field(&self, label: &str) -> bool;
    /// Whether it has any.
    fn has_fields(&self) -> bool;
    /// Fills in what the user left out.
    fn default(&self, object: &mut dyn Object);
    /// Makes a new object ready; name, uid and creation time are set already.
    fn prepare_create(&self, cx: &Context, object: &mut dyn Object);
    /// What reading a stored object fills in or puts right.
    fn settle(&self, object: &mut dyn Object);
    /// Makes a changed object ready.
    fn prepare_update(&self, cx: &Context, new: &mut dyn Object, old: &dyn Object, part: Subresource<'_>);
    /// What is wrong with a new object; empty when nothing is.
    fn validate_create(&self, cx: &Context, object: &dyn Object) -> Vec<FieldError>;
    /// What is wrong with a changed object.
    fn validate_update(
        &self,
        cx: &Context,
        new: &dyn Object,
        old: &dyn Object,
        part: Subresource<'_>,
    ) -> Vec<FieldError>;
    /// Texts for `Warning` headers; `old` on update.
    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String>;
    /// Texts for `Warning` headers about a changed status.
    fn status_warnings(&self, _new: &dyn Object) -> Vec<String> {
        Vec::new()
    }
    /// Why an object of the kind cannot be read as one; told as errors of decoding are.
    fn unreadable(&self, _object: &dyn Object) -> Option<String> {
        None
    }
    /// Texts that are told even if the object is refused: about a new object that is not made ready yet, or a changed one.
    fn early_warnings(&self, _new: &dyn Object, _old: Option<&dyn Object>) -> Vec<String> {
        Vec::new()
    }
    /// For kinds that end gracefully: how many seconds a deletion gives, zero for at once; nothing for other kinds.
    fn graceful_delete(&self, object: &dyn Object, requested_seconds: Option<i64>) -> Option<i64>;
    /// The value of a field label, `metadata.name` and `metadata.namespace` included.
    fn field(&self, object: &dyn Object, label: &str) -> Option<Str>;
}

/// The row of a typed kind.
pub(crate) struct Row<K>(PhantomData<fn() -> K>);

/// The row of a kind.
pub(crate) const fn row<K: Rules>() -> &'static dyn KindRules {
    &Row::<K>(PhantomData)
}

fn typed<K: Any>(object: &dyn Object) -> Option<&K> {
    object.as_any().downcast_ref()
}

impl<K: Rules> KindRules for Row<K> {
    fn group(&self) -> &str {
        K::GROUP
    }
    fn version(&self) -> &str {
        K::VERSION
    }
    fn kind(&self) -> &str {
        K::KIND
    }
    fn create_on_update(&self) -> bool {
        K::CREATE_ON_UPDATE
    }
    fn unconditional_update(&self) -> bool {
        K::UNCONDITIONAL_UPDATE
    }
    fn orphans_by_default(&self) -> bool {
        K::ORPHANS_BY_DEFAULT
    }
    fn has_field(&self, label: &str) -> bool {
        K::FIELD_LABELS.contains(&label)
    }
    fn has_fields(&self) -> bool {
        !K::FIELD_LABELS.is_empty()
    }
    fn default(&self, object: &mut dyn Object) {
        if let Some(k) = object.as_any_mut().downcast_mut::<K>() {
            Rules::default(k);
        }
    }
    fn prepare_create(&self, cx: &Context, object: &mut dyn Object) {
        if let Some(k) = object.as_any_mut().downcast_mut::<K>() {
            k.drop_disabled();
            k.prepare_create(cx);
        }
    }
    fn settle(&self, object: &mut dyn Object) {
        if let Some(k) = object.as_any_mut().downcast_mut::<K>() {
            k.settle();
        }
    }
    fn prepare_update(&self, cx: &Context, new: &mut dyn Object, old: &dyn Object, part: Subresource<'_>) {
        if let (Some(new), Some(old)) = (new.as_any_mut().downcast_mut::<K>(), typed::<K>(old)) {
            keep_system_fields(new, old, |new| match part {
                Subresource::Main => {
                    new.drop_disabled();
                    new.prepare_update(old, cx);
                }
                Subresource::Status => new.prepare_status(old, cx),
                Subresource::Other(name) => new.prepare_subresource(old, name, cx),
            });
        }
    }
    fn validate_create(&self, cx: &Context, object: &dyn Object) -> Vec<FieldError> {
        typed::<K>(object).map_or_else(Vec::new, |k| validate_create(cx, k))
    }
    fn validate_update(
        &self,
        cx: &Context,
        new: &dyn Object,
        old: &dyn Object,
        part: Subresource<'_>,
    ) -> Vec<FieldError> {
        match (typed::<K>(new), typed::<K>(old)) {
            (Some(new), Some(old)) => validate_update(cx, new, old, part),
            _ => Vec::new(),
        }
    }
    fn status_warnings(&self, new: &dyn Object) -> Vec<String> {
        typed::<K>(new).map_or_else(Vec::new, Rules::status_warnings)
    }
    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        typed::<K>(new).map_or_else(Vec::new, |k| k.warnings(old.and_then(typed::<K>)))
    }
    fn unreadable(&self, object: &dyn Object) -> Option<String> {
        typed::<K>(object)?.unreadable()
    }
    fn early_warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        typed::<K>(new).filter(|_| old.is_none()).map_or_else(Vec::new, Rules::early_warnings)
    }
    fn graceful_delete(&self, object: &dyn Object, requested_seconds: Option<i64>) -> Option<i64> {
        typed::<K>(object)?.graceful_delete(requested_seconds)
    }
    fn field(&self, object: &dyn Object, label: &str) -> Option<Str> {
        metadata_field(object, label).or_else(|| typed::<K>(object)?.field(label))
    }
}

/// The two field labels that every kind has.
pub fn metadata_field(object: &dyn Object, label: &str) -> Option<Str> {
    match label {
        "metadata.name" => Some(object.meta().name.clone()),
        "metadata.namespace" => Some(object.meta().namespace.clone()),
        _ => None,
    }
}

/// Makes a changed object ready by `prepare`, and keeps what the system wrote, whatever the user sent.
pub fn keep_system_fields<K: Object + ?Sized>(new: &mut K, old: &dyn Object, prepare: impl FnOnce(&mut K)) {
    new.meta_mut().generation = old.meta().generation;
    prepare(new);
    let (new, old) = (new.meta_mut(), old.meta());
    if new.uid.is_empty() {
        new.uid = old.uid.clone();
    }
    if old.creation_timestamp.is_some() {
        new.creation_timestamp = old.creation_timestamp;
    }
    if old.deletion_timestamp.is_some() {
        new.deletion_timestamp = old.deletion_timestamp;
    }
    if new.deletion_grace_period_seconds.is_none() {
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
}

/// What names of a kind look like, and prefixes of names where they are looked at.
fn name_check<K: Rules>() -> NameCheck {
    match K::CHECKS_GENERATE_NAME {
        true => K::NAME,
        false => |name, prefix| if prefix { Vec::new() } else { K::NAME(name, prefix) },
    }
}

fn validate_create<K: Rules>(cx: &Context, k: &K) -> Vec<FieldError> {
    let mut e = Errs::new();
    metadata::create(&mut e, k.meta(), K::NAMESPACED, name_check::<K>());
    if K::KNOWN_FINALIZERS {
        metadata::known_finalizers(&mut e, k.meta());
    }
    k.check(&mut e, cx);
    k.check_created(&mut e);
    if e.is_empty() {
        metadata::create(&mut e, k.meta(), K::NAMESPACED, path_segment);
    }
    e.into_vec()
}

fn validate_update<K: Rules>(cx: &Context, new: &K, old: &K, part: Subresource<'_>) -> Vec<FieldError> {
    let mut e = Errs::new();
    // The common checks of every update, then those that each kind makes again for itself.
    metadata::create(&mut e, new.meta(), K::NAMESPACED, path_segment);
    metadata::update(&mut e, new.meta(), old.meta());
    let rechecks = match part {
        Subresource::Status => K::RECHECKS_STATUS_METADATA,
        _ => K::RECHECKS_UPDATED_METADATA,
    };
    if rechecks {
        metadata::update(&mut e, new.meta(), old.meta());
        if K::KNOWN_FINALIZERS {
            metadata::known_finalizers(&mut e, new.meta());
        }
    }
    match part {
        Subresource::Main => {
            for _ in 0..K::REVALIDATES_METADATA {
                metadata::create(&mut e, new.meta(), K::NAMESPACED, name_check::<K>());
                if K::KNOWN_FINALIZERS {
                    metadata::known_finalizers(&mut e, new.meta());
                }
            }
            new.check_update(old, &mut e, cx);
        }
        Subresource::Status => new.check_status(old, &mut e, cx),
        Subresource::Other(name) => new.check_subresource(old, name, &mut e, cx),
    }
    let mut errors = e.into_vec();
    if errors.iter().any(|error| ip::lenient_once(error).is_some()) {
        let before = meta::to_value(old);
        errors.retain(|error| ip::lenient_once(error).is_none_or(|value| !holds(&before, value)));
    }
    errors
}

/// Whether some text of the document is this one.
fn holds(document: &serde_json::Value, text: &str) -> bool {
    match document {
        serde_json::Value::String(known) => known == text,
        serde_json::Value::Array(items) => items.iter().any(|item| holds(item, text)),
        serde_json::Value::Object(members) => members.values().any(|member| holds(member, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use meta::Codec;
    use types::networking::v1::NetworkPolicy;

    use super::*;

    #[test]
    fn some_kinds_are_never_updated_unconditionally() {
        let unconditional = |group: &str, kind: &str| {
            crate::of(group, "v1", kind).unwrap_or_else(|| panic!("{group} {kind}")).unconditional_update()
        };
        for (group, kind, expected) in [
            ("", "Pod", true),
            ("apps", "Deployment", true),
            ("networking.k8s.io", "NetworkPolicy", true),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", false),
            ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", false),
            ("coordination.k8s.io", "Lease", false),
            ("node.k8s.io", "RuntimeClass", false),
            ("policy", "PodDisruptionBudget", false),
            ("storage.k8s.io", "CSINode", false),
            ("storage.k8s.io", "StorageClass", true),
            ("storage.k8s.io", "VolumeAttachment", false),
        ] {
            assert_eq!(unconditional(group, kind), expected, "{kind}");
        }
    }

    #[test]
    fn objects_keep_the_addresses_that_they_have() {
        let policy = |cidr: &str, label: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"p","namespace":"n","resourceVersion":"1","uid":"u","labels":{{"l":"{label}"}}}},"spec":{{"podSelector":{{}},"policyTypes":["Ingress"],"ingress":[{{"from":[{{"ipBlock":{{"cidr":"{cidr}"}}}}]}}]}}}}"#
            );
            NetworkPolicy::from_json(text.as_bytes()).unwrap()
        };
        let old = policy("10.0.0.5/8", "a");
        let update =
            |new: &NetworkPolicy| validate_update(&Context::default(), new, &old, Subresource::Main).len();
        assert_eq!(update(&policy("10.0.0.5/8", "b")), 0, "it had this range");
        assert_eq!(update(&policy("10.0.0.6/8", "b")), 1, "not this one");
        assert_eq!(update(&policy("10.0.0/8", "b")), 1, "and this is none");
    }
}
