//! The multi-call binary: reads the command line and hands over to the crate that does the work.
//!
//! Before anything else, and before any thread exists, it looks whether it was started as a container's shim or helper.

mod flags;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use cluster::apply::ApplyOptions;
use cluster::certs::CertsCommand;
use cluster::down::Workloads;
use cluster::explain::{WhatIfOptions, WhyOptions};
use cluster::images::ImagesCommand;
use cluster::join::JoinOptions;
use cluster::kubelet::KubeletOptions;
use cluster::options::{Settings, UpOptions};
use cluster::paths::Paths;
use cluster::scheduler::SchedulerOptions;
use cluster::token::TokenCommand;

/// Kubernetes as one binary
#[derive(Parser)]
#[command(name = "ferrokube", version = cluster::VERSION, disable_help_subcommand = false)]
struct Cli {
    /// Directory with everything that the cluster keeps; another directory is another cluster
    #[arg(long, global = true, default_value = Paths::DATA_DEFAULT, value_name = "DIR", env = "FERROKUBE_DATA_DIR")]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the cluster on this machine and add a kubectl context for it
    Up {
        #[command(flatten)]
        options: Box<UpOptions>,
        /// Stay in the foreground and log to standard error
        #[arg(long)]
        foreground: bool,
        /// Leave kubectl's configuration alone
        #[arg(long)]
        no_kubeconfig: bool,
    },
    /// Stop the server; containers go on unless told otherwise
    Down {
        /// What happens to running containers
        #[arg(long, value_enum, default_value_t = Workloads::Keep)]
        workloads: Workloads,
    },
    /// Stop the cluster and remove everything it made: containers, network, files
    Reset,
    /// Show whether and how the cluster runs
    Status,
    /// Create or change the objects of manifest files
    Apply(ApplyOptions),
    /// Say per node why a pod does not run there, and the smallest change that would make it fit
    Why(WhyOptions),
    /// Say where pods would go, with more nodes or fewer, without changing anything
    Whatif(WhatIfOptions),
    /// Schedule for any API server, as a process of its own
    #[command(alias = "kube-scheduler")]
    Scheduler(Box<SchedulerOptions>),
    /// Run a node for any API server, as a process of its own
    Kubelet(Box<KubeletOptions>),
    /// Make this machine a node of a cluster, by a bootstrap token, and run the node
    Join(JoinOptions),
    /// Make, list and delete bootstrap tokens, with which machines join
    #[command(subcommand)]
    Token(TokenCommand),
    /// See how long the cluster's certificates hold, and make new ones
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Work with container images
    #[command(subcommand)]
    Images(ImagesCommand),
}

fn main() -> ExitCode {
    if let Some(code) = runtime::dispatch() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let (Command::Up { .. } | Command::Scheduler(_), Some((name, given))) =
        (&cli.command, matches.subcommand())
        && let Some(command) = Cli::command().find_subcommand(name)
    {
        telemetry::zpages::set_flags(flags::of(command, given));
    }
    // The provider is chosen once for the process; a second choice could only come from this same line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let data_dir = std::path::absolute(&cli.data_dir)?;
    let paths = Paths::new(&data_dir);
    if matches!(
        cli.command,
        Command::Up { foreground: true, .. } | Command::Scheduler(_) | Command::Kubelet(_) | Command::Join(_)
    ) {
        env::prepare_for_caches();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command {
        Command::Up { options, foreground, no_kubeconfig } => {
            // A server started in the foreground claims the cluster itself, and says so when it is taken.
            if let Some(pid) = cluster::process::running_on(&paths).filter(|_| !foreground) {
                println!("the cluster already runs as process {pid}");
                return Ok(());
            }
            let settings = Settings::resolve(*options, &data_dir)?;
            cluster::up::check_rights(&settings)?;
            cluster::up::remember(&paths, &settings.options)?;
            if foreground {
                settings.options.component.apply()?;
                return runtime.block_on(cluster::up::run(settings, !no_kubeconfig));
            }
            cluster::up::check(&settings)?;
            cluster::process::start_in_background(&paths, &std::env::args().skip(1).collect::<Vec<_>>())
        }
        Command::Down { workloads } => runtime.block_on(cluster::down::down(&paths, workloads)),
        Command::Reset => runtime.block_on(cluster::down::reset(&paths)),
        Command::Status => runtime.block_on(cluster::down::status(&paths)),
        Command::Apply(options) => runtime.block_on(cluster::apply::run(options, &paths)),
        Command::Why(options) => runtime.block_on(cluster::explain::why(options, &paths)),
        Command::Whatif(options) => runtime.block_on(cluster::explain::what_if(options, &paths)),
        Command::Scheduler(options) => {
            options.component.apply()?;
            runtime.block_on(cluster::scheduler::run(*options))
        }
        Command::Kubelet(options) => {
            options.component.apply()?;
            runtime.block_on(cluster::kubelet::run(*options, &paths))
        }
        Command::Join(options) => {
            telemetry::init_logs("info")?;
            runtime.block_on(cluster::join::run(options, &paths))
        }
        Command::Token(command) => runtime.block_on(cluster::token::run(command, &paths)),
        Command::Certs(command) => cluster::certs::run(&command, &paths),
        Command::Images(command) => runtime.block_on(cluster::images::run(command, &paths)),
    }
}
