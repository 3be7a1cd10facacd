//! The ConfigMap `kube-root-ca.crt` in every namespace, by which pods know the API server.

use std::sync::Arc;

use informer::Key;
use meta::Str;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::core::v1::{ConfigMap, Namespace};

use super::{is_active, settled};

const NAME: &str = "kube-root-ca.crt";
const FILE: &str = "ca.crt";
const ABOUT: &str = "kubernetes.io/description";
/// Part of the API: clients see it.
const ABOUT_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Starts the controller that publishes `root_ca`, PEM certificates.
pub(crate) fn start(context: &Context, root_ca: Arc<str>) -> Running {
    Controller::new(
        "root_ca_cert_publisher",
        "root-ca-cert-publisher",
        context.clone(),
        RootCa { pem: Str::from(&*root_ca) },
    )
    .on::<Namespace>(|namespace, _| vec![Key::of(namespace)])
    .on::<ConfigMap>(|map, _| match map.metadata.name.as_str() {
        NAME => vec![Key::new("", &map.metadata.namespace)],
        _ => Vec::new(),
    })
    .start()
}

pub(crate) struct RootCa {
    pub(crate) pem: Str,
}

impl Reconciler for RootCa {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if !is_active(key, world) {
            return Next::Done;
        }
        let known = world.get::<ConfigMap>(&key.name, NAME);
        let mut wanted = known.as_deref().cloned().unwrap_or_default();
        wanted.metadata.namespace = key.name.clone();
        wanted.metadata.name = NAME.into();
        wanted.metadata.annotations.insert(ABOUT, ABOUT_TEXT.into());
        wanted.data = [(FILE, self.pem.clone())].into_iter().collect();
        match known {
            Some(known) if *known == wanted => return Next::Done,
            Some(_) => plan.update(wanted),
            None => plan.push(Write::create(wanted).ignore(409)),
        }
        plan.then(|outcome, _| settled(outcome));
        Next::Done
    }
}
