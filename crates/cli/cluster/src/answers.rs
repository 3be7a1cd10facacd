//! What a running server or node answers over the admin socket.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use runtime::ContainerState;

use crate::admin::{Handler, Request, Show};
use crate::node::{Node, Site};

/// What is asked about.
pub(crate) struct Answers {
    /// URL of the API server.
    server: String,
    site: Site,
    node: Option<Arc<Node>>,
    started: std::time::Instant,
}

impl Answers {
    /// For a process that has just begun. Without a node it has only a control plane.
    pub(crate) fn new(server: String, site: Site, node: Option<Arc<Node>>) -> Self {
        Answers { server, site, node, started: std::time::Instant::now() }
    }

    fn status(&self, show: Show<'_>) {
        let site = &self.site;
        show(&format!(
            "running   process {}, for {} s",
            std::process::id(),
            self.started.elapsed().as_secs()
        ));
        show(&format!("version   {}", crate::VERSION));
        show(&format!("API       {}", self.server));
        show(&format!("data      {}", site.data.display()));
        show(&format!("memory    {} MB", resident_kb(Path::new("/proc/self/status")) / 1000));
        if let Some(node) = &self.node {
            let containers = node.runtime().containers();
            let running = containers
                .iter()
                .filter(|container| matches!(container.state, ContainerState::Running { .. }))
                .count();
            let address = site.ips.first().map(ToString::to_string).unwrap_or_default();
            show(&format!("node      {} ({address})", site.name));
            show(&format!("workloads {running} running containers, {} images", node.images().list().len()));
        }
    }
}

#[async_trait::async_trait]
impl Handler for Answers {
    async fn handle(&self, request: Request, show: Show<'_>) -> Result<()> {
        match (request, &self.node) {
            (Request::Status, _) => {
                self.status(show);
                Ok(())
            }
            (Request::Images(command), Some(node)) => {
                crate::images::perform(node.images(), command, show).await
            }
            (Request::StopWorkloads, Some(node)) => {
                let count = node.runtime().containers().len();
                node.runtime().cleanup_all().await?;
                show(&format!("stopped {count} containers"));
                Ok(())
            }
            (_, None) => bail!("this cluster runs without a node"),
        }
    }
}

/// Resident memory as the kernel counts it, in kB.
fn resident_kb(status: &Path) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
