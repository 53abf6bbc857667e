//! When the library stays out of the way.
//!
//! * Another malloc comes first (the program's own, or that of another preloaded library): we are
//!   never called, and must not make a pool for nothing.
//! * A sanitizer's runtime is in the process: it has to see all allocations itself. What reaches us
//!   all the same is passed on to the C library.
//! * The process has more rights than its caller (set-user-ID and the like): the environment is not
//!   to be trusted, and without it there is no pool. Everything is passed on to the C library.

use core::arch::global_asm;
use pmem_core::sys;

// Words that the loader fills in: the sanitizers' entry points (null when there is none, since the
// references are weak), and what the name malloc stands for in this process.
global_asm!(
    ".pushsection .data.rel.ro.vmmalloc_bindings,\"aw\",%progbits",
    ".weak __asan_init",
    ".weak __tsan_init",
    ".weak __msan_init",
    ".hidden __ehdr_start",
    ".globl vmmalloc_sanitizers",
    ".hidden vmmalloc_sanitizers",
    ".p2align 3",
    "vmmalloc_sanitizers:",
    ".quad __asan_init",
    ".quad __tsan_init",
    ".quad __msan_init",
    ".globl vmmalloc_bound_malloc",
    ".hidden vmmalloc_bound_malloc",
    "vmmalloc_bound_malloc:",
    ".quad malloc",
    ".globl vmmalloc_text_range",
    ".hidden vmmalloc_text_range",
    "vmmalloc_text_range:",
    ".quad __ehdr_start",
    ".quad etext",
    ".popsection",
);

unsafe extern "C" {
    static vmmalloc_sanitizers: [usize; 3];
    static vmmalloc_bound_malloc: usize;
    static vmmalloc_text_range: [usize; 2];
}

/// Whether all calls are to be passed on to the C library.
pub(crate) fn is_wanted() -> bool {
    // SAFETY: words written by the loader before any of our code runs.
    let sanitizers = unsafe { vmmalloc_sanitizers };
    sanitizers.iter().any(|&init| init != 0) || sys::is_secure()
}

/// Whether the process's malloc is ours.
///
/// May say no in a program that is not position-independent and takes the address of malloc: the
/// name then stands for a stub in the program. The pool is made by the first call in any case; this
/// only decides whether it is made at the start.
pub(crate) fn is_bound() -> bool {
    // SAFETY: words written by the loader before any of our code runs.
    let (bound, [start, end]) = unsafe { (vmmalloc_bound_malloc, vmmalloc_text_range) };
    (start..end).contains(&bound)
}
