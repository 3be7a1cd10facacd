//! OpenAPI of the built-in groups, derived from the table of kinds, the facts about their types and the descriptions of
//! crate `descriptions`.
//!
//! Version 3 has one document for each group version, under the path that `/openapi/v3` names it by (`api/v1`,
//! `apis/apps/v1`); version 2 is one document for all, in JSON or protobuf. `paths` makes operations, `schemas` makes
//! schemas, and `v2` and `v3` write them. Documents are large: they are built when asked for, and nothing is kept here.

mod custom;
mod custom_operations;
mod gnostic;
mod operation;
mod paths;
mod schemas;
mod v2;
mod v3;

use std::collections::BTreeSet;

use descriptions::Descriptions;
use scheme::{RESOURCES, Resource};
use serde_json::Value;

use operation::Path;
use paths::{Described, DescribedSub};
use schemas::{Dialect, Schemas};

pub use custom::{Custom, document as custom_document, swagger_part};
pub use gnostic::encode as swagger_proto;

/// The paths below `/openapi/v3/` of all built-in documents, sorted.
pub fn document_paths() -> Vec<String> {
    let mut found: Vec<String> =
        versions().into_iter().map(|(group, version)| version_path(group, version)).collect();
    found.extend(groups().into_iter().map(|group| format!("apis/{group}")));
    found.extend(paths::of_server().into_iter().map(|(at, _)| at.to_owned()));
    found.sort_unstable();
    found
}

/// One document of version 3; `None` when there is none at the path.
pub fn document(path: &str, about: &Descriptions) -> Option<Value> {
    let (described, covered) = described(path)?;
    let mut schemas = Schemas::new(Dialect::V3, about, &covered);
    schemas.include(models(&described));
    Some(v3::document(&described, schemas.finish()))
}

/// The document of version 2.
pub fn swagger(about: &Descriptions) -> Value {
    let covered = versions();
    let mut all: Vec<Path> = paths::of_server().into_iter().map(|(_, path)| path).collect();
    all.extend(groups().into_iter().map(paths::of_group));
    for (group, version) in &covered {
        all.extend(of_version(group, version));
    }
    let mut schemas = Schemas::new(Dialect::V2, about, &covered);
    schemas.include(models(&all));
    v2::document(&all, schemas.finish())
}

/// Group and version.
type Version = (&'static str, &'static str);

/// The operations of one document, and the versions that it covers.
fn described(path: &str) -> Option<(Vec<Path>, Vec<Version>)> {
    if let Some((_, found)) = paths::of_server().into_iter().find(|(at, _)| *at == path) {
        return Some((vec![found], Vec::new()));
    }
    if let Some(group) = groups().into_iter().find(|group| path.strip_prefix("apis/") == Some(group)) {
        return Some((vec![paths::of_group(group)], Vec::new()));
    }
    let (group, version) =
        versions().into_iter().find(|(group, version)| version_path(group, version) == path)?;
    Some((of_version(group, version), vec![(group, version)]))
}

fn of_version(group: &str, version: &str) -> Vec<Path> {
    let mut found = vec![paths::of_version(group, version)];
    for resource in scheme::resources_of(group, version) {
        found.extend(paths::of(&describe(resource)));
    }
    found
}

fn describe(resource: &'static Resource) -> Described<'static> {
    let sub = |sub: &'static scheme::Subresource| {
        let (group, version): (&str, &str) =
            if sub.explicit { (&sub.group, &sub.version) } else { (&resource.group, &resource.version) };
        let model = scheme::kind(group, version, &sub.kind).map_or("", |kind| kind.info.model).to_owned();
        DescribedSub { name: sub.name, kind: (group, version, &sub.kind), model, verbs: sub.verbs }
    };
    let model = resource.object.info().map_or("", |info| info.model);
    Described {
        kind: (&resource.group, &resource.version, &resource.kind),
        model: model.to_owned(),
        list_model: format!("{model}List"),
        plural: &resource.plural,
        namespaced: resource.namespaced,
        verbs: resource.verbs,
        subresources: resource.subresources.iter().map(sub).collect(),
    }
}

fn versions() -> Vec<Version> {
    let mut found: Vec<Version> = RESOURCES.iter().map(|r| (&*r.group, &*r.version)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn groups() -> Vec<&'static str> {
    let mut found: Vec<&str> =
        RESOURCES.iter().map(|r| &*r.group).filter(|group| !group.is_empty()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn version_path(group: &str, version: &str) -> String {
    paths::root(group, version).trim_start_matches('/').to_owned()
}

/// The models that operations mention.
fn models(paths: &[Path]) -> BTreeSet<String> {
    paths
        .iter()
        .flat_map(|path| &path.operations)
        .flat_map(|o| o.answer.iter().chain(o.body.iter().map(|body| &body.model)))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
