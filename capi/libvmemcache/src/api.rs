//! The exported functions, in the order of the header: convert, call, map the error. Nothing else.

use crate::add;
use crate::handle::{Callback, Handle, MIN_EXTENT, MIN_POOL, SIZE_LIMIT};
use crate::pending::{self, Wish};
use crate::races;
use libc::{size_t, ssize_t};
use pmem_capi_shared::set_message;
use pmem_core::errno::Errno;
use std::alloc::{Layout, alloc};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::slice;
use std::sync::atomic::Ordering::Relaxed;
use vmemcache::policy::Kind;
use vmemcache::{Cache, Replacement};

/// Ordinary memory for one entry: its slot, its part of the index, its links in the order.
const ENTRY_DRAM_BYTES: u64 = 24;

/// The handle behind a pointer of the caller.
///
/// # Safety
/// NULL, or from `vmemcache_new` and not deleted.
#[inline]
unsafe fn given<'h>(handle: *mut Handle) -> Option<&'h Handle> {
    // SAFETY: contract.
    unsafe { handle.as_ref() }
}

/// The handle and its cache, if it has its pool.
///
/// # Safety
/// As [`given`].
#[inline]
unsafe fn ready<'h>(handle: *mut Handle) -> Option<(&'h Handle, &'h Cache)> {
    // SAFETY: contract.
    let handle = unsafe { given(handle) }?;
    handle.cache.get().map(|cache| (handle, cache))
}

/// Bytes of the caller; none when there should be some and the address is NULL, or no memory has so many.
///
/// # Safety
/// At the address are as many bytes as it says, or it is NULL.
#[inline]
unsafe fn bytes<'b>(start: *const c_void, len: size_t) -> Option<&'b [u8]> {
    if start.is_null() {
        return (len == 0).then_some(&[]);
    }
    // SAFETY: contract, and no object is larger.
    (len <= isize::MAX as usize).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}

macro_rules! no_handle {
    ($function:literal) => {
        return refuse!($function, Errno::EINVAL, "invalid (NULL) cache")
    };
}

macro_rules! not_ready {
    ($function:literal) => {
        return refuse!($function, Errno::EINVAL, "the cache has no pool yet") as _
    };
}

macro_rules! no_key {
    ($function:literal) => {
        return refuse!($function, Errno::EINVAL, "invalid (NULL) key") as _
    };
}

/// Makes a handle.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmemcache_new() -> *mut Handle {
    races::look();
    trace!("vmemcache_new", "");
    // Not by a box: that would end the program when there is no memory.
    // SAFETY: it has a size.
    let place = unsafe { alloc(Layout::new::<Handle>()) }.cast::<Handle>();
    if place.is_null() {
        refuse!("vmemcache_new", Errno::ENOMEM, "malloc: {}", Errno::ENOMEM);
    } else {
        // SAFETY: fresh, of the right size and alignment.
        unsafe { place.write(Handle::new()) };
    }
    place
}

/// Deletes a cache. No callback is called.
///
/// # Safety
/// Nobody uses the handle, which is from `vmemcache_new` or NULL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_delete(cache: *mut Handle) {
    trace!("vmemcache_delete", "cache {cache:p}");
    if !cache.is_null() {
        // SAFETY: made in the way that boxes are, and not used by anybody else.
        drop(unsafe { Box::from_raw(cache) });
    }
}

/// Chooses what is evicted.
///
/// # Safety
/// A handle or NULL, which no other thread sets up.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_set_eviction_policy(
    cache: *mut Handle,
    repl_p: c_int,
) -> c_int {
    trace!("vmemcache_set_eviction_policy", "cache {cache:p} policy {repl_p}");
    // SAFETY: contract.
    let Some(handle) = (unsafe { given(cache) }) else {
        no_handle!("vmemcache_set_eviction_policy")
    };
    if handle.cache.get().is_some() {
        return refuse!(
            "vmemcache_set_eviction_policy",
            Errno::EALREADY,
            "the policy cannot be changed: the cache has its pool"
        );
    }
    handle.settings.replacement.set(match repl_p {
        0 => Replacement::None,
        1 => Replacement::Policy(Kind::Lru),
        _ => {
            return refuse!(
                "vmemcache_set_eviction_policy",
                Errno::EINVAL,
                "unknown eviction policy {repl_p}"
            );
        }
    });
    0
}

/// Sets the size of the pool.
///
/// # Safety
/// As `vmemcache_set_eviction_policy`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_set_size(cache: *mut Handle, size: size_t) -> c_int {
    trace!("vmemcache_set_size", "cache {cache:p} size {size}");
    // SAFETY: contract.
    let Some(handle) = (unsafe { given(cache) }) else { no_handle!("vmemcache_set_size") };
    if handle.cache.get().is_some() {
        return refuse!(
            "vmemcache_set_size",
            Errno::EALREADY,
            "the size cannot be changed: the cache has its pool"
        );
    }
    if size < MIN_POOL {
        return refuse!("vmemcache_set_size", Errno::EINVAL, "size {size} smaller than {MIN_POOL}");
    }
    if size >= SIZE_LIMIT {
        return refuse!("vmemcache_set_size", Errno::EINVAL, "size {size} not below {SIZE_LIMIT}");
    }
    handle.settings.size.set(Some(size));
    0
}

/// Sets the unit in which values take space.
///
/// # Safety
/// As `vmemcache_set_eviction_policy`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_set_extent_size(
    cache: *mut Handle,
    extent_size: size_t,
) -> c_int {
    trace!("vmemcache_set_extent_size", "cache {cache:p} extent_size {extent_size}");
    // SAFETY: contract.
    let Some(handle) = (unsafe { given(cache) }) else { no_handle!("vmemcache_set_extent_size") };
    if handle.cache.get().is_some() {
        return refuse!(
            "vmemcache_set_extent_size",
            Errno::EALREADY,
            "the extent size cannot be changed: the cache has its pool"
        );
    }
    if extent_size < MIN_EXTENT {
        return refuse!(
            "vmemcache_set_extent_size",
            Errno::EINVAL,
            "extent size {extent_size} smaller than {MIN_EXTENT}"
        );
    }
    handle.settings.extent.set(extent_size);
    0
}

/// Makes the pool.
///
/// # Safety
/// As `vmemcache_set_eviction_policy`; the path is a C string or NULL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_add(cache: *mut Handle, path: *const c_char) -> c_int {
    // SAFETY: contract.
    let path = (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) });
    trace!("vmemcache_add", "cache {cache:p} path {path:?}");
    // SAFETY: contract.
    let Some(handle) = (unsafe { given(cache) }) else { no_handle!("vmemcache_add") };
    add::add(handle, path)
}

/// Registers what is called before entries leave.
///
/// # Safety
/// A handle or NULL, which no other thread uses; a function that can be called with these arguments.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_callback_on_evict(
    cache: *mut Handle,
    evict: Option<Callback>,
    arg: *mut c_void,
) {
    trace!("vmemcache_callback_on_evict", "cache {cache:p} evict {evict:?} arg {arg:p}");
    // SAFETY: contract.
    if let Some(handle) = unsafe { given(cache) } {
        handle.listen(evict, arg);
    }
}

/// Registers what is called when a get finds nothing.
///
/// # Safety
/// As `vmemcache_callback_on_evict`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_callback_on_miss(
    cache: *mut Handle,
    miss: Option<Callback>,
    arg: *mut c_void,
) {
    trace!("vmemcache_callback_on_miss", "cache {cache:p} miss {miss:?} arg {arg:p}");
    // SAFETY: contract.
    if let Some(handle) = unsafe { given(cache) } {
        handle.on_miss.set(miss, arg);
    }
}

/// Copies a value, or a part of it.
///
/// # Safety
/// A handle or NULL; a key of that length; a buffer with that much room, or as much as the part needs, or NULL; a place for
/// the size or NULL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_get(
    cache: *mut Handle,
    key: *const c_void,
    key_size: size_t,
    vbuf: *mut c_void,
    vbufsize: size_t,
    offset: size_t,
    vsize: *mut size_t,
) -> ssize_t {
    trace!(
        "vmemcache_get",
        "cache {cache:p} key {key:p} key_size {key_size} vbuf {vbuf:p} vbufsize {vbufsize} offset {offset}"
    );
    // SAFETY: contract.
    let Some((handle, cache)) = (unsafe { ready(cache) }) else { not_ready!("vmemcache_get") };
    // SAFETY: contract.
    let Some(key) = (unsafe { bytes(key, key_size) }) else { no_key!("vmemcache_get") };
    let wish =
        Wish { buffer: vbuf.cast(), room: if vbuf.is_null() { 0 } else { vbufsize }, offset };
    if !handle.is_plain() {
        // SAFETY: as in the contract.
        return unsafe { get_partly(handle, cache, key, wish, vsize) };
    }
    // SAFETY: the buffer has room for what is copied.
    match unsafe { cache.read_raw(key, wish.buffer, wish.room, wish.offset) } {
        Some(read) => {
            if !vsize.is_null() {
                // SAFETY: contract.
                unsafe { vsize.write(read.size) };
            }
            read.copied as ssize_t
        }
        // SAFETY: as in the contract.
        None => unsafe { missed(handle, key, wish, vsize) },
    }
}

/// A get that has found nothing.
///
/// # Safety
/// As `vmemcache_get`.
#[cold]
unsafe fn missed(handle: &Handle, key: &[u8], wish: Wish, vsize: *mut size_t) -> ssize_t {
    if let Some(call) = handle.on_miss.call(handle, key) {
        // SAFETY: contract.
        if let Some(satisfied) = unsafe { pending::ask(key, wish, call) } {
            if !vsize.is_null() {
                // SAFETY: contract.
                unsafe { vsize.write(satisfied.size) };
            }
            return satisfied.copied as ssize_t;
        }
    }
    // Without a text: that would cost more than the rest of a miss.
    Errno::ENOENT.set();
    -1
}

/// A get while a switch of benchmarks is on.
///
/// # Safety
/// As `vmemcache_get`.
#[cold]
unsafe fn get_partly(
    handle: &Handle,
    cache: &Cache,
    key: &[u8],
    wish: Wish,
    vsize: *mut size_t,
) -> ssize_t {
    match cache.read(key, &mut [], 0) {
        // SAFETY: contract.
        None => unsafe { missed(handle, key, wish, vsize) },
        Some(_) if handle.index_only.load(Relaxed) => 0,
        Some(read) => {
            if !vsize.is_null() {
                // SAFETY: contract.
                unsafe { vsize.write(read.size) };
            }
            wish.count(read.size) as ssize_t
        }
    }
}

/// Tells whether there is an entry.
///
/// # Safety
/// A handle or NULL; a key of that length; a place for the size or NULL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_exists(
    cache: *mut Handle,
    key: *const c_void,
    key_size: size_t,
    vsize: *mut size_t,
) -> c_int {
    trace!("vmemcache_exists", "cache {cache:p} key {key:p} key_size {key_size}");
    // SAFETY: contract.
    let Some((_, cache)) = (unsafe { ready(cache) }) else { not_ready!("vmemcache_exists") };
    // SAFETY: contract.
    let Some(key) = (unsafe { bytes(key, key_size) }) else { no_key!("vmemcache_exists") };
    let Some(size) = cache.size_of(key) else { return 0 };
    if !vsize.is_null() {
        // SAFETY: contract.
        unsafe { vsize.write(size) };
    }
    1
}

/// Stores a value under a key that has none.
///
/// # Safety
/// A handle or NULL; a key and a value of these lengths.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_put(
    cache: *mut Handle,
    key: *const c_void,
    key_size: size_t,
    value: *const c_void,
    value_size: size_t,
) -> c_int {
    trace!(
        "vmemcache_put",
        "cache {cache:p} key {key:p} key_size {key_size} value_size {value_size}"
    );
    // SAFETY: contract.
    let Some((handle, cache)) = (unsafe { ready(cache) }) else { not_ready!("vmemcache_put") };
    // SAFETY: contract.
    let Some(key) = (unsafe { bytes(key, key_size) }) else { no_key!("vmemcache_put") };
    // SAFETY: contract.
    let value = match unsafe { bytes(value, value_size) } {
        Some(value) => value,
        None if value.is_null() => {
            return refuse!("vmemcache_put", Errno::EINVAL, "invalid (NULL) value");
        }
        None => return too_large(cache, value_size),
    };
    let no_memcpy = !handle.is_plain() && handle.no_memcpy.load(Relaxed);
    pending::satisfy(key, value, !no_memcpy);
    if value_size > cache.pool_bytes() {
        return too_large(cache, value_size);
    }
    let index_only = !handle.is_plain() && handle.index_only.load(Relaxed);
    let value = if index_only { &[] } else { value };
    match cache.put_if_absent(key, value) {
        Ok(true) => 0,
        Ok(false) => refuse!("vmemcache_put", Errno::EEXIST, "put: the key is there"),
        Err(error) => refuse!("vmemcache_put", Errno(error.errno()), "put: {error}"),
    }
}

#[cold]
fn too_large(cache: &Cache, size: usize) -> c_int {
    let pool = cache.pool_bytes();
    refuse!("vmemcache_put", Errno::ENOSPC, "value of {size} bytes larger than the pool of {pool}")
}

/// Evicts an entry, or the least recently used one.
///
/// # Safety
/// A handle or NULL; a key of that length, or NULL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_evict(
    cache: *mut Handle,
    key: *const c_void,
    ksize: size_t,
) -> c_int {
    trace!("vmemcache_evict", "cache {cache:p} key {key:p} ksize {ksize}");
    // SAFETY: contract.
    let Some((handle, cache)) = (unsafe { ready(cache) }) else { not_ready!("vmemcache_evict") };
    if !handle.is_plain() && handle.index_only.load(Relaxed) {
        return refuse!("vmemcache_evict", Errno::ESRCH, "evict: only the index is used");
    }
    if key.is_null() {
        return if cache.evict_next() {
            0
        } else {
            refuse!("vmemcache_evict", Errno::ESRCH, "evict: nothing to evict")
        };
    }
    // SAFETY: contract.
    match unsafe { bytes(key, ksize) } {
        Some(key) if cache.remove_unless_leaving(key) => 0,
        _ => refuse!("vmemcache_evict", Errno::ENOENT, "evict: no entry with this key"),
    }
}

/// Tells a statistic.
///
/// # Safety
/// A handle or NULL; a place with that many bytes or NULL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_get_stat(
    cache: *mut Handle,
    stat: c_int,
    value: *mut c_void,
    value_size: size_t,
) -> c_int {
    trace!("vmemcache_get_stat", "cache {cache:p} stat {stat}");
    // SAFETY: contract.
    let Some((_, cache)) = (unsafe { ready(cache) }) else { not_ready!("vmemcache_get_stat") };
    if value_size != size_of::<u64>() {
        return refuse!(
            "vmemcache_get_stat",
            Errno::EINVAL,
            "statistics have {} bytes, not {value_size}",
            size_of::<u64>()
        );
    }
    if value.is_null() {
        return refuse!("vmemcache_get_stat", Errno::EINVAL, "invalid (NULL) value");
    }
    let all = cache.stats();
    let found = match stat {
        0 => all.inserted,
        1 => all.hits + all.misses,
        2 => all.hits,
        3 => all.misses,
        4 => all.evicted(),
        5 => all.entries,
        6 => all.entries * ENTRY_DRAM_BYTES,
        7 => all.used_bytes,
        8 => all.free_regions,
        _ => {
            return refuse!("vmemcache_get_stat", Errno::EINVAL, "unknown statistic {stat}");
        }
    };
    // SAFETY: contract; it need not be aligned.
    unsafe { value.cast::<u64>().write_unaligned(found) };
    0
}

/// The calling thread's last error.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmemcache_errormsg() -> *const c_char {
    pmem_capi_shared::message()
}

/// Turns a switch of benchmarks.
///
/// # Safety
/// A handle or NULL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmemcache_bench_set(cache: *mut Handle, cfg: c_int, val: size_t) {
    trace!("vmemcache_bench_set", "cache {cache:p} cfg {cfg} val {val}");
    // SAFETY: contract.
    let Some((handle, cache)) = (unsafe { ready(cache) }) else {
        return set_message(format_args!("bench_set: the cache has no pool yet"));
    };
    match cfg {
        0 => handle.switch(&handle.index_only, val != 0),
        // All that the contract has for it.
        1 => set_message(format_args!("bench_set: NO_ALLOC is not implemented")),
        2 => handle.switch(&handle.no_memcpy, val != 0),
        3 => cache.prefault(),
        _ => set_message(format_args!("bench_set: unknown switch {cfg}")),
    }
}
