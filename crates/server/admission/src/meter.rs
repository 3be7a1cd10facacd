//! How long each plugin takes with a request (`apiserver_admission_controller_admission_duration_seconds`).
//!
//! Upstream measures a plugin for the operations that it handles and in the halves of admission that it takes part in,
//! whether or not it then finds something to do. [`HANDLED`] is that list; the time is what the plugin here took.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use telemetry::Histogram;

use crate::metrics::{self, Step};
use crate::review::Operation;

const CREATE: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 4;
const CONNECT: u8 = 8;
const WRITE: u8 = CREATE | UPDATE;
const CHANGE: u8 = WRITE | DELETE;
const ANY: u8 = CHANGE | CONNECT;

/// The operations of each plugin in the mutating and in the validating half.
const HANDLED: &[(&str, u8, u8)] = &[
    ("NamespaceAutoProvision", CREATE, 0),
    ("NamespaceLifecycle", CHANGE, 0),
    ("NamespaceExists", 0, CHANGE),
    ("LimitPodHardAntiAffinityTopology", 0, WRITE),
    ("LimitRanger", WRITE, WRITE),
    ("ServiceAccount", WRITE, WRITE),
    ("NodeRestriction", CHANGE, 0),
    ("TaintNodesByCondition", CREATE, 0),
    ("AlwaysPullImages", WRITE, WRITE),
    ("ImagePolicyWebhook", 0, WRITE),
    ("PodSecurity", 0, WRITE),
    ("PodNodeSelector", CREATE, CREATE),
    ("Priority", CHANGE, CHANGE),
    ("DefaultTolerationSeconds", WRITE, 0),
    ("PodTolerationRestriction", WRITE, WRITE),
    ("EventRateLimit", 0, WRITE),
    ("ExtendedResourceToleration", WRITE, 0),
    ("DefaultStorageClass", CREATE, 0),
    ("StorageObjectInUseProtection", CREATE, 0),
    ("OwnerReferencesPermissionEnforcement", 0, WRITE),
    ("PersistentVolumeClaimResize", 0, UPDATE),
    ("RuntimeClass", CREATE, CREATE),
    ("CertificateApproval", 0, UPDATE),
    ("CertificateSigning", 0, UPDATE),
    ("CertificateSubjectRestriction", 0, CREATE),
    ("DefaultIngressClass", CREATE, 0),
    ("DenyServiceExternalIPs", 0, WRITE),
    ("PodTopologyLabels", CREATE, 0),
    ("PodResizeValidator", 0, UPDATE),
    ("MutatingAdmissionPolicy", WRITE | CONNECT, 0),
    ("MutatingAdmissionWebhook", ANY, 0),
    ("ValidatingAdmissionPolicy", 0, ANY),
    ("ValidatingAdmissionWebhook", 0, ANY),
    ("ResourceQuota", 0, WRITE),
];

/// Cells by operation, half, and whether the plugin refused.
const CELLS: usize = 4 * 2 * 2;

/// What is measured of one plugin.
pub(crate) struct Meter {
    name: &'static str,
    mutates: u8,
    validates: u8,
    cells: [OnceLock<Histogram>; CELLS],
}

impl Meter {
    /// Of a plugin by its name.
    pub(crate) fn of(name: &str) -> Option<Meter> {
        let (name, mutates, validates) = HANDLED.iter().copied().find(|(known, ..)| *known == name)?;
        Some(Meter { name, mutates, validates, cells: Default::default() })
    }

    /// Begins to measure, where the plugin handles the operation in this half.
    pub(crate) fn begin(&self, step: Step, operation: Operation) -> Option<Begun<'_>> {
        let handled = match step {
            Step::Admit => self.mutates,
            Step::Validate => self.validates,
        };
        (handled & bit(operation) != 0).then(|| self.begun(step, operation))
    }

    /// Begins to measure what has no object: plugins that look at nothing but deletions on their way to mutate do so then.
    pub(crate) fn begin_without_object(&self, operation: Operation) -> Option<Begun<'_>> {
        self.begin(Step::Validate, operation).or_else(|| self.begin(Step::Admit, operation))
    }

    fn begun(&self, step: Step, operation: Operation) -> Begun<'_> {
        Begun { meter: self, step, operation, at: Instant::now() }
    }

    fn observe(&self, step: Step, operation: Operation, rejected: bool, took: Duration) {
        let validates = matches!(step, Step::Validate);
        let index = bit(operation).trailing_zeros() as usize * 4 + usize::from(validates) * 2;
        let Some(cell) = self.cells.get(index + usize::from(rejected)) else { return };
        let make = || metrics::controller(self.name, operation, rejected, step);
        cell.get_or_init(make).observe(took.as_secs_f64());
    }
}

/// A measurement under way.
pub(crate) struct Begun<'m> {
    meter: &'m Meter,
    step: Step,
    operation: Operation,
    at: Instant,
}

/// Ends a measurement.
pub(crate) fn end<T, E>(begun: Option<Begun<'_>>, result: Result<T, E>) -> Result<T, E> {
    if let Some(Begun { meter, step, operation, at }) = begun {
        meter.observe(step, operation, result.is_err(), at.elapsed());
    }
    result
}

fn bit(operation: Operation) -> u8 {
    match operation {
        Operation::Create => CREATE,
        Operation::Update => UPDATE,
        Operation::Delete => DELETE,
        Operation::Connect => CONNECT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::{Make, PLUGINS};

    #[test]
    fn every_plugin_that_acts_is_measured() {
        for plugin in PLUGINS {
            let acts = !matches!(plugin.make, Make::Inactive) && plugin.name != "AlwaysDeny";
            assert_eq!(Meter::of(plugin.name).is_some(), acts, "{}", plugin.name);
        }
    }

    #[test]
    fn only_what_is_handled_is_measured() {
        let meter = Meter::of("CertificateApproval").expect("a plugin");
        assert!(meter.begin(Step::Admit, Operation::Update).is_none());
        assert!(meter.begin(Step::Validate, Operation::Create).is_none());
        let begun = meter.begin(Step::Validate, Operation::Update);
        assert!(end(begun, Err::<(), ()>(())).is_err());
        let text = telemetry::render();
        let line = "apiserver_admission_controller_admission_duration_seconds_count{name=\"CertificateApproval\",operation=\"UPDATE\",rejected=\"true\",type=\"validate\"} 1";
        assert!(text.contains(line), "{text}");
    }
}
