//! From FlowSchemas and PriorityLevelConfigurations to what the server does: schemas in the order in which they are
//! tried, and seats and queues for each level. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use meta::Str;
use types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};

/// Level that takes what no schema matches, and schemas whose level does not exist.
const CATCH_ALL: &str = "catch-all";

/// How one level treats its requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LevelPlan {
    /// Identity of the object, for headers.
    pub uid: Str,
    /// Nothing waits and nothing is refused.
    pub exempt: bool,
    /// Its share of the server's seats.
    pub nominal: u32,
    /// Seats of its share that others may use while they are idle.
    pub lendable: u32,
    /// Most seats that it may use of others; `u32::MAX` for no limit.
    pub borrowing: u32,
    /// Number of queues; 0 refuses what finds no seat.
    pub queues: usize,
    /// Queues that each flow is dealt.
    pub hand: usize,
    /// Longest queue.
    pub length: usize,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// By precedence, then name.
    pub schemas: Vec<Arc<FlowSchema>>,
    /// By name.
    pub levels: BTreeMap<Str, LevelPlan>,
}

impl Plan {
    /// Works out the plan for a server with this many seats.
    pub(crate) fn new(
        seats: u32,
        mut schemas: Vec<Arc<FlowSchema>>,
        levels: &[Arc<PriorityLevelConfiguration>],
    ) -> Self {
        schemas.sort_by(|a, b| {
            let key = |s: &FlowSchema| (s.spec.matching_precedence, s.metadata.name.clone());
            key(a).cmp(&key(b))
        });
        let total: i64 = levels.iter().map(|level| shares(level)).sum();
        let levels =
            levels.iter().map(|level| (level.metadata.name.clone(), plan(seats, total, level))).collect();
        Plan { schemas, levels }
    }

    /// The level that a schema leads to.
    pub(crate) fn level_of(&self, schema: &FlowSchema) -> Option<&Str> {
        let wanted = &schema.spec.priority_level_configuration.name;
        let found = self.levels.get_key_value(wanted).or_else(|| self.levels.get_key_value(CATCH_ALL));
        found.map(|(name, _)| name)
    }
}

fn shares(level: &PriorityLevelConfiguration) -> i64 {
    let spec = &level.spec;
    let limited = spec.limited.as_ref().and_then(|limited| limited.nominal_concurrency_shares);
    let exempt = spec.exempt.as_ref().and_then(|exempt| exempt.nominal_concurrency_shares);
    let shares = if spec.type_ == "Exempt" { exempt.unwrap_or(0) } else { limited.unwrap_or(30) };
    i64::from(shares.max(0))
}

fn plan(seats: u32, total: i64, level: &PriorityLevelConfiguration) -> LevelPlan {
    let nominal = (i64::from(seats) * shares(level) + total - 1).checked_div(total).unwrap_or(0) as u32;
    let part = |percent: Option<i32>| {
        let percent = u64::from(percent.unwrap_or(0).max(0).unsigned_abs());
        ((u64::from(nominal) * percent + 50) / 100) as u32
    };
    let limited = level.spec.limited.as_deref();
    let exempt = level.spec.exempt.as_deref();
    let queuing = limited.and_then(|limited| limited.limit_response.queuing.as_deref());
    let count = |n: i32| usize::try_from(n).unwrap_or(0);
    LevelPlan {
        uid: level.metadata.uid.clone(),
        exempt: level.spec.type_ == "Exempt",
        nominal,
        lendable: part(
            limited.map_or_else(|| exempt.and_then(|e| e.lendable_percent), |l| l.lendable_percent),
        ),
        borrowing: limited
            .and_then(|limited| limited.borrowing_limit_percent)
            .map_or(u32::MAX, |percent| part(Some(percent))),
        queues: queuing.map_or(0, |queuing| count(queuing.queues)),
        hand: queuing.map_or(0, |queuing| count(queuing.hand_size)),
        length: queuing.map_or(0, |queuing| count(queuing.queue_length_limit)),
    }
}
