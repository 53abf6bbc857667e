//! Thread caches: per class a stack of free slots that only its thread touches.
//!
//! ```text
//! stack block    [ null | slot | slot | slot |   ...   |      ]
//!                         ^first              ^top      ^limit
//! ```
//!
//! `malloc` pops, `free` pushes; the null below the first slot tells an empty stack without a
//! comparison of pointers. Slots are never written to. A class without a stack (class 0, and all
//! classes of the [`EMPTY`] cache) has `top == limit` above a null: always empty and always full,
//! so the fast paths need no test for "no cache", "large" or "foreign".
//!
//! A cache changes only on its own thread, and outside push and pop only under the lock of the bin
//! concerned: a fork that holds all bin locks finds every cache in a usable state. Other threads look
//! at it for statistics; so it is never borrowed exclusively, and what they read is atomic.

use crate::config::{
    APART, BATCH_BLOCKS, BLOCKS_BETWEEN_LOOKS, CACHE_FIRST_CAPACITY, CACHE_MAX_BLOCKS,
    CACHE_MAX_BYTES, CACHE_MIN_BLOCKS, CACHE_PINNED_FRACTION, CACHE_POOL_FRACTION, PAGE_SHIFT,
    VISITS_BETWEEN_LOOKS,
};
use crate::harden::{HardView, SPARE_INTERVAL};
use crate::meta::Meta;
use crate::pool::PoolInner;
use crate::size_class::{CLASS_COUNT, ClassId, GEOMETRY, Geometry, SMALL_TABLE, TABLE_LEN};
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU16, compiler_fence};
use pmem_core::sync::Mutex;

/// Distance of two bins in a cache; the page map stores classes multiplied by it.
pub(crate) const BIN_BYTES: usize = size_of::<CacheBin>();

/// The stack of one class.
#[repr(C)]
pub(crate) struct CacheBin {
    /// Where the next pushed slot goes.
    top: AtomicPtr<*mut u8>,
    /// One past the last place.
    limit: Cell<*mut *mut u8>,
}

/// What only the slow paths need to know of a stack.
struct StackInfo {
    /// The block that holds the stack, null if there is none.
    block: AtomicPtr<*mut u8>,
    /// Places for slots.
    capacity: Cell<u16>,
    /// Largest capacity this class may reach.
    max_capacity: Cell<u16>,
    /// Slow-path visits since the last scavenge.
    visits: Cell<u16>,
}

/// The part of a cache that reads as zero in a child made without fork handlers (see `orphan`). It is
/// then the head of a cache of a pool without pages: no block can be pushed, and every size leads to
/// class 0, which has no slots.
#[repr(C)]
struct Head {
    /// Range of the pool: address of the first page, and number of pages.
    base: usize,
    pages: Cell<usize>,
    /// The class array of the pool's page map.
    classes: *const AtomicU16,
    /// As `pages`, for questions about sizes; 0 while pages are away after a fork, so that such calls
    /// count towards a look at the clock.
    asked_pages: Cell<usize>,
    /// `SMALL_TABLE` with each class multiplied by `BIN_BYTES`.
    offsets: [u16; TABLE_LEN],
    /// Each class multiplied by `BIN_BYTES`.
    class_offsets: [u16; CLASS_COUNT],
}

/// What follows the head begins a cache line of its own: in guarded pools, a page.
const AFTER_HEAD: usize = size_of::<Head>().next_multiple_of(64) - size_of::<Head>();
/// Bytes of a cache that may be emptied.
pub(crate) const HEAD_BYTES: usize = size_of::<Head>() + AFTER_HEAD;

/// See the module text.
#[repr(C)]
pub(crate) struct Cache {
    head: Head,
    _rest_of_line: [u8; AFTER_HEAD],
    /// Whose default heap this is the cache of (see `heap`); null for other pools.
    pub(crate) owner: Cell<*const ()>,
    /// In a front: the cache behind it.
    real: Cell<*mut Cache>,
    /// In a hardened pool: what its slow paths need of `harden::Hard`.
    pub(crate) hard: HardView,
    /// Blocks above a kilobyte until the thread looks at the clock; see `is_time_to_look`.
    until_look: Cell<u32>,
    /// Blocks without slack until one gets some; see `is_time_for_spare`.
    until_spare: Cell<u32>,
    bins: [CacheBin; CLASS_COUNT],
    stacks: [StackInfo; CLASS_COUNT],
    pub(crate) pool: *const PoolInner,
    /// In a hardened pool: what the thread has where the fast paths look. It is always empty and full.
    front: Cell<*mut Cache>,
    /// Next cache of the same pool; guarded by the pool's list lock.
    pub(crate) next: Cell<*mut Cache>,
    /// Bytes of blocks for which there are places.
    capacity_bytes: Cell<usize>,
    /// Whether a thread uses the cache; guarded by the pool's list lock.
    pub(crate) in_use: Cell<bool>,
    /// When the thread looks for idle classes again, in ms of the arena clock.
    pub(crate) next_look_ms: Cell<u64>,
    /// Slow-path visits since it looked last.
    visits: Cell<u32>,
}

#[repr(transparent)]
pub(crate) struct Shared<T>(T);
// SAFETY: the values below are never written: a stack that is empty and full does not change.
unsafe impl<T> Sync for Shared<T> {}

/// The null below an empty stack and the place above it, for bins without a stack.
static NO_STACK: Shared<[*mut u8; 2]> = Shared([ptr::null_mut(); 2]);

const fn empty_bin() -> CacheBin {
    let top = (&raw const NO_STACK.0).cast::<*mut u8>().wrapping_add(1).cast_mut();
    CacheBin { top: AtomicPtr::new(top), limit: Cell::new(top) }
}

const fn scaled_table() -> [u16; TABLE_LEN] {
    let mut table = [0; TABLE_LEN];
    let mut index = 0;
    while index < TABLE_LEN {
        table[index] = SMALL_TABLE[index] as u16 * BIN_BYTES as u16;
        index += 1;
    }
    table
}

const fn scaled_classes() -> [u16; CLASS_COUNT] {
    let mut offsets = [0; CLASS_COUNT];
    let mut class = 0;
    while class < CLASS_COUNT {
        offsets[class] = class as u16 * BIN_BYTES as u16;
        class += 1;
    }
    offsets
}

const fn no_info() -> StackInfo {
    StackInfo {
        block: AtomicPtr::new(ptr::null_mut()),
        capacity: Cell::new(0),
        max_capacity: Cell::new(0),
        visits: Cell::new(0),
    }
}

static OFFSETS: [u16; TABLE_LEN] = scaled_table();
static CLASS_OFFSETS: [u16; CLASS_COUNT] = scaled_classes();

const fn no_bin() -> CacheBin {
    CacheBin { top: AtomicPtr::new(ptr::null_mut()), limit: Cell::new(ptr::null_mut()) }
}

/// Only class 0 has a bin: each pointer costs the loader of every process a relocation.
const fn bins_of_none() -> [CacheBin; CLASS_COUNT] {
    let mut bins = [const { no_bin() }; CLASS_COUNT];
    bins[0] = empty_bin();
    bins
}

/// Initial value of every thread slot; see [`empty`]. Its head leads every size to class 0.
pub(crate) static EMPTY_CACHE: Shared<Cache> = Shared(Cache {
    head: Head {
        base: 0,
        pages: Cell::new(0),
        classes: ptr::null(),
        asked_pages: Cell::new(0),
        offsets: [0; TABLE_LEN],
        class_offsets: [0; CLASS_COUNT],
    },
    _rest_of_line: [0; AFTER_HEAD],
    owner: Cell::new(ptr::null()),
    real: Cell::new(ptr::null_mut()),
    hard: HardView::NONE,
    until_look: Cell::new(0),
    until_spare: Cell::new(0),
    bins: bins_of_none(),
    stacks: [const { no_info() }; CLASS_COUNT],
    pool: ptr::null(),
    front: Cell::new(ptr::null_mut()),
    next: Cell::new(ptr::null_mut()),
    capacity_bytes: Cell::new(0),
    in_use: Cell::new(false),
    next_look_ms: Cell::new(0),
    visits: Cell::new(0),
});

/// The cache of a thread that has none: everything takes the slow path.
pub(crate) fn empty() -> *mut Cache {
    (&raw const EMPTY_CACHE.0).cast_mut()
}

impl Cache {
    /// Writes a fresh cache of `pool` to `memory`.
    ///
    /// # Safety
    /// `memory` has room for a `Cache`; `pool` outlives the cache.
    pub(crate) unsafe fn init(memory: NonNull<u8>, pool: &PoolInner) -> NonNull<Cache> {
        let cache = memory.cast::<Cache>();
        let map = &pool.arena.map;
        // SAFETY: room by contract.
        unsafe {
            Cache::write_without_stacks(cache);
            Cache::write_head(cache.as_ptr(), pool);
            let cache = &mut *cache.as_ptr();
            cache.pool = pool;
            cache.until_look.set(BLOCKS_BETWEEN_LOOKS);
            cache.until_spare.set(SPARE_INTERVAL - 1);
            for class in ClassId::all() {
                let most = max_capacity(class.size(), map.pages()) as u16;
                cache.stacks[usize::from(class.0)].max_capacity.set(most);
            }
        }
        cache
    }

    /// Writes a cache of no pool, with a bin for each class.
    ///
    /// # Safety
    /// `memory` has room for a `Cache`.
    unsafe fn write_without_stacks(memory: NonNull<Cache>) {
        // SAFETY: room by contract; EMPTY_CACHE is a valid Cache to start from.
        unsafe {
            memory.copy_from_nonoverlapping(NonNull::from(&EMPTY_CACHE.0), 1);
            (*memory.as_ptr()).bins = [const { empty_bin() }; CLASS_COUNT];
        }
    }

    /// Writes what a fork has emptied.
    ///
    /// # Safety
    /// `this` is a cache of `pool` that no other thread uses.
    #[inline(never)]
    pub(crate) unsafe fn write_head(this: *mut Cache, pool: &PoolInner) {
        let map = &pool.arena.map;
        let mut head = Head {
            base: map.base(),
            pages: Cell::new(map.pages()),
            classes: map.classes(),
            asked_pages: Cell::new(asked_pages(pool)),
            offsets: OFFSETS,
            class_offsets: CLASS_OFFSETS,
        };
        if pool.hard().is_some() {
            // What takes no size is unusual (see `harden`): it finds a class without slots. Blocks are
            // multiples of 16 bytes.
            head.offsets[0] = 0;
            head.offsets[1] = 2 * BIN_BYTES as u16;
        }
        // SAFETY: contract.
        unsafe { (&raw mut (*this).head).write(head) };
    }

    /// Sends the calling thread's questions about sizes to the slow path, as long as pages of `pool`, whose
    /// cache this is, are away.
    pub(crate) fn ask_slowly_while_away(&self, pool: &PoolInner) {
        // An emptied head stays so until it is written as a whole.
        if !self.head.classes.is_null() {
            self.head.asked_pages.set(asked_pages(pool));
        }
    }

    /// Sends the calling thread's next free to the slow path, once.
    ///
    /// # Safety
    /// `this` is the calling thread's cache, not [`empty`].
    pub(crate) unsafe fn divert(this: *mut Cache) {
        // SAFETY: contract. Only its thread looks at the head.
        unsafe { (*this).head.pages.set(0) };
    }

    /// Ends a diversion. Whether there was one.
    ///
    /// # Safety
    /// `this` is the calling thread's cache of `pool`, not what its fast paths see of a hardened one, or
    /// null.
    pub(crate) unsafe fn end_diversion(this: *mut Cache, pool: &PoolInner) -> bool {
        // SAFETY: contract.
        unsafe {
            let diverted = !this.is_null() && (*this).head.pages.get() == 0;
            if diverted && (*this).head.classes.is_null() {
                // In a child whose fork handlers are still to come all of it is empty.
                Cache::write_head(this, pool);
            } else if diverted {
                (*this).head.pages.set(pool.arena.map.pages());
            }
            diverted
        }
    }

    /// Makes `memory` the front of a fresh cache of a hardened pool: all calls of the thread then come
    /// to the slow paths, and find the cache there.
    ///
    /// # Safety
    /// `memory` has room for a `Cache` and is kept as long as `this`, a cache from [`Cache::init`].
    pub(crate) unsafe fn set_front(this: *mut Cache, memory: NonNull<u8>, hard: HardView) {
        let front = memory.cast::<Cache>().as_ptr();
        // SAFETY: contract.
        unsafe {
            Cache::write_without_stacks(memory.cast());
            (*front).head.offsets = OFFSETS;
            (*front).head.class_offsets = CLASS_OFFSETS;
            (*front).real.set(this);
            (*this).front.set(front);
            (*this).hard = hard;
        }
    }

    /// The cache behind a front, else null.
    ///
    /// # Safety
    /// `this` is a cache, a front, or [`empty`].
    #[inline(always)]
    pub(crate) unsafe fn behind(this: *mut Cache) -> *mut Cache {
        // SAFETY: contract.
        unsafe { (*this).real.get() }
    }

    /// The cache behind a front, else `this`.
    ///
    /// # Safety
    /// `this` is a cache, a front, or null.
    pub(crate) unsafe fn real_of(this: *mut Cache) -> *mut Cache {
        // SAFETY: contract.
        match unsafe { this.as_ref() } {
            Some(cache) if !cache.real.get().is_null() => cache.real.get(),
            _ => this,
        }
    }

    /// The front of `this` if it has one, else `this`.
    ///
    /// # Safety
    /// `this` is a cache, or null.
    pub(crate) unsafe fn front_of(this: *mut Cache) -> *mut Cache {
        // SAFETY: contract.
        match unsafe { this.as_ref() } {
            Some(cache) if !cache.front.get().is_null() => cache.front.get(),
            _ => this,
        }
    }

    /// Offset of the class for `size` bytes, at most a kilobyte.
    ///
    /// # Safety
    /// `this` is a cache.
    #[inline(always)]
    pub(crate) unsafe fn offset_for(this: *mut Cache, size: usize) -> usize {
        debug_assert!(size <= crate::size_class::TABLE_MAX);
        // SAFETY: contract; the table ends with that size.
        usize::from(unsafe { *(*this).head.offsets.get_unchecked((size + 7) >> 3) })
    }

    /// Offset of `class`.
    ///
    /// # Safety
    /// `this` is a cache.
    #[inline(always)]
    pub(crate) unsafe fn offset_of(this: *mut Cache, class: ClassId) -> usize {
        // SAFETY: contract; there is an offset for each class.
        usize::from(unsafe { *(*this).head.class_offsets.get_unchecked(usize::from(class.0)) })
    }

    /// The slot that [`Cache::pop_at`] would give.
    ///
    /// # Safety
    /// `this` is the calling thread's cache, `offset` that of a class.
    #[inline(always)]
    pub(crate) unsafe fn peek_at(this: *mut Cache, offset: usize) -> *mut u8 {
        // SAFETY: contract; below `top` there is always a slot or the null.
        unsafe { *Cache::bin_at(this, offset).top.load(Relaxed).sub(1) }
    }

    /// Takes the slot that [`Cache::peek_at`] gave, which was not null.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn drop_top(this: *mut Cache, offset: usize) {
        // SAFETY: contract.
        unsafe {
            let top = &Cache::bin_at(this, offset).top;
            top.store(top.load(Relaxed).sub(1), Relaxed);
        }
    }

    /// Whether the stack of the class at `offset` has no place left.
    ///
    /// # Safety
    /// As [`Cache::peek_at`].
    #[inline(always)]
    pub(crate) unsafe fn is_full_at(this: *mut Cache, offset: usize) -> bool {
        // SAFETY: contract.
        let bin = unsafe { Cache::bin_at(this, offset) };
        bin.top.load(Relaxed) == bin.limit.get()
    }

    /// Class offset of the page at byte `offset` of the pool; `None` outside.
    ///
    /// # Safety
    /// `this` is a cache.
    #[inline(always)]
    pub(crate) unsafe fn class_offset_at(this: *mut Cache, offset: usize) -> Option<usize> {
        // SAFETY: contract; the class array has an element for each page of the pool.
        unsafe {
            let page = offset >> PAGE_SHIFT;
            let inside = page < (*this).head.pages.get();
            inside.then(|| usize::from((*(*this).head.classes.add(page)).load(Relaxed)))
        }
    }

    #[inline(always)]
    unsafe fn bin_at<'a>(this: *mut Cache, offset: usize) -> &'a CacheBin {
        // SAFETY: offsets come from the class table or the page map: multiples of BIN_BYTES below
        // CLASS_COUNT * BIN_BYTES.
        unsafe { &*this.byte_add(offset_of!(Cache, bins) + offset).cast::<CacheBin>() }
    }

    /// Pops a slot of the class at `offset`; null when there is none.
    #[inline(always)]
    unsafe fn pop_at(this: *mut Cache, offset: usize) -> *mut u8 {
        // SAFETY: only this thread uses its cache, and EMPTY is never written (its bins are always
        // empty); below `top` there is always a slot or the null.
        unsafe {
            let bin = Cache::bin_at(this, offset);
            let below = bin.top.load(Relaxed).sub(1);
            let slot = *below;
            if !slot.is_null() {
                bin.top.store(below, Relaxed);
            }
            slot
        }
    }

    /// Pops a slot for `size` bytes; null when there is none, or `size` is above a kilobyte.
    ///
    /// # Safety
    /// `this` is the calling thread's cache, or [`empty`].
    #[inline(always)]
    pub(crate) unsafe fn pop(this: *mut Cache, size: usize) -> *mut u8 {
        // SAFETY: contract.
        unsafe {
            if size <= crate::size_class::TABLE_MAX {
                let offset = *(*this).head.offsets.get_unchecked((size + 7) >> 3);
                Cache::pop_at(this, usize::from(offset))
            } else {
                ptr::null_mut()
            }
        }
    }

    /// Pops a slot of `class`; null when there is none.
    ///
    /// # Safety
    /// As [`Cache::pop`].
    #[inline(always)]
    pub(crate) unsafe fn pop_class(this: *mut Cache, class: ClassId) -> *mut u8 {
        // SAFETY: contract.
        unsafe { Cache::pop_at(this, Cache::offset_of(this, class)) }
    }

    /// Pushes `slot`. False when it is not a slot of the cache's pool or its stack is full.
    ///
    /// # Safety
    /// As [`Cache::pop`]; if `slot` is in the pool it is a live block that nobody uses any more.
    #[inline(always)]
    pub(crate) unsafe fn push(this: *mut Cache, slot: *mut u8) -> bool {
        // SAFETY: contract; the class array has an element for each page of the pool, and EMPTY
        // has no pages.
        unsafe {
            let page = slot.addr().wrapping_sub((*this).head.base) >> PAGE_SHIFT;
            if page >= (*this).head.pages.get() {
                return false;
            }
            let offset = (*(*this).head.classes.add(page)).load(Relaxed);
            Cache::push_at(this, usize::from(offset), slot)
        }
    }

    /// Pushes a slot of the class at `offset`. False when its stack is full.
    ///
    /// # Safety
    /// As [`Cache::push`], for a slot of that class.
    #[inline(always)]
    pub(crate) unsafe fn push_at(this: *mut Cache, offset: usize, slot: *mut u8) -> bool {
        // SAFETY: contract; below the limit there is a place.
        unsafe {
            let bin = Cache::bin_at(this, offset);
            let top = bin.top.load(Relaxed);
            if top == bin.limit.get() {
                return false;
            }
            *top = slot;
            // A fork child must not see the new top above an old slot.
            compiler_fence(Release);
            bin.top.store(top.add(1), Relaxed);
            true
        }
    }

    /// Bytes of the slot at `block`; 0 when it is not in a slab of the cache's pool.
    ///
    /// # Safety
    /// `this` is the calling thread's cache, or [`empty`].
    #[inline(always)]
    pub(crate) unsafe fn slot_size(this: *mut Cache, block: *const u8) -> usize {
        // SAFETY: as in `push`.
        unsafe {
            let page = block.addr().wrapping_sub((*this).head.base) >> PAGE_SHIFT;
            if page >= (*this).head.asked_pages.get() {
                return 0;
            }
            size_at(usize::from((*(*this).head.classes.add(page)).load(Relaxed)))
        }
    }

    /// Counts a block; true once in [`BLOCKS_BETWEEN_LOOKS`] calls.
    ///
    /// # Safety
    /// `this` is the calling thread's cache, not [`empty`].
    #[inline(always)]
    pub(crate) unsafe fn is_time_to_look(this: *mut Cache) -> bool {
        // SAFETY: contract.
        unsafe {
            let until_look = &(*this).until_look;
            until_look.set(until_look.get() - 1);
            if until_look.get() != 0 {
                return false;
            }
            until_look.set(BLOCKS_BETWEEN_LOOKS);
            true
        }
    }

    /// As [`Cache::is_time_to_look`], but true without counting when the next call of that is.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn is_nearly_time_to_look(this: *mut Cache) -> bool {
        // SAFETY: contract.
        let until_look = unsafe { &(*this).until_look };
        match until_look.get() {
            1 => true,
            blocks => {
                until_look.set(blocks - 1);
                false
            }
        }
    }

    /// Counts a block without slack, unless it is time that one gets some.
    ///
    /// # Safety
    /// As [`Cache::is_time_to_look`].
    #[inline(always)]
    pub(crate) unsafe fn is_time_for_spare(this: *mut Cache) -> bool {
        // SAFETY: contract.
        let until_spare = unsafe { &(*this).until_spare };
        match until_spare.get() {
            0 => true,
            blocks => {
                until_spare.set(blocks - 1);
                false
            }
        }
    }

    /// A block that would have no slack has got some.
    ///
    /// # Safety
    /// As [`Cache::is_time_to_look`].
    pub(crate) unsafe fn spare_given(this: *mut Cache) {
        // SAFETY: contract.
        unsafe { (*this).until_spare.set(SPARE_INTERVAL - 1) };
    }

    fn index(class: ClassId) -> usize {
        usize::from(class.0)
    }

    /// Slots of `class` in the stack.
    pub(crate) fn count(&self, class: ClassId) -> usize {
        self.slots(class).len()
    }

    /// The slots of `class`, oldest first.
    pub(crate) fn slots(&self, class: ClassId) -> &[*mut u8] {
        let index = Cache::index(class);
        let block = self.stacks[index].block.load(Relaxed);
        if block.is_null() {
            return &[];
        }
        // SAFETY: between the null at `block` and `top` all places are initialised.
        unsafe {
            let first = block.add(1);
            let count = self.bins[index].top.load(Relaxed).offset_from_unsigned(first);
            core::slice::from_raw_parts(first, count)
        }
    }

    /// As [`Cache::count`], for the cache of another thread, which may change it meanwhile.
    pub(crate) fn count_racy(&self, class: ClassId) -> usize {
        let index = Cache::index(class);
        let block = self.stacks[index].block.load(Relaxed);
        let top = self.bins[index].top.load(Relaxed);
        if block.is_null() {
            return 0;
        }
        let slots = top.addr().wrapping_sub(block.addr()) / size_of::<*mut u8>();
        // Mixed old and new values of a growing stack give nonsense: leave it out.
        if (1..=CACHE_MAX_BLOCKS).contains(&slots) { slots - 1 } else { 0 }
    }

    /// Whether `class` can be cached at all in this pool.
    pub(crate) fn can_hold(&self, class: ClassId) -> bool {
        self.stacks[Cache::index(class)].max_capacity.get() > 0
    }

    /// Whether the stack of `class` has no place left.
    pub(crate) fn is_full(&self, class: ClassId) -> bool {
        let bin = &self.bins[Cache::index(class)];
        bin.top.load(Relaxed) == bin.limit.get()
    }

    /// How many slots a fill of `class` should bring.
    pub(crate) fn fill_count(&self, class: ClassId) -> usize {
        let capacity = usize::from(self.stacks[Cache::index(class)].capacity.get());
        let by_bytes = (64 << 10) / class.size();
        let least = (APART / class.size()).min(capacity).max(1);
        (capacity / 2).min(by_bytes).clamp(least, BATCH_BLOCKS)
    }

    /// How many slots a flush of the full stack of `class` should move.
    pub(crate) fn flush_count(&self, class: ClassId) -> usize {
        let capacity = usize::from(self.stacks[Cache::index(class)].capacity.get());
        capacity.div_ceil(2).min(BATCH_BLOCKS)
    }

    /// Gives `class` its first stack, or doubles the one it has, up to its limit, and so far that the
    /// whole cache has places for `budget` bytes. Called with the bin of the class locked. Failing is
    /// harmless.
    pub(crate) fn grow(&self, class: ClassId, budget: usize, meta: &Mutex<Meta>) {
        let (bin, info) = (&self.bins[Cache::index(class)], &self.stacks[Cache::index(class)]);
        let (capacity, most) =
            (usize::from(info.capacity.get()), usize::from(info.max_capacity.get()));
        let first = CACHE_FIRST_CAPACITY.max(2 * APART / class.size());
        let wanted = if capacity == 0 { first } else { capacity * 2 + 1 };
        let affordable = budget.saturating_sub(self.capacity_bytes.get()) / class.size();
        let wanted = wanted.min(most).min(capacity + affordable);
        if wanted <= capacity {
            return;
        }
        let mut meta = meta.lock();
        let Some(block) = meta.take_block(stack_bytes(wanted)) else {
            return;
        };
        let new = block.cast::<*mut u8>().as_ptr();
        let old = info.block.load(Relaxed);
        // SAFETY: the new block has room for the null, the old slots and more; the old block is
        // this cache's.
        unsafe {
            let slots = self.slots(class);
            let count = slots.len();
            new.write(ptr::null_mut());
            ptr::copy_nonoverlapping(slots.as_ptr(), new.add(1), count);
            bin.top.store(new.add(1 + count), Relaxed);
            bin.limit.set(new.add(1 + wanted));
            if let Some(old) = NonNull::new(old) {
                meta.return_block(old.cast(), stack_bytes(capacity));
            }
        }
        info.block.store(new, Relaxed);
        info.capacity.set(wanted as u16);
        let added = (wanted - capacity) * class.size();
        self.capacity_bytes.set(self.capacity_bytes.get() + added);
    }

    /// Gives the empty stack of `class` up. Called with the bin of the class locked.
    pub(crate) fn give_up_stack(&self, class: ClassId, meta: &Mutex<Meta>) {
        let (bin, info) = (&self.bins[Cache::index(class)], &self.stacks[Cache::index(class)]);
        let Some(block) = NonNull::new(info.block.load(Relaxed)) else { return };
        debug_assert!(self.count(class) == 0);
        let nothing = empty_bin();
        bin.limit.set(nothing.limit.get());
        bin.top.store(nothing.top.into_inner(), Relaxed);
        info.block.store(ptr::null_mut(), Relaxed);
        let capacity = usize::from(info.capacity.replace(0));
        self.capacity_bytes.set(self.capacity_bytes.get() - capacity * class.size());
        // SAFETY: the block was this stack's, and nothing refers to it any more.
        unsafe { meta.lock().return_block(block.cast(), stack_bytes(capacity)) };
    }

    /// Where a fill of an empty stack writes its slots, and how many there is room for.
    pub(crate) fn room(&self, class: ClassId) -> (*mut *mut u8, usize) {
        let bin = &self.bins[Cache::index(class)];
        let top = bin.top.load(Relaxed);
        // SAFETY: both point into the same block.
        (top, unsafe { bin.limit.get().offset_from_unsigned(top) })
    }

    /// Declares `count` slots written at `room` to be in the stack.
    pub(crate) fn filled(&self, class: ClassId, count: usize) {
        let bin = &self.bins[Cache::index(class)];
        compiler_fence(Release);
        // SAFETY: the caller wrote so many into the room.
        bin.top.store(unsafe { bin.top.load(Relaxed).add(count) }, Relaxed);
    }

    /// Removes the `count` oldest slots of `class` after `take` has seen them. Called with the bin
    /// of the class locked.
    pub(crate) fn drain_oldest(&self, class: ClassId, count: usize, take: impl FnOnce(&[*mut u8])) {
        let slots = self.slots(class);
        let left = slots.len() - count;
        take(&slots[..count]);
        let (bin, info) = (&self.bins[Cache::index(class)], &self.stacks[Cache::index(class)]);
        if count == 0 {
            return;
        }
        // A fork child must not find slots in both the bin and the stack. It cannot: the bin is
        // locked here, and the child only sees states with no bin locked.
        // SAFETY: both ranges lie in the stack.
        unsafe {
            let first = info.block.load(Relaxed).add(1);
            ptr::copy(first.add(count), first, left);
            bin.top.store(first.add(left), Relaxed);
        }
    }

    /// Drops all slots: they are treated as in use.
    pub(crate) fn forget(&self) {
        for class in ClassId::all() {
            let top = &self.bins[Cache::index(class)].top;
            top.store(top.load(Relaxed).wrapping_sub(self.count(class)), Relaxed);
        }
    }

    /// Counts a slow-path visit to `class`.
    pub(crate) fn visit(&self, class: ClassId) {
        let visits = &self.stacks[Cache::index(class)].visits;
        visits.set(visits.get().saturating_add(1));
        self.visits.set(self.visits.get().saturating_add(1));
    }

    /// Whether the thread should look for idle classes: much was done since the last time, or it was
    /// long ago. `now` is in ms of the arena clock; if true, the next time is `idle_ms` later.
    pub(crate) fn is_look_due(&self, now: u64, idle_ms: u32) -> Option<Due> {
        let due = if now >= self.next_look_ms.get() {
            Due::ByTime
        } else if self.visits.get() >= VISITS_BETWEEN_LOOKS {
            Due::ByWork
        } else {
            return None;
        };
        self.visits.set(0);
        self.next_look_ms.set(now + u64::from(idle_ms));
        Some(due)
    }

    /// Whether `class` has a stack.
    pub(crate) fn has_stack(&self, class: ClassId) -> bool {
        self.stacks[Cache::index(class)].capacity.get() > 0
    }

    /// Whether there was no slow-path visit to `class` since the last call.
    pub(crate) fn was_idle(&self, class: ClassId) -> bool {
        self.stacks[Cache::index(class)].visits.replace(0) == 0
    }
}

/// Slot size of the class at `offset` in a cache.
///
/// # Safety
/// `offset` is from a cache or a page map.
#[inline(always)]
pub(crate) unsafe fn size_at(offset: usize) -> usize {
    debug_assert!(offset.is_multiple_of(BIN_BYTES) && offset < CLASS_COUNT * BIN_BYTES);
    // SAFETY: offsets in caches and page maps are multiples below that, and a Geometry is as large.
    unsafe { (*(&raw const GEOMETRY).cast::<Geometry>().byte_add(offset)).size as usize }
}

/// Why a thread looks for idle classes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    ByTime,
    ByWork,
}

/// Bytes of a stack block with `capacity` places: the null comes first.
fn stack_bytes(capacity: usize) -> usize {
    (capacity + 1) * size_of::<*mut u8>()
}

/// Pages for questions about sizes; see [`Head`].
fn asked_pages(pool: &PoolInner) -> usize {
    if pool.arena.home.is_at_rest() { pool.arena.map.pages() } else { 0 }
}

/// Most slots of `size` bytes that a thread may keep of a pool of `pages` pages.
fn max_capacity(size: usize, pages: usize) -> usize {
    let by_pool = (pages << PAGE_SHIFT) / CACHE_POOL_FRACTION / size;
    let by_size = (CACHE_MAX_BYTES / size).max(CACHE_MIN_BLOCKS);
    by_size.min(by_pool).min(pages / CACHE_PINNED_FRACTION).min(CACHE_MAX_BLOCKS - 1)
}

const _: () = {
    assert!(offset_of!(Cache, head) == 0 && offset_of!(Cache, owner) == HEAD_BYTES);
    assert!(BIN_BYTES == 16 && size_of::<Geometry>() == BIN_BYTES);
    assert!(CLASS_COUNT * BIN_BYTES <= u16::MAX as usize);
    assert!((CACHE_MAX_BLOCKS) * size_of::<*mut u8>() <= 64 << 10);
};
