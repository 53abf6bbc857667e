//! The heap of the process, and its policies.

use core::sync::atomic::{AtomicBool, Ordering};
use pmem_core::errno::Errno;
use pmem_core::source::Source;
use vmem_engine::{Heap, Pool, PoolOptions, Runtime, config::MIN_POOL_BYTES};

use crate::{init, system_heap};

/// The heap behind malloc.
pub(crate) static HEAP: Heap<Interposer> =
    Heap::new(Interposer { overflows: AtomicBool::new(false) });

/// See the module text.
pub(crate) struct Interposer {
    /// Whether a full pool overflows into anonymous memory.
    overflows: AtomicBool,
}

impl Interposer {
    /// Lets a full pool overflow into anonymous memory.
    pub(crate) fn allow_overflow(&self) {
        self.overflows.store(true, Ordering::Relaxed);
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
        if !self.overflows.load(Ordering::Relaxed) {
            return None;
        }
        let mut len = init::machine_memory().max(MIN_POOL_BYTES);
        // A limit on address space (ulimit -v) may leave less.
        while len >= MIN_POOL_BYTES {
            let pool = Source::anonymous(len)
                .and_then(|source| Pool::create(source, &PoolOptions::default()));
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
