//! Which controllers there are, and how all of them are started.

use std::sync::{Arc, LazyLock};

use call::Transport;
use client::Client;
use env::Env;
use informer::Informers;
use ipnet::Ipv4Net;
use reconcile::Context;
use telemetry::GaugeFamily;

use crate::certificates::{self, Authority};
use crate::serviceaccount::SignLegacy;
use crate::{
    autoscale, bootstrap, claims, cronjob, daemonset, deployment, disruption, endpoints, garbage, job,
    namespace, node, policystatus, quota, replicas, roles, serviceaccount, statefulset, volumes,
};

/// The user that reads for all controllers.
const READER: &str = "system:kube-controller-manager";

/// What extension API servers have in namespaces.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Resources that can be listed and deleted as a whole.
    pub resources: Vec<client::Resource>,
    /// Groups and versions (`group/version`) of which is not known what they have.
    pub stale: Vec<String>,
}

/// Tells what extension API servers have, as it is when that is asked.
pub type Extend = Arc<dyn Fn() -> Extensions + Send + Sync>;

/// Finds the transport of a user.
pub type Transports = Box<dyn Fn(&str) -> Arc<dyn Transport> + Send + Sync>;

/// What the controllers need to know of their cluster.
pub struct Config {
    /// The way to the API server as a user of this name: `system:serviceaccount:kube-system:<controller>-controller`, in
    /// the groups of service accounts, or `system:kube-controller-manager`.
    pub transports: Transports,
    /// Clock and randomness.
    pub env: Env,
    /// Range of pod addresses, divided among nodes; `None` leaves that to somebody else.
    pub cluster_cidr: Option<Ipv4Net>,
    /// PEM certificates by which pods know the API server.
    pub root_ca: Arc<str>,
    /// Signs the certificates of Kubernetes' own signers; `None` leaves that to somebody else.
    pub signing: Option<Arc<Authority>>,
    /// Signs the tokens of secrets for ServiceAccounts; `None` leaves those secrets empty.
    pub legacy_tokens: Option<SignLegacy>,
    /// What extension API servers have in namespaces.
    pub extensions: Extend,
    /// Whether the controller of this name (as in `--controllers`) is to run.
    pub enabled: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

/// One controller.
pub struct Entry {
    /// Name as in `--controllers` and in metrics.
    pub name: &'static str,
    /// Name of the service account that it acts as, in kube-system, or the user of all controllers.
    pub account: &'static str,
    start: fn(&Context, &Config) -> Option<Started>,
}

/// What a controller leaves running; dropping it ends the controller.
type Started = Box<dyn Send + Sync>;

fn started(running: impl Send + Sync + 'static) -> Option<Started> {
    Some(Box::new(running))
}

/// Controllers that run only when they are named.
const NAMED_ONLY: [&str; 2] = ["bootstrap-signer-controller", "token-cleaner-controller"];

/// Older names of controllers (`--controllers` takes both), where the name without `-controller` is none.
const ALIASES: &[(&str, &str)] = &[
    ("bootstrapsigner", "bootstrap-signer-controller"),
    ("csrapproving", "certificatesigningrequest-approving-controller"),
    ("csrcleaner", "certificatesigningrequest-cleaner-controller"),
    ("csrsigning", "certificatesigningrequest-signing-controller"),
    ("endpoint", "endpoints-controller"),
    ("endpointslicemirroring", "endpointslice-mirroring-controller"),
    ("ephemeral-volume", "ephemeral-volume-controller"),
    ("garbagecollector", "garbage-collector-controller"),
    ("horizontalpodautoscaling", "horizontal-pod-autoscaler-controller"),
    ("nodeipam", "node-ipam-controller"),
    ("nodelifecycle", "node-lifecycle-controller"),
    ("persistentvolume-binder", "persistentvolume-binder-controller"),
    ("persistentvolume-expander", "persistentvolume-expander-controller"),
    ("podgc", "pod-garbage-collector-controller"),
    ("pv-protection", "persistentvolume-protection-controller"),
    ("pvc-protection", "persistentvolumeclaim-protection-controller"),
    ("resource-claim-controller", "resourceclaim-controller"),
    ("root-ca-cert-publisher", "root-ca-certificate-publisher-controller"),
    ("serviceaccount-token", "serviceaccount-token-controller"),
    ("tokencleaner", "token-cleaner-controller"),
    ("ttl-after-finished", "ttl-after-finished-controller"),
];

/// Whether a list as of `--controllers` enables a controller: what names it first counts, then `*` for those that need not
/// be named.
pub fn enabled(list: &[String], name: &str) -> bool {
    let means = |item: &str| {
        let whole = ALIASES.iter().find(|(alias, _)| *alias == item).map_or(item, |(_, whole)| whole);
        whole == name || name.strip_suffix("-controller") == Some(whole)
    };
    for item in list {
        match item.strip_prefix('-') {
            Some(off) if means(off) => return false,
            None if means(item) => return true,
            _ => {}
        }
    }
    list.iter().any(|item| item == "*") && !NAMED_ONLY.contains(&name)
}

/// Every controller.
pub static TABLE: &[Entry] = &[
    Entry {
        name: "namespace-controller",
        account: "namespace-controller",
        start: |c, config| started(namespace::start(c, config.extensions.clone())),
    },
    Entry {
        name: "serviceaccount-controller",
        account: "service-account-controller",
        start: |c, _| started(serviceaccount::start(c)),
    },
    Entry {
        name: "serviceaccount-token-controller",
        account: READER,
        start: |c, config| {
            let sign = config.legacy_tokens.clone()?;
            started(serviceaccount::start_legacy(c, sign, &config.root_ca))
        },
    },
    Entry {
        name: "token-cleaner-controller",
        account: "token-cleaner",
        start: |c, _| started(bootstrap::start_cleaner(c)),
    },
    Entry {
        name: "bootstrap-signer-controller",
        account: "bootstrap-signer",
        start: |c, _| started(bootstrap::start_signer(c)),
    },
    Entry {
        name: "root-ca-certificate-publisher-controller",
        account: "root-ca-cert-publisher",
        start: |c, config| started(serviceaccount::start_root_ca(c, config.root_ca.clone())),
    },
    Entry {
        name: "replicaset-controller",
        account: "replicaset-controller",
        start: |c, _| started(replicas::start_replicasets(c)),
    },
    Entry {
        name: "replicationcontroller-controller",
        account: "replication-controller",
        start: |c, _| started(replicas::start_replicationcontrollers(c)),
    },
    Entry {
        name: "deployment-controller",
        account: "deployment-controller",
        start: |c, _| started(deployment::start(c)),
    },
    Entry {
        name: "endpoints-controller",
        account: "endpoint-controller",
        start: |c, _| started(endpoints::start_endpoints(c)),
    },
    Entry {
        name: "endpointslice-controller",
        account: "endpointslice-controller",
        start: |c, _| started(endpoints::start_slices(c)),
    },
    Entry {
        name: "endpointslice-mirroring-controller",
        account: "endpointslicemirroring-controller",
        start: |c, _| started(endpoints::start_mirroring(c)),
    },
    Entry {
        name: "daemonset-controller",
        account: "daemon-set-controller",
        start: |c, _| started(daemonset::start(c)),
    },
    Entry {
        name: "statefulset-controller",
        account: "statefulset-controller",
        start: |c, _| started(statefulset::start(c)),
    },
    Entry {
        name: "horizontal-pod-autoscaler-controller",
        account: "horizontal-pod-autoscaler",
        start: |c, _| started(autoscale::start(c)),
    },
    Entry {
        name: "validatingadmissionpolicy-status-controller",
        account: "validatingadmissionpolicy-status-controller",
        start: |c, _| started(policystatus::start(c)),
    },
    Entry {
        name: "disruption-controller",
        account: "disruption-controller",
        start: |c, _| started(disruption::start(c)),
    },
    Entry {
        name: "resourcequota-controller",
        account: "resourcequota-controller",
        start: |c, _| started(quota::start(c)),
    },
    Entry {
        name: "persistentvolume-binder-controller",
        account: "persistent-volume-binder",
        start: |c, _| started(volumes::start_binder(c)),
    },
    Entry {
        name: "persistentvolumeclaim-protection-controller",
        account: "pvc-protection-controller",
        start: |c, _| started(volumes::start_claim_protection(c)),
    },
    Entry {
        name: "persistentvolume-protection-controller",
        account: "pv-protection-controller",
        start: |c, _| started(volumes::start_volume_protection(c)),
    },
    Entry {
        name: "volumeattributesclass-protection-controller",
        account: "volumeattributesclass-protection-controller",
        start: |c, _| started(volumes::start_class_protection(c)),
    },
    Entry {
        name: "persistentvolume-expander-controller",
        account: "expand-controller",
        start: |c, _| started(volumes::start_expander(c)),
    },
    Entry {
        name: "ephemeral-volume-controller",
        account: "ephemeral-volume-controller",
        start: |c, _| started(volumes::start_ephemeral(c)),
    },
    Entry {
        name: "certificatesigningrequest-approving-controller",
        account: "certificate-controller",
        start: |c, _| started(certificates::start_approving(c)),
    },
    Entry {
        name: "certificatesigningrequest-signing-controller",
        account: "certificate-controller",
        start: |c, config| started(certificates::start_signing(c, config.signing.clone()?)),
    },
    Entry {
        name: "certificatesigningrequest-cleaner-controller",
        account: "certificate-controller",
        start: |c, _| started(certificates::start_cleaning(c)),
    },
    Entry {
        name: "clusterrole-aggregation-controller",
        account: "clusterrole-aggregation-controller",
        start: |c, _| started(roles::start(c)),
    },
    Entry {
        name: "resourceclaim-controller",
        account: "resource-claim-controller",
        start: |c, _| started(claims::start(c)),
    },
    Entry {
        name: "cronjob-controller",
        account: "cronjob-controller",
        start: |c, _| started(cronjob::start(c)),
    },
    Entry { name: "job-controller", account: "job-controller", start: |c, _| started(job::start(c)) },
    Entry {
        name: "ttl-after-finished-controller",
        account: "ttl-after-finished-controller",
        start: |c, _| started(job::start_ttl(c)),
    },
    Entry {
        name: "garbage-collector-controller",
        account: "generic-garbage-collector",
        start: |c, _| started(garbage::start(c)),
    },
    Entry {
        name: "node-lifecycle-controller",
        account: "node-controller",
        start: |c, _| started(node::start_lifecycle(c)),
    },
    Entry {
        name: "taint-eviction-controller",
        account: "node-controller",
        start: |c, _| started(node::start_taint_eviction(c)),
    },
    Entry {
        name: "node-ipam-controller",
        account: "node-controller",
        start: |c, config| config.cluster_cidr.and_then(|cidr| started(node::start_ipam(c, cidr))),
    },
    Entry { name: "ttl-controller", account: "ttl-controller", start: |c, _| started(node::start_ttl(c)) },
    Entry {
        name: "pod-garbage-collector-controller",
        account: "pod-garbage-collector",
        start: |c, _| started(node::start_pod_gc(c)),
    },
];

/// Running controllers. Dropping it ends them.
pub struct Handle {
    informers: Arc<Informers>,
    running: Vec<(&'static str, Started)>,
}

/// The manager that controllers run in, by upstream's name for it.
const MANAGER: &str = "kube-controller-manager";

static RUNNING: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Controllers that run here, each with a 1.";
    telemetry::gauge("running_managed_controllers", help, &["manager", "name"])
});

impl Drop for Handle {
    fn drop(&mut self) {
        self.running.iter().for_each(|(name, _)| RUNNING.with(&[MANAGER, name]).set(0.0));
    }
}

impl Handle {
    /// The caches that the controllers share, for other components of the process.
    pub fn informers(&self) -> &Arc<Informers> {
        &self.informers
    }

    /// Waits until all caches have their first full state.
    pub async fn synced(&self) {
        self.informers.synced().await;
    }
}

/// Starts every controller of [`TABLE`]. Needs a tokio runtime. Leader election, if wanted, is the caller's: start on
/// becoming the leader and drop the handle on losing it.
pub fn run(config: Config) -> Handle {
    let reader = Client::new((config.transports)(READER));
    let informers = Informers::new(reader, config.env.clone());
    run_on(&config, informers)
}

/// Like [`run`], over caches that the process has already.
pub fn run_on(config: &Config, informers: Arc<Informers>) -> Handle {
    let start = |entry: &Entry| {
        let user = match entry.account {
            READER => READER.to_owned(),
            account => format!("system:serviceaccount:kube-system:{account}"),
        };
        let context = Context {
            client: Client::new((config.transports)(&user)),
            informers: informers.clone(),
            env: config.env.clone(),
        };
        let started = (entry.start)(&context, config)?;
        RUNNING.with(&[MANAGER, entry.name]).set(1.0);
        Some((entry.name, started))
    };
    let running = TABLE.iter().filter(|entry| (config.enabled)(entry.name)).filter_map(start).collect();
    Handle { informers, running }
}

#[cfg(test)]
mod tests {
    use super::enabled;

    #[test]
    fn controllers_are_chosen_as_upstream_does() {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        for (chosen, name, on) in [
            ("*", "job-controller", true),
            ("*,-job", "job-controller", false),
            ("*,-job-controller", "job-controller", false),
            ("job", "job-controller", true),
            ("cronjob", "job-controller", false),
            ("-job,*", "job-controller", false),
            ("job,-job", "job-controller", true),
            ("*", "token-cleaner-controller", false),
            ("*,tokencleaner", "token-cleaner-controller", true),
            ("*,bootstrap-signer-controller", "bootstrap-signer-controller", true),
            ("csrsigning", "certificatesigningrequest-signing-controller", true),
            ("", "job-controller", false),
        ] {
            assert_eq!(enabled(&list(chosen), name), on, "{chosen} {name}");
        }
    }
}
