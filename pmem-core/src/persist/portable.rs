//! For Miri and machines without a file of their own: words through the cache, and no flush
//! instruction.

use super::{Engine, FlushInstruction, Options, Stores, words};

pub(super) fn choose(options: &Options) -> Engine {
    Engine {
        flush: FlushInstruction::None,
        stores: Stores::Words,
        temporal: Stores::Words,
        write_combining_fences: false,
        threshold: options.threshold,
        announces: false,
    }
}

pub(super) unsafe fn copy_words(dest: *mut u8, src: *const u8, len: usize) {
    let backwards = dest.addr().wrapping_sub(src.addr()) < len;
    // SAFETY: forwarded from the caller's contract.
    unsafe { words::copy_words(dest, src, len, backwards) };
}

pub(super) unsafe fn copy_lines(
    _engine: &Engine,
    _kind: Stores,
    _past: bool,
    dest: *mut u8,
    src: *const u8,
    len: usize,
    backwards: bool,
) {
    // SAFETY: forwarded from the caller's contract.
    unsafe { words::copy_words(dest, src, len, backwards) };
}

pub(super) unsafe fn set_lines(
    _engine: &Engine,
    _kind: Stores,
    _past: bool,
    dest: *mut u8,
    word: u64,
    len: usize,
) {
    // SAFETY: forwarded from the caller's contract.
    unsafe { words::set_words(dest, word, len) };
}

pub(super) unsafe fn flush_lines(_: FlushInstruction, _first: *const u8, _count: usize) {}

pub(super) fn fence() {
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// Nothing: these processors look ahead far enough.
///
/// # Safety
/// None.
pub(super) unsafe fn prefetch(_src: *const u8, _lines: usize) {}

/// More than 64 and up to [`SHORT`](super::copy::SHORT) bytes, a multiple of 8, to an aligned address.
///
/// # Safety
/// The ranges are readable and writable.
pub(super) unsafe fn copy_short(_kind: Stores, dest: *mut u8, src: *const u8, len: usize) {
    let backwards = dest.addr().wrapping_sub(src.addr()) < len;
    // SAFETY: forwarded from the caller's contract.
    unsafe { words::copy_words(dest, src, len, backwards) };
}

/// As [`copy_short`], with one value.
///
/// # Safety
/// The range is writable.
pub(super) unsafe fn set_short(_kind: Stores, dest: *mut u8, word: u64, len: usize) {
    // SAFETY: forwarded from the caller's contract.
    unsafe { words::set_words(dest, word, len) };
}

/// Nothing, as [`prefetch`].
///
/// # Safety
/// None.
pub(super) unsafe fn prefetch_to_write(_first: *const u8, _lines: usize) {}
