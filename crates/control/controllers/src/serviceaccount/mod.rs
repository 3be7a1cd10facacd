//! What every namespace gets: the ServiceAccount `default` and the root certificate of the cluster. Beside them, tokens of
//! ServiceAccounts that live in secrets (`legacy`).

mod legacy;
mod root_ca;

use informer::Key;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::core::v1::{Namespace, ServiceAccount};

use crate::replicas::namespace_ends;

pub(crate) use legacy::start as start_legacy;
pub use legacy::{LegacyToken, SignLegacy};
pub(crate) use root_ca::start as start_root_ca;

const DEFAULT: &str = "default";

/// Starts the controller of default ServiceAccounts.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("serviceaccount", "serviceaccount-controller", context.clone(), Defaults)
        .on::<Namespace>(|namespace, _| vec![Key::of(namespace)])
        .on::<ServiceAccount>(|account, _| match account.metadata.name.as_str() {
            DEFAULT => vec![Key::new("", &account.metadata.namespace)],
            _ => Vec::new(),
        })
        .start()
}

pub(crate) struct Defaults;

impl Reconciler for Defaults {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if !is_active(key, world) || world.get::<ServiceAccount>(&key.name, DEFAULT).is_some() {
            return Next::Done;
        }
        let mut account = ServiceAccount::default();
        account.metadata.namespace = key.name.clone();
        account.metadata.name = DEFAULT.into();
        plan.push(Write::create(account).ignore(409));
        plan.then(|outcome, _| settled(outcome));
        Next::Done
    }
}

fn is_active(namespace: &Key, world: &World) -> bool {
    world.get_key::<Namespace>(namespace).is_some_and(|namespace| {
        namespace.metadata.deletion_timestamp.is_none() && namespace.status.phase != "Terminating"
    })
}

/// A namespace that ends needs nothing any more.
fn settled(outcome: &reconcile::Outcome) -> Next {
    match outcome.error() {
        Some(status) if namespace_ends(status) || status.code == 404 => Next::Done,
        _ => outcome.verdict(),
    }
}
