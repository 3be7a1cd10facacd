//! Calls of components in this process: they meet all that requests meet but the socket, so they count as requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use call::{Action, Call, DryRun, Target};
use http::StatusCode;
use meta::Status;
use telemetry::InFlight;

use super::rows::Row;
use super::{COMPONENT, Finish, Metrics};
use crate::server::Server;

/// A call under way.
pub(crate) struct Inside {
    target: Target,
    verb: &'static str,
    scope: &'static str,
    dry_run: &'static str,
    begun: Instant,
    /// Watches are in flight only while they begin.
    running: InFlight,
}

impl Inside {
    /// A call begins.
    pub(crate) fn begin(metrics: &Metrics, call: &Call) -> Inside {
        let target = &call.target;
        let (verb, asked) = match &call.action {
            Action::Get { .. } => ("GET", "get"),
            Action::List(_) => ("LIST", "list"),
            Action::Watch(_) => ("WATCH", "watch"),
            Action::Create(..) => ("POST", "create"),
            Action::Update(..) => ("PUT", "update"),
            Action::Patch(call::PatchKind::Apply, ..) => ("APPLY", "patch"),
            Action::Patch(..) => ("PATCH", "patch"),
            Action::Delete(_) | Action::DeleteCollection(..) => ("DELETE", "delete"),
        };
        let scope = match target {
            _ if asked == "create" || !target.name.is_empty() => "resource",
            target if target.namespace.is_empty() => "cluster",
            _ => "namespace",
        };
        let dry_run = match &call.action {
            Action::Create(_, options) | Action::Update(_, options) | Action::Patch(_, _, options)
                if options.dry_run == DryRun::All =>
            {
                "All"
            }
            _ => "",
        };
        let running = metrics.begin(asked);
        Inside { target: target.clone(), verb, scope, dry_run, begun: Instant::now(), running }
    }

    /// It has been answered with a watch, which is over when what this returns is dropped.
    pub(crate) fn watches(self, metrics: &Metrics) -> impl Send + use<> {
        let open = metrics.open_inside(&self.target, self.scope);
        let row = self.row(metrics);
        let finish = Finish { row, status: StatusCode::OK, begun: self.begun, elsewhere: Duration::ZERO };
        drop(self.running);
        (open, finish)
    }

    /// It has been answered, with this status or well, of which time webhooks took `elsewhere`. What is not served is not
    /// counted.
    pub(crate) fn end(self, server: &Server, refusal: Option<&Status>, elsewhere: Duration) {
        let Target { group, version, resource, .. } = &self.target;
        if refusal.is_some() && server.registry.served(group, version, resource).is_none() {
            return;
        }
        let code = match refusal {
            Some(status) => u16::try_from(status.code).ok().and_then(|code| StatusCode::from_u16(code).ok()),
            None if self.verb == "POST" => Some(StatusCode::CREATED),
            None => Some(StatusCode::OK),
        };
        let row = self.row(&server.metrics);
        row.over(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), self.begun.elapsed(), elsewhere);
    }

    fn row(&self, metrics: &Metrics) -> Arc<Row> {
        let target = &self.target;
        metrics.rows.with(&[
            COMPONENT,
            self.dry_run,
            &target.group,
            &target.resource,
            self.scope,
            &target.subresource,
            self.verb,
            &target.version,
        ])
    }
}
