//! A pool: an arena, a bin per class, and the caches that threads have of it.
//!
//! [`PoolInner`] holds the slow paths; they work with a thread cache or, when the thread has none
//! (too few operations, exiting, no DRAM), directly on the bins.

mod punching;

use crate::arena::{Arena, PurgePolicy};
use crate::bin::Bin;
use crate::cache::{BIN_BYTES, Cache, Due, HEAD_BYTES};
use crate::config::{
    BORROW_FACTOR, CACHE_TOTAL_FRACTION, HUGE_FROM_BYTES, MAX_POOL_BYTES, MIN_POOL_BYTES, PAGE,
    PAGE_SHIFT, SMALL_POOL_PAGES, SMALL_POOL_SLOTS,
};
use crate::extent::{Extent, State};
use crate::fork::{Plan, is_shared};
use crate::harden::{self, Hard, Harden};
use crate::orphan::{empty_in_children, is_orphan, put_up_guard};
use crate::page_map::widened;
use crate::size_class::{CLASS_COUNT, ClassId, MAX_SMALL};
use crate::{fatal, rank, registry, thread};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use pmem_core::errno::Errno;
use pmem_core::error::Error;
use pmem_core::source::{Source, SourceKind};
use pmem_core::sync::{Mutex, MutexGuard};
use pmem_core::sys;
use punching::Punching;

/// Whether the kernel is asked for huge pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugePages {
    /// Leave it to the system's defaults.
    Never,
    /// `madvise(MADV_HUGEPAGE)` on the whole pool, and space is taken and given back in units of 2 MiB
    /// where that is possible: pages of the unit become resident together, also those of a large
    /// block that are never used. For pools of at least 64 MiB on anonymous memory, on tmpfs mounted
    /// with `huge=advise`, and in memory files where `shmem_enabled` is `advise`; elsewhere nothing
    /// changes, or pages are merely brought in sooner.
    Advise,
}

/// How a pool behaves. `PoolOptions::default()` is lazy, purges after a second and leaves huge
/// pages alone.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Commit the whole pool at creation: what is created cannot run out of backing later. Implies
    /// that nothing is given back but by [`Pool::trim`].
    pub prealloc: bool,
    /// When the pages of freed extents go back to the source.
    pub purge: PurgePolicy,
    /// Huge-page policy.
    pub huge_pages: HugePages,
    /// Bytes at the start of the range that the pool leaves alone (rounded up to what the source
    /// commits at a time: pages, except for huge pages and devices).
    pub head_bytes: usize,
    /// What the pool does to find errors of the program.
    pub harden: Harden,
    /// Whether threads keep free blocks of their own. Without, every call takes a lock; for tools that
    /// watch each block (valgrind).
    pub thread_caches: bool,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            prealloc: false,
            purge: PurgePolicy::AfterMs(crate::config::DEFAULT_PURGE_MS),
            huge_pages: HugePages::Never,
            head_bytes: 0,
            harden: Harden::Off,
            thread_caches: true,
        }
    }
}

/// Where a cache begins in its memory in a guarded pool: its head ends the first page.
const CACHE_OFFSET: usize = PAGE - HEAD_BYTES;
/// What it takes there: whole pages.
const CACHE_BYTES: usize = (CACHE_OFFSET + size_of::<Cache>()).next_multiple_of(PAGE);

#[repr(align(64))]
pub(crate) struct BinCell(Mutex<Bin>);

/// The caches of a pool, in use or waiting for a thread.
pub(crate) struct CacheList {
    head: *mut Cache,
}

// SAFETY: the list lock guards the links; caches belong to the pool.
unsafe impl Send for CacheList {}

pub(crate) struct PoolInner {
    /// Never 0, never used again in this process.
    pub(crate) id: u64,
    /// Index in the registry; used again after the pool is gone.
    pub(crate) slot: usize,
    pub(crate) arena: Arena,
    /// Whether a child made without fork handlers leaves the pool alone; see `orphan`.
    guarded: bool,
    pub(crate) bins: [BinCell; CLASS_COUNT],
    pub(crate) caches: Mutex<CacheList>,
    /// Caches in use; changed under the list lock.
    caches_in_use: AtomicUsize,
    /// See [`PoolOptions::thread_caches`].
    pub(crate) thread_caches: bool,
    /// When the next thread on a slow path looks for idle bins, in ms of the arena clock.
    next_look_ms: AtomicU64,
    /// Looks of threads for idle classes that their work was the reason for, since the last look for
    /// idle bins of that kind.
    looks_by_work: AtomicUsize,
    pub(crate) punching: Punching,
    /// What a fork under way does with the pool; touched only by the thread that forks.
    pub(crate) fork_plan: UnsafeCell<Plan>,
}

// SAFETY: all shared state is behind locks or atomic; raw pointers refer to memory of the pool.
unsafe impl Sync for PoolInner {}
// SAFETY: as above.
unsafe impl Send for PoolInner {}

/// Where a new block came from.
pub(crate) struct Block {
    pub(crate) pointer: *mut u8,
    /// Its bytes are known to be zero.
    pub(crate) zeroed: bool,
}

impl Block {
    pub(crate) const NONE: Block = Block { pointer: ptr::null_mut(), zeroed: false };
}

impl PoolInner {
    fn create(source: Source, options: &PoolOptions) -> Result<NonNull<PoolInner>, Error> {
        let fail = |operation: &'static str| move |errno| Error { operation, errno };
        if !(MIN_POOL_BYTES..=MAX_POOL_BYTES).contains(&source.len()) {
            return Err(fail("pool size")(Errno::EINVAL));
        }
        let in_huge_pages = options.huge_pages == HugePages::Advise
            && source.len() >= HUGE_FROM_BYTES
            && (source.is_in_memory() || source.kind() == SourceKind::Anonymous);
        if in_huge_pages {
            source.advise_huge(0, source.len());
        }
        let purge = if options.prealloc { PurgePolicy::Never } else { options.purge };
        // Whole granules: the head is not committed, purged or copied with what comes after it.
        let head_pages = options.head_bytes.div_ceil(source.granule()) * (source.granule() / PAGE);
        if head_pages >= source.len() >> PAGE_SHIFT {
            return Err(fail("pool size")(Errno::EINVAL));
        }
        let mut arena = Arena::new(source, head_pages, purge, in_huge_pages)
            .map_err(fail("mmap of pool metadata"))?;
        match Hard::new(options.harden, arena.map.base(), arena.map.pages()) {
            Ok(hard) => arena.map.hard = hard,
            Err(errno) => {
                // SAFETY: nobody else knows the arena.
                unsafe { arena.release() };
                return Err(fail("mmap of pool metadata")(errno));
            }
        }
        if options.prealloc
            && let Err(errno) = arena.commit_all()
        {
            // SAFETY: nobody else knows the arena.
            unsafe { arena.release() };
            return Err(fail("posix_fallocate")(errno));
        }
        let memory = match sys::map_anonymous(size_of::<PoolInner>()) {
            Ok(memory) => memory.cast::<PoolInner>(),
            Err(errno) => {
                // SAFETY: nobody else knows the arena.
                unsafe { arena.release() };
                return Err(fail("mmap of pool metadata")(errno));
            }
        };
        // SAFETY: a fresh mapping of the right size; every field is written before use.
        unsafe {
            let pool = memory.as_ptr();
            (&raw mut (*pool).guarded).write(is_shared(&arena.source) && put_up_guard());
            (&raw mut (*pool).arena).write(arena);
            let bins = (&raw mut (*pool).bins).cast::<BinCell>();
            for class in 0..CLASS_COUNT {
                bins.add(class).write(BinCell(Mutex::new(rank::BIN, Bin::new())));
            }
            (&raw mut (*pool).caches)
                .write(Mutex::new(rank::CACHES, CacheList { head: ptr::null_mut() }));
            (&raw mut (*pool).caches_in_use).write(AtomicUsize::new(0));
            (&raw mut (*pool).thread_caches).write(options.thread_caches);
            (&raw mut (*pool).next_look_ms).write(AtomicU64::new(0));
            (&raw mut (*pool).looks_by_work).write(AtomicUsize::new(0));
            (&raw mut (*pool).punching).write(Punching::new());
            (&raw mut (*pool).fork_plan).write(UnsafeCell::new(Plan::Nothing));
            (&raw mut (*pool).id).write(0);
            (&raw mut (*pool).slot).write(0);
            // Under the registry's lock: others see the pool with its id, or not at all.
            let registered = registry::lock().pools.insert(memory, |id, slot| {
                (*pool).id = id;
                (*pool).slot = slot;
            });
            if let Err(errno) = registered {
                PoolInner::destroy(memory);
                return Err(fail("table of pools")(errno));
            }
        }
        Ok(memory)
    }

    /// Releases all memory of an unregistered pool.
    ///
    /// # Safety
    /// Nobody uses the pool or a block of it any more.
    unsafe fn destroy(pool: NonNull<PoolInner>) {
        // SAFETY: contract; the fields are initialised and dropped once.
        unsafe {
            let inner = pool.as_ptr();
            if (*inner).guarded {
                (*inner).unmap_caches();
            }
            (*inner).arena.release();
            ptr::drop_in_place(inner);
            let _ = sys::unmap(pool.cast(), size_of::<PoolInner>());
        }
    }

    /// Whether this process is a child that has to leave the pool alone; see `orphan`.
    #[inline(never)]
    pub(crate) fn is_left_alone(&self) -> bool {
        self.guarded && is_orphan()
    }

    pub(crate) fn bin(&self, class: ClassId) -> MutexGuard<'_, Bin> {
        self.bins[usize::from(class.0)].0.lock()
    }

    pub(crate) fn bin_locks(&self) -> impl Iterator<Item = &Mutex<Bin>> {
        self.bins.iter().map(|cell| &cell.0)
    }

    /// What the pool has if it is hardened.
    #[inline]
    pub(crate) fn hard(&self) -> Option<&Hard> {
        self.arena.map.hard.as_ref()
    }

    /// A block for `size` bytes. `cache` is the calling thread's cache of this pool, or null.
    ///
    /// # Safety
    /// `cache` is as said.
    pub(crate) unsafe fn allocate(&self, cache: *mut Cache, size: usize) -> Block {
        if self.is_left_alone() {
            return Block::NONE;
        }
        match self.hard() {
            // SAFETY: contract.
            None => unsafe { self.allocate_plain(cache, size) },
            Some(hard) => harden::allocate(self, hard, size),
        }
    }

    /// A block for `size` bytes that can grow to `room` bytes where it is. (To the program of a pool that
    /// is not hardened it is one of `room` bytes.)
    ///
    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    pub(crate) unsafe fn allocate_roomy(
        &self,
        cache: *mut Cache,
        size: usize,
        room: usize,
    ) -> Block {
        if self.is_left_alone() {
            return Block::NONE;
        }
        match self.hard() {
            // SAFETY: contract.
            None => unsafe { self.allocate_plain(cache, room) },
            Some(hard) => harden::allocate_roomy(self, hard, size, room),
        }
    }

    /// # Safety
    /// As [`PoolInner::allocate`].
    pub(crate) unsafe fn allocate_plain(&self, cache: *mut Cache, size: usize) -> Block {
        match ClassId::for_size(size) {
            Some(class) => {
                // SAFETY: contract.
                let block = unsafe { self.allocate_class(cache, class) };
                if block.pointer.is_null() { self.borrow(class, 1) } else { block }
            }
            // SAFETY: contract.
            None => unsafe { self.allocate_pages(cache, size, 1) },
        }
    }

    /// A block for `size` bytes at a multiple of `align` (a power of two).
    ///
    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    pub(crate) unsafe fn allocate_aligned(
        &self,
        cache: *mut Cache,
        align: usize,
        size: usize,
    ) -> Block {
        if self.is_left_alone() {
            return Block::NONE;
        }
        match self.hard() {
            // SAFETY: contract.
            None => unsafe { self.allocate_aligned_plain(cache, align, size) },
            Some(hard) => harden::allocate_aligned(self, hard, align, size),
        }
    }

    /// # Safety
    /// As [`PoolInner::allocate_aligned`].
    pub(crate) unsafe fn allocate_aligned_plain(
        &self,
        cache: *mut Cache,
        align: usize,
        size: usize,
    ) -> Block {
        match ClassId::for_aligned(size, align) {
            Some(class) => {
                // SAFETY: contract.
                let block = unsafe { self.allocate_class(cache, class) };
                if block.pointer.is_null() { self.borrow(class, align) } else { block }
            }
            // SAFETY: contract.
            None => unsafe { self.allocate_pages(cache, size.max(1), align.div_ceil(PAGE)) },
        }
    }

    /// A block of `size` bytes (> 0) rounded up to whole pages and no further.
    ///
    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    pub(crate) unsafe fn allocate_whole_pages(&self, cache: *mut Cache, size: usize) -> Block {
        if self.is_left_alone() {
            return Block::NONE;
        }
        match self.hard() {
            // SAFETY: contract.
            None => unsafe { self.allocate_whole_pages_plain(cache, size) },
            Some(hard) => harden::allocate_whole_pages(self, hard, size),
        }
    }

    /// # Safety
    /// As [`PoolInner::allocate_whole_pages`].
    pub(crate) unsafe fn allocate_whole_pages_plain(
        &self,
        cache: *mut Cache,
        size: usize,
    ) -> Block {
        match ClassId::for_aligned(size, PAGE) {
            Some(class) if class.size() - size < PAGE => {
                // SAFETY: contract.
                unsafe { self.allocate_class(cache, class) }
            }
            // SAFETY: contract.
            _ => unsafe { self.allocate_pages(cache, size, 1) },
        }
    }

    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    unsafe fn allocate_class(&self, cache: *mut Cache, class: ClassId) -> Block {
        // SAFETY: contract.
        let pointer = unsafe {
            let own = cache.as_ref().filter(|own| own.can_hold(class));
            if own.is_some() {
                let slot = Cache::pop_class(cache, class);
                if !slot.is_null() {
                    return Block { pointer: slot, zeroed: false };
                }
            }
            if self.is_small() && class.geometry().slots <= SMALL_POOL_SLOTS {
                let without_room = self.bin(class).is_without_room();
                if without_room {
                    self.reclaim(cache);
                }
            }
            match own {
                Some(own) => self.fill(own, class),
                None => self.take_one(class, false),
            }
        };
        if pointer.is_null() {
            // SAFETY: contract.
            unsafe { self.reclaim(cache) };
            return Block { pointer: self.take_one(class, true), zeroed: false };
        }
        Block { pointer, zeroed: false }
    }

    /// A slot of a larger class, when there is none of `class` and no room for a slab of it: a full
    /// pool may still have free slots of other sizes, or shorter runs of free pages.
    #[cold]
    fn borrow(&self, class: ClassId, align: usize) -> Block {
        // A block should not take the place of very many.
        let largest = PAGE.max(BORROW_FACTOR * class.size());
        let pointer = ClassId::all()
            .filter(|larger| *larger > class && larger.size().is_multiple_of(align))
            .take_while(|larger| larger.size() <= largest)
            .map(|larger| self.take_one(larger, false))
            .find(|slot| !slot.is_null());
        Block { pointer: pointer.unwrap_or(ptr::null_mut()), zeroed: false }
    }

    /// For how many bytes of blocks a cache may have places.
    fn cache_budget(&self) -> usize {
        let caches = self.caches_in_use.load(Relaxed).max(1);
        (self.arena.map.pages() << PAGE_SHIFT) / CACHE_TOTAL_FRACTION / caches
    }

    /// Fills the cache's empty stack of `class` and pops one slot; null when the pool is full.
    fn fill(&self, cache: &Cache, class: ClassId) -> *mut u8 {
        cache.visit(class);
        {
            let mut bin = self.bin(class);
            cache.grow(class, self.cache_budget(), &self.arena.meta);
            let (out, room) = cache.room(class);
            if room == 0 {
                // No DRAM for a stack, or the cache has places for as much as it may hold.
                drop(bin);
                return self.take_one(class, false);
            }
            let want = cache.fill_count(class).min(room);
            // SAFETY: the bin of this class and pool; room for `want` slots.
            let got = unsafe { bin.take(&self.arena, class, out, want, false) };
            cache.filled(class, got);
        }
        let this = ptr::from_ref(cache).cast_mut();
        // SAFETY: the calling thread's cache. (Before the slot is popped: the class was visited just
        // now, so it is not idle.)
        unsafe {
            self.look_for_idle(this);
            Cache::pop_class(this, class)
        }
    }

    /// A slot of `class` straight from its bin; null when the pool is full. As a `last_resort` a
    /// smaller slab than usual is made.
    fn take_one(&self, class: ClassId, last_resort: bool) -> *mut u8 {
        let mut slot = ptr::null_mut();
        // SAFETY: the bin of this class and pool; room for one.
        unsafe { self.bin(class).take(&self.arena, class, &raw mut slot, 1, last_resort) };
        slot
    }

    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    unsafe fn allocate_pages(&self, cache: *mut Cache, size: usize, align_pages: usize) -> Block {
        let Some(rounded) = size.checked_next_multiple_of(PAGE) else {
            return Block::NONE;
        };
        let pages = rounded >> PAGE_SHIFT;
        // SAFETY: contract.
        unsafe { self.look_for_idle(cache) };
        if self.is_small() {
            // SAFETY: contract.
            unsafe { self.reclaim(cache) };
        }
        let mut extent = self.arena.allocate(pages, align_pages, State::Large);
        if extent.is_null() && pages <= self.arena.map.pages() {
            // SAFETY: contract.
            unsafe { self.reclaim(cache) };
            extent = self.arena.allocate(pages, align_pages, State::Large);
        }
        if extent.is_null() {
            return Block::NONE;
        }
        // SAFETY: a run of ours; its pages are not yet known to anyone else.
        let start = unsafe { (*extent).start() };
        Block {
            pointer: self.arena.map.address_of(start),
            zeroed: self.arena.is_zero(start, pages),
        }
    }

    /// In a small pool every block in the wrong place counts: before a run for few blocks is placed,
    /// free pages are made as contiguous as they can be.
    fn is_small(&self) -> bool {
        self.arena.map.pages() <= SMALL_POOL_PAGES
    }

    /// Returns everything this thread can get hold of to the arena: its cache of this pool, waiting
    /// slots and empty slabs.
    ///
    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    pub(crate) unsafe fn reclaim(&self, cache: *mut Cache) {
        // SAFETY: contract.
        if let Some(cache) = unsafe { cache.as_ref() } {
            self.flush_all(cache);
        }
        for class in ClassId::all() {
            // SAFETY: the bin of this class and pool.
            unsafe { self.bin(class).reclaim(&self.arena, class, 0) };
        }
    }

    /// Returns what lies idle in the calling thread's cache and in the bins, if it is time to look.
    /// Slow paths call this, so memory comes home in a program that goes on allocating.
    ///
    /// # Safety
    /// `cache` is the calling thread's cache of this pool, or null.
    pub(crate) unsafe fn look_for_idle(&self, cache: *mut Cache) {
        let now = self.arena.now();
        // SAFETY: contract.
        unsafe { self.come_home_if_due(cache, now) };
        let idle_ms = self.arena.idle_ms();
        // SAFETY: contract.
        if let Some(cache) = unsafe { cache.as_ref() } {
            cache.ask_slowly_while_away(self);
        }
        // SAFETY: contract.
        if let Some(cache) = unsafe { cache.as_ref() }
            && let Some(due) = cache.is_look_due(now, idle_ms)
        {
            let idle_ms = if due == Due::ByTime { idle_ms } else { 0 };
            for class in ClassId::all().filter(|&class| cache.has_stack(class)) {
                if !cache.was_idle(class) {
                    continue;
                }
                let count = cache.count(class);
                if count > 0 {
                    self.flush(cache, class, count, Destination::Slabs { idle_ms });
                }
                let _bin = self.bin(class);
                cache.give_up_stack(class, &self.arena.meta);
            }
            if due == Due::ByWork {
                self.looks_by_work.fetch_add(1, Relaxed);
            }
        }
        let threads = self.caches_in_use.load(Relaxed);
        if self.looks_by_work.load(Relaxed) > threads {
            self.looks_by_work.store(0, Relaxed);
            self.reclaim_idle_bins(0);
        }
        let due = self.next_look_ms.load(Relaxed);
        if now >= due
            && self
                .next_look_ms
                .compare_exchange(due, now + u64::from(idle_ms), Relaxed, Relaxed)
                .is_ok()
        {
            self.reclaim_idle_bins(idle_ms);
            self.arena.purge_due();
        }
        self.punch_if_due(now);
    }

    fn reclaim_idle_bins(&self, idle_ms: u32) {
        for class in ClassId::all() {
            // SAFETY: the bin of this class and pool.
            unsafe { self.bin(class).reclaim_if_idle(&self.arena, class, idle_ms) };
        }
    }

    /// Empties a cache into the slabs.
    pub(crate) fn flush_all(&self, cache: &Cache) {
        for class in ClassId::all() {
            let count = cache.count(class);
            if count > 0 {
                self.flush(cache, class, count, Destination::Slabs { idle_ms: 0 });
            }
        }
    }

    /// Moves the `count` oldest slots of `class` from the cache to its bin.
    fn flush(&self, cache: &Cache, class: ClassId, count: usize, to: Destination) {
        let mut bin = self.bin(class);
        cache.drain_oldest(class, count, |slots| {
            // SAFETY: slots in a cache of this pool were taken from this bin or freed to it.
            unsafe {
                match to {
                    Destination::Slabs { idle_ms } => {
                        bin.give_to_slabs(&self.arena, class, slots, idle_ms);
                    }
                    Destination::OtherThreads => bin.give(&self.arena, class, slots),
                }
            }
        });
    }

    /// Frees a block of this pool that the fast path could not take.
    ///
    /// # Safety
    /// `pointer` is a live block of this pool that nobody uses any more, and `cache` is the calling
    /// thread's cache of this pool, or null.
    pub(crate) unsafe fn free(&self, cache: *mut Cache, pointer: *mut u8) {
        if self.is_left_alone() {
            return; // the parent's
        }
        let cache = if self.hard().is_some() { thread::cache_of(self) } else { cache };
        // SAFETY: the calling thread's cache, or null; contract.
        unsafe {
            let diverted = Cache::end_diversion(cache, self);
            self.free_own(cache, pointer);
            if diverted {
                self.come_home_if_due(cache, self.arena.now());
            }
        }
    }

    /// # Safety
    /// As [`PoolInner::free`]; `cache` is not what the fast paths see of a hardened one.
    unsafe fn free_own(&self, cache: *mut Cache, pointer: *mut u8) {
        if let Some(hard) = self.hard() {
            // SAFETY: the calling thread's cache, if it has one; contract.
            unsafe {
                if !cache.is_null() && harden::push(cache, hard, pointer) {
                    return;
                }
                hard.take_back(self, pointer);
            }
        }
        match self.locate(pointer) {
            Located::Slot(class) => {
                // SAFETY: contract.
                match unsafe { cache.as_ref() } {
                    Some(own) if own.can_hold(class) => {
                        self.make_room(own, class);
                        // SAFETY: the calling thread's cache; contract.
                        let pushed = unsafe { Cache::push(cache, pointer) };
                        if pushed {
                            return;
                        }
                        self.give_one(class, pointer);
                    }
                    _ => self.give_one(class, pointer),
                }
            }
            // SAFETY: `locate` found the live run that starts at `pointer`; contract.
            Located::Run(extent) => unsafe {
                self.arena.free(extent);
                self.look_for_idle(cache);
            },
            // The parent's memory too, see `fork`.
            Located::Shared(_) => {}
            Located::Nowhere => fatal::invalid_pointer("free", pointer),
        }
    }

    fn give_one(&self, class: ClassId, slot: *mut u8) {
        // SAFETY: `locate` said that the slot belongs to this class of this pool.
        unsafe { self.bin(class).give_to_slabs(&self.arena, class, &[slot], 0) };
    }

    /// Makes place for one slot of `class` in the cache, if it can be had.
    fn make_room(&self, cache: &Cache, class: ClassId) {
        if !cache.is_full(class) {
            return;
        }
        cache.visit(class);
        {
            let _bin = self.bin(class);
            cache.grow(class, self.cache_budget(), &self.arena.meta);
        }
        if cache.is_full(class) && cache.count(class) > 0 {
            let count = cache.flush_count(class);
            self.flush(cache, class, count, Destination::OtherThreads);
        }
        // SAFETY: the calling thread's cache.
        unsafe { self.look_for_idle(ptr::from_ref(cache).cast_mut()) };
    }

    /// What lies at `pointer`.
    pub(crate) fn locate(&self, pointer: *const u8) -> Located {
        let map = &self.arena.map;
        let Some(page) = map.page_of(pointer.addr()) else {
            return Located::Nowhere;
        };
        let offset = map.class_offset(page);
        if offset != 0 {
            return Located::Slot(ClassId((usize::from(offset) / BIN_BYTES) as u8));
        }
        let extent = map.extent(page);
        if self.arena.is_shared(page) && !extent.is_null() {
            // SAFETY: shared pages belong to live extents, which nobody changes any more.
            let usable = unsafe {
                match (*extent).state {
                    State::Slab => ClassId((*extent).class).size(),
                    _ => (*extent).pages() << PAGE_SHIFT,
                }
            };
            return Located::Shared(usable);
        }
        // SAFETY: descriptors stay readable for the life of the pool, even retired ones.
        let live = !extent.is_null()
            && pointer.addr().is_multiple_of(PAGE)
            && unsafe { (*extent).state == State::Large && (*extent).start() == page };
        if live { Located::Run(extent) } else { Located::Nowhere }
    }

    /// Usable bytes of a block of this pool.
    pub(crate) fn usable_size(&self, pointer: *const u8) -> Option<usize> {
        let room = self.room_of(pointer)?;
        match self.hard() {
            None => Some(room),
            Some(hard) => hard.usable_size(pointer, room),
        }
    }

    /// Bytes that a block of this pool has place for.
    fn room_of(&self, pointer: *const u8) -> Option<usize> {
        match self.locate(pointer) {
            Located::Slot(class) => Some(class.size()),
            // SAFETY: a live run; its page count changes only through its owner, the caller.
            Located::Run(extent) => Some(unsafe { (*extent).pages() } << PAGE_SHIFT),
            Located::Shared(usable) => Some(usable),
            Located::Nowhere => None,
        }
    }

    /// Makes a block of this pool hold `size` bytes without moving it, if possible without wasting
    /// more than half of it.
    ///
    /// # Safety
    /// `pointer` is a live block of this pool owned by the caller.
    pub(crate) unsafe fn resize_in_place(&self, pointer: *mut u8, size: usize) -> bool {
        if self.is_left_alone() {
            return self.usable_size(pointer).is_some_and(|usable| size <= usable);
        }
        // SAFETY: contract.
        unsafe {
            match self.hard() {
                None => self.resize_in_place_plain(pointer, size),
                Some(hard) => {
                    hard.resize(self, pointer, size, || self.resize_in_place_plain(pointer, size))
                }
            }
        }
    }

    /// # Safety
    /// As [`PoolInner::resize_in_place`].
    unsafe fn resize_in_place_plain(&self, pointer: *mut u8, size: usize) -> bool {
        match self.locate(pointer) {
            Located::Slot(class) => {
                let old = class.size();
                size <= old && (size >= old / 2 || ClassId::for_size(size) == Some(class))
            }
            Located::Shared(old) => size <= old,
            Located::Run(extent) => {
                let Some(rounded) = size.checked_next_multiple_of(PAGE) else {
                    return false;
                };
                let pages = rounded >> PAGE_SHIFT;
                // SAFETY: contract.
                let old = unsafe { (*extent).pages() };
                if size <= MAX_SMALL && pages < old / 2 {
                    return false;
                }
                if pages > old {
                    // SAFETY: contract; a live large run.
                    return pages <= self.arena.map.pages()
                        && unsafe { self.arena.grow(extent, pages) };
                }
                // SAFETY: contract; zero bytes still keep a page.
                unsafe { self.arena.shrink(extent, pages.max(1)) };
                true
            }
            Located::Nowhere => fatal::invalid_pointer("realloc", pointer),
        }
    }

    /// Makes a large block hold `size` bytes, more than it does, at another place, without copying it.
    /// Null when that cannot be done: the block is as before. The address keeps its remainder modulo
    /// [`Source::CHUNK`], and with it every usual alignment.
    ///
    /// # Safety
    /// `pointer` is a live block of this pool that only the caller uses; it is freed, unless the
    /// result is null.
    pub(crate) unsafe fn grow_by_moving(&self, pointer: *mut u8, size: usize) -> *mut u8 {
        if self.is_left_alone() {
            return ptr::null_mut();
        }
        let (Located::Run(extent), Some(rounded)) =
            (self.locate(pointer), size.checked_next_multiple_of(PAGE))
        else {
            return ptr::null_mut();
        };
        // SAFETY: a live large run; contract.
        let new = unsafe { self.arena.relocate(extent, rounded >> PAGE_SHIFT) };
        if new.is_null() {
            return new.cast();
        }
        // SAFETY: a run of ours.
        self.arena.map.address_of(unsafe { (*new).start() })
    }

    /// Cuts a block down where it stands, whatever it wastes: a shrinking realloc cannot fail.
    ///
    /// # Safety
    /// `pointer` is a live block of this pool owned by the caller, of at least `size` bytes.
    pub(crate) unsafe fn shrink_in_place(&self, pointer: *mut u8, size: usize) {
        if self.is_left_alone() {
            return;
        }
        // SAFETY: contract.
        unsafe {
            match self.hard() {
                None => self.shrink_in_place_plain(pointer, size),
                Some(hard) => {
                    hard.resize(self, pointer, size, || {
                        self.shrink_in_place_plain(pointer, size);
                        true
                    });
                }
            }
        }
    }

    /// # Safety
    /// As [`PoolInner::shrink_in_place`].
    unsafe fn shrink_in_place_plain(&self, pointer: *mut u8, size: usize) {
        if let Located::Run(extent) = self.locate(pointer) {
            // SAFETY: contract.
            unsafe { self.arena.shrink(extent, size.div_ceil(PAGE).max(1)) };
        }
    }

    /// A cache for the calling thread: one that an exited thread left, or a new one. Null when DRAM
    /// is short.
    pub(crate) fn attach_cache(&self) -> *mut Cache {
        let mut list = self.caches.lock();
        let mut at = list.head;
        while let Some(cache) = NonNull::new(at) {
            // SAFETY: listed caches are live; `in_use` and `next` are guarded by the list lock.
            unsafe {
                let cache = cache.as_ptr();
                if !(*cache).in_use.replace(true) {
                    // It may have been diverted.
                    Cache::write_head(cache, self);
                    self.caches_in_use.fetch_add(1, Relaxed);
                    return at;
                }
                at = (*cache).next.get();
            }
        }
        let Some(memory) = self.cache_memory() else {
            return ptr::null_mut();
        };
        // SAFETY: a block of the right size; the pool outlives its caches.
        unsafe {
            let cache = Cache::init(memory, self).as_ptr();
            if let Some(hard) = self.hard() {
                let front = self.arena.meta.lock().take_block(size_of::<Cache>());
                let Some(front) = front else {
                    self.return_cache_memory(memory);
                    return ptr::null_mut();
                };
                Cache::set_front(cache, front, hard.view());
            }
            (*cache).next.set(list.head);
            (*cache).in_use.set(true);
            self.caches_in_use.fetch_add(1, Relaxed);
            list.head = cache;
            cache
        }
    }

    /// Memory for a cache; in a guarded pool its head is emptied in children.
    fn cache_memory(&self) -> Option<NonNull<u8>> {
        if !self.guarded {
            return self.arena.meta.lock().take_block(size_of::<Cache>());
        }
        let memory = sys::map_anonymous(CACHE_BYTES).ok()?;
        // SAFETY: inside the mapping.
        let cache = unsafe { memory.add(CACHE_OFFSET) };
        if empty_in_children(memory) {
            return Some(cache);
        }
        // SAFETY: mapped above.
        unsafe { self.return_cache_memory(cache) };
        None
    }

    /// # Safety
    /// `memory` is from `cache_memory`, and unused.
    unsafe fn return_cache_memory(&self, memory: NonNull<u8>) {
        // SAFETY: contract.
        unsafe {
            if self.guarded {
                let _ = sys::unmap(memory.sub(CACHE_OFFSET), CACHE_BYTES);
            } else {
                self.arena.meta.lock().return_block(memory, size_of::<Cache>());
            }
        }
    }

    /// What a cache takes beside the memory for descriptors.
    pub(crate) fn own_cache_bytes(&self) -> usize {
        if self.guarded { CACHE_BYTES } else { 0 }
    }

    /// # Safety
    /// The caches of this guarded pool are no longer used.
    unsafe fn unmap_caches(&self) {
        let mut at = core::mem::replace(&mut self.caches.lock().head, ptr::null_mut());
        while let Some(cache) = NonNull::new(at) {
            // SAFETY: listed caches are live, each is unmapped once.
            unsafe {
                at = cache.as_ref().next.get();
                let _ = sys::unmap(cache.cast::<u8>().sub(CACHE_OFFSET), CACHE_BYTES);
            }
        }
    }

    /// In the child of a fork with handlers: the caches are usable again.
    ///
    /// # Safety
    /// The calling thread is the only one.
    pub(crate) unsafe fn restore_caches(&self) {
        if self.guarded {
            // SAFETY: caches of this pool; contract.
            self.for_each_cache(|cache| unsafe { Cache::write_head(cache, self) });
        }
    }

    /// Empties a cache and keeps it for the next thread.
    ///
    /// # Safety
    /// `cache` is a cache of this pool that no thread uses any more (the caller's own, or that of a
    /// thread that does not exist in this process).
    pub(crate) unsafe fn detach_cache(&self, cache: *mut Cache) {
        // SAFETY: contract.
        unsafe {
            self.flush_all(&*cache);
            (*Cache::front_of(cache)).owner.set(ptr::null());
            let _list = self.caches.lock();
            (*cache).in_use.set(false);
            self.caches_in_use.fetch_sub(1, Relaxed);
        }
    }

    /// Calls `visit` with each cache of the pool, under the list lock. Caches in use are changed by
    /// their threads meanwhile.
    pub(crate) fn for_each_cache(&self, mut visit: impl FnMut(*mut Cache)) {
        let list = self.caches.lock();
        let mut at = list.head;
        while !at.is_null() {
            visit(at);
            // SAFETY: listed caches are live.
            at = unsafe { (*at).next.get() };
        }
    }

    pub(crate) fn contains(&self, pointer: *const u8) -> bool {
        self.arena.map.page_of(pointer.addr()).is_some()
    }

    /// Gives back everything free that the calling thread can get hold of. Returns bytes.
    pub(crate) fn trim(&self) -> usize {
        if self.is_left_alone() {
            return 0;
        }
        self.arena.come_home_now();
        // SAFETY: the calling thread's cache.
        unsafe { self.reclaim(thread::cache_of(self)) };
        self.arena.give_up_reserve() + self.punch_all() + self.arena.trim()
    }
}

/// Where a flush sends slots.
#[derive(Clone, Copy)]
enum Destination {
    /// To the transfer array, for other threads to take, if it has room.
    OtherThreads,
    /// To their slabs; nobody has used them for so long.
    Slabs { idle_ms: u32 },
}

/// Result of [`PoolInner::locate`].
pub(crate) enum Located {
    /// Inside a slab of this class (perhaps not at the start of a slot).
    Slot(ClassId),
    /// The start of a live run of whole pages.
    Run(*mut Extent),
    /// In memory that this process shares with its parent and does not use again; so many bytes are
    /// usable.
    Shared(usize),
    /// Not in the pool, or not the start of a block.
    Nowhere,
}

/// A heap of its own over one [`Source`]: volatile, shared by all threads of the process.
///
/// Metadata lies in ordinary memory; the pool holds the users' bytes only. Dropping the pool frees
/// it and all its blocks.
///
/// # Examples
/// ```
/// use pmem_core::source::Source;
/// use vmem_engine::{Pool, PoolOptions};
///
/// let source = Source::anonymous(64 << 20).unwrap();
/// let pool = Pool::create(source, &PoolOptions::default()).unwrap();
/// let block = pool.alloc(100);
/// assert!(!block.is_null() && pool.contains(block));
/// unsafe {
///     block.write_bytes(0xA5, 100);
///     assert_eq!(pool.usable_size(block), 112);
///     pool.free(block);
/// }
/// ```
#[derive(Debug)]
pub struct Pool {
    inner: NonNull<PoolInner>,
}

// SAFETY: PoolInner is Send and Sync; Pool owns it.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes a pool of all of `source`.
    ///
    /// # Errors
    /// EINVAL when the source is smaller than 14 MiB, or 16 TiB and larger, or all head; ENOSPC and the like
    /// when preallocation finds no space; ENOMEM when there is no DRAM for metadata; EMFILE when
    /// there are too many pools.
    pub fn create(source: Source, options: &PoolOptions) -> Result<Pool, Error> {
        PoolInner::create(source, options).map(|inner| Pool { inner })
    }

    pub(crate) fn inner(&self) -> &PoolInner {
        // SAFETY: valid until drop.
        unsafe { self.inner.as_ref() }
    }

    /// Keeps the pool for ever.
    pub(crate) fn into_inner(self) -> NonNull<PoolInner> {
        core::mem::ManuallyDrop::new(self).inner
    }

    /// Allocates `size` bytes aligned to 16 (to 8 for sizes up to 8); a size of 0 gets a block too.
    /// Null when the pool is full.
    #[inline]
    pub fn alloc(&self, size: usize) -> *mut u8 {
        let pool = self.inner();
        let cache = thread::fast_cache_of(pool);
        // SAFETY: the calling thread's cache of this pool, or null.
        unsafe {
            if !cache.is_null() {
                let slot = Cache::pop(cache, size);
                if !slot.is_null() {
                    return slot;
                }
            }
            let pointer = pool.allocate(cache, size).pointer;
            self.scan();
            pointer
        }
    }

    /// As [`Pool::alloc`], with all `size` bytes zero.
    pub fn alloc_zeroed(&self, size: usize) -> *mut u8 {
        // SAFETY: the calling thread's cache of this pool, or null.
        let block = unsafe { self.inner().allocate(thread::cache_of(self.inner()), size) };
        if !block.pointer.is_null() && !block.zeroed {
            // SAFETY: a fresh block of at least `size` bytes.
            unsafe { block.pointer.write_bytes(0, size) };
        }
        block.pointer
    }

    /// Allocates `size` bytes at a multiple of `align`. Null when the pool is full, or when `align`
    /// is no power of two.
    pub fn alloc_aligned(&self, align: usize, size: usize) -> *mut u8 {
        if !align.is_power_of_two() {
            return ptr::null_mut();
        }
        let pool = self.inner();
        // SAFETY: the calling thread's cache of this pool, or null.
        unsafe { pool.allocate_aligned(thread::cache_of(pool), align, size).pointer }
    }

    /// Frees a block; null is ignored.
    ///
    /// # Safety
    /// `pointer` is null, or a live block of this pool that nobody uses any more.
    #[inline]
    pub unsafe fn free(&self, pointer: *mut u8) {
        if pointer.is_null() {
            return;
        }
        let pool = self.inner();
        let cache = thread::fast_cache_of(pool);
        // SAFETY: the calling thread's cache of this pool, or null; contract.
        unsafe {
            let pointer = widened(pointer);
            if cache.is_null() || !Cache::push(cache, pointer) {
                pool.free(cache, pointer);
            }
        }
        self.scan();
    }

    /// Changes the size of a block to `size` bytes, moving it if needed. Null when the pool is full:
    /// the block is then as before. Shrinking cannot fail.
    ///
    /// # Safety
    /// `pointer` is null (then this is [`Pool::alloc`]), or a live block of this pool that only the
    /// caller uses.
    pub unsafe fn realloc(&self, pointer: *mut u8, size: usize) -> *mut u8 {
        if pointer.is_null() {
            return self.alloc(size);
        }
        let pool = self.inner();
        let pointer = widened(pointer);
        // SAFETY: contract; copies stay inside both blocks.
        unsafe {
            if pool.resize_in_place(pointer, size) {
                return pointer;
            }
            let old = pool.usable_size(pointer).unwrap_or(0);
            if size > old {
                let moved = pool.grow_by_moving(pointer, size);
                if !moved.is_null() {
                    self.scan();
                    return moved;
                }
            }
            let new = self.alloc(size);
            if !new.is_null() {
                ptr::copy_nonoverlapping(pointer, new, old.min(size));
                self.free(pointer);
            } else if size < old {
                pool.shrink_in_place(pointer, size);
                return pointer;
            }
            new
        }
    }

    /// Bytes of a block that may be used: at least what was asked for. 0 for null.
    ///
    /// # Safety
    /// `pointer` is null or a live block of this pool.
    pub unsafe fn usable_size(&self, pointer: *const u8) -> usize {
        self.inner().usable_size(pointer).unwrap_or(0)
    }

    /// Whether `pointer` lies in the range of the pool.
    pub fn contains(&self, pointer: *const u8) -> bool {
        self.inner().contains(pointer)
    }

    /// First byte and length of the pool's range.
    pub fn range(&self) -> (NonNull<u8>, usize) {
        let source = &self.inner().arena.source;
        (source.base(), source.len())
    }

    /// Whether this process was made by a fork without fork handlers (`_Fork`, raw `clone`), so that the
    /// pool stays as it is: what it gave may be used, nothing new comes from it, and nothing goes back.
    pub fn is_left_alone(&self) -> bool {
        self.inner().is_left_alone()
    }

    /// Where the pool's bytes come from; for tests that make it fail.
    #[doc(hidden)]
    pub fn source(&self) -> &Source {
        &self.inner().arena.source
    }

    /// Gives all free memory back to the source: the calling thread's cache, waiting slots, empty
    /// slabs, free extents. Returns the bytes given back.
    pub fn trim(&self) -> usize {
        self.inner().trim()
    }

    /// A snapshot of the pool's statistics.
    pub fn stats(&self) -> crate::Stats {
        self.inner().stats()
    }

    /// Blocks of whole pages in use: index `n` stands for those of up to `2^n` pages and more than half
    /// of that. Walks the pool.
    pub fn whole_page_blocks(&self) -> [crate::WholePageStats; 32] {
        self.inner().whole_page_blocks()
    }

    /// Walks all structures of the pool and checks that they agree.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), crate::Fault> {
        let pool = self.inner();
        if pool.is_left_alone() {
            return Ok(());
        }
        // SAFETY: the calling thread's cache of this pool, or null.
        unsafe { pool.check(thread::present_cache_of(pool)) }
    }

    /// With `--cfg pmem_scan`: checks everything after an operation and stops at the first fault.
    #[inline(always)]
    fn scan(&self) {
        #[cfg(pmem_scan)]
        if let Err(fault) = self.check() {
            fatal::inconsistent(&fault);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.inner().is_left_alone() {
            return; // what it takes to remove it may be locked for ever
        }
        // SAFETY: entered at creation.
        unsafe { registry::lock().pools.remove(self.inner().slot) };
        // SAFETY: the owner goes; the registry no longer knows the pool, so no exiting thread can
        // meet it, and callers using it meanwhile break the borrow rules.
        unsafe { PoolInner::destroy(self.inner) };
    }
}

#[cfg(test)]
mod tests;
