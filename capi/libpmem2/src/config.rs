//! `pmem2_config_*`.

use std::ffi::{c_int, c_uint};
use std::ptr::{null, null_mut};

use pmem::{ErrorKind, Granularity, MapOptions, Rights, Sharing};

use crate::reservation::Pmem2Reservation;
use crate::result::refuse;

const PROT_EXEC: c_uint = 1 << 29;
const PROT_READ: c_uint = 1 << 30;
const PROT_WRITE: c_uint = 1 << 31;

/// C: `struct pmem2_config`.
pub(crate) struct Pmem2Config {
    options: MapOptions<'static>,
    reservation: *const Pmem2Reservation,
    reservation_offset: usize,
}

impl Pmem2Config {
    /// The options with the reservation.
    ///
    /// # Safety
    /// The reservation lives as long as the result.
    pub(crate) unsafe fn options(&self) -> MapOptions<'_> {
        if self.reservation.is_null() {
            return self.options.clone();
        }
        // SAFETY: alive by the caller's contract.
        let reservation = unsafe { &(*self.reservation).0 };
        self.options.clone().within(reservation, self.reservation_offset)
    }

    fn change(&mut self, change: impl FnOnce(MapOptions<'static>) -> MapOptions<'static>) -> c_int {
        self.options = change(self.options.clone());
        0
    }
}

/// C: `enum pmem2_granularity`.
pub(crate) fn granularity(number: c_int) -> Option<Granularity> {
    match number {
        0 => Some(Granularity::Byte),
        1 => Some(Granularity::CacheLine),
        2 => Some(Granularity::Page),
        _ => None,
    }
}

/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_new(out: *mut *mut Pmem2Config) -> c_int {
    trace!("pmem2_config_new", "out {out:p}");
    let config =
        Pmem2Config { options: MapOptions::unset(), reservation: null(), reservation_offset: 0 };
    // SAFETY: writable by the caller's contract.
    unsafe { out.write(Box::into_raw(Box::new(config))) };
    0
}

/// # Safety
/// `config` points to NULL or a configuration, which nobody uses any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_delete(config: *mut *mut Pmem2Config) -> c_int {
    trace!("pmem2_config_delete", "config {config:p}");
    // SAFETY: readable and writable by the caller's contract.
    let old = unsafe { config.replace(null_mut()) };
    if !old.is_null() {
        // SAFETY: made by `pmem2_config_new`.
        drop(unsafe { Box::from_raw(old) });
    }
    0
}

/// # Safety
/// `config` is a configuration.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_set_required_store_granularity(
    config: *mut Pmem2Config,
    number: c_int,
) -> c_int {
    trace!("pmem2_config_set_required_store_granularity", "config {config:p} number {number}");
    let Some(required) = granularity(number) else {
        return refuse(ErrorKind::GranularityNotSupported, "required granularity");
    };
    // SAFETY: a configuration by the caller's contract.
    unsafe { &mut *config }.change(|options| options.granularity(required))
}

/// # Safety
/// `config` is a configuration.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_set_offset(
    config: *mut Pmem2Config,
    offset: usize,
) -> c_int {
    trace!("pmem2_config_set_offset", "config {config:p} offset {offset}");
    if i64::try_from(offset).is_err() {
        return refuse(ErrorKind::OffsetOutOfRange, "offset");
    }
    // SAFETY: a configuration by the caller's contract.
    unsafe { &mut *config }.change(|options| options.offset(offset))
}

/// # Safety
/// `config` is a configuration.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_set_length(
    config: *mut Pmem2Config,
    length: usize,
) -> c_int {
    trace!("pmem2_config_set_length", "config {config:p} length {length}");
    // SAFETY: a configuration by the caller's contract.
    unsafe { &mut *config }.change(|options| options.len(length))
}

/// # Safety
/// `config` is a configuration.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_set_sharing(
    config: *mut Pmem2Config,
    sharing: c_int,
) -> c_int {
    trace!("pmem2_config_set_sharing", "config {config:p} sharing {sharing}");
    let sharing = match sharing {
        0 => Sharing::Shared,
        1 => Sharing::Private,
        _ => return refuse(ErrorKind::InvalidSharing, "sharing"),
    };
    // SAFETY: a configuration by the caller's contract.
    unsafe { &mut *config }.change(|options| options.sharing(sharing))
}

/// # Safety
/// `config` is a configuration.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_set_protection(
    config: *mut Pmem2Config,
    protection: c_uint,
) -> c_int {
    trace!("pmem2_config_set_protection", "config {config:p} protection {protection}");
    if protection & !(PROT_EXEC | PROT_READ | PROT_WRITE) != 0 {
        return refuse(ErrorKind::InvalidProtection, "protection");
    }
    let rights = Rights {
        read: protection & PROT_READ != 0,
        write: protection & PROT_WRITE != 0,
        execute: protection & PROT_EXEC != 0,
    };
    // SAFETY: a configuration by the caller's contract.
    unsafe { &mut *config }.change(|options| options.rights(rights))
}

/// # Safety
/// `config` is a configuration; the reservation is NULL or lives as long as maps are made with this
/// configuration.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_config_set_vm_reservation(
    config: *mut Pmem2Config,
    reservation: *mut Pmem2Reservation,
    offset: usize,
) -> c_int {
    trace!(
        "pmem2_config_set_vm_reservation",
        "config {config:p} reservation {reservation:p} offset {offset}"
    );
    // SAFETY: a configuration by the caller's contract.
    let config = unsafe { &mut *config };
    config.reservation = reservation;
    config.reservation_offset = offset;
    0
}
