//! Memory of keys that were evicted, and of when: 2 bytes per ghost.
//!
//! A table of buckets with eight places each. A place holds eleven bits of the key's hash and, in five bits, the slice of
//! time in which the key left. A full bucket loses its oldest ghost. That a foreign key is taken for a ghost happens about
//! once in 250 times, which costs a misplaced entry, no more.
//!
//! Time is counted in ticks, whose meaning is the caller's. Ghosts older than the *reach* are forgotten: each tick
//! looks over a bucket or more, so that slices are not mistaken when their numbers come round.

const PLACES: usize = 8;
const FINGERPRINT_BITS: u32 = 11;
const SLICES: u32 = 1 << (16 - FINGERPRINT_BITS);
/// Slices within the reach. The others are the time in which every bucket is looked over.
const REACH_SLICES: u32 = SLICES - 4;

/// The low bits of 0 are no fingerprint, so that 0 is an empty place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(u16);

const EMPTY: Place = Place(0);

impl Place {
    fn new(fingerprint: u16, slice: u32) -> Self {
        Self(fingerprint | ((slice % SLICES) as u16) << FINGERPRINT_BITS)
    }

    fn fingerprint(self) -> u16 {
        self.0 & ((1 << FINGERPRINT_BITS) - 1)
    }

    fn age(self, now: u32) -> u32 {
        now.wrapping_sub(u32::from(self.0 >> FINGERPRINT_BITS)) % SLICES
    }
}

pub(super) struct Ghosts {
    buckets: Vec<[Place; PLACES]>,
    /// The present slice and the ticks gone in it.
    slice: u32,
    ticks: u32,
    ticks_per_slice: u32,
    /// The bucket to be looked over next.
    sweep: usize,
    /// For how many entries the table was made.
    made_for: usize,
}

impl Ghosts {
    pub(super) const fn new() -> Self {
        Self { buckets: Vec::new(), slice: 0, ticks: 0, ticks_per_slice: 1, sweep: 0, made_for: 0 }
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
        // Not `vec![]`: its memory may come from calloc, and what counts memory here counts malloc.
        self.buckets.reserve_exact(count);
        self.buckets.resize(count, [EMPTY; PLACES]);
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
        // All buckets within three slices.
        let count = self.buckets.len();
        for _ in 0..count.div_ceil(3 * self.ticks_per_slice as usize) {
            for place in &mut self.buckets[self.sweep] {
                if place.age(self.slice) > REACH_SLICES {
                    *place = EMPTY;
                }
            }
            self.sweep = if self.sweep + 1 == count { 0 } else { self.sweep + 1 };
        }
    }

    /// Remembers a key that leaves.
    pub(super) fn put(&mut self, hash: u64) {
        if self.buckets.is_empty() {
            return;
        }
        let (bucket, fingerprint) = self.locate(hash);
        let now = self.slice;
        let rank = |place: &Place| if *place == EMPTY { SLICES } else { place.age(now) };
        let oldest = self.buckets[bucket].iter_mut().max_by_key(|place| rank(place));
        *oldest.expect("a bucket has places") = Place::new(fingerprint, now);
    }

    /// Forgets a key, and returns the time since it left, in ticks; none if it is not known.
    pub(super) fn take(&mut self, hash: u64) -> Option<u32> {
        if self.buckets.is_empty() {
            return None;
        }
        let (bucket, fingerprint) = self.locate(hash);
        let now = self.slice;
        let same = |place: &&mut Place| place.fingerprint() == fingerprint;
        let place = self.buckets[bucket].iter_mut().filter(same).min_by_key(|p| p.age(now))?;
        let age = place.age(now);
        *place = EMPTY;
        // It left in the middle of its slice, on the average.
        let since = age * self.ticks_per_slice + self.ticks;
        (age <= REACH_SLICES).then(|| since.saturating_sub(self.ticks_per_slice / 2))
    }

    pub(super) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<[Place; PLACES]>()
    }
}

impl std::fmt::Debug for Ghosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ghosts").field("buckets", &self.buckets.len()).finish_non_exhaustive()
    }
}
