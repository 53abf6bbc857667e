//! From hashes to tokens: a table of cache lines that is read without a lock.
//!
//! ```text
//! bucket, 64 bytes:  10 tags of 16 bits | passed from home | passed later | 10 tokens of 32 bits
//! ```
//!
//! An entry is in its home bucket, or if that was full when it came, in a second one, or behind that. Each full bucket that
//! it had to pass counts it, in one of two counters; so a search ends at the first bucket that nobody passed in that way. Entries do not move while
//! they live, except when the whole table is built anew in the other area; readers then find the state word changed,
//! and look again before they say that something is missing.
//!
//! Of the hash 32 bits are kept: 16 in the tag, 16 in the slot. They suffice to build a table of any size without looking
//! at keys.

use crate::arena::{Array, Zeroed};
use crate::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::atomic::{AtomicU32, AtomicU64};
use crate::error::Error;
use crate::fetch;
use lanes::Lanes;

// By its path, which is then the same where the model checker includes this file.
#[path = "index/lanes.rs"]
mod lanes;

const LANES: usize = 10;
/// Where the third word counts who passed: from their home, and further on.
const PASSED_HOME: u32 = 32;
const PASSED_LATER: u32 = 48;
const PASSED_MAX: u64 = 0xffff;

const AREA: u64 = 1 << 63;

/// Per cent of the lanes that are filled before the table grows, and after. At 82 a hit looks at 1.4 buckets and a miss at
/// 2.4, however long entries have come and gone; at 90 a miss would look at fourteen.
const FULL: u64 = 84;
const AFTER_GROWTH: u64 = 81;

/// The part of a hash that the index uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key32(u32);

impl Key32 {
    /// Of all bits of a hash the upper ones; the lower ones choose shards.
    #[inline]
    pub(crate) const fn new(hash: u64) -> Key32 {
        Key32::join((hash >> 48) as u16, (hash >> 32) as u16)
    }

    #[inline]
    const fn join(upper: u16, tag: u16) -> Key32 {
        // Tag 0 is an empty lane.
        let tag = if tag == 0 { 1 } else { tag };
        Key32((upper as u32) << 16 | tag as u32)
    }

    /// What the slot keeps.
    #[inline]
    pub(crate) const fn upper(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    const fn tag(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    const fn home(self, buckets: u64) -> usize {
        ((self.0 as u64 * buckets) >> 32) as usize
    }

    /// The bucket to look at next, after `steps` others: the home, a second home that is elsewhere, and those behind it.
    #[inline]
    const fn next(self, buckets: u64, at: usize, steps: usize) -> usize {
        if steps == 1 {
            return ((self.0.wrapping_mul(0x9E37_79B1) as u64 * buckets) >> 32) as usize;
        }
        if at + 1 == buckets as usize { 0 } else { at + 1 }
    }
}

#[derive(Debug)]
#[cfg_attr(pmem_loom, derive(Default))]
#[repr(C, align(64))]
struct Bucket {
    tags: [AtomicU64; 3],
    tokens: [AtomicU32; LANES],
}

#[cfg(not(pmem_loom))]
const _: () = assert!(size_of::<Bucket>() == 64);

// SAFETY: atomics of plain numbers; all zero is an empty bucket.
unsafe impl Zeroed for Bucket {
    // The model checker's atomics are no plain numbers.
    #[cfg(pmem_loom)]
    fn clear(&self) {
        self.tags.iter().for_each(|word| word.store(0, Release));
        self.tokens.iter().for_each(|token| token.store(0, Release));
    }
}

impl Bucket {
    #[inline]
    fn word(&self, index: usize) -> u64 {
        self.tags[index].load(Acquire)
    }

    /// The words with the tags. The third one last: it says how the search goes on.
    #[inline]
    fn words(&self) -> [u64; 3] {
        [self.word(0), self.word(1), self.word(2)]
    }

    /// The lanes that hold `tag`.
    #[inline]
    fn lanes(&self, tag: u16) -> Lanes {
        Lanes::of(self.words(), tag)
    }

    fn set_tag(&self, lane: usize, tag: u16) {
        let (word, shift) = (self.word(lane / 4), lane % 4 * 16);
        let cleared = word & !(0xffff << shift);
        self.tags[lane / 4].store(cleared | u64::from(tag) << shift, Release);
    }

    /// Whether an entry is elsewhere that came by here in this step.
    #[inline]
    fn passed(&self, step: usize) -> bool {
        Self::was_passed(self.word(2), step)
    }

    /// The same by the third word.
    #[inline]
    const fn was_passed(third: u64, step: usize) -> bool {
        third >> Self::counter(step) & PASSED_MAX != 0
    }

    #[inline]
    const fn counter(step: usize) -> u32 {
        if step == 0 { PASSED_HOME } else { PASSED_LATER }
    }

    /// Puts a token into an empty lane. Under the lock.
    fn put(&self, tag: u16, token: u32) -> bool {
        let Some(lane) = self.lanes(0).next() else { return false };
        self.tokens[lane].store(token, Relaxed);
        self.set_tag(lane, tag);
        true
    }

    /// The number of empty lanes.
    fn room(&self) -> usize {
        self.lanes(0).count()
    }

    /// Empties the lane of a token. Under the lock.
    fn remove(&self, tag: u16, token: u32) -> bool {
        let here = |&lane: &usize| self.tokens[lane].load(Relaxed) == token;
        let Some(lane) = self.lanes(tag).find(here) else { return false };
        self.set_tag(lane, 0);
        true
    }

    /// Counts an entry that passes by, or one less.
    fn pass(&self, step: usize, comes: bool) {
        let (word, one) = (self.tags[2].load(Relaxed), 1 << Self::counter(step));
        self.tags[2].store(if comes { word + one } else { word - one }, Release);
    }
}

#[derive(Debug)]
pub(crate) struct Index {
    areas: [Array<Bucket>; 2],
    /// Number of buckets, and which area they are in.
    state: AtomicU64,
}

impl Index {
    /// An index that can grow up to `max` entries.
    pub(crate) fn new(max: u32) -> Result<Index, Error> {
        let buckets = Self::buckets_for(u64::from(max)) as usize + 1;
        let areas = [Array::new(buckets)?, Array::new(buckets)?];
        Ok(Index { areas, state: AtomicU64::new(1) })
    }

    #[cfg(all(test, not(pmem_loom)))]
    pub(crate) fn ranges(&self) -> [(std::ptr::NonNull<u8>, usize); 2] {
        [self.areas[0].range(), self.areas[1].range()]
    }

    const fn buckets_for(entries: u64) -> u64 {
        entries * 100 / (LANES as u64 * AFTER_GROWTH) + 1
    }

    #[inline]
    fn table(&self, state: u64) -> &[Bucket] {
        if state & AREA == 0 { &self.areas[0] } else { &self.areas[1] }
    }

    /// Looks at the tokens that may belong to a hash until `found` gives something. May run at any time.
    #[inline(always)]
    pub(crate) fn find<R>(&self, key: Key32, mut found: impl FnMut(u32) -> Option<R>) -> Option<R> {
        let mut state = self.state.load(Acquire);
        loop {
            let buckets = state & !AREA;
            let table = self.table(state);
            let (mut at, mut step) = (key.home(buckets), 0);
            loop {
                debug_assert!(at < table.len());
                // SAFETY: both homes and what is behind them are below the number of buckets, for which there is room.
                let bucket = unsafe { table.get_unchecked(at) };
                let words = bucket.words();
                for lane in Lanes::of(words, key.tag()) {
                    if let Some(result) = found(bucket.tokens[lane].load(Acquire)) {
                        return Some(result);
                    }
                }
                if !Bucket::was_passed(words[2], step) || step as u64 > buckets {
                    break;
                }
                step += 1;
                at = key.next(buckets, at, step);
            }
            let now = self.state.load(Acquire);
            if now == state {
                return None;
            }
            state = now;
        }
    }

    /// Brings the home bucket of a hash into the caches.
    #[inline]
    pub(crate) fn prefetch(&self, key: Key32) {
        let state = self.state.load(Relaxed);
        fetch::line_for_reading((&raw const self.table(state)[key.home(state & !AREA)]).cast());
    }

    /// Brings both homes of a hash into the caches, to be written.
    #[inline]
    pub(crate) fn prefetch_for_change(&self, key: Key32) {
        let state = self.state.load(Relaxed);
        let (table, buckets) = (self.table(state), state & !AREA);
        let home = key.home(buckets);
        fetch::line_for_writing((&raw const table[home]).cast());
        fetch::line_for_writing((&raw const table[key.next(buckets, home, 1)]).cast());
    }

    /// Adds an entry; there is [room](Self::is_full). Under the lock.
    pub(crate) fn insert(&self, key: Key32, token: u32) {
        let state = self.state.load(Relaxed);
        Self::insert_into(self.table(state), state & !AREA, key, token);
    }

    fn insert_into(table: &[Bucket], buckets: u64, key: Key32, token: u32) {
        let (mut at, mut steps) = (key.home(buckets), 0);
        // The last lane of a home is left to those who find their second home as full.
        let second = key.next(buckets, at, 1);
        let elsewhere = table[at].room() == 1 && table[second].room() > 1;
        while (steps == 0 && elsewhere) || !table[at].put(key.tag(), token) {
            table[at].pass(steps, true);
            steps += 1;
            at = key.next(buckets, at, steps);
        }
    }

    /// Removes an entry; false when it is not there. Under the lock.
    pub(crate) fn remove(&self, key: Key32, token: u32) -> bool {
        let state = self.state.load(Relaxed);
        let (table, buckets) = (self.table(state), state & !AREA);
        let (mut at, mut steps) = (key.home(buckets), 0);
        while !table[at].remove(key.tag(), token) {
            if !table[at].passed(steps) || steps > buckets as usize {
                return false;
            }
            steps += 1;
            at = key.next(buckets, at, steps);
        }
        // After the lane is empty: a reader must not stop before an entry that is still there.
        let mut passed = key.home(buckets);
        for step in 1..=steps {
            table[passed].pass(step - 1, false);
            passed = key.next(buckets, passed, step);
        }
        true
    }

    /// Whether it must [grow](Self::grow) before one more entry comes to `live` others.
    #[inline]
    pub(crate) fn is_full(&self, live: u32) -> bool {
        let lanes = (self.state.load(Relaxed) & !AREA) * LANES as u64;
        u64::from(live) * 100 >= lanes * FULL
    }

    /// Builds the table anew for `entries`. Under the lock. `upper` gives the upper hash of a token.
    pub(crate) fn grow(&self, entries: u64, upper: impl Fn(u32) -> Option<u16>) {
        let old = self.state.load(Relaxed);
        let area = (old & AREA) ^ AREA;
        let old_buckets = old & !AREA;
        let (table, old_table) = (self.table(area), self.table(old));
        let buckets = Self::buckets_for(entries).max(old_buckets + 1).min(table.len() as u64);
        for bucket in &old_table[..old_buckets as usize] {
            for lane in 0..LANES {
                let tag = (bucket.tags[lane / 4].load(Relaxed) >> (lane % 4 * 16)) as u16;
                if tag != 0 {
                    let token = bucket.tokens[lane].load(Relaxed);
                    if let Some(upper) = upper(token) {
                        Self::insert_into(table, buckets, Key32::join(upper, tag), token);
                    }
                }
            }
        }
        self.state.store(area | buckets, Release);
        // Readers of the old table see it as it was, or empty; then the state word tells them to look again.
        self.areas[usize::from(old & AREA != 0)].clear();
    }

    /// DRAM in bytes of the table in use.
    pub(crate) fn memory(&self) -> u64 {
        (self.state.load(Relaxed) & !AREA) * size_of::<Bucket>() as u64
    }
}

#[cfg(all(test, not(pmem_loom)))]
#[path = "index/tests.rs"]
mod tests;
