//! Calls that cannot go straight to the engine: the first allocation of a pool when the caller keeps books,
//! everything under valgrind, and blocks that are not in the pool they are said to be in.

use core::ptr;

use vmem_engine::memcheck;

use crate::functions;
use crate::pools::{self, Entry};

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) size: usize,
    /// A power of two.
    pub(crate) align: usize,
    pub(crate) zeroed: bool,
}

/// A block, or null.
#[cold]
#[inline(never)]
pub(crate) fn alloc(entry: &Entry, request: Request) -> *mut u8 {
    if !functions::open_books(entry) {
        return ptr::null_mut();
    }
    if memcheck::is_on() {
        let Request { size, align, zeroed } = request;
        return entry.watch.alloc(entry.pool(), align, size, zeroed);
    }
    entry.set_direct();
    let pool = entry.pool();
    match request {
        Request { size, align: 1, zeroed: false } => pool.alloc(size),
        Request { size, align: 1, zeroed: true } => pool.alloc_zeroed(size),
        Request { size, align, .. } => pool.alloc_aligned(align, size),
    }
}

/// The pool that a block lies in, when it is not in the one that the caller named: with libvmem blocks may be
/// freed through any pool.
fn owner(entry: &'static Entry, block: *const u8) -> &'static Entry {
    if entry.pool().contains(block) {
        return entry;
    }
    // In no pool: the engine says so and ends the process.
    pools::owner_of(block).unwrap_or(entry)
}

/// Frees a block; null is ignored.
///
/// # Safety
/// `block` is null or a live block of a pool that nobody uses any more.
#[cold]
#[inline(never)]
pub(crate) unsafe fn free(entry: &'static Entry, block: *mut u8) {
    if block.is_null() {
        return;
    }
    let entry = owner(entry, block);
    // SAFETY: contract.
    unsafe {
        if memcheck::is_on() {
            entry.watch.free(entry.pool(), block);
        } else {
            entry.pool().free(block);
        }
    }
}

/// Changes the size of a block to `size`, not 0.
///
/// # Safety
/// `block` is a live block of a pool that only the caller uses.
#[cold]
#[inline(never)]
pub(crate) unsafe fn realloc(entry: &'static Entry, block: *mut u8, size: usize) -> *mut u8 {
    let entry = owner(entry, block);
    // SAFETY: contract.
    unsafe {
        if memcheck::is_on() {
            entry.watch.realloc(entry.pool(), block, size)
        } else {
            entry.pool().realloc(block, size)
        }
    }
}

/// Usable bytes of a block; 0 for null and for what is in no pool.
///
/// # Safety
/// `block` is null or a live block.
#[cold]
#[inline(never)]
pub(crate) unsafe fn usable_size(entry: &'static Entry, block: *const u8) -> usize {
    if block.is_null() {
        return 0;
    }
    let entry = owner(entry, block);
    // SAFETY: contract.
    unsafe {
        if memcheck::is_on() {
            entry.watch.usable_size(entry.pool(), block)
        } else {
            entry.pool().usable_size(block)
        }
    }
}
