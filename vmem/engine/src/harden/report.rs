//! The last words: one line on standard error, then abort.

use super::{FREE, LIVE, POISONED};
use crate::config::PAGE_SHIFT;
use crate::pool::{Located, PoolInner};
use crate::size_class::MAX_SMALL;
use crate::slab;
use core::fmt::{self, Display, Write};
use core::sync::atomic::Ordering::Relaxed;
use pmem_core::fmt::StackBuf;
use pmem_core::sys;

#[cold]
#[inline(never)]
fn die(text: fmt::Arguments<'_>) -> ! {
    let mut line = StackBuf::<256>::new();
    // The buffer is large enough; a truncated line would be written all the same.
    let _ = writeln!(line, "vmem: {text}");
    sys::abort_with(line.as_bytes())
}

/// A block for humans: its address and its class.
struct Named(*const u8, usize);

impl Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Named(block, room) = *self;
        match room {
            0..=MAX_SMALL => write!(f, "block {block:p} (size class {room})"),
            _ => write!(f, "block {block:p} ({} pages)", room >> PAGE_SHIFT),
        }
    }
}

/// A slot that a cache held is live.
#[cold]
#[inline(never)]
pub(super) fn handed_out_twice(slot: *const u8, room: usize) -> ! {
    die(format_args!("double free of {}: malloc() found it in use", Named(slot, room)))
}

/// A freed slot has changed at `byte`.
#[cold]
#[inline(never)]
pub(super) fn used_after_free(slot: *const u8, room: usize, byte: usize) -> ! {
    let block = Named(slot, room);
    die(format_args!("use after free of {block}: malloc() found byte {byte} changed"))
}

/// The canary behind the `size` bytes of a block has changed.
#[cold]
#[inline(never)]
pub(super) fn overflown(block: *const u8, room: usize, size: usize, call: &str) -> ! {
    let block = Named(block, room);
    die(format_args!("heap overflow of {block}: {call}() found a write behind its {size} bytes"))
}

/// `pointer`, given to `call`, is not the start of a live block.
#[cold]
#[inline(never)]
pub(super) fn no_block(pool: &PoolInner, pointer: *const u8, call: &str) -> ! {
    let bad = format_args!("{call}(): not the start of a live block: {pointer:p}");
    let map = &pool.arena.map;
    let Some((page, hard)) = map.page_of(pointer.addr()).zip(map.hard.as_ref()) else {
        die(format_args!("{bad}: not in the pool"))
    };
    let state = |address: usize| hard.state_at(address).load(Relaxed);
    let Located::Slot(class) = pool.locate(pointer) else {
        // A run that was freed leaves its state behind.
        match state(pointer.addr()) {
            FREE | POISONED if pointer.addr().is_multiple_of(1 << PAGE_SHIFT) => die(format_args!(
                "double free of block {pointer:p} (pages): {call}() found it free"
            )),
            _ => die(format_args!("{bad}: no block of pages starts there")),
        }
    };
    // SAFETY: the descriptor of a slab, readable for the life of the pool.
    let first = map.address_of(unsafe { (*map.extent(page)).start() });
    let slot = slab::slot_of(class.geometry(), pointer.addr() - first.addr());
    let block = first.wrapping_add(slot * class.size());
    let inside = pointer.addr() - block.addr();
    let named = Named(block, class.size());
    match state(block.addr()) {
        LIVE.. if inside > 0 => die(format_args!("{bad}: {inside} bytes inside {named}")),
        FREE | POISONED if inside == 0 => {
            die(format_args!("double free of {named}: {call}() found it free"))
        }
        _ if inside > 0 => die(format_args!("{bad}: {inside} bytes inside free {named}")),
        _ => die(format_args!("{bad}: never allocated {named}")),
    }
}
