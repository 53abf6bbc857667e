//! The order in which a thread takes locks, asserted in debug builds.
//!
//! Each lock has a rank, and a thread takes locks in rising order; so no two threads can wait for
//! each other. What a thread holds is one bit per rank in a thread-local word.

/// A place in the lock order: 0 is taken first, 63 last.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank(u8);

impl Rank {
    /// The last rank: nothing is taken while such a lock is held.
    pub const LEAF: Rank = Rank(63);

    /// Takes no part in the order.
    pub const UNRANKED: Rank = Rank(u8::MAX);

    /// A rank from 0 to 63.
    ///
    /// # Panics
    /// For larger numbers; at compile time where the rank is a constant.
    #[must_use]
    pub const fn new(number: u8) -> Rank {
        assert!(number <= Rank::LEAF.0, "lock ranks are 0 to 63");
        Rank(number)
    }
}

/// What a guard remembers to take its rank off again.
pub(super) struct RankMark {
    #[cfg(debug_assertions)]
    rank: Rank,
}

#[cfg(not(debug_assertions))]
impl RankMark {
    #[inline]
    pub(super) fn acquire(_rank: Rank) -> RankMark {
        RankMark {}
    }

    #[inline]
    pub(super) fn none() -> RankMark {
        RankMark {}
    }

    #[inline]
    pub(super) fn release(&self) {}
}

#[cfg(debug_assertions)]
impl RankMark {
    /// Checks the order before the lock is taken: a violation shows even when nobody contends.
    pub(super) fn acquire(rank: Rank) -> RankMark {
        if rank != Rank::UNRANKED {
            let held = held::get();
            if held >> rank.0 != 0 {
                let highest = held.ilog2();
                panic!("lock of rank {} taken while one of rank {highest} is held", rank.0);
            }
            held::set(held | 1 << rank.0);
        }
        RankMark { rank }
    }

    pub(super) fn none() -> RankMark {
        RankMark { rank: Rank::UNRANKED }
    }

    pub(super) fn release(&self) {
        if self.rank != Rank::UNRANKED {
            held::set(held::get() & !(1 << self.rank.0));
        }
    }
}

/// The ranks that the calling thread holds: a word of initial-exec TLS, because `thread_local!`
/// needs std and, in a shared library, a call that may allocate.
#[cfg(all(
    debug_assertions,
    not(any(miri, pmem_loom)),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod held {
    use core::arch::{asm, global_asm};

    /// Carries the version, so that two versions of this crate can be in one program.
    macro_rules! symbol {
        ($before:literal, $after:literal) => {
            concat!(
                $before,
                "pmem_core_held_ranks_v",
                env!("CARGO_PKG_VERSION_MAJOR"),
                "_",
                env!("CARGO_PKG_VERSION_MINOR"),
                $after
            )
        };
    }

    global_asm!(
        ".pushsection .tbss,\"awT\",@nobits",
        symbol!(".globl ", ""),
        symbol!(".hidden ", ""),
        symbol!(".type ", ",@object"),
        symbol!(".size ", ",8"),
        ".p2align 3",
        symbol!("", ":"),
        ".zero 8",
        ".popsection",
    );

    #[cfg(target_arch = "x86_64")]
    fn address() -> *mut u64 {
        let address: *mut u64;
        // SAFETY: adds the word's offset to the thread pointer, which the psABI keeps at %fs:0.
        unsafe {
            asm!(
                symbol!("mov {address}, qword ptr [rip + ", "@GOTTPOFF]"),
                "add {address}, qword ptr fs:[0]",
                address = out(reg) address,
                options(pure, readonly, nostack),
            );
        }
        address
    }

    #[cfg(target_arch = "aarch64")]
    fn address() -> *mut u64 {
        let address: *mut u64;
        // SAFETY: adds the word's offset to the thread pointer.
        unsafe {
            asm!(
                symbol!("adrp {offset}, :gottprel:", ""),
                symbol!("ldr {offset}, [{offset}, :gottprel_lo12:", "]"),
                "mrs {address}, tpidr_el0",
                "add {address}, {address}, {offset}",
                offset = out(reg) _,
                address = out(reg) address,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        address
    }

    pub(super) fn get() -> u64 {
        // SAFETY: the word belongs to the calling thread alone.
        unsafe { address().read() }
    }

    pub(super) fn set(ranks: u64) {
        // SAFETY: as in `get`.
        unsafe { address().write(ranks) }
    }
}

/// Miri runs no assembly, and the model checker has its own threads.
#[cfg(all(debug_assertions, any(miri, pmem_loom)))]
mod held {
    use std::cell::Cell;

    #[cfg(not(pmem_loom))]
    std::thread_local! {
        static HELD: Cell<u64> = const { Cell::new(0) };
    }
    #[cfg(pmem_loom)]
    loom::thread_local! {
        static HELD: Cell<u64> = Cell::new(0);
    }

    pub(super) fn get() -> u64 {
        HELD.with(Cell::get)
    }

    pub(super) fn set(ranks: u64) {
        HELD.with(|held| held.set(ranks));
    }
}

/// On other architectures the order is not checked.
#[cfg(all(
    debug_assertions,
    not(any(miri, pmem_loom, target_arch = "x86_64", target_arch = "aarch64"))
))]
mod held {
    pub(super) fn get() -> u64 {
        0
    }

    pub(super) fn set(_ranks: u64) {}
}
