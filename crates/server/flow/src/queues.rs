//! Seats and queues of the levels, as one state that changes in small steps: no time, no tasks.
//!
//! Queues take turns by start-time fair queuing: a queue's clock advances by the width of each request that it gets
//! a seat for, the queue with the lowest clock is next, and a queue that was idle starts at the level's clock, so
//! that idling saves up nothing.

use std::collections::{BTreeMap, VecDeque};

use meta::Str;
use tokio::sync::oneshot;

use crate::plan::{LevelPlan, Plan};

/// Says to a waiting request that it has its seats.
pub(crate) type Ticket = oneshot::Sender<()>;

/// A request in a queue.
struct Waiting {
    id: u64,
    width: u32,
    ticket: Ticket,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Seats that its requests occupy.
    running: u32,
    clock: u64,
}

/// One level.
pub(crate) struct Level {
    plan: LevelPlan,
    queues: Vec<Queue>,
    /// Seats in use.
    pub used: u32,
    /// Requests that wait.
    pub waiting: u32,
    clock: u64,
}

/// What became of a request that came in.
pub(crate) enum Arrival {
    /// It runs; it came through this queue.
    Runs(Option<usize>),
    /// It waits in this queue, under this number.
    Waits(usize, u64),
    /// All its queues are full.
    Full,
    /// The level has no seat and no queue.
    NoSeat,
}

/// All levels.
#[derive(Default)]
pub(crate) struct Levels {
    levels: BTreeMap<Str, Level>,
    next_id: u64,
}

impl Levels {
    /// Takes over a plan. Requests that run or wait stay what they are.
    pub(crate) fn configure(&mut self, plan: &Plan) {
        for (name, planned) in &plan.levels {
            let level = self.levels.entry(name.clone()).or_insert_with(|| Level {
                plan: planned.clone(),
                queues: Vec::new(),
                used: 0,
                waiting: 0,
                clock: 0,
            });
            level.plan = planned.clone();
            if level.queues.len() < planned.queues {
                level.queues.resize_with(planned.queues, Queue::default);
            }
        }
        let busy = |level: &Level| level.used > 0 || level.waiting > 0;
        self.levels.retain(|name, level| plan.levels.contains_key(name) || busy(level));
        let names: Vec<Str> = self.levels.keys().cloned().collect();
        names.iter().for_each(|name| self.dispatch(name));
    }

    /// What each level may use now.
    pub(crate) fn limits(&self) -> Vec<(Str, u32)> {
        let limit = |(name, level): (&Str, &Level)| {
            let now = if level.plan.exempt { level.used } else { level.limit(self.borrowable(name)) };
            (name.clone(), now)
        };
        self.levels.iter().map(limit).collect()
    }

    /// A request of the flow with this hash comes in. Also tells how long the queue is with it, if it comes into one.
    pub(crate) fn arrive(
        &mut self,
        name: &str,
        hash: u64,
        width: u32,
        ticket: Ticket,
    ) -> (Arrival, Option<usize>) {
        let borrowable = self.borrowable(name);
        let Some(level) = self.levels.get_mut(name) else { return (Arrival::Runs(None), None) };
        if level.plan.exempt {
            level.used += width;
            return (Arrival::Runs(None), None);
        }
        if level.plan.queues == 0 {
            if level.fits(width, borrowable) {
                level.used += width;
                return (Arrival::Runs(None), None);
            }
            return (Arrival::NoSeat, None);
        }
        let hand = crate::shuffle::hand(hash, level.plan.queues, level.plan.hand.max(1));
        let load = |queue: &Queue| queue.waiting.iter().map(|w| w.width).sum::<u32>() + queue.running;
        let Some(at) = hand.into_iter().min_by_key(|at| load(&level.queues[*at])) else {
            return (Arrival::NoSeat, None);
        };
        let queue = &mut level.queues[at];
        if queue.waiting.len() >= level.plan.length {
            // A seat may be free although the flow's queue is full only when it is meant for others.
            return (Arrival::Full, None);
        }
        if queue.waiting.is_empty() && queue.running == 0 {
            queue.clock = queue.clock.max(level.clock);
        }
        self.next_id += 1;
        let id = self.next_id;
        queue.waiting.push_back(Waiting { id, width, ticket });
        let length = queue.waiting.len();
        level.waiting += 1;
        self.dispatch(name);
        let waits = self.levels.get(name).is_some_and(|l| l.queues[at].waiting.iter().any(|w| w.id == id));
        // What got its seat at once has been told so as well; the caller need not look.
        (if waits { Arrival::Waits(at, id) } else { Arrival::Runs(Some(at)) }, Some(length))
    }

    /// A request gives up waiting; false when it has got its seats meanwhile.
    pub(crate) fn give_up(&mut self, name: &str, at: usize, id: u64) -> bool {
        let Some(level) = self.levels.get_mut(name) else { return false };
        let Some(queue) = level.queues.get_mut(at) else { return false };
        let before = queue.waiting.len();
        queue.waiting.retain(|waiting| waiting.id != id);
        let left = queue.waiting.len() < before;
        level.waiting -= u32::from(left);
        left
    }

    /// A request ends. `queue` is where it came from.
    pub(crate) fn leave(&mut self, name: &str, queue: Option<usize>, width: u32) {
        if let Some(level) = self.levels.get_mut(name) {
            level.used = level.used.saturating_sub(width);
            if let Some(queue) = queue.and_then(|at| level.queues.get_mut(at)) {
                queue.running = queue.running.saturating_sub(width);
            }
        }
        self.dispatch(name);
        // Seats that this level no longer needs may be what others wait to borrow.
        let others: Vec<Str> = self
            .levels
            .iter()
            .filter(|(other, l)| *other != name && l.waiting > 0)
            .map(|(n, _)| n.clone())
            .collect();
        others.iter().for_each(|other| self.dispatch(other));
    }

    /// Seats that other levels lend right now.
    fn borrowable(&self, name: &str) -> u32 {
        let others = || self.levels.iter().filter(|(other, _)| *other != name).map(|(_, level)| level);
        let lent = |level: &Level| level.plan.lendable.min(level.plan.nominal.saturating_sub(level.used));
        let borrowed =
            |level: &Level| if level.plan.exempt { 0 } else { level.used.saturating_sub(level.plan.nominal) };
        others().map(lent).sum::<u32>().saturating_sub(others().map(borrowed).sum())
    }

    /// Gives seats to waiting requests while there are any.
    fn dispatch(&mut self, name: &str) {
        let borrowable = self.borrowable(name);
        let Some(level) = self.levels.get_mut(name) else { return };
        while level.waiting > 0 {
            let next = level.queues.iter().enumerate().filter(|(_, q)| !q.waiting.is_empty());
            let Some((at, _)) = next.min_by_key(|(at, queue)| (queue.clock, *at)) else { return };
            let width = level.queues[at].waiting.front().map_or(1, |waiting| waiting.width);
            if !level.fits(width, borrowable) {
                return;
            }
            let queue = &mut level.queues[at];
            let Some(waiting) = queue.waiting.pop_front() else { return };
            level.waiting -= 1;
            level.clock = queue.clock;
            queue.clock += u64::from(width);
            if waiting.ticket.send(()).is_ok() {
                queue.running += width;
                level.used += width;
            }
        }
    }
}

impl Level {
    /// Whether there are seats, its own or borrowed. A request wider than the level runs when it runs alone.
    fn fits(&self, width: u32, borrowable: u32) -> bool {
        let limit = self.limit(borrowable);
        self.used + width <= limit || (self.used == 0 && limit > 0)
    }

    /// Its own seats, and as many of those that can be borrowed as it may borrow.
    fn limit(&self, borrowable: u32) -> u32 {
        self.plan.nominal.saturating_add(borrowable.min(self.plan.borrowing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shuffle::hash;

    fn plan(levels: &[(&str, LevelPlan)]) -> Plan {
        let levels = levels.iter().map(|(name, plan)| (Str::from(*name), plan.clone())).collect();
        Plan { levels, ..Plan::default() }
    }

    fn level(nominal: u32, lendable: u32, queues: usize) -> LevelPlan {
        LevelPlan {
            uid: Str::default(),
            exempt: false,
            nominal,
            lendable,
            borrowing: u32::MAX,
            queues,
            hand: 2,
            length: 4,
        }
    }

    /// Lets a request of a flow come in and keeps its end of the ticket.
    fn come(levels: &mut Levels, name: &str, flow: &str) -> (Arrival, oneshot::Receiver<()>) {
        let (ticket, called) = oneshot::channel();
        (levels.arrive(name, hash(["s", flow]), 1, ticket).0, called)
    }

    #[test]
    fn seats_then_queues_then_refusal() {
        let mut levels = Levels::default();
        levels.configure(&plan(&[("a", level(1, 0, 1)), ("r", level(1, 0, 0))]));
        let (first, _kept) = come(&mut levels, "a", "x");
        let Arrival::Runs(queue) = first else { panic!("a free seat") };
        let mut waiting: Vec<_> = (0..4).map(|_| come(&mut levels, "a", "x")).collect();
        assert!(waiting.iter().all(|(arrival, _)| matches!(arrival, Arrival::Waits(0, _))));
        assert!(matches!(come(&mut levels, "a", "x").0, Arrival::Full));
        levels.leave("a", queue, 1);
        assert!(waiting[0].1.try_recv().is_ok() && waiting[1].1.try_recv().is_err());
        let Arrival::Waits(at, id) = waiting[1].0 else { panic!("it waits") };
        assert!(levels.give_up("a", at, id) && !levels.give_up("a", at, id));
        let _seat = come(&mut levels, "r", "x");
        assert!(matches!(come(&mut levels, "r", "x").0, Arrival::NoSeat));
    }

    #[test]
    fn a_level_may_use_what_others_do_not() {
        let mut levels = Levels::default();
        levels.configure(&plan(&[("a", level(1, 0, 1)), ("b", level(4, 2, 1))]));
        let limits =
            |levels: &Levels| levels.limits().into_iter().map(|(_, limit)| limit).collect::<Vec<_>>();
        assert_eq!(limits(&levels), [3, 4]);
        let (ticket, _called) = oneshot::channel();
        assert_eq!(levels.arrive("b", hash(["s", "x"]), 3, ticket).1, Some(1), "alone in its queue");
        assert_eq!(limits(&levels), [2, 4]);
    }

    #[test]
    fn idle_seats_are_lent_and_come_back() {
        let mut levels = Levels::default();
        levels.configure(&plan(&[("a", level(1, 0, 1)), ("b", level(4, 2, 1))]));
        let mut running = Vec::new();
        for expected in [true, true, true, false] {
            let (arrival, called) = come(&mut levels, "a", "x");
            assert_eq!(matches!(arrival, Arrival::Runs(_)), expected);
            running.push(called);
        }
        // The owner has its unlendable seats, and gets the others as soon as they are given back.
        assert!((0..4).all(|_| matches!(come(&mut levels, "b", "y").0, Arrival::Runs(_))));
        levels.leave("a", Some(0), 1);
        assert!(running[3].try_recv().is_err(), "nothing is lent while the owner needs it");
    }

    #[test]
    fn a_greedy_flow_delays_itself() {
        let mut levels = Levels::default();
        let wide = LevelPlan { length: 1000, hand: 1, ..level(1, 0, 64) };
        levels.configure(&plan(&[("a", wide)]));
        let (Arrival::Runs(mut queue), _seat) = come(&mut levels, "a", "greedy") else {
            panic!("a free seat")
        };
        let greedy: Vec<_> = (0..100).map(|_| come(&mut levels, "a", "greedy")).collect();
        let mut modest = come(&mut levels, "a", "modest");
        let Arrival::Waits(at, _) = modest.0 else { panic!("it waits") };
        let Arrival::Waits(other, _) = greedy[0].0 else { panic!("it waits") };
        assert_ne!(at, other, "hands differ");
        for _ in 0..3 {
            levels.leave("a", queue, 1);
            queue = Some(other);
        }
        assert!(modest.1.try_recv().is_ok(), "it is served after at most a few of the other flow");
    }
}
