//! Admission that the cluster's users program: CEL policies and webhooks.
//!
//! [`Sources`] is what there is of them, compiled, behind one atomic pointer that whoever follows the objects replaces.
//! A request that nothing applies to costs one load of that pointer. [`Stage`] runs what applies, in upstream's order: policies
//! that mutate, webhooks that mutate, and, once the object is final, policies and webhooks that validate.

mod conditions;
mod configuration;
mod input;
mod matching;
mod mutating;
mod params;
mod sources;
mod subject;
mod validating;
mod variables;
mod webhook;

pub use sources::{Dynamic, Sources};
pub use webhook::Endpoint as WebhookEndpoint;

use meta::{Object, Status};

use crate::chain::Meters;
use crate::meter::{self, Begun, Meter};
use crate::metrics::Step;
use crate::review::Review;
use crate::world::World;

/// The programmed part of admission, for one request.
pub(crate) struct Stage<'r> {
    pub sources: &'r Sources,
    pub review: &'r Review<'r>,
    pub world: &'r dyn World,
    pub parts: Parts,
    pub meters: Option<&'r Meters>,
}

/// What of the programmed part runs; an administrator can switch each off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub mutating_policies: bool,
    pub mutating_webhooks: bool,
    pub validating_policies: bool,
    pub validating_webhooks: bool,
}

/// What a first round of mutation leaves for a second one.
#[derive(Default)]
pub(crate) struct Round {
    /// How often the object changed.
    changes: u64,
    /// What may run again, and after how many changes it ran.
    invoked: Vec<(String, u64)>,
    /// This is the second round.
    again: bool,
}

impl Round {
    /// Whether a hook is to run now. In the second round, those run again that want to and have not seen the object as it is.
    fn runs(&self, key: &str) -> bool {
        !self.again || self.invoked.iter().any(|(known, seen)| known == key && *seen < self.changes)
    }

    fn ran(&mut self, key: String, changed: bool, reinvocable: bool) {
        self.changes += u64::from(changed);
        self.invoked.retain(|(known, _)| *known != key);
        if reinvocable {
            self.invoked.push((key, self.changes));
        }
    }

    /// The object was changed by something that is not programmed.
    pub(crate) fn changed(&mut self) {
        self.changes += 1;
    }

    /// Begins the second round; false when nothing changed in the first.
    pub(crate) fn next(&mut self) -> bool {
        let needed = self.changes > 0 && !self.again;
        self.again = true;
        needed
    }
}

impl Stage<'_> {
    /// Runs what mutates.
    pub(crate) async fn mutate(
        &self,
        object: &mut Box<dyn Object>,
        round: &mut Round,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        if self.parts.mutating_policies {
            let begun = self.begin(Step::Admit, |meters| &meters.mutating_policies);
            meter::end(begun, mutating::run(self, object, round))?;
        }
        if self.parts.mutating_webhooks {
            let begun = self.begin(Step::Admit, |meters| &meters.mutating_webhooks);
            meter::end(begun, webhook::mutate(self, object, round, warnings).await)?;
        }
        Ok(())
    }

    /// Asks those that mutate about a request without an object that they could change: they may still refuse it.
    pub(crate) async fn allow_mutating(&self, warnings: &mut Vec<String>) -> Result<(), Status> {
        if self.parts.mutating_webhooks {
            let begun = self.begin(Step::Admit, |meters| &meters.mutating_webhooks);
            meter::end(begun, webhook::allow(self, warnings).await)?;
        }
        Ok(())
    }

    /// Runs what validates; `object` is `None` when it is deleted or connected to.
    pub(crate) async fn validate(
        &self,
        object: Option<&dyn Object>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        if self.parts.validating_policies {
            let begun = self.begin(Step::Validate, |meters| &meters.validating_policies);
            meter::end(begun, validating::run(self, object, warnings))?;
        }
        if self.parts.validating_webhooks {
            let begun = self.begin(Step::Validate, |meters| &meters.validating_webhooks);
            meter::end(begun, webhook::validate(self, object, warnings).await)?;
        }
        Ok(())
    }

    fn begin(&self, step: Step, part: impl FnOnce(&Meters) -> &Option<Meter>) -> Option<Begun<'_>> {
        part(self.meters?).as_ref()?.begin(step, self.review.operation)
    }
}

#[cfg(test)]
mod tests;
