//! PodNodeSelector: a namespace's annotation says on which nodes its pods may run. The plugin's document has a selector
//! for namespaces without one, and lists, by namespace, the pairs that pods there may select by.

use std::collections::BTreeMap;

use meta::{Map, Object, Status, Str};
use serde::Deserialize;
use types::core::v1::{Namespace, Pod};

use super::{Plugin, Setup};
use crate::refuse::{failed, forbidden};
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::{World, WorldExt};

/// `key=value` pairs, separated by commas.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";

/// The entry of the document for namespaces that say nothing.
const CLUSTER_DEFAULT: &str = "clusterDefaultNodeSelector";

/// See the module.
#[derive(Default)]
pub struct PodNodeSelector {
    /// Selectors by namespace.
    selectors: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    pod_node_selector_plugin_config: BTreeMap<String, String>,
}

impl PodNodeSelector {
    /// As the plugin's document says.
    pub(super) fn configured(setup: &Setup<'_>) -> Result<Self, String> {
        let Some(document) = setup.document("PodNodeSelector") else { return Ok(Self::default()) };
        let document: Document =
            serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
        let selectors = document.pod_node_selector_plugin_config;
        match selectors.values().find(|selector| parse(selector).is_none()) {
            Some(wrong) => Err(format!("invalid selector: {wrong}")),
            None => Ok(Self { selectors }),
        }
    }

    fn named(&self, name: &str) -> Map<Str> {
        // Those that cannot be read were refused when the server started.
        self.selectors.get(name).and_then(|selector| parse(selector)).unwrap_or_default()
    }

    /// The selector of the namespace.
    fn wanted(&self, review: &Review<'_>, world: &dyn World) -> Result<Map<Str>, Status> {
        let namespace = world.get::<Namespace>("", review.namespace());
        let Some(text) = namespace.as_ref().and_then(|n| n.metadata.annotations.get(ANNOTATION)) else {
            return Ok(self.named(CLUSTER_DEFAULT));
        };
        parse(text).ok_or_else(|| failed(format!("invalid selector: [{text}]")))
    }

    fn check(&self, review: &Review<'_>, object: &dyn Object, wanted: &Map<Str>) -> Result<(), Status> {
        let Some(pod) = as_ref::<Pod>(object) else { return Ok(()) };
        if conflicts(&pod.spec.node_selector, wanted) {
            return Err(conflict(review, object));
        }
        let listed = self.named(review.namespace());
        let fits = |(key, value): (&Str, &Str)| listed.get(key) == Some(value);
        if listed.is_empty() || pod.spec.node_selector.iter().all(fits) {
            return Ok(());
        }
        let why = "pod node label selector labels conflict with its namespace whitelist";
        Err(forbidden(review, Some(object), why))
    }
}

impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let wanted = self.wanted(review, world)?;
        let Some(pod) = as_mut::<Pod>(object) else { return Ok(()) };
        if conflicts(&pod.spec.node_selector, &wanted) {
            return Err(conflict(review, object));
        }
        for (key, value) in wanted.iter() {
            pod.spec.node_selector.insert(key.clone(), value.clone());
        }
        self.check(review, object, &wanted)
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let Some(object) = object.filter(|_| review.is(Operation::Create, "", "pods")) else { return Ok(()) };
        self.check(review, object, &self.wanted(review, world)?)
    }
}

fn conflict(review: &Review<'_>, object: &dyn Object) -> Status {
    forbidden(
        review,
        Some(object),
        "pod node label selector conflicts with its namespace node label selector",
    )
}

fn conflicts(own: &Map<Str>, wanted: &Map<Str>) -> bool {
    wanted.iter().any(|(key, value)| own.get(key).is_some_and(|mine| mine != value))
}

fn parse(text: &str) -> Option<Map<Str>> {
    let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (key, value) = term.split_once('=')?;
            Some((Str::from(key.trim()), Str::from(value.trim_start_matches('=').trim())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn selectors_are_pairs() {
        let pairs = parse("env=test, zone == a,").expect("a selector");
        assert_eq!(pairs.get("env").map(|v| v.as_str()), Some("test"));
        assert_eq!(pairs.get("zone").map(|v| v.as_str()), Some("a"));
        assert!(parse("env").is_none());
    }
}
