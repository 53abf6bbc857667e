//! `pmem2_vm_reservation_*`.

use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, with_exposed_provenance_mut};

use pmem::registry::Entry;
use pmem::{ErrorKind, Reservation};

use crate::map::Pmem2Map;
use crate::result::{code, refuse};
use crate::start::start;

/// C: `struct pmem2_vm_reservation`.
pub(crate) struct Pmem2Reservation(pub(crate) Reservation);

/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_new(
    out: *mut *mut Pmem2Reservation,
    address: *mut c_void,
    size: usize,
) -> c_int {
    trace!("pmem2_vm_reservation_new", "out {out:p} address {address:p} size {size}");
    start();
    let (reservation, status) = match Reservation::new(address.addr(), size) {
        Ok(reservation) => (Box::into_raw(Box::new(Pmem2Reservation(reservation))), 0),
        Err(error) => (null_mut(), code(Err(error))),
    };
    // SAFETY: writable by the caller's contract.
    unsafe { out.write(reservation) };
    status
}

/// # Safety
/// `reservation` points to a reservation, which nobody uses any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_delete(
    reservation: *mut *mut Pmem2Reservation,
) -> c_int {
    trace!("pmem2_vm_reservation_delete", "reservation {reservation:p}");
    // SAFETY: readable by the caller's contract.
    let old = unsafe { reservation.read() };
    // SAFETY: a reservation by the caller's contract.
    if unsafe { (*old).0.find_last() }.is_some() {
        return refuse(ErrorKind::ReservationNotEmpty, "delete reservation");
    }
    // SAFETY: made by `pmem2_vm_reservation_new`.
    drop(unsafe { Box::from_raw(old) });
    // SAFETY: writable by the caller's contract.
    unsafe { reservation.write(null_mut()) };
    0
}

/// # Safety
/// `reservation` is a reservation.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_get_address(
    reservation: *const Pmem2Reservation,
) -> *mut c_void {
    trace!("pmem2_vm_reservation_get_address", "reservation {reservation:p}");
    // SAFETY: a reservation by the caller's contract.
    with_exposed_provenance_mut(unsafe { (*reservation).0.address() })
}

/// # Safety
/// `reservation` is a reservation.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_get_size(
    reservation: *const Pmem2Reservation,
) -> usize {
    trace!("pmem2_vm_reservation_get_size", "reservation {reservation:p}");
    // SAFETY: a reservation by the caller's contract.
    unsafe { (*reservation).0.len() }
}

/// # Safety
/// `reservation` is a reservation.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_extend(
    reservation: *mut Pmem2Reservation,
    size: usize,
) -> c_int {
    trace!("pmem2_vm_reservation_extend", "reservation {reservation:p} size {size}");
    // SAFETY: a reservation by the caller's contract.
    code(unsafe { (*reservation).0.extend(size) })
}

/// # Safety
/// `reservation` is a reservation.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_shrink(
    reservation: *mut Pmem2Reservation,
    offset: usize,
    size: usize,
) -> c_int {
    trace!(
        "pmem2_vm_reservation_shrink",
        "reservation {reservation:p} offset {offset} size {size}"
    );
    // SAFETY: a reservation by the caller's contract.
    code(unsafe { (*reservation).0.shrink(offset, size) })
}

/// # Safety
/// `out` is writable.
unsafe fn give(out: *mut *mut Pmem2Map, entry: Option<Entry>) -> c_int {
    let map = entry.map_or(null_mut(), |entry| with_exposed_provenance_mut(entry.token));
    // SAFETY: writable by the caller's contract.
    unsafe { out.write(map) };
    if map.is_null() { refuse(ErrorKind::MappingNotFound, "find in a reservation") } else { 0 }
}

/// # Safety
/// `reservation` is a reservation, `out` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_map_find(
    reservation: *mut Pmem2Reservation,
    offset: usize,
    len: usize,
    out: *mut *mut Pmem2Map,
) -> c_int {
    trace!(
        "pmem2_vm_reservation_map_find",
        "reservation {reservation:p} offset {offset} len {len} out {out:p}"
    );
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, (*reservation).0.find(offset, len)) }
}

/// # Safety
/// `reservation` is a reservation, `map` a map, `out` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_map_find_prev(
    reservation: *mut Pmem2Reservation,
    map: *mut Pmem2Map,
    out: *mut *mut Pmem2Map,
) -> c_int {
    trace!(
        "pmem2_vm_reservation_map_find_prev",
        "reservation {reservation:p} map {map:p} out {out:p}"
    );
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, (*reservation).0.find_before((*map).0.as_ptr().addr())) }
}

/// # Safety
/// `reservation` is a reservation, `map` a map, `out` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_map_find_next(
    reservation: *mut Pmem2Reservation,
    map: *mut Pmem2Map,
    out: *mut *mut Pmem2Map,
) -> c_int {
    trace!(
        "pmem2_vm_reservation_map_find_next",
        "reservation {reservation:p} map {map:p} out {out:p}"
    );
    // SAFETY: a map by the caller's contract.
    let end = unsafe { (*map).0.as_ptr().addr() + (*map).0.len() };
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, (*reservation).0.find_from(end)) }
}

/// # Safety
/// `reservation` is a reservation, `out` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_map_find_first(
    reservation: *mut Pmem2Reservation,
    out: *mut *mut Pmem2Map,
) -> c_int {
    trace!("pmem2_vm_reservation_map_find_first", "reservation {reservation:p} out {out:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, (*reservation).0.find(0, usize::MAX)) }
}

/// # Safety
/// `reservation` is a reservation, `out` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_vm_reservation_map_find_last(
    reservation: *mut Pmem2Reservation,
    out: *mut *mut Pmem2Map,
) -> c_int {
    trace!("pmem2_vm_reservation_map_find_last", "reservation {reservation:p} out {out:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, (*reservation).0.find_last()) }
}
