//! The resources that a `scaleTargetRef` may mean.

use call::Target;
use client::Resource;
use meta::go_quote;
use reconcile::World;
use types::apiextensions::v1::CustomResourceDefinition;
use types::autoscaling::v2::CrossVersionObjectReference;

/// The resources of the reference's kind, in any version, the preferred one first; or why there is none. The version of
/// the reference does not matter: replicas are the same number in each.
pub(super) fn resources(
    reference: &CrossVersionObjectReference,
    world: &World,
) -> Result<Vec<Resource>, String> {
    let group = group_of(&reference.api_version)?;
    if let Some(found) = mapping(group, &reference.kind, world) {
        return Ok(vec![found]);
    }
    Err(format!("no matches for kind {} in group {}", go_quote(&reference.kind), go_quote(group)))
}

/// The resource that stores a kind, in the version that discovery prefers.
pub(super) fn mapping(group: &str, kind: &str, world: &World) -> Option<Resource> {
    let built_in = scheme::RESOURCES.iter().find(|entry| entry.group == group && entry.kind == kind);
    if let Some(entry) = built_in {
        return Some(Resource::new(&entry.group, &entry.version, &entry.plural));
    }
    let definitions = world.list_all::<CustomResourceDefinition>();
    let definition = definitions
        .iter()
        .find(|definition| definition.spec.group == group && definition.spec.names.kind == kind)?;
    let version = definition.spec.versions.iter().find(|version| version.served)?;
    Some(Resource::new(group, &version.name, &definition.spec.names.plural))
}

/// The group of an `apiVersion`.
pub(super) fn group_of(api_version: &str) -> Result<&str, String> {
    match api_version.matches('/').count() {
        0 => Ok(""),
        1 => Ok(api_version.split_once('/').map_or("", |(group, _)| group)),
        _ => Err(format!("unexpected GroupVersion string: {api_version}")),
    }
}

/// The scale of the object `name`.
pub(super) fn scale(resource: &Resource, namespace: &str, name: &str) -> Target {
    resource.target(namespace).named(name).subresource("scale")
}
