//! CronJobs: a Job at every time of a schedule.

mod schedule;
mod zone;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use call::DeleteOptions;
use informer::Key;
use meta::{Str, Time};
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use telemetry::Histogram;
use types::batch::v1::{CronJob, CronJobStatus, Job};
use types::core::v1::ObjectReference;

use crate::common::owners::{controller_of, controller_ref, is_controlled_by};
use crate::replicas::namespace_ends;

use schedule::Schedule;
use zone::Zone;

static SKEW: LazyLock<Histogram> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(1.0, 2.0, 10);
    let help = "Seconds from the time at which a Job was due until it was made.";
    let name = "cronjob_controller_job_creation_skew_duration_seconds";
    telemetry::histogram(name, help, &[], &limits).with(&[])
});

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this mean a wrong clock or a wrong schedule; the oldest are given up.
const MISSED_MAX: i64 = 100;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("cronjob", "cronjob-controller", context.clone(), CronJobs)
        .of::<CronJob>()
        .on::<Job>(|job, _| {
            let owner = controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob");
            owner.map(|owner| Key::new(&job.metadata.namespace, &owner.name)).into_iter().collect()
        })
        .start()
}

fn ended(job: &Job) -> Option<&Str> {
    let end = |type_: &Str| type_ == "Complete" || type_ == "Failed";
    job.status
        .conditions
        .iter()
        .find(|known| end(&known.type_) && known.status == "True")
        .map(|known| &known.type_)
}

pub(crate) struct CronJobs;

impl Reconciler for CronJobs {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(cron) = world.get_key::<CronJob>(key) else { return Next::Done };
        let mut jobs = world.list::<Job>(&key.namespace);
        jobs.retain(|job| is_controlled_by(&job.metadata, &cron.metadata));
        let mut status = cron.status.clone();
        account(&cron, &jobs, &mut status, plan);
        clean_up(&cron, &jobs, plan);

        let mut next = Next::Done;
        let (mut due, mut clocks) = (None, Zone::UTC);
        if cron.metadata.deletion_timestamp.is_none() {
            match times(&cron, &status, world.unix_seconds()) {
                Ok(Some((times, zone))) => {
                    let wait = times.next.map(|next| (next - world.unix_seconds()).max(1) as u64);
                    next = wait.map_or(Next::Done, |seconds| Next::After(Duration::from_secs(seconds)));
                    if times.too_many {
                        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                        plan.event(Note::warning(&*cron, "TooManyMissedTimes", message));
                    }
                    (due, clocks) = (times.due, zone);
                }
                Ok(None) => {}
                Err((reason, why)) => plan.event(Note::warning(&*cron, reason, why)),
            }
        }
        let job = due.and_then(|at| launch(&cron, &jobs, &mut status, at, &clocks, world, plan));
        if let Some(job) = job {
            return create(&cron, job, status, due.unwrap_or_default(), next, plan);
        }
        tell(&cron, status, plan);
        next
    }
}

fn tell(cron: &Arc<CronJob>, status: CronJobStatus, plan: &mut Plan) {
    if status != cron.status {
        let mut told = (**cron).clone();
        told.status = status;
        plan.push(Write::update_status(told).ignore(404));
    }
}

/// Brings the list of active Jobs up to date.
fn account(cron: &Arc<CronJob>, jobs: &[Arc<Job>], status: &mut CronJobStatus, plan: &mut Plan) {
    for job in jobs {
        let listed = status.active.iter().any(|reference| reference.uid == job.metadata.uid);
        match (ended(job), listed) {
            // Made for a time of the schedule, and not told before the controller ended.
            (None, false) if job.metadata.annotations.get(SCHEDULED).is_some() => {
                status.active.push(reference(job));
            }
            (None, false) => {
                let name = &job.metadata.name;
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                plan.event(Note::warning(&**cron, "UnexpectedJob", message));
            }
            (Some(end), true) => {
                status.active.retain(|reference| reference.uid != job.metadata.uid);
                let message = format!("Saw completed job: {}, condition: {end}", job.metadata.name);
                plan.event(Note::normal(&**cron, "SawCompletedJob", message));
            }
            _ => {}
        }
        let success = job.status.completion_time.filter(|_| ended(job).is_some_and(|end| end == "Complete"));
        if success > status.last_successful_time {
            status.last_successful_time = success;
        }
    }
    let known = |reference: &ObjectReference| jobs.iter().any(|job| job.metadata.uid == reference.uid);
    for gone in status.active.iter().filter(|reference| !known(reference)) {
        plan.event(Note::normal(&**cron, "MissingJob", format!("Active job went missing: {}", gone.name)));
    }
    status.active.retain(|reference| known(reference));
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        kind: "Job".into(),
        namespace: job.metadata.namespace.clone(),
        name: job.metadata.name.clone(),
        uid: job.metadata.uid.clone(),
        api_version: "batch/v1".into(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// Deletes ended Jobs beyond the two limits, oldest first.
fn clean_up(cron: &Arc<CronJob>, jobs: &[Arc<Job>], plan: &mut Plan) {
    let limits = [
        ("Complete", cron.spec.successful_jobs_history_limit),
        ("Failed", cron.spec.failed_jobs_history_limit),
    ];
    for (end, limit) in limits {
        let Some(limit) = limit else { continue };
        let mut old: Vec<&Arc<Job>> =
            jobs.iter().filter(|job| ended(job).is_some_and(|known| known == end)).collect();
        old.sort_by_key(|job| (job.status.start_time, job.metadata.name.clone()));
        let surplus = old.len().saturating_sub(limit.max(0) as usize);
        plan.all(old.into_iter().take(surplus).map(|job| delete(cron, job)).collect());
    }
}

fn delete(cron: &Arc<CronJob>, job: &Arc<Job>) -> Write {
    let (deleted, name) = (cron.clone(), job.metadata.name.clone());
    let options = DeleteOptions { propagation_policy: "Background".into(), ..DeleteOptions::default() };
    Write::delete_with(&**job, options)
        .on_success(move |_| Some(Note::normal(&*deleted, "SuccessfulDelete", format!("Deleted job {name}"))))
}

/// What a schedule says about now.
struct Times {
    /// The last time that has come and was not served.
    due: Option<i64>,
    next: Option<i64>,
    too_many: bool,
}

/// What the schedule says, and by which clocks; nothing while it is suspended.
///
/// # Errors
/// What is wrong with the schedule: the event's reason and message.
fn times(
    cron: &CronJob,
    status: &CronJobStatus,
    now: i64,
) -> Result<Option<(Times, Zone)>, (&'static str, String)> {
    let zone = match cron.spec.time_zone.as_deref() {
        None => Zone::UTC,
        Some(name) => Zone::named(name).map_err(|error| {
            ("UnknownTimeZone", format!("invalid timeZone: {}: {error}", meta::go_quote(name)))
        })?,
    };
    if cron.spec.suspend == Some(true) {
        return Ok(None);
    }
    let text = &cron.spec.schedule;
    let schedule = Schedule::parse(text).map_err(|error| {
        ("UnparseableSchedule", format!("unparseable schedule: {} : {error}", meta::go_quote(text)))
    })?;
    let never = || {
        const WHY: &str = "time difference between two schedules is less than 1 second";
        ("InvalidSchedule", format!("invalid schedule: {text} : {WHY}"))
    };
    let after = |at: i64| schedule.next(at, &zone);
    let created = cron.metadata.creation_timestamp.map_or(now, |time| time.seconds);
    let mut earliest = status.last_schedule_time.map_or(created, |time| time.seconds);
    if let Some(seconds) = cron.spec.starting_deadline_seconds {
        earliest = earliest.max(now - seconds);
    }
    let first = after(earliest).ok_or_else(never)?;
    let times = |due, too_many| Times { due, next: after(now), too_many };
    if first > now {
        return Ok(Some((times(None, false), zone.clone())));
    }
    let second = after(first).ok_or_else(never)?;
    if second > now {
        return Ok(Some((times(Some(first), false), zone.clone())));
    }
    // How often it was missed is reckoned from the first pause; only the last of these times is looked for.
    let missed = (now - first) / (second - first) + 1;
    let mut due = None;
    let mut at = first + (missed - 2) * (second - first);
    while let Some(next) = after(at).filter(|next| *next <= now) {
        (due, at) = (Some(next), next);
    }
    Ok(Some((times(due, missed > MISSED_MAX), zone.clone())))
}

/// The Job to make for the time `at`, if the policy allows one.
fn launch(
    cron: &Arc<CronJob>,
    jobs: &[Arc<Job>],
    status: &mut CronJobStatus,
    at: i64,
    clocks: &Zone,
    world: &World,
    plan: &mut Plan,
) -> Option<Job> {
    let too_late =
        cron.spec.starting_deadline_seconds.is_some_and(|seconds| at + seconds < world.unix_seconds());
    if too_late {
        let message = format!("Missed scheduled time to start a job: {}", zone::in_words(at));
        plan.event(Note::warning(&**cron, "MissSchedule", message));
        return None;
    }
    let name = format!("{}-{}", cron.metadata.name, at.div_euclid(60));
    if jobs.iter().any(|job| job.metadata.name == name) {
        status.last_schedule_time = Some(Time::from_unix(at)).max(status.last_schedule_time);
        return None;
    }
    match cron.spec.concurrency_policy.as_str() {
        "Forbid" if !status.active.is_empty() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.event(Note::normal(&**cron, "JobAlreadyActive", message));
            return None;
        }
        "Replace" => {
            let active = jobs.iter().filter(|job| ended(job).is_none());
            plan.all(active.map(|job| delete(cron, job)).collect());
            status.active.clear();
        }
        _ => {}
    }
    let template = &cron.spec.job_template;
    let mut job = Job { spec: template.spec.clone(), ..Job::default() };
    job.metadata.namespace = cron.metadata.namespace.clone();
    job.metadata.name = Str::from(name);
    job.metadata.labels = template.metadata.labels.clone();
    job.metadata.annotations = template.metadata.annotations.clone();
    job.metadata.annotations.insert(SCHEDULED, Str::from(clocks.show(at)));
    job.metadata.owner_references.push(controller_ref(&**cron));
    Some(job)
}

fn create(
    cron: &Arc<CronJob>,
    job: Job,
    mut status: CronJobStatus,
    at: i64,
    next: Next,
    plan: &mut Plan,
) -> Next {
    let (created, refused, name) = (cron.clone(), cron.clone(), job.metadata.name.clone());
    plan.push(
        Write::create(job)
            .ignore(409)
            .on_success(move |_| {
                Some(Note::normal(&*created, "SuccessfulCreate", format!("Created job {name}")))
            })
            .on_failure(move |status| {
                Some(Note::warning(
                    &*refused,
                    "FailedCreate",
                    format!("Error creating job: {}", status.message),
                ))
            }),
    );
    let cron = cron.clone();
    plan.then(move |outcome, plan| {
        if let Some(failed) = outcome.error() {
            return if namespace_ends(failed) { Next::Done } else { Next::Retry };
        }
        if let Some(Ok(reconcile::Answer::Object(object))) = outcome.results.last()
            && let Some(job) = meta::downcast::<Job>(object.clone())
        {
            status.active.push(reference(&job));
            if let Some(created) = job.metadata.creation_timestamp {
                SKEW.observe((created.seconds - at).max(0) as f64);
            }
        }
        status.last_schedule_time = Some(Time::from_unix(at));
        tell(&cron, status, plan);
        next
    });
    next
}
