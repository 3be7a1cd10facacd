//! The group `batch`: Job and CronJob.

mod cron_job;
mod cron_schedule;
mod indexes;
mod job;
mod job_labels;
mod job_spec;
mod job_status;
