//! The exported functions.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::{self, NonNull};
use pmem_core::errno::Errno;
use pmem_core::log_line;
use vmem_engine::memcheck;

use crate::careful::{self, Request};
use crate::functions::{self, Free, Malloc, Print};
use crate::log::log_text;
use crate::pools::{self, Entry};
use crate::{create, message, start, statistics};

/// C: `VMEM`. Only addresses of it exist.
#[repr(C)]
pub(crate) struct Vmem {
    opaque: [u8; 0],
}

const MAJOR: c_uint = 1;
const MINOR: c_uint = 1;

fn find(vmp: *mut Vmem) -> Option<&'static Entry> {
    pools::find(vmp.addr())
}

/// Sets errno and text for a handle that no pool has.
#[cold]
pub(crate) fn unknown<T: Failed>(vmp: usize) -> T {
    Errno::EINVAL.set();
    let text = message::set(format_args!("invalid pool handle: {vmp:#x}"));
    log_text!("vmem", text);
    T::FAILED
}

/// What a call that fails gives.
pub(crate) trait Failed {
    const FAILED: Self;
}

impl<T> Failed for *mut T {
    const FAILED: *mut T = ptr::null_mut();
}

impl Failed for () {
    const FAILED: () = ();
}

impl Failed for usize {
    const FAILED: usize = 0;
}

impl Failed for c_int {
    const FAILED: c_int = -1;
}

#[cold]
fn refused(entry: &Entry) -> *mut c_void {
    entry.refused.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    Errno::ENOMEM.set();
    ptr::null_mut()
}

/// The block as the caller gets it.
#[inline]
fn result(entry: &Entry, block: *mut u8) -> *mut c_void {
    if block.is_null() { refused(entry) } else { block.cast() }
}

/// C: `VMEM *vmem_create(const char *dir, size_t size)`.
///
/// # Safety
/// `dir` is null or a C string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_create(dir: *const c_char, size: usize) -> *mut Vmem {
    start::ensure();
    // SAFETY: contract.
    let dir = NonNull::new(dir.cast_mut()).map(|dir| unsafe { CStr::from_ptr(dir.as_ptr()) });
    log_line!(
        3,
        "vmem_create",
        "dir \"{}\" size {size}",
        dir.unwrap_or_default().to_bytes().escape_ascii()
    );
    create::in_place(dir, size).map_or(ptr::null_mut(), |handle| handle.as_ptr().cast())
}

/// C: `VMEM *vmem_create_in_region(void *addr, size_t size)`.
///
/// # Safety
/// The range is readable and writable and nobody else uses it as long as the pool lives.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_create_in_region(addr: *mut c_void, size: usize) -> *mut Vmem {
    start::ensure();
    log_line!(3, "vmem_create_in_region", "addr {addr:p} size {size}");
    // SAFETY: contract.
    let handle = unsafe { create::in_region(addr.cast(), size) };
    handle.map_or(ptr::null_mut(), |handle| handle.as_ptr().cast())
}

/// C: `void vmem_delete(VMEM *vmp)`.
///
/// # Safety
/// Nobody uses the pool or a block of it any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_delete(vmp: *mut Vmem) {
    log_line!(3, "vmem_delete", "vmp {vmp:p}");
    // SAFETY: contract.
    if !unsafe { create::delete(vmp.addr()) } {
        unknown(vmp.addr())
    }
}

/// C: `int vmem_check(VMEM *vmp)`: 1 consistent, 0 not, -1 not a pool.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmem_check(vmp: *mut Vmem) -> c_int {
    log_line!(3, "vmem_check", "vmp {vmp:p}");
    let _quiet = memcheck::quiet();
    let list = pools::lock();
    let Some(entry) = find(vmp) else {
        drop(list);
        return unknown(vmp.addr());
    };
    // Before anything else: what a pool over the same memory has written must not be looked at.
    if list.iter().any(|other| !ptr::eq(other, entry) && other.overlaps(entry)) {
        let text =
            message::set(format_args!("pool {vmp:p} has memory in common with another pool"));
        log_text!("vmem_check", text);
        return 0;
    }
    match entry.pool().check() {
        Ok(()) => 1,
        Err(fault) => {
            let text = message::set(format_args!("{fault}"));
            log_text!("vmem_check", text);
            0
        }
    }
}

/// C: `void vmem_stats_print(VMEM *vmp, const char *opts)`.
///
/// # Safety
/// `opts` is null or a C string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_stats_print(vmp: *mut Vmem, opts: *const c_char) {
    // SAFETY: contract.
    let opts = NonNull::new(opts.cast_mut()).map(|opts| unsafe { CStr::from_ptr(opts.as_ptr()) });
    let opts = opts.unwrap_or_default();
    log_line!(3, "vmem_stats_print", "vmp {vmp:p} opts \"{}\"", opts.to_bytes().escape_ascii());
    match find(vmp) {
        Some(entry) => statistics::print(entry, opts.to_bytes()),
        None => unknown(vmp.addr()),
    }
}

/// C: `void *vmem_malloc(VMEM *vmp, size_t size)`. ENOMEM.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmem_malloc(vmp: *mut Vmem, size: usize) -> *mut c_void {
    log_line!(3, "vmem_malloc", "vmp {vmp:p} size {size}");
    let Some(entry) = find(vmp) else { return unknown(vmp.addr()) };
    let block = if entry.is_direct() {
        entry.pool().alloc(size)
    } else {
        careful::alloc(entry, Request { size, align: 1, zeroed: false })
    };
    result(entry, block)
}

/// C: `void vmem_free(VMEM *vmp, void *ptr)`. Keeps errno.
///
/// # Safety
/// `pointer` is null or a live block of a pool that nobody uses any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_free(vmp: *mut Vmem, pointer: *mut c_void) {
    log_line!(3, "vmem_free", "vmp {vmp:p} ptr {pointer:p}");
    let Some(entry) = find(vmp) else { return unknown(vmp.addr()) };
    let block = pointer.cast::<u8>();
    // SAFETY: contract.
    unsafe {
        if entry.is_direct() && entry.pool().contains(block) {
            entry.pool().free(block);
        } else {
            careful::free(entry, block);
        }
    }
}

/// C: `void *vmem_calloc(VMEM *vmp, size_t nmemb, size_t size)`. ENOMEM, also when the product overflows.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmem_calloc(vmp: *mut Vmem, count: usize, size: usize) -> *mut c_void {
    log_line!(3, "vmem_calloc", "vmp {vmp:p} nmemb {count} size {size}");
    let Some(entry) = find(vmp) else { return unknown(vmp.addr()) };
    let Some(size) = count.checked_mul(size) else { return refused(entry) };
    let block = if entry.is_direct() {
        entry.pool().alloc_zeroed(size)
    } else {
        careful::alloc(entry, Request { size, align: 1, zeroed: true })
    };
    result(entry, block)
}

/// C: `void *vmem_realloc(VMEM *vmp, void *ptr, size_t size)`. A size of 0 frees the block and gives null.
/// ENOMEM; the block is then as before.
///
/// # Safety
/// `pointer` is null or a live block of a pool that only the caller uses.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_realloc(
    vmp: *mut Vmem,
    pointer: *mut c_void,
    size: usize,
) -> *mut c_void {
    log_line!(3, "vmem_realloc", "vmp {vmp:p} ptr {pointer:p} size {size}");
    if pointer.is_null() {
        return vmem_malloc(vmp, size);
    }
    if size == 0 {
        // SAFETY: contract.
        unsafe { vmem_free(vmp, pointer) };
        return ptr::null_mut();
    }
    let Some(entry) = find(vmp) else { return unknown(vmp.addr()) };
    let block = pointer.cast::<u8>();
    // SAFETY: contract.
    let block = unsafe {
        if entry.is_direct() && entry.pool().contains(block) {
            entry.pool().realloc(block, size)
        } else {
            careful::realloc(entry, block, size)
        }
    };
    result(entry, block)
}

/// C: `void *vmem_aligned_alloc(VMEM *vmp, size_t alignment, size_t size)`. EINVAL when the alignment is no
/// power of two; ENOMEM.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmem_aligned_alloc(
    vmp: *mut Vmem,
    align: usize,
    size: usize,
) -> *mut c_void {
    log_line!(3, "vmem_aligned_alloc", "vmp {vmp:p} alignment {align} size {size}");
    if !align.is_power_of_two() {
        Errno::EINVAL.set();
        return ptr::null_mut();
    }
    let Some(entry) = find(vmp) else { return unknown(vmp.addr()) };
    let block = if entry.is_direct() {
        entry.pool().alloc_aligned(align, size)
    } else {
        careful::alloc(entry, Request { size, align, zeroed: false })
    };
    result(entry, block)
}

/// C: `char *vmem_strdup(VMEM *vmp, const char *s)`. ENOMEM.
///
/// # Safety
/// `text` is a C string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_strdup(vmp: *mut Vmem, text: *const c_char) -> *mut c_char {
    log_line!(3, "vmem_strdup", "vmp {vmp:p} s {text:p}");
    // SAFETY: contract.
    let bytes = unsafe { libc::strlen(text) } + 1;
    // SAFETY: the text and its zero.
    unsafe { duplicate(vmp, text.cast(), bytes) }.cast()
}

/// C: `wchar_t *vmem_wcsdup(VMEM *vmp, const wchar_t *s)`. ENOMEM.
///
/// # Safety
/// `text` is a wide C string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_wcsdup(
    vmp: *mut Vmem,
    text: *const libc::wchar_t,
) -> *mut libc::wchar_t {
    log_line!(3, "vmem_wcsdup", "vmp {vmp:p} s {text:p}");
    // SAFETY: contract.
    let bytes = (unsafe { libc::wcslen(text) } + 1) * size_of::<libc::wchar_t>();
    // SAFETY: the text and its zero.
    unsafe { duplicate(vmp, text.cast(), bytes) }.cast()
}

/// # Safety
/// `bytes` bytes can be read at `from`.
unsafe fn duplicate(vmp: *mut Vmem, from: *const u8, bytes: usize) -> *mut c_void {
    let to = vmem_malloc(vmp, bytes);
    if !to.is_null() {
        // SAFETY: contract; a fresh block of that size.
        unsafe { from.copy_to_nonoverlapping(to.cast(), bytes) };
    }
    to
}

/// C: `size_t vmem_malloc_usable_size(VMEM *vmp, void *ptr)`. 0 for null.
///
/// # Safety
/// `pointer` is null or a live block.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_malloc_usable_size(
    vmp: *mut Vmem,
    pointer: *mut c_void,
) -> usize {
    log_line!(3, "vmem_malloc_usable_size", "vmp {vmp:p} ptr {pointer:p}");
    let Some(entry) = find(vmp) else { return unknown(vmp.addr()) };
    let block = pointer.cast::<u8>();
    // SAFETY: contract.
    unsafe {
        if entry.is_direct() && entry.pool().contains(block) {
            entry.pool().usable_size(block)
        } else {
            careful::usable_size(entry, block)
        }
    }
}

/// C: `const char *vmem_check_version(unsigned major_required, unsigned minor_required)`: null when the
/// program can use this library, else the calling thread's error text.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmem_check_version(major: c_uint, minor: c_uint) -> *const c_char {
    start::ensure();
    log_line!(3, "vmem_check_version", "major_required {major} minor_required {minor}");
    let text = if major != MAJOR {
        message::set(format_args!("libvmem major version mismatch (need {major}, found {MAJOR})"))
    } else if minor > MINOR {
        message::set(format_args!("libvmem minor version mismatch (need {minor}, found {MINOR})"))
    } else {
        return ptr::null();
    };
    log_text!("vmem_check_version", text);
    text.as_ptr()
}

/// C: `void vmem_set_funcs(...)`. The functions for realloc and strdup are not used.
///
/// # Safety
/// The functions are null or do what those of the C library do; they stay callable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_set_funcs(
    malloc: Option<Malloc>,
    free: Option<Free>,
    _realloc: Option<unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void>,
    _strdup: Option<unsafe extern "C" fn(*const c_char) -> *mut c_char>,
    print: Option<Print>,
) {
    start::ensure();
    log_line!(3, "vmem_set_funcs", "");
    functions::set(malloc, free, print);
}

/// C: `const char *vmem_errormsg(void)`: the calling thread's last error; empty before the first.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmem_errormsg() -> *const c_char {
    start::ensure();
    message::get()
}
