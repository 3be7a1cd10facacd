//! `ferrokube kubelet`: a node as a process of its own, for any API server.
//!
//! What it does is what the node inside of `ferrokube up` does ([`crate::node`]). Here is how it comes to its credentials
//! ([`connection`]), what it reads of a KubeletConfiguration ([`configuration`]), and the options, which win over that file.

mod configuration;
mod connection;
mod fields;
mod options;
mod serving;

use std::sync::Arc;

use anyhow::{Context, Result};
use client::Client;
use env::{Env, Task};
use informer::Informers;
use kubelet::credentials::{Purpose, Rotation};
use tokio::signal::unix::{SignalKind, signal};

pub use self::options::KubeletOptions;
use self::options::Plan;
use crate::admin;
use crate::answers::Answers;
use crate::node::{Node, Reach, Site};
use crate::paths::Paths;
use crate::preflight::{self, Port};
use crate::process;
use crate::progress::Progress;

/// Where the node of this data directory lives, if one was ever started here.
///
/// # Errors
/// When what is kept is damaged.
pub fn remembered(paths: &Paths) -> Result<Option<Site>> {
    let Some(text) = env::read_optional(&paths.site())? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&text).with_context(|| format!("{} is damaged", paths.site().display()))?))
}

/// Whether the node in a data directory has a client certificate that holds.
pub fn has_credentials(paths: &Paths) -> bool {
    connection::still_holds(&options::default_kubeconfig(paths), Env::real().unix_ms().div_euclid(1000))
}

fn remember(paths: &Paths, site: &Site) -> Result<()> {
    let text = serde_json::to_vec_pretty(site)?;
    env::write_atomic(&paths.site(), &text, 0o600).context("cannot keep where the node lives")
}

/// Refuses a data directory that a whole cluster lives in.
///
/// # Errors
/// When one does.
pub(crate) fn check_vacant(paths: &Paths) -> Result<()> {
    anyhow::ensure!(
        !paths.settings().exists(),
        "{} belongs to a cluster of `ferrokube up`, which has a node of its own; choose another --data-dir",
        paths.data().display()
    );
    Ok(())
}

/// Runs the node until it is told to stop (SIGTERM or SIGINT).
///
/// # Errors
/// When an option, a file or the machine is of no use. An API server that is not there yet is no error.
pub async fn run(options: KubeletOptions, paths: &Paths) -> Result<()> {
    let progress = Progress::new();
    preflight::require_root()?;
    check_vacant(paths)?;
    let plan = options.plan(paths)?;
    let _claim = process::claim(paths)?;
    preflight::require_free(&[Port { purpose: "the kubelet", address: plan.listen, option: "--port" }])?;
    env::create_private_dir(paths.data())
        .with_context(|| format!("cannot create {}", paths.data().display()))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    remember(paths, &plan.site)?;
    let running = async {
        let (node, _following) = start(&plan, &progress).await?;
        progress.step(&format!("the kubelet answers at {}", plan.listen));
        let handler = Arc::new(Answers::new(plan.server()?, plan.site.clone(), Some(node.clone())));
        let ready = async {
            node.ready().await;
            progress.step(&format!("node {} is Ready", plan.site.name));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = admin::serve(paths, handler) => end,
            () = ready => Ok(()),
        }
    };
    tokio::select! {
        end = running => end?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; containers go on");
    Ok(())
}

/// Gets credentials where there are none, and starts the node with what keeps them fresh.
async fn start(plan: &Plan, progress: &Progress) -> Result<(Arc<Node>, Vec<Task>)> {
    let env = Env::real();
    // Before it is watched for a certificate that comes.
    env::create_private_dir(&plan.cert_dir)
        .with_context(|| format!("cannot create {}", plan.cert_dir.display()))?;
    if connection::bootstrap(plan, &env).await? {
        progress.step("the API server issued a client certificate");
    }
    let (node, mut following) =
        connection::open(&plan.kubeconfig, plan.rotated_client(), "ferrokube-kubelet")?;
    let network = match &plan.network_kubeconfig {
        None => node.clone(),
        Some(path) => {
            let (client, task) = connection::open(path, None, "ferrokube-network")?;
            following.extend(task);
            client
        }
    };
    let reach =
        Reach { node: node.clone(), informers: Informers::new(network, env.clone()), env: env.clone() };
    let started = Node::start(&plan.site, plan.duties()?, &reach)?;
    following.extend(rotations(plan, &node, &env));
    Ok((Arc::new(started), following))
}

/// What keeps the node's certificates fresh, where that is wanted.
fn rotations(plan: &Plan, client: &Client, env: &Env) -> Vec<Task> {
    let wanted = [
        (plan.rotate_client, Purpose::Client),
        (plan.rotate_serving, Purpose::Serving(plan.site.ips.clone())),
    ];
    let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, purpose)| purpose);
    wanted
        .map(|purpose| env::spawn("certificate-rotation", plan.rotation(client, env, purpose).run()))
        .collect()
}

impl Plan {
    fn rotation(&self, client: &Client, env: &Env, purpose: Purpose) -> Rotation {
        Rotation {
            client: client.clone(),
            env: env.clone(),
            node_name: self.site.name.clone(),
            purpose,
            folder: self.cert_dir.clone(),
        }
    }
}
