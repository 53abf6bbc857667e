//! The DRAM behind descriptors: a bump allocator over anonymous chunks with typed free lists.
//!
//! One per pool, guarded by the innermost lock; released as a whole when the pool goes. It never
//! shrinks before that: descriptors may be read without a lock through stale pointers, so their
//! memory stays theirs for the life of the pool.

use crate::extent::Extent;
use core::ptr::{self, NonNull};
use pmem_core::errno::Errno;
use pmem_core::sys;

const FIRST_CHUNK: usize = 32 << 10;
const LARGEST_CHUNK: usize = 1 << 20;
/// Blocks come in powers of two from 64 bytes to 64 KiB.
const MIN_SHIFT: u32 = 6;
const MAX_SHIFT: u32 = 16;
const SHIFTS: usize = (MAX_SHIFT - MIN_SHIFT + 1) as usize;

/// At the start of each chunk.
struct ChunkHeader {
    next: *mut ChunkHeader,
    bytes: usize,
}

/// At the start of each free block.
struct FreeBlock {
    next: *mut FreeBlock,
}

/// See the module text.
pub(crate) struct Meta {
    chunks: *mut ChunkHeader,
    at: usize,
    end: usize,
    next_chunk: usize,
    mapped: usize,
    extents: *mut Extent,
    blocks: [*mut FreeBlock; SHIFTS],
}

// SAFETY: Meta owns its chunks; nothing in it is tied to a thread.
unsafe impl Send for Meta {}

impl Meta {
    pub(crate) const fn new() -> Meta {
        Meta {
            chunks: ptr::null_mut(),
            at: 0,
            end: 0,
            next_chunk: FIRST_CHUNK,
            mapped: 0,
            extents: ptr::null_mut(),
            blocks: [ptr::null_mut(); SHIFTS],
        }
    }

    /// Bytes of address space mapped for chunks.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.mapped
    }

    /// `bytes` aligned to `align` (a power of two, at most 128), zeroed, never freed singly.
    fn bump(&mut self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let mut start = self.at.next_multiple_of(align);
        if start + bytes > self.end || self.chunks.is_null() {
            self.grow(bytes + 2 * align).ok()?;
            start = self.at.next_multiple_of(align);
        }
        self.at = start + bytes;
        let chunk = self.chunks;
        NonNull::new(chunk.cast::<u8>().with_addr(start))
    }

    fn grow(&mut self, at_least: usize) -> Result<(), Errno> {
        let bytes = self
            .next_chunk
            .max(at_least + size_of::<ChunkHeader>())
            .next_multiple_of(crate::config::PAGE);
        let chunk = sys::map_anonymous(bytes)?.cast::<ChunkHeader>();
        // SAFETY: a fresh mapping of at least a page, suitably aligned.
        unsafe { chunk.write(ChunkHeader { next: self.chunks, bytes }) };
        self.chunks = chunk.as_ptr();
        self.at = chunk.addr().get() + size_of::<ChunkHeader>();
        self.end = chunk.addr().get() + bytes;
        self.mapped += bytes;
        self.next_chunk = (bytes * 2).min(LARGEST_CHUNK);
        Ok(())
    }

    /// A descriptor in the retired state, or null when DRAM is short.
    pub(crate) fn take_extent(&mut self) -> *mut Extent {
        let free = self.extents;
        if !free.is_null() {
            // SAFETY: members of the free list are retired descriptors of this Meta.
            self.extents = unsafe { (*free).next };
            return free;
        }
        match self.bump(size_of::<Extent>(), align_of::<Extent>()) {
            Some(memory) => {
                let extent = memory.cast::<Extent>();
                // SAFETY: fresh, aligned, large enough.
                unsafe { extent.write(Extent::retired()) };
                extent.as_ptr()
            }
            None => ptr::null_mut(),
        }
    }

    /// # Safety
    /// `extent` came from `take_extent` of this Meta, is linked nowhere and no longer used.
    pub(crate) unsafe fn return_extent(&mut self, extent: *mut Extent) {
        // SAFETY: contract.
        unsafe {
            (*extent).state = crate::extent::State::Retired;
            (*extent).next = self.extents;
        }
        self.extents = extent;
    }

    fn shift_of(bytes: usize) -> u32 {
        bytes.next_power_of_two().ilog2().max(MIN_SHIFT)
    }

    /// A block of at least `bytes` bytes (rounded up to a power of two, at most 64 KiB), aligned to
    /// 64. Its content is arbitrary.
    pub(crate) fn take_block(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let shift = Meta::shift_of(bytes);
        debug_assert!(shift <= MAX_SHIFT);
        let list = &mut self.blocks[(shift - MIN_SHIFT) as usize];
        if let Some(block) = NonNull::new(*list) {
            // SAFETY: members of the list are free blocks of this Meta.
            *list = unsafe { block.as_ref().next };
            return Some(block.cast());
        }
        self.bump(1 << shift, 64)
    }

    /// # Safety
    /// `block` came from `take_block(bytes)` of this Meta and is no longer used.
    pub(crate) unsafe fn return_block(&mut self, block: NonNull<u8>, bytes: usize) {
        let list = &mut self.blocks[(Meta::shift_of(bytes) - MIN_SHIFT) as usize];
        let block = block.cast::<FreeBlock>();
        // SAFETY: contract; a block is at least 64 bytes and aligned.
        unsafe { block.write(FreeBlock { next: *list }) };
        *list = block.as_ptr();
    }

    /// Unmaps everything.
    ///
    /// # Safety
    /// Nothing taken from this Meta is used any more.
    pub(crate) unsafe fn release(&mut self) {
        let mut chunk = self.chunks;
        *self = Meta::new();
        while let Some(header) = NonNull::new(chunk) {
            // SAFETY: headers stay intact for the life of their chunk; each is unmapped once.
            unsafe {
                let ChunkHeader { next, bytes } = header.read();
                let _ = sys::unmap(header.cast(), bytes);
                chunk = next;
            }
        }
    }
}
