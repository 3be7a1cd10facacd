//! The options of the audit pipeline, under upstream's names.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use apiserver::auditing::{
    Auditor, BatchOptions, Format, Log, LogOptions, Policy, Sink, SinkOptions, Throttle, Truncate, Webhook,
};
use env::Env;
use serde::{Deserialize, Serialize};

use crate::options::duration;

/// The only version that events are written in.
const VERSION: &str = "audit.k8s.io/v1";

/// Nothing is told without a policy and a log or webhook.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditOptions {
    /// File with the audit policy: which requests are told of, and how much
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// File of the audit log, or `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// How events are written: json or legacy (one line of text)
    #[arg(long, default_value = "json", value_name = "FORMAT")]
    pub audit_log_format: String,
    /// Version of the events in the log
    #[arg(long, default_value = VERSION, value_name = "VERSION")]
    pub audit_log_version: String,
    /// Days that rotated audit logs are kept; 0 for ever
    #[arg(long, default_value_t = 366, value_name = "DAYS")]
    pub audit_log_maxage: u32,
    /// How many rotated audit logs are kept; 0 for all
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pub audit_log_maxbackup: usize,
    /// Megabytes at which the audit log is rotated; 0 for never
    #[arg(long, default_value_t = 100, value_name = "MEGABYTES")]
    pub audit_log_maxsize: u64,
    /// Compress rotated audit logs (gzip)
    #[arg(long)]
    pub audit_log_compress: bool,
    /// kubeconfig of a server that is sent the events
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// Version of the events that are sent
    #[arg(long, default_value = VERSION, value_name = "VERSION")]
    pub audit_webhook_version: String,
    /// Pause before a batch that was not taken is sent again
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    pub audit_webhook_initial_backoff: String,
    /// When a request goes on: batch (at once), blocking or blocking-strict (the audit log)
    #[arg(long, default_value = "blocking", value_name = "MODE")]
    pub audit_log_mode: String,
    /// Events that may wait; what comes on top is lost. In batch mode only, as the other batch options (the audit log)
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER")]
    pub audit_log_batch_buffer_size: usize,
    /// Events in one batch (the audit log)
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub audit_log_batch_max_size: usize,
    /// How long a batch waits to be full (the audit log)
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    pub audit_log_batch_max_wait: String,
    /// Whether batches are throttled (the audit log)
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub audit_log_batch_throttle_enable: bool,
    /// Batches a second on average (the audit log)
    #[arg(long, default_value_t = 0.0, value_name = "NUMBER")]
    pub audit_log_batch_throttle_qps: f64,
    /// Batches at once after a pause (the audit log)
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub audit_log_batch_throttle_burst: usize,
    /// Whether large events lose their bodies, and large batches are split (the audit log)
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub audit_log_truncate_enabled: bool,
    /// Largest batch, bytes (the audit log)
    #[arg(long, default_value_t = 10_485_760, value_name = "NUMBER")]
    pub audit_log_truncate_max_batch_size: usize,
    /// Largest event, bytes (the audit log)
    #[arg(long, default_value_t = 102_400, value_name = "NUMBER")]
    pub audit_log_truncate_max_event_size: usize,
    /// When a request goes on: batch (at once), blocking or blocking-strict (the audit webhook)
    #[arg(long, default_value = "batch", value_name = "MODE")]
    pub audit_webhook_mode: String,
    /// Events that may wait; what comes on top is lost. In batch mode only, as the other batch options (the audit webhook)
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER")]
    pub audit_webhook_batch_buffer_size: usize,
    /// Events in one batch (the audit webhook)
    #[arg(long, default_value_t = 400, value_name = "NUMBER")]
    pub audit_webhook_batch_max_size: usize,
    /// How long a batch waits to be full (the audit webhook)
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    pub audit_webhook_batch_max_wait: String,
    /// Whether batches are throttled (the audit webhook)
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub audit_webhook_batch_throttle_enable: bool,
    /// Batches a second on average (the audit webhook)
    #[arg(long, default_value_t = 10.0, value_name = "NUMBER")]
    pub audit_webhook_batch_throttle_qps: f64,
    /// Batches at once after a pause (the audit webhook)
    #[arg(long, default_value_t = 15, value_name = "NUMBER")]
    pub audit_webhook_batch_throttle_burst: usize,
    /// Whether large events lose their bodies, and large batches are split (the audit webhook)
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub audit_webhook_truncate_enabled: bool,
    /// Largest batch, bytes (the audit webhook)
    #[arg(long, default_value_t = 10_485_760, value_name = "NUMBER")]
    pub audit_webhook_truncate_max_batch_size: usize,
    /// Largest event, bytes (the audit webhook)
    #[arg(long, default_value_t = 102_400, value_name = "NUMBER")]
    pub audit_webhook_truncate_max_event_size: usize,
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions {
            audit_policy_file: None,
            audit_log_path: None,
            audit_log_format: "json".to_owned(),
            audit_log_version: VERSION.to_owned(),
            audit_log_maxage: 366,
            audit_log_maxbackup: 100,
            audit_log_maxsize: 100,
            audit_log_compress: false,
            audit_webhook_config_file: None,
            audit_webhook_version: VERSION.to_owned(),
            audit_webhook_initial_backoff: "10s".to_owned(),
            audit_log_mode: "blocking".to_owned(),
            audit_log_batch_buffer_size: 10_000,
            audit_log_batch_max_size: 1,
            audit_log_batch_max_wait: "0s".to_owned(),
            audit_log_batch_throttle_enable: false,
            audit_log_batch_throttle_qps: 0.0,
            audit_log_batch_throttle_burst: 0,
            audit_log_truncate_enabled: false,
            audit_log_truncate_max_batch_size: 10_485_760,
            audit_log_truncate_max_event_size: 102_400,
            audit_webhook_mode: "batch".to_owned(),
            audit_webhook_batch_buffer_size: 10_000,
            audit_webhook_batch_max_size: 400,
            audit_webhook_batch_max_wait: "30s".to_owned(),
            audit_webhook_batch_throttle_enable: true,
            audit_webhook_batch_throttle_qps: 10.0,
            audit_webhook_batch_throttle_burst: 15,
            audit_webhook_truncate_enabled: false,
            audit_webhook_truncate_max_batch_size: 10_485_760,
            audit_webhook_truncate_max_event_size: 102_400,
        }
    }
}

/// The options that both backends have.
struct Shared<'a> {
    backend: &'static str,
    mode: &'a str,
    buffer_size: usize,
    max_size: usize,
    max_wait: &'a str,
    throttled: bool,
    throttle: Throttle,
    truncated: bool,
    truncate: Truncate,
}

impl Shared<'_> {
    fn read(&self) -> Result<SinkOptions> {
        let Shared { backend, .. } = self;
        let mode = self.mode.parse().map_err(anyhow::Error::msg)?;
        if mode == apiserver::auditing::Mode::Batch {
            ensure!(
                self.buffer_size > 0,
                "invalid audit batch {backend} buffer size {}, must be a positive number",
                self.buffer_size
            );
            ensure!(
                self.max_size > 0,
                "invalid audit batch {backend} max batch size {}, must be a positive number",
                self.max_size
            );
            ensure!(
                !self.throttled || self.throttle.qps > 0.0,
                "invalid audit batch {backend} throttle QPS {}, must be a positive number",
                self.throttle.qps
            );
            ensure!(
                !self.throttled || self.throttle.burst > 0,
                "invalid audit batch {backend} throttle burst {}, must be a positive number",
                self.throttle.burst
            );
        }
        if self.truncated {
            let Truncate { batch_bytes_max, event_bytes_max } = self.truncate;
            ensure!(
                event_bytes_max > 0,
                "invalid audit truncate {backend} max event size {event_bytes_max}, must be a positive number"
            );
            ensure!(
                batch_bytes_max >= event_bytes_max,
                "invalid audit truncate {backend} max batch size {batch_bytes_max}, must be greater than max event size ({event_bytes_max})"
            );
        }
        Ok(SinkOptions {
            mode,
            batch: BatchOptions {
                buffer_size: self.buffer_size,
                max_size: self.max_size,
                max_wait: duration(&format!("audit-{backend}-batch-max-wait"), self.max_wait)?,
                throttle: self.throttled.then_some(self.throttle),
            },
            truncate: self.truncated.then_some(self.truncate),
        })
    }
}

impl AuditOptions {
    fn log(&self) -> Shared<'_> {
        Shared {
            backend: "log",
            mode: &self.audit_log_mode,
            buffer_size: self.audit_log_batch_buffer_size,
            max_size: self.audit_log_batch_max_size,
            max_wait: &self.audit_log_batch_max_wait,
            throttled: self.audit_log_batch_throttle_enable,
            throttle: Throttle {
                qps: self.audit_log_batch_throttle_qps,
                burst: self.audit_log_batch_throttle_burst,
            },
            truncated: self.audit_log_truncate_enabled,
            truncate: Truncate {
                batch_bytes_max: self.audit_log_truncate_max_batch_size,
                event_bytes_max: self.audit_log_truncate_max_event_size,
            },
        }
    }

    fn webhook(&self) -> Shared<'_> {
        Shared {
            backend: "webhook",
            mode: &self.audit_webhook_mode,
            buffer_size: self.audit_webhook_batch_buffer_size,
            max_size: self.audit_webhook_batch_max_size,
            max_wait: &self.audit_webhook_batch_max_wait,
            throttled: self.audit_webhook_batch_throttle_enable,
            throttle: Throttle {
                qps: self.audit_webhook_batch_throttle_qps,
                burst: self.audit_webhook_batch_throttle_burst,
            },
            truncated: self.audit_webhook_truncate_enabled,
            truncate: Truncate {
                batch_bytes_max: self.audit_webhook_truncate_max_batch_size,
                event_bytes_max: self.audit_webhook_truncate_max_event_size,
            },
        }
    }
}

/// The auditor that the options ask for.
pub(crate) fn auditor(options: &AuditOptions, env: &Env) -> Result<Option<Arc<Auditor>>> {
    let Some(policy) = &options.audit_policy_file else {
        if options.audit_log_path.is_some() || options.audit_webhook_config_file.is_some() {
            tracing::info!("no audit policy file was given: no events will be recorded");
        }
        return Ok(None);
    };
    let text =
        std::fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
    let policy = Policy::parse(&text)
        .map_err(|why| anyhow!("loading audit policy file: {why}: from file {}", policy.display()))?;
    for (backend, version) in
        [("log", &options.audit_log_version), ("webhook", &options.audit_webhook_version)]
    {
        ensure!(
            version == VERSION,
            "invalid audit {backend} version {version}, allowed versions are {:?}",
            VERSION
        );
    }
    let mut sinks = Vec::new();
    if let Some(path) = &options.audit_log_path {
        let format: Format = options.audit_log_format.parse().map_err(anyhow::Error::msg)?;
        let log = LogOptions {
            path: path.clone(),
            compress: options.audit_log_compress,
            days_max: options.audit_log_maxage,
            backups_max: options.audit_log_maxbackup,
            megabytes_max: options.audit_log_maxsize,
        };
        let shared = options.log().read()?;
        sinks.push(Sink::log(Log::open(log, env.clone())?, format, shared, env));
    }
    if let Some(path) = &options.audit_webhook_config_file {
        let server = outbound::Config::from_kubeconfig(path, None)?;
        let pause = duration("audit-webhook-initial-backoff", &options.audit_webhook_initial_backoff)?;
        let webhook = Webhook::new(server, pause, env.clone())?;
        sinks.push(Sink::webhook(webhook, options.webhook().read()?, env));
    }
    Ok((!sinks.is_empty()).then(|| Auditor::new(policy, sinks, env.clone())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn defaults_are_upstreams_and_what_makes_no_sense_is_refused() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: AuditOptions,
        }
        let Line { options: given } = clap::Parser::parse_from(["up"]);
        assert_eq!(format!("{given:?}"), format!("{:?}", AuditOptions::default()));
        let log = given.log().read().unwrap();
        assert!(log.truncate.is_none() && log.batch.throttle.is_none() && log.batch.max_size == 1);
        let webhook = given.webhook().read().unwrap();
        assert_eq!((webhook.batch.max_size, webhook.batch.max_wait), (400, Duration::from_secs(30)));
        let throttle = webhook.batch.throttle.unwrap();
        assert_eq!((throttle.qps, throttle.burst), (10.0, 15));
        for (arguments, said) in [
            (
                &["--audit-webhook-mode=eager"][..],
                "invalid audit mode eager, allowed modes are \"batch,blocking,blocking-strict\"",
            ),
            (
                &["--audit-webhook-batch-buffer-size=0"],
                "invalid audit batch webhook buffer size 0, must be a positive number",
            ),
            (
                &["--audit-webhook-batch-throttle-qps=0"],
                "invalid audit batch webhook throttle QPS 0, must be a positive number",
            ),
            (
                &["--audit-webhook-truncate-enabled", "--audit-webhook-truncate-max-batch-size=1"],
                "invalid audit truncate webhook max batch size 1, must be greater than max event size (102400)",
            ),
        ] {
            let line = std::iter::once(&"up").chain(arguments);
            let Line { options } = clap::Parser::parse_from(line);
            assert_eq!(options.webhook().read().unwrap_err().to_string(), said);
        }
    }
}
