//! Whether large runs are worth bringing into memory as they get their space.
//!
//! Bringing pages in costs a third less than a fault for each when they are written, and three times the bare space when
//! they are not. So now and then a large run gets space only, and when the next one is made the kernel is asked whether
//! pages of it have been written since. What was found written pays for some more pages that are brought in
//! unseen.

use super::{Arena, PageHeap};
use crate::config::{BRING_IN_MAX, BRING_IN_PER_WRITTEN, PAGE_SHIFT};
use pmem_core::source::Source;

/// What is known of the large runs of an arena.
#[derive(Debug)]
pub(super) struct Filling {
    /// Pages that may be brought in unseen.
    budget: usize,
    /// The last run that got space only: first page and length. Length 0: none.
    last: (usize, usize),
}

impl Filling {
    pub(super) const fn new() -> Filling {
        Filling { budget: 0, last: (0, 0) }
    }

    /// Whether this run, which has no content yet, is to be brought in.
    pub(super) fn brings_in(&mut self, source: &Source, start: usize, pages: usize) -> bool {
        let (first, len) = core::mem::take(&mut self.last);
        if len > 0 {
            self.budget = match is_written(source, first, len) {
                true => (self.budget + len * BRING_IN_PER_WRITTEN).min(BRING_IN_MAX),
                false => 0,
            };
        }
        if pages <= self.budget {
            self.budget -= pages;
            return true;
        }
        self.last = (start, pages);
        false
    }
}

/// Whether the run looks written all over: by samples from its inside, for programs often write to the ends of what they do
/// not use.
fn is_written(source: &Source, first: usize, len: usize) -> bool {
    const SAMPLES: usize = 4;
    let page = |sample: usize| first + len * (2 * sample + 1) / (2 * SAMPLES);
    (0..SAMPLES).all(|sample| source.is_written(page(sample) << PAGE_SHIFT))
}

impl Arena {
    /// Whether a run of a large extent is to be brought in as it is committed.
    pub(super) fn brings_in(&self, heap: &mut PageHeap, start: usize, end: usize) -> bool {
        // Elsewhere pages are brought in anyway, or space costs nothing as long as they are not.
        let is_choice = self.source.is_in_memory() && self.source.needs_commit();
        is_choice && !self.is_detached() && heap.filling.brings_in(&self.source, start, end - start)
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    const PAGES: usize = 100;

    /// A file in memory whose runs have space but no content.
    fn source() -> Source {
        let source = Source::in_directory(c"/dev/shm", 64 << 20).unwrap();
        source.commit(0, 32 << 20).unwrap();
        source
    }

    fn write(source: &Source, start: usize, pages: usize) {
        for page in start..start + pages {
            // SAFETY: inside of the source, with space, and nobody else's.
            unsafe { source.base().add(page << PAGE_SHIFT).write(1) };
        }
    }

    #[test]
    fn what_was_written_pays_for_what_is_brought_in() {
        let (source, mut filling) = (source(), Filling::new());
        assert!(!filling.brings_in(&source, 0, PAGES));
        write(&source, 0, PAGES);
        let brought = (1..20).take_while(|run| filling.brings_in(&source, run * PAGES, PAGES));
        assert_eq!(brought.count(), BRING_IN_PER_WRITTEN);
        // The next one was not written.
        assert!(!filling.brings_in(&source, 20 * PAGES, PAGES));
    }

    #[test]
    fn runs_that_are_written_at_their_ends_are_not_brought_in() {
        let (source, mut filling) = (source(), Filling::new());
        for run in 0..20 {
            assert!(!filling.brings_in(&source, run * PAGES, PAGES));
            write(&source, run * PAGES, 1);
            write(&source, run * PAGES + PAGES - 1, 1);
        }
    }

    #[test]
    fn one_that_is_too_large_is_not_brought_in() {
        let (source, mut filling) = (source(), Filling::new());
        assert!(!filling.brings_in(&source, 0, PAGES));
        write(&source, 0, PAGES);
        let large = PAGES * BRING_IN_PER_WRITTEN + 1;
        assert!(!filling.brings_in(&source, PAGES, large));
        write(&source, PAGES, large);
        assert!(filling.brings_in(&source, PAGES + large, large));
    }
}
