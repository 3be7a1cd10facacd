//! The node's ledger of CPU and memory: what every pod was granted, and whose resize waits for room (KEP-1287).
//!
//! Pods are taken and resizes granted under one lock, so that no two get the same room. When something is freed, those
//! that wait get it in upstream's order: by priority, guaranteed pods first, then who has waited longest.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::SystemTime;

use meta::{Map, Quantity, Str};
use parking_lot::Mutex;
use runtime::QosClass;
use thiserror::Error;
use types::core::v1::Pod;

use crate::pod::resources::{qos, requests};

/// What pods ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU, thousandths of a core.
    cpu_milli: i64,
    /// Memory, bytes.
    memory_bytes: i64,
}

impl Amounts {
    /// The requests of a pod's spec.
    pub fn of(pod: &Pod) -> Self {
        Self::of_list(&requests(pod))
    }

    fn of_list(list: &Map<Quantity>) -> Self {
        Amounts {
            cpu_milli: list.get("cpu").map_or(0, |cpu| cpu.milli_value()),
            memory_bytes: list.get("memory").map_or(0, |memory| memory.value()),
        }
    }
}

/// The node has not enough left.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
)]
pub struct Lacking {
    /// Its name. CPU is counted in thousandths of a core, everything else in whole units.
    pub resource: Str,
    /// What the pod asks for.
    pub requested: i64,
    /// What others have.
    pub used: i64,
    /// What there is.
    pub capacity: i64,
}

/// Who is before whom among those that wait.
type Rank = (Reverse<i32>, Reverse<bool>, SystemTime);

/// A pod that waits for room.
struct Waiting {
    uid: String,
    wants: Amounts,
    rank: Rank,
    wake: Box<dyn Fn() + Send>,
}

#[derive(Default)]
struct Books {
    /// Whether all pods are known that were here before.
    open: bool,
    granted: HashMap<String, Amounts>,
    waiting: Vec<Waiting>,
}

/// See the module.
pub struct Room {
    capacity: Amounts,
    books: Mutex<Books>,
}

impl Room {
    /// Room for what the node can give. Until it is [opened](Room::open) nobody's share grows.
    pub fn new(allocatable: &Map<Quantity>) -> Self {
        Room { capacity: Amounts::of_list(allocatable), books: Mutex::default() }
    }

    /// All pods are known that were here before.
    pub fn open(&self) {
        let mut books = self.books.lock();
        books.open = true;
        self.serve(&mut books);
    }

    /// Takes a pod if there is room.
    ///
    /// # Errors
    /// What there is too little of.
    pub fn admit(&self, pod: &Pod) -> Result<(), Lacking> {
        let mut books = self.books.lock();
        let wants = Amounts::of(pod);
        self.fits(&books, &pod.metadata.uid, Amounts::default(), wants)?;
        books.granted.insert(pod.metadata.uid.to_string(), wants);
        Ok(())
    }

    /// A pod that has been taken before has this.
    pub fn has(&self, uid: &str, amounts: Amounts) {
        self.books.lock().granted.insert(uid.to_owned(), amounts);
    }

    /// Gives a pod what its spec asks for now, or lets it wait: `wake` is called once it was given that. `now` is when it
    /// began to wait, unless it does already.
    ///
    /// # Errors
    /// What there is too little of.
    pub fn grant(
        &self,
        pod: &Pod,
        now: SystemTime,
        wake: impl Fn() + Send + 'static,
    ) -> Result<(), Option<Lacking>> {
        let mut books = self.books.lock();
        let (uid, wants) = (pod.metadata.uid.as_str(), Amounts::of(pod));
        let has = books.granted.get(uid).copied().unwrap_or_default();
        let known = books.waiting.iter().position(|one| one.uid == uid).map(|at| books.waiting.remove(at));
        let why = match (self.fits(&books, uid, has, wants), books.open || !grows(has, wants)) {
            (Ok(()), true) => {
                books.granted.insert(uid.to_owned(), wants);
                self.serve(&mut books);
                return Ok(());
            }
            (Ok(()), false) => None,
            (Err(lacking), _) => Some(lacking),
        };
        let since = known.map_or(now, |known| known.rank.2);
        let guaranteed = qos(pod) == QosClass::Guaranteed;
        let rank = (Reverse(pod.spec.priority.unwrap_or(0)), Reverse(guaranteed), since);
        let waiting = Waiting { uid: uid.to_owned(), wants, rank, wake: Box::new(wake) };
        let at = books.waiting.partition_point(|other| other.rank <= rank);
        books.waiting.insert(at, waiting);
        Err(why)
    }

    /// The pod wants nothing else than it has.
    pub fn withdraw(&self, uid: &str) {
        self.books.lock().waiting.retain(|one| one.uid != uid);
    }

    /// The pod is at its end.
    pub fn release(&self, uid: &str) {
        let mut books = self.books.lock();
        books.waiting.retain(|one| one.uid != uid);
        if books.granted.remove(uid).is_some() {
            self.serve(&mut books);
        }
    }

    /// Grants what fits by now.
    fn serve(&self, books: &mut Books) {
        if !books.open {
            return;
        }
        let fits = |books: &Books, one: &Waiting| {
            let has = books.granted.get(&one.uid).copied().unwrap_or_default();
            self.fits(books, &one.uid, has, one.wants).is_ok()
        };
        while let Some(at) = books.waiting.iter().position(|one| fits(books, one)) {
            let one = books.waiting.remove(at);
            books.granted.insert(one.uid, one.wants);
            (one.wake)();
        }
    }

    /// Whether what a pod would have more leaves enough for the others.
    fn fits(&self, books: &Books, uid: &str, has: Amounts, wants: Amounts) -> Result<(), Lacking> {
        let others = books.granted.iter().filter(|(other, _)| other.as_str() != uid);
        let used = others.fold(Amounts::default(), |sum, (_, more)| Amounts {
            cpu_milli: sum.cpu_milli.saturating_add(more.cpu_milli),
            memory_bytes: sum.memory_bytes.saturating_add(more.memory_bytes),
        });
        let each = [
            ("cpu", has.cpu_milli, wants.cpu_milli, used.cpu_milli, self.capacity.cpu_milli),
            ("memory", has.memory_bytes, wants.memory_bytes, used.memory_bytes, self.capacity.memory_bytes),
        ];
        for (resource, has, requested, used, capacity) in each {
            if requested > has && used.saturating_add(requested) > capacity {
                return Err(Lacking { resource: resource.into(), requested, used, capacity });
            }
        }
        Ok(())
    }
}

fn grows(has: Amounts, wants: Amounts) -> bool {
    wants.cpu_milli > has.cpu_milli || wants.memory_bytes > has.memory_bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn pod(uid: &str, cpu: &str, priority: i32) -> Pod {
        meta::from_value(json!({
            "metadata": {"uid": uid},
            "spec": {"priority": priority, "containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}}))
        .unwrap()
    }

    fn room() -> Room {
        let room = Room::new(&[("cpu", "4".parse().unwrap())].into_iter().collect());
        room.open();
        room
    }

    /// A pod's wish, and a note of when it was granted.
    fn wish(room: &Room, pod: &Pod, second: u64, log: &Arc<Mutex<Vec<String>>>) -> String {
        let (log, uid) = (log.clone(), pod.metadata.uid.to_string());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        match room.grant(pod, now, move || log.lock().push(uid.clone())) {
            Ok(()) => "granted".into(),
            Err(why) => why.map_or("not yet".into(), |why| why.to_string()),
        }
    }

    #[test]
    fn what_does_not_fit_waits_in_order_until_something_is_freed() {
        let (room, log) = (room(), Arc::default());
        for uid in ["a", "b", "c", "d"] {
            room.admit(&pod(uid, "1", 0)).unwrap();
        }
        let full = room.admit(&pod("e", "1m", 0)).unwrap_err();
        assert_eq!(
            full.to_string(),
            "Node didn't have enough resource: cpu, requested: 1, used: 4000, capacity: 4000"
        );
        let lacking = "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000";
        assert_eq!(wish(&room, &pod("b", "2", 0), 2, &log), lacking);
        assert_eq!(wish(&room, &pod("c", "2", 0), 1, &log), lacking);
        assert_eq!(wish(&room, &pod("d", "2", 9), 3, &log), lacking);
        assert_eq!(wish(&room, &pod("b", "2", 0), 4, &log), lacking, "still since the second second");
        assert!(log.lock().is_empty());
        room.release("a");
        assert_eq!(*log.lock(), ["d"], "the highest priority first");
        assert_eq!(wish(&room, &pod("d", "1", 9), 5, &log), "granted");
        assert_eq!(*log.lock(), ["d", "c"], "then who waits longest");
        room.withdraw("b");
        room.release("c");
        assert_eq!(*log.lock(), ["d", "c"]);
    }

    #[test]
    fn less_is_always_granted_and_nothing_more_before_all_pods_are_known() {
        let (room, log) = (Room::new(&[("cpu", "4".parse().unwrap())].into_iter().collect()), Arc::default());
        room.has("a", Amounts { cpu_milli: 3000, memory_bytes: 0 });
        room.has("b", Amounts { cpu_milli: 3000, memory_bytes: 0 });
        assert_eq!(wish(&room, &pod("a", "2500m", 0), 0, &log), "granted");
        room.release("b");
        assert_eq!(wish(&room, &pod("a", "3", 0), 0, &log), "not yet");
        room.open();
        assert_eq!(*log.lock(), ["a"]);
    }
}
