//! One version of a definition as a kind.

use std::borrow::Cow;
use std::sync::Arc;

use meta::Str;
use schema::structural::{Schema, Unsupported};
use scheme::{Objects, Resource, Subresource};
use types::apiextensions::v1::{CustomResourceDefinition, CustomResourceSubresourceScale};

use crate::codec::Codec;
use crate::columns::Columns;

/// Verbs of every custom resource, in discovery's order.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// Verbs of its subresources.
const SUB_VERBS: &[&str] = &["get", "patch", "update"];

/// Why a version is none that can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The definition has no such version, or no schema for it.
    #[error("version {0} has no schema")]
    NoSchema(Str),
    /// No version is marked for storage.
    #[error("no version is the storage version")]
    NoStorage,
    /// The schema is not structural.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// A kind as one version of a definition describes it.
pub struct Kind {
    pub(crate) resource: Resource,
    pub(crate) api_version: Str,
    pub(crate) schema: Arc<Schema>,
    pub(crate) columns: Columns,
    pub(crate) scale: Option<CustomResourceSubresourceScale>,
    pub(crate) has_status: bool,
    /// Selectable fields: label and path.
    pub(crate) selectable: Vec<(Str, Vec<Str>)>,
    warning: Option<String>,
    apply: schema::apply::Type,
    pub(crate) expressions: rules::expressions::Rules,
}

impl Kind {
    /// Reads a version of a definition.
    pub fn read(crd: &CustomResourceDefinition, version: &str) -> Result<Self, ReadError> {
        let spec = &crd.spec;
        let found = spec.versions.iter().find(|v| v.name == version);
        let missing = || ReadError::NoSchema(version.into());
        let found = found.ok_or_else(missing)?;
        let document = found.schema.as_ref().and_then(|s| s.open_apiv3_schema.as_deref());
        let mut schema = Schema::read(document.ok_or_else(missing)?)?;
        schema.preserve_unknown_fields |= spec.preserve_unknown_fields;
        let schema = Arc::new(schema);
        let storage = spec.versions.iter().find(|v| v.storage).ok_or(ReadError::NoStorage)?;
        // What is served goes by the names that were accepted.
        let names = if crd.status.accepted_names.plural.is_empty() {
            &spec.names
        } else {
            &crd.status.accepted_names
        };
        let owned = |text: &Str| -> scheme::Name { Cow::Owned(text.to_string()) };
        let owned_all = |list: &[Str]| list.iter().map(owned).collect::<Vec<_>>();
        let subresources = found.subresources.as_deref();
        let has_status = subresources.is_some_and(|s| s.status.is_some());
        let scale = subresources.and_then(|s| s.scale.as_deref()).cloned();
        let mut subs = Vec::new();
        if has_status {
            subs.push(Subresource {
                name: "status",
                group: owned(&spec.group),
                version: owned(&found.name),
                kind: owned(&names.kind),
                explicit: false,
                verbs: SUB_VERBS,
            });
        }
        if scale.is_some() {
            subs.push(Subresource {
                name: "scale",
                group: "autoscaling".into(),
                version: "v1".into(),
                kind: "Scale".into(),
                explicit: true,
                verbs: SUB_VERBS,
            });
        }
        let api_version = Str::from(format!("{}/{}", spec.group, found.name));
        let codec =
            Codec { api_version: api_version.clone(), kind: names.kind.clone(), schema: schema.clone() };
        let resource = Resource {
            group: owned(&spec.group),
            version: owned(&found.name),
            kind: owned(&names.kind),
            list_kind: owned(&names.list_kind),
            plural: owned(&spec.names.plural),
            singular: owned(&names.singular),
            short_names: owned_all(&names.short_names).into(),
            categories: owned_all(&names.categories).into(),
            namespaced: spec.scope == "Namespaced",
            verbs: VERBS,
            subresources: subs.into(),
            storage_group: owned(&spec.group),
            storage_version: owned(&storage.name),
            key_prefix: format!("/registry/{}/{}/", spec.group, spec.names.plural).into(),
            object: Objects::Custom(Arc::new(codec)),
        };
        let selectable = found.selectable_fields.iter().map(|field| {
            let label = Str::from(field.json_path.trim_start_matches('.'));
            let path = label.split('.').map(Str::from).collect();
            (label, path)
        });
        let warning = found.deprecated.then(|| {
            found.deprecation_warning.as_ref().map_or_else(
                || format!("{}/{} {} is deprecated", spec.group, found.name, names.kind),
                ToString::to_string,
            )
        });
        Ok(Kind {
            resource,
            api_version,
            columns: Columns::read(&found.additional_printer_columns),
            scale,
            has_status,
            selectable: selectable.collect(),
            apply: schema.apply_type(),
            expressions: rules::expressions::Rules::compile(&schema),
            schema,
            warning,
        })
    }

    /// Names, verbs and codec.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The schema of its objects.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The columns of its tables.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Where the scale is in its objects.
    pub fn scale(&self) -> Option<&CustomResourceSubresourceScale> {
        self.scale.as_ref()
    }

    /// Whether the status is written apart from the rest.
    pub fn has_status(&self) -> bool {
        self.has_status
    }

    /// The schema as server-side apply sees it.
    pub fn apply_type(&self) -> &schema::apply::Type {
        &self.apply
    }

    /// What every request for a deprecated version is told.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}
