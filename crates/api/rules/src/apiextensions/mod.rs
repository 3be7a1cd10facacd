//! The group `apiextensions.k8s.io`: CustomResourceDefinition.
//!
//! `spec` checks what a definition says of itself, `schema` the documents that describe its objects, `defaults` the
//! values that these fill in, `names` names and approval, `conversion` how versions convert. Paths and values in
//! messages are those of the form in which upstream checks, see `spec` and `internal`.

mod conversion;
mod defaults;
pub mod field_path;
pub(crate) mod internal;
pub mod names;
mod schema;
mod spec;
mod warnings;

use crate::check::{Errs, name_subdomain};
use crate::fill::set;
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::BadValue;
use schema::Options;
use types::apiextensions::v1::{CustomResourceConversion, CustomResourceDefinition};

impl Rules for CustomResourceDefinition {
    const NAME: crate::check::NameCheck = name_subdomain;
    const KNOWN_FINALIZERS: bool = false;
    const UNCONDITIONAL_UPDATE: bool = false;
    spec_and_status!(generation);

    fn default(&mut self) {
        let names = &mut self.spec.names;
        if names.singular.is_empty() {
            names.singular = names.kind.to_lowercase();
        }
        if names.list_kind.is_empty() && !names.kind.is_empty() {
            names.list_kind = format!("{}List", names.kind).into();
        }
        let conversion = self.spec.conversion.get_or_insert_with(|| {
            Box::new(CustomResourceConversion { strategy: "None".into(), ..Default::default() })
        });
        if let Some(service) = conversion
            .webhook
            .as_mut()
            .and_then(|w| w.client_config.as_mut())
            .and_then(|c| c.service.as_mut())
        {
            set(&mut service.port, 443);
        }
        if self.status.stored_versions.is_empty() {
            remember_storage(self);
        }
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.metadata.generation = 1;
        self.clear_status();
        remember_storage(self);
        tidy_defaults(self);
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.keep_status(old);
        self.count_generation(old);
        remember_storage(self);
        tidy_defaults(self);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let expected = format!("{}.{}", self.spec.names.plural, self.spec.group);
        let metadata = Path::root("metadata");
        for (field, name) in [("generateName", &self.metadata.generate_name), ("name", &self.metadata.name)] {
            if *name != expected && !name.is_empty() {
                e.invalid(&metadata.child(field), name, "must be spec.names.plural+\".\"+spec.group");
            }
        }
        spec::spec(e, &self.spec, &Options::default());
        status(e, self);
        names::approved(e, self, None);
        preserving(e, self, None);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        spec::spec(e, &self.spec, &Options::of_change(self, old));
        let at = Path::root("spec");
        if is_true(old, "Established") {
            e.immutable(&at.child("scope"), &self.spec.scope, &old.spec.scope, || (&self.spec.scope).into());
            let (new, old) = (&self.spec.names.kind, &old.spec.names.kind);
            e.immutable(&at.child("names").child("kind"), new, old, || new.into());
        }
        e.immutable(&at.child("group"), &self.spec.group, &old.spec.group, || (&self.spec.group).into());
        let (new, before) = (&self.spec.names.plural, &old.spec.names.plural);
        e.immutable(&at.child("names").child("plural"), new, before, || new.into());
        status(e, self);
        names::approved(e, self, Some(old));
        preserving(e, self, Some(old));
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        accepted_names(e, self);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        warnings::of(self, old)
    }
}

/// The storage version is one of those in which objects may be stored.
fn remember_storage(crd: &mut CustomResourceDefinition) {
    if let Some(version) = crd.spec.versions.iter().find(|v| v.storage)
        && !crd.status.stored_versions.contains(&version.name)
    {
        crd.status.stored_versions.push(version.name.clone());
    }
}

fn tidy_defaults(crd: &mut CustomResourceDefinition) {
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_apiv3_schema.as_mut()).for_each(|schema| defaults::tidy(schema));
}

/// Whether a condition holds.
pub fn is_true(crd: &CustomResourceDefinition, condition: &str) -> bool {
    crd.status.conditions.iter().any(|c| c.type_ == condition && c.status == "True")
}

fn preserving(e: &mut Errs, crd: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>) {
    if crd.spec.preserve_unknown_fields && !old.is_some_and(|old| old.spec.preserve_unknown_fields) {
        let at = Path::root("spec");
        e.invalid(&at.child("preserveUnknownFields"), true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead");
    }
}

fn accepted_names(e: &mut Errs, crd: &CustomResourceDefinition) {
    let status = Path::root("status");
    names::names(e, &status.child("acceptedNames"), &crd.status.accepted_names);
}

fn status(e: &mut Errs, crd: &CustomResourceDefinition) {
    accepted_names(e, crd);
    let status = Path::root("status");
    let at = status.child("storedVersions");
    let stored = &crd.status.stored_versions;
    if stored.is_empty() {
        return e.invalid(&at, BadValue::Plain("null".into()), "must have at least one stored version");
    }
    for version in crd.spec.versions.iter().filter(|v| v.storage && !stored.contains(&v.name)) {
        let detail = format!("must have the storage version {}", version.name);
        e.invalid(&at, BadValue::of(stored), detail);
    }
    for (i, v) in stored.iter().enumerate() {
        if !crd.spec.versions.iter().any(|s| s.name == *v) {
            let detail = format!(
                "missing from spec.versions; {v} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {v} and removes {v} from status.storedVersions"
            );
            e.invalid(&at.index(i), v, detail);
        }
    }
}
