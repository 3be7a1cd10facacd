//! `ferrokube down`, `reset` and `status`: ending a cluster, removing all it made, and looking at it.

use std::path::Path;

use anyhow::{Context, Result};
use runtime::Runtime;

use crate::admin::{self, Request};
use crate::node::{Site, local};
use crate::options::{Settings, instance};
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
        let runtime = open_runtime(&installed(paths)?.site)?;
        let count = runtime.containers().len();
        runtime.cleanup_all().await.context("cannot stop the containers")?;
        print_line(&format!("stopped {count} containers"));
    }
    Ok(())
}

fn open_runtime(site: &Site) -> Result<Runtime> {
    Ok(Runtime::open(site.runtime_config(site.image_store()?)?)?)
}

/// What a data directory belongs to.
struct Installed {
    site: Site,
    has_node: bool,
}

fn installed(paths: &Paths) -> Result<Installed> {
    if let Some(options) = up::remembered(paths)? {
        let settings = Settings::resolve(options, paths.data())?;
        return Ok(Installed { site: local::site(&settings)?, has_node: !settings.options.no_node });
    }
    let site = crate::kubelet::remembered(paths)?.with_context(|| {
        format!("there is no cluster in {}; start one with: ferrokube up", paths.data().display())
    })?;
    Ok(Installed { site, has_node: true })
}

/// Stops the server and removes everything that this cluster made on the machine.
pub async fn reset(paths: &Paths) -> Result<()> {
    preflight::require_root()?;
    let Installed { site, has_node } = installed(paths)?;
    process::stop(paths)?;
    if has_node {
        open_runtime(&site)?.cleanup_all().await.context("cannot remove the containers")?;
        print_line("  ✓ containers, mounts, namespaces and cgroups");
        unmount_below(paths.data())?;
        unmount_below(paths.state())?;
        let network = site.network_config(Vec::new())?;
        let node = site.proxy_node()?;
        tokio::task::spawn_blocking(move || -> Result<()> {
            cni::Network::reset(&network)?;
            proxy::Proxy::remove(&node)?;
            Ok(())
        })
        .await??;
        print_line("  ✓ links, routes and nftables");
    }
    if let Some(path) = kubeconfig::default_path() {
        kubeconfig::forget(&instance(paths.data()), &path)?;
    }
    for dir in [paths.data(), paths.state()] {
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
        None if paths.settings().exists() || paths.site().exists() => {
            let command = match paths.settings().exists() {
                true => "up",
                false => "kubelet or join, with its options",
            };
            print_line(&format!("stopped; start it with: ferrokube {command}"));
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
