//! ResourceQuota: what a change uses, whether the namespace has that left, and what to charge.
//!
//! This runs after every other plugin. It is pure like them: the answer is a list of [`Charge`]s, which the registry
//! writes into the quotas' status, with the version they were computed from, before it commits the object. A quota
//! that changed meanwhile makes the registry ask again. An administrator's configuration may limit resources that no
//! quota mentions: what uses them needs a quota that covers it.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use meta::{Map, Object, Quantity, Status, Str};
use rules::quota::{all_match, matching, measures, selectors, unspecified, usage};
use serde::Deserialize;
use types::core::v1::{ResourceQuota, ScopedResourceSelectorRequirement};

use crate::configuration::versioned;
use crate::refuse::{failed, forbidden};
use crate::review::{Operation, Review};
use crate::world::{World, WorldExt};

/// New usage of one quota.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// Namespace of the quota.
    pub namespace: Str,
    /// Name of the quota.
    pub name: Str,
    /// Version that the usage was computed from.
    pub resource_version: Str,
    /// The whole `status.used` to be stored.
    pub used: Map<Quantity>,
}

/// The plugin, with what is limited by configuration.
#[derive(Debug, Default)]
pub struct Quota {
    limited: Vec<Limited>,
}

#[derive(Debug)]
struct Limited {
    group: String,
    resource: String,
    /// Parts of the names of what is limited.
    contains: Vec<String>,
    scopes: Vec<ScopedResourceSelectorRequirement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    limited_resources: Vec<LimitedDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LimitedDocument {
    #[serde(default)]
    api_group: String,
    resource: String,
    #[serde(default)]
    match_contains: Vec<String>,
    #[serde(default)]
    match_scopes: Vec<ScopeDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScopeDocument {
    scope_name: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

impl Quota {
    /// As the plugin's document says.
    pub(crate) fn configured(document: Option<&serde_json::Value>) -> Result<Self, String> {
        let Some(document) = document else { return Ok(Self::default()) };
        let current =
            versioned::<Document>(document, "ResourceQuotaConfiguration", &["apiserver.config.k8s.io/v1"]);
        let document = current.or_else(|why| {
            let versions =
                ["resourcequota.admission.k8s.io/v1alpha1", "resourcequota.admission.k8s.io/v1beta1"];
            versioned(document, "Configuration", &versions).map_err(|_| why)
        })?;
        let scope = |scope: ScopeDocument| ScopedResourceSelectorRequirement {
            scope_name: scope.scope_name.into(),
            operator: scope.operator.into(),
            values: scope.values.into_iter().map(Str::from).collect(),
        };
        let limited = document.limited_resources.into_iter().enumerate().map(|(index, limited)| {
            if limited.resource.is_empty() {
                return Err(format!("limitedResources[{index}].resource: Required value"));
            }
            Ok(Limited {
                group: limited.api_group,
                resource: limited.resource,
                contains: limited.match_contains,
                scopes: limited.match_scopes.into_iter().map(scope).collect(),
            })
        });
        Ok(Self { limited: limited.collect::<Result<_, _>>()? })
    }

    /// What the change must be charged, or a refusal.
    pub fn charges(
        &self,
        review: &Review<'_>,
        object: &dyn Object,
        world: &dyn World,
    ) -> Result<Vec<Charge>, Status> {
        if !concerns(review) {
            return Ok(Vec::new());
        }
        let mut quotas = world.list::<ResourceQuota>(review.namespace());
        if quotas.is_empty() && self.limited.is_empty() {
            return Ok(Vec::new());
        }
        quotas.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let (group, resource) = (review.target.group.as_str(), review.target.resource.as_str());
        let used = usage(group, resource, object, None);
        let negative: Vec<&str> = used
            .iter()
            .filter(|(_, amount)| amount.milli_value() < 0)
            .map(|(name, _)| name.as_str())
            .collect();
        let mut covered = Covered::default();
        let mut interesting = Vec::new();
        for quota in &quotas {
            let selectors = selectors(quota);
            covered
                .scopes
                .extend(matching(object, &selectors).into_iter().map(|selector| selector.scope_name));
            let restricted: Vec<&Str> =
                quota.status.hard.keys().filter(|name| measures(group, resource, name)).collect();
            if restricted.is_empty() || !all_match(object, &selectors) {
                continue;
            }
            let name = &quota.metadata.name;
            let missing = unspecified(object, &restricted);
            if !missing.is_empty() {
                let why = format!("failed quota: {name}: must specify {}", missing.join("; "));
                return Err(forbidden(review, Some(object), &why));
            }
            if restricted.iter().any(|name| !quota.status.used.contains_key(name.as_str())) {
                let mut names: Vec<&str> = restricted.iter().map(|name| name.as_str()).collect();
                names.sort_unstable();
                let why = format!("status unknown for quota: {name}, resources: {}", names.join(","));
                return Err(forbidden(review, Some(object), &why));
            }
            covered.names.extend(restricted.iter().map(|name| (*name).clone()));
            interesting.push((quota, selectors));
        }
        if !negative.is_empty() {
            let why = format!("quota usage is negative for resource(s): {}", negative.join(","));
            return Err(forbidden(review, Some(object), &why));
        }
        let old = review.old.filter(|_| review.operation == Operation::Update);
        let grown = old.map(|old| increase(&used, &usage(group, resource, old, None)));
        let mut deltas = Vec::new();
        for (quota, selectors) in interesting {
            // A quota that did not know the object before is charged for all of it.
            let known = old.is_some_and(|old| all_match(old, &selectors));
            let delta = grown.as_ref().filter(|_| known).unwrap_or(&used);
            let delta: Map<Quantity> = positive(delta);
            if !delta.is_empty() {
                deltas.push((quota, delta));
            }
        }
        let anything = positive(grown.as_ref().unwrap_or(&used));
        if deltas.is_empty() && (!covered.names.is_empty() || anything.is_empty()) {
            return Ok(Vec::new());
        }
        self.check_covered(review, object, &used, &covered)?;
        let charged = deltas.into_iter().map(|(quota, delta)| charge(review, object, quota, &delta));
        Ok(charged.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Refuses the use of what configuration limits where no quota covers it.
    fn check_covered(
        &self,
        review: &Review<'_>,
        object: &dyn Object,
        used: &Map<Quantity>,
        covered: &Covered,
    ) -> Result<(), Status> {
        let about = self.limited.iter().filter(|limited| review.on(&limited.group, &limited.resource));
        let limited: BTreeSet<&str> = about
            .flat_map(|limited| &limited.contains)
            .flat_map(|part| used.iter().filter(move |(name, _)| name.contains(part.as_str())))
            .filter(|(name, amount)| amount.milli_value() > 0 && !covered.names.contains(*name))
            .map(|(name, _)| name.as_str())
            .collect();
        if !limited.is_empty() {
            let names: Vec<&str> = limited.into_iter().collect();
            let why = format!("insufficient quota to consume: {}", names.join(","));
            return Err(forbidden(review, Some(object), &why));
        }
        let scoped = self.limited.iter().flat_map(|limited| matching(object, &limited.scopes));
        let uncovered: Vec<String> = scoped
            .filter(|selector| !covered.scopes.contains(&selector.scope_name))
            .map(|selector| {
                let values: Vec<&str> = selector.values.iter().map(|value| value.as_str()).collect();
                format!("{{{} {} [{}]}}", selector.scope_name, selector.operator, values.join(" "))
            })
            .collect();
        match uncovered.is_empty() {
            true => Ok(()),
            false => {
                Err(failed(format!("insufficient quota to match these scopes: [{}]", uncovered.join(" "))))
            }
        }
    }
}

/// What the quotas of the namespace are about.
#[derive(Default)]
struct Covered {
    names: BTreeSet<Str>,
    scopes: BTreeSet<Str>,
}

/// Whether a request can change what is used.
fn concerns(review: &Review<'_>) -> bool {
    if review.namespace().is_empty() || review.on("", "events") || review.on("events.k8s.io", "events") {
        return false;
    }
    match (review.operation, review.target.subresource.as_str()) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => review.on("", "persistentvolumeclaims") || review.on("", "services"),
        (Operation::Update, "resize") => review.on("", "pods"),
        _ => false,
    }
}

/// By how much each amount is larger than before.
fn increase(now: &Map<Quantity>, before: &Map<Quantity>) -> Map<Quantity> {
    let more = |(name, amount): (&Str, &Quantity)| {
        let delta = *amount - before.get(name).copied().unwrap_or_default();
        (delta.milli_value() > 0).then(|| (name.clone(), delta))
    };
    now.iter().filter_map(more).collect()
}

fn positive(amounts: &Map<Quantity>) -> Map<Quantity> {
    let some = amounts.iter().filter(|(_, amount)| amount.milli_value() > 0);
    some.map(|(name, amount)| (name.clone(), *amount)).collect()
}

/// The new usage of a quota, unless it would be too much; nothing where the quota is not about what is used.
fn charge(
    review: &Review<'_>,
    object: &dyn Object,
    quota: &ResourceQuota,
    delta: &Map<Quantity>,
) -> Result<Option<Charge>, Status> {
    let hard = &quota.status.hard;
    let requested: Map<Quantity> = delta
        .iter()
        .filter(|(name, _)| hard.contains_key(name))
        .map(|(name, amount)| (name.clone(), *amount))
        .collect();
    if requested.is_empty() {
        return Ok(None);
    }
    let mut used = quota.status.used.clone();
    let mut exceeded = Vec::new();
    for (name, amount) in requested.iter() {
        let sum = used.get(name).copied().unwrap_or_default() + *amount;
        if hard.get(name).is_some_and(|limit| sum > *limit) {
            exceeded.push(name.clone());
        }
        used.insert(name.clone(), sum);
    }
    if exceeded.is_empty() {
        return Ok(Some(Charge {
            namespace: quota.metadata.namespace.clone(),
            name: quota.metadata.name.clone(),
            resource_version: quota.metadata.resource_version.clone(),
            used,
        }));
    }
    exceeded.sort();
    let pick = |from: &Map<Quantity>| {
        let shown = |name: &Str| format!("{name}={}", from.get(name).copied().unwrap_or_default());
        exceeded.iter().map(shown).collect::<Vec<_>>().join(",")
    };
    let why = format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota.metadata.name,
        pick(&requested),
        pick(&quota.status.used),
        pick(hard)
    );
    Err(forbidden(review, Some(object), &why))
}
