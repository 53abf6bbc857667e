//! The free space of one shard: best fit over blocks with immediate merging.
//!
//! Free blocks carry their links and lengths themselves, so that the heap needs no DRAM beyond the heads of its lists.
//! All methods that change something are called under the shard's lock.

mod bins;
mod resize;

use crate::block::{Header, Loc, Units, WORD};
use bins::Bins;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// How far a list of blocks of nearly the same size is searched.
const SEARCH: usize = 16;

#[derive(Debug)]
pub(crate) struct Heap {
    units: Units,
    /// Goes into the headers of free blocks.
    seed: u32,
    bins: Bins,
    /// The first block, and the sentinel behind the last one.
    first: Loc,
    end: Loc,
    /// Where blocks may go up to: the end, or less while the heap shrinks.
    limit: Loc,
    /// What lies beyond the limit and is in use no more: start and units.
    withheld: BTreeMap<Loc, u32>,
    free_units: u32,
    free_blocks: u32,
}

impl Heap {
    /// A heap over the units `first..end`, all free. The last one becomes a sentinel.
    ///
    /// # Safety
    /// The units can be read and written, and are the heap's alone.
    pub(crate) unsafe fn new(units: Units, seed: u32, first: Loc, end: Loc) -> Heap {
        // SAFETY: contract.
        let mut heap = unsafe { Heap::bare(units, seed, first, end) };
        // SAFETY: all units between are the heap's and unused.
        unsafe { heap.add_free(first, heap.end - first) };
        heap
    }

    /// As [`new`](Self::new), but what lies between is not looked at: the caller says with
    /// [`add_free`](Self::add_free) what is free.
    ///
    /// # Safety
    /// As `new`.
    pub(crate) unsafe fn bare(units: Units, seed: u32, first: Loc, end: Loc) -> Heap {
        debug_assert!(first > 0 && end - first >= 2);
        let heap = Heap {
            units,
            seed,
            bins: Bins::new(),
            first,
            end: end - 1,
            limit: end - 1,
            withheld: BTreeMap::new(),
            free_units: 0,
            free_blocks: 0,
        };
        // SAFETY: the heap's own.
        unsafe { units.set_header(heap.end, Header::part(1)) };
        heap
    }

    pub(crate) fn first(&self) -> Loc {
        self.first
    }

    /// Where the sentinel is.
    pub(crate) fn end(&self) -> Loc {
        self.end
    }

    /// All units that blocks can have.
    pub(crate) fn total_units(&self) -> u32 {
        self.limit - self.first
    }

    pub(crate) fn free_units(&self) -> u32 {
        self.free_units
    }

    /// The number of separate free regions.
    pub(crate) fn free_blocks(&self) -> u32 {
        self.free_blocks
    }

    /// A block of exactly `wanted` units. It is marked as a part.
    pub(crate) fn alloc(&mut self, wanted: u32) -> Option<Loc> {
        let loc = self.find(wanted)?;
        self.take(loc, wanted);
        Some(loc)
    }

    /// The block that [`alloc`](Self::alloc) would give next.
    pub(crate) fn next(&self, wanted: u32) -> Option<Loc> {
        self.find(wanted)
    }

    /// A block of at most `wanted` and at least `least` units: the largest there is.
    pub(crate) fn alloc_largest(&mut self, wanted: u32, least: u32) -> Option<(Loc, u32)> {
        let loc = self.bins.head(self.bins.last()?)?;
        // SAFETY: a free block is there.
        let units = unsafe { self.units.header(loc) }.units();
        if units < least {
            return None;
        }
        let taken = units.min(wanted);
        self.take(loc, taken);
        Some((loc, taken))
    }

    /// Whether [`alloc_largest`](Self::alloc_largest) would give at least this much.
    pub(crate) fn largest(&self) -> u32 {
        let head = self.bins.last().and_then(|bin| self.bins.head(bin));
        // SAFETY: a free block is there.
        head.map_or(0, |loc| unsafe { self.units.header(loc) }.units())
    }

    fn find(&self, wanted: u32) -> Option<Loc> {
        let bin = Bins::of(wanted);
        if !Bins::is_exact(bin) {
            let mut next = self.bins.head(bin);
            for _ in 0..SEARCH {
                let Some(loc) = next else { break };
                // SAFETY: a free block is there.
                if unsafe { self.units.header(loc) }.units() >= wanted {
                    return Some(loc);
                }
                next = self.links(loc).1;
            }
            return self.bins.head(self.bins.first_from(bin + 1)?);
        }
        self.bins.head(self.bins.first_from(bin)?)
    }

    /// Takes the first `wanted` units of the free block at `loc`.
    fn take(&mut self, loc: Loc, wanted: u32) {
        // SAFETY: a free block is there, with the block behind it; both change only under our lock.
        unsafe {
            let units = self.units.header(loc).units();
            self.unlink(loc, units);
            self.free_units -= units;
            self.free_blocks -= 1;
            if units > wanted {
                self.write_free(loc + wanted, units - wanted);
            } else {
                self.set_prev_free(loc + units, false);
            }
            self.units.set_header(loc, Header::part(wanted));
        }
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// A block in use of this many units starts at `loc`, and nobody looks at it any more.
    pub(crate) unsafe fn free(&mut self, loc: Loc, units: u32) {
        let (mut loc, mut units) = (loc, units);
        // SAFETY: the blocks before and behind are the heap's, and change only under our lock.
        unsafe {
            let next = self.units.header(loc + units);
            if next.is_free() {
                self.unlink(loc + units, next.units());
                self.free_units -= next.units();
                self.free_blocks -= 1;
                self.units.set_header(loc + units, Header(0));
                units += next.units();
            }
            if self.units.header(loc).prev_is_free() {
                let before = Header(self.last_word(loc).load(Relaxed)).units();
                // No entry may be found here after a crash.
                self.units.set_header(loc, Header(0));
                loc -= before;
                self.unlink(loc, before);
                self.free_units -= before;
                self.free_blocks -= 1;
                units += before;
            }
            if loc + units > self.limit {
                return self.withhold(loc, units);
            }
            self.write_free(loc, units);
        }
    }

    /// Makes unused units a free block. Its neighbours are in use.
    ///
    /// # Safety
    /// They are the heap's and belong to no block; behind them is a block or the sentinel.
    pub(crate) unsafe fn add_free(&mut self, loc: Loc, units: u32) {
        if units > 0 {
            // SAFETY: contract.
            unsafe { self.write_free(loc, units) };
        }
    }

    /// # Safety
    /// As [`add_free`](Self::add_free).
    unsafe fn write_free(&mut self, loc: Loc, units: u32) {
        // SAFETY: contract.
        unsafe {
            let header = Header::free(units, loc, self.seed);
            self.units.set_header(loc, header);
            self.last_word(loc + units).store(header.0, Relaxed);
            self.set_prev_free(loc + units, true);
        }
        self.free_units += units;
        self.free_blocks += 1;
        self.link(loc, units);
    }

    /// Whether a free block of this heap begins there, for memory of which nothing is known.
    ///
    /// # Safety
    /// The length of the header is more than 0 and ends inside the heap.
    pub(crate) unsafe fn is_free_block(&self, loc: Loc, header: Header) -> bool {
        let units = header.units();
        // SAFETY: contract.
        header == Header::free(units, loc, self.seed)
            && unsafe { self.last_word(loc + units) }.load(Relaxed) == header.0
    }

    /// The word before `loc`: the last one of the block before.
    ///
    /// # Safety
    /// There is a block before.
    unsafe fn last_word<'a>(&self, loc: Loc) -> &'a std::sync::atomic::AtomicU64 {
        // SAFETY: contract; a free block's last word is used as a word.
        unsafe { self.units.word(loc - 1, self.units.unit() / WORD - 1) }
    }

    /// # Safety
    /// A block or the sentinel is there.
    unsafe fn set_prev_free(&self, loc: Loc, free: bool) {
        // SAFETY: contract; headers change only under the lock.
        unsafe { self.units.set_header(loc, self.units.header(loc).with_prev_free(free)) };
    }

    /// Whether a free block of this size has room for links.
    fn is_linked(&self, units: u32) -> bool {
        self.units.bytes(units) >= 3 * WORD as u64
    }

    fn links(&self, loc: Loc) -> (Option<Loc>, Option<Loc>) {
        // SAFETY: called for free blocks in a list, which have the word.
        let word = unsafe { self.units.word(loc, 1) }.load(Relaxed);
        let some = |loc: Loc| (loc != 0).then_some(loc);
        (some(word as Loc), some((word >> 32) as Loc))
    }

    fn set_links(&self, loc: Loc, previous: Loc, next: Loc) {
        // SAFETY: as in `links`.
        unsafe { self.units.word(loc, 1) }
            .store(u64::from(previous) | u64::from(next) << 32, Relaxed);
    }

    fn link(&mut self, loc: Loc, units: u32) {
        if !self.is_linked(units) {
            return;
        }
        let bin = Bins::of(units);
        let head = self.bins.head(bin);
        if let Some(head) = head {
            let next = self.links(head).1.unwrap_or(0);
            self.set_links(head, loc, next);
        }
        self.set_links(loc, 0, head.unwrap_or(0));
        self.bins.set_head(bin, loc);
    }

    fn unlink(&mut self, loc: Loc, units: u32) {
        if !self.is_linked(units) {
            return;
        }
        let (previous, next) = self.links(loc);
        if let Some(next) = next {
            let after = self.links(next).1.unwrap_or(0);
            self.set_links(next, previous.unwrap_or(0), after);
        }
        match previous {
            Some(previous) => {
                let before = self.links(previous).0.unwrap_or(0);
                self.set_links(previous, before, next.unwrap_or(0));
            }
            None => self.bins.set_head(Bins::of(units), next.unwrap_or(0)),
        }
    }

    /// Walks all blocks: location, header, units. `units_of` knows the length of entries.
    pub(crate) fn walk(
        &self,
        mut visit: impl FnMut(Loc, Header, u32),
        units_of: impl Fn(Loc, Header) -> u32,
    ) {
        let mut loc = self.first;
        while loc < self.end {
            // SAFETY: blocks follow each other without gaps.
            let header = unsafe { self.units.header(loc) };
            let units = if header.is_entry() { units_of(loc, header) } else { header.units() };
            visit(loc, header, units);
            assert!(units > 0, "block without length at {loc}");
            loc += units;
        }
        assert_eq!(loc, self.end, "the last block ends at the sentinel");
    }

    /// Checks lists, counters and neighbours against a walk.
    ///
    /// # Panics
    /// When they do not agree.
    pub(crate) fn validate(&self, units_of: impl Fn(Loc, Header) -> u32) {
        let (mut free, mut blocks, mut linked) = (0, 0, 0);
        let mut previous_free = false;
        let mut withheld = self.withheld.clone();
        self.walk(
            |loc, header, units| {
                if let Some(known) = withheld.remove(&loc) {
                    assert!(header.is_part() && known == units && loc >= self.limit);
                }
                let is_linked = header.is_free() && self.is_linked(units);
                assert!(!is_linked || loc + units <= self.limit, "free beyond the limit: {loc}");
                assert_eq!(header.prev_is_free(), previous_free, "flag of the block at {loc}");
                assert!(!(header.is_free() && previous_free), "free neighbours at {loc}");
                previous_free = header.is_free();
                if header.is_free() {
                    free += units;
                    blocks += 1;
                    linked += usize::from(self.is_linked(units));
                    // SAFETY: the block before `loc + units` is free.
                    let last = unsafe { self.last_word(loc + units) }.load(Relaxed);
                    assert_eq!(last, header.0);
                }
            },
            units_of,
        );
        assert!(withheld.is_empty(), "withheld, but no block: {withheld:?}");
        assert_eq!((free, blocks), (self.free_units, self.free_blocks));
        let mut listed = 0;
        self.bins.each_head(|bin, head| {
            let (mut next, mut previous) = (Some(head), None);
            while let Some(loc) = next {
                // SAFETY: a free block is there.
                let header = unsafe { self.units.header(loc) };
                assert!(header.is_free() && Bins::of(header.units()) == bin);
                assert_eq!(self.links(loc).0, previous);
                listed += 1;
                previous = Some(loc);
                next = self.links(loc).1;
            }
        });
        assert_eq!(listed, linked, "free blocks in lists");
    }
}

#[cfg(test)]
mod tests;
