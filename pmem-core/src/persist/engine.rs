//! Which instructions this machine's stores and flushes are made of.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Options, arch};
use crate::valgrind::pmemcheck;

/// How a cache line is written back.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FlushInstruction {
    /// x86 `clflush`, which also drops the line.
    Clflush,
    /// x86 `clflushopt`: the same, and lines do not wait for each other.
    ClflushOpt,
    /// x86 `clwb`, which may keep the line.
    Clwb,
    /// AArch64 `dc cvac`: to the point of coherency.
    Cvac,
    /// AArch64 `dc cvap`: to the point of persistence.
    Cvap,
    /// None: under a checker that has no such instruction.
    None,
}

/// What copies are made of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stores {
    /// Words of 8 bytes, through the cache.
    Words,
    /// The C library's functions, through the cache. Words may be torn.
    CLibrary,
    /// x86: 16 bytes.
    Sse2,
    /// x86: 32 bytes.
    Avx,
    /// x86: 64 bytes.
    Avx512,
    /// x86: 64 bytes, past the cache as a whole; through it as AVX-512 or SSE2.
    Movdir64b,
    /// AArch64: pairs of words.
    Pairs,
}

/// The choice of instructions, made once from the processor and [`Options`].
///
/// # Examples
/// ```
/// use pmem_core::persist::{Engine, Options};
/// let mut options = Options::from_environment();
/// options.threshold = 1 << 20;
/// let engine = Engine::new(&options);
/// assert_eq!(engine.threshold(), 1 << 20);
/// println!("{:?}, {:?}", engine.flush_instruction(), engine.stores());
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Engine {
    pub(super) flush: FlushInstruction,
    pub(super) stores: Stores,
    /// What parts of lines, and copies through the cache, are made of.
    pub(super) temporal: Stores,
    pub(super) write_combining_fences: bool,
    pub(super) threshold: usize,
    /// Whether pmemcheck wants to be told.
    pub(super) announces: bool,
}

impl Engine {
    /// The best for this processor within the options.
    #[must_use]
    pub fn new(options: &Options) -> Engine {
        let mut engine = arch::choose(options);
        engine.announces = pmemcheck::is_running();
        // The tool does not know that a store past the cache needs no flush.
        if !options.non_temporal || engine.announces {
            engine.stores = if options.c_library { Stores::CLibrary } else { Stores::Words };
            engine.temporal = engine.stores;
        }
        engine
    }

    /// The engine of the process; reads the environment at the first call.
    #[inline(always)]
    #[must_use]
    pub fn get() -> Engine {
        match Engine::unpack(CHOSEN.load(Ordering::Relaxed)) {
            Some(engine) => engine,
            None => Engine::choose_now(),
        }
    }

    #[cold]
    fn choose_now() -> Engine {
        // Threads that come at the same time choose the same.
        let engine = Engine::new(&Options::from_environment());
        CHOSEN.store(engine.pack(), Ordering::Relaxed);
        engine
    }

    /// The flush instruction.
    #[must_use]
    pub fn flush_instruction(&self) -> FlushInstruction {
        self.flush
    }

    /// The kind of stores.
    #[must_use]
    pub fn stores(&self) -> Stores {
        self.stores
    }

    /// The length in bytes from which on a copy without a wish goes past the cache.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Whether pmemcheck wants to be told; no while nothing is chosen, and so nothing flushed.
    #[inline(always)]
    pub(super) fn announces() -> bool {
        CHOSEN.load(Ordering::Relaxed) & ANNOUNCES != 0
    }

    /// As one word, which is never 0: threshold, and 4 bits for each of the others.
    fn pack(self) -> u64 {
        let threshold = (self.threshold as u64).min(MAX_THRESHOLD);
        let announces = if self.announces { ANNOUNCES } else { 0 };
        threshold << 16
            | announces
            | u64::from(self.write_combining_fences) << 13
            | 1 << 12
            | (self.temporal as u64) << 8
            | (self.stores as u64) << 4
            | self.flush as u64
    }

    #[inline(always)]
    fn unpack(word: u64) -> Option<Engine> {
        if word == 0 {
            return None;
        }
        let threshold = word >> 16;
        Some(Engine {
            flush: FLUSHES[(word & 7) as usize],
            stores: STORES[(word >> 4 & 7) as usize],
            temporal: STORES[(word >> 8 & 7) as usize],
            write_combining_fences: word >> 13 & 1 != 0,
            announces: word & ANNOUNCES != 0,
            threshold: if threshold == MAX_THRESHOLD { usize::MAX } else { threshold as usize },
        })
    }
}

const ANNOUNCES: u64 = 1 << 14;

/// Stands for "never".
const MAX_THRESHOLD: u64 = u64::MAX >> 16;

static CHOSEN: AtomicU64 = AtomicU64::new(0);

/// By number; filled up to a power of two, so that no check is needed.
const FLUSHES: [FlushInstruction; 8] = {
    use FlushInstruction::*;
    [Clflush, ClflushOpt, Clwb, Cvac, Cvap, None, None, None]
};
const STORES: [Stores; 8] = {
    use Stores::*;
    [Words, CLibrary, Sse2, Avx, Avx512, Movdir64b, Pairs, Words]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_loses_nothing() {
        for flush in FLUSHES {
            for stores in STORES {
                for threshold in [0, 1, 512, 1 << 40, usize::MAX] {
                    for write_combining_fences in [false, true] {
                        let (temporal, announces) = (stores, threshold == 1);
                        let engine = Engine {
                            flush,
                            stores,
                            temporal,
                            write_combining_fences,
                            threshold,
                            announces,
                        };
                        assert_ne!(engine.pack(), 0);
                        assert_eq!(Engine::unpack(engine.pack()), Some(engine));
                    }
                }
            }
        }
        assert_eq!(Engine::unpack(0), None);
        assert_eq!(Engine::get(), Engine::get());
    }
}
