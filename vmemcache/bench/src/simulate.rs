//! A policy alone, without values and threads: hit ratios as fast as they can be had.

use std::sync::atomic::AtomicU8;

use vmemcache::policy::{AnyPolicy, Entries, Kind, Policy, Token, touch};

use crate::random::mix;
use crate::trace::{Operation, Request, Trace};

/// The result of a simulation.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Counts {
    /// Gets that found their key.
    pub hits: u64,
    /// Gets.
    pub gets: u64,
    /// Entries that the policy chose to leave.
    pub evictions: u64,
    /// DRAM in bytes of the policy at the end, with one byte of mark per entry.
    pub policy_bytes: usize,
    /// Entries at the end.
    pub entries: usize,
}

impl Counts {
    /// Hits in a hundred gets.
    pub fn hit_percent(&self) -> f64 {
        if self.gets == 0 { 0.0 } else { 100.0 * self.hits as f64 / self.gets as f64 }
    }

    fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.gets += other.gets;
        self.evictions += other.evictions;
        self.policy_bytes += other.policy_bytes;
        self.entries += other.entries;
    }
}

/// The entries of a shard. Sizes are those of the requests; an entry without size counts as one.
struct Slab {
    marks: Vec<AtomicU8>,
    sizes: Vec<u32>,
    keys: Vec<u32>,
}

impl Entries for Slab {
    fn mark(&self, token: Token) -> &AtomicU8 {
        &self.marks[token.index() as usize]
    }

    fn bytes(&self, token: Token) -> u64 {
        u64::from(self.sizes[token.index() as usize])
    }

    fn hash(&self, token: Token) -> u64 {
        key_hash(self.keys[token.index() as usize])
    }
}

fn key_hash(key: u32) -> u64 {
    mix(u64::from(key) + 0x5851_f42d_4c95_7f2d)
}

/// One shard of a simulated cache.
pub struct Shard {
    policy: AnyPolicy,
    slab: Slab,
    free: Vec<Token>,
    used: u64,
    capacity: u64,
    counts: Counts,
}

impl Shard {
    fn new(kind: Kind, capacity: u64) -> Self {
        let slab = Slab { marks: Vec::new(), sizes: Vec::new(), keys: Vec::new() };
        let policy = kind.build(capacity);
        Self { policy, slab, free: Vec::new(), used: 0, capacity, counts: Counts::default() }
    }

    fn request(&mut self, request: &Request, places: &mut [Option<Token>]) {
        let key = request.key as usize;
        self.counts.gets += u64::from(request.operation == Operation::Get);
        if let Some(token) = places[key] {
            if request.operation == Operation::Get {
                self.counts.hits += 1;
                if touch(self.slab.mark(token), self.policy.mark_max()) {
                    self.policy.hit(token, &self.slab);
                }
                return;
            }
            self.policy.remove(token, &self.slab);
            self.forget(token, places);
        }
        let size = request.size.max(1);
        if request.operation == Operation::Delete || u64::from(size) > self.capacity {
            return;
        }
        while self.used + u64::from(size) > self.capacity {
            let victim = self.policy.victim(&self.slab, |_| true);
            self.forget(victim.expect("a full cache has a victim"), places);
            self.counts.evictions += 1;
        }
        let token = self.free.pop().unwrap_or_else(|| {
            self.slab.marks.push(AtomicU8::new(0));
            self.slab.sizes.push(0);
            self.slab.keys.push(0);
            Token::new(self.slab.keys.len() as u32 - 1)
        });
        self.slab.keys[token.index() as usize] = request.key;
        self.slab.sizes[token.index() as usize] = size;
        self.used += u64::from(size);
        places[key] = Some(token);
        self.policy.insert(token, &self.slab);
    }

    fn forget(&mut self, token: Token, places: &mut [Option<Token>]) {
        let index = token.index() as usize;
        self.used -= u64::from(self.slab.sizes[index]);
        places[self.slab.keys[index] as usize] = None;
        self.free.push(token);
    }
}

/// A cache of some shards, among which keys are spread by their hashes.
pub struct Simulation {
    shards: Vec<Shard>,
    places: Vec<Option<Token>>,
}

impl Simulation {
    /// A cache for up to `keys` keys. The capacity is in bytes, or in entries if the requests have no sizes.
    ///
    /// # Panics
    /// If there is to be no shard.
    pub fn new(kind: Kind, capacity: u64, shards: usize, keys: u32) -> Self {
        assert!(shards > 0, "a cache has at least one shard");
        let count = shards as u64;
        let share = |i: u64| capacity * (i + 1) / count - capacity * i / count;
        let shards = (0..count).map(|i| Shard::new(kind, share(i))).collect();
        Self { shards, places: vec![None; keys as usize] }
    }

    /// Makes a request.
    pub fn request(&mut self, request: &Request) {
        let count = self.shards.len() as u64;
        let shard = ((key_hash(request.key) >> 32) * count) >> 32;
        self.shards[shard as usize].request(request, &mut self.places);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for shard in &self.shards {
            let entries = shard.policy.len();
            let policy_bytes = shard.policy.memory() + entries;
            sum.add(&Counts { policy_bytes, entries, ..shard.counts });
        }
        sum
    }
}

/// Runs a whole trace.
pub fn simulate(trace: &Trace, kind: Kind, capacity: u64, shards: usize) -> Counts {
    let mut simulation = Simulation::new(kind, capacity, shards, trace.keys);
    for request in &trace.requests {
        simulation.request(request);
    }
    simulation.counts()
}
