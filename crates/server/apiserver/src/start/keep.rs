//! Makes the first objects of a cluster again when somebody takes them away or changes what is the server's to say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use feed::Scope;
use meta::{Status, Str};
use registry::Served;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::feeds::each_change_in;
use super::first::{TRACKING, TRUST, Writer};
use super::hooks;
use super::until_stopped;
use crate::server::Server;

/// Pause before an object that could not be written is written again.
const RETRY: Duration = Duration::from_secs(1);

/// Objects that are kept together.
#[derive(Clone, Copy)]
enum Kept {
    Namespaces,
    Service,
    Endpoints,
    Trust,
    Tracking,
}

const ALL: [Kept; 5] = [Kept::Namespaces, Kept::Service, Kept::Endpoints, Kept::Trust, Kept::Tracking];

impl Kept {
    const fn hook(self) -> &'static str {
        match self {
            Kept::Namespaces => hooks::NAMESPACES,
            Kept::Service => hooks::SERVICE,
            Kept::Endpoints => hooks::ENDPOINTS,
            Kept::Trust => hooks::TRUST,
            Kept::Tracking => hooks::USED_TOKENS,
        }
    }

    /// Group and plural of the kinds.
    const fn resources(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kept::Namespaces => &[("", "namespaces")],
            Kept::Service => &[("", "services")],
            Kept::Endpoints => &[("", "endpoints"), ("discovery.k8s.io", "endpointslices")],
            Kept::Trust | Kept::Tracking => &[("", "configmaps")],
        }
    }

    /// The objects among them.
    fn scope(self, served: &Served) -> Scope {
        match self {
            Kept::Namespaces => Scope::All,
            Kept::Service | Kept::Endpoints => Scope::Key(served.key("default", "kubernetes")),
            Kept::Trust => Scope::Key(served.key("kube-system", TRUST)),
            Kept::Tracking => Scope::Key(served.key("kube-system", TRACKING)),
        }
    }

    async fn restore(self, writer: &Writer<'_>) -> Result<(), Status> {
        match self {
            Kept::Namespaces => writer.namespaces().await,
            Kept::Service => writer.service().await,
            Kept::Endpoints => writer.endpoints().await,
            Kept::Trust => writer.trust().await,
            Kept::Tracking => writer.tracking().await,
        }
    }
}

/// Keeps all of them until the server stops.
pub(crate) fn keep_first_objects(server: &Arc<Server>) -> Vec<JoinHandle<()>> {
    let keep = |kept: Kept| {
        let keeping = server.clone();
        let task = until_stopped(server, async move { keep(&keeping, kept).await });
        server.hooks.lives(kept.hook(), &task);
        task
    };
    ALL.map(keep).into()
}

async fn keep(server: &Arc<Server>, kept: Kept) {
    let changed = Notify::new();
    let watches = kept.resources().iter().map(|(group, plural)| {
        // What went while nobody looked is missed as well.
        let begin = |_: &Arc<Server>, _: &BTreeSet<Str>| changed.notify_one();
        each_change_in(
            server,
            group,
            plural,
            |served| kept.scope(served),
            begin,
            |_, _, _| changed.notify_one(),
        )
    });
    let restoring = async {
        let writer = Writer::new(server, "kube-apiserver");
        loop {
            changed.notified().await;
            while let Err(error) = kept.restore(&writer).await {
                tracing::warn!(%error, hook = kept.hook(), "what every cluster has could not be written");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::join!(futures::future::join_all(watches), restoring);
}
