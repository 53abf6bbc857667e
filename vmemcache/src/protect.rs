//! What readers are looking at, so that it is not overwritten.
//!
//! Each thread has a block of *cells* in a table of the process. Before a reader looks at an entry it stores the entry's
//! address in a cell of its own, and then looks whether the entry is still there. Who has taken an entry out of the index
//! looks at all cells before its space is used again. Of the two fences that this needs, the one on the reader's side is
//! free in caches that reclaim in batches: there the reclaiming side pays for both, by a system call.
//!
//! Cell 0 is for calls that end by themselves; the others are for guards that users hold.

use pmem_core::sync::{Once, Ran};
use pmem_core::sys::{self, ExitKey};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize, compiler_fence, fence};

/// Threads with a block of their own. Others do without: they read under the shard's lock.
pub(crate) const BLOCKS: usize = 512;
const CELLS: usize = 8;

/// What one thread looks at.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Block {
    cells: [AtomicUsize; CELLS],
    taken: AtomicBool,
}

static TABLE: [Block; BLOCKS] = [const {
    Block { cells: [const { AtomicUsize::new(0) }; CELLS], taken: AtomicBool::new(false) }
}; BLOCKS];

/// Blocks that were ever taken.
static USED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static BLOCK: Cell<Option<&'static Block>> = const { Cell::new(None) };
}

/// The calling thread's block; none when there are too many threads.
#[inline]
pub(crate) fn block() -> Option<&'static Block> {
    match BLOCK.get() {
        None => take_block(),
        some => some,
    }
}

#[cold]
fn take_block() -> Option<&'static Block> {
    static KEY: OnceLock<Option<ExitKey>> = OnceLock::new();
    let key = (*KEY.get_or_init(|| ExitKey::new(give_back).ok()))?;
    let (index, block) = TABLE.iter().enumerate().find(|(_, block)| {
        !block.taken.load(Relaxed)
            && block.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    })?;
    if key.arm(ptr::from_ref(block).cast_mut().cast()).is_err() {
        block.taken.store(false, Release);
        return None;
    }
    USED.fetch_max(index + 1, AcqRel);
    // The other half of the fence in `Fences::reclaimer` for who sees the old number.
    fence(SeqCst);
    BLOCK.set(Some(block));
    Some(block)
}

/// At the end of a thread. A guard that lives on elsewhere keeps its cell: whoever has the block next takes others.
unsafe extern "C" fn give_back(block: *mut c_void) {
    BLOCK.set(None);
    // SAFETY: armed with the address of a static.
    unsafe { &*block.cast::<Block>() }.taken.store(false, Release);
}

/// No block of this index or a larger one was ever taken.
pub(crate) fn used() -> usize {
    USED.load(Acquire)
}

impl Block {
    /// Which block this is: a number that no other living thread has.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        (ptr::from_ref(self).addr() - TABLE.as_ptr().addr()) / size_of::<Block>()
    }

    /// The cell for calls that end by themselves.
    #[inline]
    pub(crate) fn scratch(&'static self) -> &'static AtomicUsize {
        &self.cells[0]
    }

    /// A cell for a guard, if one is left.
    #[inline]
    pub(crate) fn guard_cell(&'static self) -> Option<&'static AtomicUsize> {
        self.cells[1..].iter().find(|cell| cell.load(Acquire) == 0)
    }
}

/// How the fences of readers and reclaimers are paid for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fences {
    /// Both sides pay a little.
    Equal,
    /// The reclaiming side pays all.
    Reclaimer,
}

impl Fences {
    /// The best for reclaiming in batches on this system.
    pub(crate) fn for_batches() -> Fences {
        static REGISTERED: Once = Once::new();
        static WORKS: AtomicBool = AtomicBool::new(false);
        while REGISTERED.call(|| WORKS.store(sys::register_process_barrier(), Release))
            == Ran::Reentered
        {}
        if WORKS.load(Acquire) { Fences::Reclaimer } else { Fences::Equal }
    }

    /// Between the store to a cell and the look whether the entry is still there.
    #[inline(always)]
    pub(crate) fn reader(self) {
        match self {
            Fences::Equal => fence(SeqCst),
            Fences::Reclaimer => compiler_fence(SeqCst),
        }
    }

    /// Between taking entries out and the look at the cells.
    pub(crate) fn reclaimer(self) {
        fence(SeqCst);
        if self == Fences::Reclaimer && !is_only_reader() && !sys::process_barrier() {
            // Registered, so the kernel has no reason to refuse; without the barrier no space may be used again.
            sys::abort_with(b"vmemcache: membarrier failed\n");
        }
    }
}

/// Whether no other thread has ever read. A thread that takes a block later passes a fence on the way.
fn is_only_reader() -> bool {
    let used = USED.load(Acquire);
    used == 0 || (used == 1 && block().is_some_and(|block| block.index() == 0))
}

/// Who protects an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protection {
    None,
    /// A call that will end by itself.
    Call,
    /// A guard.
    Guard,
    /// A guard of the calling thread, which cannot be given up while the thread waits.
    OwnGuard,
}

/// Whether somebody looks at this address. After [`Fences::reclaimer`].
pub(crate) fn protection(address: usize) -> Protection {
    let mut found = Protection::None;
    let own = BLOCK.get().map_or(ptr::null(), ptr::from_ref);
    for block in &TABLE[..USED.load(Acquire)] {
        for (index, cell) in block.cells.iter().enumerate() {
            if cell.load(Acquire) == address {
                if ptr::eq(block, own) && index > 0 {
                    return Protection::OwnGuard;
                }
                found = match found {
                    Protection::None if index == 0 => Protection::Call,
                    _ => Protection::Guard,
                };
            }
        }
    }
    found
}

/// All addresses that somebody looks at, sorted. After [`Fences::reclaimer`].
pub(crate) fn protected(into: &mut Vec<usize>) {
    into.clear();
    for block in &TABLE[..USED.load(Acquire)] {
        into.extend(block.cells.iter().map(|cell| cell.load(Acquire)).filter(|&seen| seen != 0));
    }
    into.sort_unstable();
}
