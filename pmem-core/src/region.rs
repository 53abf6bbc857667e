//! A range of address space that we own: reserved as a whole, aligned, unmapped when dropped.

mod hint;

use core::ptr::NonNull;

use crate::align::{align_up, is_aligned};
use crate::errno::Errno;
use crate::sys;

pub use hint::{parse_hint, prefer_addresses_from};

/// An owned range. What is mapped inside is the business of its user, who never unmaps a part.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    /// What is unmapped at the end: the same range, except under Miri, which cannot trim.
    mapped: (NonNull<u8>, usize),
}

impl Region {
    /// Reserves `len` bytes at a multiple of `alignment`; both are multiples of the page size. An
    /// access faults.
    ///
    /// A range that is longer by the alignment is reserved first and trimmed, never probed and
    /// given up again: another thread could map something there in between.
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL` when `len` is 0.
    pub(crate) fn reserve(len: usize, alignment: usize) -> Result<Region, Errno> {
        let page = sys::page_size();
        debug_assert!(is_aligned(len, page) && is_aligned(alignment, page));
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let outer_len = len.checked_add(alignment - page).ok_or(Errno::ENOMEM)?;
        let outer = sys::reserve(outer_len)?;
        let skip = align_up(outer.as_ptr().addr(), alignment) - outer.as_ptr().addr();
        // SAFETY: `skip` is below the alignment, so `len` bytes from there are inside the outer
        // range.
        let base = unsafe { outer.add(skip) };
        if cfg!(miri) {
            return Ok(Region { base, mapped: (outer, outer_len) });
        }
        trim(outer, skip);
        // SAFETY: the end of the region is inside or at the end of the outer range.
        trim(unsafe { base.add(len) }, outer_len - skip - len);
        Ok(Region { base, mapped: (base, len) })
    }

    /// As [`reserve`](Self::reserve), where the process prefers its pools to be, if there is room.
    pub(crate) fn reserve_preferred(len: usize, alignment: usize) -> Result<Region, Errno> {
        // Another thread may map something there in between.
        const ATTEMPTS: usize = 4;
        for _ in 0..ATTEMPTS {
            let Some(place) = hint::preferred_place(len, alignment) else { break };
            if let Ok(base) = sys::reserve_at(place, len) {
                return Ok(Region { base, mapped: (base, len) });
            }
        }
        Region::reserve(len, alignment)
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

/// Gives back a part of a reservation that nobody has seen yet.
fn trim(address: NonNull<u8>, len: usize) {
    if len > 0 {
        // SAFETY: ours and unused. Should it fail, address space is lost and nothing else.
        let _ = unsafe { sys::unmap(address, len) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let (address, len) = self.mapped;
        // SAFETY: ours; whoever drops the region has no more use for its content.
        let _ = unsafe { sys::unmap(address, len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned() {
        let page = sys::page_size();
        // Miri has no memory to reserve without using it.
        let largest = if cfg!(miri) { 1 << 16 } else { 1 << 30 };
        for alignment in [page, 4 * page, largest] {
            for len in [page, 3 * page] {
                let region = Region::reserve(len, alignment).unwrap();
                assert!(is_aligned(region.base().as_ptr().addr(), alignment));
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Region::reserve(0, 1 << 22).unwrap_err(), Errno::EINVAL);
        let most = usize::MAX & !(sys::page_size() - 1);
        assert_eq!(Region::reserve(most, 1 << 22).unwrap_err(), Errno::ENOMEM);
    }
}
