//! AArch64: pairs of words; `dc cvap` where the processor has it.
//!
//! The two words of a pair are separate 8-byte stores, each of them atomic when aligned.

use core::arch::asm;

use super::{Engine, FlushInstruction, Options, Stores, words};
use crate::align::CACHE_LINE;
use crate::sys;

/// `HWCAP_DCPOP`: there is a point of persistence.
const DCPOP: u64 = 1 << 16;

pub(super) fn choose(options: &Options) -> Engine {
    let persistence = sys::hardware_capabilities() & DCPOP != 0 && options.clwb;
    Engine {
        flush: if persistence { FlushInstruction::Cvap } else { FlushInstruction::Cvac },
        stores: Stores::Pairs,
        temporal: Stores::Pairs,
        write_combining_fences: false,
        threshold: options.threshold,
        announces: false,
    }
}

/// Up to 64 bytes, a multiple of 8, to an aligned address; all loads come first.
pub(super) unsafe fn copy_words(dest: *mut u8, src: *const u8, len: usize) {
    let mut copy = [0; CACHE_LINE / 8];
    for (at, word) in copy.iter_mut().enumerate().take(len / 8) {
        // SAFETY: inside the source.
        *word = unsafe { words::load(src.add(8 * at)) };
    }
    for (at, &word) in copy.iter().enumerate().take(len / 8) {
        // SAFETY: inside the destination.
        unsafe { words::store(dest.add(8 * at), word) };
    }
}

macro_rules! copy_loop {
    ($store:literal, $dest:expr, $src:expr, $lines:expr, $step:expr) => {
        // SAFETY: the caller's lines are readable and writable.
        unsafe {
            asm!(
                "2:",
                "ldp {a}, {b}, [{s}]",
                "ldp {c}, {e}, [{s}, #16]",
                "ldp {f}, {g}, [{s}, #32]",
                "ldp {h}, {i}, [{s}, #48]",
                concat!($store, " {a}, {b}, [{d}]"),
                concat!($store, " {c}, {e}, [{d}, #16]"),
                concat!($store, " {f}, {g}, [{d}, #32]"),
                concat!($store, " {h}, {i}, [{d}, #48]"),
                "add {s}, {s}, {step}",
                "add {d}, {d}, {step}",
                "subs {n}, {n}, #1",
                "b.ne 2b",
                s = inout(reg) $src => _, d = inout(reg) $dest => _, n = inout(reg) $lines => _,
                step = in(reg) $step,
                a = out(reg) _, b = out(reg) _, c = out(reg) _, e = out(reg) _,
                f = out(reg) _, g = out(reg) _, h = out(reg) _, i = out(reg) _,
                options(nostack)
            );
        }
    };
}

/// Copies `len` bytes, whole lines, to an address at a line boundary.
///
/// # Safety
/// The ranges are readable and writable; if they overlap, the direction suits.
pub(super) unsafe fn copy_lines(
    _engine: &Engine,
    kind: Stores,
    past: bool,
    dest: *mut u8,
    src: *const u8,
    len: usize,
    backwards: bool,
) {
    if len == 0 {
        return;
    }
    if kind == Stores::Words {
        // SAFETY: forwarded from the caller's contract.
        return unsafe { words::copy_words(dest, src, len, backwards) };
    }
    let lines = len / CACHE_LINE;
    let line = CACHE_LINE as isize;
    let step = if backwards { -line } else { line };
    let start = if backwards { len - CACHE_LINE } else { 0 };
    let (dest, src) = (dest.wrapping_add(start), src.wrapping_add(start));
    if past {
        copy_loop!("stnp", dest, src, lines, step);
    } else {
        copy_loop!("stp", dest, src, lines, step);
    }
}

macro_rules! set_loop {
    ($store:literal, $dest:expr, $word:expr, $lines:expr) => {
        // SAFETY: the caller's lines are writable.
        unsafe {
            asm!(
                "2:",
                concat!($store, " {v}, {v}, [{d}]"),
                concat!($store, " {v}, {v}, [{d}, #16]"),
                concat!($store, " {v}, {v}, [{d}, #32]"),
                concat!($store, " {v}, {v}, [{d}, #48]"),
                "add {d}, {d}, #64",
                "subs {n}, {n}, #1",
                "b.ne 2b",
                d = inout(reg) $dest => _, n = inout(reg) $lines => _, v = in(reg) $word,
                options(nostack)
            );
        }
    };
}

/// Sets `len` bytes, whole lines, from a line boundary on.
///
/// # Safety
/// The range is writable.
pub(super) unsafe fn set_lines(
    _engine: &Engine,
    kind: Stores,
    past: bool,
    dest: *mut u8,
    word: u64,
    len: usize,
) {
    if len == 0 {
        return;
    }
    if kind == Stores::Words {
        // SAFETY: forwarded from the caller's contract.
        return unsafe { words::set_words(dest, word, len) };
    }
    let lines = len / CACHE_LINE;
    if past {
        set_loop!("stnp", dest, word, lines);
    } else {
        set_loop!("stp", dest, word, lines);
    }
}

/// Starts to write back `count` lines of 64 bytes. Lines of the processor may be longer; flushing
/// one twice does no harm.
///
/// # Safety
/// They are mapped.
pub(super) unsafe fn flush_lines(instruction: FlushInstruction, first: *const u8, count: usize) {
    for number in 0..count {
        let line = first.wrapping_add(number * CACHE_LINE);
        match instruction {
            // SAFETY: mapped by the caller's contract; nothing in the line changes. `dc cvap` by its
            // number: the assembler may not be told of the extension.
            FlushInstruction::Cvap => unsafe {
                asm!("sys #3, c7, c12, #1, {}", in(reg) line, options(nostack, preserves_flags));
            },
            // SAFETY: as above.
            _ => unsafe {
                asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags));
            },
        }
    }
}

/// Waits until flushed lines have arrived, and non-temporal stores too. A barrier for memory alone
/// (`dmb`) would order them, but not wait for `dc`.
pub(super) fn fence() {
    // SAFETY: touches no memory itself.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
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
