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
//! concerned: a fork that holds all bin locks finds every cache in a usable state.

use crate::config::{
    BATCH_BLOCKS, BLOCKS_BETWEEN_LOOKS, CACHE_FIRST_CAPACITY, CACHE_MAX_BLOCKS, CACHE_MAX_BYTES,
    CACHE_MIN_BLOCKS, CACHE_PINNED_FRACTION, CACHE_POOL_FRACTION, PAGE_SHIFT,
};
use crate::meta::Meta;
use crate::pool::PoolInner;
use crate::size_class::{CLASS_COUNT, ClassId, SMALL_TABLE, TABLE_LEN};
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU16, Ordering, compiler_fence};

/// Distance of two bins in a cache; the page map stores classes multiplied by it.
pub(crate) const BIN_BYTES: usize = size_of::<CacheBin>();

/// The stack of one class.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CacheBin {
    /// Where the next pushed slot goes.
    top: *mut *mut u8,
    /// One past the last place.
    limit: *mut *mut u8,
}

impl CacheBin {
    /// Moves the top. Other threads read it for statistics, therefore an atomic store (a plain one,
    /// for the processor).
    ///
    /// # Safety
    /// `this` is a bin of the calling thread's cache, and `top` points into its stack.
    #[inline(always)]
    unsafe fn set_top(this: *mut CacheBin, top: *mut *mut u8) {
        // SAFETY: valid and aligned by contract; only this thread writes it.
        unsafe { AtomicPtr::from_ptr(&raw mut (*this).top) }.store(top, Ordering::Relaxed);
    }
}

/// What only the slow paths need to know of a stack.
#[derive(Clone, Copy)]
struct StackInfo {
    /// The block that holds the stack, null if there is none.
    block: *mut *mut u8,
    /// Places for slots.
    capacity: u16,
    /// Largest capacity this class may reach.
    max_capacity: u16,
    /// Slow-path visits since the last scavenge.
    visits: u16,
}

/// See the module text.
#[repr(C)]
pub(crate) struct Cache {
    /// Range of the pool: address of the first page, and number of pages.
    base: usize,
    pages: usize,
    /// The class array of the pool's page map.
    classes: *const AtomicU16,
    /// Whose default heap this is the cache of (see `heap`); null for other pools.
    pub(crate) owner: *const (),
    /// Blocks above a kilobyte until the thread looks at the clock; see `is_time_to_look`.
    until_look: u32,
    /// `SMALL_TABLE` with each class multiplied by `BIN_BYTES`.
    offsets: [u16; TABLE_LEN],
    bins: [CacheBin; CLASS_COUNT],
    stacks: [StackInfo; CLASS_COUNT],
    pub(crate) pool: *const PoolInner,
    /// Next cache of the same pool; guarded by the pool's list lock.
    pub(crate) next: *mut Cache,
    /// Whether a thread uses the cache; guarded by the pool's list lock.
    pub(crate) in_use: bool,
    /// When the thread looks for idle classes again, in ms of the arena clock.
    pub(crate) next_look_ms: u32,
}

#[repr(transparent)]
pub(crate) struct Shared<T>(T);
// SAFETY: the values below are never written.
unsafe impl<T> Sync for Shared<T> {}

/// The null below an empty stack and the place above it, for bins without a stack.
static NO_STACK: Shared<[*mut u8; 2]> = Shared([ptr::null_mut(); 2]);

const fn empty_bin() -> CacheBin {
    let top = (&raw const NO_STACK.0).cast::<*mut u8>().wrapping_add(1).cast_mut();
    CacheBin { top, limit: top }
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

const NO_INFO: StackInfo =
    StackInfo { block: ptr::null_mut(), capacity: 0, max_capacity: 0, visits: 0 };

/// Initial value of every thread slot; see [`empty`].
pub(crate) static EMPTY_CACHE: Shared<Cache> = Shared(Cache {
    base: 0,
    pages: 0,
    classes: ptr::null(),
    owner: ptr::null(),
    until_look: 0,
    offsets: scaled_table(),
    bins: [empty_bin(); CLASS_COUNT],
    stacks: [NO_INFO; CLASS_COUNT],
    pool: ptr::null(),
    next: ptr::null_mut(),
    in_use: false,
    next_look_ms: 0,
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
        // SAFETY: room by contract; EMPTY_CACHE is a valid Cache to start from.
        unsafe {
            ptr::copy_nonoverlapping(empty(), cache.as_ptr(), 1);
            let cache = &mut *cache.as_ptr();
            cache.base = map.base();
            cache.pages = map.pages();
            cache.classes = map.classes();
            cache.pool = pool;
            cache.until_look = BLOCKS_BETWEEN_LOOKS;
            for class in ClassId::all() {
                cache.stacks[usize::from(class.0)].max_capacity =
                    max_capacity(class.size(), map.pages()) as u16;
            }
        }
        cache
    }

    #[inline(always)]
    unsafe fn bin_at(this: *mut Cache, offset: usize) -> *mut CacheBin {
        // SAFETY: offsets come from the class table or the page map: multiples of BIN_BYTES below
        // CLASS_COUNT * BIN_BYTES.
        unsafe { this.byte_add(offset_of!(Cache, bins) + offset).cast::<CacheBin>() }
    }

    /// Pops a slot of the class at `offset`; null when there is none.
    #[inline(always)]
    unsafe fn pop_at(this: *mut Cache, offset: usize) -> *mut u8 {
        // SAFETY: only this thread uses its cache, and EMPTY is never written (its bins are always
        // empty); below `top` there is always a slot or the null.
        unsafe {
            let bin = Cache::bin_at(this, offset);
            let below = (*bin).top.sub(1);
            let slot = *below;
            if !slot.is_null() {
                CacheBin::set_top(bin, below);
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
                let offset = *(*this).offsets.get_unchecked((size + 7) >> 3);
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
        unsafe { Cache::pop_at(this, usize::from(class.0) * BIN_BYTES) }
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
            let page = slot.addr().wrapping_sub((*this).base) >> PAGE_SHIFT;
            if page >= (*this).pages {
                return false;
            }
            let offset = (*(*this).classes.add(page)).load(Ordering::Relaxed);
            let bin = Cache::bin_at(this, usize::from(offset));
            let top = (*bin).top;
            if top == (*bin).limit {
                return false;
            }
            *top = slot;
            // A fork child must not see the new top above an old slot.
            compiler_fence(Ordering::Release);
            CacheBin::set_top(bin, top.add(1));
            true
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
            (*this).until_look -= 1;
            if (*this).until_look != 0 {
                return false;
            }
            (*this).until_look = BLOCKS_BETWEEN_LOOKS;
            true
        }
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
        let block = self.stacks[index].block;
        if block.is_null() {
            return &[];
        }
        // SAFETY: between the null at `block` and `top` all places are initialised.
        unsafe {
            let first = block.add(1);
            let count = self.bins[index].top.offset_from_unsigned(first);
            core::slice::from_raw_parts(first, count)
        }
    }

    /// As [`Cache::count`], for the cache of another thread, which may change it meanwhile.
    ///
    /// # Safety
    /// `this` is a cache of a live pool; the pool's list lock is held.
    pub(crate) unsafe fn count_racy(this: *const Cache, class: ClassId) -> usize {
        let index = Cache::index(class);
        // SAFETY: contract; the owner writes these words with atomic stores.
        let (block, top) = unsafe {
            let block = (&raw const (*this).stacks[index].block).cast_mut();
            let top = (&raw const (*this).bins[index].top).cast_mut();
            let read = |word| AtomicPtr::from_ptr(word).load(Ordering::Relaxed);
            (read(block), read(top))
        };
        if block.is_null() {
            return 0;
        }
        let slots = top.addr().wrapping_sub(block.addr()) / size_of::<*mut u8>();
        // Mixed old and new values of a growing stack give nonsense: leave it out.
        if (1..=CACHE_MAX_BLOCKS).contains(&slots) { slots - 1 } else { 0 }
    }

    /// Whether `class` can be cached at all in this pool.
    pub(crate) fn can_hold(&self, class: ClassId) -> bool {
        self.stacks[Cache::index(class)].max_capacity > 0
    }

    /// Whether the stack of `class` has no place left.
    pub(crate) fn is_full(&self, class: ClassId) -> bool {
        let bin = &self.bins[Cache::index(class)];
        bin.top == bin.limit
    }

    /// How many slots a fill of `class` should bring.
    pub(crate) fn fill_count(&self, class: ClassId) -> usize {
        let capacity = usize::from(self.stacks[Cache::index(class)].capacity);
        let by_bytes = (64 << 10) / class.size();
        (capacity / 2).min(by_bytes).clamp(1, BATCH_BLOCKS)
    }

    /// How many slots a flush of the full stack of `class` should move.
    pub(crate) fn flush_count(&self, class: ClassId) -> usize {
        let capacity = usize::from(self.stacks[Cache::index(class)].capacity);
        capacity.div_ceil(2).min(BATCH_BLOCKS)
    }

    /// Gives `class` its first stack, or doubles the one it has, up to its limit. Called with the
    /// bin of the class locked. Failing is harmless.
    pub(crate) fn grow(&mut self, class: ClassId, meta: &mut Meta) {
        let index = Cache::index(class);
        let info = self.stacks[index];
        let wanted = if info.capacity == 0 {
            CACHE_FIRST_CAPACITY.min(usize::from(info.max_capacity))
        } else {
            (usize::from(info.capacity) * 2 + 1).min(usize::from(info.max_capacity))
        };
        if wanted <= usize::from(info.capacity) {
            return;
        }
        let Some(block) = meta.take_block(stack_bytes(wanted)) else {
            return;
        };
        let new = block.cast::<*mut u8>().as_ptr();
        // SAFETY: the new block has room for the null, the old slots and more; the old block is
        // this cache's.
        unsafe {
            let slots = self.slots(class);
            let count = slots.len();
            new.write(ptr::null_mut());
            ptr::copy_nonoverlapping(slots.as_ptr(), new.add(1), count);
            CacheBin::set_top(&raw mut self.bins[index], new.add(1 + count));
            self.bins[index].limit = new.add(1 + wanted);
            if let Some(old) = NonNull::new(info.block) {
                meta.return_block(old.cast(), stack_bytes(usize::from(info.capacity)));
            }
        }
        // Atomic for the same reason as the top.
        // SAFETY: the word is this cache's.
        unsafe { AtomicPtr::from_ptr(&raw mut self.stacks[index].block) }
            .store(new, Ordering::Relaxed);
        self.stacks[index].capacity = wanted as u16;
    }

    /// Where a fill of an empty stack writes its slots, and how many there is room for.
    pub(crate) fn room(&mut self, class: ClassId) -> (*mut *mut u8, usize) {
        let bin = &self.bins[Cache::index(class)];
        // SAFETY: both point into the same block.
        (bin.top, unsafe { bin.limit.offset_from_unsigned(bin.top) })
    }

    /// Declares `count` slots written at `room` to be in the stack.
    pub(crate) fn filled(&mut self, class: ClassId, count: usize) {
        let bin = &mut self.bins[Cache::index(class)];
        compiler_fence(Ordering::Release);
        // SAFETY: the caller wrote so many into the room.
        unsafe { CacheBin::set_top(bin, bin.top.add(count)) };
    }

    /// Removes the `count` oldest slots of `class` after `take` has seen them. Called with the bin
    /// of the class locked.
    pub(crate) fn drain_oldest(
        &mut self,
        class: ClassId,
        count: usize,
        take: impl FnOnce(&[*mut u8]),
    ) {
        let slots = self.slots(class);
        let held = slots.len();
        take(&slots[..count]);
        let bin = &mut self.bins[Cache::index(class)];
        // A fork child must not find slots in both the bin and the stack. It cannot: the bin is
        // locked here, and the child only sees states with no bin locked.
        // SAFETY: both ranges lie in the stack.
        unsafe {
            let first = bin.top.sub(held);
            ptr::copy(first.add(count), first, held - count);
            CacheBin::set_top(bin, first.add(held - count));
        }
    }

    /// Drops all slots: they are treated as in use.
    pub(crate) fn forget(&mut self) {
        for class in ClassId::all() {
            let index = Cache::index(class);
            let emptied = self.bins[index].top.wrapping_sub(self.count(class));
            // SAFETY: the bottom of this cache's own stack.
            unsafe { CacheBin::set_top(&raw mut self.bins[index], emptied) };
        }
    }

    /// Counts a slow-path visit to `class`.
    pub(crate) fn visit(&mut self, class: ClassId) {
        let info = &mut self.stacks[Cache::index(class)];
        info.visits = info.visits.saturating_add(1);
    }

    /// The classes with slots but without a slow-path visit since the last call.
    pub(crate) fn idle_classes(&mut self) -> impl Iterator<Item = ClassId> + use<> {
        let mut idle = [false; CLASS_COUNT];
        for class in ClassId::all() {
            let index = Cache::index(class);
            let visits = core::mem::take(&mut self.stacks[index].visits);
            idle[index] = visits == 0 && self.count(class) > 0;
        }
        ClassId::all().filter(move |&class| idle[Cache::index(class)])
    }
}

/// Bytes of a stack block with `capacity` places: the null comes first.
fn stack_bytes(capacity: usize) -> usize {
    (capacity + 1) * size_of::<*mut u8>()
}

/// Most slots of `size` bytes that a thread may keep of a pool of `pages` pages.
fn max_capacity(size: usize, pages: usize) -> usize {
    let by_pool = (pages << PAGE_SHIFT) / CACHE_POOL_FRACTION / size;
    let by_size = (CACHE_MAX_BYTES / size).max(CACHE_MIN_BLOCKS);
    by_size.min(by_pool).min(pages / CACHE_PINNED_FRACTION).min(CACHE_MAX_BLOCKS - 1)
}

const _: () = {
    assert!(BIN_BYTES == 16);
    assert!(CLASS_COUNT * BIN_BYTES <= u16::MAX as usize);
    assert!((CACHE_MAX_BLOCKS) * size_of::<*mut u8>() <= 64 << 10);
};
