//! UPDATE and PATCH: read, change, check, write if nobody else wrote meanwhile.

use admission::{Operation, Options, Review};
use authz::{Attributes, Decision, Forbidden};
use bytes::Bytes;
use call::{DryRun, PatchKind, Target, WriteOptions};
use meta::{FieldError, FieldErrorKind, GroupResource, Object, Status, Str};
use rules::Subresource;
use types::autoscaling::v1::Scale;
use types::core::v1::Namespace;

use crate::commit::Committed;
use crate::convert::to_validated;
use crate::create::same_namespace;
use crate::errors;
use crate::managed::{self, Before, Endpoint};
use crate::outcome::Outcome;
use crate::owners::{self, When};
use crate::registry::{Registry, Request};
use crate::stored::Stored;
use crate::subresources::{Body, scale};

/// Attempts of a write that named no version.
const ATTEMPTS: usize = 64;

/// Where the new state comes from.
pub(crate) enum Source {
    /// The client sent all of it.
    Replace(Box<dyn Object>),
    /// The client sent a change.
    Patch(PatchKind, Bytes),
    /// The client changed its scale.
    Scale(scale::Change),
}

impl Registry {
    /// UPDATE and PATCH of an object, or of a part of it.
    pub(crate) async fn update(
        &self,
        request: &mut Request<'_>,
        source: Source,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let name = request.target.subresource.clone();
        let part = match name.as_str() {
            "" => Subresource::Main,
            "status" => Subresource::Status,
            other => Subresource::Other(other),
        };
        self.update_part(request, source, options, part).await
    }

    pub(crate) async fn update_part(
        &self,
        request: &mut Request<'_>,
        source: Source,
        options: &WriteOptions,
        part: Subresource<'_>,
    ) -> Result<Outcome, Status> {
        let (served, target) = (request.served, request.target);
        // The first attempt takes the object itself: a copy does not tell an empty list from an absent one.
        let (mut first, source) = match source {
            Source::Replace(object) => {
                let spare = object.clone_object();
                (Some(object), Source::Replace(spare))
            }
            other => (None, other),
        };
        for _ in 0..ATTEMPTS {
            let Some(current) = self.find_object(served, &target.namespace, &target.name).await? else {
                match self.update_missing(request, &source, options, part).await {
                    // Somebody else made it meanwhile: the write applies to what they made.
                    Err(status) if status.is_already_exists() => continue,
                    done => return done,
                }
            };
            let dry_run = options.dry_run == DryRun::All;
            let old = current.object().clone();
            let json = current.json();
            let before = Before { object: &*old, json: &json };
            let endpoint =
                Endpoint { served, subresource: &target.subresource, options, now_s: self.now_s() };
            let new = match &source {
                Source::Replace(spare) => Some(first.take().unwrap_or_else(|| spare.clone_object())),
                Source::Patch(PatchKind::Apply, body) => {
                    Some(managed::apply(&endpoint, before, body, request.warnings)?)
                }
                Source::Patch(kind, body) => {
                    Some(crate::patch::apply(served, before, *kind, body, options, request.warnings)?)
                }
                Source::Scale(_) => None,
            };
            let mut review = Review {
                operation: Operation::Update,
                target,
                user: request.authorized.user(),
                old: Some(&*old),
                dry_run,
                notes: request.notes,
                options: Options::Write(options),
                codec: served,
            };
            let scale_before;
            let (mut mutated, pinned) = match (new, &source) {
                (None, Source::Scale(change)) => {
                    let (old_scale, scale) = scale::changed(&*old, change, &endpoint, request.warnings)?;
                    self.check_scaled(request, change, &scale.metadata.uid, &*old, dry_run)?;
                    scale_before = old_scale;
                    review.old = Some(&scale_before);
                    review.codec = &Body::<Scale>::CODEC;
                    let scale = Box::new(scale);
                    let mutated =
                        self.chain.mutate(request.authorized, &review, scale, self, request.warnings).await?;
                    let mut mutated = mutated.turn(|scale| scale::scaled(served, &*old, &*scale))?;
                    let pinned = self.check_identity(request, mutated.object(), &current, false, dry_run)?;
                    served.rules().default(mutated.object());
                    (mutated, pinned)
                }
                (new, source) => {
                    let mut new = new.ok_or_else(errors::method_not_allowed)?;
                    let replaces = matches!(source, Source::Replace(_));
                    let pinned = self.check_identity(request, &mut *new, &current, replaces, dry_run)?;
                    served.rules().default(&mut *new);
                    crate::convert::round_trip(&mut new);
                    owners::dedup(&mut *new, When::Sent, request.warnings);
                    // An apply knows its managers already.
                    if !matches!(source, Source::Patch(PatchKind::Apply, _)) {
                        endpoint.record(&mut *new, Some(before));
                    }
                    // Who mutates sees no version where the client wrote none.
                    let unversioned = replaces && !pinned;
                    let version = new.meta().resource_version.clone();
                    if unversioned {
                        new.meta_mut().resource_version = Str::new();
                    }
                    let mut mutated =
                        self.chain.mutate(request.authorized, &review, new, self, request.warnings).await?;
                    if unversioned {
                        mutated.object().meta_mut().resource_version = version;
                    }
                    (mutated, pinned)
                }
            };
            let context = self.context(request);
            same_namespace(request, mutated.object())?;
            owners::dedup(mutated.object(), When::Admitted, request.warnings);
            served.rules().prepare_update(&context, mutated.object(), &*old, part);
            mutated.object().meta_mut().self_link = Str::new();
            crate::subresources::stamp_conditions(mutated.object(), &*old, self.now_s());
            managed::keep_times(mutated.object(), &*old);
            self.check_escalation(request, mutated.peek(), Some(&*old)).await?;
            let leases = self.allocate_for_changed(mutated.object(), &*old, dry_run)?;
            let kind = served.resource();
            // Nobody is warned of a spec that a status cannot change. Whoever is refused by admission is warned.
            let of_status = request.target.subresource == "status";
            let mut told = served.rules().early_warnings(mutated.peek(), Some(&*old));
            let check = |object: &dyn Object| {
                let mut problems: Vec<_> = match part {
                    Subresource::Status => crate::admin_access::of_status(object, &*old, self),
                    _ => None,
                }
                .into_iter()
                .collect();
                problems.extend(match (to_validated(object), to_validated(&*old)) {
                    (Some((served, object)), Some((_, old))) => {
                        served.rules().validate_update(&context, &*object, &*old, part)
                    }
                    _ => served.rules().validate_update(&context, object, &*old, part),
                });
                if problems.is_empty() {
                    let rules = served.rules();
                    told.extend(match of_status {
                        true => rules.status_warnings(object),
                        false => rules.warnings(object, Some(&*old)),
                    });
                    return Ok(());
                }
                let shown = object.group_version_kind();
                // A patch may make something else of a custom object.
                let shown = if served.custom().is_some() { shown.kind.as_str() } else { &kind.kind };
                Err(errors::invalid(&kind.group, shown, &object.meta().name, problems))
            };
            let view = match source {
                Source::Scale(_) => Some(scale::scale_of(served, mutated.peek())?.0),
                _ => None,
            };
            let view = view.as_ref().map(|scale| scale as &dyn Object);
            let before = request.warnings.len();
            let validated =
                self.chain.validate_view(&review, mutated, view, self, request.warnings, check).await;
            told.retain(|text| !request.warnings.contains(text));
            request.warnings.splice(before..before, told);
            let mut admitted = validated?;
            admitted.settle(|object| served.rules().settle(object));
            if dry_run {
                let (object, _) = admitted.into_parts();
                return Ok(Outcome::Made(object.into(), 200));
            }
            if ends(admitted.object(), &*old) {
                // The last finalizer went, so the object goes; the answer is its last state.
                return match self.remove(&current).await? {
                    Committed::Stored(_) => {
                        self.release(&*old);
                        let (object, _) = admitted.into_parts();
                        Ok(Outcome::Made(object.into(), 200))
                    }
                    Committed::Conflict(_) if pinned => Err(self.modified(request)),
                    Committed::Conflict(_) => continue,
                };
            }
            if admitted.object().eq_object(&*old) && is_written_alike(admitted.object(), &*old) {
                return Ok(Outcome::Stored(current));
            }
            let revision = current.revision() as mvcc::Revision;
            match self.commit(served, current.key().clone(), admitted, revision).await? {
                Committed::Stored(stored) => {
                    leases.settle(self, &*old, &stored);
                    return Ok(Outcome::Stored(stored));
                }
                Committed::Conflict(_) if pinned => return Err(self.modified(request)),
                Committed::Conflict(_) => {}
            }
        }
        Err(self.modified(request))
    }

    fn modified(&self, request: &Request<'_>) -> Status {
        errors::conflict(
            &request.target.group,
            &request.target.resource,
            &request.target.name,
            errors::MODIFIED,
        )
    }

    async fn update_missing(
        &self,
        request: &mut Request<'_>,
        source: &Source,
        options: &WriteOptions,
        part: Subresource<'_>,
    ) -> Result<Outcome, Status> {
        let target = request.target;
        let may_create = request.served.rules().create_on_update() && part == Subresource::Main;
        let mut object = match source {
            Source::Replace(object) if may_create => {
                self.check_may_create(request).await?;
                object.clone_object()
            }
            Source::Patch(PatchKind::Apply, body) if part == Subresource::Main => {
                self.check_may_create(request).await?;
                let object = self.applied_new(request, body, options)?;
                return Box::pin(self.create_owned(request, object, options)).await;
            }
            _ => return Err(request.not_found()),
        };
        if let Some(why) = errors::other_uid(&object.meta().uid, "").filter(|_| may_create) {
            return Err(self.storage_conflict(request, options.dry_run == DryRun::All, &why));
        }
        if object.meta().name.is_empty() {
            object.meta_mut().name = target.name.clone();
        }
        object.meta_mut().resource_version = Str::new();
        Box::pin(self.create(request, object, options)).await
    }

    /// Who may update or patch may not for that reason create: a write that makes the object asks for that as well.
    async fn check_may_create(&self, request: &Request<'_>) -> Result<(), Status> {
        let (target, user) = (request.target, request.authorized.user());
        let mut question =
            Attributes::resource("create", &target.group, &target.resource, &target.namespace, &target.name);
        question.version = target.version.clone();
        let outcome = self.authorizer.decide(user, &question).await;
        match outcome.decision {
            Decision::Allow(_) => Ok(()),
            _ if !outcome.error.is_empty() => Err(Status::internal_error(outcome.error)),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                let resource = GroupResource::new(target.group.clone(), target.resource.clone());
                let error = String::new();
                let refused = Forbidden { user: user.clone(), attributes: question, reason, error };
                Err(Status::forbidden(&resource, &target.name, refused.explanation()))
            }
        }
    }

    /// The object that an apply makes where nothing is yet.
    fn applied_new(
        &self,
        request: &mut Request<'_>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        let (served, target) = (request.served, request.target);
        let empty = served.resource().object.new_object();
        let mut json = Vec::new();
        empty.encode_json(&mut json);
        let endpoint = Endpoint { served, subresource: "", options, now_s: self.now_s() };
        let before = Before { object: &*empty, json: &json };
        let mut object = managed::apply(&endpoint, before, body, request.warnings)?;
        let uid = object.meta().uid.clone();
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(errors::conflict(&target.group, &target.resource, &target.name, &why));
        }
        // What only the server sets is wiped, the version that the configuration may insist on included.
        let metadata = object.meta_mut();
        metadata.resource_version = Str::new();
        metadata.creation_timestamp = None;
        metadata.deletion_timestamp = None;
        metadata.deletion_grace_period_seconds = None;
        metadata.self_link = Str::new();
        same_namespace(request, &mut *object)?;
        check_name(&*object, target)?;
        request.unlabelled = object.meta().labels.is_empty();
        served.rules().default(&mut *object);
        Ok(object)
    }

    /// The refusal of upstream's store, which sees keys with their prefix and in a dry run without it.
    pub(crate) fn storage_conflict(&self, request: &Request<'_>, dry_run: bool, why: &str) -> Status {
        let key = request.served.key(&request.target.namespace, &request.target.name);
        let key = key.strip_prefix(b"/registry").filter(|_| dry_run).unwrap_or(&key);
        let text = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: {why}",
            String::from_utf8_lossy(key)
        );
        errors::conflict(&request.target.group, &request.target.resource, &request.target.name, &text)
    }

    /// Whether a scale names the object that it is of. Custom resources are asked about whole scales only.
    fn check_scaled(
        &self,
        request: &Request<'_>,
        change: &scale::Change,
        uid: &Str,
        old: &dyn Object,
        dry_run: bool,
    ) -> Result<(), Status> {
        let Some(why) = errors::other_uid(uid, &old.meta().uid) else { return Ok(()) };
        let target = request.target;
        match change {
            scale::Change::Replace(_) => Err(self.storage_conflict(request, dry_run, &why)),
            scale::Change::Patch(..) if request.served.custom().is_some() => Ok(()),
            scale::Change::Patch(..) => {
                let of = format!("{}/scale", target.resource);
                Err(errors::conflict(&target.group, &of, &target.name, &why))
            }
        }
    }

    /// Name, namespace, uid and version of the new state against the request and the current state. Answers whether
    /// the write insists on the version that it read.
    fn check_identity(
        &self,
        request: &Request<'_>,
        new: &mut dyn Object,
        current: &Stored,
        replaces: bool,
        dry_run: bool,
    ) -> Result<bool, Status> {
        let target = request.target;
        check_name(new, target)?;
        same_namespace(request, new)?;
        let old_uid = &current.object().meta().uid;
        if let Some(why) = errors::other_uid(&new.meta().uid, old_uid).filter(|_| replaces) {
            return Err(self.storage_conflict(request, dry_run, &why));
        }
        let wanted = match new.meta().resource_version.as_str() {
            "" => 0,
            text => text
                .parse::<u64>()
                .map_err(|_| errors::bare(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")))?,
        };
        if wanted == 0 && !request.served.rules().unconditional_update() {
            let problem = FieldError {
                kind: FieldErrorKind::Invalid,
                field: "metadata.resourceVersion".into(),
                value: meta::BadValue::Plain("0".into()),
                detail: "must be specified for an update".into(),
            };
            let kind = request.served.resource();
            return Err(errors::invalid(&kind.group, &kind.plural, &target.name, vec![problem]));
        }
        if wanted != 0 && wanted != current.revision() {
            return Err(self.modified(request));
        }
        new.meta_mut().resource_version = Str::from(current.revision().to_string());
        Ok(wanted != 0 && replaces)
    }
}

/// The object has the name that the path has.
fn check_name(object: &dyn Object, target: &Target) -> Result<(), Status> {
    let (name, wanted) = (&object.meta().name, &target.name);
    if name == wanted {
        return Ok(());
    }
    Err(errors::bad_request(if name.is_empty() {
        format!("the name of the object ({wanted} based on URL) was undeterminable: name must be provided")
    } else {
        format!("the name of the object ({name}) does not match the name on the URL ({wanted})")
    }))
}

/// Whether an update is the end of an object whose deletion only waited for its finalizers.
fn ends(new: &dyn Object, old: &dyn Object) -> bool {
    if let Some(namespace) = meta::downcast_ref::<Namespace>(new) {
        // A namespace also waits for its content, which the finalizers of its spec stand for.
        return old.meta().deletion_timestamp.is_some()
            && namespace.metadata.finalizers.is_empty()
            && namespace.spec.finalizers.is_empty();
    }
    let (new, old) = (new.meta(), old.meta());
    new.deletion_timestamp.is_some()
        && new.finalizers.is_empty()
        && !old.finalizers.is_empty()
        && new.deletion_grace_period_seconds.unwrap_or_default() == 0
}

/// Whether equal objects are stored as the same text: quantities are equal whatever they are written like, and a change of
/// that alone is a change.
fn is_written_alike(one: &dyn Object, other: &dyn Object) -> bool {
    let text = |object: &dyn Object| {
        let mut text = Vec::new();
        object.encode_json(&mut text);
        text
    };
    text(one) == text(other)
}
