//! The arena of a pool: runs of pages over a [`Source`], in the extents of one page map.
//!
//! Free extents always merge with free neighbours. Whether a page is backed by the source is kept
//! per page, not per extent, so a free extent may be backed in part; those with any backed page are
//! preferred ("ready"), the others are "holes". Before pages are handed out the missing ones are
//! committed, a step ahead of need. Backed pages of free extents are given back when they have been
//! free for the decay time. Large runs can be moved by moving mappings (`moving.rs`).
//!
//! Lock: `heap` (rank ARENA) guards everything here but the descriptor memory (rank META).

mod filling;
mod moving;
mod punching;

use crate::config::{
    COMMIT_STEP_FRACTION, COMMIT_STEP_MAX, COMMIT_STEP_MIN, HUGE_PAGES, IDLE_MS, PAGE_SHIFT,
    POPULATE_FROM_PAGES, POPULATE_MAX_PAGES, PURGE_BUDGET_PAGES, PURGE_RUN_PAGES,
};
use crate::extent::{Extent, State};
use crate::extent_bins::ExtentBins;
use crate::home::Home;
use crate::meta::Meta;
use crate::page_map::PageMap;
use crate::rank;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use filling::Filling;
use pmem_core::errno::Errno;
use pmem_core::source::{Purged, Source};
use pmem_core::sync::{Mutex, MutexGuard};
use pmem_core::sys;

/// When pages of freed extents are given back to the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PurgePolicy {
    /// Only by an explicit trim.
    Never,
    /// As soon as they are free. Costs a system call and a page fault per reuse.
    Immediate,
    /// When they have been free for about this many milliseconds.
    AfterMs(u32),
}

impl From<core::time::Duration> for PurgePolicy {
    /// To the millisecond, but no time at all only for [`PurgePolicy::Immediate`].
    fn from(decay: core::time::Duration) -> PurgePolicy {
        match u32::try_from(decay.as_millis()).unwrap_or(u32::MAX) {
            _ if decay.is_zero() => PurgePolicy::Immediate,
            ms => PurgePolicy::AfterMs(ms.max(1)),
        }
    }
}

/// What a fork under way asks of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Forking {
    No = 0,
    /// No purge begins: the forking thread waits until none is under way, and cannot wait later.
    Quiet,
    /// Moreover pages are frozen as they are handed out: the fork handlers of other libraries
    /// allocate, and what exists now has been frozen already.
    Freezing,
}

/// Counters of an arena, in pages.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct PageCounts {
    /// Pages of runs that are in use, without those of slabs that were given back.
    pub(crate) live: usize,
    pub(crate) committed: usize,
    /// Committed pages of free extents.
    pub(crate) free_committed: usize,
    pub(crate) peak_live: usize,
    pub(crate) peak_committed: usize,
    /// Pages given back so far.
    pub(crate) purged: u64,
}

pub(crate) struct PageHeap {
    /// Free extents with at least one committed page.
    ready: ExtentBins,
    /// Free extents without any.
    holes: ExtentBins,
    pub(crate) counts: PageCounts,
    next_purge_ms: u64,
    filling: Filling,
    /// Extents in state Purging: memory that will be free in a moment.
    pub(crate) purging: u32,
}

// SAFETY: the raw pointers are descriptors owned by the arena; the lock around the heap guards them.
unsafe impl Send for PageHeap {}

/// Where a run may begin: at pages of the address space that leave the remainder `phase` when divided
/// by `align`, a power of two.
#[derive(Clone, Copy)]
struct Place {
    align: usize,
    phase: usize,
}

impl Place {
    const ANY: Place = Place::aligned(1);

    const fn aligned(align: usize) -> Place {
        Place { align, phase: 0 }
    }
}

pub(crate) struct Arena {
    pub(crate) source: Source,
    pub(crate) map: PageMap,
    pub(crate) heap: Mutex<PageHeap>,
    pub(crate) meta: Mutex<Meta>,
    purge: PurgePolicy,
    /// In a fork child: free pages are anonymous memory, no longer the source's.
    detached: AtomicBool,
    /// In a fork child: frozen pages are not private but the parent's too, and never used again.
    sharing: AtomicBool,
    /// What a fork under way asks for; see [`Forking`].
    forking: AtomicU8,
    pub(crate) home: Home,
    born_ms: u64,
    first_page: usize,
    /// Pages come and go in units of a huge page where that is possible.
    in_huge_pages: bool,
    /// The file system holds space for every page, but pages must still be written before use.
    reserved: AtomicBool,
}

impl Arena {
    /// An arena over all of `source` but its first `head_pages` pages.
    pub(crate) fn new(
        source: Source,
        head_pages: usize,
        purge: PurgePolicy,
        in_huge_pages: bool,
    ) -> Result<Arena, Errno> {
        // Exposed: blocks are made from addresses again (see `page_map::widened`).
        source.base().expose_provenance();
        let map = PageMap::new(source.base(), source.len())?;
        let arena = Arena {
            source,
            map,
            heap: Mutex::new(
                rank::ARENA,
                PageHeap {
                    ready: ExtentBins::new(),
                    holes: ExtentBins::new(),
                    counts: PageCounts::default(),
                    next_purge_ms: 0,
                    filling: Filling::new(),
                    purging: 0,
                },
            ),
            meta: Mutex::new(rank::META, Meta::new()),
            purge,
            detached: AtomicBool::new(false),
            sharing: AtomicBool::new(false),
            forking: AtomicU8::new(Forking::No as u8),
            home: Home::new(),
            born_ms: sys::monotonic_ms(),
            first_page: head_pages,
            in_huge_pages,
            reserved: AtomicBool::new(false),
        };
        let pages = arena.map.pages() - head_pages;
        let all = arena.meta.lock().take_extent();
        if all.is_null() {
            // SAFETY: nobody else knows the map.
            unsafe { arena.map.release() };
            return Err(Errno::ENOMEM);
        }
        // SAFETY: a fresh descriptor; the arena is not shared yet.
        unsafe {
            arena.describe(all, head_pages, pages, State::Free);
            (*all).committed = 0;
            arena.heap.lock().holes.insert(all);
        }
        Ok(arena)
    }

    /// Unmaps all metadata; the source goes when the arena is dropped.
    ///
    /// # Safety
    /// Nobody uses the arena any more.
    pub(crate) unsafe fn release(&self) {
        // SAFETY: contract.
        unsafe {
            self.meta.lock().release();
            self.map.release();
        }
    }

    /// Takes the space of every page now.
    ///
    /// On a disk file system that is a reservation: the pages count as committed when they have been written
    /// (see [`Source::commit_writable`]).
    pub(crate) fn commit_all(&self) -> Result<(), Errno> {
        self.source.commit(0, self.map.pages() << PAGE_SHIFT)?;
        if self.source.needs_commit() && !self.source.is_in_memory() {
            self.reserved.store(true, Relaxed);
            return Ok(());
        }
        let mut heap = self.heap.lock();
        let (first, end) = (self.first_page, self.map.pages());
        // SAFETY: the lock is held; the only extent of a fresh arena is the hole over everything.
        let extent = unsafe { heap.holes.find(end - first) };
        if extent.is_null() {
            return Err(Errno::EBUSY);
        }
        // SAFETY: found in `holes` under this lock.
        unsafe { heap.holes.remove(extent) };
        self.map.use_up_to(end);
        self.map.committed().set(first, end);
        heap.counts.committed += end - first;
        heap.counts.free_committed += end - first;
        heap.counts.peak_committed = heap.counts.committed;
        // SAFETY: unlinked just now.
        unsafe {
            (*extent).committed = (end - first) as u32;
            heap.insert(extent);
        }
        Ok(())
    }

    /// First page that the pool may use.
    pub(crate) fn first_page(&self) -> usize {
        self.first_page
    }

    /// Milliseconds since the arena was made.
    pub(crate) fn now(&self) -> u64 {
        sys::monotonic_ms().wrapping_sub(self.born_ms)
    }

    /// Makes the arena so much older.
    #[cfg(test)]
    pub(crate) fn age(&mut self, ms: u64) {
        self.born_ms = self.born_ms.wrapping_sub(ms);
    }

    /// Fills in a descriptor and its boundaries in the map.
    ///
    /// # Safety
    /// `extent` is owned by the caller and the arena lock is held (or the arena not yet shared).
    unsafe fn describe(&self, extent: *mut Extent, start: usize, pages: usize, state: State) {
        // SAFETY: contract.
        unsafe {
            (*extent).start = start as u32;
            (*extent).pages = pages as u32;
            (*extent).state = state;
        }
        self.map.set_boundaries(start, pages, extent);
    }

    /// A run of `pages` pages whose first page is a multiple of `align_pages` (a power of two) in
    /// the address space, committed, in state `Slab` or `Large`. Null when the pool has none.
    pub(crate) fn allocate(&self, pages: usize, align_pages: usize, state: State) -> *mut Extent {
        if pages > self.map.pages() {
            return ptr::null_mut();
        }
        let mut heap = self.purge_if_due(self.heap.lock());
        let mut attempt = 0;
        while attempt < 2 {
            let mut place = Place::aligned(self.alignment(&heap, pages, align_pages, state));
            // SAFETY: the lock is held.
            let mut extent = unsafe { self.find(&heap, pages, place) };
            if extent.is_null() && place.align > align_pages {
                place = Place::aligned(align_pages);
                // SAFETY: as above.
                extent = unsafe { self.find(&heap, pages, place) };
            }
            if extent.is_null() {
                if heap.purging == 0 {
                    return ptr::null_mut();
                }
                // What another thread gives back right now is free as well.
                drop(heap);
                sys::yield_now();
                heap = self.heap.lock();
                continue;
            }
            // SAFETY: `find` returned a member of the free lists under this lock.
            match unsafe { self.carve(&mut heap, extent, pages, place, state) } {
                Ok(()) => return extent,
                Err(_) if attempt == 0 => {
                    // The source is full. Free pages elsewhere may hold what we need.
                    let given_back;
                    (heap, given_back) = self.purge_older_than(heap, 0, usize::MAX);
                    if given_back == 0 {
                        return ptr::null_mut();
                    }
                }
                Err(_) => {}
            }
            attempt += 1;
        }
        ptr::null_mut()
    }

    /// First page at or after `page` that is such a place.
    fn first_place(&self, page: usize, place: Place) -> usize {
        let base_page = self.map.base() >> PAGE_SHIFT;
        let past = base_page + page + place.align - place.phase;
        past.next_multiple_of(place.align) + place.phase - place.align - base_page
    }

    /// A free extent with `pages` pages at such a place, or null.
    ///
    /// # Safety
    /// The arena lock is held.
    unsafe fn find(&self, heap: &PageHeap, pages: usize, place: Place) -> *mut Extent {
        let fits =
            |extent: &Extent| self.first_place(extent.start(), place) + pages <= extent.end();
        for bins in [&heap.ready, &heap.holes] {
            let mut extent = ptr::null_mut();
            // An alignment can be of any size, and the lists end at that of the pool.
            if pages + place.align - 1 <= self.map.pages() {
                // SAFETY: contract.
                extent = unsafe { bins.find(pages + place.align - 1) };
            }
            if place.align > 1 && extent.is_null() {
                // SAFETY: contract.
                extent = unsafe { bins.find_at_least(pages, fits) };
            }
            if !extent.is_null() {
                return extent;
            }
        }
        ptr::null_mut()
    }

    /// Cuts `pages` pages at such a place out of free `extent`, which becomes the run; what is left before
    /// and behind becomes free extents. On failure the extent is free as before.
    ///
    /// # Safety
    /// `extent` is in a free list of `heap`, large enough; the arena lock is held.
    unsafe fn carve(
        &self,
        heap: &mut PageHeap,
        extent: *mut Extent,
        pages: usize,
        place: Place,
        state: State,
    ) -> Result<(), Errno> {
        // SAFETY: a live descriptor; contract.
        let start = self.first_place(unsafe { (*extent).start() }, place);
        let end = start + pages;
        // SAFETY: a live descriptor; contract.
        let spare = unsafe { self.spare_descriptors(extent, start, end) }?;
        // SAFETY: in a free list of `heap` by contract; unlinked while its committed count changes.
        unsafe { heap.remove(extent) };
        // SAFETY: unlinked above, ours.
        let committed = unsafe { self.commit(heap, extent, start, end, (*extent).end()) };
        let ready = committed.and_then(|()| match self.is_forking(Forking::Freezing) {
            true => self.freeze_range(start, end),
            false => Ok(()),
        });
        if let Err(errno) = ready {
            // SAFETY: still a free extent, unlinked.
            unsafe { heap.insert(extent) };
            for unused in spare {
                self.retire(unused);
            }
            return Err(errno);
        }
        // SAFETY: `extent` is unlinked and ours; the spares were made for this cut.
        unsafe { self.cut(heap, extent, start, end, spare, state) };
        heap.counts.take(pages);
        Ok(())
    }

    /// Descriptors for what a cut of `start..end` out of `extent` leaves before and behind; null
    /// where it leaves nothing.
    ///
    /// # Safety
    /// `extent` is live and contains the range.
    unsafe fn spare_descriptors(
        &self,
        extent: *mut Extent,
        start: usize,
        end: usize,
    ) -> Result<[*mut Extent; 2], Errno> {
        // SAFETY: contract.
        let (first, last) = unsafe { ((*extent).start(), (*extent).end()) };
        let lead = self.spare_descriptor(start > first)?;
        match self.spare_descriptor(last > end) {
            Ok(tail) => Ok([lead, tail]),
            Err(errno) => {
                self.retire(lead);
                Err(errno)
            }
        }
    }

    /// Makes free, unlinked `extent` cover `start..end` only, in `state`; what is left before and
    /// behind goes to the free lists.
    ///
    /// # Safety
    /// `extent` is owned by the caller, its committed count is right; `spare` is from
    /// `spare_descriptors` for the same cut; the arena lock is held.
    unsafe fn cut(
        &self,
        heap: &mut PageHeap,
        extent: *mut Extent,
        start: usize,
        end: usize,
        spare: [*mut Extent; 2],
        state: State,
    ) {
        let bits = self.map.committed();
        // SAFETY: contract.
        unsafe {
            let (first, last, freed_at) = ((*extent).start(), (*extent).end(), (*extent).freed_at);
            let before = bits.count(first, start) as u32;
            let inside = bits.count(start, end) as u32;
            let behind = (*extent).committed - before - inside;
            let [lead, tail] = spare;
            for (rest, from, to, committed) in
                [(lead, first, start, before), (tail, end, last, behind)]
            {
                if !rest.is_null() {
                    self.describe(rest, from, to - from, State::Free);
                    (*rest).committed = committed;
                    (*rest).freed_at = freed_at;
                    heap.insert(rest);
                }
            }
            self.describe(extent, start, end - start, state);
            (*extent).class = 0;
            (*extent).committed = inside;
        }
    }

    /// A descriptor if one is `needed`, else null.
    fn spare_descriptor(&self, needed: bool) -> Result<*mut Extent, Errno> {
        if !needed {
            return Ok(ptr::null_mut());
        }
        let extent = self.meta.lock().take_extent();
        if extent.is_null() { Err(Errno::ENOMEM) } else { Ok(extent) }
    }

    /// Gives an unlinked descriptor back; null is ignored.
    fn retire(&self, extent: *mut Extent) {
        if !extent.is_null() {
            // SAFETY: callers pass descriptors they own and have unlinked.
            unsafe { self.meta.lock().return_extent(extent) };
        }
    }

    /// Commits what is missing in `start..end` of free, unlinked `extent`, and a step ahead up to
    /// `limit` inside it. What was committed before a failure stays so.
    ///
    /// # Safety
    /// `extent` is owned by the caller; the arena lock is held.
    unsafe fn commit(
        &self,
        heap: &mut PageHeap,
        extent: *mut Extent,
        start: usize,
        end: usize,
        limit: usize,
    ) -> Result<(), Errno> {
        let bits = self.map.committed();
        let granule = self.source.granule() >> PAGE_SHIFT;
        let is_small = end - start <= POPULATE_MAX_PAGES;
        let mut at = start;
        while let Some((first, last)) = bits.next_run(at, end, false) {
            // A granule is committed as a whole, so an uncommitted one lies inside one free extent
            // (or in the reserved head of the pool, which belongs to nobody).
            let first = first - first % granule;
            let exact = last.next_multiple_of(granule);
            let mut done = exact;
            if last == end {
                let step = (heap.counts.committed / COMMIT_STEP_FRACTION)
                    .clamp(COMMIT_STEP_MIN, COMMIT_STEP_MAX);
                // A huge page comes as a whole, if its range is empty then: with a part of it there
                // would be small pages for good.
                let wanted = match self.in_huge_pages {
                    true => last.next_multiple_of(HUGE_PAGES),
                    false => last + step,
                };
                let wanted = wanted.min(limit);
                let hole_end = bits.next_run(last, wanted, true).map_or(wanted, |run| run.0);
                done = hole_end.next_multiple_of(granule).max(exact);
            }
            let written_soon = match is_small {
                true => heap.counts.committed >= POPULATE_FROM_PAGES,
                false => self.brings_in(heap, first, exact),
            };
            if done > exact && self.commit_range(first, done, written_soon).is_err() {
                done = exact;
            }
            if done == exact {
                self.commit_range(first, exact, written_soon)?;
            }
            let counted = first.max(self.first_page);
            self.map.use_up_to(done);
            self.map.committed().set(counted, done);
            // SAFETY: contract.
            unsafe { (*extent).committed += (done - counted) as u32 };
            heap.counts.commit(done - counted);
            at = done.min(end);
        }
        Ok(())
    }

    /// `written_soon`: the pages are worth bringing in at once.
    fn commit_range(&self, first: usize, end: usize, written_soon: bool) -> Result<(), Errno> {
        if self.is_detached() {
            return Ok(());
        }
        let (offset, len) = (first << PAGE_SHIFT, (end - first) << PAGE_SHIFT);
        if self.reserved.load(Relaxed) {
            return self.source.populate(offset, len);
        }
        if written_soon || !self.source.is_in_memory() {
            return self.source.commit_writable(offset, len);
        }
        self.source.commit(offset, len).inspect_err(|_| {
            // A part may have got space, which would be nobody's.
            if self.source.can_purge() {
                let _ = self.source.purge(offset, len);
            }
        })
    }

    /// Whether the pages of a run are known to read as zero.
    pub(crate) fn is_zero(&self, start: usize, pages: usize) -> bool {
        self.source.starts_zeroed() && self.map.dirty().none(start, start + pages)
    }

    /// Takes a run back.
    ///
    /// # Safety
    /// `extent` is a run from `allocate` (large, or a slab that its bin has given up), and its pages
    /// are no longer used.
    pub(crate) unsafe fn free(&self, extent: *mut Extent) {
        // SAFETY: contract.
        unsafe { self.free_aged(extent, 0) };
    }

    /// Takes a run back that nobody has used for `idle_ms` milliseconds.
    ///
    /// # Safety
    /// As [`Arena::free`].
    pub(crate) unsafe fn free_aged(&self, extent: *mut Extent, idle_ms: u32) {
        let mut heap = self.heap.lock();
        // SAFETY: contract.
        unsafe { self.free_locked(&mut heap, extent, idle_ms) };
        self.after_free(heap);
    }

    /// Gives back what the policy asks for, now that something is free.
    fn after_free(&self, heap: MutexGuard<'_, PageHeap>) {
        if self.purge == PurgePolicy::Immediate {
            drop(self.purge_older_than(heap, 0, usize::MAX));
        } else {
            drop(self.purge_if_due(heap));
        }
    }

    /// # Safety
    /// As [`Arena::free`], with the arena lock held.
    unsafe fn free_locked(&self, heap: &mut PageHeap, extent: *mut Extent, idle_ms: u32) {
        // SAFETY: contract.
        let (start, pages, punched) =
            unsafe { ((*extent).start(), (*extent).pages(), (*extent).punched) };
        let committed = pages - punched.count_ones() as usize;
        if punched == 0 {
            self.map.dirty().set(start, start + pages);
        } else {
            for page in (0..pages).filter(|page| punched >> page & 1 == 0) {
                self.map.dirty().set(start + page, start + page + 1);
            }
        }
        heap.counts.give(committed);
        if self.home.is_returning() {
            // What cannot be shared stays private.
            let _ = self.share_frozen(start, start + pages, usize::MAX);
        }
        // SAFETY: contract.
        unsafe {
            (*extent).punched = 0;
            (*extent).committed = committed as u32;
            (*extent).freed_at = self.now().saturating_sub(u64::from(idle_ms));
            self.merge_and_insert(heap, extent);
        }
    }

    /// Puts an unlinked, unowned extent into the free lists, merged with its free neighbours.
    ///
    /// # Safety
    /// `extent` is owned by the caller, its counts are right, the arena lock is held.
    unsafe fn merge_and_insert(&self, heap: &mut PageHeap, extent: *mut Extent) {
        // SAFETY: contract; neighbours found through the map are live descriptors, and those in
        // state Free are linked in the lists of `heap`.
        unsafe {
            let mut start = (*extent).start();
            let mut end = (*extent).end();
            let mut committed = (*extent).committed;
            // Age is weighted by committed pages: churn at the edge of a big old extent must not
            // keep all of it from being given back.
            let weighted = |extent: *mut Extent| {
                u128::from((*extent).freed_at) * u128::from((*extent).committed)
            };
            let mut age = weighted(extent);
            let left =
                if start > self.first_page { self.map.extent(start - 1) } else { ptr::null_mut() };
            let right = if end < self.map.pages() { self.map.extent(end) } else { ptr::null_mut() };
            for neighbour in [left, right] {
                if neighbour.is_null() || (*neighbour).state != State::Free {
                    continue;
                }
                heap.remove(neighbour);
                start = start.min((*neighbour).start());
                end = end.max((*neighbour).end());
                age += weighted(neighbour);
                committed += (*neighbour).committed;
                self.retire(neighbour);
            }
            self.describe(extent, start, end - start, State::Free);
            (*extent).class = 0;
            (*extent).committed = committed;
            (*extent).freed_at = age.checked_div(u128::from(committed)).unwrap_or(0) as u64;
            heap.insert(extent);
        }
    }

    /// Makes large `extent` end after `pages` pages, giving the rest back.
    ///
    /// # Safety
    /// `extent` is a large run owned by the caller; `0 < pages <= extent.pages`.
    pub(crate) unsafe fn shrink(&self, extent: *mut Extent, pages: usize) {
        // SAFETY: contract.
        let (start, old) = unsafe { ((*extent).start(), (*extent).pages()) };
        if old == pages {
            return;
        }
        let Ok(rest) = self.spare_descriptor(true) else {
            return; // no DRAM for the descriptor: the block keeps its size
        };
        let mut heap = self.heap.lock();
        // SAFETY: both descriptors are ours; the lock is held.
        unsafe {
            self.describe(rest, start + pages, old - pages, State::Large);
            self.describe(extent, start, pages, State::Large);
            self.free_locked(&mut heap, rest, 0);
        }
        self.after_free(heap);
    }

    /// Extends large `extent` in place to `pages` pages, out of the free extent behind it.
    ///
    /// # Safety
    /// `extent` is a large run owned by the caller; `pages > extent.pages`.
    pub(crate) unsafe fn grow(&self, extent: *mut Extent, pages: usize) -> bool {
        let mut heap = self.heap.lock();
        // SAFETY: contract; the neighbour found through the map is a live descriptor, linked when
        // free, and the lock is held.
        unsafe {
            let end = (*extent).end();
            if end >= self.map.pages() {
                return false;
            }
            let right = self.map.extent(end);
            let needed = pages - (*extent).pages();
            if right.is_null() || (*right).state != State::Free || (*right).pages() < needed {
                return false;
            }
            if self.carve(&mut heap, right, needed, Place::ANY, State::Large).is_err() {
                return false;
            }
            let start = (*extent).start();
            self.retire(right);
            self.describe(extent, start, pages, State::Large);
        }
        true
    }

    /// How long memory may lie idle, in milliseconds.
    pub(crate) fn idle_ms(&self) -> u32 {
        match self.purge {
            PurgePolicy::AfterMs(decay) => decay.clamp(1, IDLE_MS),
            PurgePolicy::Never | PurgePolicy::Immediate => IDLE_MS,
        }
    }

    /// Gives back what has been free long enough, if it is time to look.
    pub(crate) fn purge_due(&self) {
        drop(self.purge_if_due(self.heap.lock()));
    }

    /// Gives back what has been free long enough.
    pub(crate) fn purge_aged(&self) {
        if let PurgePolicy::AfterMs(decay) = self.purge {
            drop(self.purge_older_than(self.heap.lock(), decay, PURGE_BUDGET_PAGES));
        }
    }

    #[inline(never)]
    fn purge_if_due<'a>(&'a self, mut heap: MutexGuard<'a, PageHeap>) -> MutexGuard<'a, PageHeap> {
        let PurgePolicy::AfterMs(decay) = self.purge else { return heap };
        if heap.counts.free_committed == 0 {
            return heap;
        }
        let now = self.now();
        if now < heap.next_purge_ms {
            return heap;
        }
        // Looking costs a walk over the free extents: a few times per decay period is enough.
        heap.next_purge_ms = now + u64::from((decay / 8).max(1));
        self.purge_older_than(heap, decay, PURGE_BUDGET_PAGES).0
    }

    /// Gives back the committed pages of extents free for at least `age_ms`, at most about `budget`
    /// pages. Returns the number of pages. The lock is released around each system call.
    #[inline(never)]
    fn purge_older_than<'a>(
        &'a self,
        mut heap: MutexGuard<'a, PageHeap>,
        age_ms: u32,
        budget: usize,
    ) -> (MutexGuard<'a, PageHeap>, usize) {
        if !self.source.can_purge() && !self.is_detached() {
            return (heap, 0);
        }
        let granule = self.source.granule() >> PAGE_SHIFT;
        // A hole in a huge page breaks it up: only what is wanted now is worth that.
        let unit = if self.in_huge_pages && age_ms > 0 { HUGE_PAGES } else { granule };
        let now = self.now();
        let mut given_back = 0;
        while given_back < budget && self.is_forking(Forking::No) {
            // SAFETY: the lock is held, nothing changes the lists during the search.
            let due = unsafe {
                heap.ready.iter().find(|&extent| {
                    now.saturating_sub((*extent).freed_at) >= u64::from(age_ms)
                        && self.next_purgeable((*extent).start(), (*extent).end(), unit).is_some()
                })
            };
            let Some(extent) = due else { break };
            // SAFETY: a member of `ready`, found purgeable under this lock.
            let (start, end) = unsafe {
                let run = self.next_purgeable((*extent).start(), (*extent).end(), unit);
                let (start, end) = run.unwrap_or(((*extent).start(), (*extent).end()));
                // Small enough that other threads find the rest of the extent meanwhile.
                let end = end.min(start + PURGE_RUN_PAGES.max(granule));
                let Ok(spare) = self.spare_descriptors(extent, start, end) else { break };
                heap.remove(extent);
                self.cut(&mut heap, extent, start, end, spare, State::Purging);
                (start, end)
            };
            heap.purging += 1;
            drop(heap);
            self.purge_pages(start, end);
            let left = self.map.committed().count(start, end);
            heap = self.heap.lock();
            heap.purging -= 1;
            // SAFETY: in state Purging it stayed ours; the lock is held again.
            let gone = unsafe {
                let gone = (*extent).committed as usize - left;
                (*extent).committed = left as u32;
                self.merge_and_insert(&mut heap, extent);
                gone
            };
            heap.counts.uncommit(gone);
            given_back += gone;
            if gone == 0 {
                break; // the source refused: asking again will not help
            }
        }
        (heap, given_back)
    }

    /// The next run in `start..end`, cut down to whole units of `unit` pages, that a purge can give
    /// back: committed, and not frozen by a fork.
    fn next_purgeable(&self, start: usize, end: usize, unit: usize) -> Option<(usize, usize)> {
        let end = end / unit * unit;
        let mut at = start.next_multiple_of(unit);
        while at < end {
            let (first, last) = self.map.committed().next_run(at, end, true)?;
            if let Some((first, last)) = self.map.frozen().next_run(first, last, false) {
                return Some((first, last));
            }
            at = last;
        }
        None
    }

    /// Gives back what it can of free pages `start..end` and clears the bits of these pages.
    fn purge_pages(&self, start: usize, end: usize) {
        let granule = self.source.granule() >> PAGE_SHIFT;
        let mut at = start;
        while let Some((first, last)) = self.next_purgeable(at, end, granule) {
            if self.purge_run(first, last) {
                self.map.committed().clear(first, last);
                self.map.dirty().clear(first, last);
            }
            at = last;
        }
    }

    /// Gives back a run that [`Arena::next_purgeable`] found, whose content nobody needs. Whether it is gone.
    fn purge_run(&self, first: usize, last: usize) -> bool {
        let (offset, len) = (first << PAGE_SHIFT, (last - first) << PAGE_SHIFT);
        let purged = if self.is_detached() {
            // SAFETY: in a detached arena pages that are not frozen were replaced, and these
            // are free.
            unsafe { self.source.purge_replaced(offset, len) }
        } else {
            self.source.purge(offset, len)
        };
        purged == Purged::Zeroed
    }

    /// Makes pages private that are not so already.
    pub(crate) fn freeze_range(&self, start: usize, end: usize) -> Result<(), Errno> {
        let frozen = self.map.frozen();
        let mut at = start;
        while let Some((first, last)) = frozen.next_run(at, end, false) {
            let (offset, len) = (first << PAGE_SHIFT, (last - first) << PAGE_SHIFT);
            // One mapping at a time: whatever has been frozen must be known as such.
            let len = self.source.run(offset, len);
            self.source.freeze(offset, len)?;
            at = first + (len >> PAGE_SHIFT);
            frozen.set(first, at);
        }
        Ok(())
    }

    pub(crate) fn is_forking(&self, state: Forking) -> bool {
        self.forking.load(Relaxed) == state as u8
    }

    pub(crate) fn set_forking(&self, state: Forking) {
        self.forking.store(state as u8, Relaxed);
    }

    /// Whether `page` is the parent's too, in a fork child.
    pub(crate) fn is_shared(&self, page: usize) -> bool {
        self.is_sharing() && self.map.frozen().count(page, page + 1) > 0
    }

    pub(crate) fn is_sharing(&self) -> bool {
        self.sharing.load(Relaxed)
    }

    pub(crate) fn set_sharing(&self) {
        self.sharing.store(true, Relaxed);
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Relaxed)
    }

    pub(crate) fn set_detached(&self, detached: bool) {
        self.detached.store(detached, Relaxed);
    }

    /// All extents in the order of their pages: `(start, end, live)`.
    ///
    /// # Safety
    /// The arena is locked while the iterator lives.
    pub(crate) unsafe fn extents(&self) -> impl Iterator<Item = (usize, usize, bool)> {
        let mut page = self.first_page;
        core::iter::from_fn(move || {
            if page >= self.map.pages() {
                return None;
            }
            // SAFETY: extents tile the pool, and the map knows the first page of each.
            let extent = unsafe { &*self.map.extent(page) };
            page = extent.end();
            let live = matches!(extent.state, State::Slab | State::Large);
            Some((extent.start(), extent.end(), live))
        })
    }

    /// In a fork child that shares live pages: free pages in one granule with them cannot be cut off from the source,
    /// and are the parent's to hand out. Here they are live from now on, and nobody's.
    pub(crate) fn give_up_beside_live(&self) -> Result<(), Errno> {
        let granule = self.source.granule() >> PAGE_SHIFT;
        if granule == 1 {
            return Ok(());
        }
        let mut heap = self.heap.lock();
        let mut page = self.first_page;
        while page < self.map.pages() {
            let extent = self.map.extent(page);
            // SAFETY: extents tile the pool; the only thread of a child holds the lock.
            let (start, end, state) =
                unsafe { ((*extent).start(), (*extent).end(), (*extent).state) };
            page = end;
            if state != State::Free {
                continue;
            }
            let first_whole = start.next_multiple_of(granule).min(end);
            let last_whole = (end / granule * granule).max(first_whole);
            // SAFETY: found by its first page, and what is left of it by its last one: in the free lists.
            unsafe {
                self.give_up(&mut heap, self.map.extent(start), start, first_whole)?;
                self.give_up(&mut heap, self.map.extent(end - 1), last_whole, end)?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// `extent` is in a free list of `heap` and contains `start..end`, if that is not empty.
    unsafe fn give_up(
        &self,
        heap: &mut PageHeap,
        extent: *mut Extent,
        start: usize,
        end: usize,
    ) -> Result<(), Errno> {
        if start == end {
            return Ok(());
        }
        // SAFETY: contract; unlinked before it is cut.
        unsafe {
            let spare = self.spare_descriptors(extent, start, end)?;
            heap.remove(extent);
            self.cut(heap, extent, start, end, spare, State::Large);
        }
        self.map.committed().set(start, end);
        heap.counts.live += end - start;
        Ok(())
    }

    /// In a fork child: puts the free lists right. An extent that a vanished thread was giving back
    /// is free again; with `emptied`, pages of free extents that are not frozen read as zero and
    /// are not backed.
    pub(crate) fn rebuild_free(&self, emptied: bool) {
        let mut heap = self.heap.lock();
        heap.purging = 0;
        heap.ready = ExtentBins::new();
        heap.holes = ExtentBins::new();
        let mut free_committed = 0;
        let mut page = self.first_page;
        let mut last_free: *mut Extent = ptr::null_mut();
        while page < self.map.pages() {
            let extent = self.map.extent(page);
            // SAFETY: extents tile the pool; the only thread of a child holds the lock.
            unsafe {
                page = (*extent).end();
                if matches!((*extent).state, State::Slab | State::Large) {
                    last_free = ptr::null_mut();
                    continue;
                }
                let (start, end) = ((*extent).start(), (*extent).end());
                if emptied {
                    // Granules that hold live pages too have their content.
                    let granule = self.source.granule() >> PAGE_SHIFT;
                    let end = end / granule * granule;
                    let mut at = start.next_multiple_of(granule);
                    while let Some((first, last)) = self.map.frozen().next_run(at, end, false) {
                        self.map.committed().clear(first, last);
                        self.map.dirty().clear(first, last);
                        at = last;
                    }
                }
                let committed = self.map.committed().count(start, end);
                free_committed += committed;
                (*extent).linked = false;
                (*extent).committed = committed as u32;
                if last_free.is_null() {
                    (*extent).state = State::Free;
                    last_free = extent;
                } else {
                    // A neighbour that was being given back could not be merged then.
                    heap.remove(last_free);
                    (*last_free).committed += committed as u32;
                    let first = (*last_free).start();
                    self.retire(extent);
                    self.describe(last_free, first, end - first, State::Free);
                }
                heap.insert(last_free);
            }
        }
        heap.counts.free_committed = free_committed;
        heap.counts.committed = heap.counts.live + free_committed;
    }

    /// Gives back everything free, now. Returns bytes.
    pub(crate) fn trim(&self) -> usize {
        let (_heap, pages) = self.purge_older_than(self.heap.lock(), 0, usize::MAX);
        (pages << PAGE_SHIFT) + self.give_up_reserve()
    }

    /// Gives back the space of pages that were never written. The caller has the arena lock. Returns bytes.
    fn give_up_reserve(&self) -> usize {
        if self.is_detached() || !self.reserved.swap(false, Relaxed) {
            return 0;
        }
        let (mut at, end) = (self.first_page, self.map.pages());
        let mut bytes = 0;
        while let Some((first, last)) = self.map.committed().next_run(at, end, false) {
            let (offset, len) = (first << PAGE_SHIFT, (last - first) << PAGE_SHIFT);
            if self.source.purge(offset, len) == Purged::Zeroed {
                bytes += len;
            }
            at = last;
        }
        bytes
    }
}

impl PageHeap {
    /// The free extents.
    pub(crate) fn free_extents(&self) -> impl Iterator<Item = *mut Extent> {
        // SAFETY: `&self` means that the arena is locked.
        unsafe { self.ready.iter().chain(self.holes.iter()) }
    }

    /// Number of free extents in the lists.
    pub(crate) fn listed(&self) -> usize {
        // SAFETY: `&self` means that the arena is locked.
        unsafe { self.ready.iter().count() + self.holes.iter().count() }
    }

    /// First page of an extent that is not free, or not in the list that its size and backing call
    /// for.
    pub(crate) fn misplaced(&self) -> Option<usize> {
        // SAFETY: `&self` means that the arena is locked; members are live.
        unsafe {
            let wrong = |extent: &*mut Extent, ready: bool| {
                (**extent).state != State::Free || ((**extent).committed > 0) != ready
            };
            let mut ready = self.ready.iter().filter(|extent| wrong(extent, true));
            let mut holes = self.holes.iter().filter(|extent| wrong(extent, false));
            let extent = ready.next().or_else(|| holes.next());
            let extent = extent.or_else(|| self.ready.misplaced());
            extent.or_else(|| self.holes.misplaced()).map(|extent| (*extent).start as usize)
        }
    }

    fn bins(&mut self, committed: u32) -> &mut ExtentBins {
        if committed > 0 { &mut self.ready } else { &mut self.holes }
    }

    /// # Safety
    /// `extent` is free, unlinked, its counts are right; the arena lock is held.
    pub(crate) unsafe fn insert(&mut self, extent: *mut Extent) {
        // SAFETY: contract.
        unsafe { self.bins((*extent).committed).insert(extent) };
    }

    /// # Safety
    /// `extent` is in the free lists, unchanged since it was inserted; the arena lock is held.
    pub(crate) unsafe fn remove(&mut self, extent: *mut Extent) {
        // SAFETY: contract.
        unsafe { self.bins((*extent).committed).remove(extent) };
    }
}

impl PageCounts {
    fn commit(&mut self, pages: usize) {
        self.committed += pages;
        self.free_committed += pages;
        self.peak_committed = self.peak_committed.max(self.committed);
    }

    fn uncommit(&mut self, pages: usize) {
        self.committed -= pages;
        self.free_committed -= pages;
        self.purged += pages as u64;
    }

    /// Pages of a slab were given back.
    fn punch(&mut self, pages: usize) {
        self.live -= pages;
        self.committed -= pages;
        self.purged += pages as u64;
    }

    /// Pages of a slab are backed again.
    fn back(&mut self, pages: usize) {
        self.commit(pages);
        self.take(pages);
    }

    fn take(&mut self, pages: usize) {
        self.free_committed -= pages;
        self.live += pages;
        self.peak_live = self.peak_live.max(self.live);
    }

    fn give(&mut self, pages: usize) {
        self.free_committed += pages;
        self.live -= pages;
    }
}
