//! Compile-time limits of the engine. One place, so that a reader can see what bounds what.

/// Size in bytes of the page the engine counts in. Extents are whole pages.
pub const PAGE: usize = 4096;
/// log2 of [`PAGE`].
pub const PAGE_SHIFT: u32 = 12;

/// Smallest pool in bytes (the contract of libvmem and libvmmalloc).
pub const MIN_POOL_BYTES: usize = 14 << 20;
/// Largest pool in bytes: pages are counted in 32 bits. A page less than 16 TiB.
pub const MAX_POOL_BYTES: usize = (u32::MAX as usize) << PAGE_SHIFT;

/// Most free blocks of one class that a thread cache may hold, whatever their size.
pub const CACHE_MAX_BLOCKS: usize = 2048;
/// Most bytes of one class that a thread cache may hold, unless fewer than
/// [`CACHE_MIN_BLOCKS`] blocks fit.
pub const CACHE_MAX_BYTES: usize = 256 << 10;
/// A thread cache may always hold this many blocks of a class, in pools that are not tiny.
pub const CACHE_MIN_BLOCKS: usize = 2;
/// A fill brings at least so many bytes of small slots, so that two threads that begin to use a class do not write to the same
/// cache line, nor to one of the pair that processors fetch together.
pub const APART: usize = 128;
/// Slots of a stack when a class is first used by a thread, or more where slots are small (see [`APART`]).
pub const CACHE_FIRST_CAPACITY: usize = 8;
/// Most blocks that move between a thread cache and a bin under one lock.
pub const BATCH_BLOCKS: usize = 64;
/// A cache never holds more of one class than this fraction of its pool.
pub const CACHE_POOL_FRACTION: usize = 1024;
/// All places for blocks in a cache together hold at most this fraction of the pool, divided by the
/// number of caches in use: idle threads must not keep a pool from the others.
pub const CACHE_TOTAL_FRACTION: usize = 64;
/// A cache, and the transfer array of a bin, hold at most as many blocks of one class as this
/// fraction of the pool has pages: each could be the only one that keeps a slab from being given up.
pub const CACHE_PINNED_FRACTION: usize = 256;

/// In a full pool a request may take a slot this many times as large as its own class's, or one of a
/// page.
pub const BORROW_FACTOR: usize = 16;

/// A pool that overflows is tried again after this many requests that went to the overflow.
pub const OVERFLOW_STREAK: u32 = 256;

/// A thread gets a cache of a pool (other than the default heap) after this many operations;
/// until then it works on the bins directly, so that many idle pools cost nothing.
pub const OPS_BEFORE_CACHE: u32 = 64;

/// Smallest and largest step, in pages, by which space is committed ahead of need.
pub const COMMIT_STEP_MIN: usize = 4;
/// See [`COMMIT_STEP_MIN`].
pub const COMMIT_STEP_MAX: usize = 1024;
/// Space committed ahead is at most this fraction of what is committed already: it may stay unused for long.
pub const COMMIT_STEP_FRACTION: usize = 32;

/// Pages of a huge page of the system.
pub const HUGE_PAGES: usize = (2 << 20) / PAGE;
/// Pools below this size have no use for huge pages: they would stand for too much of the pool.
pub const HUGE_FROM_BYTES: usize = 64 << 20;

/// Pools with fewer committed pages than this bring no pages in ahead of use: they stay small.
pub const POPULATE_FROM_PAGES: usize = 256;

/// Pages of runs up to this size are brought into memory as they are committed: slabs are written
/// all over soon, while a large block may never be.
pub const POPULATE_MAX_PAGES: usize = 16;

/// Pages of larger runs that are brought in unseen for each page of such a run that was found written.
pub const BRING_IN_PER_WRITTEN: usize = 8;
/// Most pages of larger runs that are brought in unseen: what is lost at most when a program no longer writes what it
/// allocates, and how long other threads may wait for pages (about 20 ms).
pub const BRING_IN_MAX: usize = (64 << 20) / PAGE;

/// Milliseconds between two looks of a thread for classes that it no longer uses, and of the process
/// for bins, when pages are not given back by age.
pub const IDLE_MS: u32 = 500;

/// Slow-path visits of a thread to its cache after which it looks for classes that it no longer uses,
/// however little time that took: a class that took part in none of them is idle.
pub const VISITS_BETWEEN_LOOKS: u32 = 4096;

/// Blocks above a kilobyte that a thread takes from its cache between two looks at the clock.
pub const BLOCKS_BETWEEN_LOOKS: u32 = 64;

/// In pools up to this many pages a large block, or a slab of few large slots, is placed only after
/// everything that caches and bins hold has been returned: the few slots in caches would keep pages
/// apart.
pub const SMALL_POOL_PAGES: usize = 16 << 10;
/// Most slots of such a slab.
pub(crate) const SMALL_POOL_SLOTS: u16 = 4;

/// A large block of at least so many pages that grows and has no room behind it is moved by moving
/// mappings. (See `docs/decisions/0008-moving-mappings.md` for what it costs.)
pub const MOVE_FROM_PAGES: usize = 1024;

/// Blocks that could be moved begin at a multiple of what mappings are moved by, as long as no more
/// than this fraction of the pool is in use: what lies between them is too small for other large
/// blocks.
pub const MOVE_ALIGN_FRACTION: usize = 8;

/// Milliseconds after which a freed extent is given back, unless options say otherwise.
pub const DEFAULT_PURGE_MS: u32 = 1000;
/// Most pages given back by one slow-path call that finds purging due (bounds its latency).
pub const PURGE_BUDGET_PAGES: usize = 16 << 10;

/// Slabs that one slow-path call looks through for empty pages, and slabs of which it gives some back, at
/// most about (bounds its latency).
pub const PUNCH_SLABS: usize = 4096;
/// See [`PUNCH_SLABS`].
pub const PUNCH_CALLS: usize = 256;

/// Most pages given back by one system call, during which they cannot be allocated.
pub const PURGE_RUN_PAGES: usize = 1024;

/// Most pools alive in a process.
pub const MAX_POOLS: usize = 1 << 16;
