#![doc = include_str!("../README.md")]

#[macro_use]
mod log;

use capi_pools::ctl::{self, Query};
use capi_pools::memory;
use capi_pools::open::{create_options, fail_with, handle, no_path, open_options, path};
use capi_pools::races;
use core::ffi::{c_char, c_int, c_longlong, c_uint, c_void};
use core::ptr::{self, NonNull};
use pmem_capi_shared::{check_version, fail, message, set_message};
use pmem_core::errno::Errno;
use pmemlog::{Access, Error, Options, PmemLog};
use pool_format::{CreateOptions, OpenOptions};

/// What a handle points to.
type Pool = PmemLog;

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = configure;

extern "C" fn configure() {
    log::start();
    ctl::configure("libpmemlog", "PMEMLOG_CONF", "PMEMLOG_CONF_FILE");
}

/// 0, or -1 with errno and `function: text of errno`.
fn status(function: &str, result: Result<(), Error>) -> c_int {
    let Err(error) = result else { return 0 };
    let errno = error.errno();
    fail(errno, format_args!("{function}: {errno}"))
}

/// C: `PMEMlogpool *pmemlog_create(const char *path, size_t poolsize, mode_t mode)`; NULL and errno on failure.
///
/// # Safety
/// `path_` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_create(
    path_: *const c_char,
    poolsize: usize,
    mode: libc::mode_t,
) -> *mut Pool {
    trace!("pmemlog_create", "path {} poolsize {poolsize} mode {mode}", c_text!(path_));
    // SAFETY: the caller's contract.
    let Some(path) = (unsafe { path(path_) }) else { return no_path(ptr::null_mut()) };
    let options = Options::with(create_options(mode), OpenOptions::default());
    handle(|| match poolsize {
        0 => options.create_in(path),
        size => options.create(path, size as u64),
    })
}

/// C: `PMEMlogpool *pmemlog_open(const char *path)`; NULL and errno on failure.
///
/// # Safety
/// `path_` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_open(path_: *const c_char) -> *mut Pool {
    trace!("pmemlog_open", "path {}", c_text!(path_));
    // SAFETY: the caller's contract.
    let Some(path) = (unsafe { path(path_) }) else { return no_path(ptr::null_mut()) };
    handle(|| Options::with(CreateOptions::default(), open_options()).open(path))
}

/// C: `int pmemlog_check(const char *path)`; 1 consistent, -1 and errno when the pool cannot be opened.
///
/// # Safety
/// `path_` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_check(path_: *const c_char) -> c_int {
    trace!("pmemlog_check", "path {}", c_text!(path_));
    // SAFETY: the caller's contract.
    let Some(path) = (unsafe { path(path_) }) else { return no_path(-1) };
    let options = OpenOptions { access: Access::ReadOnly, ..open_options() };
    match Options::with(CreateOptions::default(), options).open(path) {
        Ok(_) => 1,
        Err(error) => fail_with(&error),
    }
}

/// C: `void pmemlog_close(PMEMlogpool *plp)`.
///
/// # Safety
/// `plp` is NULL or an open log, which is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_close(plp: *mut Pool) {
    trace!("pmemlog_close", "plp {plp:p}");
    if let Some(handle) = NonNull::new(plp) {
        // SAFETY: the caller's contract.
        unsafe { memory::end_handle(handle) };
    }
}

/// C: `size_t pmemlog_nbyte(PMEMlogpool *plp)`.
///
/// # Safety
/// `plp` is an open log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_nbyte(plp: *mut Pool) -> usize {
    trace!("pmemlog_nbyte", "plp {plp:p}");
    // SAFETY: the caller's contract.
    unsafe { &*plp }.capacity() as usize
}

/// C: `int pmemlog_append(PMEMlogpool *plp, const void *buf, size_t count)`; 0, or -1 and errno.
///
/// # Safety
/// `plp` is an open log, `buf` readable for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_append(plp: *mut Pool, buf: *const c_void, count: usize) -> c_int {
    trace!("pmemlog_append", "plp {plp:p} buf {buf:p} count {count}");
    let _ordered = races::alone();
    let buffer = libc::iovec { iov_base: buf.cast_mut(), iov_len: count };
    // SAFETY: the caller's contract.
    status("pmemlog_append", unsafe { (*plp).append_iovec(&[buffer]) })
}

/// C: `int pmemlog_appendv(PMEMlogpool *plp, const struct iovec *iov, int iovcnt)`; 0, or -1 and errno.
///
/// # Safety
/// `plp` is an open log, `iov` has `iovcnt` buffers, each readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_appendv(
    plp: *mut Pool,
    iov: *const libc::iovec,
    iovcnt: c_int,
) -> c_int {
    trace!("pmemlog_appendv", "plp {plp:p} iov {iov:p} iovcnt {iovcnt}");
    let _ordered = races::alone();
    let Ok(count) = usize::try_from(iovcnt) else {
        return fail(Errno::EINVAL, format_args!("iovcnt is less than zero: {iovcnt}"));
    };
    let buffers = if count == 0 {
        &[]
    } else {
        // SAFETY: the caller's contract.
        unsafe { core::slice::from_raw_parts(iov, count) }
    };
    // SAFETY: the caller's contract.
    status("pmemlog_appendv", unsafe { (*plp).append_iovec(buffers) })
}

/// C: `long long pmemlog_tell(PMEMlogpool *plp)`.
///
/// # Safety
/// `plp` is an open log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_tell(plp: *mut Pool) -> c_longlong {
    trace!("pmemlog_tell", "plp {plp:p}");
    let _reading = races::reading();
    // SAFETY: the caller's contract.
    unsafe { &*plp }.tell() as c_longlong
}

/// C: `void pmemlog_rewind(PMEMlogpool *plp)`; errno when the log cannot be written to.
///
/// # Safety
/// `plp` is an open log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_rewind(plp: *mut Pool) {
    trace!("pmemlog_rewind", "plp {plp:p}");
    let _ordered = races::alone();
    // SAFETY: the caller's contract.
    status("pmemlog_rewind", unsafe { &*plp }.rewind());
}

/// C: `int (*process_chunk)(const void *buf, size_t len, void *arg)`.
type ProcessChunk = unsafe extern "C" fn(*const c_void, usize, *mut c_void) -> c_int;

/// C: `void pmemlog_walk(PMEMlogpool *plp, size_t chunksize, process_chunk, void *arg)`.
///
/// # Safety
/// `plp` is an open log; `process_chunk` can be called with pieces of it and `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_walk(
    plp: *mut Pool,
    chunksize: usize,
    process_chunk: ProcessChunk,
    arg: *mut c_void,
) {
    trace!("pmemlog_walk", "plp {plp:p} chunksize {chunksize} arg {arg:p}");
    let mut reading = races::reading();
    // SAFETY: the caller's contract.
    unsafe { &*plp }.walk(chunksize, |piece| {
        races::call_back(&mut reading, || {
            // SAFETY: the caller's contract.
            unsafe { process_chunk(piece.as_ptr().cast(), piece.len(), arg) != 0 }
        })
    });
}

/// C: `const char *pmemlog_check_version(unsigned, unsigned)`; NULL when this library will do, else a text.
#[unsafe(no_mangle)]
pub extern "C" fn pmemlog_check_version(major: c_uint, minor: c_uint) -> *const c_char {
    trace!("pmemlog_check_version", "major {major} minor {minor}");
    check_version("libpmemlog", major, minor, set_message)
}

/// C: `void pmemlog_set_funcs(...)`; where handles get their memory.
#[unsafe(no_mangle)]
pub extern "C" fn pmemlog_set_funcs(
    malloc_func: Option<memory::Malloc>,
    free_func: Option<memory::Free>,
    _realloc_func: Option<memory::Realloc>,
    _strdup_func: Option<memory::Strdup>,
) {
    trace!("pmemlog_set_funcs", "called");
    memory::set(malloc_func, free_func);
}

/// C: `const char *pmemlog_errormsg(void)`; the text of the calling thread's last error.
#[unsafe(no_mangle)]
pub extern "C" fn pmemlog_errormsg() -> *const c_char {
    message()
}

/// C: `int pmemlog_ctl_get(pool, name, arg)`; 0, or -1 and errno.
///
/// # Safety
/// `name` is NULL or a C string; `argument` is NULL or points to an int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_ctl_get(
    _pool: *mut Pool,
    name: *const c_char,
    argument: *mut c_void,
) -> c_int {
    trace!("pmemlog_ctl_get", "name {} argument {argument:p}", c_text!(name));
    // SAFETY: the caller's contract.
    unsafe { ctl::query(Query::Get, name, argument) }
}

/// C: `int pmemlog_ctl_set(pool, name, arg)`; 0, or -1 and errno.
///
/// # Safety
/// As for `pmemlog_ctl_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_ctl_set(
    _pool: *mut Pool,
    name: *const c_char,
    argument: *mut c_void,
) -> c_int {
    trace!("pmemlog_ctl_set", "name {} argument {argument:p}", c_text!(name));
    // SAFETY: the caller's contract.
    unsafe { ctl::query(Query::Set, name, argument) }
}

/// C: `int pmemlog_ctl_exec(pool, name, arg)`; -1 and errno: no entry can be executed.
///
/// # Safety
/// As for `pmemlog_ctl_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemlog_ctl_exec(
    _pool: *mut Pool,
    name: *const c_char,
    argument: *mut c_void,
) -> c_int {
    trace!("pmemlog_ctl_exec", "name {} argument {argument:p}", c_text!(name));
    // SAFETY: the caller's contract.
    unsafe { ctl::query(Query::Exec, name, argument) }
}
