//! A metric's name with all its label values: finds the cell of one set of labels without allocating.

use crate::cells::{Counter, Gauge, Histogram};
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, LazyLock, OnceLock};

/// Spreads the labels of one family, so that many threads that meet new labels do not wait for each other.
const SHARDS: usize = 8;

static UNEXPECTED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Series that were put together as \"unexpected\", since the user bounds what a label may be.";
    crate::counter("cardinality_enforcement_unexpected_categorizations_total", help, &[])
});

type Entry<C> = (Box<[Box<str>]>, C);

/// Makes the cell of some label values.
type Make<C> = Box<dyn Fn(&[&str]) -> C + Send + Sync>;

/// A cell with its labels' names and values.
type Labelled<C> = (Vec<(&'static str, Box<str>)>, C);

/// The cells of one metric by label values.
pub(crate) struct Cells<C> {
    labels: Box<[&'static str]>,
    shards: [RwLock<HashTable<Entry<C>>>; SHARDS],
    hasher: DefaultHashBuilder,
    make: Make<C>,
    /// The values that a label may have, where the user bounds them.
    allowed: OnceLock<Vec<Option<BTreeSet<String>>>>,
}

impl<C: Clone> Cells<C> {
    pub(crate) fn new(
        labels: &[&'static str],
        make: impl Fn(&[&str]) -> C + Send + Sync + 'static,
    ) -> Arc<Cells<C>> {
        let cells = Cells {
            labels: labels.into(),
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: DefaultHashBuilder::default(),
            make: Box::new(make),
            allowed: OnceLock::new(),
        };
        if labels.is_empty() {
            // A metric without labels is shown from the start, as Prometheus clients do.
            cells.with(&[]);
        }
        Arc::new(cells)
    }

    fn hash(&self, values: &[&str]) -> u64 {
        self.hash_all(values.iter().copied())
    }

    fn hash_all<'a>(&self, values: impl Iterator<Item = &'a str>) -> u64 {
        use std::hash::Hasher;
        let mut hasher = self.hasher.build_hasher();
        values.for_each(|value| value.hash(&mut hasher));
        hasher.finish()
    }

    /// The cell of these label values, made on first use. Missing values count as empty, surplus ones are
    /// ignored, so that a programming error shows in the output instead of ending the process.
    pub(crate) fn with(&self, values: &[&str]) -> C {
        debug_assert_eq!(values.len(), self.labels.len(), "one value for each of {:?}", self.labels);
        match self.allowed.get() {
            None => self.cell(values),
            Some(allowed) => {
                let bounded = |(value, allowed): (&&'_ str, &Option<BTreeSet<String>>)| match allowed {
                    Some(allowed) if !allowed.contains(*value) => {
                        UNEXPECTED.with(&[]).inc();
                        "unexpected".to_owned()
                    }
                    _ => (*value).to_owned(),
                };
                let values: Vec<String> = values.iter().zip(allowed).map(bounded).collect();
                self.cell(&values.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }

    /// Bounds the values of labels from now on; only the first call counts.
    pub(crate) fn allow(&self, values_of: impl Fn(&str) -> Option<BTreeSet<String>>) {
        let allowed: Vec<_> = self.labels.iter().map(|label| values_of(label)).collect();
        if allowed.iter().any(Option::is_some) {
            // A second call is a second command line of one process, which there is none of.
            let _ = self.allowed.set(allowed);
        }
    }

    fn cell(&self, values: &[&str]) -> C {
        let hash = self.hash(values);
        let same = |entry: &Entry<C>| {
            entry.0.len() == values.len() && entry.0.iter().zip(values).all(|(a, b)| **a == **b)
        };
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        if let Some((_, cell)) = shard.read().find(hash, same) {
            return cell.clone();
        }
        let mut table = shard.write();
        if let Some((_, cell)) = table.find(hash, same) {
            return cell.clone();
        }
        let owned: Box<[Box<str>]> = values.iter().map(|value| Box::from(*value)).collect();
        let cell = (self.make)(values);
        let rehash = |entry: &Entry<C>| self.hash_all(entry.0.iter().map(|value| &**value));
        table.insert_unique(hash, (owned, cell.clone()), rehash);
        cell
    }

    /// Forgets one set of labels: for things that have gone, such as a deleted volume.
    pub(crate) fn remove(&self, values: &[&str]) {
        let hash = self.hash(values);
        let same = |entry: &Entry<C>| {
            entry.0.len() == values.len() && entry.0.iter().zip(values).all(|(a, b)| **a == **b)
        };
        if let Ok(entry) = self.shards[(hash >> 32) as usize % SHARDS].write().find_entry(hash, same) {
            entry.remove();
        }
    }

    /// All cells with their labels, ordered by label values.
    pub(crate) fn all(&self) -> Vec<Labelled<C>> {
        let mut entries: Vec<Entry<C>> =
            self.shards.iter().flat_map(|shard| shard.read().iter().cloned().collect::<Vec<_>>()).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let named = |values: Box<[Box<str>]>| self.labels.iter().copied().zip(values).collect();
        entries.into_iter().map(|(values, cell)| (named(values), cell)).collect()
    }
}

/// Cells of several families that have the same labels: one look finds all of them. `T` holds the cells, made of the label
/// values when they are first asked for.
pub struct Bundles<T>(Arc<Cells<Arc<T>>>);

impl<T: Send + Sync + 'static> Bundles<T> {
    /// No bundle yet. `labels` says how many values there are and what they mean.
    pub fn new(labels: &[&'static str], make: impl Fn(&[&str]) -> T + Send + Sync + 'static) -> Bundles<T> {
        Bundles(Cells::new(labels, move |values| Arc::new(make(values))))
    }

    /// The bundle of these label values.
    pub fn with(&self, values: &[&str]) -> Arc<T> {
        self.0.with(values)
    }
}

impl<T> std::fmt::Debug for Bundles<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bundles").field(&self.0.labels).finish()
    }
}

macro_rules! family {
    ($(#[$doc:meta])* $name:ident, $cell:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub(crate) Arc<Cells<$cell>>);

        impl $name {
            /// The cell of these label values, in the order in which the labels were declared.
            pub fn with(&self, values: &[&str]) -> $cell {
                self.0.with(values)
            }

            /// Forgets the cell of these label values; it starts anew when it is asked for again.
            pub fn remove(&self, values: &[&str]) {
                self.0.remove(values);
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0.labels).finish()
            }
        }
    };
}

family!(
    /// Counters that share a name and differ in labels.
    CounterFamily,
    Counter
);
family!(
    /// Gauges that share a name and differ in labels.
    GaugeFamily,
    Gauge
);
family!(
    /// Histograms that share a name and buckets and differ in labels.
    HistogramFamily,
    Histogram
);
