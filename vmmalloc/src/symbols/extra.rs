//! Further entry points, all weak: what looks for the strong ones of the contract must find exactly
//! those.
//!
//! Stable Rust cannot define a weak function, so the names are defined in assembly, as jumps. rustc
//! hands the linker a list of what the library exports, and names in assembly are not on it; but
//! the entries of such a list are patterns. A hidden static whose name is a pattern that fits one
//! of our names puts that on the list: `malloc_tri[m]` fits `malloc_trim` and nothing else.

use core::arch::global_asm;
use core::ffi::{c_int, c_void};
use pmem_core::errno::Errno;

use super::free;
use crate::runtime::HEAP;
use crate::stats;

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp {function}"
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "b {function}"
    };
}

/// Exports `$function` as the weak symbol `$name`, which `$pattern` must fit.
macro_rules! weak {
    ($name:literal, $pattern:literal, $function:path) => {
        global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",%progbits"),
            concat!(".weak ", $name),
            concat!(".type ", $name, ",%function"),
            concat!($name, ":"),
            jump!(),
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            concat!(".hidden \"", $pattern, "\""),
            function = sym $function,
        );
        const _: () = {
            #[unsafe(export_name = $pattern)]
            static ON_THE_LIST: u8 = 0;
        };
    };
}

weak!("free_sized", "free_size[d]", free_sized);
weak!("free_aligned_sized", "free_aligned_size[d]", free_aligned_sized);
weak!("malloc_trim", "malloc_tri[m]", malloc_trim);
weak!("mallinfo", "mallinf[o]", mallinfo);
weak!("mallinfo2", "mallinfo[2]", mallinfo2);
weak!("malloc_stats", "malloc_stat[s]", malloc_stats);
weak!("malloc_info", "malloc_inf[o]", malloc_info);
weak!("mallopt", "mallop[t]", mallopt);

/// C: `void free_sized(void *ptr, size_t size)`, of C23. The size is not needed.
///
/// # Safety
/// As [`free`].
pub(crate) unsafe extern "C" fn free_sized(pointer: *mut c_void, _size: usize) {
    // SAFETY: contract.
    unsafe { free(pointer) }
}

/// C: `void free_aligned_sized(void *ptr, size_t alignment, size_t size)`, of C23.
///
/// # Safety
/// As [`free`].
pub(crate) unsafe extern "C" fn free_aligned_sized(
    pointer: *mut c_void,
    _align: usize,
    _size: usize,
) {
    // SAFETY: contract.
    unsafe { free(pointer) }
}

/// C: `int malloc_trim(size_t pad)`: gives all free memory back now; 1 if there was any.
pub(crate) extern "C" fn malloc_trim(_pad: usize) -> c_int {
    c_int::from(HEAP.trim() > 0)
}

/// C: `struct mallinfo2 mallinfo2(void)`: the pool's figures.
///
/// `arena` is what the pool has taken of its file, `uordblks` what the program holds, `fordblks` the
/// difference, `keepcost` what [`malloc_trim`] could give back at most.
pub(crate) extern "C" fn mallinfo2() -> libc::mallinfo2 {
    let totals = stats::Totals::now();
    libc::mallinfo2 {
        arena: totals.committed_bytes,
        ordblks: totals.free_slots,
        smblks: totals.cached_slots,
        hblks: 0,
        hblkhd: 0,
        usmblks: 0,
        fsmblks: totals.thread_cache_bytes,
        uordblks: totals.allocated_bytes,
        fordblks: totals.committed_bytes - totals.allocated_bytes,
        keepcost: totals.committed_bytes.saturating_sub(totals.active_bytes),
    }
}

/// C: `struct mallinfo mallinfo(void)`: as [`mallinfo2`], with figures that do not fit cut to the
/// largest that does.
pub(crate) extern "C" fn mallinfo() -> libc::mallinfo {
    let wide = mallinfo2();
    let cut = |figure: usize| c_int::try_from(figure).unwrap_or(c_int::MAX);
    libc::mallinfo {
        arena: cut(wide.arena),
        ordblks: cut(wide.ordblks),
        smblks: cut(wide.smblks),
        hblks: cut(wide.hblks),
        hblkhd: cut(wide.hblkhd),
        usmblks: cut(wide.usmblks),
        fsmblks: cut(wide.fsmblks),
        uordblks: cut(wide.uordblks),
        fordblks: cut(wide.fordblks),
        keepcost: cut(wide.keepcost),
    }
}

/// C: `void malloc_stats(void)`: the report as text, on standard error.
pub(crate) extern "C" fn malloc_stats() {
    stats::print();
}

/// C: `int malloc_info(int options, FILE *stream)`: figures as XML. EINVAL for options other than 0.
///
/// # Safety
/// `stream` is an open stream.
pub(crate) unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        return Errno::EINVAL.0;
    }
    // SAFETY: contract.
    unsafe { stats::print_xml(stream) }
}

/// C: `int mallopt(int param, int value)`. The parameters are those of another allocator: all are
/// accepted, as there, and none has an effect.
pub(crate) extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
    1
}
