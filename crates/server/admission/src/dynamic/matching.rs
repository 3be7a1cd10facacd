//! Whether a policy or a webhook is about a request: rules, scopes and selectors.

use meta::selector::labels::Selector;
use meta::v1::LabelSelector;
use meta::{Map, Object, Str};
use types::admissionregistration::v1::{MatchResources, NamedRuleWithOperations, RuleWithOperations};
use types::core::v1::Namespace;

use crate::review::Review;
use crate::world::{Equivalent, World, WorldExt};

/// The group whose objects program admission, and are not subject to it.
const EXEMPT: &str = "admissionregistration.k8s.io";

/// A rule about resources.
#[derive(Debug)]
struct Rule {
    operations: Vec<Str>,
    groups: Vec<Str>,
    versions: Vec<Str>,
    resources: Vec<Str>,
    scope: Str,
    names: Vec<Str>,
}

/// What a policy, a binding or a webhook is about.
#[derive(Debug)]
pub(crate) struct Matcher {
    rules: Vec<Rule>,
    excludes: Vec<Rule>,
    namespaces: Selector,
    objects: Selector,
    equivalent: bool,
    /// No rules at all mean every resource, as in bindings.
    open: bool,
}

/// In which version the request is matched: as it is, or in another one that means the same.
pub(crate) type Matched = Option<Equivalent>;

fn selector(selector: Option<&LabelSelector>) -> Selector {
    match selector {
        None => Selector::everything(),
        // Validation lets no others in.
        Some(selector) => {
            Selector::from_label_selector(Some(selector)).unwrap_or_else(|_| Selector::nothing())
        }
    }
}

impl Matcher {
    /// Of a policy or a binding.
    pub(crate) fn of_resources(resources: &MatchResources, open: bool) -> Self {
        let rule = |rule: &NamedRuleWithOperations| Rule {
            operations: rule.operations.iter().cloned().collect(),
            groups: rule.api_groups.iter().cloned().collect(),
            versions: rule.api_versions.iter().cloned().collect(),
            resources: rule.resources.iter().cloned().collect(),
            scope: rule.scope.clone().unwrap_or_default(),
            names: rule.resource_names.iter().cloned().collect(),
        };
        Self {
            rules: resources.resource_rules.iter().map(rule).collect(),
            excludes: resources.exclude_resource_rules.iter().map(rule).collect(),
            namespaces: selector(resources.namespace_selector.as_deref()),
            objects: selector(resources.object_selector.as_deref()),
            equivalent: resources.match_policy.as_deref() != Some("Exact"),
            open: open && resources.resource_rules.is_empty(),
        }
    }

    /// Of a webhook.
    pub(crate) fn of_webhook(
        rules: &[RuleWithOperations],
        namespaces: Option<&LabelSelector>,
        objects: Option<&LabelSelector>,
        match_policy: Option<&Str>,
    ) -> Self {
        let rule = |rule: &RuleWithOperations| Rule {
            operations: rule.operations.iter().cloned().collect(),
            groups: rule.api_groups.iter().cloned().collect(),
            versions: rule.api_versions.iter().cloned().collect(),
            resources: rule.resources.iter().cloned().collect(),
            scope: rule.scope.clone().unwrap_or_default(),
            names: Vec::new(),
        };
        Self {
            rules: rules.iter().map(rule).collect(),
            excludes: Vec::new(),
            namespaces: selector(namespaces),
            objects: selector(objects),
            equivalent: match_policy.is_none_or(|policy| policy != "Exact"),
            open: false,
        }
    }

    /// Whether the request is meant, and in which version.
    pub(crate) fn matches(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Option<Matched> {
        if review.target.group == EXEMPT {
            return None;
        }
        let matched = self.matches_rules(review, object, world)?;
        (self.matches_namespace(review, object, world) && self.matches_object(review, object))
            .then_some(matched)
    }

    fn matches_rules(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Option<Matched> {
        let own = Equivalent {
            group: review.target.group.clone(),
            version: review.target.version.clone(),
            resource: review.target.resource.clone(),
            kind: Str::new(),
        };
        let name = name_of(review, object);
        let excluded = |as_: &Equivalent| self.excludes.iter().any(|rule| rule.matches(review, as_, name));
        if excluded(&own) {
            return None;
        }
        if self.open || self.rules.iter().any(|rule| rule.matches(review, &own, name)) {
            return Some(None);
        }
        if !self.equivalent {
            return None;
        }
        let others = world.equivalents(review.target);
        if others.iter().any(excluded) {
            return None;
        }
        others
            .into_iter()
            .find(|other| self.rules.iter().any(|rule| rule.matches(review, other, name)))
            .map(Some)
    }

    fn matches_namespace(&self, review: &Review<'_>, object: Option<&dyn Object>, world: &dyn World) -> bool {
        if self.namespaces.is_everything() {
            return true;
        }
        if review.on("", "namespaces") {
            // A namespace is selected by its own labels.
            return match object.or(review.old) {
                Some(namespace) => self.namespaces.matches(&namespace.meta().labels),
                None => world
                    .get::<Namespace>("", &review.target.name)
                    .is_some_and(|namespace| self.namespaces.matches(&namespace.metadata.labels)),
            };
        }
        if review.target.namespace.is_empty() {
            return true;
        }
        let empty = Map::default();
        let namespace = world.get::<Namespace>("", &review.target.namespace);
        self.namespaces.matches(namespace.as_ref().map_or(&empty, |namespace| &namespace.metadata.labels))
    }

    fn matches_object(&self, review: &Review<'_>, object: Option<&dyn Object>) -> bool {
        self.objects.is_everything()
            || [object, review.old]
                .into_iter()
                .flatten()
                .any(|object| self.objects.matches(&object.meta().labels))
    }
}

/// The name of the object; empty where it is yet to be generated.
fn name_of<'r>(review: &Review<'r>, object: Option<&'r dyn Object>) -> &'r str {
    match review.target.name.as_str() {
        "" => object.map_or("", |object| object.meta().name.as_str()),
        name => name,
    }
}

impl Rule {
    fn matches(&self, review: &Review<'_>, target: &Equivalent, name: &str) -> bool {
        let has = |list: &[Str], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        has(&self.operations, review.operation.name())
            && has(&self.groups, &target.group)
            && has(&self.versions, &target.version)
            && self.resources.iter().any(|pattern| {
                let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
                (resource == "*" || resource == target.resource)
                    && (subresource == "*" || subresource == review.target.subresource)
            })
            && self.matches_scope(review)
            && (self.names.is_empty() || self.names.iter().any(|known| known == name))
    }

    fn matches_scope(&self, review: &Review<'_>) -> bool {
        let cluster = review.on("", "namespaces") || review.target.namespace.is_empty();
        match self.scope.as_str() {
            "Cluster" => cluster,
            "Namespaced" => !cluster,
            _ => true,
        }
    }
}
