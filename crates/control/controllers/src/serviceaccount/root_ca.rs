//! The ConfigMap `kube-root-ca.crt` in every namespace, by which pods know the API server.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use informer::Key;
use meta::{Status, Str};
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use telemetry::{CounterFamily, HistogramFamily};
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

static SYNCS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Looks at namespaces for the certificates that pods trust, by the answer's code.";
    telemetry::counter("root_ca_cert_publisher_sync_total", help, &["code"])
});
static SYNC_SECONDS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.001, 2.0, 15);
    let help = "Seconds that such looks take.";
    telemetry::histogram("root_ca_cert_publisher_sync_duration_seconds", help, &["code"], &limits)
});

/// A look that began at `begun` is over.
fn synced(begun: Instant, refusal: Option<&Status>) {
    let code = refusal.map_or_else(|| "200".to_owned(), |status| status.code.to_string());
    SYNCS.with(&[&code]).inc();
    SYNC_SECONDS.with(&[&code]).observe_since(begun);
}

pub(crate) struct RootCa {
    pub(crate) pem: Str,
}

impl Reconciler for RootCa {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if !is_active(key, world) {
            return Next::Done;
        }
        let begun = Instant::now();
        let known = world.get::<ConfigMap>(&key.name, NAME);
        let mut wanted = known.as_deref().cloned().unwrap_or_default();
        wanted.metadata.namespace = key.name.clone();
        wanted.metadata.name = NAME.into();
        wanted.metadata.annotations.insert(ABOUT, ABOUT_TEXT.into());
        wanted.data = [(FILE, self.pem.clone())].into_iter().collect();
        match known {
            Some(known) if *known == wanted => {
                synced(begun, None);
                return Next::Done;
            }
            Some(_) => plan.update(wanted),
            None => plan.push(Write::create(wanted).ignore(409)),
        }
        plan.then(move |outcome, _| {
            synced(begun, outcome.error());
            settled(outcome)
        });
        Next::Done
    }
}
