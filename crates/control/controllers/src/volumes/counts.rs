//! How many volumes and claims there are, bound and free, for `/metrics`: counted when somebody looks.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Weak};

use informer::{Cache, Informers};
use parking_lot::Mutex;
use telemetry::Exposition;
use types::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::bind::{class_of, class_of_volume};

/// The caches that are counted: those of the controllers that run now, if they do.
static CACHES: LazyLock<Mutex<Weak<Caches>>> = LazyLock::new(|| {
    telemetry::collector(|page| {
        let caches = CACHES.lock().upgrade();
        if let Some(caches) = caches {
            caches.count(page);
        }
    });
    Mutex::default()
});

/// What is counted. Dropping it ends that.
pub(crate) struct Caches {
    volumes: Arc<Cache<PersistentVolume>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
}

/// Shows the counts for as long as the answer is kept.
pub(super) fn show(informers: &Informers) -> Arc<Caches> {
    let caches = Arc::new(Caches { volumes: informers.cache(), claims: informers.cache() });
    *CACHES.lock() = Arc::downgrade(&caches);
    caches
}

/// Numbers by label values.
type Counts = BTreeMap<Vec<Box<str>>, usize>;

fn count(counts: &mut Counts, values: &[&str]) {
    *counts.entry(values.iter().map(|value| Box::from(*value)).collect()).or_default() += 1;
}

fn tell(page: &mut Exposition, name: &str, help: &str, labels: &[&str], counts: &Counts) {
    page.header(name, help, "gauge");
    for (values, count) in counts {
        let labelled: Vec<_> = labels.iter().copied().zip(values.iter().cloned()).collect();
        page.sample(name, &labelled, *count as f64);
    }
}

impl Caches {
    fn count(&self, page: &mut Exposition) {
        let (mut all, mut bound, mut free) = (Counts::new(), Counts::new(), Counts::new());
        for volume in self.volumes.list() {
            let mode = volume.spec.volume_mode.as_deref().unwrap_or("Filesystem");
            count(&mut all, &[&plugin(&volume), mode]);
            let is_bound = volume.status.phase == "Bound";
            count(if is_bound { &mut bound } else { &mut free }, &[class_of_volume(&volume)]);
        }
        let (name, class) = ("pv_collector_total_pv_count", &["storage_class"]);
        tell(page, name, "Volumes, by what they are.", &["plugin_name", "volume_mode"], &all);
        tell(page, "pv_collector_bound_pv_count", "Volumes that are bound.", class, &bound);
        tell(page, "pv_collector_unbound_pv_count", "Volumes that are not bound.", class, &free);
        let (mut bound, mut free) = (Counts::new(), Counts::new());
        for claim in self.claims.list() {
            let attributes = claim.spec.volume_attributes_class_name.as_deref().unwrap_or_default();
            let values = [&*claim.metadata.namespace, class_of(&claim), attributes];
            let is_bound = claim.status.phase == "Bound";
            count(if is_bound { &mut bound } else { &mut free }, &values);
        }
        let labels = &["namespace", "storage_class", "volume_attributes_class"];
        tell(page, "pv_collector_bound_pvc_count", "Claims that are bound.", labels, &bound);
        tell(page, "pv_collector_unbound_pvc_count", "Claims that are not bound.", labels, &free);
    }
}

/// What provides a volume, by the names of upstream's plugins.
fn plugin(volume: &PersistentVolume) -> String {
    let spec = &volume.spec;
    if let Some(csi) = &spec.csi {
        return format!("kubernetes.io/csi:{}", csi.driver);
    }
    let known = [
        (spec.host_path.is_some(), "kubernetes.io/host-path"),
        (spec.local.is_some(), "kubernetes.io/local-volume"),
        (spec.nfs.is_some(), "kubernetes.io/nfs"),
        (spec.iscsi.is_some(), "kubernetes.io/iscsi"),
        (spec.fc.is_some(), "kubernetes.io/fc"),
    ];
    known.iter().find(|(is, _)| *is).map_or("N/A", |(_, name)| name).to_owned()
}
