//! Objects that subresources take and nobody stores: bindings, evictions, requests for tokens. They pass admission all
//! the same, and plugins, policies and webhooks may change them.

use std::marker::PhantomData;

use admission::{ObjectCodec, Operation, Options, Review};
use call::{DryRun, Target, WriteOptions};
use meta::{Codec as _, Kind, Object, Status};

use crate::create::same_namespace;
use crate::errors;
use crate::managed::Endpoint;
use crate::registry::{Registry, Request};

/// Reads what admission made of a body.
pub(crate) struct Body<T>(PhantomData<fn() -> T>);

impl<T> Body<T> {
    /// There is one of each kind.
    pub(crate) const CODEC: Self = Body(PhantomData);
}

impl<T: Kind> ObjectCodec for Body<T> {
    fn decode(&self, json: &serde_json::Value) -> Result<Box<dyn Object>, String> {
        let text = serde_json::to_vec(json).map_err(|error| error.to_string())?;
        T::from_json(&text).map(|body| Box::new(body) as Box<dyn Object>).map_err(|error| error.to_string())
    }
}

impl Registry {
    /// What admission makes of the body of a CREATE at `target`. `check` is the subresource's own validation.
    pub(super) async fn admit_body<T: Kind>(
        &self,
        request: &mut Request<'_>,
        target: &Target,
        mut body: Box<T>,
        options: &WriteOptions,
        check: impl FnOnce(&T) -> Result<(), Status> + Send,
    ) -> Result<Box<T>, Status> {
        same_namespace(request, &mut *body)?;
        let subresource = &target.subresource;
        Endpoint { served: request.served, subresource, options, now_s: self.now_s() }
            .record(&mut *body, None);
        let review = Review {
            operation: Operation::Create,
            target,
            user: request.authorized.user(),
            old: None,
            dry_run: options.dry_run == DryRun::All,
            notes: request.notes,
            options: Options::Write(options),
            codec: &Body::<T>::CODEC,
        };
        let mutated = self.chain.mutate(request.authorized, &review, body, self, request.warnings).await?;
        let check = |object: &dyn Object| {
            check(
                meta::downcast_ref(object)
                    .ok_or_else(|| errors::bad_request("the body is of another kind"))?,
            )
        };
        let admitted = self.chain.validate(&review, mutated, self, request.warnings, check).await?;
        super::body_of(admitted.into_parts().0)
    }
}
