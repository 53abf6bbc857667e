//! Pages inside of slabs that go back to the source, and come again.
//!
//! The bin of the slab is locked by the caller: nobody takes a slot there meanwhile, and no fork begins.

use super::{Arena, Forking, PurgePolicy};
use crate::config::{IDLE_MS, PAGE_SHIFT, POPULATE_FROM_PAGES, PURGE_BUDGET_PAGES};
use crate::extent::Extent;
use crate::slab::bits_of;

impl Arena {
    /// How long a page of a slab is to be without a slot in use before it is punched, in milliseconds; `None`
    /// where that is done by an explicit trim only, or not at all.
    #[inline(never)]
    pub(crate) fn punch_after_ms(&self) -> Option<u32> {
        // In units of huge pages no slab has anything to give back.
        let policy = if self.in_huge_pages { PurgePolicy::Never } else { self.purge };
        match policy {
            _ if !self.can_punch() => None,
            PurgePolicy::Never => None,
            // At once would be a system call for nearly every slot.
            PurgePolicy::Immediate => Some(IDLE_MS),
            PurgePolicy::AfterMs(decay) => Some(decay.max(1)),
        }
    }

    /// Whether the source takes back what is as small as a slab.
    #[inline(never)]
    pub(crate) fn can_punch(&self) -> bool {
        let fits = self.source.granule() >> PAGE_SHIFT <= u16::BITS as usize;
        fits && (self.source.can_purge() || self.is_detached()) && self.is_forking(Forking::No)
    }

    /// Gives pages of a slab back, named by bits, and notes them in its descriptor. Returns those that
    /// are gone: the source may keep some. `None` if it was not asked, since all are frozen.
    ///
    /// # Safety
    /// The bin of `slab` is locked; these pages are backed and no slot on them is in use.
    #[inline(never)]
    pub(crate) unsafe fn punch(&self, slab: *mut Extent, pages: u16) -> Option<u16> {
        // SAFETY: contract.
        let start = unsafe { (*slab).start as usize };
        let granule = self.source.granule() >> PAGE_SHIFT;
        let (mut gone, mut asked) = (0, false);
        for (first, end) in runs(pages) {
            let (mut at, end) = (start + first, start + end);
            while let Some((first, last)) = self.next_purgeable(at, end, granule) {
                asked = true;
                if self.purge_run(first, last) {
                    gone |= bits_of(first - start, last - start);
                }
                at = last;
            }
        }
        if gone == 0 {
            return asked.then_some(0);
        }
        // Together under the lock, so that whoever looks finds counts, bits and descriptor in agreement.
        let mut heap = self.heap.lock();
        for (first, end) in runs(gone) {
            self.map.committed().clear(start + first, start + end);
            self.map.dirty().clear(start + first, start + end);
        }
        // SAFETY: contract; the arena is locked too.
        unsafe { (*slab).punched |= gone };
        heap.counts.punch(gone.count_ones() as usize);
        Some(gone)
    }

    /// Backs punched pages of a slab again, named by bits, and what is punched in one granule with them. Returns
    /// those that are: none when the source has no space even after all free extents were given back.
    ///
    /// # Safety
    /// The bin of `slab` is locked; these pages are punched.
    #[inline(never)]
    pub(crate) unsafe fn back(&self, slab: *mut Extent, pages: u16) -> u16 {
        let mut heap = self.heap.lock();
        // What is handed out now would have to be frozen.
        if self.is_forking(Forking::Freezing) {
            return 0;
        }
        // SAFETY: contract.
        let start = unsafe { (*slab).start as usize };
        let granule = self.source.granule() >> PAGE_SHIFT;
        let mut backed = 0;
        for (first, end) in runs(whole_granules(pages, start, granule)) {
            let written_soon = heap.counts.committed >= POPULATE_FROM_PAGES;
            let (from, to) = (start + first, start + end);
            let mut committed = self.commit_range(from, to, written_soon);
            if committed.is_err() {
                let given_back;
                (heap, given_back) = self.purge_for_space(heap, PURGE_BUDGET_PAGES);
                if given_back > 0 {
                    committed = self.commit_range(from, to, written_soon);
                }
            }
            if committed.is_err() {
                break;
            }
            self.map.committed().set(from, to);
            backed |= bits_of(first, end);
            // SAFETY: contract; the arena is locked too.
            unsafe { (*slab).punched &= !bits_of(first, end) };
            heap.counts.back(end - first);
        }
        backed
    }
}

/// Punched pages of a slab that begins at page `start`, with the rest of their granules: granules are punched as a
/// whole, so they lie inside of the slab.
fn whole_granules(pages: u16, start: usize, granule: usize) -> u16 {
    runs(pages).fold(0, |all, (first, end)| {
        let from = (start + first) / granule * granule;
        let to = (start + end).next_multiple_of(granule);
        debug_assert!(from >= start && to <= start + u16::BITS as usize);
        all | bits_of(from - start, to - start)
    })
}

/// The runs of bits that are set: first, and one past the last.
fn runs(mut bits: u16) -> impl Iterator<Item = (usize, usize)> {
    core::iter::from_fn(move || {
        let first = bits.trailing_zeros();
        if first >= u16::BITS {
            return None;
        }
        let end = first + (bits >> first).trailing_ones();
        bits &= !bits_of(first as usize, end as usize);
        Some((first as usize, end as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Where the pages of the system are of 16 or 64 KiB.
    #[test]
    fn pages_come_again_with_their_granules() {
        assert_eq!(whole_granules(0b0100_1000, 7, 1), 0b0100_1000);
        // The slab begins three pages into a granule, so one begins at its pages 1, 5 and 9.
        assert_eq!(whole_granules(0b0000_0000_0100, 7, 4), 0b0000_0001_1110);
        assert_eq!(whole_granules(0b0010_0010_0000, 7, 4), 0b1_1111_1110_0000);
        assert_eq!(whole_granules(0b0000_0011_0000, 7, 4), 0b0001_1111_1110);
        assert_eq!(whole_granules(1 << 15, 32, 16), u16::MAX);
        assert_eq!(whole_granules(0, 7, 4), 0);
    }

    #[test]
    fn runs_make_up_the_bits() {
        for bits in (0..=u16::MAX).step_by(if cfg!(miri) { 509 } else { 1 }) {
            let found: Vec<(usize, usize)> = runs(bits).collect();
            assert!(found.windows(2).all(|two| two[0].1 < two[1].0), "{bits:016b} {found:?}");
            let all = found.iter().fold(0, |all, &(first, end)| all | bits_of(first, end));
            assert_eq!(all, bits);
        }
    }
}
