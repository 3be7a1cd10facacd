//! The group `apiregistration.k8s.io`: APIService.

use crate::check::{Errs, dns_1035_label, dns_subdomain, path_segment};
use crate::fill::set;
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{List, Time};
use types::apiregistration::v1::{APIService, APIServiceCondition};

const GROUP_PRIORITY_MAX: i32 = 20000;
const VERSION_PRIORITY_MAX: i32 = 1000;

impl Rules for APIService {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const NAME: crate::check::NameCheck = path_segment;
    const KNOWN_FINALIZERS: bool = false;
    spec_and_status!();

    fn default(&mut self) {
        if let Some(service) = &mut self.spec.service {
            set(&mut service.port, 443);
        }
    }

    fn prepare_create(&mut self, cx: &Context) {
        self.clear_status();
        // What this server serves itself is always there; the others are found out.
        if self.spec.service.is_none() {
            self.status.conditions = local_condition(cx.now);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = &self.spec;
        let expected = format!("{}.{}", spec.version, spec.group);
        let metadata = Path::root("metadata");
        for (field, name) in [("generateName", &self.metadata.generate_name), ("name", &self.metadata.name)] {
            let unusable = path_segment(name, false);
            if *name != expected && !name.is_empty() && unusable.is_empty() {
                let detail = format!("must be `spec.version+\".\"+spec.group`: \"{expected}\"");
                e.invalid(&metadata.child(field), name, detail);
            }
        }
        let at = Path::root("spec");
        if spec.group.is_empty() {
            if spec.version != "v1" {
                e.required(
                    &at.child("group"),
                    "only v1 may have an empty group and it better be legacy kube",
                );
            }
        } else {
            e.each(&at.child("group"), &spec.group, dns_subdomain(&spec.group));
        }
        e.each(&at.child("version"), &spec.version, dns_1035_label(&spec.version));
        for (field, value, max) in [
            ("groupPriorityMinimum", spec.group_priority_minimum, GROUP_PRIORITY_MAX),
            ("versionPriority", spec.version_priority, VERSION_PRIORITY_MAX),
        ] {
            if value <= 0 || value > max {
                e.invalid(&at.child(field), value, format!("must be positive and less than {max}"));
            }
        }
        match &spec.service {
            None => {
                if !spec.ca_bundle.0.is_empty() {
                    let shown = format!("{} bytes", spec.ca_bundle.0.len());
                    e.invalid(&at.child("caBundle"), shown, "local APIServices may not have a caBundle");
                }
                if spec.insecure_skip_tls_verify {
                    e.invalid(
                        &at.child("insecureSkipTLSVerify"),
                        true,
                        "local APIServices may not have insecureSkipTLSVerify",
                    );
                }
            }
            Some(service) => {
                let service_at = at.child("service");
                for (field, value) in [("namespace", &service.namespace), ("name", &service.name)] {
                    e.present(&service_at.child(field), value);
                }
                let port = service.port.unwrap_or(443);
                if !(1..=65535).contains(&port) {
                    e.invalid(
                        &service_at.child("port"),
                        port,
                        "port is not valid: must be between 1 and 65535, inclusive",
                    );
                }
                if spec.insecure_skip_tls_verify && !spec.ca_bundle.0.is_empty() {
                    e.invalid(
                        &at.child("insecureSkipTLSVerify"),
                        true,
                        "may not be true if caBundle is present",
                    );
                }
            }
        }
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        let (new, old) = (&mut self.metadata, &old.metadata);
        new.labels.clone_from(&old.labels);
        new.annotations.clone_from(&old.annotations);
        new.finalizers.clone_from(&old.finalizers);
        new.owner_references.clone_from(&old.owner_references);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        let list = status.child("conditions");
        for (i, c) in self.status.conditions.iter().enumerate() {
            e.one_of(&list.index(i).child("status"), &c.status, &["True", "False", "Unknown"]);
        }
    }
}

fn local_condition(now: Option<Time>) -> List<APIServiceCondition> {
    meta::thin_vec![APIServiceCondition {
        type_: "Available".into(),
        status: "True".into(),
        reason: "Local".into(),
        message: "Local APIServices are always available".into(),
        last_transition_time: now,
    }]
}
