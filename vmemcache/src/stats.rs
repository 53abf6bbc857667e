//! Statistics: what is counted, and how without sharing.

mod buckets;
mod curve;
mod latency;
mod text;

pub use curve::MissRatio;
pub(crate) use curve::{Curve, entry_bytes};
pub use latency::{Latencies, Latency};
pub(crate) use latency::{Stopwatch, Timed, Timer};

use crate::arena::{Array, Zeroed};
use crate::error::Error;
use crate::events::Cause;
use crate::policy::Policy;
use crate::protect::{self, BLOCKS, Block};
use crate::shard::{Shard, State};
use crate::slab::Slab;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What measures a cache beside its counters, if asked to.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) stopwatch: Option<Arc<Stopwatch>>,
    pub(crate) curve: Option<Curve>,
}

/// What one thread counts. Two cache lines, because processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

// SAFETY: atomics of plain numbers.
unsafe impl Zeroed for Stripe {}

/// Hits and misses: each thread has counters of its own, and the last ones are for threads beyond.
#[derive(Debug)]
pub(crate) struct Counters(Array<Stripe>);

impl Counters {
    pub(crate) fn new() -> Result<Counters, Error> {
        Array::new(BLOCKS + 1).map(Counters)
    }

    #[inline]
    pub(crate) fn hit(&self, block: Option<&Block>) {
        self.count(block, |stripe| &stripe.hits);
    }

    #[inline]
    pub(crate) fn miss(&self) {
        self.count(protect::block(), |stripe| &stripe.misses);
    }

    #[inline]
    fn count(&self, block: Option<&Block>, which: impl Fn(&Stripe) -> &AtomicU64) {
        match block {
            Some(block) => {
                let counter = which(&self.0[block.index()]);
                counter.store(counter.load(Relaxed) + 1, Relaxed);
            }
            None => {
                which(&self.0[BLOCKS]).fetch_add(1, Relaxed);
            }
        }
    }

    /// Hits and misses of all threads.
    pub(crate) fn sum(&self) -> (u64, u64) {
        self.0.iter().fold((0, 0), |(hits, misses), stripe| {
            (hits + stripe.hits.load(Relaxed), misses + stripe.misses.load(Relaxed))
        })
    }
}

/// A snapshot of a cache's statistics. Exact when no other thread uses the cache.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Gets that found something.
    pub hits: u64,
    /// Gets that found nothing.
    pub misses: u64,
    /// Entries that came in.
    pub inserted: u64,
    /// Values that took the place of others.
    pub replaced: u64,
    /// Entries that left, and values that were replaced, by cause; see [`Stats::left`].
    pub left: [u64; Cause::COUNT],
    /// Entries now.
    pub entries: u64,
    /// Keys and values now, in bytes.
    pub payload_bytes: u64,
    /// What the entries take of the pool, in bytes: payload, headers, rounding.
    pub used_bytes: u64,
    /// What is free for entries, in bytes.
    pub free_bytes: u64,
    /// What entries that have left still take because somebody reads them, in bytes.
    pub pinned_bytes: u64,
    /// Separate free regions.
    pub free_regions: u64,
    /// The size of the pool in bytes.
    pub pool_bytes: u64,
    /// DRAM for entries in bytes: index, slots, order.
    pub metadata_bytes: u64,
    /// Values that were stored in several pieces.
    pub chained: u64,
    /// How old entries were lately when they were evicted for space: roughly what the cache's reach is. None before the first.
    ///
    /// The age counts from the last put of the key; with exact LRU from the last use, except hits on the newest entry; it is the policy's hearing of
    /// the use that counts, at most 128 uses later or at the next put. After a restart it
    /// counts from there. It is measured on up to 512 entries of each namespace in each shard, as a moving mean over about eight
    /// evictions of those, and the mean over these parts is given. So it is that of the past: it does not rise while nothing is evicted.
    pub tail_age: Option<Duration>,
    /// What an LRU cache of other sizes would have missed, by rising size, from a 64th of the pool's size to 64 times of it; empty unless
    /// [`Builder::miss_ratio_curve`](crate::Builder::miss_ratio_curve) asks for it.
    pub miss_ratio_curve: Vec<MissRatio>,
    /// How long operations took, if the cache measures it.
    pub latencies: Option<Box<Latencies>>,
}

impl Stats {
    /// Adds what a shard knows of one namespace.
    pub(crate) fn add(&mut self, shard: &Shard, state: &State, space: usize) {
        let (space, parts) = (&state.spaces[space], &shard.spaces[space]);
        self.inserted += space.counts.inserted;
        self.replaced += space.counts.replaced;
        self.chained += space.counts.chained;
        for (sum, count) in self.left.iter_mut().zip(space.counts.left) {
            *sum += count;
        }
        self.entries += u64::from(space.slab.live);
        self.payload_bytes += space.payload;
        self.used_bytes += space.units * shard.units.unit() as u64;
        self.metadata_bytes += Slab::memory(&space.slab)
            + parts.index.memory()
            + space.policy.as_ref().map_or(0, |policy| policy.memory() as u64);
    }

    /// Entries that left for this reason.
    pub fn left(&self, cause: Cause) -> u64 {
        self.left[cause as usize]
    }

    /// Entries that left, for whatever reason; values that were replaced do not count.
    pub fn evicted(&self) -> u64 {
        self.left.iter().sum::<u64>() - self.left(Cause::Replaced)
    }
}
