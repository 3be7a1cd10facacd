//! `componentstatuses`: the health of what the server stands on, looked at when asked. Nothing of it is stored.
//!
//! Only the store has a health of its own: scheduler and controllers run in this process or report by their leases.

use std::sync::Arc;

use call::{Action, Call};
use meta::{Object, Status};
use registry::{Listing, Outcome, Served, Stored, errors};
use types::core::v1::{ComponentCondition, ComponentStatus};

use crate::server::Server;

/// The store's name here, whatever engine it has.
const STORE: &str = "etcd-0";

/// Answers a request for component statuses; `None` when the call is about something else.
pub(super) async fn perform(
    server: &Server,
    served: &Served,
    call: &Call,
) -> Option<Result<Outcome, Status>> {
    if !call.target.group.is_empty() || call.target.resource != "componentstatuses" {
        return None;
    }
    Some(match &call.action {
        Action::Get { .. } if call.target.name == STORE => {
            Ok(Outcome::Made(Arc::new(store(server).await), 200))
        }
        Action::Get { .. } => Err(errors::not_found("", "componentstatus", &call.target.name)),
        Action::List(_) => {
            let object: Arc<dyn Object> = Arc::new(store(server).await);
            Ok(Outcome::List(Listing {
                served: served.clone(),
                items: vec![Stored::made(served, object)],
                revision: 0,
                continue_token: String::new(),
                remaining: None,
            }))
        }
        _ => Err(errors::method_not_allowed()),
    })
}

async fn store(server: &Server) -> ComponentStatus {
    let mut status = ComponentStatus::default();
    status.metadata.name = STORE.into();
    let mut condition = ComponentCondition { type_: "Healthy".into(), ..Default::default() };
    match server.registry.store().revision().await {
        Ok(_) => {
            condition.status = "True".into();
            condition.message = "ok".into();
        }
        Err(error) => {
            condition.status = "False".into();
            condition.error = error.to_string().into();
        }
    }
    status.conditions.push(condition);
    status
}
