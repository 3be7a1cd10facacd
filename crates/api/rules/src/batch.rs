//! The group `batch`: Job and CronJob.

mod cron_job;
mod cron_schedule;
mod job;
mod job_labels;
mod job_spec;
