//! What valgrind's memcheck is told, so that it watches blocks of pools as it watches those of malloc.
//!
//! ```text
//!   slot of the pool:    | block, as long as its class | unused | tail: 32 bytes |
//!   what memcheck knows: | usable                      | forbidden               |
//! ```
//!
//! Every block has a tail behind it, so a store behind its end is always seen. The tail links the blocks of
//! a pool: memcheck goes on to know blocks that were not freed before their pool was deleted, and reports
//! them as lost. When such an address is used again, it must be told first, or it would stop.
//!
//! Tools that watch threads (helgrind, DRD) know neither our locks nor what is atomic. For them a block is memory that no
//! thread has touched when it is handed out, and nothing is reported of what happens inside of the library ([`quiet`]).
//!
//! For libraries that pass every call through a [`Watch`] under valgrind, with pools that have no thread
//! caches; elsewhere nothing of this is used.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};
use pmem_core::sync::Mutex;
use pmem_core::sys::{self, Advice, Protection};
use pmem_core::valgrind::{self, Silence};

use crate::config::PAGE;
use crate::pool::Pool;
use crate::rank;
use crate::size_class::ClassId;

static ON: AtomicBool = AtomicBool::new(false);
/// On, and the tool is one that watches threads.
static THREADS: AtomicBool = AtomicBool::new(false);

/// Finds out whether valgrind is there. Once, at the start.
pub fn look() {
    let on = valgrind::is_running();
    ON.store(on, Relaxed);
    THREADS.store(on && !valgrind::is_memcheck(), Relaxed);
}

/// While it lives, the calling thread is inside of the library: tools that watch threads report nothing.
#[must_use]
pub fn quiet() -> Option<Silence> {
    THREADS.load(Relaxed).then(Silence::new)
}

/// For words that threads use without an order that such tools see.
pub fn ignore_order<T>(words: &'static [T]) {
    if THREADS.load(Relaxed) {
        valgrind::ignore_races(words.as_ptr().cast(), size_of_val(words));
    }
}

/// Whether valgrind is there, as [`look`] found.
#[must_use]
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// The last bytes of a slot.
#[repr(C)]
struct Tail {
    /// Tells a live block from anything else: [`MARK`] and its address.
    mark: usize,
    /// Usable bytes of the block.
    len: usize,
    newer: *mut u8,
    older: *mut u8,
}

const TAIL_BYTES: usize = size_of::<Tail>();
const _: () = assert!(TAIL_BYTES == 32);
/// Forbidden bytes at both sides of a block, for memcheck. In front of a block lies another one's tail, or
/// a page of the pool that is nobody's.
const REDZONE: usize = 16;
const MARK: usize = 0x7661_6c67_7269_6e64;

/// Blocks that were not freed before their region pool was deleted.
struct Lost {
    blocks: *mut *mut u8,
    count: usize,
    room: usize,
}

// SAFETY: guarded by the lock around it.
unsafe impl Send for Lost {}

/// Guards the links of all blocks, too.
static LOST: Mutex<Lost> =
    Mutex::new(rank::WATCH, Lost { blocks: ptr::null_mut(), count: 0, room: 0 });

/// # Safety
/// Given back by [`unlock_after_fork`] or [`unlock_in_child`].
pub(crate) unsafe fn lock_for_fork() {
    // SAFETY: contract; no guard is held in this thread.
    unsafe { LOST.lock_for_fork() }
}

/// # Safety
/// The calling thread called [`lock_for_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: contract.
    unsafe { LOST.unlock_after_fork() }
}

/// # Safety
/// The calling thread is the only one of a fork's child.
pub(crate) unsafe fn unlock_in_child() {
    // SAFETY: contract.
    unsafe { LOST.force_unlock() }
}

/// An address in memory that memcheck searches for pointers would make its block reachable. Its own inverse.
fn hidden(block: *mut u8) -> *mut u8 {
    block.map_addr(|address| !address)
}

/// Usable bytes of a block for `size` bytes, as without valgrind.
fn rounded(align: usize, size: usize) -> Option<usize> {
    match ClassId::for_size(size) {
        Some(class) if align < PAGE => Some(class.size()),
        _ => size.max(1).checked_next_multiple_of(PAGE),
    }
}

fn tail_of(pool: &Pool, block: *const u8) -> Option<NonNull<Tail>> {
    // SAFETY: any address may be asked for.
    let slot = unsafe { pool.usable_size(block) };
    let at = block.cast_mut().wrapping_add(slot.checked_sub(TAIL_BYTES)?);
    let at = NonNull::new(at.cast::<Tail>()).filter(|at| at.is_aligned())?;
    let _silence = Silence::new();
    // SAFETY: inside of the pool, since the slot is.
    let mark = unsafe { (*at.as_ptr()).mark };
    (mark == MARK ^ block.addr()).then_some(at)
}

/// The blocks of a pool.
#[derive(Debug)]
pub struct Watch {
    /// The newest, hidden; null for none.
    newest: AtomicPtr<u8>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch::new()
    }
}

impl Watch {
    /// No blocks.
    #[must_use]
    pub const fn new() -> Watch {
        Watch { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// For the next pool.
    pub fn clear(&self) {
        self.set_newest(ptr::null_mut());
    }

    fn newest(&self) -> *mut u8 {
        match self.newest.load(Relaxed) {
            none if none.is_null() => none,
            block => hidden(block),
        }
    }

    fn set_newest(&self, block: *mut u8) {
        self.newest.store(if block.is_null() { block } else { hidden(block) }, Relaxed);
    }

    /// A block of `pool` for `size` bytes at a multiple of `align`, a power of two; null when there is none.
    pub fn alloc(&self, pool: &Pool, align: usize, size: usize, zeroed: bool) -> *mut u8 {
        let _quiet = quiet();
        let Some(len) = rounded(align, size) else { return ptr::null_mut() };
        let Some(whole) = len.checked_add(TAIL_BYTES) else { return ptr::null_mut() };
        let block = pool.alloc_aligned(align, whole);
        if block.is_null() {
            return block;
        }
        {
            let _lost = LOST.lock();
            // SAFETY: a fresh block.
            let slot = unsafe { pool.usable_size(block) };
            let tail = block.wrapping_add(slot - TAIL_BYTES).cast::<Tail>();
            let older = self.newest();
            let tail_of_older = tail_of(pool, older);
            let _silence = Silence::new();
            // SAFETY: the end of a fresh block that is long enough; links are guarded by the lock.
            unsafe {
                tail.write(Tail { mark: MARK ^ block.addr(), len, newer: ptr::null_mut(), older });
                if let Some(tail) = tail_of_older {
                    (*tail.as_ptr()).newer = block;
                }
            }
            self.set_newest(block);
        }
        valgrind::forget_accesses(block, len);
        valgrind::block_allocated(block, len, REDZONE);
        if zeroed {
            // SAFETY: fresh, and known to memcheck now.
            unsafe { block.write_bytes(0, len) };
        }
        block
    }

    /// Frees a block. What is none, memcheck reports; then nothing is done.
    ///
    /// # Safety
    /// `block` lies in `pool`, the one of this watch, and nobody uses it any more.
    pub unsafe fn free(&self, pool: &Pool, block: *mut u8) {
        let _quiet = quiet();
        if pool.is_left_alone() {
            return; // the parent's, whose locks may be held by nobody here
        }
        {
            let _lost = LOST.lock();
            let Some(tail) = tail_of(pool, block) else {
                valgrind::block_freed(block, REDZONE);
                return;
            };
            let silence = Silence::new();
            // SAFETY: a live block of ours; links are guarded by the lock.
            let (newer, older) = unsafe {
                (*tail.as_ptr()).mark = 0;
                ((*tail.as_ptr()).newer, (*tail.as_ptr()).older)
            };
            drop(silence);
            let newer_tail = tail_of(pool, newer);
            let older_tail = tail_of(pool, older);
            let _silence = Silence::new();
            // SAFETY: as above.
            unsafe {
                match newer_tail {
                    Some(tail) => (*tail.as_ptr()).older = older,
                    None => self.set_newest(older),
                }
                if let Some(tail) = older_tail {
                    (*tail.as_ptr()).newer = newer;
                }
            }
        }
        valgrind::block_freed(block, REDZONE);
        // SAFETY: contract.
        unsafe { pool.free(block) };
    }

    /// Moves a block to one of another size; null when there is none, and the block is then as before.
    ///
    /// # Safety
    /// `block` lies in `pool`, the one of this watch, and only the caller uses it.
    pub unsafe fn realloc(&self, pool: &Pool, block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: contract.
        let old = unsafe { self.usable_size(pool, block) };
        let new = self.alloc(pool, 1, size, false);
        if !new.is_null() {
            // SAFETY: both blocks are that long.
            unsafe {
                new.copy_from_nonoverlapping(block, old.min(size));
                self.free(pool, block);
            }
        }
        new
    }

    /// Usable bytes of a block; 0 for what is none.
    ///
    /// # Safety
    /// `block` lies in `pool`, the one of this watch.
    pub unsafe fn usable_size(&self, pool: &Pool, block: *const u8) -> usize {
        let _quiet = quiet();
        let Some(tail) = tail_of(pool, block) else { return 0 };
        let _silence = Silence::new();
        // SAFETY: a live block of ours.
        unsafe { (*tail.as_ptr()).len }
    }

    /// The pool is about to be deleted. With `given_back` its memory is the program's again; without, says
    /// whether its addresses must not be used for anything else: see [`bury`].
    #[must_use]
    pub fn pool_goes(&self, pool: &Pool, given_back: bool) -> bool {
        if !is_on() {
            return false;
        }
        if !given_back {
            return !self.newest().is_null();
        }
        let mut lost = LOST.lock();
        let mut block = self.newest();
        while let Some(tail) = tail_of(pool, block) {
            lost.push(block);
            let _silence = Silence::new();
            // SAFETY: a live block of ours; links are guarded by the lock.
            block = unsafe { (*tail.as_ptr()).older };
        }
        drop(lost);
        let (start, len) = pool.range();
        valgrind::allow_undefined(start.as_ptr(), len);
        valgrind::forget_accesses(start.as_ptr(), len);
        false
    }
}

/// Nothing of a new pool may be touched; what was lost there before is forgotten.
pub fn pool_made(pool: &Pool) {
    if is_on() {
        let (start, len) = pool.range();
        LOST.lock().forget(start.as_ptr(), len);
        valgrind::forbid(start.as_ptr(), len);
        valgrind::forget_accesses(start.as_ptr(), len);
    }
}

/// Deletes a pool but for its addresses, which nothing else will have.
pub fn bury(pool: Pool) {
    let (start, len) = pool.range();
    // SAFETY: the pool is given up. A file without holes keeps its space to the process's end.
    unsafe {
        let _ = sys::advise(start, len, Advice::Remove);
        let _ = sys::protect(start, len, Protection::None);
    }
    valgrind::forbid(start.as_ptr(), len);
    core::mem::forget(pool);
}

impl Lost {
    fn push(&mut self, block: *mut u8) {
        const PLACE: usize = size_of::<*mut u8>();
        if self.count == self.room {
            let room = (2 * self.room).max(512);
            let Ok(memory) = sys::map_anonymous(room * PLACE) else { return };
            let memory = memory.cast::<*mut u8>();
            if let Some(old) = NonNull::new(self.blocks) {
                // SAFETY: the new array is larger; the old one is ours.
                unsafe {
                    memory.copy_from_nonoverlapping(old, self.count);
                    let _ = sys::unmap(old.cast(), self.room * PLACE);
                }
            }
            (self.blocks, self.room) = (memory.as_ptr(), room);
        }
        // SAFETY: below `room`.
        unsafe { self.blocks.add(self.count).write(hidden(block)) };
        self.count += 1;
    }

    /// Tells memcheck that blocks in this range are gone.
    fn forget(&mut self, start: *const u8, len: usize) {
        let mut at = 0;
        while at < self.count {
            // SAFETY: below `count`.
            let place = unsafe { &mut *self.blocks.add(at) };
            let block = hidden(*place);
            if (start.addr()..start.addr() + len).contains(&block.addr()) {
                valgrind::block_freed(block, REDZONE);
                self.count -= 1;
                // SAFETY: the last one, which may be the same.
                let last = unsafe { self.blocks.add(self.count).read() };
                *place = last;
            } else {
                at += 1;
            }
        }
    }
}
