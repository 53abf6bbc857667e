//! The way home: after a fork the parent's frozen pages are shared with the medium again.
//!
//! A fork in private mode freezes live pages: parent and child see those of the file, and what either
//! stores is a copy in DRAM. When all children are gone nobody else needs the frozen state, and the
//! pages come home:
//!
//! ```text
//! page                      when                          how
//! of a free extent          at once                       the file is mapped over it; it has no content
//! of a live one, freed      as it is freed                the same
//! of a live one             a step at a time, on slow     stores are written to the file, which is then
//!                           paths                         mapped over it; see `Source::bring_home`
//! ```
//!
//! The last kind needs that nobody stores to the range meanwhile: the process has one thread, or the
//! system lets us hold writers back (`Source::keep_still`). Otherwise live pages stay in DRAM until
//! they are freed, or the conditions change.
//!
//! Threads come here from slow paths. From when the children are gone until all is done the thread that
//! noticed it has a *diverted* cache: its calls of free take the slow path.
//!
//! Everything here happens under the arena lock, which a fork holds.

use crate::arena::{Arena, Forking, PageHeap};
use crate::cache::Cache;
use crate::config::PAGE_SHIFT;
use crate::memcheck;
use crate::pool::PoolInner;
use crate::rank;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use pmem_core::offspring::Offspring;
use pmem_core::sync::Mutex;
use pmem_core::sys;

/// Milliseconds within which pages come home, unless the process says otherwise.
pub const DEFAULT_HOME_MS: u32 = 1000;

/// See [`set_home_ms`]; 0 for never.
static HOME_MS: AtomicU32 = AtomicU32::new(DEFAULT_HOME_MS);

/// Within about how many milliseconds after the children of a fork are gone the pages that the fork made
/// private are to be back on the medium, in a process that goes on allocating. `None`: they stay in
/// ordinary memory until they are freed and used again.
pub fn set_home_ms(ms: Option<u32>) {
    HOME_MS.store(ms.unwrap_or(0), Relaxed);
}

/// The children of this process's forks.
pub(crate) static OFFSPRING: Mutex<Offspring> = Mutex::new(rank::OFFSPRING, Offspring::new());

/// Bytes that one step copies at most.
const STEP_BYTES: usize = 512 << 10;
/// Pages that are held back at once.
const STEP_PAGES: usize = 128;
/// Microseconds after which a step begins nothing new.
const STEP_US: u64 = 250;
/// Runs of free pages that one step shares.
const STEP_FREE_RUNS: usize = 64;

/// Nothing is frozen.
const NEVER: u64 = u64::MAX;

/// What an arena knows of its way home. Guarded by the arena lock; atomic because it lies beside what
/// is not.
pub(crate) struct Home {
    /// When a slow path looks next, in ms of the arena clock. Read without the lock.
    next_ms: AtomicU64,
    /// First and latest fork since everything was at home.
    first_fork_ms: AtomicU64,
    last_fork_ms: AtomicU64,
    /// The children of all forks are gone.
    returning: AtomicBool,
    /// Free extents have been looked through since then.
    free_done: AtomicBool,
    /// Live pages below this one are at home.
    cursor: AtomicUsize,
    /// When live pages may move again, in microseconds of the system's clock.
    next_move_us: AtomicU64,
}

impl Home {
    pub(crate) const fn new() -> Home {
        Home {
            next_ms: AtomicU64::new(NEVER),
            first_fork_ms: AtomicU64::new(NEVER),
            last_fork_ms: AtomicU64::new(0),
            returning: AtomicBool::new(false),
            free_done: AtomicBool::new(false),
            cursor: AtomicUsize::new(0),
            next_move_us: AtomicU64::new(0),
        }
    }

    /// Pages were frozen for a fork.
    pub(crate) fn left(&self, now: u64) {
        self.first_fork_ms.store(self.first_fork_ms.load(Relaxed).min(now), Relaxed);
        self.last_fork_ms.store(now, Relaxed);
        self.returning.store(false, Relaxed);
        self.next_ms.store(now, Relaxed);
    }

    /// Whether nothing is away.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.next_ms.load(Relaxed) == NEVER
    }

    /// Whether frozen pages that become free are to be shared.
    pub(crate) fn is_returning(&self) -> bool {
        self.returning.load(Relaxed)
    }

    /// Whether there is more to bring home right now.
    fn is_under_way(&self, now: u64) -> bool {
        self.is_returning() && self.is_due(now)
    }

    #[inline]
    fn is_due(&self, now: u64) -> bool {
        now >= self.next_ms.load(Relaxed)
    }

    /// Nothing is frozen, or, in a child, nothing frozen has a way home.
    pub(crate) fn arrived(&self) {
        self.first_fork_ms.store(NEVER, Relaxed);
        self.returning.store(false, Relaxed);
    }
}

impl PoolInner {
    /// Brings some pages home, if it is time to. If there are more, the thread is sent here again by its
    /// next call of free: a program may leave the fast paths too seldom.
    ///
    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    #[inline]
    pub(crate) unsafe fn come_home_if_due(&self, cache: *mut Cache, now: u64) {
        if self.arena.home.is_due(now) {
            // SAFETY: contract.
            unsafe { self.come_home(cache, now) };
        }
    }

    /// # Safety
    /// As [`PoolInner::come_home_if_due`].
    #[cold]
    #[inline(never)]
    unsafe fn come_home(&self, cache: *mut Cache, now: u64) {
        self.arena.come_home(now);
        if self.arena.home.is_at_rest() {
            // No call may come this way again for long: what was taken for the time of the fork would stay.
            self.arena.purge_aged();
        }
        if self.arena.home.is_under_way(now) && !cache.is_null() {
            // SAFETY: contract.
            unsafe { Cache::divert(cache) };
        }
    }
}

impl Arena {
    fn come_home(&self, now: u64) {
        if sys::monotonic_us() < self.home.next_move_us.load(Relaxed) {
            return;
        }
        let mut heap = self.heap.lock();
        // Another thread may have been here meanwhile.
        if self.home.is_due(now) {
            let next = self.step_home(&mut heap, now, false);
            self.home.next_ms.store(next, Relaxed);
        }
    }

    /// Brings home what can be brought home now.
    pub(crate) fn come_home_now(&self) {
        loop {
            let mut heap = self.heap.lock();
            let now = self.now();
            let next = self.step_home(&mut heap, now, true);
            self.home.next_ms.store(next, Relaxed);
            // Each step gets on, or asks to wait.
            if next > now {
                return;
            }
        }
    }

    fn frozen_pages(&self) -> usize {
        self.map.frozen().count(self.first_page(), self.map.pages())
    }

    /// One bounded step. Returns when to take the next.
    #[inline(never)]
    fn step_home(&self, heap: &mut PageHeap, now: u64, at_once: bool) -> u64 {
        let home = &self.home;
        let limit = HOME_MS.load(Relaxed);
        // In a child nothing is shared with the medium; this process never looks again. Under valgrind
        // pages hold bytes that must not be read.
        if limit == 0 || memcheck::is_on() || self.is_detached() || self.is_sharing() {
            return NEVER;
        }
        if home.first_fork_ms.load(Relaxed) == NEVER {
            return NEVER;
        }
        let limit = u64::from(limit);
        let pause = (limit / 8).max(1);
        if !self.is_forking(Forking::No) {
            return now + pause;
        }
        if !home.is_returning() {
            // A program that forks again and again would carry its pages to and fro.
            let quiet = home.last_fork_ms.load(Relaxed) + limit / 4;
            let patience = home.first_fork_ms.load(Relaxed) + 4 * limit;
            if now < quiet.min(patience) && !at_once {
                return quiet.min(patience);
            }
            if !OFFSPRING.lock().is_gone() {
                return now + pause;
            }
            // The next fork's patience counts from here.
            home.first_fork_ms.store(now, Relaxed);
            home.returning.store(true, Relaxed);
            home.free_done.store(false, Relaxed);
            home.cursor.store(self.first_page(), Relaxed);
        }
        if !home.free_done.load(Relaxed) {
            match self.free_extents_home(heap) {
                Ok(done) => home.free_done.store(done, Relaxed),
                Err(()) => return now + limit,
            }
            return now;
        }
        self.live_pages_home(now, limit)
    }

    /// Shares frozen pages of free extents. Whether all are done.
    fn free_extents_home(&self, heap: &mut PageHeap) -> Result<bool, ()> {
        let mut left = STEP_FREE_RUNS;
        for extent in heap.free_extents() {
            // SAFETY: a member of the free lists, under the lock.
            let (start, end) = unsafe { ((*extent).start(), (*extent).end()) };
            let runs = self.share_frozen(start, end, left);
            left -= runs.map_err(|_| ())?;
            if left == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Shares the frozen pages of a range whose content nobody needs, up to `most` runs. Returns how
    /// many runs.
    pub(crate) fn share_frozen(
        &self,
        start: usize,
        end: usize,
        most: usize,
    ) -> Result<usize, pmem_core::errno::Errno> {
        let frozen = self.map.frozen();
        let mut at = start;
        let mut runs = 0;
        while runs < most
            && let Some((first, last)) = frozen.next_run(at, end, true)
        {
            let (offset, len) = (first << PAGE_SHIFT, (last - first) << PAGE_SHIFT);
            // One mapping at a time: what has been shared must be known as such.
            let len = self.source.run(offset, len);
            self.source.share(offset, len)?;
            at = first + (len >> PAGE_SHIFT);
            frozen.clear(first, at);
            runs += 1;
        }
        Ok(runs)
    }

    fn live_pages_home(&self, now: u64, limit: u64) -> u64 {
        let frozen = self.map.frozen();
        let home = &self.home;
        let pages = self.map.pages();
        if frozen.next_run(home.cursor.load(Relaxed), pages, true).is_none() {
            if self.frozen_pages() == 0 {
                home.arrived();
                return NEVER;
            }
            home.cursor.store(self.first_page(), Relaxed);
        }
        // Of the CPU: a machine that is busy elsewhere is no reason to do less.
        let start = sys::thread_us();
        let base = self.source.base().addr().get();
        if sys::may_be_pinned(&(base..base + self.source.len())) {
            return now + limit;
        }
        let Some(still) = self.source.keep_still() else { return now + limit };
        let begin = sys::thread_us();
        let mut budget = STEP_BYTES;
        while budget > 0
            && sys::thread_us() - begin < STEP_US
            && let Some((first, last)) = frozen.next_run(home.cursor.load(Relaxed), pages, true)
        {
            let last = last.min(first + STEP_PAGES);
            let (offset, len) = (first << PAGE_SHIFT, (last - first) << PAGE_SHIFT);
            let len = self.source.run(offset, len);
            // SAFETY: all of it is frozen, and nobody that was forked since is left: both under the arena
            // lock, which a fork takes.
            match unsafe { self.source.bring_home(&still, offset, len, budget) } {
                Ok(came) => {
                    frozen.clear(first, first + (came.done >> PAGE_SHIFT));
                    home.cursor.store(first + (came.done >> PAGE_SHIFT), Relaxed);
                    budget = budget.saturating_sub(came.copied);
                    if came.done < len {
                        break; // the rest of the range is held back until `still` goes
                    }
                }
                Err(_) => return now + limit,
            }
        }
        // Half of the time is the program's.
        let pause = sys::thread_us() - start;
        home.next_move_us.store(sys::monotonic_us() + pause, Relaxed);
        now
    }
}
