//! Making the pool: the checks in the order of the contract, with its texts.

use crate::handle::{Handle, MIN_EXTENT, MIN_POOL, Settings};
use pmem_core::dax::{self, DaxDevice};
use pmem_core::errno::Errno;
use pmem_core::sys::{self, Access, Fd, OpenFlags};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use vmemcache::{Builder, Cache, Error};

/// `vmemcache_add` on a handle: gives 0, or -1 after telling why.
pub(crate) fn add(handle: &Handle, path: Option<&CStr>) -> i32 {
    let settings = &handle.settings;
    if handle.cache.get().is_some() {
        return refuse!("vmemcache_add", Errno::EBUSY, "the cache has its pool");
    }
    let extent = settings.extent.get();
    if let Some(size) = settings.size.get()
        && extent > size
    {
        return refuse!(
            "vmemcache_add",
            Errno::EINVAL,
            "extent size {extent} larger than the cache's size {size}"
        );
    }
    let Some(path) = path else {
        return refuse!("vmemcache_add", Errno::EINVAL, "invalid (NULL) path");
    };
    let made = match look_at(path) {
        Found::Other => in_directory(settings, path),
        Found::Dax(device) => {
            let most = usize::try_from(device.size).unwrap_or(usize::MAX);
            if let Some(size) = settings.size.get()
                && size > most
            {
                return refuse!(
                    "vmemcache_add",
                    Errno::EINVAL,
                    "size {size} larger than the device's size {most}"
                );
            }
            on_device(settings, path, most)
        }
        Found::OtherDevice => {
            return refuse!("vmemcache_add", Errno::EINVAL, "the path is no DAX device");
        }
    };
    match made {
        Ok(cache) => {
            // All space was taken: the mapping is enough.
            cache.close_file();
            cache.set_listener(handle.listener());
            // Callers serialise this: nobody was faster.
            let _ = handle.cache.set(cache);
            0
        }
        Err(error) => {
            let errno = Errno(error.errno());
            match error.operation() {
                Some(operation) => refuse!("vmemcache_add", errno, "{operation}: {errno}"),
                None => refuse!("vmemcache_add", errno, "{error}"),
            }
        }
    }
}

enum Found {
    Dax(DaxDevice),
    OtherDevice,
    /// A directory, something that will turn out to be none, or nothing.
    Other,
}

fn look_at(path: &CStr) -> Found {
    let flags = OpenFlags::new(Access::Path);
    // What cannot be opened is told by whoever opens it next.
    let Ok(fd) = sys::open_at(Fd::CURRENT_DIRECTORY, path, flags) else { return Found::Other };
    let status = sys::file_status(fd);
    // SAFETY: opened above.
    unsafe { sys::close(fd) };
    match status {
        Ok(status) if status.is_character_device() => match dax::describe(&status) {
            Ok(Some(device)) => Found::Dax(device),
            _ => Found::OtherDevice,
        },
        _ => Found::Other,
    }
}

/// What an entry takes at least, in bytes, when no larger extents are wanted: so that one small entry makes room for
/// another of any small size.
const SMALL_ENTRY: usize = 128;

fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// What the settings mean for a pool of this size in bytes.
fn builder(settings: &Settings, size: usize) -> Builder {
    let (extent, least) = match settings.extent.get() {
        // Nobody wants large ones.
        MIN_EXTENT => (1, SMALL_ENTRY),
        // Without a size that was set an extent may be larger than the pool.
        extent => (extent.min(size), 1),
    };
    Cache::builder()
        .size(size)
        .replacement(settings.replacement.get())
        .extent_size(extent)
        .least_entry(least)
        .shards(1)
        .exact_space(true)
        .empty_keys(true)
}

fn in_directory(settings: &Settings, path: &CStr) -> Result<Cache, Error> {
    builder(settings, settings.size.get().unwrap_or(MIN_POOL)).in_directory(as_path(path))
}

fn on_device(settings: &Settings, path: &CStr, most: usize) -> Result<Cache, Error> {
    builder(settings, settings.size.get().unwrap_or(most)).on_device(as_path(path))
}
