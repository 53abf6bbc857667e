//! The heap of the process, and its policies.

use core::sync::atomic::{AtomicU8, Ordering};
use pmem_core::errno::Errno;
use pmem_core::source::Source;
use vmem_engine::{Harden, Heap, Pool, PoolOptions, Runtime, config::MIN_POOL_BYTES};

use crate::{init, system_heap};

/// The heap behind malloc.
pub(crate) static HEAP: Heap<Interposer> =
    Heap::new(Interposer { overflow: AtomicU8::new(NO_OVERFLOW) });

/// See the module text.
pub(crate) struct Interposer {
    /// Whether a full pool overflows into anonymous memory, and what that does to find errors: a
    /// [`Harden`], or [`NO_OVERFLOW`].
    overflow: AtomicU8,
}

const NO_OVERFLOW: u8 = u8::MAX;

impl Interposer {
    /// Lets a full pool overflow into anonymous memory that is hardened as the pool is.
    pub(crate) fn allow_overflow(&self, harden: Harden) {
        self.overflow.store(harden as u8, Ordering::Relaxed);
    }
}

impl Runtime for Interposer {
    const SOLE: bool = true;

    fn create(&self) -> Option<Pool> {
        init::start()
    }

    fn fallback_alloc(&self, align: usize, size: usize, zeroed: bool) -> *mut u8 {
        system_heap::alloc(align, size, zeroed)
    }

    /// Address space for as much as the machine could hold; memory is used as it is touched.
    fn create_overflow(&self) -> Option<Pool> {
        let allowed = self.overflow.load(Ordering::Relaxed);
        let harden = [Harden::Off, Harden::Checks, Harden::Poison]
            .into_iter()
            .find(|&harden| harden as u8 == allowed)?;
        let options = PoolOptions { harden, ..PoolOptions::default() };
        let mut len = init::machine_memory().max(MIN_POOL_BYTES);
        // A limit on address space (ulimit -v) may leave less.
        while len >= MIN_POOL_BYTES {
            let pool = Source::anonymous(len).and_then(|source| Pool::create(source, &options));
            if let Ok(pool) = pool {
                return Some(pool);
            }
            len /= 2;
        }
        None
    }

    fn out_of_memory(&self) {
        Errno::ENOMEM.set();
    }

    unsafe fn foreign_free(&self, pointer: *mut u8) {
        // SAFETY: contract; what is not ours is the C library's.
        unsafe { system_heap::free(pointer) }
    }

    unsafe fn foreign_realloc(&self, pointer: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { system_heap::realloc(pointer, size) }
    }

    unsafe fn foreign_usable_size(&self, pointer: *mut u8) -> usize {
        // SAFETY: as above.
        unsafe { system_heap::usable_size(pointer) }
    }
}
