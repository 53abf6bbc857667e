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
use pmemblk::{Access, Error, Options, PmemBlk};
use pool_format::{CreateOptions, OpenOptions};

/// What a handle points to.
type Pool = PmemBlk;

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = configure;

extern "C" fn configure() {
    log::start();
    ctl::configure("libpmemblk", "PMEMBLK_CONF", "PMEMBLK_CONF_FILE");
}

/// 0, or -1 with errno.
fn status(pool: &Pool, block: c_longlong, result: Result<(), Error>) -> c_int {
    let Err(error) = result else { return 0 };
    match error.errno() {
        Errno::EINVAL if block < 0 => fail(Errno::EINVAL, format_args!("negative block number")),
        Errno::EINVAL => {
            fail(Errno::EINVAL, format_args!("lba out of range (nlba {})", pool.block_count()))
        }
        _ => fail_with(&error),
    }
}

/// Options for opening with a block size, 0 for any; `None` for one that no pool has.
fn options_to_open(bsize: usize, open: OpenOptions) -> Option<Options> {
    let options = Options::with(CreateOptions::default(), open);
    match u32::try_from(bsize) {
        Ok(0) => Some(options),
        Ok(bsize) => Some(options.block_size(bsize)),
        Err(_) => None,
    }
}

fn bad_size<T>(bsize: usize, value: T) -> T {
    fail(Errno::EINVAL, format_args!("Invalid block size {bsize}"));
    value
}

/// C: `PMEMblkpool *pmemblk_create(const char *path, size_t bsize, size_t poolsize, mode_t mode)`; NULL and errno on
/// failure.
///
/// # Safety
/// `path_` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_create(
    path_: *const c_char,
    bsize: usize,
    poolsize: usize,
    mode: libc::mode_t,
) -> *mut Pool {
    trace!(
        "pmemblk_create",
        "path {} bsize {bsize} poolsize {poolsize} mode {mode}",
        c_text!(path_)
    );
    // SAFETY: the caller's contract.
    let Some(path) = (unsafe { path(path_) }) else { return no_path(ptr::null_mut()) };
    let Some(block_size) = u32::try_from(bsize).ok().filter(|&bsize| bsize != 0) else {
        return bad_size(bsize, ptr::null_mut());
    };
    let options = Options::with(create_options(mode), OpenOptions::default());
    handle(|| match poolsize {
        0 => options.create_in(path, block_size),
        size => options.create(path, block_size, size as u64),
    })
}

/// C: `PMEMblkpool *pmemblk_open(const char *path, size_t bsize)`; NULL and errno on failure.
///
/// # Safety
/// `path_` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_open(path_: *const c_char, bsize: usize) -> *mut Pool {
    trace!("pmemblk_open", "path {} bsize {bsize}", c_text!(path_));
    // SAFETY: the caller's contract.
    let Some(path) = (unsafe { path(path_) }) else { return no_path(ptr::null_mut()) };
    let Some(options) = options_to_open(bsize, open_options()) else {
        return bad_size(bsize, ptr::null_mut());
    };
    handle(|| options.open(path))
}

/// C: `int pmemblk_check(const char *path, size_t bsize)`; 1 consistent, 0 not, -1 and errno when the pool cannot be
/// opened.
///
/// # Safety
/// `path_` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_check(path_: *const c_char, bsize: usize) -> c_int {
    trace!("pmemblk_check", "path {} bsize {bsize}", c_text!(path_));
    // SAFETY: the caller's contract.
    let Some(path) = (unsafe { path(path_) }) else { return no_path(-1) };
    let open = OpenOptions { access: Access::ReadOnly, ..open_options() };
    let Some(options) = options_to_open(bsize, open) else { return bad_size(bsize, -1) };
    match options.open(path).and_then(|pool| pool.is_consistent()) {
        Ok(consistent) => consistent.into(),
        Err(error) => fail_with(&error),
    }
}

/// C: `void pmemblk_close(PMEMblkpool *pbp)`.
///
/// # Safety
/// `pbp` is NULL or an open pool, which is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_close(pbp: *mut Pool) {
    trace!("pmemblk_close", "pbp {pbp:p}");
    if let Some(handle) = NonNull::new(pbp) {
        // SAFETY: the caller's contract.
        unsafe { memory::end_handle(handle) };
    }
}

/// C: `size_t pmemblk_bsize(PMEMblkpool *pbp)`.
///
/// # Safety
/// `pbp` is an open pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_bsize(pbp: *mut Pool) -> usize {
    trace!("pmemblk_bsize", "pbp {pbp:p}");
    // SAFETY: the caller's contract.
    unsafe { &*pbp }.block_size() as usize
}

/// C: `size_t pmemblk_nblock(PMEMblkpool *pbp)`.
///
/// # Safety
/// `pbp` is an open pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_nblock(pbp: *mut Pool) -> usize {
    trace!("pmemblk_nblock", "pbp {pbp:p}");
    // SAFETY: the caller's contract.
    unsafe { &*pbp }.block_count() as usize
}

/// C: `int pmemblk_read(PMEMblkpool *pbp, void *buf, long long blockno)`; 0, or -1 and errno.
///
/// # Safety
/// `pbp` is an open pool, `buf` writable for a block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_read(
    pbp: *mut Pool,
    buf: *mut c_void,
    blockno: c_longlong,
) -> c_int {
    trace!("pmemblk_read", "pbp {pbp:p} buf {buf:p} blockno {blockno}");
    let _ordered = races::alone();
    // SAFETY: the caller's contract.
    let pool = unsafe { &*pbp };
    // SAFETY: the caller's contract. What is in the buffer is never looked at.
    let buffer =
        unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), pool.block_size() as usize) };
    status(pool, blockno, pool.read(blockno as u64, buffer))
}

/// C: `int pmemblk_write(PMEMblkpool *pbp, const void *buf, long long blockno)`; 0, or -1 and errno.
///
/// # Safety
/// `pbp` is an open pool, `buf` readable for a block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_write(
    pbp: *mut Pool,
    buf: *const c_void,
    blockno: c_longlong,
) -> c_int {
    trace!("pmemblk_write", "pbp {pbp:p} buf {buf:p} blockno {blockno}");
    let _ordered = races::alone();
    // SAFETY: the caller's contract.
    let pool = unsafe { &*pbp };
    // SAFETY: the caller's contract.
    let data = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), pool.block_size() as usize) };
    status(pool, blockno, pool.write(blockno as u64, data))
}

/// C: `int pmemblk_set_zero(PMEMblkpool *pbp, long long blockno)`; 0, or -1 and errno.
///
/// # Safety
/// `pbp` is an open pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_set_zero(pbp: *mut Pool, blockno: c_longlong) -> c_int {
    trace!("pmemblk_set_zero", "pbp {pbp:p} blockno {blockno}");
    let _ordered = races::alone();
    // SAFETY: the caller's contract.
    let pool = unsafe { &*pbp };
    status(pool, blockno, pool.set_zero(blockno as u64))
}

/// C: `int pmemblk_set_error(PMEMblkpool *pbp, long long blockno)`; 0, or -1 and errno.
///
/// # Safety
/// `pbp` is an open pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_set_error(pbp: *mut Pool, blockno: c_longlong) -> c_int {
    trace!("pmemblk_set_error", "pbp {pbp:p} blockno {blockno}");
    let _ordered = races::alone();
    // SAFETY: the caller's contract.
    let pool = unsafe { &*pbp };
    status(pool, blockno, pool.set_error(blockno as u64))
}

/// C: `const char *pmemblk_check_version(unsigned, unsigned)`; NULL when this library will do, else a text.
#[unsafe(no_mangle)]
pub extern "C" fn pmemblk_check_version(major: c_uint, minor: c_uint) -> *const c_char {
    trace!("pmemblk_check_version", "major {major} minor {minor}");
    check_version("libpmemblk", major, minor, set_message)
}

/// C: `void pmemblk_set_funcs(...)`; where handles get their memory.
#[unsafe(no_mangle)]
pub extern "C" fn pmemblk_set_funcs(
    malloc_func: Option<memory::Malloc>,
    free_func: Option<memory::Free>,
    _realloc_func: Option<memory::Realloc>,
    _strdup_func: Option<memory::Strdup>,
) {
    trace!("pmemblk_set_funcs", "called");
    memory::set(malloc_func, free_func);
}

/// C: `const char *pmemblk_errormsg(void)`; the text of the calling thread's last error.
#[unsafe(no_mangle)]
pub extern "C" fn pmemblk_errormsg() -> *const c_char {
    message()
}

/// C: `int pmemblk_ctl_get(pool, name, arg)`; 0, or -1 and errno.
///
/// # Safety
/// `name` is NULL or a C string; `argument` is NULL or points to an int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_ctl_get(
    _pool: *mut Pool,
    name: *const c_char,
    argument: *mut c_void,
) -> c_int {
    trace!("pmemblk_ctl_get", "name {} argument {argument:p}", c_text!(name));
    // SAFETY: the caller's contract.
    unsafe { ctl::query(Query::Get, name, argument) }
}

/// C: `int pmemblk_ctl_set(pool, name, arg)`; 0, or -1 and errno.
///
/// # Safety
/// As for `pmemblk_ctl_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_ctl_set(
    _pool: *mut Pool,
    name: *const c_char,
    argument: *mut c_void,
) -> c_int {
    trace!("pmemblk_ctl_set", "name {} argument {argument:p}", c_text!(name));
    // SAFETY: the caller's contract.
    unsafe { ctl::query(Query::Set, name, argument) }
}

/// C: `int pmemblk_ctl_exec(pool, name, arg)`; -1 and errno: no entry can be executed.
///
/// # Safety
/// As for `pmemblk_ctl_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmemblk_ctl_exec(
    _pool: *mut Pool,
    name: *const c_char,
    argument: *mut c_void,
) -> c_int {
    trace!("pmemblk_ctl_exec", "name {} argument {argument:p}", c_text!(name));
    // SAFETY: the caller's contract.
    unsafe { ctl::query(Query::Exec, name, argument) }
}
