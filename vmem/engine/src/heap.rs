//! The default heap: a pool behind `malloc`-like calls without a pool argument.
//!
//! [`Heap`] is const-constructible and makes its pool on the first allocation, through its
//! [`Runtime`]. The fast paths read the thread slot and pop from or push to the thread cache;
//! everything else is in the cold functions below.

use crate::cache::{self, Cache};
use crate::config::{OVERFLOW_STREAK, PAGE};
use crate::harden;
use crate::listing::Listing;
use crate::page_map::widened;
use crate::pool::{Block, Pool, PoolInner};
use crate::protocol::start::{Caller, Start};
use crate::size_class::{CLASS_COUNT, ClassId, MAX_SMALL, TABLE_MAX};
use crate::stats::{CallCounts, Stats};
use crate::{thread, tls};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use pmem_core::errno::ErrnoGuard;

/// What a heap does when its pool is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// The allocation fails.
    Fail,
    /// It is served from anonymous memory.
    Dram,
}

/// The policies of a [`Heap`]. All calls may come from any thread, at any time of the process's
/// life, and must not allocate from the heap.
pub trait Runtime: Sync + 'static {
    /// Whether this is the only heap in the shared object or program: saves a check.
    const SOLE: bool;

    /// Makes the pool. Called once, by the first allocation. `None` sends every allocation to
    /// [`Runtime::fallback_alloc`].
    fn create(&self) -> Option<Pool>;

    /// Serves an allocation while the heap has no pool: there is none for good, or this very thread
    /// is making it. Null when it cannot. Such blocks are foreign to the heap.
    fn fallback_alloc(&self, _align: usize, _size: usize, _zeroed: bool) -> *mut u8 {
        ptr::null_mut()
    }

    /// Makes the pool for overflow, if the policy asks for one. Called at most once.
    fn create_overflow(&self) -> Option<Pool>;

    /// Called when an allocation fails, after everything was tried; sets errno where that is wanted.
    fn out_of_memory(&self);

    /// Frees a block that is not from this heap.
    ///
    /// # Safety
    /// `pointer` was passed to `free`, is not null and not in the heap's pools.
    unsafe fn foreign_free(&self, pointer: *mut u8);

    /// Reallocates a block that is not from this heap.
    ///
    /// # Safety
    /// As [`Runtime::foreign_free`].
    unsafe fn foreign_realloc(&self, pointer: *mut u8, size: usize) -> *mut u8;

    /// Usable bytes of a block that is not from this heap.
    ///
    /// # Safety
    /// As [`Runtime::foreign_free`].
    unsafe fn foreign_usable_size(&self, pointer: *mut u8) -> usize;
}

/// What every block of more than 8 bytes is a multiple of.
const MIN_ALIGN: usize = 16;

/// See the module text.
pub struct Heap<R: Runtime> {
    pub(crate) runtime: R,
    pool: Start<PoolInner>,
    overflow: Start<PoolInner>,
    full: FullPool,
    counting: AtomicBool,
    counts: Counters,
}

/// What is known of a pool that overflows. Finding out that it is full means to look everywhere, so it
/// is believed for a while. A hint: stores of several threads may get lost.
struct FullPool {
    /// The pool had no room for a request of this size.
    size: AtomicUsize,
    /// For how many more requests that is believed.
    calls: AtomicU32,
}

impl FullPool {
    /// A request of `size` bytes has failed.
    fn note(&self, size: usize) {
        self.size.store(size, Ordering::Relaxed);
        self.calls.store(OVERFLOW_STREAK, Ordering::Relaxed);
    }

    /// A block of `size` bytes was given back to the pool.
    fn room_for(&self, size: impl FnOnce() -> usize) {
        if self.calls.load(Ordering::Relaxed) > 0 && size() >= self.size.load(Ordering::Relaxed) {
            self.calls.store(0, Ordering::Relaxed);
        }
    }

    /// Whether anything is known.
    fn is_noted(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    /// Whether a request of `size` bytes need not be tried.
    fn is_known_for(&self, size: usize) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        if calls == 0 || size < self.size.load(Ordering::Relaxed) {
            return false;
        }
        self.calls.store(calls - 1, Ordering::Relaxed);
        true
    }
}

/// Call counters, kept only when asked for.
struct Counters {
    allocations: AtomicU64,
    frees: AtomicU64,
    foreign_frees: AtomicU64,
    failures: AtomicU64,
    /// Usable bytes of the blocks of the pool (not the overflow) handed out and not taken back, now
    /// and at most.
    live_bytes: AtomicU64,
    peak_live_bytes: AtomicU64,
    /// Blocks and requested bytes by class; index 0 stands for blocks of whole pages.
    class_calls: [AtomicU64; CLASS_COUNT],
    class_requested: [AtomicU64; CLASS_COUNT],
}

/// What to ask for when a block of `old` bytes has to move to hold `size`. One that grows by little
/// will grow again: a quarter more saves every second move.
#[inline(always)]
fn with_room_to_grow(old: usize, size: usize) -> usize {
    let growth = size - old;
    if growth <= old / 4 && size <= MAX_SMALL / 2 { size + size / 4 } else { size }
}

/// A pool that is kept for ever; null for none.
fn pointer_to(pool: Option<Pool>) -> *mut PoolInner {
    pool.map_or(ptr::null_mut(), |pool| pool.into_inner().as_ptr())
}

impl<R: Runtime> Heap<R> {
    /// A heap without a pool yet.
    pub const fn new(runtime: R) -> Heap<R> {
        Heap {
            runtime,
            pool: Start::new(),
            overflow: Start::new(),
            full: FullPool { size: AtomicUsize::new(0), calls: AtomicU32::new(0) },
            counting: AtomicBool::new(false),
            counts: Counters {
                allocations: AtomicU64::new(0),
                frees: AtomicU64::new(0),
                foreign_frees: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                live_bytes: AtomicU64::new(0),
                peak_live_bytes: AtomicU64::new(0),
                class_calls: [const { AtomicU64::new(0) }; CLASS_COUNT],
                class_requested: [const { AtomicU64::new(0) }; CLASS_COUNT],
            },
        }
    }

    /// The policies.
    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    /// Counts calls exactly from now on, by class. Call before the first allocation of the threads
    /// concerned: counting works by keeping them off the fast path.
    pub fn count_calls(&self) {
        self.counting.store(true, Ordering::Relaxed);
    }

    /// The thread's cache if it is one of this heap, else the empty one.
    #[inline(always)]
    fn fast_cache(&self) -> *mut Cache {
        let cache = tls::cache();
        // SAFETY: the thread slot always holds a valid cache.
        if R::SOLE || ptr::eq(unsafe { (*cache).owner.get() }, ptr::from_ref(self).cast()) {
            cache
        } else {
            cache::empty()
        }
    }

    /// Allocates `size` bytes, aligned to 16 (to 8 for sizes up to 8). Null when out of memory.
    #[inline(always)]
    pub fn alloc(&self, size: usize) -> *mut u8 {
        if size > TABLE_MAX {
            return self.alloc_medium(size);
        }
        // SAFETY: the calling thread's cache.
        let slot = unsafe { Cache::pop(self.fast_cache(), size) };
        if slot.is_null() {
            return self.alloc_slow(size);
        }
        slot
    }

    /// [`Heap::alloc`] above a kilobyte, where the class is computed.
    #[inline(never)]
    fn alloc_medium(&self, size: usize) -> *mut u8 {
        if size <= MAX_SMALL {
            let class = ClassId::for_medium(size);
            let cache = self.fast_cache();
            // SAFETY: the calling thread's cache.
            let slot = unsafe { Cache::pop_class(cache, class) };
            if !slot.is_null() {
                // SAFETY: not the empty cache, which has no slots.
                if unsafe { Cache::is_time_to_look(cache) } {
                    self.look_for_idle(cache);
                }
                return slot;
            }
        }
        self.alloc_slow(size)
    }

    /// Counts a call that has time for it; see [`Cache::is_time_to_look`].
    #[inline]
    fn look_now_and_then(&self) {
        // SAFETY: the calling thread's cache, or its front; what is looked at is not the empty one.
        unsafe {
            let cache = Cache::real_of(self.fast_cache());
            if !ptr::eq(cache, cache::empty()) && Cache::is_time_to_look(cache) {
                self.look_for_idle(cache);
            }
        }
    }

    /// Lets a thread that hardly ever leaves the fast paths return what lies idle.
    #[cold]
    #[inline(never)]
    fn look_for_idle(&self, cache: *mut Cache) {
        let _errno = ErrnoGuard::new();
        if let Some(pool) = self.pool()
            && !self.is_left_alone()
        {
            // SAFETY: the calling thread's cache of the default pool.
            unsafe { pool.look_for_idle(cache) };
        }
    }

    /// Frees a block; null is ignored.
    ///
    /// # Safety
    /// `pointer` is null, or a live block that nobody uses any more.
    #[inline(always)]
    pub unsafe fn free(&self, pointer: *mut u8) {
        // SAFETY: the calling thread's cache; contract.
        unsafe {
            let pointer = widened(pointer);
            if !Cache::push(self.fast_cache(), pointer) {
                self.free_slow(pointer);
            }
        }
    }

    /// Allocates `size` zero bytes.
    #[inline(always)]
    pub fn alloc_zeroed(&self, size: usize) -> *mut u8 {
        // SAFETY: the calling thread's cache.
        let slot = unsafe { Cache::pop(self.fast_cache(), size) };
        if slot.is_null() {
            return self.alloc_zeroed_medium(size);
        }
        // SAFETY: a fresh slot of at least `size` bytes.
        unsafe { slot.write_bytes(0, size) };
        slot
    }

    /// [`Heap::alloc_zeroed`] above a kilobyte.
    #[inline(never)]
    fn alloc_zeroed_medium(&self, size: usize) -> *mut u8 {
        // More pages may be known to be zero; the slow path looks.
        if (TABLE_MAX + 1..4 * PAGE).contains(&size) {
            // SAFETY: the calling thread's cache.
            let slot = unsafe { Cache::pop_class(self.fast_cache(), ClassId::for_medium(size)) };
            if !slot.is_null() {
                // SAFETY: a fresh slot of at least `size` bytes.
                unsafe { slot.write_bytes(0, size) };
                return slot;
            }
        }
        self.alloc_zeroed_slow(size)
    }

    /// Allocates `size` bytes at a multiple of `align`, a power of two.
    pub fn alloc_aligned(&self, align: usize, size: usize) -> *mut u8 {
        if align <= 8 || align == 16 && size > 8 {
            return self.alloc(size);
        }
        if let Some(class) = ClassId::for_aligned(size, align) {
            // SAFETY: the calling thread's cache.
            let slot = unsafe { Cache::pop_class(self.fast_cache(), class) };
            if !slot.is_null() {
                return slot;
            }
        }
        let guard = ErrnoGuard::new();
        let block = self.with_pool(align, size, false, |pool, cache| {
            // SAFETY: the calling thread's cache of this pool.
            unsafe { pool.allocate_aligned(cache, align, size) }
        });
        self.finish(block, size, guard)
    }

    /// Allocates `size` bytes, rounded up to whole pages of [`PAGE`] bytes and to nothing more, at
    /// a multiple of the page size; at least one page.
    pub fn alloc_pages(&self, size: usize) -> *mut u8 {
        let size = size.max(1);
        let guard = ErrnoGuard::new();
        let block = self.with_pool(PAGE, size, false, |pool, cache| {
            // SAFETY: the calling thread's cache of this pool.
            unsafe { pool.allocate_whole_pages(cache, size) }
        });
        self.finish(block, size, guard)
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, size: usize) -> *mut u8 {
        // SAFETY: the calling thread's cache, or its front.
        unsafe {
            let cache = Cache::behind(self.fast_cache());
            if !cache.is_null() {
                return self.alloc_hardened(cache, size);
            }
        }
        self.alloc_any(size)
    }

    /// [`Heap::alloc`] in a hardened pool, where all calls come to the slow path.
    ///
    /// # Safety
    /// `cache` is the calling thread's.
    #[inline(always)]
    unsafe fn alloc_hardened(&self, cache: *mut Cache, size: usize) -> *mut u8 {
        // SAFETY: contract.
        let slot = unsafe { harden::pop_quickly(cache, size) };
        if slot.is_null() { self.alloc_hardened_rarely(cache, size) } else { slot }
    }

    #[inline(never)]
    fn alloc_hardened_rarely(&self, cache: *mut Cache, size: usize) -> *mut u8 {
        // SAFETY: the calling thread's cache.
        let slot = unsafe { harden::pop(cache, size) };
        if slot.is_null() { self.alloc_any(size) } else { slot }
    }

    #[inline(never)]
    fn alloc_any(&self, size: usize) -> *mut u8 {
        let guard = ErrnoGuard::new();
        // SAFETY: the calling thread's cache of this pool.
        let block = self
            .with_pool(MIN_ALIGN, size, false, |pool, cache| unsafe { pool.allocate(cache, size) });
        self.finish(block, size, guard)
    }

    #[cold]
    #[inline(never)]
    fn alloc_zeroed_slow(&self, size: usize) -> *mut u8 {
        // SAFETY: the calling thread's cache, or its front.
        let cache = unsafe { Cache::behind(self.fast_cache()) };
        if !cache.is_null() && size <= MAX_SMALL {
            // SAFETY: as above.
            let slot = unsafe { self.alloc_hardened(cache, size) };
            if !slot.is_null() {
                // SAFETY: a fresh slot of at least `size` bytes.
                unsafe { slot.write_bytes(0, size) };
            }
            return slot;
        }
        let guard = ErrnoGuard::new();
        // SAFETY: the calling thread's cache of this pool.
        let block = self
            .with_pool(MIN_ALIGN, size, true, |pool, cache| unsafe { pool.allocate(cache, size) });
        let zeroed = block.zeroed;
        let pointer = self.finish(block, size, guard);
        if !pointer.is_null() && !zeroed {
            // SAFETY: a fresh block of at least `size` bytes.
            unsafe { pointer.write_bytes(0, size) };
        }
        pointer
    }

    /// Runs `allocate` on the pool, and on the overflow pool if the first has no room. Without a pool
    /// the fallback is asked for `size` bytes at a multiple of `align`.
    fn with_pool(
        &self,
        align: usize,
        size: usize,
        zeroed: bool,
        allocate: impl Fn(&PoolInner, *mut Cache) -> Block,
    ) -> Block {
        let Some(pool) = self.pool().filter(|_| !self.is_left_alone()) else {
            return Block { pointer: self.runtime.fallback_alloc(align, size, zeroed), zeroed };
        };
        let known_full = self.full.is_known_for(size);
        if !known_full {
            let block = allocate(pool, self.attach(pool));
            if !block.pointer.is_null() {
                return block;
            }
        }
        let Some(overflow) = self.overflow_pool() else {
            return Block::NONE;
        };
        if !known_full {
            self.full.note(size);
        }
        let block = allocate(overflow, thread::cache_of(overflow));
        if known_full && block.pointer.is_null() {
            // The pool may have room again, and nobody else has.
            return allocate(pool, self.attach(pool));
        }
        block
    }

    fn finish(&self, block: Block, size: usize, guard: ErrnoGuard) -> *mut u8 {
        drop(guard);
        if block.pointer.is_null() {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            self.runtime.out_of_memory();
        } else if self.counting.load(Ordering::Relaxed) {
            self.count(block.pointer, size);
        }
        block.pointer
    }

    /// Counts a block of the heap that was asked for as `size` bytes.
    fn count(&self, pointer: *const u8, size: usize) {
        let class = ClassId::for_size(size).map_or(0, |class| usize::from(class.0));
        self.counts.allocations.fetch_add(1, Ordering::Relaxed);
        self.counts.class_calls[class].fetch_add(1, Ordering::Relaxed);
        self.counts.class_requested[class].fetch_add(size as u64, Ordering::Relaxed);
        let usable = self.counted_size(pointer);
        let live = self.counts.live_bytes.fetch_add(usable, Ordering::Relaxed) + usable;
        self.counts.peak_live_bytes.fetch_max(live, Ordering::Relaxed);
    }

    /// Counts a block of `usable` bytes (see [`Heap::counted_size`]) out.
    fn uncount(&self, usable: u64) {
        self.counts.frees.fetch_add(1, Ordering::Relaxed);
        self.counts.live_bytes.fetch_sub(usable, Ordering::Relaxed);
    }

    /// Usable bytes of a block of the pool, 0 for one of the overflow.
    fn counted_size(&self, pointer: *const u8) -> u64 {
        self.pools()[0].and_then(|pool| pool.usable_size(pointer)).unwrap_or(0) as u64
    }

    /// The calling thread's cache of the default pool, also put into the thread slot.
    fn attach(&self, pool: &PoolInner) -> *mut Cache {
        let cache = thread::fast_cache_of(pool);
        if !cache.is_null() && tls::cache() == cache {
            // SAFETY: the calling thread's cache, or its front.
            return unsafe { Cache::real_of(cache) };
        }
        self.attach_slow(pool)
    }

    #[cold]
    fn attach_slow(&self, pool: &PoolInner) -> *mut Cache {
        let cache = thread::fast_cache_now(pool);
        // Counting, and a second heap in the same binary, do without the fast path.
        let fast = !self.counting.load(Ordering::Relaxed) && tls::cache() == cache::empty();
        if !cache.is_null() && fast {
            // SAFETY: the calling thread's own cache.
            unsafe { (*cache).owner.set(ptr::from_ref(self).cast()) };
            tls::set_cache(cache);
        }
        // SAFETY: as above.
        unsafe { Cache::real_of(cache) }
    }

    /// The pool that `pointer` lies in, with the thread's cache of it.
    fn owner(&self, pointer: *const u8) -> Option<(&PoolInner, *mut Cache)> {
        // SAFETY: pools of a heap are never deleted.
        if let Some(pool) = unsafe { self.pool.get().as_ref() }
            && pool.contains(pointer)
        {
            let cache = if self.is_left_alone() { ptr::null_mut() } else { self.attach(pool) };
            return Some((pool, cache));
        }
        // SAFETY: as above.
        let pool = unsafe { self.overflow.get().as_ref() }?;
        let cache = || match self.is_left_alone() {
            true => ptr::null_mut(),
            false => thread::cache_of(pool),
        };
        pool.contains(pointer).then(|| (pool, cache()))
    }

    #[cold]
    #[inline(never)]
    unsafe fn free_slow(&self, pointer: *mut u8) {
        // SAFETY: contract of `free`; the calling thread's cache, or its front.
        unsafe {
            let cache = Cache::behind(self.fast_cache());
            if !cache.is_null() && !self.full.is_noted() && harden::push_quickly(cache, pointer) {
                return;
            }
            self.free_any(pointer);
        }
    }

    #[inline(never)]
    unsafe fn free_any(&self, pointer: *mut u8) {
        if pointer.is_null() {
            return;
        }
        let _errno = ErrnoGuard::new();
        let counting = self.counting.load(Ordering::Relaxed);
        match self.owner(pointer) {
            Some(_) if self.is_left_alone() => {}
            Some((pool, cache)) => {
                if counting {
                    self.uncount(self.counted_size(pointer));
                }
                self.full.room_for(|| pool.usable_size(pointer).unwrap_or(0));
                // SAFETY: contract of `free`.
                unsafe { pool.free(cache, pointer) }
            }
            None => {
                if counting {
                    self.counts.foreign_frees.fetch_add(1, Ordering::Relaxed);
                }
                // SAFETY: contract of `free`; not ours.
                unsafe { self.runtime.foreign_free(pointer) }
            }
        }
    }

    /// Changes the size of a block to `size` (> 0) bytes, moving it if needed. Null when out of
    /// memory: the block is then as before. Shrinking cannot fail.
    ///
    /// # Safety
    /// `pointer` is null, or a live block that only the caller uses.
    #[inline(always)]
    pub unsafe fn realloc(&self, pointer: *mut u8, size: usize) -> *mut u8 {
        let pointer = widened(pointer);
        // SAFETY: the calling thread's cache; contract.
        unsafe {
            let cache = self.fast_cache();
            let old = Cache::slot_size(cache, pointer);
            // Size 0 and null are for the slow path.
            if size.wrapping_sub(1) < old {
                if size >= old / 2 {
                    return pointer;
                }
            } else if size > old && old > 0 {
                let new = Cache::pop(cache, with_room_to_grow(old, size));
                if !new.is_null() {
                    ptr::copy_nonoverlapping(pointer, new, old);
                    self.free(pointer);
                    return new;
                }
            }
            self.realloc_slow(pointer, size)
        }
    }

    /// # Safety
    /// As [`Heap::realloc`].
    #[cold]
    #[inline(never)]
    unsafe fn realloc_slow(&self, pointer: *mut u8, size: usize) -> *mut u8 {
        if pointer.is_null() {
            return self.alloc(size);
        }
        let guard = ErrnoGuard::new();
        let Some((pool, _)) = self.owner(pointer) else {
            drop(guard);
            // SAFETY: contract; not ours.
            return unsafe { self.runtime.foreign_realloc(pointer, size) };
        };
        if self.is_left_alone() {
            drop(guard);
            // SAFETY: contract.
            return unsafe { self.realloc_inherited(pool, pointer, size) };
        }
        self.look_now_and_then();
        let counted = self.counting.load(Ordering::Relaxed).then(|| self.counted_size(pointer));
        // SAFETY: contract.
        if unsafe { pool.resize_in_place(pointer, size) } {
            if let Some(counted) = counted {
                self.uncount(counted);
                self.count(pointer, size);
            }
            return pointer;
        }
        let old = pool.usable_size(pointer).unwrap_or(0);
        if size > old {
            // SAFETY: contract.
            let moved = unsafe { pool.grow_by_moving(pointer, size) };
            if !moved.is_null() {
                if let Some(counted) = counted {
                    self.uncount(counted);
                    self.count(moved, size);
                }
                return moved;
            }
        }
        drop(guard);
        if size < old {
            // SAFETY: contract; the copy stays inside both blocks.
            unsafe {
                let new = self.alloc_or_not(size);
                if new.is_null() {
                    let _errno = ErrnoGuard::new();
                    pool.shrink_in_place(pointer, size);
                    if let Some(counted) = counted {
                        self.uncount(counted);
                        self.count(pointer, size);
                    }
                    return pointer;
                }
                ptr::copy_nonoverlapping(pointer, new, size);
                self.free(pointer);
                return new;
            }
        }
        // A hardened pool notes what was asked for.
        let exactly = pool.arena.map.hard.is_some();
        let wanted = if exactly { size } else { with_room_to_grow(old, size) };
        let mut new = if wanted > size { self.alloc_or_not(wanted) } else { ptr::null_mut() };
        if new.is_null() {
            new = self.alloc(size);
        }
        if !new.is_null() {
            // SAFETY: contract; `old < size`, the usable size of `new` is at least `size`.
            unsafe {
                ptr::copy_nonoverlapping(pointer, new, old);
                self.free(pointer);
            }
        }
        new
    }

    /// Whether this process is a child that has to leave the pools alone; see `orphan`.
    fn is_left_alone(&self) -> bool {
        // SAFETY: pools of a heap are never deleted.
        unsafe { self.pool.get().as_ref() }.is_some_and(PoolInner::is_left_alone)
    }

    /// [`Heap::realloc`] of a block that stays as it is, for it is another process's too.
    ///
    /// # Safety
    /// `pointer` is a live block of `pool` that only the caller uses in this process.
    #[cold]
    unsafe fn realloc_inherited(&self, pool: &PoolInner, pointer: *mut u8, size: usize) -> *mut u8 {
        let usable = pool.usable_size(pointer).unwrap_or(0);
        if size <= usable {
            return pointer;
        }
        let new = self.alloc(size);
        if !new.is_null() {
            // SAFETY: contract; the new block is larger.
            unsafe { ptr::copy_nonoverlapping(pointer, new, usable) };
        }
        new
    }

    /// As `alloc`, but a failure is not reported: the caller has another way out.
    fn alloc_or_not(&self, size: usize) -> *mut u8 {
        let _errno = ErrnoGuard::new();
        // SAFETY: the calling thread's cache of this pool.
        let block = self
            .with_pool(MIN_ALIGN, size, false, |pool, cache| unsafe { pool.allocate(cache, size) });
        if !block.pointer.is_null() && self.counting.load(Ordering::Relaxed) {
            self.count(block.pointer, size);
        }
        block.pointer
    }

    /// Usable bytes of a block, 0 for null.
    ///
    /// # Safety
    /// `pointer` is null or a live block.
    #[inline(always)]
    pub unsafe fn usable_size(&self, pointer: *mut u8) -> usize {
        // SAFETY: the calling thread's cache.
        let size = unsafe { Cache::slot_size(self.fast_cache(), pointer) };
        // SAFETY: contract.
        if size > 0 { size } else { unsafe { self.usable_size_slow(pointer) } }
    }

    /// # Safety
    /// As [`Heap::usable_size`].
    #[cold]
    #[inline(never)]
    unsafe fn usable_size_slow(&self, pointer: *mut u8) -> usize {
        if pointer.is_null() {
            return 0;
        }
        self.look_now_and_then();
        match self.own_usable_size(pointer) {
            Some(size) => size,
            // SAFETY: contract; not ours.
            None => unsafe { self.runtime.foreign_usable_size(pointer) },
        }
    }

    /// Usable bytes of a block of the heap's pools; `None` for a pointer outside.
    fn own_usable_size(&self, pointer: *const u8) -> Option<usize> {
        let pool = self.pools().into_iter().flatten().find(|pool| pool.contains(pointer))?;
        Some(pool.usable_size(pointer).unwrap_or(0))
    }

    /// The pool, made now if it does not exist yet. `None` when it cannot be made, or when called
    /// from inside its making.
    fn pool(&self) -> Option<&PoolInner> {
        let pool = self.pool.get_or_make(Caller::current, || pointer_to(self.runtime.create()));
        // SAFETY: pools of a heap are never deleted.
        unsafe { pool.as_ref() }
    }

    /// Makes the pool if that has not been tried yet. True when there is one.
    pub fn is_ready(&self) -> bool {
        self.pool().is_some()
    }

    #[cold]
    fn overflow_pool(&self) -> Option<&PoolInner> {
        let make = || pointer_to(self.runtime.create_overflow());
        // SAFETY: pools of a heap are never deleted.
        unsafe { self.overflow.get_or_make(Caller::current, make).as_ref() }
    }

    /// The pools there are now: the heap's own and the overflow pool.
    pub(crate) fn pools(&self) -> [Option<&PoolInner>; 2] {
        // SAFETY: pools of a heap are never deleted.
        [&self.pool, &self.overflow].map(|pool| unsafe { pool.get().as_ref() })
    }

    /// The pools that are this process's.
    fn own_pools(&self) -> [Option<&PoolInner>; 2] {
        if self.is_left_alone() { [None, None] } else { self.pools() }
    }

    /// A snapshot of the pool's statistics; `None` while there is no pool.
    pub fn stats(&self) -> Option<Stats> {
        self.own_pools()[0].map(PoolInner::stats)
    }

    /// A snapshot of the overflow pool's statistics, if there is one.
    pub fn overflow_stats(&self) -> Option<Stats> {
        self.own_pools()[1].map(PoolInner::stats)
    }

    /// What is told of the pool and of the overflow pool, where they are.
    pub fn listings(&self) -> [Option<Listing>; 2] {
        self.own_pools().map(|pool| {
            pool.map(|pool| Listing {
                stats: pool.stats(),
                large: pool.whole_page_blocks(),
                refused: 0,
            })
        })
    }

    /// The call counters; `None` unless [`Heap::count_calls`] was called.
    pub fn call_counts(&self) -> Option<CallCounts> {
        if !self.counting.load(Ordering::Relaxed) {
            return None;
        }
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(CallCounts {
            allocations: get(&self.counts.allocations),
            frees: get(&self.counts.frees),
            foreign_frees: get(&self.counts.foreign_frees),
            failures: get(&self.counts.failures),
            live_bytes: get(&self.counts.live_bytes),
            peak_live_bytes: get(&self.counts.peak_live_bytes),
            class_calls: core::array::from_fn(|class| get(&self.counts.class_calls[class])),
            class_requested: core::array::from_fn(|class| get(&self.counts.class_requested[class])),
        })
    }

    /// In the child of a fork, after [`crate::fork::child`]: calls are counted from zero.
    pub fn after_fork_in_child(&self) {
        let counts = &self.counts;
        for count in [&counts.allocations, &counts.frees, &counts.foreign_frees, &counts.failures] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// Gives all free memory back to the source: this thread's cache, waiting slots, empty slabs,
    /// free extents. Returns bytes.
    pub fn trim(&self) -> usize {
        let _errno = ErrnoGuard::new();
        self.own_pools().into_iter().flatten().map(PoolInner::trim).sum()
    }

    /// Checks the pools' structures; the first fault found, if any.
    ///
    /// # Errors
    /// What is inconsistent.
    pub fn check(&self) -> Result<(), crate::check::Fault> {
        self.own_pools().into_iter().flatten().try_for_each(|pool| {
            // SAFETY: the calling thread's cache of this pool, or null.
            unsafe { pool.check(thread::present_cache_of(pool)) }
        })
    }
}
