//! What policies and webhooks there are, compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use meta::Object;
use parking_lot::Mutex;
use types::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use webhook::Users;

use super::configuration::{Binding, Policy};
use super::webhook::Hook;

/// Everything that applies to requests, in the order in which it is asked.
#[derive(Clone, Default)]
pub struct Sources {
    pub(super) mutating: BTreeMap<String, Arc<Policy>>,
    pub(super) mutating_bindings: BTreeMap<String, Arc<Binding>>,
    pub(super) validating: BTreeMap<String, Arc<Policy>>,
    pub(super) validating_bindings: BTreeMap<String, Arc<Binding>>,
    /// By the name of the configuration.
    pub(super) mutating_webhooks: BTreeMap<String, Arc<[Hook]>>,
    pub(super) validating_webhooks: BTreeMap<String, Arc<[Hook]>>,
}

/// The sources as they are now, replaced whole whenever one of their objects changes.
#[derive(Default)]
pub struct Dynamic {
    /// Who asks webhooks that mutate, and those that validate.
    users: [Option<Users>; 2],
    current: ArcSwap<Sources>,
    /// Changes come one after the other.
    writing: Mutex<()>,
}

impl Dynamic {
    /// Without sources yet; `users` tell who asks webhooks that mutate, and those that validate.
    pub(crate) fn asked_by(users: [Option<Users>; 2]) -> Self {
        Self { users, ..Self::default() }
    }

    /// The sources.
    pub fn load_full(&self) -> Arc<Sources> {
        self.current.load_full()
    }

    /// Takes over an object that was created or changed, or is gone. Objects of other kinds mean nothing here.
    pub fn apply(&self, object: &dyn Object, gone: bool) {
        let _writing = self.writing.lock();
        let mut next = Sources::clone(&self.current.load());
        let name = object.meta().name.to_string();
        if let Some(policy) = meta::downcast_ref::<MutatingAdmissionPolicy>(object) {
            put(&mut next.mutating, name, (!gone).then(|| Arc::new(Policy::mutating(policy))));
        } else if let Some(policy) = meta::downcast_ref::<ValidatingAdmissionPolicy>(object) {
            put(&mut next.validating, name, (!gone).then(|| Arc::new(Policy::validating(policy))));
        } else if let Some(binding) = meta::downcast_ref::<MutatingAdmissionPolicyBinding>(object) {
            put(&mut next.mutating_bindings, name, (!gone).then(|| Arc::new(Binding::mutating(binding))));
        } else if let Some(binding) = meta::downcast_ref::<ValidatingAdmissionPolicyBinding>(object) {
            put(&mut next.validating_bindings, name, (!gone).then(|| Arc::new(Binding::validating(binding))));
        } else if let Some(configuration) = meta::downcast_ref::<MutatingWebhookConfiguration>(object) {
            put(
                &mut next.mutating_webhooks,
                name,
                (!gone).then(|| Hook::mutating(configuration, self.users[0].as_ref())),
            );
        } else if let Some(configuration) = meta::downcast_ref::<ValidatingWebhookConfiguration>(object) {
            put(
                &mut next.validating_webhooks,
                name,
                (!gone).then(|| Hook::validating(configuration, self.users[1].as_ref())),
            );
        } else {
            return;
        }
        self.current.store(Arc::new(next));
    }

    /// The group and the plural names whose objects [`Dynamic::apply`] wants to hear of.
    pub const FOLLOWED: (&'static str, [&'static str; 6]) = (
        "admissionregistration.k8s.io",
        [
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
        ],
    );
}

fn put<T: ?Sized>(map: &mut BTreeMap<String, Arc<T>>, name: String, value: Option<Arc<T>>) {
    match value {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    };
}
