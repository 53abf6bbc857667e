//! The page map of a pool: from an address to its class and its extent, and the state of each page.
//!
//! ```text
//! per page    2 bytes  class of the slab the page is in, as an offset into a thread cache's bins
//!             8 bytes  extent descriptor
//!             1 bit    committed: backed by the source, touching it cannot fault for want of space
//!             1 bit    frozen: mapped privately since a fork; stores no longer reach the source
//!             1 bit    dirty: handed out since it was last known to read as zero
//! ```
//!
//! The arrays lie in one anonymous reservation and cost DRAM only where pages are in use.
//! Classes and extents are read without a lock by `free`; bits are written under the arena lock.

use crate::config::PAGE_SHIFT;
use crate::extent::Extent;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed};
use pmem_core::errno::Errno;
use pmem_core::sys;

/// `block` with the provenance of its whole pool, for its next user. The pointer that its last user
/// gave back (made from a slice, say) may be good for a part of it only. No code.
#[inline(always)]
pub(crate) fn widened(block: *mut u8) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(block.addr())
}

pub(crate) struct PageMap {
    base: usize,
    pages: usize,
    classes: *const AtomicU16,
    extents: *const AtomicPtr<Extent>,
    committed: *const AtomicU64,
    dirty: *const AtomicU64,
    frozen: *const AtomicU64,
    /// No bit of a page from here on was ever set: they need no looking at, however large the pool.
    used: AtomicUsize,
    mapping: (NonNull<u8>, usize),
}

impl PageMap {
    /// A map for `bytes` bytes from address `base`, both page-aligned.
    pub(crate) fn new(base: usize, bytes: usize) -> Result<PageMap, Errno> {
        let pages = bytes >> PAGE_SHIFT;
        let words = pages.div_ceil(64) * 8;
        let extents = pages * 8;
        let classes = (pages * 2).next_multiple_of(8);
        let len = extents + classes + 3 * words;
        let mapping = sys::map_anonymous(len)?;
        let at = |offset: usize| mapping.as_ptr().wrapping_add(offset);
        Ok(PageMap {
            base,
            pages,
            extents: at(0).cast(),
            classes: at(extents).cast(),
            committed: at(extents + classes).cast(),
            dirty: at(extents + classes + words).cast(),
            frozen: at(extents + classes + 2 * words).cast(),
            used: AtomicUsize::new(0),
            mapping: (mapping, len),
        })
    }

    /// Releases the arrays.
    ///
    /// # Safety
    /// Nobody uses the map any more.
    pub(crate) unsafe fn release(&self) {
        // SAFETY: the mapping is ours (made in `new`) and unused by contract.
        let _ = unsafe { sys::unmap(self.mapping.0, self.mapping.1) };
    }

    pub(crate) fn base(&self) -> usize {
        self.base
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    pub(crate) fn classes(&self) -> *const AtomicU16 {
        self.classes
    }

    /// The page of `address`, if it lies in the pool.
    #[inline]
    pub(crate) fn page_of(&self, address: usize) -> Option<usize> {
        let page = address.wrapping_sub(self.base) >> PAGE_SHIFT;
        (page < self.pages).then_some(page)
    }

    /// Address of the first byte of `page`.
    pub(crate) fn address_of(&self, page: usize) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.base + (page << PAGE_SHIFT))
    }

    #[inline]
    fn class_cell(&self, page: usize) -> &AtomicU16 {
        debug_assert!(page < self.pages);
        // SAFETY: the array has one element per page (I7), and lives as long as self.
        unsafe { &*self.classes.add(page) }
    }

    #[inline]
    fn extent_cell(&self, page: usize) -> &AtomicPtr<Extent> {
        debug_assert!(page < self.pages);
        // SAFETY: as in `class_cell`.
        unsafe { &*self.extents.add(page) }
    }

    /// The scaled class stored for `page`, 0 when it is in no slab.
    #[inline]
    pub(crate) fn class_offset(&self, page: usize) -> u16 {
        self.class_cell(page).load(Relaxed)
    }

    pub(crate) fn set_class_offset(&self, start: usize, pages: usize, offset: u16) {
        for page in start..start + pages {
            self.class_cell(page).store(offset, Relaxed);
        }
    }

    /// The descriptor last recorded for `page`; meaningful for the first and last page of an
    /// extent and for every page of a slab.
    #[inline]
    pub(crate) fn extent(&self, page: usize) -> *mut Extent {
        self.extent_cell(page).load(Relaxed)
    }

    /// Records `extent` at its first and last page.
    pub(crate) fn set_boundaries(&self, start: usize, pages: usize, extent: *mut Extent) {
        self.extent_cell(start).store(extent, Relaxed);
        self.extent_cell(start + pages - 1).store(extent, Relaxed);
    }

    /// Records `extent` at all its pages.
    pub(crate) fn set_all(&self, start: usize, pages: usize, extent: *mut Extent) {
        for page in start..start + pages {
            self.extent_cell(page).store(extent, Relaxed);
        }
    }

    /// Says that bits of pages below `end` may be set from now on. Called under the arena lock.
    pub(crate) fn use_up_to(&self, end: usize) {
        if end > self.used.load(Relaxed) {
            self.used.store(end, Relaxed);
        }
    }

    fn bits(&self, words: *const AtomicU64) -> PageBits<'_> {
        // SAFETY: the array has a bit per page and lives as long as self.
        let words = unsafe { core::slice::from_raw_parts(words, self.pages.div_ceil(64)) };
        PageBits { words, used: self.used.load(Relaxed) }
    }

    pub(crate) fn committed(&self) -> PageBits<'_> {
        self.bits(self.committed)
    }

    pub(crate) fn frozen(&self) -> PageBits<'_> {
        self.bits(self.frozen)
    }

    pub(crate) fn dirty(&self) -> PageBits<'_> {
        self.bits(self.dirty)
    }
}

/// One bit per page. A bit is written by the owner of its page: under the arena lock, or by the purge
/// that holds the extent outside it; neighbours in a word may belong to others, hence the atomics.
#[derive(Clone, Copy)]
pub(crate) struct PageBits<'a> {
    words: &'a [AtomicU64],
    /// See [`PageMap::use_up_to`].
    used: usize,
}

impl PageBits<'_> {
    /// Calls `f(word, mask)` for each word that holds bits of `start..end`.
    fn for_words(self, start: usize, end: usize, mut f: impl FnMut(&AtomicU64, u64) -> bool) {
        let end = end.min(self.used);
        let mut page = start;
        while page < end {
            let last = ((page | 63) + 1).min(end);
            let width = last - page;
            let mask = (!0u64 >> (64 - width)) << (page % 64);
            if !f(&self.words[page / 64], mask) {
                return;
            }
            page = last;
        }
    }

    /// Sets the bits of pages that are declared used.
    pub(crate) fn set(self, start: usize, end: usize) {
        debug_assert!(end <= self.used);
        self.for_words(start, end, |word, mask| {
            word.fetch_or(mask, Relaxed);
            true
        });
    }

    pub(crate) fn clear(self, start: usize, end: usize) {
        self.for_words(start, end, |word, mask| {
            word.fetch_and(!mask, Relaxed);
            true
        });
    }

    pub(crate) fn count(self, start: usize, end: usize) -> usize {
        let mut count = 0;
        self.for_words(start, end, |word, mask| {
            count += (word.load(Relaxed) & mask).count_ones() as usize;
            true
        });
        count
    }

    pub(crate) fn none(self, start: usize, end: usize) -> bool {
        let mut none = true;
        self.for_words(start, end, |word, mask| {
            none = word.load(Relaxed) & mask == 0;
            none
        });
        none
    }

    /// First page in `start..end` whose bit equals `value`, or `end`.
    fn find(self, start: usize, end: usize, value: bool) -> usize {
        let used = end.min(self.used);
        if start >= used {
            return if value { end } else { start };
        }
        let mut page = start;
        while page < used {
            let word = self.words[page / 64].load(Relaxed);
            let word = if value { word } else { !word } >> (page % 64);
            if word != 0 {
                let found = page + word.trailing_zeros() as usize;
                if found < used {
                    return found;
                }
                break;
            }
            page = (page | 63) + 1;
        }
        if value { end } else { used }
    }

    /// The next maximal run of bits equal to `value` in `start..end`.
    pub(crate) fn next_run(self, start: usize, end: usize, value: bool) -> Option<(usize, usize)> {
        let first = self.find(start, end, value);
        (first < end).then(|| (first, self.find(first, end, !value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_agree_with_a_naive_array() {
        let words: [AtomicU64; 4] = Default::default();
        let bits = PageBits { words: &words, used: 256 };
        let mut naive = [false; 256];
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let a = (random >> 20) as usize % 257;
            let b = (random >> 40) as usize % 257;
            let (a, b) = (a.min(b), a.max(b));
            match random >> 60 & 3 {
                0 => {
                    bits.set(a, b);
                    naive[a..b].fill(true);
                }
                1 => {
                    bits.clear(a, b);
                    naive[a..b].fill(false);
                }
                _ => {
                    let expected = naive[a..b].iter().filter(|&&set| set).count();
                    assert_eq!(bits.count(a, b), expected);
                    assert_eq!(bits.none(a, b), expected == 0);
                    let run = bits.next_run(a, b, true);
                    let first = (a..b).find(|&page| naive[page]);
                    assert_eq!(run.map(|r| r.0), first);
                    if let Some((first, last)) = run {
                        assert!(naive[first..last].iter().all(|&set| set));
                        assert!(last == b || !naive[last]);
                    }
                }
            }
        }
    }
}
