//! Mappings.

use std::ptr::NonNull;

use pmem_core::errno::Errno;
use pmem_core::mapping;
use pmem_core::persist::{CopyFlags, Cpu, Granularity, PageSync, Persist};
use pmem_core::sys::{self, Content, Rights};

use crate::deep::{self, Backing};
use crate::error::{Error, ErrorKind};
use crate::granularity::{forced_granularity, platform_auto_flush};
use crate::registry::{Entry, MAPS};
use crate::reservation::Reservation;
use crate::source::Source;

/// Who sees the stores to a mapping.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// The file.
    Shared,
    /// This process alone.
    Private,
}

/// What is mapped, and how.
#[derive(Clone, Debug)]
pub struct MapOptions<'r> {
    required: Option<Granularity>,
    offset: usize,
    len: usize,
    sharing: Sharing,
    rights: Rights,
    reservation: Option<(&'r Reservation, usize)>,
}

impl<'r> MapOptions<'r> {
    /// The whole source, shared, for loads and stores, if its granularity is as fine as `required` or
    /// finer.
    #[must_use]
    pub fn new(required: Granularity) -> MapOptions<'r> {
        MapOptions { required: Some(required), ..MapOptions::unset() }
    }

    /// As [`new`](Self::new), with no granularity: mapping fails.
    #[must_use]
    pub fn unset() -> MapOptions<'r> {
        MapOptions {
            required: None,
            offset: 0,
            len: 0,
            sharing: Sharing::Shared,
            rights: Rights::READ_WRITE,
            reservation: None,
        }
    }

    /// As fine as this, or finer.
    #[must_use]
    pub fn granularity(mut self, required: Granularity) -> Self {
        self.required = Some(required);
        self
    }

    /// From this offset on: a multiple of the source's alignment.
    #[must_use]
    pub fn offset(mut self, bytes: usize) -> Self {
        self.offset = bytes;
        self
    }

    /// So many bytes, a multiple of the source's alignment; 0 for all up to the end.
    #[must_use]
    pub fn len(mut self, bytes: usize) -> Self {
        self.len = bytes;
        self
    }

    /// Who sees stores.
    #[must_use]
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }

    /// Which accesses are allowed.
    #[must_use]
    pub fn rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// At an offset of a reservation.
    #[must_use]
    pub fn within(mut self, reservation: &'r Reservation, offset: usize) -> Self {
        self.reservation = Some((reservation, offset));
        self
    }

    /// Maps. The source need not live longer.
    ///
    /// # Errors
    /// [`ErrorKind::GranularityNotSet`], [`ErrorKind::GranularityNotSupported`],
    /// [`ErrorKind::SourceEmpty`], [`ErrorKind::OffsetUnaligned`], [`ErrorKind::LengthUnaligned`],
    /// [`ErrorKind::MapRange`], [`ErrorKind::NoAccess`], [`ErrorKind::DevDaxPrivate`]; in a
    /// reservation also [`ErrorKind::LengthOutOfRange`], [`ErrorKind::MappingExists`],
    /// [`ErrorKind::AddressUnaligned`]; those of `mmap`.
    pub fn map(&self, source: &Source) -> Result<Map, Error> {
        let required =
            self.required.ok_or_else(|| Error::new(ErrorKind::GranularityNotSet, "map"))?;
        let len = self.checked_len(source)?;
        if source.is_device() && self.sharing == Sharing::Private {
            return Err(Error::new(ErrorKind::DevDaxPrivate, "map"));
        }
        // The reservation stays as it is until the mapping is registered.
        let range = self.reservation.map(|(reservation, _)| reservation.lock());
        let base = match (&range, self.reservation) {
            (Some(range), Some((_, offset))) => {
                let place = range.place(offset, page_up(len))?;
                if source.is_device() && !place.as_ptr().addr().is_multiple_of(source.alignment()) {
                    return Err(Error::new(ErrorKind::AddressUnaligned, "map"));
                }
                place
            }
            _ => {
                let alignment = source.alignment().max(mapping::alignment_for(len));
                mapping::reserve(len, alignment).map_err(Error::system("reserve"))?
            }
        };
        let in_reservation = range.is_some();
        let mapped = self.map_at(source, base, len, required);
        let granularity = mapped.inspect_err(|_| unmap(base, len, in_reservation))?;
        let entry = Entry {
            start: base.as_ptr().addr(),
            len,
            granularity,
            backing: source.backing(),
            token: 0,
        };
        // Whatever was registered here has been unmapped by others: the kernel gave out the range.
        MAPS.replace(entry);
        let backing = entry.backing;
        Ok(Map {
            base,
            len,
            granularity,
            backing,
            unmap: true,
            in_reservation,
            writable: self.rights.write,
        })
    }

    fn checked_len(&self, source: &Source) -> Result<usize, Error> {
        let size = source.size()?;
        if size == 0 {
            return Err(Error::new(ErrorKind::SourceEmpty, "map"));
        }
        let alignment = source.alignment();
        if !self.offset.is_multiple_of(alignment) {
            return Err(Error::new(ErrorKind::OffsetUnaligned, "map")
                .detail(format!("{} is not a multiple of {alignment}", self.offset)));
        }
        if !self.len.is_multiple_of(alignment) {
            return Err(Error::new(ErrorKind::LengthUnaligned, "map")
                .detail(format!("{} is not a multiple of {alignment}", self.len)));
        }
        let beyond = || {
            let text = format!("{} bytes at {} of {size}", self.len, self.offset);
            Error::new(ErrorKind::MapRange, "map").detail(text)
        };
        let left = size.checked_sub(self.offset).filter(|&left| left != 0).ok_or_else(beyond)?;
        match self.len {
            0 => Ok(left),
            len if len <= left => Ok(len),
            _ => Err(beyond()),
        }
    }

    /// Maps over a range of ours; gives the granularity.
    fn map_at(
        &self,
        source: &Source,
        base: NonNull<u8>,
        len: usize,
        required: Granularity,
    ) -> Result<Granularity, Error> {
        let offset = self.offset as u64;
        // Whether the processor's flush is enough, if that is a question.
        let synchronous = match (source.fd(), self.sharing) {
            (None, _) => {
                // SAFETY: the range is ours.
                unsafe { sys::map_over(base, len, self.rights, Content::Anonymous) }
                    .map_err(Error::system("mmap"))?;
                None
            }
            (Some(fd), Sharing::Private) => {
                let content = Content::Private(fd, offset);
                // SAFETY: the range is ours.
                unsafe { sys::map_over(base, len, self.rights, content) }.map_err(map_error)?;
                None
            }
            (Some(fd), Sharing::Shared) => {
                // SAFETY: the range is ours.
                let synchronous =
                    unsafe { mapping::map_shared_over(base, len, self.rights, fd, offset) };
                Some(synchronous.map_err(map_error)? || source.is_device())
            }
        };
        let granularity = match synchronous {
            None => Granularity::Byte,
            Some(synchronous) => match forced_granularity() {
                Some(forced) => forced,
                None if !synchronous => Granularity::Page,
                None if platform_auto_flush() == Ok(true) => Granularity::Byte,
                None => Granularity::CacheLine,
            },
        };
        if granularity > required {
            let text = format!("required {}, available {}", name(required), name(granularity));
            return Err(Error::new(ErrorKind::GranularityNotSupported, "map").detail(text));
        }
        Ok(granularity)
    }
}

fn map_error(errno: Errno) -> Error {
    match errno {
        Errno::EACCES => Error::new(ErrorKind::NoAccess, "mmap"),
        errno => Error::new(ErrorKind::System(errno), "mmap"),
    }
}

fn name(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Byte => "byte",
        Granularity::CacheLine => "cache line",
        Granularity::Page => "page",
    }
}

fn page_up(len: usize) -> usize {
    len.next_multiple_of(sys::page_size())
}

/// Unmaps a range of ours, or gives it back to its reservation.
fn unmap(base: NonNull<u8>, len: usize, in_reservation: bool) {
    let len = page_up(len);
    mapping::will_be_unmapped(base.as_ptr(), len);
    if in_reservation {
        let none = Rights { read: false, write: false, execute: false };
        // SAFETY: ours, and nobody uses it any more.
        let _ = unsafe { sys::map_over(base, len, none, Content::Anonymous) };
    } else {
        // SAFETY: as above.
        let _ = unsafe { sys::unmap(base, len) };
    }
}

/// A mapping; dropping it unmaps.
///
/// The memory is shared with other processes that map the file, so it is never lent out as a slice:
/// copy to and from it, or use [`as_ptr`](Self::as_ptr).
#[derive(Debug)]
pub struct Map {
    base: NonNull<u8>,
    len: usize,
    granularity: Granularity,
    backing: Backing,
    unmap: bool,
    in_reservation: bool,
    writable: bool,
}

// SAFETY: the memory belongs to no thread; who follows the pointer answers for races.
unsafe impl Send for Map {}
// SAFETY: as above; the safe writes are bytewise copies that may race only with each other's content.
unsafe impl Sync for Map {}

impl Map {
    /// Registers memory that the caller has mapped; it stays mapped when this is dropped.
    ///
    /// # Safety
    /// The range stays mapped as long as the map lives.
    ///
    /// # Errors
    /// [`ErrorKind::MapExists`] when a map in the range is registered; `EINVAL` for a null pointer or
    /// no length.
    pub unsafe fn from_existing(
        source: &Source,
        address: *mut u8,
        len: usize,
        granularity: Granularity,
    ) -> Result<Map, Error> {
        let invalid = || Error::new(ErrorKind::System(Errno::EINVAL), "map_from_existing");
        let base = NonNull::new(address).filter(|_| len != 0).ok_or_else(invalid)?;
        let backing = source.backing();
        let entry = Entry { start: address.addr(), len, granularity, backing, token: 0 };
        if !MAPS.insert(entry) {
            return Err(Error::new(ErrorKind::MapExists, "map_from_existing"));
        }
        Ok(Map {
            base,
            len,
            granularity,
            backing,
            unmap: false,
            in_reservation: false,
            writable: true,
        })
    }

    /// The first byte.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Length of the content in bytes, not rounded to pages.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What the memory needs.
    #[must_use]
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// The backend for this memory.
    #[must_use]
    pub fn persistence(&self) -> &'static dyn Persist {
        match self.granularity {
            Granularity::Byte => Cpu::BYTE,
            Granularity::CacheLine => Cpu::CACHE_LINE,
            Granularity::Page => &PageSync,
        }
    }

    fn place(&self, offset: usize, len: usize) -> Result<*mut u8, Error> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if !fits {
            return Err(Error::new(ErrorKind::LengthOutOfRange, "map")
                .detail(format!("{len} bytes at {offset} of {}", self.len)));
        }
        Ok(self.as_ptr().wrapping_add(offset))
    }

    /// Writes bytes at an offset; they are durable on return.
    ///
    /// # Errors
    /// [`ErrorKind::LengthOutOfRange`]; [`ErrorKind::NoAccess`] when the mapping allows no stores; those of `msync`.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let dest = self.place(offset, bytes.len())?;
        if !self.writable {
            return Err(Error::new(ErrorKind::NoAccess, "write"));
        }
        let memory = self.persistence();
        // SAFETY: inside the mapping.
        let copied = unsafe { memory.copy(dest, bytes.as_ptr(), bytes.len(), CopyFlags::NONE) };
        copied.map_err(Error::system("persist"))
    }

    /// Makes a range durable that was stored through [`as_ptr`](Self::as_ptr).
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn persist(&self, offset: usize, len: usize) -> Result<(), Error> {
        let start = self.place(offset, len)?;
        // SAFETY: inside the mapping.
        unsafe { self.persistence().persist(start, len) }.map_err(Error::system("persist"))
    }

    /// Copies bytes out of the mapping.
    ///
    /// # Errors
    /// [`ErrorKind::LengthOutOfRange`].
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), Error> {
        let from = self.place(offset, buffer.len())?;
        // SAFETY: inside the mapping, and the buffer is not part of it.
        unsafe { from.copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// Flushes a range down to the medium.
    ///
    /// # Errors
    /// [`ErrorKind::DeepFlushRange`], [`ErrorKind::NotSupported`] for memory; those of `msync` and of
    /// the region's flush.
    pub fn deep_flush(&self, offset: usize, len: usize) -> Result<(), Error> {
        let start = self.place(offset, len);
        let start = start.map_err(|_| Error::new(ErrorKind::DeepFlushRange, "deep_flush"))?;
        if self.backing == Backing::Anonymous {
            return Err(Error::new(ErrorKind::NotSupported, "deep_flush"));
        }
        if self.granularity == Granularity::Page {
            return Ok(());
        }
        // SAFETY: inside the mapping.
        unsafe { Cpu::CACHE_LINE.persist(start, len) }.map_err(Error::system("persist"))?;
        deep::deep_flush(&MAPS, start.addr(), len).map_err(Error::system("deep_flush"))
    }

    /// Whether the map is still registered: nobody else has mapped over it.
    ///
    /// # Errors
    /// [`ErrorKind::MappingNotFound`] when it is not.
    pub fn check_registered(&self) -> Result<(), Error> {
        match MAPS.at(self.base.as_ptr().addr()) {
            Some(entry) if entry.len == self.len => Ok(()),
            _ => Err(Error::new(ErrorKind::MappingNotFound, "map")),
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        MAPS.remove(self.base.as_ptr().addr(), || {
            if self.unmap {
                unmap(self.base, self.len, self.in_reservation);
            }
        });
    }
}
