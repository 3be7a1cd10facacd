//! One pod as the runtime sees it: its sandboxes and containers, newest first.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime::{Container, ContainerState, Exit, NetworkMode, Sandbox};

/// Everything that the runtime has of one pod.
#[derive(Clone, Debug, Default)]
pub struct PodView {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<Container>,
}

impl PodView {
    /// Sorts what the runtime listed.
    pub fn new(mut sandboxes: Vec<Sandbox>, mut containers: Vec<Container>) -> PodView {
        sandboxes.sort_by_key(|s| std::cmp::Reverse((s.config.attempt, s.created_at_ns)));
        containers.sort_by_key(|c| std::cmp::Reverse((c.config.attempt, c.created_at_ns)));
        PodView { sandboxes, containers }
    }

    /// The sandbox in which containers can run, if the newest one is such: it is up and has its network.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes
            .first()
            .filter(|s| s.ready && (s.config.network == NetworkMode::Node || !s.ips.is_empty()))
    }

    /// The newest container of that name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.config.name == name)
    }

    /// The newest container of that name in the ready sandbox.
    pub fn active(&self, name: &str) -> Option<&Container> {
        let sandbox = self.ready_sandbox()?;
        self.containers.iter().find(|c| c.config.name == name && c.sandbox_id == sandbox.id)
    }

    /// Containers whose process runs.
    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| is_running(c))
    }

    /// How often the container was started before, were it started now. One that was made and never ran does not count.
    pub fn next_attempt(&self, name: &str) -> u32 {
        self.latest(name).map_or(0, |c| c.config.attempt + u32::from(c.state != ContainerState::Created))
    }

    /// Number for the next sandbox.
    pub fn next_sandbox_attempt(&self) -> u32 {
        self.sandboxes.first().map_or(0, |s| s.config.attempt + 1)
    }
}

/// Whether its process runs.
pub fn is_running(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

/// How it ended, if it did.
pub fn exit(container: &Container) -> Option<&Exit> {
    match &container.state {
        ContainerState::Exited(exit) => Some(exit),
        _ => None,
    }
}

/// Unix nanoseconds as time; times before 1970 count as 1970.
pub fn time(ns: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
