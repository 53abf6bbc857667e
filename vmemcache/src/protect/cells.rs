//! The cells of all threads, and the look at them. Nothing here knows of threads, so that it runs under a model checker
//! (`tests/loom.rs`).

use crate::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::atomic::{AtomicBool, AtomicUsize, fence};
use crate::machine;
use std::ptr;

const CELLS: usize = if cfg!(pmem_loom) { 2 } else { 8 };

/// What one thread looks at.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Block {
    cells: [AtomicUsize; CELLS],
    taken: AtomicBool,
}

impl Block {
    #[cfg(not(pmem_loom))]
    const fn new() -> Block {
        Block { cells: [const { AtomicUsize::new(0) }; CELLS], taken: AtomicBool::new(false) }
    }

    #[cfg(pmem_loom)]
    fn new() -> Block {
        Block { cells: std::array::from_fn(|_| AtomicUsize::new(0)), taken: AtomicBool::new(false) }
    }

    /// The cell for calls that end by themselves.
    #[inline]
    pub(crate) fn scratch(&self) -> &AtomicUsize {
        &self.cells[0]
    }

    /// A cell for a guard, if one is left.
    #[inline]
    pub(crate) fn guard_cell(&self) -> Option<&AtomicUsize> {
        self.cells[1..].iter().find(|cell| cell.load(Acquire) == 0)
    }

    /// Lets another thread have it. Cells in use stay in use.
    pub(crate) fn give_back(&self) {
        self.taken.store(false, Release);
    }
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

/// Blocks for up to `N` threads.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    blocks: [Block; N],
    /// Blocks that were ever taken.
    used: AtomicUsize,
}

impl<const N: usize> Table<N> {
    #[cfg(not(pmem_loom))]
    pub(crate) const fn new() -> Self {
        Self { blocks: [const { Block::new() }; N], used: AtomicUsize::new(0) }
    }

    #[cfg(pmem_loom)]
    pub(crate) fn new() -> Self {
        Self { blocks: std::array::from_fn(|_| Block::new()), used: AtomicUsize::new(0) }
    }

    /// A block that no other thread has, if one is left.
    pub(crate) fn take(&self) -> Option<&Block> {
        let (index, block) = self.blocks.iter().enumerate().find(|(_, block)| {
            !block.taken.load(Relaxed)
                && block.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok()
        })?;
        self.used.fetch_max(index + 1, AcqRel);
        // The other half of the fence in `Fences::reclaimer` for who sees the old number.
        fence(SeqCst);
        Some(block)
    }

    /// No block of this index or a larger one was ever taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Acquire)
    }

    /// Which block this is.
    #[inline]
    pub(crate) fn index(&self, block: &Block) -> usize {
        (ptr::from_ref(block).addr() - self.blocks.as_ptr().addr()) / size_of::<Block>()
    }

    /// Whether nobody has ever read but the thread of this block. A thread that takes a block later passes a fence on the way.
    pub(crate) fn is_only_reader(&self, own: impl FnOnce() -> Option<usize>) -> bool {
        let used = self.used();
        used == 0 || (used == 1 && own() == Some(0))
    }

    /// Whether somebody looks at this address. After [`Fences::reclaimer`]. `own` is the calling thread's block.
    pub(crate) fn protection(&self, address: usize, own: *const Block) -> Protection {
        let mut found = Protection::None;
        for block in &self.blocks[..self.used()] {
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
    pub(crate) fn protected(&self, into: &mut Vec<usize>) {
        into.clear();
        for block in &self.blocks[..self.used()] {
            into.extend(
                block.cells.iter().map(|cell| cell.load(Acquire)).filter(|&seen| seen != 0),
            );
        }
        into.sort_unstable();
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
    /// Between the store to a cell and the look whether the entry is still there.
    #[inline(always)]
    pub(crate) fn reader(self) {
        match self {
            Fences::Equal => fence(SeqCst),
            Fences::Reclaimer => machine::light_fence(),
        }
    }

    /// Between taking entries out and the look at the cells. `is_only_reader` may be asked whether no other thread can have
    /// read.
    pub(crate) fn reclaimer(self, is_only_reader: impl FnOnce() -> bool) {
        fence(SeqCst);
        if self == Fences::Reclaimer && !is_only_reader() {
            machine::barrier_of_all_threads();
        }
    }

    /// Leaves in a cell the address of what a slot names, and gives what that is: it is not overwritten before the cell is
    /// cleared. None when the slot names nothing; the cell may then hold anything.
    #[inline(always)]
    pub(crate) fn protect<L: Copy + PartialEq>(
        self,
        cell: &AtomicUsize,
        named: impl Fn() -> Option<L>,
        address: impl Fn(L) -> usize,
    ) -> Option<L> {
        let mut seen = named()?;
        loop {
            cell.store(address(seen), Release);
            self.reader();
            let now = named()?;
            if now == seen {
                return Some(seen);
            }
            seen = now;
        }
    }
}
