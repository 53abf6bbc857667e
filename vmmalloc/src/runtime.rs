//! The heap of the process, and its policies.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use pmem_core::errno::Errno;
use pmem_core::source::Source;
use pmem_core::sys;
use vmem_engine::memcheck::{self, Watch};
use vmem_engine::{Harden, Heap, Pool, PoolOptions, Runtime, config::MIN_POOL_BYTES};

use crate::{init, system_heap};

/// The heap behind malloc.
pub(crate) static HEAP: Heap<Interposer> = Heap::new(Interposer {
    overflow: AtomicU8::new(NO_OVERFLOW),
    watched: Watched { pool: UnsafeCell::new(None), is_there: AtomicBool::new(false) },
    watch: Watch::new(),
});

/// See the module text.
pub(crate) struct Interposer {
    /// Whether a full pool overflows into anonymous memory, and what that does to find errors: one more
    /// than a [`Harden`], or [`NO_OVERFLOW`].
    overflow: AtomicU8,
    /// Under valgrind the heap has no pool, so that every call comes to us; the blocks are in this one.
    watched: Watched,
    watch: Watch,
}

/// Zero, as all that a heap begins with: it takes no room in the library's file.
const NO_OVERFLOW: u8 = 0;

/// A pool that is there from some time on.
struct Watched {
    pool: UnsafeCell<Option<Pool>>,
    is_there: AtomicBool,
}

// SAFETY: the pool is written once, before `is_there` says so; Pool itself is Sync.
unsafe impl Sync for Watched {}

impl Interposer {
    /// Has all blocks come from this pool, and valgrind told of them. Called once, while the heap starts.
    pub(crate) fn watch(&self, pool: Pool) {
        memcheck::pool_made(&pool);
        // SAFETY: nobody reads it yet.
        unsafe { *self.watched.pool.get() = Some(pool) };
        self.watched.is_there.store(true, Ordering::Release);
    }

    /// The watched pool, under valgrind.
    fn watched(&self) -> Option<&Pool> {
        if !self.watched.is_there.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: written before, and not again.
        unsafe { (*self.watched.pool.get()).as_ref() }
    }

    /// The watched pool, if a block is in it.
    fn watched_with(&self, pointer: *const u8) -> Option<&Pool> {
        self.watched().filter(|pool| pool.contains(pointer))
    }

    /// What is told of the watched pool.
    #[cfg(feature = "log")]
    pub(crate) fn listing(&self) -> Option<vmem_engine::Listing> {
        self.watched().map(|pool| vmem_engine::Listing {
            stats: pool.stats(),
            large: pool.whole_page_blocks(),
            refused: 0,
        })
    }

    /// Lets a full pool overflow into anonymous memory that is hardened as the pool is.
    pub(crate) fn allow_overflow(&self, harden: Harden) {
        self.overflow.store(harden as u8 + 1, Ordering::Relaxed);
    }
}

impl Runtime for Interposer {
    const SOLE: bool = true;

    fn create(&self) -> Option<Pool> {
        init::start()
    }

    fn fallback_alloc(&self, align: usize, size: usize, zeroed: bool) -> *mut u8 {
        match self.watched() {
            Some(pool) if !pool.is_left_alone() => self.watch.alloc(pool, align, size, zeroed),
            _ => system_heap::alloc(align, size, zeroed),
        }
    }

    /// Address space for as much as the machine could hold; memory is used as it is touched.
    fn create_overflow(&self) -> Option<Pool> {
        let allowed = self.overflow.load(Ordering::Relaxed);
        let harden = [Harden::Off, Harden::Checks, Harden::Poison]
            .into_iter()
            .find(|&harden| harden as u8 + 1 == allowed)?;
        let options = PoolOptions { harden, ..PoolOptions::default() };
        let mut len = usize::try_from(sys::machine_memory()).unwrap_or(0).max(MIN_POOL_BYTES);
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
        unsafe {
            match self.watched_with(pointer) {
                Some(pool) => self.watch.free(pool, pointer),
                None => system_heap::free(pointer),
            }
        }
    }

    unsafe fn foreign_realloc(&self, pointer: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match self.watched_with(pointer) {
                Some(pool) if pool.is_left_alone() => {
                    let old = self.watch.usable_size(pool, pointer);
                    let block = system_heap::alloc(1, size, false);
                    if !block.is_null() {
                        pointer.copy_to_nonoverlapping(block, old.min(size));
                    }
                    block
                }
                Some(pool) => {
                    let block = self.watch.realloc(pool, pointer, size);
                    if block.is_null() {
                        self.out_of_memory();
                    }
                    block
                }
                None => system_heap::realloc(pointer, size),
            }
        }
    }

    unsafe fn foreign_usable_size(&self, pointer: *mut u8) -> usize {
        // SAFETY: as above.
        unsafe {
            match self.watched_with(pointer) {
                Some(pool) => self.watch.usable_size(pool, pointer),
                None => system_heap::usable_size(pointer),
            }
        }
    }
}
