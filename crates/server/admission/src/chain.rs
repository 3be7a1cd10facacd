//! The stage itself: from an authorized change to one that may be stored.
//!
//! The order within is upstream's: mutating plugins, then the registry prepares the object (names, uids, the kind's
//! own rules), then validation of the kind, validating plugins and quota. [`Mutated`] is the object on its way,
//! [`Admitted`] its end; both can only be made here, from an [`authz::Authorized`].

use std::sync::Arc;
use std::time::Instant;

use authz::Authorized;
use env::Env;
use meta::{Object, Status};
use webhook::Users;

use crate::configuration::{Configuration, ConfigurationError, versioned};
use crate::dynamic::{Dynamic, Parts, Round, Sources, Stage};
use crate::meter::{self, Meter};
use crate::metrics::{self, Step};
use crate::plugins::{Entry, Make, PLUGINS, Plugin, Setup};
use crate::quota::{Charge, Quota};
use crate::refuse::forbidden;
use crate::review::Review;
use crate::world::World;

/// Why there is no chain as asked. The options must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A name in `--enable-admission-plugins` or `--disable-admission-plugins` that no plugin has.
    #[error("{flag} plugin {name:?} is unknown")]
    Unknown {
        /// In which of the two.
        flag: &'static str,
        /// The name.
        name: String,
    },
    /// A name in both.
    #[error("{0} in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
    /// A plugin cannot do what its document says.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// Which plugins run, and how.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Besides those that are on by default.
    pub enable: Vec<String>,
    /// Not these.
    pub disable: Vec<String>,
    /// What administrators tell them.
    pub configuration: Configuration,
}

/// The plugins in order, and what users program.
#[derive(Clone)]
pub struct Chain {
    plugins: Arc<[Measured]>,
    meters: Arc<Meters>,
    quota: Option<Arc<Quota>>,
    /// What of the programmed part runs.
    parts: Parts,
    /// Everything is refused (`AlwaysDeny`).
    denies: bool,
    dynamic: Arc<Dynamic>,
}

/// A plugin with its measure.
struct Measured {
    plugin: Link,
    meter: Option<Meter>,
}

/// The measures of what the chain does itself.
pub(crate) struct Meters {
    pub mutating_policies: Option<Meter>,
    pub mutating_webhooks: Option<Meter>,
    pub validating_policies: Option<Meter>,
    pub validating_webhooks: Option<Meter>,
    quota: Option<Meter>,
}

impl Meters {
    fn of(parts: Parts, quota: bool) -> Self {
        let of = |runs: bool, name| if runs { Meter::of(name) } else { None };
        Meters {
            mutating_policies: of(parts.mutating_policies, "MutatingAdmissionPolicy"),
            mutating_webhooks: of(parts.mutating_webhooks, "MutatingAdmissionWebhook"),
            validating_policies: of(parts.validating_policies, "ValidatingAdmissionPolicy"),
            validating_webhooks: of(parts.validating_webhooks, "ValidatingAdmissionWebhook"),
            quota: of(quota, "ResourceQuota"),
        }
    }
}

/// One plugin.
enum Link {
    Plain(&'static dyn Plugin),
    Own(Arc<dyn Plugin>),
}

impl std::ops::Deref for Link {
    type Target = dyn Plugin;

    fn deref(&self) -> &Self::Target {
        match self {
            Link::Plain(plugin) => *plugin,
            Link::Own(plugin) => &**plugin,
        }
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.plugins.iter().map(|measured| measured.plugin.name())).finish()
    }
}

impl Default for Chain {
    /// The plugins that are on by default, none of which needs a configuration.
    fn default() -> Self {
        Chain::of(&Choice::default(), &Env::real()).expect("no plugin that is on by default needs a document")
    }
}

/// An object that every mutating plugin has seen.
#[derive(Debug)]
pub struct Mutated {
    object: Box<dyn Object>,
}

impl Mutated {
    /// The object, for the steps between mutation and validation.
    pub fn object(&mut self) -> &mut dyn Object {
        &mut *self.object
    }

    /// The object as it is now.
    pub fn peek(&self) -> &dyn Object {
        &*self.object
    }

    /// Goes on with what this object is a view of: a scale is reviewed, its Deployment is stored.
    ///
    /// # Errors
    /// What `of` says.
    pub fn turn(
        self,
        of: impl FnOnce(Box<dyn Object>) -> Result<Box<dyn Object>, Status>,
    ) -> Result<Self, Status> {
        of(self.object).map(|object| Mutated { object })
    }
}

/// An object that may be stored.
#[derive(Debug)]
pub struct Admitted {
    object: Box<dyn Object>,
    charges: Vec<Charge>,
}

impl Admitted {
    /// The object, and what quotas must be charged before it is stored.
    pub fn into_parts(self) -> (Box<dyn Object>, Vec<Charge>) {
        (self.object, self.charges)
    }

    /// The object.
    pub fn object(&self) -> &dyn Object {
        &*self.object
    }

    /// Lets the kind's rules put right what reading the stored object would.
    pub fn settle(&mut self, settle: impl FnOnce(&mut dyn Object)) {
        settle(&mut *self.object);
    }
}

impl Chain {
    /// The plugins that are on by default, with some more and without some.
    ///
    /// # Errors
    /// When there is no plugin of a name, or one cannot do what its document says.
    pub fn of(choice: &Choice, env: &Env) -> Result<Self, ChainError> {
        let lists =
            [("enable-admission-plugins", &choice.enable), ("disable-admission-plugins", &choice.disable)];
        for (flag, names) in lists {
            let known = |name: &&String| PLUGINS.iter().any(|plugin| plugin.name == name.as_str());
            if let Some(name) = names.iter().find(|name| !known(name)) {
                return Err(ChainError::Unknown { flag, name: name.clone() });
            }
        }
        if let Some(both) = choice.enable.iter().find(|name| choice.disable.contains(name)) {
            return Err(ChainError::Overlap(both.clone()));
        }
        let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
        let on = |plugin: &Entry| {
            has(&choice.enable, plugin.name) || plugin.on && !has(&choice.disable, plugin.name)
        };
        let runs = |name: &str| PLUGINS.iter().any(|plugin| plugin.name == name && on(plugin));
        let setup = Setup { configuration: &choice.configuration, env };
        let wrong = |plugin: &'static str| move |why: String| ConfigurationError::Plugin { plugin, why };
        let mut plugins = Vec::new();
        for plugin in PLUGINS.iter().filter(|plugin| on(plugin)) {
            match plugin.make {
                Make::Plain(plain) => plugins.push(Link::Plain(plain)),
                Make::Configured(make) => plugins.push(Link::Own(make(&setup).map_err(wrong(plugin.name))?)),
                Make::Chain | Make::Inactive => {}
            }
        }
        let quota = match runs("ResourceQuota") {
            true => {
                let quota =
                    Quota::configured(setup.document("ResourceQuota")).map_err(wrong("ResourceQuota"))?;
                Some(Arc::new(quota))
            }
            false => None,
        };
        let users = |plugin: &'static str| users(&setup, plugin).map_err(wrong(plugin));
        let users = [users("MutatingAdmissionWebhook")?, users("ValidatingAdmissionWebhook")?];
        let parts = Parts {
            mutating_policies: runs("MutatingAdmissionPolicy"),
            mutating_webhooks: runs("MutatingAdmissionWebhook"),
            validating_policies: runs("ValidatingAdmissionPolicy"),
            validating_webhooks: runs("ValidatingAdmissionWebhook"),
        };
        Ok(Chain {
            plugins: plugins
                .into_iter()
                .map(|plugin: Link| Measured { meter: Meter::of(plugin.name()), plugin })
                .collect(),
            meters: Arc::new(Meters::of(parts, quota.is_some())),
            quota,
            parts,
            denies: runs("AlwaysDeny"),
            dynamic: Arc::new(Dynamic::asked_by(users)),
        })
    }

    /// What users program; whoever follows those objects keeps it up to date.
    pub fn dynamic(&self) -> &Arc<Dynamic> {
        &self.dynamic
    }

    /// Runs the mutating half. The proof of authorization is only looked at by the type checker.
    ///
    /// When what users program changed the object, everything that may depend on that runs once more: the plugins, and
    /// those policies and webhooks that ask for it.
    pub async fn mutate(
        &self,
        _: &Authorized,
        review: &Review<'_>,
        mut object: Box<dyn Object>,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<Mutated, Status> {
        let started = Instant::now();
        let result = self.admit(review, &mut object, world, warnings).await;
        metrics::step(Step::Admit, review.operation, result.is_err(), started.elapsed());
        result.map(|()| Mutated { object })
    }

    async fn admit(
        &self,
        review: &Review<'_>,
        object: &mut Box<dyn Object>,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        self.plugins_mutate(review, &mut **object, world, warnings).await?;
        let sources = self.dynamic.load_full();
        let stage = self.stage(&sources, review, world);
        let mut round = Round::default();
        stage.mutate(object, &mut round, warnings).await?;
        if round.next() {
            let before = object.clone_object();
            self.plugins_mutate(review, &mut **object, world, warnings).await?;
            if !before.eq_object(&**object) {
                round.changed();
            }
            stage.mutate(object, &mut round, warnings).await?;
        }
        self.deny(review, Some(&**object))
    }

    async fn plugins_mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        for Measured { plugin, meter } in self.plugins.iter() {
            let begun = meter.as_ref().and_then(|meter| meter.begin(Step::Admit, review.operation));
            let provided = match plugin.provide(review, object, world) {
                Some(providing) => providing.await,
                None => Ok(()),
            };
            let mutated = provided.and_then(|()| plugin.mutate(review, object, world, warnings));
            meter::end(begun, mutated)?;
        }
        Ok(())
    }

    /// Runs the validating half. `validate` is the kind's own validation and runs first.
    pub async fn validate(
        &self,
        review: &Review<'_>,
        mutated: Mutated,
        world: &dyn World,
        warnings: &mut Vec<String>,
        validate: impl FnOnce(&dyn Object) -> Result<(), Status>,
    ) -> Result<Admitted, Status> {
        self.validate_view(review, mutated, None, world, warnings, validate).await
    }

    /// Runs the validating half on a view of the object, where there is one: a scale is reviewed, its Deployment is
    /// stored.
    pub async fn validate_view(
        &self,
        review: &Review<'_>,
        mutated: Mutated,
        view: Option<&dyn Object>,
        world: &dyn World,
        warnings: &mut Vec<String>,
        validate: impl FnOnce(&dyn Object) -> Result<(), Status>,
    ) -> Result<Admitted, Status> {
        let object = mutated.object;
        validate(&*object)?;
        let started = Instant::now();
        let result = self.check(review, view.unwrap_or(&*object), world, warnings).await;
        metrics::step(Step::Validate, review.operation, result.is_err(), started.elapsed());
        result.map(|charges| Admitted { object, charges })
    }

    async fn check(
        &self,
        review: &Review<'_>,
        object: &dyn Object,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Charge>, Status> {
        for Measured { plugin, meter } in self.plugins.iter() {
            let begun = meter.as_ref().and_then(|meter| meter.begin(Step::Validate, review.operation));
            let validated = plugin.validate(review, Some(object), world);
            let consulted = match validated.is_ok().then(|| plugin.consult(review, object, world)).flatten() {
                Some(consulting) => consulting.await,
                None => validated,
            };
            meter::end(begun, consulted)?;
        }
        self.stage(&self.dynamic.load_full(), review, world).validate(Some(object), warnings).await?;
        let begun =
            self.meters.quota.as_ref().and_then(|meter| meter.begin(Step::Validate, review.operation));
        let charges = meter::end(
            begun,
            match &self.quota {
                Some(quota) => quota.charges(review, object, world),
                None => Ok(Vec::new()),
            },
        )?;
        self.deny(review, Some(object))?;
        Ok(charges)
    }

    /// Whether an object may be deleted, or connected to.
    pub async fn allow(
        &self,
        _: &Authorized,
        review: &Review<'_>,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let started = Instant::now();
        let result = self.check_without_object(review, world, warnings).await;
        metrics::step(Step::Validate, review.operation, result.is_err(), started.elapsed());
        result
    }

    async fn check_without_object(
        &self,
        review: &Review<'_>,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        for Measured { plugin, meter } in self.plugins.iter() {
            let begun = meter.as_ref().and_then(|meter| meter.begin_without_object(review.operation));
            meter::end(begun, plugin.validate(review, None, world))?;
        }
        let sources = self.dynamic.load_full();
        let stage = self.stage(&sources, review, world);
        stage.allow_mutating(warnings).await?;
        stage.validate(None, warnings).await?;
        self.deny(review, None)
    }

    fn stage<'r>(&'r self, sources: &'r Sources, review: &'r Review<'r>, world: &'r dyn World) -> Stage<'r> {
        Stage { sources, review, world, parts: self.parts, meters: Some(&self.meters) }
    }

    fn deny(&self, review: &Review<'_>, object: Option<&dyn Object>) -> Result<(), Status> {
        match self.denies {
            false => Ok(()),
            true => Err(forbidden(review, object, "admission control is denying all modifications")),
        }
    }
}

/// Who asks webhooks: a kubeconfig with users by the servers' names.
fn users(setup: &Setup<'_>, plugin: &str) -> Result<Option<Users>, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Document {
        #[serde(default)]
        kube_config_file: String,
    }
    let Some(document) = setup.document(plugin) else { return Ok(None) };
    let current =
        versioned::<Document>(document, "WebhookAdmissionConfiguration", &["apiserver.config.k8s.io/v1"]);
    let document = current.or_else(|why| {
        versioned(document, "WebhookAdmission", &["apiserver.config.k8s.io/v1alpha1"]).map_err(|_| why)
    })?;
    match document.kube_config_file.as_str() {
        "" => Ok(None),
        file => Users::load(&setup.path(file)).map(Some).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(enable: &[&str], disable: &[&str]) -> Result<Chain, String> {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let choice = Choice { enable: owned(enable), disable: owned(disable), ..Choice::default() };
        Chain::of(&choice, &Env::real()).map_err(|error| error.to_string())
    }

    fn names(enable: &[&str], disable: &[&str]) -> Vec<&'static str> {
        let chain = chain(enable, disable).expect("known plugins");
        chain.plugins.iter().map(|measured| measured.plugin.name()).collect()
    }

    #[test]
    fn plugins_are_chosen_by_name_and_run_in_upstreams_order() {
        let default = names(&[], &[]);
        assert!(default.contains(&"PodSecurity") && !default.contains(&"AlwaysPullImages"), "{default:?}");
        let more = names(&["DenyServiceExternalIPs", "AlwaysPullImages"], &["PodSecurity"]);
        let at = |name| more.iter().position(|known| *known == name);
        assert!(at("AlwaysPullImages") < at("Priority") && at("Priority") < at("DenyServiceExternalIPs"));
        assert_eq!(at("PodSecurity"), None);
        for (enable, disable, says) in [
            ("Nonsense", "Priority", "enable-admission-plugins plugin \"Nonsense\" is unknown"),
            ("AlwaysDeny", "Nonsense", "disable-admission-plugins plugin \"Nonsense\" is unknown"),
            (
                "Priority",
                "Priority",
                "Priority in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
            (
                "EventRateLimit",
                "Priority",
                "failed to initialize admission plugin \"EventRateLimit\": limits: Invalid value: null: must not be empty",
            ),
            (
                "ImagePolicyWebhook",
                "Priority",
                "failed to initialize admission plugin \"ImagePolicyWebhook\": no config specified",
            ),
        ] {
            assert_eq!(chain(&[enable], &[disable]).expect_err("refused"), says);
        }
    }

    #[test]
    fn the_programmed_part_can_be_switched_off() {
        let chain = chain(&[], &["MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ResourceQuota"]);
        let chain = chain.expect("known plugins");
        let parts = chain.parts;
        assert!(parts.mutating_policies && parts.validating_webhooks);
        assert!(!parts.mutating_webhooks && !parts.validating_policies && chain.quota.is_none());
    }

    /// The names and their defaults are those that upstream's help text lists.
    #[test]
    fn every_name_of_upstream_is_known() {
        let golden =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../shared/golden/flags/kube-apiserver.txt");
        let Ok(help) = std::fs::read_to_string(golden) else {
            println!("skipped");
            return;
        };
        let line = help
            .lines()
            .find(|line| line.trim_start().starts_with("--enable-admission-plugins "))
            .expect("the flag");
        let (_, rest) = line.split_once("default enabled ones (").expect("the defaults");
        let (defaults, rest) = rest.split_once(')').expect("an end");
        let (_, rest) = rest.split_once("Comma-delimited list of admission plugins: ").expect("the list");
        let (all, _) = rest.split_once(". The order").expect("an end");
        let mut known: Vec<&str> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        known.sort_unstable();
        assert_eq!(all.split(", ").collect::<Vec<_>>(), known);
        let on = PLUGINS.iter().filter(|plugin| plugin.on && plugin.name != "NodeRestriction");
        let on: Vec<&str> = on.map(|plugin| plugin.name).collect();
        assert_eq!(defaults.split(", ").collect::<Vec<_>>(), on);
    }
}
