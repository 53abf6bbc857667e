//! The pool as Rust programs see it: the engine's, with typed pointers.

use crate::{Error, PoolBuilder};
use std::alloc::Layout;
use std::path::Path;
use std::ptr::NonNull;
use vmem_engine::{Fault, Stats};

/// A heap of its own in a file, on a device, on NUMA nodes, or in memory of the caller.
///
/// All threads can use it at once. What it holds is volatile: dropping the pool frees it and all its
/// blocks, and metadata lies in ordinary memory. After a `fork` parent and child go on, each with
/// blocks of its own.
///
/// Blocks are aligned to 16 bytes (to 8 when they are of 8 bytes or less), unless more is asked for.
/// An allocation gives `None` when the pool is full, also when its medium is: there is no signal.
///
/// With the feature `allocator-api2` (on by default) `&Pool` is an allocator for the containers of
/// [`allocator_api2`](https://docs.rs/allocator-api2/0.2) and hashbrown.
///
/// # Examples
/// ```
/// let pool = vmem::Pool::in_directory("/dev/shm", 64 << 20)?;
/// let block = pool.alloc_zeroed(1 << 20).expect("a fresh pool has room");
/// // SAFETY: a live block of this size, which nobody uses after it is freed.
/// unsafe {
///     block.write_bytes(0xA5, 1 << 20);
///     let block = pool.realloc(block, 2 << 20).expect("there is room");
///     assert_eq!(block.add(1000).read(), 0xA5);
///     pool.free(block);
/// }
/// assert_eq!(pool.stats().allocated_bytes, 0);
/// # Ok::<(), vmem::Error>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    pub(crate) engine: vmem_engine::Pool,
    pub(crate) head: usize,
}

/// # Making one
impl Pool {
    /// Says first how the pool is to behave, and then where it is to be.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// Makes a pool of at most `size` bytes in a file without a name: [`PoolBuilder::in_directory`].
    ///
    /// # Errors
    /// As there.
    pub fn in_directory(directory: impl AsRef<Path>, size: usize) -> Result<Pool, Error> {
        PoolBuilder::new().size(size).in_directory(directory)
    }

    /// Makes a pool of at most `size` bytes in private memory: [`PoolBuilder::anonymous`].
    ///
    /// # Errors
    /// As there.
    pub fn anonymous(size: usize) -> Result<Pool, Error> {
        PoolBuilder::new().size(size).anonymous()
    }
}

/// # Blocks
impl Pool {
    /// Allocates `size` bytes; a size of 0 gets a block too.
    ///
    /// # Cost
    /// In a thread that uses the pool a lot: some ten instructions, no lock, no access to the block.
    #[inline]
    pub fn alloc(&self, size: usize) -> Option<NonNull<u8>> {
        NonNull::new(self.engine.alloc(size))
    }

    /// Allocates `size` zero bytes.
    #[inline]
    pub fn alloc_zeroed(&self, size: usize) -> Option<NonNull<u8>> {
        NonNull::new(self.engine.alloc_zeroed(size))
    }

    /// Allocates `size` bytes at a multiple of `align`; `None` also when `align` is no power of two.
    #[inline]
    pub fn alloc_aligned(&self, align: usize, size: usize) -> Option<NonNull<u8>> {
        NonNull::new(self.engine.alloc_aligned(align, size))
    }

    /// Allocates a block for `layout`.
    #[inline]
    pub fn alloc_layout(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.engine.alloc_layout(layout))
    }

    /// Allocates a block for `layout`, all bytes of it zero.
    #[inline]
    pub fn alloc_layout_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.engine.alloc_layout_zeroed(layout))
    }

    /// Changes the size of a block to `size` bytes, moving it if needed; the result is aligned as
    /// fresh blocks are. `None` when the pool is full: the block is then as before. Shrinking
    /// cannot fail.
    ///
    /// # Safety
    /// `block` is a live block of this pool that only the caller uses; when the call succeeds the old
    /// pointer is dead.
    #[inline]
    pub unsafe fn realloc(&self, block: NonNull<u8>, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: contract.
        NonNull::new(unsafe { self.engine.realloc(block.as_ptr(), size) })
    }

    /// As [`Pool::realloc`], for a block that keeps the alignment of `layout`.
    ///
    /// # Safety
    /// As [`Pool::realloc`]; and `block` has at least the size and alignment of `layout`.
    #[inline]
    pub unsafe fn realloc_layout(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        size: usize,
    ) -> Option<NonNull<u8>> {
        // SAFETY: contract.
        NonNull::new(unsafe { self.engine.realloc_layout(block.as_ptr(), layout, size) })
    }

    /// Frees a block, however it was allocated.
    ///
    /// # Safety
    /// `block` is a live block of this pool that nobody uses any more.
    #[inline]
    pub unsafe fn free(&self, block: NonNull<u8>) {
        // SAFETY: contract.
        unsafe { self.engine.free(block.as_ptr()) }
    }

    /// How many bytes of a block may be used: at least what was asked for.
    ///
    /// # Safety
    /// `block` is a live block of this pool.
    pub unsafe fn usable_size(&self, block: NonNull<u8>) -> usize {
        // SAFETY: contract.
        unsafe { self.engine.usable_size(block.as_ptr()) }
    }
}

/// # The whole
impl Pool {
    /// Whether an address lies in the range of the pool.
    pub fn contains<T: ?Sized>(&self, address: NonNull<T>) -> bool {
        self.engine.contains(address.as_ptr().cast_const().cast())
    }

    /// The range of addresses. Blocks are in it, behind the head; the rest may not be touched.
    pub fn range(&self) -> NonNull<[u8]> {
        let (start, len) = self.engine.range();
        NonNull::slice_from_raw_parts(start, len)
    }

    /// The bytes at the start of the range that were left to the caller
    /// ([`PoolBuilder::head_bytes`]). They can be touched while the pool lives. In a file or on a
    /// device, processes that a fork makes share them.
    pub fn head(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.engine.range().0, self.head)
    }

    /// A snapshot of the pool's statistics.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Walks all structures of the pool and checks that they agree.
    ///
    /// # Errors
    /// The first fault found. Overrunning a block cannot cause one, for metadata lies elsewhere.
    pub fn check(&self) -> Result<(), Fault> {
        self.engine.check()
    }

    /// Gives all free memory back to the medium now: what the calling thread keeps for reuse, empty
    /// slabs, free extents. Returns the bytes given back.
    pub fn trim(&self) -> usize {
        self.engine.trim()
    }
}
