//! The flags that every component of upstream has, for every command that runs one: features, logs and metrics
//! (`component-base`).

mod features;
mod logs;
mod metrics;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use features::FeatureFlags;
pub use logs::LogFlags;
pub use metrics::MetricFlags;

/// The flags.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentFlags {
    /// What is on and what is off.
    #[command(flatten)]
    #[serde(flatten)]
    pub features: FeatureFlags,
    /// What is logged, and how.
    #[command(flatten)]
    #[serde(flatten)]
    pub logs: LogFlags,
    /// Which metrics are shown.
    #[command(flatten)]
    #[serde(flatten)]
    pub metrics: MetricFlags,
}

impl ComponentFlags {
    /// Takes effect for this process, which logs from then on.
    ///
    /// # Errors
    /// A flag asks for what is not there; then nothing has changed.
    pub fn apply(&self) -> Result<()> {
        let logs = self.logs.options()?;
        let allowed = self.metrics.allowed()?;
        self.features.check()?;
        self.features.show();
        self.metrics.apply(allowed);
        Ok(telemetry::init_logs_as(logs)?)
    }
}
