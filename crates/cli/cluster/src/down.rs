//! `ferrokube down`, `reset` and `status`: ending a cluster, removing all it made, and looking at it.

use std::path::Path;

use anyhow::{Context, Result};
use images::{Store, StoreConfig};
use runtime::Runtime;

use crate::admin::{self, Request};
use crate::node::{network_config, proxy_node, runtime_config};
use crate::options::Settings;
use crate::paths::Paths;
use crate::progress::print_line;
use crate::{kubeconfig, preflight, process, up};

/// What happens to running containers when the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workloads {
    /// They go on; the next `up` adopts them.
    Keep,
    /// They are stopped and removed.
    Stop,
}

/// Stops the server.
pub async fn down(paths: &Paths, workloads: Workloads) -> Result<()> {
    if process::running(paths).is_none() {
        print_line("no server runs for this cluster");
    } else if process::stop(paths)? {
        print_line("the server has stopped");
    }
    if workloads == Workloads::Stop {
        // After the server, or its kubelet would start them again.
        let settings = settings(paths)?;
        let runtime = open_runtime(&settings)?;
        let count = runtime.containers().len();
        runtime.cleanup_all().await.context("cannot stop the containers")?;
        print_line(&format!("stopped {count} containers"));
    }
    Ok(())
}

fn open_runtime(settings: &Settings) -> Result<Runtime> {
    let images = Store::open(settings.paths.images(), StoreConfig::default())?;
    Ok(Runtime::open(runtime_config(settings, images)?)?)
}

fn settings(paths: &Paths) -> Result<Settings> {
    let options = up::remembered(paths)?.with_context(|| {
        format!("there is no cluster in {}; start one with: ferrokube up", paths.data().display())
    })?;
    Settings::resolve(options, paths.data())
}

/// Stops the server and removes everything that this cluster made on the machine.
pub async fn reset(paths: &Paths) -> Result<()> {
    preflight::require_root()?;
    let settings = settings(paths)?;
    process::stop(paths)?;
    if !settings.options.no_node {
        open_runtime(&settings)?.cleanup_all().await.context("cannot remove the containers")?;
        print_line("  ✓ containers, mounts, namespaces and cgroups");
        unmount_below(settings.paths.data())?;
        unmount_below(settings.paths.state())?;
        let network = network_config(&settings, Vec::new())?;
        let node = proxy_node(&settings)?;
        tokio::task::spawn_blocking(move || -> Result<()> {
            cni::Network::reset(&network)?;
            proxy::Proxy::remove(&node)?;
            Ok(())
        })
        .await??;
        print_line("  ✓ links, routes and nftables");
    }
    if let Some(path) = kubeconfig::default_path() {
        kubeconfig::forget(settings.context(), &path)?;
    }
    for dir in [settings.paths.data(), settings.paths.state()] {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
            }
            _ => {}
        }
    }
    print_line("  ✓ files and kubectl context");
    Ok(())
}

/// Unmounts what volumes left below a directory, deepest first.
fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut targets: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|target| Path::new(target).starts_with(dir))
        .collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.len()));
    for target in targets {
        nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {target}"))?;
    }
    Ok(())
}

/// Shows the cluster.
pub async fn status(paths: &Paths) -> Result<()> {
    match process::running(paths) {
        Some(_) => admin::ask(paths, &Request::Status, print_line).await,
        None if paths.settings().exists() => {
            print_line("stopped; start it with: ferrokube up");
            Ok(())
        }
        None => {
            print_line(&format!(
                "there is no cluster in {}; start one with: ferrokube up",
                paths.data().display()
            ));
            Ok(())
        }
    }
}
