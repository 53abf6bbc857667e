//! Free extents segregated by page count: 15 exact lists, then 8 per doubling.
//!
//! A request searches its own list for a close fit (a few members), then takes the head of the
//! first non-empty list in which every member is large enough.

use crate::extent::{Extent, ExtentList};
use core::ptr;

const EXACT: usize = 16;
const LISTS: usize = EXACT + 28 * 8;
const WORDS: usize = LISTS.div_ceil(64);
/// Members of the own list that a request looks at before it goes on to larger lists.
const CLOSE_FIT_TRIES: usize = 8;

pub(crate) struct ExtentBins {
    lists: [ExtentList; LISTS],
    non_empty: [u64; WORDS],
}

/// The list that holds extents of `pages` pages.
const fn list_of(pages: usize) -> usize {
    if pages < EXACT {
        return pages;
    }
    let log = pages.ilog2() as usize;
    EXACT + (log - 4) * 8 + ((pages >> (log - 3)) & 7)
}

/// Whether `pages` is the smallest page count of its list.
const fn is_list_minimum(pages: usize) -> bool {
    pages < EXACT || pages & ((1 << (pages.ilog2() - 3)) - 1) == 0
}

const _: () = assert!(list_of(u32::MAX as usize) == LISTS - 1);

impl ExtentBins {
    pub(crate) const fn new() -> ExtentBins {
        ExtentBins { lists: [ExtentList::EMPTY; LISTS], non_empty: [0; WORDS] }
    }

    /// # Safety
    /// `extent` is free, in no list; the arena lock is held.
    pub(crate) unsafe fn insert(&mut self, extent: *mut Extent) {
        // SAFETY: contract.
        let list = list_of(unsafe { (*extent).pages() });
        self.non_empty[list / 64] |= 1 << (list % 64);
        // SAFETY: contract.
        unsafe { self.lists[list].push(extent) };
    }

    /// # Safety
    /// `extent` is in these bins with its page count unchanged; the arena lock is held.
    pub(crate) unsafe fn remove(&mut self, extent: *mut Extent) {
        // SAFETY: contract.
        let list = list_of(unsafe { (*extent).pages() });
        // SAFETY: contract.
        unsafe { self.lists[list].remove(extent) };
        if self.lists[list].is_empty() {
            self.non_empty[list / 64] &= !(1 << (list % 64));
        }
    }

    /// A member of at least `pages` pages, or null.
    ///
    /// # Safety
    /// The arena lock is held.
    pub(crate) unsafe fn find(&self, pages: usize) -> *mut Extent {
        let own = list_of(pages);
        let mut from = own;
        if !is_list_minimum(pages) {
            from += 1;
            let mut best: *mut Extent = ptr::null_mut();
            // SAFETY: contract; nothing changes the list here.
            for extent in unsafe { self.lists[own].iter() }.take(CLOSE_FIT_TRIES) {
                // SAFETY: members are live descriptors.
                let fits = unsafe {
                    (*extent).pages() >= pages
                        && (best.is_null() || (*extent).pages < (*best).pages)
                };
                if fits {
                    best = extent;
                }
            }
            if !best.is_null() {
                return best;
            }
        }
        match self.first_non_empty(from) {
            Some(list) => self.lists[list].head(),
            // The tries above may have missed a fit further down the own list.
            // SAFETY: as above.
            None => unsafe { self.find_where(own, |e| e.pages() >= pages) },
        }
    }

    /// Any member that satisfies `fits`, looking from the list of `pages` pages upwards.
    ///
    /// # Safety
    /// The arena lock is held.
    pub(crate) unsafe fn find_at_least(
        &self,
        pages: usize,
        fits: impl Fn(&Extent) -> bool,
    ) -> *mut Extent {
        let mut list = list_of(pages);
        while let Some(found) = self.first_non_empty(list) {
            // SAFETY: contract.
            let extent = unsafe { self.find_where(found, &fits) };
            if !extent.is_null() {
                return extent;
            }
            list = found + 1;
        }
        ptr::null_mut()
    }

    /// # Safety
    /// The arena lock is held.
    unsafe fn find_where(&self, list: usize, fits: impl Fn(&Extent) -> bool) -> *mut Extent {
        // SAFETY: contract; members are live descriptors.
        unsafe { self.lists[list].iter() }
            .find(|&extent| fits(unsafe { &*extent }))
            .unwrap_or(ptr::null_mut())
    }

    fn first_non_empty(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = *self.non_empty.get(word)? & (!0 << (from % 64));
        loop {
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            bits = *self.non_empty.get(word)?;
        }
    }

    /// A member that is in the list of another size, or in a list that counts as empty.
    ///
    /// # Safety
    /// The arena lock is held.
    pub(crate) unsafe fn misplaced(&self) -> Option<*mut Extent> {
        self.lists.iter().enumerate().find_map(|(list, members)| {
            let empty = self.non_empty[list / 64] >> (list % 64) & 1 == 0;
            // SAFETY: contract; members are live.
            unsafe { members.iter().find(|&extent| empty || list_of((*extent).pages()) != list) }
        })
    }

    /// All members, largest lists first.
    ///
    /// # Safety
    /// The arena lock is held while the iterator lives; members may not change.
    pub(crate) unsafe fn iter(&self) -> impl Iterator<Item = *mut Extent> {
        let non_empty = self.non_empty.iter().enumerate().rev().flat_map(|(word, &bits)| {
            let mut left = bits;
            core::iter::from_fn(move || {
                let bit = left.checked_ilog2()?;
                left ^= 1 << bit;
                Some(word * 64 + bit as usize)
            })
        });
        // SAFETY: contract.
        non_empty.flat_map(|list| unsafe { self.lists[list].iter() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn all_members_are_met_once_and_the_largest_first() {
        let mut extents: Vec<Extent> = (0..200).map(|_| Extent::retired()).collect();
        let mut bins = ExtentBins::new();
        for (number, extent) in extents.iter_mut().enumerate() {
            extent.pages = (number * number * number / 2 + 1) as u32;
            // SAFETY: members outlive the bins and stay where they are.
            unsafe { bins.insert(extent) };
        }
        let lists: Vec<usize> =
            // SAFETY: as above.
            unsafe { bins.iter().map(|extent| list_of((*extent).pages())).collect() };
        assert_eq!(lists.len(), extents.len());
        assert!(lists.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn lists_are_monotone_and_minima_are_exact() {
        let mut last = 0;
        for pages in 1..if cfg!(miri) { 3_000 } else { 100_000 } {
            let list = list_of(pages);
            assert!(list >= last);
            assert_eq!(is_list_minimum(pages), list != last || pages == 1, "{pages}");
            last = list;
        }
    }
}
