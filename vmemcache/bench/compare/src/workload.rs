//! What is asked of the caches.

use std::time::Duration;

use vmemcache_bench::distribution::Zipf;
use vmemcache_bench::random::{Random, mix};
use vmemcache_bench::replay::thread_cpu;

use crate::peer::{Peer, VALUE_BYTES};

/// A workload: its cache, and the requests of one round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Workload {
    /// Gets of 100000 keys that are all there, zipf 0.99
    Hit,
    /// Puts of new keys into a full cache of 50000
    Put,
    /// Zipf 0.9 over a million keys with room for 50000: a get, and a put if it misses
    Churn,
}

/// The requests of one thread.
pub struct Requests(Vec<u64>);

/// What one thread has done.
#[derive(Clone, Copy, Default)]
pub struct Done {
    /// Processor time.
    pub cpu: Duration,
    /// Gets that hit.
    pub hits: u64,
}

impl Workload {
    /// Entries that the cache has room for.
    pub fn room(self) -> usize {
        match self {
            // Caches that are split into parts must hold all keys in spite of chance.
            Self::Hit => 150_000,
            Self::Put | Self::Churn => 50_000,
        }
    }

    /// Brings a cache into the state in which it is measured.
    pub fn prepare(self, peer: &dyn Peer) {
        let value = [7; VALUE_BYTES];
        match self {
            Self::Hit => (0..100_000).for_each(|key| peer.put(mix(key), &value)),
            Self::Put => (0..100_000).for_each(|key| peer.put(mix(u64::MAX - key), &value)),
            Self::Churn => {
                // Several times what it takes to fill the cache.
                let requests = self.requests(0, 0, 600_000);
                self.run(peer, &requests);
            }
        }
    }

    /// The requests of a thread in a round.
    pub fn requests(self, round: u64, thread: u64, count: usize) -> Requests {
        let mut random = Random::new(mix(round * 1000 + thread + 1));
        let zipf = match self {
            Self::Hit => Zipf::new(100_000, 0.99),
            _ => Zipf::new(1_000_000, 0.9),
        };
        let first = (round * 100 + thread) << 32;
        let key = |i: u64, random: &mut Random| match self {
            Self::Put => first + i,
            _ => zipf.draw(random),
        };
        Requests((0..count as u64).map(|i| mix(key(i, &mut random))).collect())
    }

    /// Makes the requests.
    pub fn run(self, peer: &dyn Peer, requests: &Requests) -> Done {
        let value = [7; VALUE_BYTES];
        let start = thread_cpu();
        let mut hits = 0;
        for &key in &requests.0 {
            let hit = self != Self::Put && peer.get(key);
            hits += u64::from(hit);
            if !hit && self != Self::Hit {
                peer.put(key, &value);
            }
        }
        Done { cpu: thread_cpu().saturating_sub(start), hits }
    }
}
