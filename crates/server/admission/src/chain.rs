//! The stage itself: from an authorized change to one that may be stored.
//!
//! The order within is upstream's: mutating plugins, then the registry prepares the object (names, uids, the kind's
//! own rules), then validation of the kind, validating plugins and quota. [`Mutated`] is the object on its way,
//! [`Admitted`] its end; both can only be made here, from an [`authz::Authorized`].

use std::sync::Arc;

use authz::Authorized;
use meta::{Object, Status};

use crate::dynamic::{Dynamic, Round, Stage};
use crate::plugins::{OFF_BY_DEFAULT, PLUGINS, Plugin};
use crate::quota::{Charge, over_quota};
use crate::review::Review;
use crate::world::World;

/// The name of quota, which runs after every plugin.
const QUOTA: &str = "ResourceQuota";

/// A name in `--enable-admission-plugins` or `--disable-admission-plugins` that no plugin has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{flag} plugin {name:?} is unknown")]
pub struct UnknownPlugin {
    flag: &'static str,
    name: String,
}

/// The plugins in order, and what users program.
#[derive(Clone)]
pub struct Chain {
    plugins: Arc<[&'static dyn Plugin]>,
    quota: bool,
    dynamic: Arc<Dynamic>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.plugins.iter().map(|plugin| plugin.name())).finish()
    }
}

impl Default for Chain {
    fn default() -> Self {
        let on = PLUGINS.iter().filter(|plugin| !OFF_BY_DEFAULT.contains(&plugin.name()));
        Chain { plugins: on.copied().collect(), quota: true, dynamic: Arc::default() }
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
    /// When there is no plugin of a name.
    pub fn of(enable: &[String], disable: &[String]) -> Result<Self, UnknownPlugin> {
        for (flag, names) in [("enable-admission-plugins", enable), ("disable-admission-plugins", disable)] {
            let known = |name: &&String| *name == QUOTA || PLUGINS.iter().any(|p| p.name() == name.as_str());
            if let Some(name) = names.iter().find(|name| !known(name)) {
                return Err(UnknownPlugin { flag, name: name.clone() });
            }
        }
        let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
        let on = |name: &str| has(enable, name) || !has(disable, name) && !OFF_BY_DEFAULT.contains(&name);
        let plugins = PLUGINS.iter().filter(|plugin| on(plugin.name())).copied().collect();
        Ok(Chain { plugins, quota: on(QUOTA), dynamic: Arc::default() })
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
        for plugin in self.plugins.iter() {
            plugin.mutate(review, &mut *object, world, warnings)?;
        }
        let sources = self.dynamic.load_full();
        if !sources.mutates() {
            return Ok(Mutated { object });
        }
        let stage = Stage { sources: &sources, review, world };
        let mut round = Round::default();
        stage.mutate(&mut object, &mut round, warnings).await?;
        if round.next() {
            let before = object.clone_object();
            for plugin in self.plugins.iter() {
                plugin.mutate(review, &mut *object, world, warnings)?;
            }
            if !before.eq_object(&*object) {
                round.changed();
            }
            stage.mutate(&mut object, &mut round, warnings).await?;
        }
        Ok(Mutated { object })
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
        let object = mutated.object;
        validate(&*object)?;
        for plugin in self.plugins.iter() {
            plugin.validate(review, Some(&*object), world)?;
        }
        let sources = self.dynamic.load_full();
        if sources.validates() {
            Stage { sources: &sources, review, world }.validate(Some(&*object), warnings).await?;
        }
        let charges = if self.quota { over_quota(review, &*object, world)? } else { Vec::new() };
        Ok(Admitted { object, charges })
    }

    /// Whether an object may be deleted, or connected to.
    pub async fn allow(
        &self,
        _: &Authorized,
        review: &Review<'_>,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        self.plugins.iter().try_for_each(|plugin| plugin.validate(review, None, world))?;
        let sources = self.dynamic.load_full();
        if sources.validates() || sources.mutates() {
            let stage = Stage { sources: &sources, review, world };
            stage.allow_mutating(warnings).await?;
            stage.validate(None, warnings).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(enable: &[&str], disable: &[&str]) -> Vec<&'static str> {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let chain = Chain::of(&owned(enable), &owned(disable)).expect("known plugins");
        chain.plugins.iter().map(|plugin| plugin.name()).collect()
    }

    #[test]
    fn plugins_are_chosen_by_name_and_run_in_upstreams_order() {
        let default = names(&[], &[]);
        assert!(default.contains(&"PodSecurity") && !default.contains(&"AlwaysPullImages"), "{default:?}");
        let more = names(&["DenyServiceExternalIPs", "AlwaysPullImages"], &["PodSecurity"]);
        let at = |name| more.iter().position(|known| *known == name);
        assert!(at("AlwaysPullImages") < at("Priority") && at("Priority") < at("DenyServiceExternalIPs"));
        assert_eq!(at("PodSecurity"), None);
        let unknown = Chain::of(&["Nonsense".into()], &[]).expect_err("an unknown plugin");
        assert_eq!(unknown.to_string(), "enable-admission-plugins plugin \"Nonsense\" is unknown");
    }
}
