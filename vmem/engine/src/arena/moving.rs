//! Moving a large run by moving its mappings.
//!
//! A run that grows and has no room behind it goes to another place. Its whole chunks are exchanged
//! with those of the new place ([`Source::exchange`]): the space that they have goes along, so only
//! what the run grows by is committed. What lies before the first and behind the last whole chunk is
//! copied; so the new place begins as far from a chunk's border as the old one.
//!
//! ```text
//!   old      [lead|==== chunks ====|tail]
//!   new      [lead|==== chunks ====|tail .... new pages]
//!             copy      exchange    copy       commit
//! ```
//!
//! Nothing is moved in a fork child whose pages are not all the source's, while a fork is under way,
//! and where a fork has made pages private: those are mappings of their own, and what they hold is
//! not what the file holds.

use super::{Arena, Forking, PageCounts, PageHeap, Place};
use crate::config::{MOVE_ALIGN_FRACTION, MOVE_FROM_PAGES, PAGE_SHIFT, SMALL_POOL_PAGES};
use crate::extent::{Extent, State};
use core::ptr;
use pmem_core::errno::Errno;
use pmem_core::source::Source;

const CHUNK: usize = Source::CHUNK >> PAGE_SHIFT;

/// A run to be moved; page numbers.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    /// First and one past the last of its whole chunks, which are at least one.
    first: usize,
    last: usize,
    end: usize,
}

impl Run {
    fn new(start: usize, end: usize) -> Option<Run> {
        let (first, last) = (start.next_multiple_of(CHUNK), end / CHUNK * CHUNK);
        let worth_it = end - start >= MOVE_FROM_PAGES && first < last;
        worth_it.then_some(Run { start, first, last, end })
    }

    fn chunk_pages(self) -> usize {
        self.last - self.first
    }
}

/// What a move leaves to be done without the lock.
struct Moved {
    new: *mut Extent,
    /// What is to be copied: a part of the old run, an extent of its own by now, and the page where it
    /// goes.
    rest: [(*mut Extent, usize); 2],
}

impl Arena {
    /// The alignment at which a run is placed, if that is possible.
    pub(super) fn alignment(
        &self,
        heap: &PageHeap,
        pages: usize,
        align_pages: usize,
        state: State,
    ) -> usize {
        let may_move = state == State::Large && pages >= MOVE_FROM_PAGES;
        let roomy = self.map.pages() > SMALL_POOL_PAGES
            && heap.counts.live <= self.map.pages() / MOVE_ALIGN_FRACTION;
        if may_move && roomy && self.source.can_exchange() {
            align_pages.max(CHUNK)
        } else {
            align_pages
        }
    }

    /// Moves large `extent` to a place of `pages` pages, more than it has. Null when that cannot be
    /// done, or is not worth it: everything is as before. Else it is freed, and the result is the
    /// run with its content.
    ///
    /// # Safety
    /// `extent` is a large run owned by the caller, and nobody uses its pages meanwhile.
    pub(crate) unsafe fn relocate(&self, extent: *mut Extent, pages: usize) -> *mut Extent {
        // SAFETY: contract.
        let run = unsafe { Run::new((*extent).start(), (*extent).end()) };
        let Some(run) = run.filter(|run| pages > run.end - run.start && pages <= self.map.pages())
        else {
            return ptr::null_mut();
        };
        if !self.source.can_exchange() {
            return ptr::null_mut();
        }
        let mut heap = self.purge_if_due(self.heap.lock());
        // SAFETY: contract; the lock is held.
        let mut moved = unsafe { self.relocate_locked(&mut heap, extent, run, pages) };
        if matches!(moved, Err(Errno::ENOSPC | Errno::EDQUOT)) {
            // The source is full. Free pages elsewhere may hold what we need.
            let given_back;
            (heap, given_back) = self.purge_for_space(heap, usize::MAX);
            if given_back > 0 {
                // SAFETY: as above.
                moved = unsafe { self.relocate_locked(&mut heap, extent, run, pages) };
            }
        }
        let Ok(moved) = moved else { return ptr::null_mut() };
        self.after_free(heap);
        for (part, to) in moved.rest {
            if part.is_null() {
                continue;
            }
            // SAFETY: a part of the old run, which is the caller's as the new one is; they do not
            // overlap, and both are committed.
            unsafe {
                let from = self.map.address_of((*part).start());
                let bytes = (*part).pages() << PAGE_SHIFT;
                ptr::copy_nonoverlapping(from, self.map.address_of(to), bytes);
                self.free(part);
            }
        }
        moved.new
    }

    /// The part of `relocate` that needs the lock. On an error everything is as before, except that
    /// some free pages may have been committed.
    ///
    /// # Safety
    /// As [`Arena::relocate`]; the arena lock is held.
    unsafe fn relocate_locked(
        &self,
        heap: &mut PageHeap,
        extent: *mut Extent,
        run: Run,
        pages: usize,
    ) -> Result<Moved, Errno> {
        let whole = !self.is_detached() && !self.is_sharing() && self.is_forking(Forking::No);
        if !whole || !self.map.frozen().none(run.first, run.last) {
            return Err(Errno::EBUSY);
        }
        let phase = (self.map.base() >> PAGE_SHIFT) + run.start;
        let place = Place { align: CHUNK, phase: phase % CHUNK };
        // SAFETY: the lock is held.
        let target = unsafe { self.find(heap, pages, place) };
        if target.is_null() {
            return Err(Errno::ENOMEM);
        }
        // SAFETY: found in the free lists under this lock.
        let start = self.first_place(unsafe { (*target).start() }, place);
        let end = start + pages;
        // SAFETY: `target` contains the range.
        let spare = unsafe { self.spare_descriptors(target, start, end) }?;
        let parts = self.spare_parts(run);
        let prepared = parts.and_then(|parts| {
            // SAFETY: in the free lists; unlinked while its committed count changes.
            unsafe { heap.remove(target) };
            // SAFETY: unlinked and ours.
            let exchanged = unsafe { self.exchange(heap, target, run, start, end) };
            exchanged.map(|()| parts).inspect_err(|_| {
                // SAFETY: still a free extent, unlinked.
                unsafe { heap.insert(target) };
                parts.into_iter().for_each(|unused| self.retire(unused));
            })
        });
        let parts = prepared.inspect_err(|_| spare.into_iter().for_each(|s| self.retire(s)))?;
        // SAFETY: `target` is unlinked and ours, its count that of the bits, which change below; the
        // spares were made for this cut, the parts for this run.
        unsafe {
            self.cut(heap, target, start, end, spare, State::Large);
            self.map.use_up_to(end.max(run.end));
            let chunks = start + (run.first - run.start);
            self.map.committed().exchange(run.first, chunks, run.chunk_pages());
            self.map.dirty().exchange(run.first, chunks, run.chunk_pages());
            heap.counts.moved(run.chunk_pages(), pages);
            Ok(Moved { new: target, rest: self.split(heap, extent, run, parts, start) })
        }
    }

    /// Commits the pages of free, unlinked `target` at `start..end` that get nothing from the run, and
    /// exchanges the others with those of the run.
    ///
    /// # Safety
    /// `target` is owned by the caller and contains the range; the arena lock is held.
    unsafe fn exchange(
        &self,
        heap: &mut PageHeap,
        target: *mut Extent,
        run: Run,
        start: usize,
        end: usize,
    ) -> Result<(), Errno> {
        let first = start + (run.first - run.start);
        let last = first + run.chunk_pages();
        if !self.map.frozen().none(first, last) {
            return Err(Errno::EBUSY);
        }
        // SAFETY: contract. The pages are the caller's, or free and under the lock; they are neither
        // frozen nor replaced.
        unsafe {
            self.commit(heap, target, start, first, first)?;
            self.commit(heap, target, last, end, (*target).end())?;
            let [a, b, len] = [run.first, first, run.chunk_pages()].map(|page| page << PAGE_SHIFT);
            self.source.exchange(a, b, len)
        }
    }

    /// Descriptors for the parts that [`Arena::split`] makes of a run besides the first; null where
    /// there are fewer.
    fn spare_parts(&self, run: Run) -> Result<[*mut Extent; 2], Errno> {
        let one = self.spare_descriptor(run.start < run.first)?;
        match self.spare_descriptor(run.last < run.end) {
            Ok(other) => Ok([one, other]),
            Err(errno) => {
                self.retire(one);
                Err(errno)
            }
        }
    }

    /// Frees the chunks of large `extent`, which have been exchanged with those of the run at page
    /// `new`. What is left of it becomes large runs; returns them, with the pages where they go.
    ///
    /// # Safety
    /// `extent` covers `run` and is owned by the caller; `parts` is from `spare_parts` for it; the
    /// arena lock is held.
    unsafe fn split(
        &self,
        heap: &mut PageHeap,
        extent: *mut Extent,
        run: Run,
        parts: [*mut Extent; 2],
        new: usize,
    ) -> [(*mut Extent, usize); 2] {
        let [lead, tail] = parts;
        // SAFETY: contract: all descriptors are ours, and together they cover the run.
        unsafe {
            for (part, start, end) in [(lead, run.start, run.first), (tail, run.last, run.end)] {
                if !part.is_null() {
                    self.describe(part, start, end - start, State::Large);
                    (*part).class = 0;
                }
            }
            self.describe(extent, run.first, run.chunk_pages(), State::Free);
            (*extent).committed = self.map.committed().count(run.first, run.last) as u32;
            (*extent).freed_at = self.now();
            self.merge_and_insert(heap, extent);
        }
        [(lead, new), (tail, new + (run.last - run.start))]
    }
}

impl PageCounts {
    /// A run has moved to `pages` pages, and `chunk_pages` of its old ones are free, with the backing
    /// that as many of the new ones had.
    fn moved(&mut self, chunk_pages: usize, pages: usize) {
        let grown = pages - chunk_pages;
        self.free_committed -= grown;
        self.live += grown;
        self.peak_live = self.peak_live.max(self.live);
    }
}
