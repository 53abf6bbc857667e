//! Mappings of files that are persistent memory, at addresses that suit huge pages.

use core::ptr::NonNull;

use crate::align::{HUGE_PAGE_SIZE, checked_align_up};
use crate::errno::Errno;
use crate::region::Region;
use crate::sys::{self, Content, Fd, Rights};
use crate::valgrind::pmemcheck;

const GIGANTIC_PAGE_SIZE: usize = 1 << 30;

/// What the address of a mapping of `len` bytes is a multiple of: the largest page that can be
/// expected to back it.
#[must_use]
pub const fn alignment_for(len: usize) -> usize {
    if len >= 2 * GIGANTIC_PAGE_SIZE { GIGANTIC_PAGE_SIZE } else { HUGE_PAGE_SIZE }
}

/// Reserves address space for the caller, who unmaps it: at the place that
/// [`prefer_addresses_from`] asks for, if there is room, else at the system's choice.
/// `len` is rounded up to whole pages.
///
/// # Errors
/// `EINVAL` when `len` is 0, `ENOMEM`.
pub fn reserve(len: usize, alignment: usize) -> Result<NonNull<u8>, Errno> {
    let page = sys::page_size();
    let len = checked_align_up(len, page).ok_or(Errno::ENOMEM)?;
    let region = Region::reserve_preferred(len, alignment.max(page))?;
    let base = region.base();
    core::mem::forget(region);
    Ok(base)
}

/// Maps a file over a range, so that a flush by the processor is enough where that is possible.
/// Says whether it is (`MAP_SYNC`).
///
/// # Safety
/// The range belongs to the caller, and nobody relies on its present content.
///
/// # Errors
/// Those of `mmap`.
pub unsafe fn map_shared_over(
    address: NonNull<u8>,
    len: usize,
    rights: Rights,
    fd: Fd,
    offset: u64,
) -> Result<bool, Errno> {
    // SAFETY: forwarded from the caller's contract.
    let synchronous =
        match unsafe { sys::map_over(address, len, rights, Content::SharedSync(fd, offset)) } {
            Ok(()) => true,
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {
                // SAFETY: forwarded from the caller's contract.
                unsafe { sys::map_over(address, len, rights, Content::Shared(fd, offset)) }?;
                false
            }
            Err(errno) => return Err(errno),
        };
    if pmemcheck::is_running() {
        pmemcheck::file_mapped(fd.raw(), address.as_ptr(), len, offset);
    }
    Ok(synchronous)
}

/// Says that a range which [`map_shared_over`] mapped is about to go: to pmemcheck.
#[inline]
pub fn will_be_unmapped(address: *const u8, len: usize) {
    if pmemcheck::is_running() {
        pmemcheck::unmapped(address, len);
    }
}

pub use crate::region::{parse_hint, prefer_addresses_from};
