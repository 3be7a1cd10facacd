//! CREATE.

use admission::{Operation, Options, Review};
use call::{DryRun, WriteOptions};
use meta::{Object, Status, Str, Time};
use types::core::v1::LimitRange;

use crate::commit::Committed;
use crate::convert::to_validated;
use crate::errors;
use crate::managed::Endpoint;
use crate::outcome::Outcome;
use crate::owners::{self, When};
use crate::registry::{Registry, Request};

/// Attempts to find a free generated name (KEP-4420).
const NAME_ATTEMPTS: usize = 8;
/// Attempts to charge quotas that others charge at the same time.
const QUOTA_ATTEMPTS: usize = 16;
/// Longest part of `generateName` that is kept, in bytes.
const GENERATE_NAME_MAX: usize = 58;
/// Random letters of a generated name.
const SUFFIX_LETTERS: usize = 5;

impl Registry {
    /// CREATE.
    pub(crate) async fn create(
        &self,
        request: &mut Request<'_>,
        mut object: Box<dyn Object>,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        same_namespace(request, &mut *object)?;
        wipe_system_fields(&mut *object);
        owners::dedup(&mut *object, When::Sent, request.warnings);
        request.unlabelled = object.meta().labels.is_empty();
        request.served.rules().default(&mut *object);
        crate::convert::round_trip(&mut object);
        Endpoint { served: request.served, subresource: "", options, now_s: self.now_s() }
            .record(&mut *object, None);
        self.create_owned(request, object, options).await
    }

    /// CREATE of a defaulted object whose managers are recorded.
    pub(crate) async fn create_owned(
        &self,
        request: &mut Request<'_>,
        object: Box<dyn Object>,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let generated = object.meta().name.is_empty() && !object.meta().generate_name.is_empty();
        let prefixed = !object.meta().generate_name.is_empty();
        let attempts = if generated { NAME_ATTEMPTS } else { 1 };
        let mut quota_attempts = 0;
        let mut attempt = 0;
        let spare = object.clone_object();
        let mut object = Some(object);
        loop {
            attempt += 1;
            let last = attempt >= attempts;
            let one = object.take().unwrap_or_else(|| spare.clone_object());
            match self.create_once(request, one, options).await {
                Err(status) if !last && status.is_already_exists() => {}
                // Upstream says so of any object with a prefix, even one whose name was given.
                Err(status) if status.is_already_exists() && prefixed => {
                    return Err(self.generated_name_taken(request, status));
                }
                Err(status) if quota_attempts < QUOTA_ATTEMPTS && is_quota_conflict(&status) => {
                    quota_attempts += 1;
                    attempt -= 1;
                }
                done => return done,
            }
        }
    }

    fn generated_name_taken(&self, request: &Request<'_>, status: Status) -> Status {
        let name = status.details.as_ref().map(|d| d.name.clone()).unwrap_or_default();
        let resource =
            meta::GroupResource::new(request.target.group.clone(), request.target.resource.clone());
        Status::generate_name_conflict(&resource, &name, 1)
    }

    async fn create_once(
        &self,
        request: &mut Request<'_>,
        object: Box<dyn Object>,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let served = request.served;
        let target = request.target;
        self.catch_up_for(request).await;
        let review = Review {
            operation: Operation::Create,
            target,
            user: request.authorized.user(),
            old: None,
            dry_run: options.dry_run == DryRun::All,
            notes: request.notes,
            options: Options::Write(options),
            codec: served,
        };
        let mut mutated =
            self.chain.mutate(request.authorized, &review, object, self, request.warnings).await?;
        owners::dedup(mutated.object(), When::Admitted, request.warnings);
        self.check_escalation(request, mutated.peek(), None).await?;
        let context = self.context(request);
        self.fill_metadata(mutated.object());
        same_namespace(request, mutated.object())?;
        let mut told = served.rules().early_warnings(mutated.peek(), None);
        served.rules().prepare_create(&context, mutated.object());
        let leases = self.allocate_for_new(mutated.object(), options.dry_run == DryRun::All)?;
        let kind = served.resource();
        // Whoever is refused by admission then is warned nevertheless, of the object first.
        let mut checked = Vec::new();
        let check = |object: &dyn Object| {
            let mut problems: Vec<_> = crate::admin_access::of_new(object, self).into_iter().collect();
            problems.extend(match to_validated(object) {
                Some((served, object)) => served.rules().validate_create(&context, &*object),
                None => served.rules().validate_create(&context, object),
            });
            if problems.is_empty() {
                checked = served.rules().warnings(object, None);
                return Ok(());
            }
            let shown = object.group_version_kind();
            let shown = if served.custom().is_some() { shown.kind.as_str() } else { &kind.kind };
            Err(errors::invalid(&kind.group, shown, shown_name(object), problems))
        };
        let before = request.warnings.len();
        let validated = self.chain.validate(&review, mutated, self, request.warnings, check).await;
        told.append(&mut checked);
        request.warnings.splice(before..before, told);
        let mut admitted = validated?;
        admitted.settle(|object| served.rules().settle(object));
        let name = admitted.object().meta().name.clone();
        let key = served.key(&target.namespace, &name);
        if options.dry_run == DryRun::All {
            if let Some(existing) = self.find_object(served, &target.namespace, &name).await? {
                return Err(taken(request, &name, &existing));
            }
            let (object, _) = admitted.into_parts();
            return Ok(Outcome::Made(object.into(), 201));
        }
        // The store says so, once everybody else has agreed to the object; a version that is none it does not read.
        if admitted.object().meta().resource_version.parse::<u64>().is_ok_and(|version| version != 0) {
            return Err(errors::bare("resourceVersion should not be set on objects to be created"));
        }
        match self.commit(served, key, admitted, 0).await? {
            Committed::Stored(stored) => {
                leases.keep();
                Ok(Outcome::Created(stored))
            }
            Committed::Conflict(existing) => Err(match existing {
                Some(existing) => taken(request, &name, &existing),
                None => errors::already_exists(&target.group, &target.resource, &name, ""),
            }),
        }
    }

    /// Name, uid and creation time of a new object; whatever was said of its end is dropped.
    fn fill_metadata(&self, object: &mut dyn Object) {
        let now = Time::from_unix(self.now_s());
        wipe_system_fields(object);
        let unnamed = meta::downcast_ref::<LimitRange>(object).is_some();
        let metadata = object.meta_mut();
        metadata.creation_timestamp = Some(now);
        metadata.uid = Str::from(self.env.random.uuid());
        if metadata.name.is_empty() && !metadata.generate_name.is_empty() {
            let mut end = metadata.generate_name.len().min(GENERATE_NAME_MAX);
            while !metadata.generate_name.is_char_boundary(end) {
                end -= 1;
            }
            let suffix = self.env.random.name_suffix(SUFFIX_LETTERS);
            metadata.name = Str::from(format!("{}{suffix}", &metadata.generate_name[..end]));
        }
        // Limit ranges are the one kind that needs no name at all.
        if metadata.name.is_empty() && unnamed {
            metadata.name = Str::from(self.env.random.uuid());
        }
    }
}

fn is_quota_conflict(status: &Status) -> bool {
    status.is_conflict() && status.details.as_ref().is_some_and(|d| d.kind == "resourcequotas")
}

fn shown_name(object: &dyn Object) -> &str {
    if object.meta().name.is_empty() { "" } else { &object.meta().name }
}

/// The 409 of a name that is taken.
fn taken(request: &Request<'_>, name: &str, existing: &crate::Stored) -> Status {
    let deleting = existing.object().meta().is_deleting();
    let prefix = if deleting { "object is being deleted: " } else { "" };
    errors::already_exists(&request.target.group, &request.target.resource, name, prefix)
}

/// What the client said of the object's beginning and end is the server's to say.
fn wipe_system_fields(object: &mut dyn Object) {
    let metadata = object.meta_mut();
    metadata.creation_timestamp = None;
    metadata.uid = Str::new();
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.self_link = Str::new();
}

/// The object's namespace is the request's, or is given by it; what is outside namespaces loses it.
pub(crate) fn same_namespace(request: &Request<'_>, object: &mut dyn Object) -> Result<(), Status> {
    let wanted: Str =
        if request.served.resource().namespaced { request.target.namespace.clone() } else { Str::new() };
    let metadata = object.meta_mut();
    if metadata.namespace.is_empty() || wanted.is_empty() {
        metadata.namespace = wanted;
        return Ok(());
    }
    if metadata.namespace == wanted {
        return Ok(());
    }
    Err(errors::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}
