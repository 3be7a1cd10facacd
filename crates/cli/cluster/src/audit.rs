//! The options of the audit log, under upstream's names.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::{AuditLog, AuditMode, AuditPolicy, Auditor, LogOptions};
use env::Env;
use serde::{Deserialize, Serialize};

/// Nothing is told without both a policy and a log.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditOptions {
    /// File with the policy of the audit log
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// File of the audit log, or `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// When a request goes on: batch, blocking or blocking-strict
    #[arg(long, default_value = "blocking", value_name = "MODE")]
    pub audit_log_mode: AuditMode,
    /// Days that rotated audit logs are kept; 0 for ever
    #[arg(long, default_value_t = 366, value_name = "DAYS")]
    pub audit_log_maxage: u32,
    /// How many rotated audit logs are kept; 0 for all
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pub audit_log_maxbackup: usize,
    /// Megabytes at which the audit log is rotated; 0 for never
    #[arg(long, default_value_t = 100, value_name = "MEGABYTES")]
    pub audit_log_maxsize: u64,
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions {
            audit_policy_file: None,
            audit_log_path: None,
            audit_log_mode: AuditMode::Blocking,
            audit_log_maxage: 366,
            audit_log_maxbackup: 100,
            audit_log_maxsize: 100,
        }
    }
}

/// The auditor that the options ask for.
pub(crate) fn auditor(options: &AuditOptions, env: &Env) -> Result<Option<Arc<Auditor>>> {
    let (Some(policy), Some(path)) = (&options.audit_policy_file, &options.audit_log_path) else {
        return Ok(None);
    };
    let text =
        std::fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
    let policy = AuditPolicy::parse(&text)
        .with_context(|| format!("the audit policy in {} is unusable", policy.display()))?;
    let log = LogOptions {
        path: path.clone(),
        mode: options.audit_log_mode,
        days_max: options.audit_log_maxage,
        backups_max: options.audit_log_maxbackup,
        megabytes_max: options.audit_log_maxsize,
    };
    let log = AuditLog::open(log, env.clone())?;
    Ok(Some(Auditor::new(policy, log, env.clone())))
}
