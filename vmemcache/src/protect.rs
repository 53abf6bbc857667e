//! What readers are looking at, so that it is not overwritten.
//!
//! Each thread has a block of *cells* in a table of the process. Before a reader looks at an entry it stores the entry's
//! address in a cell of its own, and then looks whether the entry is still there. Who has taken an entry out of the index
//! looks at all cells before its space is used again. Of the two fences that this needs, the one on the reader's side is
//! free in caches that reclaim in batches: there the reclaiming side pays for both, by a system call.
//!
//! Cell 0 is for calls that end by themselves; the others are for guards that users hold.

mod cells;

use cells::Table;
pub(crate) use cells::{Block, Fences, Protection};
use pmem_core::sync::{Once, Ran};
use pmem_core::sys::{self, ExitKey};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

/// Threads with a block of their own. Others do without: they read under the shard's lock.
pub(crate) const BLOCKS: usize = 512;

static TABLE: Table<BLOCKS> = Table::new();

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
    let block = TABLE.take()?;
    if key.arm(ptr::from_ref(block).cast_mut().cast()).is_err() {
        block.give_back();
        return None;
    }
    BLOCK.set(Some(block));
    Some(block)
}

/// At the end of a thread. A guard that lives on elsewhere keeps its cell: whoever has the block next takes others.
unsafe extern "C" fn give_back(block: *mut c_void) {
    BLOCK.set(None);
    // SAFETY: armed with the address of a static.
    unsafe { &*block.cast::<Block>() }.give_back();
}

/// No block of this index or a larger one was ever taken.
pub(crate) fn used() -> usize {
    TABLE.used()
}

impl Block {
    /// Which block this is: a number that no other living thread has.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        TABLE.index(self)
    }
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

    /// Between taking entries out and the look at the cells.
    pub(crate) fn before_look(self) {
        self.reclaimer(|| TABLE.is_only_reader(|| block().map(Block::index)));
    }
}

/// Whether somebody looks at this address. After [`Fences::before_look`].
pub(crate) fn protection(address: usize) -> Protection {
    TABLE.protection(address, BLOCK.get().map_or(ptr::null(), ptr::from_ref))
}

/// All addresses that somebody looks at, sorted. After [`Fences::before_look`].
pub(crate) fn protected(into: &mut Vec<usize>) {
    TABLE.protected(into);
}
