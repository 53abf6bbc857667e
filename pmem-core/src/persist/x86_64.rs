//! x86-64: SSE2, AVX, AVX-512 and 64-byte direct stores; `clflush` and its successors.
//!
//! Loops are assembly as a whole, so that the width of each store is what this file says and no
//! compiler turns a loop into a call of `memcpy`. The AVX-512 loops use the registers from 16 on,
//! which need no `vzeroupper`.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

use super::{Engine, FlushInstruction, Options, Stores, words};
use crate::align::CACHE_LINE;

/// What the processor and the system can.
#[derive(Copy, Clone, Debug)]
struct Features {
    clflushopt: bool,
    clwb: bool,
    avx: bool,
    avx512: bool,
    movdir64b: bool,
    is_intel: bool,
}

impl Features {
    fn detect() -> Features {
        let vendor = __cpuid(0);
        let basic = __cpuid(1);
        let more = (vendor.eax >= 7).then(|| __cpuid_count(7, 0));
        let more = more.map_or((0, 0), |more| (more.ebx, more.ecx));
        // OSXSAVE: without it the system saves no wide registers, whatever the processor has.
        let saved = if basic.ecx >> 27 & 1 != 0 { saved_state() } else { 0 };
        let bit = |word: u32, number: u32| word >> number & 1 != 0;
        Features {
            clflushopt: bit(more.0, 23),
            clwb: bit(more.0, 24),
            avx: bit(basic.ecx, 28) && saved & 0x6 == 0x6,
            avx512: bit(more.0, 16) && saved & 0xe6 == 0xe6,
            movdir64b: bit(more.1, 28),
            is_intel: (vendor.ebx, vendor.edx, vendor.ecx)
                == (0x756e_6547, 0x4965_6e69, 0x6c65_746e),
        }
    }
}

/// Which registers the system saves (XCR0). OSXSAVE must be set.
fn saved_state() -> u32 {
    let low: u32;
    // SAFETY: allowed in user mode when OSXSAVE is set.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    low
}

pub(super) fn choose(options: &Options) -> Engine {
    let features = Features::detect();
    let flush = if features.clwb && options.clwb {
        FlushInstruction::Clwb
    } else if features.clflushopt && options.clflushopt {
        FlushInstruction::ClflushOpt
    } else {
        FlushInstruction::Clflush
    };
    let temporal = if features.avx512 && options.avx512 {
        Stores::Avx512
    } else if features.avx && options.avx {
        Stores::Avx
    } else {
        Stores::Sse2
    };
    let direct = features.movdir64b && options.movdir64b;
    Engine {
        flush,
        stores: if direct { Stores::Movdir64b } else { temporal },
        temporal,
        write_combining_fences: options.write_combining_fences.unwrap_or(features.is_intel),
        threshold: options.threshold,
        announces: false,
    }
}

/// Up to 64 bytes, a multiple of 8, to an aligned address; all loads come first.
#[inline]
pub(super) unsafe fn copy_words(dest: *mut u8, src: *const u8, len: usize) {
    // SAFETY: pieces of both ranges. The second of two pieces that overlap starts at a word boundary
    // and carries the same bytes.
    unsafe {
        if len > 32 {
            asm!(
                "movups {a}, [{s}]",
                "movups {b}, [{s} + 16]",
                "movups {c}, [{s} + {n} - 32]",
                "movups {e}, [{s} + {n} - 16]",
                "movups [{d}], {a}",
                "movups [{d} + 16], {b}",
                "movups [{d} + {n} - 32], {c}",
                "movups [{d} + {n} - 16], {e}",
                s = in(reg) src, d = in(reg) dest, n = in(reg) len,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, e = out(xmm_reg) _,
                options(nostack, preserves_flags)
            );
        } else if len > 8 {
            asm!(
                "movups {a}, [{s}]",
                "movups {b}, [{s} + {n} - 16]",
                "movups [{d}], {a}",
                "movups [{d} + {n} - 16], {b}",
                s = in(reg) src, d = in(reg) dest, n = in(reg) len,
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(nostack, preserves_flags)
            );
        } else if len == 8 {
            words::store(dest, words::load(src));
        }
    }
}

/// Twice or four times the widest register from the front, and as much from the back: the two may
/// overlap. All loads come first.
macro_rules! copy_ends {
    ($name:ident: $($instruction:literal),+; $($clobber:tt),+) => {
        unsafe fn $name(dest: *mut u8, src: *const u8, len: usize) {
            // SAFETY: pieces of both ranges. Where two overlap, the second begins or ends at a word
            // boundary inside of the first and carries the same bytes.
            unsafe {
                asm!(
                    $($instruction,)+
                    s = in(reg) src, d = in(reg) dest, n = in(reg) len,
                    $(out($clobber) _,)+
                    options(nostack, preserves_flags)
                );
            }
        }
    };
}

copy_ends!(ends_128_avx512: "vmovups zmm16, [{s}]", "vmovups zmm17, [{s} + {n} - 64]", "vmovups [{d}], zmm16", "vmovups [{d} + {n} - 64], zmm17"; "xmm16", "xmm17");
copy_ends!(ends_256_avx512: "vmovups zmm16, [{s}]", "vmovups zmm17, [{s} + 64]", "vmovups zmm18, [{s} + {n} - 128]", "vmovups zmm19, [{s} + {n} - 64]", "vmovups [{d}], zmm16", "vmovups [{d} + 64], zmm17", "vmovups [{d} + {n} - 128], zmm18", "vmovups [{d} + {n} - 64], zmm19"; "xmm16", "xmm17", "xmm18", "xmm19");
copy_ends!(ends_128_avx: "vmovups ymm0, [{s}]", "vmovups ymm1, [{s} + 32]", "vmovups ymm2, [{s} + {n} - 64]", "vmovups ymm3, [{s} + {n} - 32]", "vmovups [{d}], ymm0", "vmovups [{d} + 32], ymm1", "vmovups [{d} + {n} - 64], ymm2", "vmovups [{d} + {n} - 32], ymm3"; "xmm0", "xmm1", "xmm2", "xmm3");
copy_ends!(ends_256_avx: "vmovups ymm0, [{s}]", "vmovups ymm1, [{s} + 32]", "vmovups ymm2, [{s} + 64]", "vmovups ymm3, [{s} + 96]", "vmovups ymm4, [{s} + {n} - 128]", "vmovups ymm5, [{s} + {n} - 96]", "vmovups ymm6, [{s} + {n} - 64]", "vmovups ymm7, [{s} + {n} - 32]", "vmovups [{d}], ymm0", "vmovups [{d} + 32], ymm1", "vmovups [{d} + 64], ymm2", "vmovups [{d} + 96], ymm3", "vmovups [{d} + {n} - 128], ymm4", "vmovups [{d} + {n} - 96], ymm5", "vmovups [{d} + {n} - 64], ymm6", "vmovups [{d} + {n} - 32], ymm7"; "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
copy_ends!(ends_128_sse2: "movups xmm0, [{s}]", "movups xmm1, [{s} + 16]", "movups xmm2, [{s} + 32]", "movups xmm3, [{s} + 48]", "movups xmm4, [{s} + {n} - 64]", "movups xmm5, [{s} + {n} - 48]", "movups xmm6, [{s} + {n} - 32]", "movups xmm7, [{s} + {n} - 16]", "movups [{d}], xmm0", "movups [{d} + 16], xmm1", "movups [{d} + 32], xmm2", "movups [{d} + 48], xmm3", "movups [{d} + {n} - 64], xmm4", "movups [{d} + {n} - 48], xmm5", "movups [{d} + {n} - 32], xmm6", "movups [{d} + {n} - 16], xmm7"; "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
copy_ends!(ends_256_sse2: "movups xmm0, [{s}]", "movups xmm1, [{s} + 16]", "movups xmm2, [{s} + 32]", "movups xmm3, [{s} + 48]", "movups xmm4, [{s} + 64]", "movups xmm5, [{s} + 80]", "movups xmm6, [{s} + 96]", "movups xmm7, [{s} + 112]", "movups xmm8, [{s} + {n} - 128]", "movups xmm9, [{s} + {n} - 112]", "movups xmm10, [{s} + {n} - 96]", "movups xmm11, [{s} + {n} - 80]", "movups xmm12, [{s} + {n} - 64]", "movups xmm13, [{s} + {n} - 48]", "movups xmm14, [{s} + {n} - 32]", "movups xmm15, [{s} + {n} - 16]", "movups [{d}], xmm0", "movups [{d} + 16], xmm1", "movups [{d} + 32], xmm2", "movups [{d} + 48], xmm3", "movups [{d} + 64], xmm4", "movups [{d} + 80], xmm5", "movups [{d} + 96], xmm6", "movups [{d} + 112], xmm7", "movups [{d} + {n} - 128], xmm8", "movups [{d} + {n} - 112], xmm9", "movups [{d} + {n} - 96], xmm10", "movups [{d} + {n} - 80], xmm11", "movups [{d} + {n} - 64], xmm12", "movups [{d} + {n} - 48], xmm13", "movups [{d} + {n} - 32], xmm14", "movups [{d} + {n} - 16], xmm15"; "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");

/// More than 64 and up to [`SHORT`](super::copy::SHORT) bytes, a multiple of 8, to an aligned address.
/// All loads come first.
#[inline(always)]
pub(super) unsafe fn copy_short(kind: Stores, dest: *mut u8, src: *const u8, len: usize) {
    let two = len <= 128;
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        match kind {
            Stores::Avx512 if two => ends_128_avx512(dest, src, len),
            Stores::Avx512 => ends_256_avx512(dest, src, len),
            Stores::Avx => {
                if two {
                    ends_128_avx(dest, src, len);
                } else {
                    ends_256_avx(dest, src, len);
                }
                leave_avx();
            }
            _ if two => ends_128_sse2(dest, src, len),
            _ => ends_256_sse2(dest, src, len),
        }
    }
}

/// As [`copy_ends`], with one value.
macro_rules! set_ends {
    ($name:ident: $($instruction:literal),+; $($clobber:tt),+) => {
        unsafe fn $name(dest: *mut u8, word: u64, len: usize) {
            // SAFETY: pieces of the range.
            unsafe {
                asm!(
                    $($instruction,)+
                    d = in(reg) dest, n = in(reg) len, v = in(reg) word,
                    $(out($clobber) _,)+
                    options(nostack, preserves_flags)
                );
            }
        }
    };
}

set_ends!(set_128_avx512: "vpbroadcastq zmm16, {v}", "vmovups [{d}], zmm16", "vmovups [{d} + {n} - 64], zmm16"; "xmm16");
set_ends!(set_256_avx512: "vpbroadcastq zmm16, {v}", "vmovups [{d}], zmm16", "vmovups [{d} + 64], zmm16", "vmovups [{d} + {n} - 128], zmm16", "vmovups [{d} + {n} - 64], zmm16"; "xmm16");
set_ends!(set_128_avx: "vmovq xmm0, {v}", "vpunpcklqdq xmm0, xmm0, xmm0", "vinsertf128 ymm0, ymm0, xmm0, 1", "vmovups [{d}], ymm0", "vmovups [{d} + 32], ymm0", "vmovups [{d} + {n} - 64], ymm0", "vmovups [{d} + {n} - 32], ymm0"; "xmm0");
set_ends!(set_256_avx: "vmovq xmm0, {v}", "vpunpcklqdq xmm0, xmm0, xmm0", "vinsertf128 ymm0, ymm0, xmm0, 1", "vmovups [{d}], ymm0", "vmovups [{d} + 32], ymm0", "vmovups [{d} + 64], ymm0", "vmovups [{d} + 96], ymm0", "vmovups [{d} + {n} - 128], ymm0", "vmovups [{d} + {n} - 96], ymm0", "vmovups [{d} + {n} - 64], ymm0", "vmovups [{d} + {n} - 32], ymm0"; "xmm0");
set_ends!(set_128_sse2: "movq xmm0, {v}", "punpcklqdq xmm0, xmm0", "movups [{d}], xmm0", "movups [{d} + 16], xmm0", "movups [{d} + 32], xmm0", "movups [{d} + 48], xmm0", "movups [{d} + {n} - 64], xmm0", "movups [{d} + {n} - 48], xmm0", "movups [{d} + {n} - 32], xmm0", "movups [{d} + {n} - 16], xmm0"; "xmm0");
set_ends!(set_256_sse2: "movq xmm0, {v}", "punpcklqdq xmm0, xmm0", "movups [{d}], xmm0", "movups [{d} + 16], xmm0", "movups [{d} + 32], xmm0", "movups [{d} + 48], xmm0", "movups [{d} + 64], xmm0", "movups [{d} + 80], xmm0", "movups [{d} + 96], xmm0", "movups [{d} + 112], xmm0", "movups [{d} + {n} - 128], xmm0", "movups [{d} + {n} - 112], xmm0", "movups [{d} + {n} - 96], xmm0", "movups [{d} + {n} - 80], xmm0", "movups [{d} + {n} - 64], xmm0", "movups [{d} + {n} - 48], xmm0", "movups [{d} + {n} - 32], xmm0", "movups [{d} + {n} - 16], xmm0"; "xmm0");

/// As [`copy_short`], with one value.
#[inline(always)]
pub(super) unsafe fn set_short(kind: Stores, dest: *mut u8, word: u64, len: usize) {
    let two = len <= 128;
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        match kind {
            Stores::Avx512 if two => set_128_avx512(dest, word, len),
            Stores::Avx512 => set_256_avx512(dest, word, len),
            Stores::Avx => {
                if two {
                    set_128_avx(dest, word, len);
                } else {
                    set_256_avx(dest, word, len);
                }
                leave_avx();
            }
            _ if two => set_128_sse2(dest, word, len),
            _ => set_256_sse2(dest, word, len),
        }
    }
}

/// A loop over lines: loads, stores, both pointers one step on.
macro_rules! copy_loop {
    ($name:ident: $($instruction:literal),+; $($clobber:tt),+) => {
        unsafe fn $name(dest: *mut u8, src: *const u8, lines: usize, step: isize) {
            // SAFETY: `lines` lines from the pointers on, in steps of one line, are readable and
            // writable, and the destination is aligned to a line.
            unsafe {
                asm!(
                    "2:",
                    $($instruction,)+
                    "add {s}, {step}",
                    "add {d}, {step}",
                    "dec {n}",
                    "jnz 2b",
                    s = inout(reg) src => _, d = inout(reg) dest => _, n = inout(reg) lines => _,
                    step = in(reg) step,
                    $(out($clobber) _,)+
                    options(nostack)
                );
            }
        }
    };
}

copy_loop!(copy_sse2:
    "movups xmm0, [{s}]", "movups xmm1, [{s} + 16]", "movups xmm2, [{s} + 32]", "movups xmm3, [{s} + 48]",
    "movaps [{d}], xmm0", "movaps [{d} + 16], xmm1", "movaps [{d} + 32], xmm2", "movaps [{d} + 48], xmm3";
    "xmm0", "xmm1", "xmm2", "xmm3");
copy_loop!(stream_sse2:
    "movups xmm0, [{s}]", "movups xmm1, [{s} + 16]", "movups xmm2, [{s} + 32]", "movups xmm3, [{s} + 48]",
    "movntps [{d}], xmm0", "movntps [{d} + 16], xmm1", "movntps [{d} + 32], xmm2", "movntps [{d} + 48], xmm3";
    "xmm0", "xmm1", "xmm2", "xmm3");
copy_loop!(copy_avx_loop:
    "vmovups ymm0, [{s}]", "vmovups ymm1, [{s} + 32]", "vmovaps [{d}], ymm0", "vmovaps [{d} + 32], ymm1";
    "xmm0", "xmm1");
copy_loop!(stream_avx_loop:
    "vmovups ymm0, [{s}]", "vmovups ymm1, [{s} + 32]", "vmovntps [{d}], ymm0", "vmovntps [{d} + 32], ymm1";
    "xmm0", "xmm1");
copy_loop!(copy_avx512:
    "vmovups zmm16, [{s}]", "vmovaps [{d}], zmm16"; "xmm16");
copy_loop!(stream_avx512:
    "vmovups zmm16, [{s}]", "vmovntps [{d}], zmm16"; "xmm16");
copy_loop!(stream_movdir64b:
    "movdir64b {d}, [{s}]"; "xmm0");

/// Leaves the upper halves of the registers clean, for the sake of SSE code that follows.
unsafe fn leave_avx() {
    // SAFETY: the halves hold nothing that anybody relies on: this is declared by the clobbers.
    unsafe {
        asm!("vzeroupper",
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _,
            out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack, nomem, preserves_flags));
    }
}

unsafe fn copy_avx(dest: *mut u8, src: *const u8, lines: usize, step: isize) {
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        copy_avx_loop(dest, src, lines, step);
        leave_avx();
    }
}

unsafe fn stream_avx(dest: *mut u8, src: *const u8, lines: usize, step: isize) {
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        stream_avx_loop(dest, src, lines, step);
        leave_avx();
    }
}

/// Loads start before the first store that would have to wait for them.
///
/// # Safety
/// None; lines that are not mapped are passed over.
#[inline(always)]
pub(super) unsafe fn prefetch(src: *const u8, lines: usize) {
    // SAFETY: a prefetch never faults and changes nothing.
    unsafe {
        asm!(
            "2:",
            "prefetcht0 [{s}]",
            "add {s}, 64",
            "dec {n}",
            "jnz 2b",
            s = inout(reg) src => _, n = inout(reg) lines => _,
            options(nostack, readonly)
        );
    }
}

/// Asks for the lines of a range, to write to them. Unlike a store, this need not wait for the fence of
/// the copy before.
///
/// # Safety
/// None; lines that are not mapped are passed over.
#[inline(always)]
pub(super) unsafe fn prefetch_to_write(first: *const u8, lines: usize) {
    // SAFETY: a prefetch never faults and changes nothing; older processors do nothing.
    unsafe {
        asm!(
            "2:",
            "prefetchw [{d}]",
            "add {d}, 64",
            "dec {n}",
            "jnz 2b",
            d = inout(reg) first => _, n = inout(reg) lines => _,
            options(nostack, readonly)
        );
    }
}

/// So many lines of non-temporal stores go between two fences, where fences are wanted.
const FENCE_LINES: usize = 12;

/// Copies `len` bytes, whole lines, to an address at a line boundary.
///
/// # Safety
/// The ranges are readable and writable; if they overlap, the direction suits.
#[inline(always)]
pub(super) unsafe fn copy_lines(
    engine: &Engine,
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
    let mut left = len / CACHE_LINE;
    let line = CACHE_LINE as isize;
    let step = if backwards { -line } else { line };
    let start = if backwards { len - CACHE_LINE } else { 0 };
    let (mut dest, mut src) = (dest.wrapping_add(start), src.wrapping_add(start));
    let run: unsafe fn(*mut u8, *const u8, usize, isize) = match (kind, past) {
        (Stores::Avx512, false) => copy_avx512,
        (Stores::Avx512, true) => stream_avx512,
        (Stores::Avx, false) => copy_avx,
        (Stores::Avx, true) => stream_avx,
        (Stores::Movdir64b, true) => stream_movdir64b,
        (Stores::Sse2, true) => stream_sse2,
        (Stores::Words, _) => {
            // SAFETY: forwarded from the caller's contract, with the pointers as they came.
            return unsafe {
                let start = start as isize;
                words::copy_words(dest.offset(-start), src.offset(-start), len, backwards);
            };
        }
        _ => copy_sse2,
    };
    let fenced =
        past && engine.write_combining_fences && matches!(kind, Stores::Sse2 | Stores::Avx);
    let at_once = if fenced { FENCE_LINES } else { left };
    while left > at_once {
        // SAFETY: a part of the ranges.
        unsafe { run(dest, src, at_once, step) };
        fence();
        left -= at_once;
        dest = dest.wrapping_offset(step * at_once as isize);
        src = src.wrapping_offset(step * at_once as isize);
    }
    // SAFETY: the rest of the ranges.
    unsafe { run(dest, src, left, step) };
}

/// A loop over lines: the value into the registers, then stores.
macro_rules! set_loop {
    ($name:ident: $($first:literal),+; $($instruction:literal),+; $($last:literal),*; $($clobber:tt),+) => {
        unsafe fn $name(dest: *mut u8, word: u64, lines: usize) {
            // SAFETY: `lines` lines are writable, and the destination is aligned to a line.
            unsafe {
                asm!(
                    $($first,)+
                    "2:",
                    $($instruction,)+
                    "add {d}, 64",
                    "dec {n}",
                    "jnz 2b",
                    $($last,)*
                    d = inout(reg) dest => _, n = inout(reg) lines => _, v = in(reg) word,
                    $(out($clobber) _,)+
                    options(nostack)
                );
            }
        }
    };
}

set_loop!(set_sse2: "movq xmm0, {v}", "punpcklqdq xmm0, xmm0";
    "movaps [{d}], xmm0", "movaps [{d} + 16], xmm0", "movaps [{d} + 32], xmm0", "movaps [{d} + 48], xmm0";
    ; "xmm0");
set_loop!(stream_set_sse2: "movq xmm0, {v}", "punpcklqdq xmm0, xmm0";
    "movntps [{d}], xmm0", "movntps [{d} + 16], xmm0", "movntps [{d} + 32], xmm0", "movntps [{d} + 48], xmm0";
    ; "xmm0");
set_loop!(set_avx_loop: "vmovq xmm0, {v}", "vpunpcklqdq xmm0, xmm0, xmm0", "vinsertf128 ymm0, ymm0, xmm0, 1";
    "vmovaps [{d}], ymm0", "vmovaps [{d} + 32], ymm0"; ; "xmm0");
set_loop!(stream_set_avx_loop: "vmovq xmm0, {v}", "vpunpcklqdq xmm0, xmm0, xmm0", "vinsertf128 ymm0, ymm0, xmm0, 1";
    "vmovntps [{d}], ymm0", "vmovntps [{d} + 32], ymm0"; ; "xmm0");
set_loop!(set_avx512: "vpbroadcastq zmm16, {v}"; "vmovaps [{d}], zmm16"; ; "xmm16");
set_loop!(stream_set_avx512: "vpbroadcastq zmm16, {v}"; "vmovntps [{d}], zmm16"; ; "xmm16");

unsafe fn set_avx(dest: *mut u8, word: u64, lines: usize) {
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        set_avx_loop(dest, word, lines);
        leave_avx();
    }
}

unsafe fn stream_set_avx(dest: *mut u8, word: u64, lines: usize) {
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        stream_set_avx_loop(dest, word, lines);
        leave_avx();
    }
}

/// One line of the word, again and again to the next line.
unsafe fn stream_set_movdir64b(dest: *mut u8, word: u64, lines: usize) {
    let line = [word; CACHE_LINE / 8];
    for number in 0..lines {
        // SAFETY: as for the other loops; the source stays where it is.
        unsafe { stream_movdir64b(dest.add(number * CACHE_LINE), line.as_ptr().cast(), 1, 0) };
    }
}

/// Sets `len` bytes, whole lines, from a line boundary on.
///
/// # Safety
/// The range is writable.
#[inline(always)]
pub(super) unsafe fn set_lines(
    engine: &Engine,
    kind: Stores,
    past: bool,
    dest: *mut u8,
    word: u64,
    len: usize,
) {
    if len == 0 {
        return;
    }
    let mut left = len / CACHE_LINE;
    let mut dest = dest;
    let run: unsafe fn(*mut u8, u64, usize) = match (kind, past) {
        (Stores::Avx512, false) => set_avx512,
        (Stores::Avx512, true) => stream_set_avx512,
        (Stores::Avx, false) => set_avx,
        (Stores::Avx, true) => stream_set_avx,
        (Stores::Movdir64b, true) => stream_set_movdir64b,
        (Stores::Sse2, true) => stream_set_sse2,
        // SAFETY: forwarded from the caller's contract.
        (Stores::Words, _) => return unsafe { words::set_words(dest, word, len) },
        _ => set_sse2,
    };
    let fenced =
        past && engine.write_combining_fences && matches!(kind, Stores::Sse2 | Stores::Avx);
    let at_once = if fenced { FENCE_LINES } else { left };
    while left > at_once {
        // SAFETY: a part of the range.
        unsafe { run(dest, word, at_once) };
        fence();
        left -= at_once;
        dest = dest.wrapping_add(at_once * CACHE_LINE);
    }
    // SAFETY: the rest of the range.
    unsafe { run(dest, word, left) };
}

macro_rules! flush_loop {
    ($instruction:literal, $first:expr, $count:expr) => {
        // SAFETY: the caller's lines are mapped; nothing in them changes.
        unsafe {
            asm!(
                "2:",
                $instruction,
                "add {d}, 64",
                "dec {n}",
                "jnz 2b",
                d = inout(reg) $first => _, n = inout(reg) $count => _,
                options(nostack)
            );
        }
    };
}

/// Starts to write back `count` lines, at least one.
///
/// # Safety
/// They are mapped.
#[inline(always)]
pub(super) unsafe fn flush_lines(instruction: FlushInstruction, first: *const u8, count: usize) {
    match instruction {
        FlushInstruction::Clwb => flush_loop!("clwb [{d}]", first, count),
        FlushInstruction::ClflushOpt => flush_loop!("clflushopt [{d}]", first, count),
        _ => flush_loop!("clflush [{d}]", first, count),
    }
}

/// Orders stores, flushes and non-temporal stores before it before those after it.
#[inline(always)]
pub(super) fn fence() {
    // SAFETY: touches no memory itself.
    unsafe { asm!("sfence", options(nostack, preserves_flags)) };
}
