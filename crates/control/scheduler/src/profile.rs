//! A scheduler profile: the plugins in their order, and how much each one's score counts.

use crate::plugin::Plugin;
use crate::plugins;

/// The plugins that pods of one `schedulerName` are scheduled with.
pub struct Profile {
    /// The `schedulerName` that selects it.
    pub scheduler_name: &'static str,
    /// Enabled plugins with the weight of their score, in the order in which they filter.
    pub plugins: Vec<(&'static dyn Plugin, i64)>,
}

impl Default for Profile {
    /// `default-scheduler` with every plugin of the table at upstream's default weight.
    fn default() -> Self {
        Profile { scheduler_name: "default-scheduler", plugins: plugins::TABLE.to_vec() }
    }
}
