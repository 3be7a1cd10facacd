//! How many pods a second get a node, from the first create to the last binding, through a real API server and store.
//!
//! `schedule [WORKLOAD]` starts store, API server and scheduler in this process, anew for each workload, and talks to them
//! over HTTPS. `schedule --kubeconfig FILE [WORKLOAD]` measures any other cluster without kubelets in the same way, such as
//! kube-apiserver with kube-scheduler. The workloads are upstream's `scheduler_perf` ([`workloads`]).

#[path = "schedule/bindings.rs"]
mod bindings;
#[path = "schedule/load.rs"]
mod load;
#[path = "schedule/process.rs"]
mod process;
#[path = "schedule/templates.rs"]
mod templates;
#[path = "schedule/workloads.rs"]
mod workloads;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use client::remote;

use crate::load::Load;
use crate::workloads::WORKLOADS;

#[derive(Parser)]
struct Cli {
    /// A cluster with a scheduler and without kubelets; without it, one of our own in this process
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Connections that create objects
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Part of the workloads' names
    #[arg(default_value = "")]
    only: String,
    /// Nodes and pods are so many times fewer
    #[arg(long, default_value_t = 1)]
    shrink: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    for workload in WORKLOADS.iter().filter(|workload| workload.name.contains(&cli.only)) {
        let (cluster, directory, config) = match &cli.kubeconfig {
            Some(path) => (None, None, remote::Config::from_kubeconfig(path, None)?),
            None => {
                let directory = tempfile::tempdir()?;
                let (cluster, config) = process::Cluster::start(directory.path()).await?;
                (Some(cluster), Some(directory), config)
            }
        };
        let load = Load::new(config, cli.clients, cli.shrink.max(1))?;
        let measured = load.run(workload).await?;
        let times = measured.rate / f64::from(workload.threshold);
        let own = match cluster {
            // What others compute on the machine changes the rate, but not this.
            Some(_) => format!("; {:.0} us of CPU a pod, all included", measured.computed_us),
            None => String::new(),
        };
        println!(
            "{:36} {:8.0} pods/s from create to bound; upstream's threshold {}: {times:.1} times{own}",
            workload.name, measured.rate, workload.threshold
        );
        match cluster {
            Some(cluster) => cluster.stop().await,
            None => load.clean_up().await?,
        }
        drop(directory);
    }
    Ok(())
}
