//! Reads the files of authentication and authorization again when they change.
//!
//! A file that is wrong is told in the log and changes nothing: the server goes on as it was configured before.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use authn::oidc::{self, Issuers};
use authz::config;
use env::DirWatch;
use telemetry::{CounterFamily, GaugeFamily};
use tokio::task::JoinHandle;

use crate::serve::listen::stopped;
use crate::server::Server;

/// How long new issuers may take to be found before the old ones are kept.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reloads by status, and when the last of each was.
struct Reloads {
    total: CounterFamily,
    last: GaugeFamily,
}

static AUTHENTICATION: LazyLock<Reloads> = LazyLock::new(|| {
    Reloads::of(
        "apiserver_authentication_config_controller_automatic_reloads_total",
        "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
    )
});
static AUTHORIZATION: LazyLock<Reloads> = LazyLock::new(|| {
    Reloads::of(
        "apiserver_authorization_config_controller_automatic_reloads_total",
        "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds",
    )
});

impl Reloads {
    fn of(total: &'static str, last: &'static str) -> Self {
        let labels = &["apiserver_id_hash", "status"];
        Reloads {
            total: telemetry::counter(total, "Reloads of the configuration file by status.", labels),
            last: telemetry::gauge(
                last,
                "When the configuration file was last read again, by status.",
                labels,
            ),
        }
    }
}

/// A file that is followed.
pub(crate) enum Followed {
    /// `--authentication-config`
    Authentication(PathBuf),
    /// `--authorization-config`
    Authorization {
        /// The file.
        file: PathBuf,
        /// Policies of ABAC.
        policy_file: Option<PathBuf>,
    },
}

impl Followed {
    fn path(&self) -> &Path {
        match self {
            Followed::Authentication(path) => path,
            Followed::Authorization { file, .. } => file,
        }
    }
}

/// Follows a file until the server stops.
pub(crate) fn follow_file(server: &Arc<Server>, file: Followed) -> JoinHandle<()> {
    let server = server.clone();
    // What is in force was read a moment ago; a change since then shows as a difference.
    let known = std::fs::read_to_string(file.path()).unwrap_or_default();
    tokio::spawn(async move {
        let mut stopping = server.shared.stopping.clone();
        tokio::select! {
            () = follow(&server, &file, known) => {}
            () = stopped(&mut stopping) => {}
        }
    })
}

async fn follow(server: &Server, file: &Followed, mut known: String) {
    let path = file.path();
    // The folder is watched, since files are mostly replaced and not written over.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let watch = match DirWatch::new(folder) {
        Ok(watch) => watch,
        Err(error) => {
            tracing::error!(%error, folder = %folder.display(), "changes of the configuration are not seen");
            return;
        }
    };
    loop {
        // Looked at before it is waited for, since the file may have changed before the watch was there.
        let text = match tokio::fs::read_to_string(path).await {
            Ok(text) if text != known && !text.is_empty() => text,
            // Nothing new, or the file is being replaced this moment.
            _ => {
                watch.changed().await;
                continue;
            }
        };
        known.clone_from(&text);
        let (reloads, result) = match file {
            Followed::Authentication(_) => (&*AUTHENTICATION, authentication(server, &text).await),
            Followed::Authorization { policy_file, .. } => {
                (&*AUTHORIZATION, authorization(server, &text, policy_file.as_deref()))
            }
        };
        let status = if result.is_ok() { "success" } else { "failure" };
        reloads.total.with(&["", status]).inc();
        reloads.last.with(&["", status]).set(server.now_s() as f64);
        match result {
            Ok(()) => tracing::info!(file = %path.display(), "the configuration was read again"),
            Err(error) => tracing::error!(file = %path.display(), error, "the configuration stays as it was"),
        }
    }
}

async fn authentication(server: &Server, text: &str) -> Result<(), String> {
    let issuer = server.tokens.issuer();
    let own: Vec<String> = std::iter::once(&issuer.url).chain(&issuer.also).cloned().collect();
    let start = || -> Result<Issuers, oidc::ConfigurationError> {
        let configuration = oidc::Configuration::parse(text)?;
        configuration.validate(&own)?;
        Issuers::start(&configuration, &server.env)
    };
    let issuers = start().map_err(|error| error.to_string())?;
    issuers.ready(PATIENCE).await?;
    server.authenticator.issuers.store(Arc::new(issuers));
    Ok(())
}

fn authorization(server: &Server, text: &str, policy_file: Option<&Path>) -> Result<(), String> {
    let read = || -> Result<authz::Chain, config::ConfigurationError> {
        let configuration = config::Configuration::parse(text)?;
        configuration.validate()?;
        configuration.chain(policy_file, &server.env)
    };
    server.authorizer.replace(read().map_err(|error| error.to_string())?);
    Ok(())
}
