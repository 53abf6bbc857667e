//! `pmem2_map_*` and `pmem2_deep_flush`.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use pmem::{Error, ErrorKind, Granularity, Map};

use crate::config::{Pmem2Config, granularity};
use crate::result::{code, refuse};
use crate::source::Pmem2Source;
use crate::start::start;

/// C: `struct pmem2_map`.
pub(crate) struct Pmem2Map(pub(crate) Map);

/// # Safety
/// `out` is writable.
unsafe fn give(out: *mut *mut Pmem2Map, map: Result<Map, Error>) -> c_int {
    let (map, status) = match map {
        Ok(map) => {
            let address = map.as_ptr().addr();
            let map = Box::into_raw(Box::new(Pmem2Map(map)));
            // What finds the map by its address gives this pointer.
            pmem::registry::set_token(address, map.expose_provenance());
            (map, 0)
        }
        Err(error) => (null_mut(), code(Err(error))),
    };
    // SAFETY: writable by the caller's contract.
    unsafe { out.write(map) };
    status
}

/// # Safety
/// `out` is writable, `config` and `source` are what their types say.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_map_new(
    out: *mut *mut Pmem2Map,
    config: *const Pmem2Config,
    source: *const Pmem2Source,
) -> c_int {
    trace!("pmem2_map_new", "out {out:p} config {config:p} source {source:p}");
    start();
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, (*config).options().map(&(*source).0)) }
}

/// # Safety
/// `out` is writable, `source` a source, and the range stays mapped as long as the map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_map_from_existing(
    out: *mut *mut Pmem2Map,
    source: *const Pmem2Source,
    address: *mut c_void,
    len: usize,
    number: c_int,
) -> c_int {
    trace!(
        "pmem2_map_from_existing",
        "out {out:p} source {source:p} address {address:p} len {len} number {number}"
    );
    let Some(granularity) = granularity(number) else {
        // SAFETY: writable by the caller's contract.
        unsafe { out.write(null_mut()) };
        return refuse(ErrorKind::GranularityNotSupported, "map_from_existing");
    };
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, Map::from_existing(&(*source).0, address.cast(), len, granularity)) }
}

/// # Safety
/// `map` points to a map, which nobody uses any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_map_delete(map: *mut *mut Pmem2Map) -> c_int {
    trace!("pmem2_map_delete", "map {map:p}");
    // SAFETY: readable by the caller's contract.
    let old = unsafe { map.read() };
    // SAFETY: made by `give`.
    let address = unsafe { (*old).0.as_ptr().addr() };
    // The caller may have unmapped it by hand, and another map may lie there now.
    if pmem::registry::token_at(address) != Some(old.addr()) {
        return refuse(ErrorKind::MappingNotFound, "map_delete");
    }
    // SAFETY: made by `give`; the pointer below is cleared.
    drop(unsafe { Box::from_raw(old) });
    // SAFETY: writable by the caller's contract.
    unsafe { map.write(null_mut()) };
    0
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_map_get_address(map: *const Pmem2Map) -> *mut c_void {
    trace!("pmem2_map_get_address", "map {map:p}");
    // SAFETY: a map by the caller's contract.
    unsafe { (*map).0.as_ptr().cast() }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_map_get_size(map: *const Pmem2Map) -> usize {
    trace!("pmem2_map_get_size", "map {map:p}");
    // SAFETY: a map by the caller's contract.
    unsafe { (*map).0.len() }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_map_get_store_granularity(map: *const Pmem2Map) -> c_int {
    trace!("pmem2_map_get_store_granularity", "map {map:p}");
    // SAFETY: a map by the caller's contract.
    match unsafe { (*map).0.granularity() } {
        Granularity::Byte => 0,
        Granularity::CacheLine => 1,
        Granularity::Page => 2,
    }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_deep_flush(
    map: *mut Pmem2Map,
    address: *mut c_void,
    size: usize,
) -> c_int {
    trace!("pmem2_deep_flush", "map {map:p} address {address:p} size {size}");
    // SAFETY: a map by the caller's contract.
    let map = unsafe { &(*map).0 };
    // An address below the map becomes an offset far beyond its end.
    let offset = address.addr().wrapping_sub(map.as_ptr().addr());
    code(map.deep_flush(offset, size))
}
