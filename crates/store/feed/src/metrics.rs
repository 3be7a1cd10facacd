//! What feeds measure, under upstream's names for its watch cache and for what it has of etcd.
//!
//! A feed keeps the cells of its resource, each made when something is first counted in it: counting is then one atomic
//! operation, and what never happened to a resource takes no line of the page.

use std::sync::{LazyLock, OnceLock};

use mvcc::{Requests, Revision};
use telemetry::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily};

const RESOURCE: &[&str] = &["group", "resource"];

/// The index label of a list that looks through all keys of its range, as every list here does.
const NO_INDEX: &str = "";

/// Revisions are shown by so many of their last digits, as upstream shows them.
const REVISION_SHOWN: Revision = 1_000_000_000_000_000;

/// Limits of the waiting times, in seconds (upstream's).
const WAIT_S: [f64; 13] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0];

macro_rules! families {
    ($($name:ident: $family:ty = $make:ident($metric:literal, $help:literal $(, $more:expr)*);)*) => {
        $(static $name: LazyLock<$family> =
            LazyLock::new(|| telemetry::$make($metric, $help, $($more),*));)*
    };
}

families! {
    STORE_EVENTS: CounterFamily =
        counter("apiserver_storage_events_received_total", "Events that came from the store.", RESOURCE);
    RECEIVED: CounterFamily =
        counter("apiserver_watch_cache_events_received_total", "Events that a watch cache took in.", RESOURCE);
    DISPATCHED: CounterFamily = counter(
        "apiserver_watch_cache_events_dispatched_total",
        "Events that a watch cache handed on to those who watch.",
        RESOURCE
    );
    INITIAL: CounterFamily = counter(
        "apiserver_init_events_total",
        "Events with which watches began: objects that were there, or changes that had happened.",
        RESOURCE
    );
    TERMINATED: CounterFamily = counter(
        "apiserver_terminated_watchers_total",
        "Watchers that were ended because they were too slow.",
        RESOURCE
    );
    UNDECODABLE: CounterFamily = counter(
        "apiserver_storage_decode_errors_total",
        "Stored objects that could not be decoded and are left out.",
        RESOURCE
    );
    BOOKMARKS: CounterFamily =
        counter("etcd_bookmark_total", "Times that the store told how far it is, without an event.", RESOURCE);
    BOOKMARKS_OLD: GaugeFamily =
        gauge("etcd_bookmark_counts", "Older name of etcd_bookmark_total.", RESOURCE);
    REVISION: GaugeFamily = gauge(
        "apiserver_watch_cache_resource_version",
        "The revision of a watch cache; its last 15 digits.",
        RESOURCE
    );
    CAPACITY: GaugeFamily =
        gauge("watch_cache_capacity", "Recent events that a watch cache keeps at most.", RESOURCE);
    INITIALIZATIONS: CounterFamily = counter(
        "apiserver_watch_cache_initializations_total",
        "Times that a watch cache was filled from the store.",
        RESOURCE
    );
    WAITED: HistogramFamily = histogram(
        "apiserver_watch_cache_read_wait_seconds",
        "Time that reads waited for a watch cache to be as fresh as they need it.",
        RESOURCE,
        &WAIT_S
    );
    CONSISTENT: CounterFamily = counter(
        "apiserver_watch_cache_consistent_read_total",
        "Lists of the newest state that a watch cache answered, by whether it could.",
        &["fallback", "group", "resource", "success"]
    );
    LISTS: CounterFamily = counter(
        "apiserver_cache_list_total",
        "Lists that a watch cache answered.",
        &["group", "index", "resource"]
    );
    LIST_FETCHED: CounterFamily = counter(
        "apiserver_cache_list_fetched_objects_total",
        "Objects that lists looked at in a watch cache.",
        &["group", "index", "resource"]
    );
    LIST_RETURNED: CounterFamily = counter(
        "apiserver_cache_list_returned_objects_total",
        "Objects in the answers to lists from a watch cache.",
        RESOURCE
    );
    STORE_LISTS: CounterFamily =
        counter("apiserver_storage_list_total", "Lists that were read from the store.", RESOURCE);
    STORE_FETCHED: CounterFamily = counter(
        "apiserver_storage_list_fetched_objects_total",
        "Objects that lists read from the store.",
        RESOURCE
    );
    STORE_EVALUATED: CounterFamily = counter(
        "apiserver_storage_list_evaluated_objects_total",
        "Objects read from the store that were held against a selection.",
        RESOURCE
    );
    STORE_RETURNED: CounterFamily = counter(
        "apiserver_storage_list_returned_objects_total",
        "Objects in the answers to lists from the store.",
        RESOURCE
    );
}

/// Lists, what they looked at, what was held against a selection, and what was returned.
type Lists = [Counter; 4];

/// The cells of one feed.
#[derive(Debug)]
pub struct Measured {
    group: Box<str>,
    resource: Box<str>,
    requests: Requests,
    events: OnceLock<[Counter; 3]>,
    initial: OnceLock<Counter>,
    bookmarks: OnceLock<(Counter, Gauge)>,
    consistent: OnceLock<Counter>,
    cache_lists: OnceLock<[Counter; 3]>,
    store_lists: OnceLock<Lists>,
    revision: Gauge,
    waited: Histogram,
}

impl Measured {
    pub(crate) fn new(group: &str, resource: &str, recent_max: usize) -> Measured {
        let labels = [group, resource];
        CAPACITY.with(&labels).set(recent_max as f64);
        Measured {
            group: group.into(),
            resource: resource.into(),
            requests: Requests::new(group, resource),
            events: OnceLock::new(),
            initial: OnceLock::new(),
            bookmarks: OnceLock::new(),
            consistent: OnceLock::new(),
            cache_lists: OnceLock::new(),
            store_lists: OnceLock::new(),
            revision: REVISION.with(&labels),
            waited: WAITED.with(&labels),
        }
    }

    fn labels(&self) -> [&str; 2] {
        [&self.group, &self.resource]
    }

    /// The requests to the store that are about this resource.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Everything was read from the store: so many objects.
    pub(crate) fn initialized(&self, objects: usize) {
        INITIALIZATIONS.with(&self.labels()).inc();
        self.listed_from_store(objects, 0, objects);
    }

    /// So many events came from the store and were told to the audience.
    pub(crate) fn events(&self, count: usize) {
        let labels = self.labels();
        let cells =
            self.events.get_or_init(|| [&STORE_EVENTS, &RECEIVED, &DISPATCHED].map(|f| f.with(&labels)));
        cells.iter().for_each(|cell| cell.add(count as u64));
    }

    /// The store said how far it is, without an event.
    pub(crate) fn bookmark(&self) {
        let labels = self.labels();
        let cells = self.bookmarks.get_or_init(|| (BOOKMARKS.with(&labels), BOOKMARKS_OLD.with(&labels)));
        cells.0.inc();
        cells.1.add(1.0);
    }

    /// The feed is as far as this revision.
    pub(crate) fn reached(&self, revision: Revision) {
        self.revision.set((revision % REVISION_SHOWN) as f64);
    }

    /// A watch began with so many events.
    pub(crate) fn began(&self, events: usize) {
        if events > 0 {
            self.initial.get_or_init(|| INITIAL.with(&self.labels())).add(events as u64);
        }
    }

    /// So many watchers were ended.
    pub(crate) fn terminated(&self, watchers: usize) {
        TERMINATED.with(&self.labels()).add(watchers as u64);
    }

    pub(crate) fn undecodable(&self) {
        UNDECODABLE.with(&self.labels()).inc();
    }

    /// A read waited so long until the feed was fresh enough.
    pub(crate) fn waited(&self, seconds: f64) {
        self.waited.observe(seconds);
    }

    /// A list of the newest state could be answered, or not.
    pub fn consistent_read(&self, answered: bool) {
        // No list falls back on the store: what the feed cannot answer in time is refused.
        let with = |success| CONSISTENT.with(&["false", &self.group, &self.resource, success]);
        if answered {
            self.consistent.get_or_init(|| with("true")).inc();
        } else {
            with("false").inc();
        }
    }

    /// A list was answered from the feed, after a look at `fetched` objects.
    pub fn listed(&self, fetched: usize, returned: usize) {
        let cells = self.cache_lists.get_or_init(|| {
            let indexed = [&*self.group, NO_INDEX, &*self.resource];
            [LISTS.with(&indexed), LIST_FETCHED.with(&indexed), LIST_RETURNED.with(&self.labels())]
        });
        cells[0].inc();
        cells[1].add(fetched as u64);
        cells[2].add(returned as u64);
    }

    /// A list was read from the store's history: `fetched` objects, of which `evaluated` were held against a selection.
    pub fn listed_from_store(&self, fetched: usize, evaluated: usize, returned: usize) {
        let labels = self.labels();
        let cells = self.store_lists.get_or_init(|| {
            [&STORE_LISTS, &STORE_FETCHED, &STORE_EVALUATED, &STORE_RETURNED].map(|f| f.with(&labels))
        });
        cells[0].inc();
        cells[1].add(fetched as u64);
        cells[2].add(evaluated as u64);
        cells[3].add(returned as u64);
    }
}
