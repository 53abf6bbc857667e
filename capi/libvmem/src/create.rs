//! Making and deleting pools: the checks in the order of the contract, with its texts.

use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use pmem_core::align::checked_align_up;
use pmem_core::dax;
use pmem_core::env;
use pmem_core::errno::Errno;
use pmem_core::error::Error;
use pmem_core::log_line;
use pmem_core::source::Source;
use pmem_core::sys::{self, Access, Fd, OpenFlags, Protection};
use vmem_engine::config::{MAX_POOL_BYTES, MIN_POOL_BYTES};
use vmem_engine::{Pool, PoolOptions, memcheck};

use crate::functions;
use crate::log::log_text;
use crate::message::{self, Part};
use crate::pools::{self, Entry, Medium};

/// Bytes at the start of a pool that nobody can touch: the handle.
const HANDLE_BYTES: usize = 4096;

/// Tells errno and the text `<what>: <text of errno>`.
#[cold]
fn fail(errno: Errno, what: &str) -> Option<NonNull<u8>> {
    let text = message::set_with_errno(errno, format_args!("{what}"));
    log_text!("vmem_create", text);
    None
}

/// Tells errno and the text alone.
#[cold]
fn refuse(errno: Errno, text: core::fmt::Arguments<'_>) -> Option<NonNull<u8>> {
    errno.set();
    let text = message::set(text);
    log_text!("vmem_create", text);
    None
}

/// `vmem_create`: a pool in a directory, or on a whole DAX device. Gives the handle.
pub(crate) fn in_place(place: Option<&CStr>, size: usize) -> Option<NonNull<u8>> {
    let _quiet = memcheck::quiet();
    if size < MIN_POOL_BYTES {
        return refuse(Errno::EINVAL, format_args!("size {size} smaller than {MIN_POOL_BYTES}"));
    }
    let Some(place) = place else {
        return refuse(Errno::EINVAL, format_args!("invalid (NULL) path"));
    };
    match look_at(place) {
        Ok(Found::Other) => in_directory(place, size),
        Ok(Found::Dax) => on_device(place),
        Ok(Found::OtherDevice) => {
            // Without a text, as in the contract.
            Errno::EINVAL.set();
            None
        }
        Err(errno) => {
            errno.set();
            let text = message::set_parts(&[
                Part::Text(format_args!("os_access \"")),
                Part::Bytes(place.to_bytes()),
                Part::Text(format_args!("\": {errno}")),
            ]);
            log_text!("vmem_create", text);
            None
        }
    }
}

enum Found {
    Dax,
    OtherDevice,
    /// A directory, something that will turn out to be none, or nothing.
    Other,
}

fn look_at(place: &CStr) -> Result<Found, Errno> {
    match sys::open_at(Fd::CURRENT_DIRECTORY, place, OpenFlags::new(Access::Path)) {
        Ok(fd) => {
            let status = sys::file_status(fd);
            // SAFETY: opened above.
            unsafe { sys::close(fd) };
            Ok(match status {
                Ok(status) if status.is_character_device() => match dax::describe(&status) {
                    Ok(Some(_)) => Found::Dax,
                    _ => Found::OtherDevice,
                },
                _ => Found::Other,
            })
        }
        // Told by whoever opens it next.
        Err(Errno::ENOENT | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => Ok(Found::Other),
        Err(errno) => Err(errno),
    }
}

/// Whether a variable of ours has a value.
fn is_set(variable: &'static CStr, value: &CStr) -> bool {
    !sys::is_secure() && env::get(variable) == Some(value)
}

fn in_directory(directory: &CStr, size: usize) -> Option<NonNull<u8>> {
    const ALLOCATE: &str = "posix_fallocate";
    let page = sys::page_size();
    // Rounding may wrap to nothing, which the file system would refuse.
    let len = checked_align_up(size, page).unwrap_or(0);
    if libc::off_t::try_from(len).is_err() {
        return refuse(Errno::EFBIG, format_args!("invalid size ({size}) for os_off_t"));
    }
    let possible = (1..=MAX_POOL_BYTES).contains(&len);
    // A directory that cannot be used is told first in any case.
    let source = match Source::in_directory(directory, if possible { len } else { page }) {
        Ok(source) => source,
        Err(Error { operation: "ftruncate", errno }) => return fail(errno, ALLOCATE),
        Err(Error { operation: "mmap", errno }) => {
            return refuse(errno, format_args!("mmap {len} bytes: {errno}"));
        }
        Err(error) => return fail(error.errno, error.operation),
    };
    if cfg!(feature = "log")
        && let Some(name) = source.former_name(&mut [0; 1024])
    {
        log_line!(3, "util_tmpfile_mkstemp", "unlinked file is \"{}\"", name.escape_ascii());
    }
    if !possible {
        return fail(if len == 0 { Errno::EINVAL } else { Errno::EFBIG }, ALLOCATE);
    }
    let lazy = is_set(c"VMEM_SPACE", c"lazy");
    let options = PoolOptions {
        prealloc: !lazy,
        head_bytes: HANDLE_BYTES,
        thread_caches: !memcheck::is_on(),
        ..PoolOptions::default()
    };
    enter(source, &options, Medium::File, !lazy)
}

fn on_device(device: &CStr) -> Option<NonNull<u8>> {
    match Source::device_dax(device) {
        Ok(source) => {
            let options = PoolOptions {
                // So that no block has the address of the handle.
                head_bytes: HANDLE_BYTES,
                thread_caches: !memcheck::is_on(),
                ..PoolOptions::default()
            };
            enter(source, &options, Medium::Device, false)
        }
        Err(error) => fail(error.errno, error.operation),
    }
}

/// `vmem_create_in_region`. Gives the handle, which is the address.
///
/// # Safety
/// The range is readable and writable and nobody else uses it as long as the pool lives.
pub(crate) unsafe fn in_region(address: *mut u8, size: usize) -> Option<NonNull<u8>> {
    let _quiet = memcheck::quiet();
    let page = sys::page_size();
    if !address.addr().is_multiple_of(page) {
        return refuse(
            Errno::EINVAL,
            format_args!("addr {address:p} not aligned to pagesize {page}"),
        );
    }
    if size < MIN_POOL_BYTES {
        return refuse(Errno::EINVAL, format_args!("size {size} smaller than {MIN_POOL_BYTES}"));
    }
    let Some(address) = NonNull::new(address) else {
        return refuse(Errno::EINVAL, format_args!("invalid (NULL) addr"));
    };
    // SAFETY: contract.
    match unsafe { Source::caller_region(address, size.min(MAX_POOL_BYTES)) } {
        Ok(source) => {
            let options = PoolOptions {
                head_bytes: HANDLE_BYTES,
                thread_caches: !memcheck::is_on(),
                ..PoolOptions::default()
            };
            enter(source, &options, Medium::Region, false)
        }
        Err(error) => failed(error.errno),
    }
}

#[cold]
fn failed(errno: Errno) -> Option<NonNull<u8>> {
    refuse(errno, format_args!("pool creation failed"))
}

/// Makes the pool and enters it.
fn enter(
    source: Source,
    options: &PoolOptions,
    medium: Medium,
    close: bool,
) -> Option<NonNull<u8>> {
    let base = source.base();
    let mut list = pools::lock();
    if let Some(stale) = pools::find(base.as_ptr().addr()) {
        // The range of a file or device cannot be the caller's to give.
        if stale.medium() != Medium::Region {
            drop(list);
            return failed(Errno::EINVAL);
        }
        // The caller has unmapped a region without deleting its pool, and mapped another one there.
        // SAFETY: nobody uses a pool whose handle is given to another.
        let (pool, books) = unsafe { take(&mut list, stale) };
        drop(pool);
        drop(list);
        functions::release(books);
        list = pools::lock();
    }
    let pool = match Pool::create(source, options) {
        Ok(pool) => pool,
        Err(error) => {
            drop(list);
            return match error.operation {
                "posix_fallocate" => fail(error.errno, error.operation),
                _ => failed(error.errno),
            };
        }
    };
    if close {
        // There may be more pools than descriptors, and the space is there.
        pool.source().close_descriptors();
    }
    // A region is the caller's, who may want it there.
    if medium != Medium::Region && !is_set(c"VMEM_DUMP", c"1") {
        pool.source().dont_dump(true);
    }
    if medium != Medium::Device {
        // A region of huge pages refuses: then the handle can be touched, and nothing else is different.
        // SAFETY: the first page is in no block, and the engine never touches it.
        let _ = unsafe { sys::protect(base, HANDLE_BYTES, Protection::None) };
    }
    memcheck::pool_made(&pool);
    let direct = !functions::keeps_books() && !memcheck::is_on();
    match list.insert(pool, medium, direct) {
        Ok(_) => Some(base),
        Err(pool) => {
            drop(pool);
            drop(list);
            failed(Errno::ENOMEM)
        }
    }
}

/// Takes a pool out of the table, with the memory for its books.
///
/// # Safety
/// Nobody uses the pool any more.
unsafe fn take(list: &mut pools::List, entry: &'static Entry) -> (Pool, *mut u8) {
    let books = entry.bookkeeping.load(Relaxed);
    // SAFETY: contract.
    (unsafe { list.remove(entry) }, books)
}

/// `vmem_delete`. False when there is no such pool.
///
/// # Safety
/// Nobody uses the pool or a block of it any more.
pub(crate) unsafe fn delete(handle: usize) -> bool {
    let _quiet = memcheck::quiet();
    let mut list = pools::lock();
    let Some(entry) = pools::find(handle) else { return false };
    let (medium, (base, _)) = (entry.medium(), entry.range());
    if medium == Medium::Region {
        // SAFETY: the caller's own page, given back as the contract says.
        let _ = unsafe { sys::protect(base, HANDLE_BYTES, Protection::ReadWrite) };
    }
    let keep = entry.watch.pool_goes(entry.pool(), medium == Medium::Region);
    // SAFETY: contract.
    let (pool, books) = unsafe { take(&mut list, entry) };
    if keep {
        memcheck::bury(pool);
    } else {
        drop(pool);
    }
    drop(list);
    functions::release(books);
    true
}
