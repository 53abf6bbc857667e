//! Memory of keys that were evicted, and of when: 2 bytes per ghost.
//!
//! A table of buckets with eight places each. A place holds eleven bits of the key's hash and, in five bits, the slice of
//! time in which the key left. A full bucket loses its oldest ghost. That a foreign key is taken for a ghost happens about
//! once in 250 times, which costs a misplaced entry, no more.
//!
//! Time is counted in ticks, whose meaning is the caller's. Ghosts older than the *reach* are forgotten: each tick
//! looks over a bucket or more, so that slices are not mistaken when their numbers come round.

use crate::fetch;

const PLACES: usize = 8;
const FINGERPRINT_BITS: u32 = 11;
const SLICES: u32 = 1 << (16 - FINGERPRINT_BITS);
/// Slices within the reach. The others are the time in which every bucket is looked over.
const REACH_SLICES: u32 = SLICES - SWEEP_SLICES - 1;
const SWEEP_SLICES: u32 = 5;

/// The places of a bucket: the fingerprint in the low bits, the slice in the high ones. The fingerprint 0 is never
/// used, so that 0 is an empty place.
///
/// The loops have no branches and no early ends, and their numbers are signed where SSE2 wants them so: they become a few
/// vector instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(16))]
struct Bucket([u16; PLACES]);

fn fingerprint(place: u16) -> u16 {
    place & ((1 << FINGERPRINT_BITS) - 1)
}

fn age(place: u16, now: u16) -> u16 {
    now.wrapping_sub(place >> FINGERPRINT_BITS) % SLICES as u16
}

impl Bucket {
    const EMPTY: Self = Self([0; PLACES]);

    /// Empties places that are older than the reach.
    fn sweep(&mut self, now: u16) {
        for place in &mut self.0 {
            let keep = age(*place, now) <= REACH_SLICES as u16;
            *place = if keep { *place } else { 0 };
        }
    }

    /// The place to put a ghost: an empty one, or else the oldest.
    #[inline]
    fn oldest(&self, now: u16) -> usize {
        let mut best = 0;
        for (i, &place) in self.0.iter().enumerate() {
            let rank = if place == 0 { SLICES as u16 } else { age(place, now) };
            best = best.max((rank << 3 | i as u16) as i16);
        }
        best as usize % PLACES
    }

    /// The youngest ghost of this fingerprint, and its age.
    #[inline]
    fn find(&self, wanted: u16, now: u16) -> Option<(usize, u16)> {
        let mut best = i16::MAX;
        for (i, &place) in self.0.iter().enumerate() {
            let rank = (age(place, now) << 3 | i as u16) as i16;
            best = best.min(if fingerprint(place) == wanted { rank } else { i16::MAX });
        }
        (best != i16::MAX).then_some((best as usize % PLACES, best as u16 >> 3))
    }
}

const _: () = assert!(PLACES == 8, "three bits hold the number of a place");

pub(super) struct Ghosts {
    buckets: Vec<Bucket>,
    /// The present slice and the ticks gone in it.
    slice: u32,
    ticks: u32,
    ticks_per_slice: u32,
    /// The bucket to be looked over next, and how many are in each tick: all within the slices for it.
    sweep: usize,
    sweeps_per_tick: usize,
    /// For how many entries the table was made.
    made_for: usize,
}

impl Ghosts {
    pub(super) const fn new() -> Self {
        Self {
            buckets: Vec::new(),
            slice: 0,
            ticks: 0,
            ticks_per_slice: 1,
            sweep: 0,
            sweeps_per_tick: 0,
            made_for: 0,
        }
    }

    /// Makes the table for a cache that holds `entries`: `places` ghosts, forgotten after `reach` ticks. Nothing happens
    /// while the number of entries has not changed much; when it has, the ghosts are lost.
    pub(super) fn fit(&mut self, entries: usize, sizes: impl FnOnce(usize) -> (usize, usize)) {
        if entries <= self.made_for + self.made_for / 8 && entries >= self.made_for / 2 {
            return;
        }
        let (places, reach) = sizes(entries);
        *self = Self::new();
        self.made_for = entries;
        self.ticks_per_slice = (reach as u32).div_ceil(REACH_SLICES).max(1);
        let count = places.div_ceil(PLACES).max(1);
        self.sweeps_per_tick = count.div_ceil((SWEEP_SLICES * self.ticks_per_slice) as usize);
        // Not `vec![]`: its memory may come from calloc, and what counts memory here counts malloc.
        self.buckets.reserve_exact(count);
        self.buckets.resize(count, Bucket::EMPTY);
    }

    fn locate(&self, hash: u64) -> (usize, u16) {
        let bucket = ((hash >> 32) * self.buckets.len() as u64) >> 32;
        let fingerprint = (hash & ((1 << FINGERPRINT_BITS) - 1)) as u16;
        (bucket as usize, fingerprint.max(1))
    }

    /// Time goes on by one.
    pub(super) fn tick(&mut self) {
        if self.buckets.is_empty() {
            return;
        }
        self.ticks += 1;
        if self.ticks == self.ticks_per_slice {
            self.ticks = 0;
            self.slice = self.slice.wrapping_add(1);
        }
        let now = self.now();
        for _ in 0..self.sweeps_per_tick {
            self.buckets[self.sweep].sweep(now);
            self.sweep = if self.sweep + 1 == self.buckets.len() { 0 } else { self.sweep + 1 };
        }
    }

    fn now(&self) -> u16 {
        (self.slice % SLICES) as u16
    }

    /// Fetches what [`put`](Self::put) and [`take`](Self::take) need of a key.
    #[inline]
    pub(super) fn expect(&self, hash: u64) {
        let (bucket, _) = self.locate(hash);
        fetch::line_for_writing(self.buckets.as_ptr().wrapping_add(bucket).cast());
    }

    /// Remembers a key that leaves.
    pub(super) fn put(&mut self, hash: u64) {
        if self.buckets.is_empty() {
            return;
        }
        let (bucket, fingerprint) = self.locate(hash);
        let now = self.now();
        let bucket = &mut self.buckets[bucket];
        bucket.0[bucket.oldest(now)] = fingerprint | now << FINGERPRINT_BITS;
    }

    /// Forgets a key, and returns the time since it left, in ticks; none if it is not known.
    pub(super) fn take(&mut self, hash: u64) -> Option<u32> {
        if self.buckets.is_empty() {
            return None;
        }
        let (bucket, fingerprint) = self.locate(hash);
        let bucket = &mut self.buckets[bucket];
        let (place, age) = bucket.find(fingerprint, (self.slice % SLICES) as u16)?;
        bucket.0[place] = 0;
        // It left in the middle of its slice, on the average.
        let since = u32::from(age) * self.ticks_per_slice + self.ticks;
        let known = u32::from(age) <= REACH_SLICES;
        known.then(|| since.saturating_sub(self.ticks_per_slice / 2))
    }

    pub(super) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

impl std::fmt::Debug for Ghosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ghosts").field("buckets", &self.buckets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::spread;

    fn ghosts(places: usize, reach: usize) -> Ghosts {
        let mut ghosts = Ghosts::new();
        ghosts.fit(places, |entries| (entries, reach));
        ghosts
    }

    #[test]
    fn a_ghost_is_known_within_the_reach_and_tells_its_age() {
        for wanted in [10, 100, 5000] {
            let mut ghosts = ghosts(4096, wanted);
            // Whole slices, so it may be more than what was asked for.
            let slice = ghosts.ticks_per_slice;
            let reach = slice * REACH_SLICES;
            assert!(reach >= wanted as u32);
            for away in (0..3 * reach).step_by(wanted / 10) {
                let hash = spread(u64::from(away));
                ghosts.put(hash);
                (0..away).for_each(|_| ghosts.tick());
                let seen = ghosts.take(hash);
                if away <= reach - slice {
                    let seen = seen.expect("a ghost within the reach");
                    assert!(seen.abs_diff(away) <= slice, "{seen} for {away}, reach {reach}");
                } else if away > reach + slice {
                    assert_eq!(seen, None, "{away}, reach {reach}");
                }
                assert_eq!(ghosts.take(hash), None, "taken twice");
            }
        }
    }

    #[test]
    fn a_full_table_keeps_the_youngest() {
        let mut ghosts = ghosts(1000, 1_000_000);
        for key in 0..10_000 {
            ghosts.put(spread(key));
            ghosts.tick();
        }
        let known = |keys: std::ops::Range<u64>, ghosts: &mut Ghosts| {
            keys.filter(|&key| ghosts.take(spread(key)).is_some()).count()
        };
        // Slices are longer than all this, so which one of a bucket goes is a matter of its place.
        let all = known(0..10_000, &mut ghosts);
        assert!((950..1200).contains(&all), "{all} of 1000 places");
    }

    #[test]
    fn foreign_keys_are_rarely_taken_for_ghosts() {
        let mut ghosts = ghosts(8192, 100_000);
        (0..20_000).for_each(|key| ghosts.put(spread(key)));
        let wrong =
            (1 << 40..(1 << 40) + 20_000u64).filter(|&key| ghosts.take(spread(key)).is_some());
        let wrong = wrong.count();
        assert!(wrong < 160, "{wrong} of 20000");
    }
}
