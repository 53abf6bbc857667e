//! What other sizes of the cache would miss: an estimate from a sample of keys.
//!
//! SHARDS (Waldspurger et al., FAST 2015) with a sample of fixed size. A key is in the sample if its hash is below a threshold,
//! which falls when the sample is full. For each use of a sampled key, the bytes of all sampled entries that were used since its last use,
//! divided by the share of keys that are sampled, are the *distance*: an LRU cache hits if entry and distance fit into it.

use super::buckets;
use pmem_core::sync::{Mutex, Rank};
use std::collections::BTreeMap;
use std::f64::consts::SQRT_2;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Keys in the sample.
const SAMPLE: usize = 8192;
/// Places in the order of use. When they run out, the gaps are closed.
const PLACES: usize = 4 * SAMPLE;
/// Distances up to 2^50 bytes.
const BUCKETS: usize = buckets::count(50);
/// Points on each side of the pool's size: two per doubling.
const STEPS: i32 = 12;
/// Tells the hashes of namespaces apart: an odd number with mixed bits.
const SPACES: u64 = 0xa076_1d64_78bd_642f;

/// One point of a curve of miss ratios.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MissRatio {
    /// A size of the pool in bytes.
    pub bytes: u64,
    /// How many of a million gets an LRU cache of that size would have missed.
    pub misses_per_million: u32,
}

/// 2 to the power of half of `step`, without the mathematics library, which the C library does not link.
fn doublings(step: i32) -> f64 {
    let whole = f64::from(1 << step.abs().div_euclid(2)) * if step % 2 == 0 { 1.0 } else { SQRT_2 };
    if step < 0 { 1.0 / whole } else { whole }
}

/// What an entry takes, with its header.
pub(crate) const fn entry_bytes(key_len: usize, value_len: usize) -> u64 {
    (key_len + value_len + 8).next_multiple_of(8) as u64
}

#[derive(Debug)]
pub(crate) struct Curve {
    /// Hashes from here on are not in the sample. Changed under the lock.
    threshold: AtomicU64,
    sample: Mutex<Sample>,
}

impl Curve {
    pub(crate) fn new() -> Curve {
        Curve {
            threshold: AtomicU64::new(u64::MAX),
            sample: Mutex::new(Rank::UNRANKED, Sample::new()),
        }
    }

    /// A get has found an entry that takes so many bytes, or nothing.
    #[inline]
    pub(crate) fn got(&self, space: usize, hash: u64, bytes: Option<u64>) {
        self.sampled(space, hash, |sample, hash| sample.use_key(space, hash, bytes));
    }

    /// An entry that takes so many bytes was put.
    #[inline]
    pub(crate) fn put(&self, space: usize, hash: u64, bytes: u64) {
        self.sampled(space, hash, |sample, hash| sample.place(space, hash, bytes));
    }

    /// A key was removed: its next get misses whatever the size.
    #[inline]
    pub(crate) fn removed(&self, space: usize, hash: u64) {
        self.sampled(space, hash, |sample, hash| _ = sample.take(hash));
    }

    /// All keys of some namespaces were removed.
    pub(crate) fn cleared(&self, is_cleared: impl Fn(usize) -> bool) {
        let mut sample = self.sample.lock();
        sample.entries.retain(|_, entry| !is_cleared(entry.space));
        sample.total = sample.entries.values().map(|entry| entry.bytes).sum();
        sample.close_gaps();
    }

    #[inline]
    fn sampled(&self, space: usize, hash: u64, act: impl FnOnce(&mut Sample, u64)) {
        // Equal keys of two namespaces are two keys.
        let hash = hash ^ (space as u64).wrapping_mul(SPACES);
        // Other bits than those by which shard and bucket are chosen.
        let hash = crate::policy::spread(hash);
        if hash < self.threshold.load(Relaxed) {
            self.in_sample(hash, act);
        }
    }

    #[cold]
    fn in_sample(&self, hash: u64, act: impl FnOnce(&mut Sample, u64)) {
        let mut sample = self.sample.lock();
        // It may have fallen meanwhile.
        if hash < sample.threshold {
            act(&mut sample, hash);
            sample.shrink();
            self.threshold.store(sample.threshold, Relaxed);
        }
    }

    /// The curve around a size, after so many gets.
    pub(crate) fn points(&self, pool: u64, gets: u64) -> Vec<MissRatio> {
        self.sample.lock().points(pool, gets)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    space: usize,
    place: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Sample {
    threshold: u64,
    /// By hash, so that the largest is found first when the threshold falls.
    entries: BTreeMap<u64, Entry>,
    /// Bytes by place in the order of use: a binary indexed tree.
    sums: Vec<u64>,
    next: usize,
    /// Bytes of all entries.
    total: u64,
    /// Uses by distance, each counted as often as it stands for others.
    uses: Vec<f64>,
    /// Uses that miss in a cache of any size.
    cold: f64,
}

impl Sample {
    fn new() -> Sample {
        Sample {
            threshold: u64::MAX,
            entries: BTreeMap::new(),
            sums: vec![0; PLACES + 1],
            next: 0,
            total: 0,
            uses: vec![0.0; BUCKETS],
            cold: 0.0,
        }
    }

    /// How many keys one of the sample stands for.
    fn weight(&self) -> f64 {
        u64::MAX as f64 / self.threshold as f64
    }

    fn add(&mut self, place: usize, change: impl Fn(u64) -> u64) {
        let mut at = place + 1;
        while at <= PLACES {
            self.sums[at] = change(self.sums[at]);
            at += at & at.wrapping_neg();
        }
    }

    /// Bytes at this place and before.
    fn up_to(&self, place: usize) -> u64 {
        let (mut at, mut sum) = (place + 1, 0);
        while at > 0 {
            sum += self.sums[at];
            at &= at - 1;
        }
        sum
    }

    fn use_key(&mut self, space: usize, hash: u64, bytes: Option<u64>) {
        let weight = self.weight();
        match self.entries.get(&hash).copied() {
            Some(old) => {
                let bytes = bytes.unwrap_or(old.bytes);
                let between = self.total - self.up_to(old.place);
                let distance = (between as f64 * weight) as u64 + bytes;
                self.uses[buckets::of(distance).min(BUCKETS - 1)] += weight;
                self.place(space, hash, bytes);
            }
            None => {
                self.cold += weight;
                // What was not found has no size until it is put.
                if let Some(bytes) = bytes {
                    self.place(space, hash, bytes);
                }
            }
        }
    }

    /// Makes a key the one used last.
    fn place(&mut self, space: usize, hash: u64, bytes: u64) {
        self.take(hash);
        if self.next == PLACES {
            self.close_gaps();
        }
        let place = self.next;
        self.next += 1;
        self.entries.insert(hash, Entry { space, place, bytes });
        self.total += bytes;
        self.add(place, |sum| sum + bytes);
    }

    fn take(&mut self, hash: u64) -> Option<Entry> {
        let old = self.entries.remove(&hash)?;
        self.total -= old.bytes;
        self.add(old.place, |sum| sum - old.bytes);
        Some(old)
    }

    fn close_gaps(&mut self) {
        let mut order: Vec<(usize, u64)> =
            self.entries.iter().map(|(&hash, entry)| (entry.place, hash)).collect();
        order.sort_unstable();
        self.sums.fill(0);
        self.next = order.len();
        for (place, (_, hash)) in order.into_iter().enumerate() {
            let entry = self.entries.get_mut(&hash).expect("it was just listed");
            entry.place = place;
            let bytes = entry.bytes;
            self.add(place, |sum| sum + bytes);
        }
    }

    fn shrink(&mut self) {
        while self.entries.len() > SAMPLE {
            let (&largest, _) = self.entries.last_key_value().expect("there are some");
            self.take(largest);
            self.threshold = largest;
        }
    }

    fn points(&self, pool: u64, gets: u64) -> Vec<MissRatio> {
        // Popular keys that are in the sample, or are not, make it count too many uses or too few. Such uses have short
        // distances (the authors' correction).
        let missing = gets as f64 - self.cold - self.uses.iter().sum::<f64>();
        let point = |step| {
            let bytes = pool as f64 * doublings(step);
            let misses = 1.0 - (self.hits(bytes) + missing) / gets.max(1) as f64;
            let misses_per_million = (misses.clamp(0.0, 1.0) * 1e6).round() as u32;
            MissRatio { bytes: bytes as u64, misses_per_million }
        };
        (-STEPS..=STEPS).map(point).collect()
    }

    /// Uses with at most this distance.
    fn hits(&self, bytes: f64) -> f64 {
        let mut hits = 0.0;
        for (bucket, uses) in self.uses.iter().enumerate() {
            let (start, end) = (buckets::start(bucket) as f64, buckets::start(bucket + 1) as f64);
            hits += uses * ((bytes - start) / (end - start)).clamp(0.0, 1.0);
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While all keys are in the sample, distances are exact.
    #[test]
    fn distances_are_the_bytes_used_since() {
        let curve = Curve::new();
        let use_all = |keys: &[(u64, u64)]| {
            for &(hash, bytes) in keys {
                curve.got(0, hash, None);
                curve.put(0, hash, bytes);
            }
        };
        use_all(&[(1, 100), (2, 1000), (3, 10_000)]);
        let hits = |bytes: f64| curve.sample.lock().hits(bytes);
        let cold = || curve.sample.lock().cold;
        assert_eq!((cold(), hits(1e12)), (3.0, 0.0));
        // Its own bytes, and what came since. Buckets are an eighth wide.
        curve.got(0, 1, Some(100));
        assert_eq!((hits(11_100.0 * 0.85), hits(11_100.0 * 1.15)), (0.0, 1.0));
        curve.got(0, 2, Some(1000));
        assert_eq!((hits(11_100.0 * 0.85), hits(11_100.0 * 1.15)), (0.0, 2.0));
        curve.got(0, 2, Some(1000));
        assert_eq!((hits(1000.0 * 0.85), hits(1000.0 * 1.15)), (0.0, 1.0));
        curve.removed(0, 2);
        curve.got(0, 2, None);
        assert_eq!(cold(), 4.0);
        curve.cleared(|_| true);
        curve.got(0, 1, None);
        assert_eq!((cold(), hits(1e12)), (5.0, 3.0));
    }

    #[test]
    fn equal_keys_of_two_namespaces_are_two() {
        let curve = Curve::new();
        for (space, bytes) in [(0, 100), (1, 1000), (2, 10_000)] {
            curve.got(space, 7, None);
            curve.put(space, 7, bytes);
        }
        let state = || {
            let sample = curve.sample.lock();
            assert_eq!(sample.up_to(PLACES - 1), sample.total);
            (sample.cold, sample.hits(1e12), sample.total)
        };
        assert_eq!(state(), (3.0, 0.0, 11_100));
        curve.removed(2, 7);
        assert_eq!(state().2, 1100);
        curve.cleared(|space| space == 1);
        assert_eq!(state().2, 100);
        curve.got(0, 7, Some(100));
        assert_eq!(state(), (3.0, 1.0, 100), "the others stay");
        // At its own bytes: what was cleared is not between.
        assert_eq!(curve.sample.lock().hits(100.0 * 1.15), 1.0);
        curve.got(1, 7, None);
        assert_eq!(state(), (4.0, 1.0, 100), "and this one is gone");
    }

    #[test]
    fn a_loop_misses_until_it_fits() {
        const KEYS: u64 = if cfg!(miri) { 300 } else { 30_000 };
        const ROUNDS: u64 = 4;
        let curve = Curve::new();
        let hash = |key: u64| key.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        for n in 0..ROUNDS * KEYS {
            curve.got(0, hash(n % KEYS), None);
            curve.put(0, hash(n % KEYS), 64);
        }
        let sample = curve.sample.lock();
        assert!(sample.entries.len() <= SAMPLE);
        assert_eq!(sample.total, sample.entries.len() as u64 * 64);
        assert_eq!(sample.up_to(PLACES - 1), sample.total);
        drop(sample);
        for point in curve.points(KEYS * 64, ROUNDS * KEYS) {
            let expected = if point.bytes > KEYS * 64 * 5 / 4 {
                1e6 / ROUNDS as f64
            } else if point.bytes < KEYS * 64 * 4 / 5 {
                1e6
            } else {
                continue;
            };
            let error = f64::from(point.misses_per_million) - expected;
            assert!(error.abs() < 15_000.0, "{point:?} where {expected} was expected");
        }
    }
}
