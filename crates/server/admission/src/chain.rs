//! The stage itself: from an authorized change to one that may be stored.
//!
//! The order within is upstream's: mutating plugins, then the registry prepares the object (names, uids, the kind's
//! own rules), then validation of the kind, validating plugins and quota. [`Mutated`] is the object on its way,
//! [`Admitted`] its end; both can only be made here, from an [`authz::Authorized`].

use std::sync::Arc;

use authz::Authorized;
use meta::{Object, Status};

use crate::dynamic::{Dynamic, Round, Stage};
use crate::plugins::PLUGINS;
use crate::quota::{Charge, over_quota};
use crate::review::Review;
use crate::world::World;

/// The plugins in order, and what users program.
#[derive(Clone, Default)]
pub struct Chain {
    dynamic: Arc<Dynamic>,
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
        for plugin in PLUGINS {
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
            for plugin in PLUGINS {
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
        for plugin in PLUGINS {
            plugin.validate(review, Some(&*object), world)?;
        }
        let sources = self.dynamic.load_full();
        if sources.validates() {
            Stage { sources: &sources, review, world }.validate(Some(&*object), warnings).await?;
        }
        let charges = over_quota(review, &*object, world)?;
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
        PLUGINS.iter().try_for_each(|plugin| plugin.validate(review, None, world))?;
        let sources = self.dynamic.load_full();
        if sources.validates() || sources.mutates() {
            let stage = Stage { sources: &sources, review, world };
            stage.allow_mutating(warnings).await?;
            stage.validate(None, warnings).await?;
        }
        Ok(())
    }
}
