//! The values behind one set of labels: counters, gauges and histograms made of atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, by: f64) {
        add_float(&self.0, by);
    }

    /// The present value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Adds one until the returned guard is dropped: for things in flight.
    pub fn track(&self) -> InFlight {
        self.add(1.0);
        InFlight(self.clone())
    }
}

/// Takes its one away from the gauge again when dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

/// Counts observations by size.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper limits, ascending, without the infinite one.
    limits: Arc<[f64]>,
    /// One more than `limits`; not cumulative.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(limits: Arc<[f64]>) -> Histogram {
        let counts = (0..=limits.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Buckets { limits, counts, sum: AtomicU64::new(0) }))
    }

    /// Records one observation, in the unit of the metric's name.
    pub fn observe(&self, value: f64) {
        let bucket = self.0.limits.partition_point(|limit| *limit < value);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        // Much of what is waited for is there already: what takes no time needs no addition.
        if value != 0.0 {
            add_float(&self.0.sum, value);
        }
    }

    /// Records a duration in seconds.
    pub fn observe_duration(&self, value: Duration) {
        self.observe(value.as_secs_f64());
    }

    /// Records the seconds since `start`.
    pub fn observe_since(&self, start: Instant) {
        self.observe_duration(start.elapsed());
    }

    /// The observations so far, as (upper limit, how many were at most that), their count and their sum.
    pub fn snapshot(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut count = 0;
        let limits = self.0.limits.iter().copied().chain([f64::INFINITY]);
        let buckets = limits
            .zip(&self.0.counts)
            .map(|(limit, bucket)| {
                count += bucket.load(Ordering::Relaxed);
                (limit, count)
            })
            .collect();
        (buckets, count, f64::from_bits(self.0.sum.load(Ordering::Relaxed)))
    }
}

fn add_float(cell: &AtomicU64, by: f64) {
    let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
    // The closure never returns None, so the update always succeeds.
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_belongs_to_its_own_bucket() {
        let histogram = Histogram::new(Arc::from([1.0, 2.0]));
        for value in [0.5, 1.0, 1.5, 2.5] {
            histogram.observe(value);
        }
        let (buckets, count, sum) = histogram.snapshot();
        assert_eq!(buckets, [(1.0, 2), (2.0, 3), (f64::INFINITY, 4)]);
        assert_eq!((count, sum), (4, 5.5));
    }

    #[test]
    fn in_flight_returns_to_zero() {
        let gauge = Gauge::default();
        let one = gauge.track();
        assert_eq!(gauge.get(), 1.0);
        drop(one);
        assert_eq!(gauge.get(), 0.0);
    }
}
