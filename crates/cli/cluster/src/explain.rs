//! `ferrokube why` and `ferrokube whatif`: questions about scheduling, answered from the live cluster without changing it.

mod manifest;
mod shape;
mod suppose;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::scheduler::core::Core;
use ::scheduler::explain;
use ::scheduler::pod_info::PodInfo;
use ::scheduler::profile::Profile;
use anyhow::{Context, Result, bail};
use call::ListOptions;
use client::{Client, remote};
use env::Env;
use informer::Informers;
use meta::{MicroTime, Str, Time};
use types::core::v1::{Event, Pod};

pub(crate) use self::suppose::{WhatIf, suppose};
use crate::paths::Paths;
use crate::progress::print_line;

/// Options of `ferrokube why`.
#[derive(Clone, Debug, clap::Args)]
pub struct WhyOptions {
    /// Name of the pod
    pub pod: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Another cluster than this machine's
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Options of `ferrokube whatif`.
#[derive(Clone, Debug, clap::Args)]
pub struct WhatIfOptions {
    /// Manifest of the pods to suppose, YAML or JSON (may be repeated)
    #[arg(short, long = "filename", value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// Suppose one more node, such as `cpu=8,memory=32Gi,disk=ssd`: what is no resource is a label (may be repeated)
    #[arg(long, value_name = "SHAPE")]
    pub add_node: Vec<String>,
    /// Suppose that a node is gone and its pods look for another one (may be repeated)
    #[arg(long, value_name = "NODE")]
    pub drain: Vec<String>,
    /// Namespace of pods that name none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Another cluster than this machine's
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

fn connect(kubeconfig: Option<&Path>, paths: &Paths) -> Result<(Client, Arc<Informers>)> {
    let own = paths.admin_kubeconfig();
    let config = remote::Config::from_kubeconfig(kubeconfig.unwrap_or(&own), None)
        .context("cannot read the kubeconfig; does the cluster run? (ferrokube up)")?;
    let client = Client::new(Arc::new(remote::Remote::new(config)?));
    Ok((client.clone(), Informers::new(client, Env::real())))
}

/// Says per node why the pod does not run there, and what would help.
pub async fn why(options: WhyOptions, paths: &Paths) -> Result<()> {
    let (client, informers) = connect(options.kubeconfig.as_deref(), paths)?;
    let mut core = ::scheduler::live::load(&informers, vec![Profile::default()]).await;
    let Some(pod) = informers.cache::<Pod>().get(&options.namespace, &options.pod) else {
        bail!("there is no pod {:?} in namespace {:?}", options.pod, options.namespace);
    };
    for line in reasons(&mut core, pod.clone()) {
        print_line(&line);
    }
    match events(&client, &pod).await {
        Ok(lines) => lines.iter().for_each(|line| print_line(line)),
        Err(error) => print_line(&format!("its events cannot be read: {error}")),
    }
    Ok(())
}

/// What the scheduler of the default profile says of the pod.
fn reasons(core: &mut Core, pod: Arc<Pod>) -> Vec<String> {
    let name = &pod.metadata.name;
    if !pod.spec.node_name.is_empty() {
        return vec![format!("{name} has a node: {}", pod.spec.node_name)];
    }
    let mut lines = Vec::new();
    if core.profile(&pod.spec.scheduler_name).is_none() {
        let scheduler = &pod.spec.scheduler_name;
        lines.push(format!(
            "{name} waits for a scheduler named {scheduler:?}; default-scheduler, which leaves it alone, would say:"
        ));
    }
    if let Some(gate) = ::scheduler::queue::gate(&core.profiles[0], &pod, &core.snapshot.cluster) {
        lines.push(format!("{}: {}", gate.plugin, gate.reasons.join(", ")));
        return lines;
    }
    match explain::why(core, &Arc::new(PodInfo::new(pod)), 0) {
        Err(refusal) => {
            lines.push(format!("every node: {}: {}", refusal.plugin, refusal.reasons.join(", ")));
        }
        Ok(verdicts) if verdicts.is_empty() => lines.push("there are no nodes".into()),
        Ok(verdicts) => lines.extend(verdicts.iter().map(explain::Verdict::line)),
    }
    lines
}

/// What the cluster's events say of the pod, the last first: as often as it was said, in one line.
async fn events(client: &Client, pod: &Pod) -> Result<Vec<String>> {
    let metadata = &pod.metadata;
    let field_selector =
        format!("involvedObject.name={},involvedObject.uid={}", metadata.name, metadata.uid).into();
    let of_pod = ListOptions { field_selector, ..ListOptions::default() };
    let list = client.namespaced::<Event>(&metadata.namespace).list(&of_pod).await?;
    let seconds = |time: MicroTime| Time::from_system(time.to_system());
    let mut said: BTreeMap<(&Str, &Str), (i64, Option<Time>)> = BTreeMap::new();
    for event in &list.items {
        let series = event.series.as_deref();
        let last = series.and_then(|series| series.last_observed_time).map(seconds);
        let last = last.max(event.last_timestamp).max(event.event_time.map(seconds));
        let times = series.map_or(event.count, |series| series.count).max(1);
        let entry = said.entry((&event.reason, &event.message)).or_default();
        *entry = (entry.0 + i64::from(times), entry.1.max(last));
    }
    let mut said: Vec<_> = said.into_iter().collect();
    said.sort_by(|one, other| other.1.1.cmp(&one.1.1));
    let line = |((reason, message), (times, last)): &((&Str, &Str), (i64, Option<Time>))| {
        let when = last.map(|last| format!(", last at {last}")).unwrap_or_default();
        format!("event {reason} ({times}x{when}): {message}")
    };
    Ok(said.iter().map(line).collect())
}

/// Says where pods would go.
pub async fn what_if(options: WhatIfOptions, paths: &Paths) -> Result<()> {
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
    };
    let asked = WhatIf {
        manifests: options.filename.iter().map(read).collect::<Result<_>>()?,
        add_node: options.add_node,
        drain: options.drain,
        namespace: options.namespace,
    };
    let (_, informers) = connect(options.kubeconfig.as_deref(), paths)?;
    let mut core = ::scheduler::live::load(&informers, vec![Profile::default()]).await;
    let supposed = suppose(&mut core, &asked)?;
    if !supposed.others.is_empty() {
        print_line(&format!("no pods of their own: {}", supposed.others.join(", ")));
    }
    for (pod, outcome) in explain::what_if(&mut core, supposed.pods, 0) {
        let name = format!("{}/{}", pod.pod.metadata.namespace, pod.pod.metadata.name);
        print_line(&match outcome {
            Ok(node) => format!("{name}: {node}"),
            Err(reason) => format!("{name}: none: {reason}"),
        });
    }
    Ok(())
}
