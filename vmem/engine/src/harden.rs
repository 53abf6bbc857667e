//! The hardened mode: errors of the program that would corrupt the heap end it, with one line that
//! tells what happened.
//!
//! Nothing of it is on the fast paths of an ordinary pool. In a hardened one the fast paths find the
//! *front* of the thread's cache, which is always empty and full, so all calls come to the slow
//! paths. These look for the cache behind a front and branch here. (A child without fork handlers
//! comes here too, for the front is as ever; the cache behind it is then the one without slots and
//! pages, see `orphan`.)
//!
//! ```text
//! state, one byte for each 16 bytes of the pool, in DRAM
//!
//!   0            no block starts here, or one that was never handed out
//!   1            the block that starts here is free
//!   2            the same, and its memory was overwritten
//!   128 ..= 254  it is live, with so many (less 128) bytes of slack behind what was asked for
//!   255          the same, and the slack is in the three bytes that follow, seven bits each
//! ```
//!
//! Only the start of a live block has a state of 128 or more. So one load tells a block from all
//! pointers that are none (freed, inside a block, never handed out), in whatever cache or array the
//! block lies. The first bytes of the slack hold a canary (see `canary`).
//!
//! A state changes after its block has left a cache and before it enters one: a block in a cache is
//! never live, also in the child of a fork that came between. Two frees at the very same time may
//! both find a block live; then it is noticed when the block is handed out for the second time.

mod canary;
mod order;
mod poison;
mod report;

use crate::cache::{Cache, size_at};
use crate::config::PAGE_SHIFT;
use crate::pool::{Block, Located, PoolInner};
use crate::size_class::{ClassId, MAX_SMALL, TABLE_MAX};
use crate::thread;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU8, compiler_fence};
use pmem_core::errno::{Errno, ErrnoGuard};
use pmem_core::sys;

/// How much a pool does to find errors of the program. What it finds ends the process: one line on
/// standard error, then abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Harden {
    /// Nothing that costs time.
    #[default]
    Off,
    /// Double frees, frees of what is no block, and writes behind the end of a block are found when
    /// the block is freed or resized; blocks of a new slab are handed out in random order. A block's
    /// usable size is what was asked for.
    Checks,
    /// Also, freed memory is overwritten, and writes to it are found when it is handed out again.
    Poison,
}

/// What a block is aligned to, and at least as large as, in a hardened pool.
const GRAIN: usize = 16;
const GRAIN_SHIFT: u32 = GRAIN.trailing_zeros();
/// Bytes of states for each page of the pool.
const STATES_PER_PAGE: usize = 1 << (PAGE_SHIFT - GRAIN_SHIFT);

const FREE: u8 = 1;
const POISONED: u8 = 2;
const LIVE: u8 = 128;
/// Slack from here on is in the bytes behind the state.
const LONG_SLACK: usize = 127;
const MAX_LONG_SLACK: usize = (1 << 21) - 1;

/// One in so many blocks without slack gets some.
pub(crate) const SPARE_INTERVAL: u32 = 16;

/// What a hardened pool has beside others.
pub(crate) struct Hard {
    states: NonNull<AtomicU8>,
    len: usize,
    /// First address of the pool.
    base: usize,
    secret: u64,
    poisons: bool,
    /// Whether memory of blocks is as this process left it. Not so in some children of a fork.
    trusts_content: AtomicBool,
}

// SAFETY: the states are atomic, and their memory lives as long as the pool.
unsafe impl Send for Hard {}
// SAFETY: as above.
unsafe impl Sync for Hard {}

/// The part of [`Hard`] that most calls need, for the cache of a thread.
#[derive(Clone, Copy)]
pub(crate) struct HardView {
    states: *const AtomicU8,
    base: usize,
    secret: u64,
    poisons: bool,
}

impl HardView {
    /// Of a pool that is not hardened.
    pub(crate) const NONE: HardView =
        HardView { states: ptr::null(), base: 0, secret: 0, poisons: false };
}

impl Hard {
    /// See [`HardView`].
    pub(crate) fn view(&self) -> HardView {
        HardView {
            states: self.states.as_ptr(),
            base: self.base,
            secret: self.secret,
            poisons: self.poisons,
        }
    }

    /// For a pool of `pages` pages at `base`; `None` for a pool that is not hardened.
    pub(crate) fn new(mode: Harden, base: usize, pages: usize) -> Result<Option<Hard>, Errno> {
        if mode == Harden::Off {
            return Ok(None);
        }
        let len = pages * STATES_PER_PAGE;
        let states = sys::map_anonymous(len)?.cast();
        let mut secret = [0; 8];
        sys::fill_random(&mut secret);
        Ok(Some(Hard {
            states,
            len,
            base,
            secret: u64::from_ne_bytes(secret),
            poisons: mode == Harden::Poison,
            trusts_content: AtomicBool::new(true),
        }))
    }

    /// Releases the states.
    ///
    /// # Safety
    /// Nobody uses the pool any more.
    pub(crate) unsafe fn release(&self) {
        // SAFETY: mapped in `new`, unused by contract.
        let _ = unsafe { sys::unmap(self.states.cast(), self.len) };
    }

    /// The state of the grain at byte `offset` of the pool.
    #[inline(always)]
    fn state(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: there is a state for each grain of the pool.
        unsafe { &*self.state_pointer(offset) }
    }

    /// The same, with the states behind it. Callers pass offsets inside the pool.
    #[inline(always)]
    fn state_pointer(&self, offset: usize) -> *const AtomicU8 {
        let grain = offset >> GRAIN_SHIFT;
        debug_assert!(grain < self.len);
        self.states.as_ptr().wrapping_add(grain).cast_const()
    }

    fn state_at(&self, address: usize) -> &AtomicU8 {
        self.state(address - self.base)
    }

    /// Whether a live block starts at `address`, which lies in the pool.
    pub(crate) fn is_live(&self, address: usize) -> bool {
        address.is_multiple_of(GRAIN) && self.state_at(address).load(Relaxed) >= LIVE
    }

    /// The slack of a live block whose state is `state`.
    #[inline(always)]
    fn slack(&self, offset: usize, state: u8) -> usize {
        let slack = usize::from(state - LIVE);
        // SAFETY: such a state has three more.
        if slack < LONG_SLACK { slack } else { unsafe { read_long(self.state_pointer(offset)) } }
    }

    /// A block becomes live.
    #[inline(always)]
    fn set_live(&self, offset: usize, slack: usize) {
        // A fork child must not see a live block that is still in a cache.
        compiler_fence(Release);
        // SAFETY: callers pass offsets of blocks.
        unsafe { set_live(self.state_pointer(offset), slack) };
    }

    /// No slot of a fresh slab at `start` was ever handed out.
    pub(crate) fn forget_slots(&self, start: usize, slots: usize, size: usize) {
        for slot in 0..slots {
            self.state_at(start + slot * size).store(0, Relaxed);
        }
    }

    /// The memory of the free block at `address` is no longer what it was overwritten with.
    pub(crate) fn forget_content(&self, address: usize) {
        let state = self.state_at(address);
        if state.load(Relaxed) == POISONED {
            state.store(FREE, Relaxed);
        }
    }

    /// In a child whose pool is a copy: stores that other threads made after the copy was taken are
    /// not in it, though the states may know of them.
    pub(crate) fn distrust_content(&self) {
        self.trusts_content.store(false, Relaxed);
    }

    /// Makes a slot of `room` bytes, fresh from a cache, a live block of `size` bytes.
    ///
    /// # Safety
    /// The slot is the caller's, and a slot of a slab of this pool.
    #[inline(always)]
    unsafe fn hand_out(&self, slot: *mut u8, room: usize, size: usize) {
        let offset = slot.addr() - self.base;
        let old = self.state(offset).load(Relaxed);
        if old >= LIVE {
            report::handed_out_twice(slot, room);
        }
        // SAFETY: the caller's slot of `room` bytes.
        unsafe {
            if old == POISONED {
                self.verify_poison(slot, room);
            }
            let slack = room - size;
            if slack > 0 {
                canary::write(slot, room, slack, self.secret);
            }
            self.set_live(offset, slack);
        }
    }

    #[inline(never)]
    unsafe fn verify_poison(&self, slot: *mut u8, room: usize) {
        // SAFETY: the caller's slot of `room` bytes.
        if let Some(at) = unsafe { poison::changed_at(slot, room) }
            && self.trusts_content.load(Relaxed)
        {
            report::used_after_free(slot, room, at);
        }
    }

    /// Checks the canary of a live block of `room` bytes in state `state`.
    ///
    /// # Safety
    /// It is one, and not shared with another process.
    #[inline(always)]
    unsafe fn verify_canary(&self, block: *mut u8, room: usize, state: u8, call: &'static str) {
        if state == LIVE {
            return;
        }
        let slack = self.slack(block.addr() - self.base, state);
        // SAFETY: contract.
        if unsafe { !canary::is_intact(block, room, slack, self.secret) } {
            self.overflown(block, room, slack, call);
        }
    }

    #[cold]
    #[inline(never)]
    fn overflown(&self, block: *mut u8, room: usize, slack: usize, call: &'static str) {
        if self.trusts_content.load(Relaxed) {
            report::overflown(block, room, room - slack, call);
        }
    }

    /// A live block of `room` bytes becomes free.
    ///
    /// # Safety
    /// The block is the caller's.
    #[inline(always)]
    unsafe fn set_free(&self, block: *mut u8, room: usize) {
        if self.poisons {
            // SAFETY: contract.
            unsafe { poison::fill(block, room) };
        }
        let free = if self.poisons { POISONED } else { FREE };
        self.state(block.addr() - self.base).store(free, Relaxed);
        // A fork child must not see it in a cache before.
        compiler_fence(Release);
    }

    /// Makes a block fresh from the pool a live one of `size` bytes.
    ///
    /// # Safety
    /// The block is the caller's, at least that large, and nobody else has it.
    unsafe fn mark(&self, pool: &PoolInner, block: &Block, size: usize) {
        match pool.locate(block.pointer) {
            // SAFETY: contract.
            Located::Slot(class) => unsafe { self.hand_out(block.pointer, class.size(), size) },
            // SAFETY: contract.
            Located::Run(extent) => unsafe {
                self.stamp(block.pointer, (*extent).pages() << PAGE_SHIFT, size);
            },
            Located::Shared(_) | Located::Nowhere => {}
        }
    }

    /// Gives a block of `room` bytes the length `size`, and leaves these bytes as they are.
    ///
    /// # Safety
    /// The block is the caller's, and not shared with another process.
    unsafe fn stamp(&self, block: *mut u8, room: usize, size: usize) {
        let slack = room.saturating_sub(size).min(MAX_LONG_SLACK);
        if slack > 0 {
            // SAFETY: contract.
            unsafe { canary::blend(block, room, slack, self.secret) };
        }
        self.set_live(block.addr() - self.base, slack);
    }

    /// The whole length of the live block at `pointer`, and whether it is shared with the parent
    /// process. Ends the process if it is no live block, or if its canary has changed.
    ///
    /// # Safety
    /// If `pointer` is a live block it is the caller's.
    unsafe fn verify(&self, pool: &PoolInner, pointer: *mut u8, call: &'static str) -> Room {
        let room = match pool.locate(pointer) {
            Located::Slot(class) => Room { bytes: class.size(), is_shared: false },
            Located::Run(extent) => {
                // SAFETY: a live run; its page count changes only through its owner.
                Room { bytes: unsafe { (*extent).pages() } << PAGE_SHIFT, is_shared: false }
            }
            Located::Shared(bytes) => Room { bytes, is_shared: true },
            Located::Nowhere => report::no_block(pool, pointer, call),
        };
        if !self.is_live(pointer.addr()) {
            report::no_block(pool, pointer, call);
        }
        if !room.is_shared {
            let state = self.state_at(pointer.addr()).load(Relaxed);
            // SAFETY: a live block, by its state.
            unsafe { self.verify_canary(pointer, room.bytes, state, call) };
        }
        room
    }

    /// As [`PoolInner::usable_size`], for a block with room for `room` bytes.
    pub(crate) fn usable_size(&self, pointer: *const u8, room: usize) -> Option<usize> {
        if !self.is_live(pointer.addr()) {
            return None;
        }
        let offset = pointer.addr() - self.base;
        Some(room - self.slack(offset, self.state(offset).load(Relaxed)).min(room))
    }

    /// Checks a block that is about to be freed, and makes it free.
    ///
    /// # Safety
    /// If `pointer` is a live block nobody uses it any more.
    pub(crate) unsafe fn take_back(&self, pool: &PoolInner, pointer: *mut u8) {
        // SAFETY: contract.
        unsafe {
            let room = self.verify(pool, pointer, "free");
            if room.is_shared {
                self.state_at(pointer.addr()).store(FREE, Relaxed);
            } else {
                self.set_free(pointer, room.bytes);
            }
        }
    }

    /// Runs `resize`, which changes the block in place to `size` bytes and says whether it could.
    ///
    /// # Safety
    /// If `pointer` is a live block only the caller uses it.
    pub(crate) unsafe fn resize(
        &self,
        pool: &PoolInner,
        pointer: *mut u8,
        size: usize,
        resize: impl FnOnce() -> bool,
    ) -> bool {
        // SAFETY: contract.
        let shared = unsafe { self.verify(pool, pointer, "realloc").is_shared };
        let resized = resize();
        let size = asked_for(size);
        if resized {
            match pool.locate(pointer) {
                Located::Shared(room) if shared => {
                    self.set_live(pointer.addr() - self.base, room.saturating_sub(size));
                }
                // SAFETY: contract.
                Located::Slot(class) => unsafe { self.stamp(pointer, class.size(), size) },
                // SAFETY: contract.
                Located::Run(extent) => unsafe {
                    self.stamp(pointer, (*extent).pages() << PAGE_SHIFT, size);
                },
                _ => {}
            }
        }
        resized
    }

    /// See [`order::take`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn take_slots(
        &self,
        slab: *mut crate::extent::Extent,
        class: ClassId,
        first: *mut u8,
        out: *mut *mut u8,
        want: usize,
        seed: &mut u64,
    ) -> usize {
        if *seed == 0 {
            *seed = self.secret ^ u64::from(class.0);
        }
        // SAFETY: contract.
        unsafe { order::take(slab, class.geometry(), first, out, want, self.secret, seed) }
    }
}

/// The slack that is in the three bytes behind a state.
///
/// # Safety
/// The state says that it is there.
#[inline(always)]
unsafe fn read_long(state: *const AtomicU8) -> usize {
    // SAFETY: contract.
    let byte = |n: usize| usize::from(unsafe { (*state.add(n)).load(Relaxed) });
    byte(1) << 14 | byte(2) << 7 | byte(3)
}

/// Makes a block live whose slack does not fit into the state.
///
/// # Safety
/// The three bytes behind `state` are of the same block.
#[inline(always)]
unsafe fn write_long(state: *const AtomicU8, slack: usize) {
    // More than the bytes can say counts as asked for.
    let slack = slack.min(MAX_LONG_SLACK);
    // SAFETY: contract.
    let set = |n: usize, bits: usize| unsafe { (*state.add(n)).store(bits as u8 & 127, Relaxed) };
    set(1, slack >> 14);
    set(2, slack >> 7);
    set(3, slack);
    // SAFETY: contract.
    unsafe { (*state).store(LIVE + LONG_SLACK as u8, Relaxed) };
}

/// Makes a block live that has so much slack.
///
/// # Safety
/// `state` is that of the block's start.
#[inline(always)]
unsafe fn set_live(state: *const AtomicU8, slack: usize) {
    // SAFETY: contract; so much slack as asks for it has place for three more states.
    unsafe {
        if slack < LONG_SLACK {
            (*state).store(LIVE + slack as u8, Relaxed);
        } else {
            write_long(state, slack);
        }
    }
}

/// See [`Hard::verify`].
struct Room {
    bytes: usize,
    is_shared: bool,
}

/// What a request of `size` bytes gets: of 0 bytes a block of 8, as without hardening.
fn asked_for(size: usize) -> usize {
    if size == 0 { 8 } else { size }
}

/// The class for `size` bytes, at least [`GRAIN`]; `None` above [`MAX_SMALL`].
#[inline(always)]
fn class_for(size: usize) -> Option<ClassId> {
    if size <= TABLE_MAX {
        ClassId::for_size(size.max(GRAIN))
    } else if size <= MAX_SMALL {
        Some(ClassId::for_medium(size))
    } else {
        None
    }
}

/// A block of `size` bytes from `cache`; null when that has none, or anything is unusual: nothing has
/// happened then.
///
/// No call is made from here, so that the compiler saves no registers.
///
/// # Safety
/// `cache` is the calling thread's, of a hardened pool.
#[inline(always)]
pub(crate) unsafe fn pop_quickly(cache: *mut Cache, size: usize) -> *mut u8 {
    // SAFETY: contract; a slot in the cache is the caller's, and so is its state.
    unsafe {
        let view = &(*cache).hard;
        let class = if size <= TABLE_MAX {
            Cache::offset_for(cache, size)
        } else if size <= MAX_SMALL && !Cache::is_nearly_time_to_look(cache) {
            Cache::offset_of(cache, ClassId::for_medium(size))
        } else {
            return ptr::null_mut();
        };
        let room = size_at(class);
        if room == size && Cache::is_time_for_spare(cache) {
            return ptr::null_mut();
        }
        let slot = Cache::peek_at(cache, class);
        if slot.is_null() {
            return slot;
        }
        let state = view.states.add((slot.addr() - view.base) >> GRAIN_SHIFT);
        if (*state).load(Relaxed) > FREE {
            return ptr::null_mut();
        }
        let slack = room - size;
        Cache::drop_top(cache, class);
        if slack > 0 {
            canary::write(slot, room, slack, view.secret);
        }
        // A fork child must not see a live block that is still in a cache.
        compiler_fence(Release);
        set_live(state, slack);
        slot
    }
}

/// Frees a block into `cache`. False when that cannot take it, or anything is unusual: nothing has
/// happened then.
///
/// # Safety
/// As [`pop_quickly`]; if `pointer` is a live block of the pool nobody uses it any more.
#[inline(always)]
pub(crate) unsafe fn push_quickly(cache: *mut Cache, pointer: *mut u8) -> bool {
    // SAFETY: contract; the state says that the block is live.
    unsafe {
        let view = &(*cache).hard;
        let offset = pointer.addr().wrapping_sub(view.base);
        let Some(class) = Cache::class_offset_at(cache, offset) else {
            return false;
        };
        // Where there is no slab the class is 0, whose stack is always full.
        if Cache::is_full_at(cache, class) || view.poisons {
            return false;
        }
        let state = view.states.add(offset >> GRAIN_SHIFT);
        let was = (*state).load(Relaxed);
        if was < LIVE || !offset.is_multiple_of(GRAIN) {
            return false;
        }
        let mut slack = usize::from(was - LIVE);
        if slack > 0 {
            if slack == LONG_SLACK {
                slack = read_long(state);
            }
            if !canary::is_intact(pointer, size_at(class), slack, view.secret) {
                return false;
            }
        }
        (*state).store(FREE, Relaxed);
        // A fork child must not see a live block in a cache.
        compiler_fence(Release);
        Cache::push_at(cache, class, pointer)
    }
}

/// Gives a block of a slab the length `size`, if that does not waste more than half of it. False when
/// that cannot be, or anything is unusual: nothing has happened then.
///
/// # Safety
/// As [`push_quickly`]; if `pointer` is a live block only the caller uses it.
pub(crate) unsafe fn resize_quickly(cache: *mut Cache, pointer: *mut u8, size: usize) -> bool {
    // SAFETY: contract; the state says that the block is live.
    unsafe {
        let view = &(*cache).hard;
        let offset = pointer.addr().wrapping_sub(view.base);
        let class = Cache::class_offset_at(cache, offset).unwrap_or(0);
        // The class 0 of what is in no slab has no room.
        let room = size_at(class);
        if size == 0 || size > room || size < room / 2 {
            return false;
        }
        let state = view.states.add(offset >> GRAIN_SHIFT);
        let was = (*state).load(Relaxed);
        if was < LIVE || !offset.is_multiple_of(GRAIN) {
            return false;
        }
        let mut slack = usize::from(was - LIVE);
        if slack > 0 {
            if slack == LONG_SLACK {
                slack = read_long(state);
            }
            if !canary::is_intact(pointer, room, slack, view.secret) {
                return false;
            }
        }
        let slack = room - size;
        if slack > 0 {
            canary::blend(pointer, room, slack, view.secret);
        }
        set_live(state, slack);
        true
    }
}

/// Whether a block of `size` bytes is to get slack that its class has not: an overflow of one without
/// goes unnoticed, so now and then there is some.
///
/// # Safety
/// `cache` is the calling thread's.
unsafe fn is_spare(cache: *mut Cache, size: usize) -> bool {
    let fills_its_slot = class_for(size).is_some_and(|class| class.size() == size);
    // SAFETY: contract.
    fills_its_slot && size < MAX_SMALL && unsafe { Cache::is_time_for_spare(cache) }
}

/// A block of `size` bytes from `cache`; null when it has none.
///
/// # Safety
/// `cache` is the calling thread's, of a hardened pool.
pub(crate) unsafe fn pop(cache: *mut Cache, size: usize) -> *mut u8 {
    let size = asked_for(size);
    let Some(mut class) = class_for(size) else {
        return ptr::null_mut();
    };
    // SAFETY: contract; pools outlive their caches, and a slot from a cache is the caller's.
    unsafe {
        let pool = &*(*cache).pool;
        let Some(hard) = pool.hard() else { return ptr::null_mut() };
        let spare = is_spare(cache, size);
        if spare {
            class = ClassId(class.0 + 1);
        }
        let slot = Cache::pop_class(cache, class);
        if slot.is_null() {
            return slot;
        }
        if spare {
            Cache::spare_given(cache);
        }
        if size > TABLE_MAX && Cache::is_time_to_look(cache) {
            let _errno = ErrnoGuard::new();
            pool.look_for_idle(cache);
        }
        hard.hand_out(slot, class.geometry().size as usize, size);
        slot
    }
}

/// Frees a block into `cache`. False when that cannot take it: nothing has happened then.
///
/// # Safety
/// As [`pop`]; if `pointer` is a live block of the pool nobody uses it any more.
pub(crate) unsafe fn push(cache: *mut Cache, hard: &Hard, pointer: *mut u8) -> bool {
    // SAFETY: contract; the state says that the block is live.
    unsafe {
        let offset = pointer.addr().wrapping_sub(hard.base);
        let Some(class) = Cache::class_offset_at(cache, offset) else {
            return false;
        };
        if Cache::is_full_at(cache, class) {
            return false;
        }
        let state = hard.state(offset).load(Relaxed);
        if state < LIVE || !offset.is_multiple_of(GRAIN) {
            report::no_block(&*(*cache).pool, pointer, "free");
        }
        let room = size_at(class);
        hard.verify_canary(pointer, room, state, "free");
        hard.set_free(pointer, room);
        Cache::push_at(cache, class, pointer)
    }
}

/// As [`PoolInner::allocate`], in a hardened pool.
pub(crate) fn allocate(pool: &PoolInner, hard: &Hard, size: usize) -> Block {
    let (cache, size) = (thread::cache_of(pool), asked_for(size));
    // SAFETY: the calling thread's cache; the block is new.
    unsafe {
        let mut wanted = size.max(GRAIN);
        if !cache.is_null() {
            let pointer = pop(cache, size);
            if !pointer.is_null() {
                return Block { pointer, zeroed: false };
            }
            if is_spare(cache, size) {
                wanted += 1;
                Cache::spare_given(cache);
            }
        }
        let block = pool.allocate_plain(cache, wanted);
        marked(pool, hard, block, size)
    }
}

/// As [`PoolInner::allocate_roomy`], in a hardened pool.
pub(crate) fn allocate_roomy(pool: &PoolInner, hard: &Hard, size: usize, room: usize) -> Block {
    // SAFETY: the calling thread's cache; the block is new, and has so much room.
    unsafe {
        let block = pool.allocate_plain(thread::cache_of(pool), room.max(GRAIN));
        marked(pool, hard, block, asked_for(size))
    }
}

/// As [`PoolInner::allocate_aligned`], in a hardened pool.
pub(crate) fn allocate_aligned(pool: &PoolInner, hard: &Hard, align: usize, size: usize) -> Block {
    let size = asked_for(size);
    // SAFETY: the calling thread's cache; the block is new.
    unsafe {
        let cache = thread::cache_of(pool);
        let block = pool.allocate_aligned_plain(cache, align.max(GRAIN), size);
        marked(pool, hard, block, size)
    }
}

/// As [`PoolInner::allocate_whole_pages`], in a hardened pool.
pub(crate) fn allocate_whole_pages(pool: &PoolInner, hard: &Hard, size: usize) -> Block {
    // SAFETY: the calling thread's cache; the block is new.
    unsafe {
        let block = pool.allocate_whole_pages_plain(thread::cache_of(pool), size);
        marked(pool, hard, block, size)
    }
}

/// # Safety
/// As [`Hard::mark`].
unsafe fn marked(pool: &PoolInner, hard: &Hard, block: Block, size: usize) -> Block {
    if !block.pointer.is_null() {
        // SAFETY: contract.
        unsafe { hard.mark(pool, &block, size) };
    }
    block
}

const _: () = {
    // Slack that needs the three bytes behind the state has place for them.
    assert!(LONG_SLACK >= 4 * GRAIN);
    assert!(LIVE as usize + LONG_SLACK == u8::MAX as usize);
    // The slack of any slot can be told.
    assert!(MAX_SMALL <= MAX_LONG_SLACK);
};
