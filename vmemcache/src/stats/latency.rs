//! How long operations take. Each thread has histograms of its own; nobody else stores into them.

use super::buckets;
use crate::arena::{Array, Zeroed};
use crate::error::Error;
use crate::protect::{self, BLOCKS};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Longer times, from 2^36 ns (69 s) on, are in the last bucket.
const BUCKETS: usize = buckets::count(36);

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timed {
    Get,
    Put,
    Evict,
}

const KINDS: usize = 3;

#[derive(Debug)]
struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

/// What one thread measures.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe([Histogram; KINDS]);

// SAFETY: atomics of plain numbers.
unsafe impl Zeroed for Stripe {}

/// Histograms of all threads; the last ones are for threads beyond those that have a number.
#[derive(Debug)]
pub(crate) struct Stopwatch(Array<Stripe>);

impl Stopwatch {
    pub(crate) fn new() -> Result<Stopwatch, Error> {
        Array::new(BLOCKS + 1).map(Stopwatch)
    }

    fn record(&self, what: Timed, nanos: u64) {
        let bucket = buckets::of(nanos).min(BUCKETS - 1);
        match protect::block() {
            Some(block) => {
                let Histogram { counts, sum, max } = &self.0[block.index()].0[what as usize];
                let add = |to: &AtomicU64, n| to.store(to.load(Relaxed).wrapping_add(n), Relaxed);
                add(&counts[bucket], 1);
                add(sum, nanos);
                if nanos > max.load(Relaxed) {
                    max.store(nanos, Relaxed);
                }
            }
            None => {
                let Histogram { counts, sum, max } = &self.0[BLOCKS].0[what as usize];
                counts[bucket].fetch_add(1, Relaxed);
                sum.fetch_add(nanos, Relaxed);
                max.fetch_max(nanos, Relaxed);
            }
        }
    }

    fn sum(&self, what: Timed) -> Latency {
        let (mut counts, mut sum_ns, mut max_ns) = ([0; BUCKETS], 0u64, 0);
        for stripe in self.0[..protect::used()].iter().chain(&self.0[BLOCKS..]) {
            let histogram = &stripe.0[what as usize];
            for (count, more) in counts.iter_mut().zip(&histogram.counts) {
                *count += more.load(Relaxed);
            }
            sum_ns = sum_ns.wrapping_add(histogram.sum.load(Relaxed));
            max_ns = max_ns.max(histogram.max.load(Relaxed));
        }
        let count = counts.iter().sum();
        let quantile = |part: u64, of: u64| quantile(&counts, count, part, of).min(max_ns);
        Latency {
            count,
            sum_ns,
            p50_ns: quantile(1, 2),
            p90_ns: quantile(9, 10),
            p99_ns: quantile(99, 100),
            p999_ns: quantile(999, 1000),
            max_ns,
        }
    }

    pub(crate) fn snapshot(&self) -> Latencies {
        Latencies {
            get: self.sum(Timed::Get),
            put: self.sum(Timed::Put),
            evict: self.sum(Timed::Evict),
        }
    }
}

/// The largest value of the bucket in which `part` of `of` parts of all values are reached.
fn quantile(counts: &[u64; BUCKETS], count: u64, part: u64, of: u64) -> u64 {
    let rank = (count * part).div_ceil(of).max(1);
    let mut below = 0;
    for (bucket, here) in counts.iter().enumerate() {
        below += here;
        if below >= rank {
            return buckets::start(bucket + 1) - 1;
        }
    }
    0
}

/// Measures until it is dropped.
#[derive(Debug)]
pub(crate) struct Timer<'l>(Option<(&'l Stopwatch, Timed, Instant)>);

impl<'l> Timer<'l> {
    /// Does nothing without a stopwatch.
    #[inline]
    pub(crate) fn start(stopwatch: Option<&'l Stopwatch>, what: Timed) -> Timer<'l> {
        Timer(stopwatch.map(|stopwatch| (stopwatch, what, Instant::now())))
    }
}

impl Timer<'_> {
    /// There was nothing to measure.
    pub(crate) fn cancel(&mut self) {
        self.0 = None;
    }
}

impl Drop for Timer<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some((stopwatch, what, start)) = self.0 {
            stopwatch.record(what, start.elapsed().as_nanos() as u64);
        }
    }
}

/// How long one kind of operation took, in nanoseconds. Percentiles are at most an eighth too large, never too small
/// (but those of 69 seconds and more are all the same).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Latency {
    /// Operations.
    pub count: u64,
    /// All of them together.
    pub sum_ns: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 90 % took no longer.
    pub p90_ns: u64,
    /// 99 % took no longer.
    pub p99_ns: u64,
    /// 99.9 % took no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// How long operations took since the cache was made; see [`Builder::latencies`](crate::Builder::latencies).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Latencies {
    /// Gets and reads from call to return, with what a listener does about a miss.
    pub get: Latency,
    /// Puts of all kinds from call to return, with the evictions for them and what a listener does about those. Computing a
    /// value is not in it.
    pub put: Latency,
    /// The choice of an entry to evict and its removal, under the shard's lock. With a listener the choice only.
    pub evict: Latency,
}

impl Latencies {
    pub(super) fn by_name(&self) -> [(&'static str, Latency); KINDS] {
        [("get", self.get), ("put", self.put), ("evict", self.evict)]
    }
}

impl Latency {
    /// Quantile and nanoseconds.
    pub(super) fn quantiles(&self) -> [(&'static str, &'static str, u64); 4] {
        [
            ("p50", "0.5", self.p50_ns),
            ("p90", "0.9", self.p90_ns),
            ("p99", "0.99", self.p99_ns),
            ("p999", "0.999", self.p999_ns),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        let stopwatch = Stopwatch::new().unwrap();
        assert_eq!(stopwatch.snapshot(), Latencies::default());
        let mut all: Vec<u64> =
            (0..5000u64).map(|n| n * n * 37 % 1_000_003 + n / 4000 * 80_000_000_000).collect();
        std::thread::scope(|scope| {
            for part in all.chunks(1000) {
                let stopwatch = &stopwatch;
                scope.spawn(move || part.iter().for_each(|&n| stopwatch.record(Timed::Put, n)));
            }
        });
        all.sort_unstable();
        let seen = stopwatch.snapshot();
        assert_eq!((seen.get, seen.evict), Default::default());
        let put = seen.put;
        assert_eq!((put.count, put.sum_ns, put.max_ns), (5000, all.iter().sum(), all[4999]));
        let exact = all[2499];
        assert!(put.p50_ns >= exact && put.p50_ns <= exact + exact / 8, "{put:?} for {exact}");
        // A fifth lies beyond the last bucket.
        assert_eq!(put.p90_ns, buckets::start(BUCKETS) - 1);
        assert_eq!(put.p999_ns, put.p90_ns);
    }
}
