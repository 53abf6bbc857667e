//! Address space that mappings are placed in later.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pmem_core::errno::Errno;
use pmem_core::mapping;
use pmem_core::sys;

use crate::error::{Error, ErrorKind};
use crate::registry::{Entry, MAPS};

/// A reserved range of addresses. Accesses fault where nothing is mapped.
#[derive(Debug)]
pub struct Reservation {
    range: Mutex<Range>,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Range {
    /// `None` when the length is 0.
    base: Option<NonNull<u8>>,
    /// Without memory an address can still have been asked for.
    start: usize,
    len: usize,
}

// SAFETY: addresses; nothing is accessed through the pointer.
unsafe impl Send for Range {}

fn is_page_multiple(n: usize) -> bool {
    n.is_multiple_of(sys::page_size())
}

/// `EEXIST` means that somebody else's mapping is in the way.
fn occupied(errno: Errno) -> Error {
    match errno {
        Errno::EEXIST => Error::new(ErrorKind::MappingExists, "reserve"),
        errno => Error::new(ErrorKind::System(errno), "reserve"),
    }
}

impl Reservation {
    /// Reserves `len` bytes, at an address or, with 0, at one that suits huge pages.
    ///
    /// # Errors
    /// [`ErrorKind::LengthUnaligned`], [`ErrorKind::AddressUnaligned`] (to pages),
    /// [`ErrorKind::MappingExists`] when the range is in use, `ENOMEM`.
    pub fn new(address: usize, len: usize) -> Result<Reservation, Error> {
        if !is_page_multiple(address) {
            return Err(
                Error::new(ErrorKind::AddressUnaligned, "reserve").detail(format!("{address:#x}"))
            );
        }
        if !is_page_multiple(len) {
            return Err(Error::new(ErrorKind::LengthUnaligned, "reserve").detail(len.to_string()));
        }
        let base = match (len, address) {
            (0, _) => None,
            (_, 0) => {
                let base = mapping::reserve(len, mapping::alignment_for(len));
                Some(base.map_err(Error::system("reserve"))?)
            }
            (_, address) => Some(sys::reserve_at(address, len).map_err(occupied)?),
        };
        let start = base.map_or(address, |base| base.as_ptr().addr());
        Ok(Reservation { range: Mutex::new(Range { base, start, len }) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Range> {
        self.range.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> usize {
        self.lock().start
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Whether its length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first mapping that overlaps `len` bytes from an offset on.
    #[must_use]
    pub fn find(&self, offset: usize, len: usize) -> Option<Entry> {
        let range = self.lock();
        let len = len.min(range.len.saturating_sub(offset));
        MAPS.first_in(range.start.saturating_add(offset), len)
    }

    /// The last mapping that starts below an address.
    #[must_use]
    pub fn find_before(&self, address: usize) -> Option<Entry> {
        let range = self.lock();
        MAPS.last_in(range.start, address.saturating_sub(range.start).min(range.len))
    }

    /// The first mapping at or above an address.
    #[must_use]
    pub fn find_from(&self, address: usize) -> Option<Entry> {
        let range = self.lock();
        let end = range.start + range.len;
        MAPS.first_in(address, end.saturating_sub(address))
    }

    /// The last mapping.
    #[must_use]
    pub fn find_last(&self) -> Option<Entry> {
        let range = self.lock();
        MAPS.last_in(range.start, range.len)
    }

    /// Reserves `len` bytes more behind its end. The address stays.
    ///
    /// # Errors
    /// [`ErrorKind::LengthUnaligned`], [`ErrorKind::MappingExists`] when the room is taken, `ENOMEM`.
    pub fn extend(&self, len: usize) -> Result<(), Error> {
        if !is_page_multiple(len) {
            return Err(Error::new(ErrorKind::LengthUnaligned, "extend").detail(len.to_string()));
        }
        let mut range = self.lock();
        if len == 0 {
            return Ok(());
        }
        let end = range.start.checked_add(range.len).filter(|&end| end != 0);
        let end = end.ok_or_else(|| occupied(Errno::ENOMEM))?;
        let more = sys::reserve_at(end, len).map_err(occupied)?;
        range.base = range.base.or(Some(more));
        range.len += len;
        Ok(())
    }

    /// Gives back `len` bytes from an offset on: from its start, or up to its end.
    ///
    /// # Errors
    /// [`ErrorKind::OffsetUnaligned`], [`ErrorKind::LengthUnaligned`],
    /// [`ErrorKind::OffsetOutOfRange`], [`ErrorKind::LengthOutOfRange`] for 0 bytes and past the end,
    /// [`ErrorKind::NotSupported`] for the whole and for a piece in the middle,
    /// [`ErrorKind::ReservationNotEmpty`] when mappings are there.
    pub fn shrink(&self, offset: usize, len: usize) -> Result<(), Error> {
        let fail = |kind| {
            Err(Error::new(kind, "shrink").detail(format!("{len} bytes from offset {offset}")))
        };
        let mut range = self.lock();
        if !is_page_multiple(offset) {
            return fail(ErrorKind::OffsetUnaligned);
        }
        if !is_page_multiple(len) {
            return fail(ErrorKind::LengthUnaligned);
        }
        if offset >= range.len {
            return fail(ErrorKind::OffsetOutOfRange);
        }
        if len == 0 || len > range.len - offset {
            return fail(ErrorKind::LengthOutOfRange);
        }
        let at_end = offset + len == range.len;
        if (offset == 0) == at_end {
            return fail(ErrorKind::NotSupported);
        }
        let Some(base) = range.base else { return fail(ErrorKind::OffsetOutOfRange) };
        if MAPS.first_in(range.start + offset, len).is_some() {
            return fail(ErrorKind::ReservationNotEmpty);
        }
        // SAFETY: inside the reservation, and nothing of ours is mapped there.
        let unmapped = unsafe { sys::unmap(base.add(offset), len) };
        unmapped.map_err(Error::system("munmap"))?;
        if offset == 0 {
            // SAFETY: still inside: not the whole is given back.
            range.base = Some(unsafe { base.add(len) });
            range.start += len;
        }
        range.len -= len;
        Ok(())
    }

    /// Ends the reservation.
    ///
    /// # Errors
    /// [`ErrorKind::ReservationNotEmpty`], and the reservation, when it holds mappings.
    pub fn delete(self) -> Result<(), (Error, Reservation)> {
        if self.find_last().is_some() {
            return Err((Error::new(ErrorKind::ReservationNotEmpty, "delete"), self));
        }
        Ok(())
    }
}

impl Drop for Reservation {
    /// Mappings that are still inside keep their addresses; only what is free is given back.
    fn drop(&mut self) {
        let range = *self.lock();
        let Some(base) = range.base else { return };
        let end = range.start + range.len;
        let mut at = range.start;
        while at < end {
            let entry = MAPS.first_in(at, end - at);
            let free_end = entry.map_or(end, |entry| entry.start.max(at));
            if free_end > at {
                // SAFETY: ours, and nothing is mapped there.
                let _ = unsafe { sys::unmap(base.add(at - range.start), free_end - at) };
            }
            at = entry
                .map_or(end, |entry| (entry.start + entry.len).next_multiple_of(sys::page_size()));
        }
    }
}

impl Range {
    /// Where `len` bytes from an offset on lie.
    pub(crate) fn place(&self, offset: usize, len: usize) -> Result<NonNull<u8>, Error> {
        let fail = |kind| Error::new(kind, "map into a reservation");
        if !is_page_multiple(offset) {
            return Err(fail(ErrorKind::OffsetUnaligned));
        }
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let base = self.base.filter(|_| fits).ok_or_else(|| fail(ErrorKind::LengthOutOfRange))?;
        if MAPS.first_in(self.start + offset, len).is_some() {
            return Err(fail(ErrorKind::MappingExists));
        }
        // SAFETY: inside the reservation.
        Ok(unsafe { base.add(offset) })
    }
}
