//! Replicas as contiguous ranges of addresses.

use crate::{Error, HEADER_SIZE, Part, Result};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use pmem_core::errno::Errno;
use pmem_core::mapping;
use pmem_core::persist::{CopyFlags, Cpu, PageSync, Persist};
use pmem_core::sys::{self, Fd, MapFile, Rights};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Once;

/// What sizes of pools are multiples of.
pub(crate) const PAGE: u64 = 4096;

/// How stores relate to the medium.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    /// Stores reach the medium.
    Shared,
    /// Stores stay in this process.
    Private,
}

/// A mapped range, and how stores to it become durable.
///
/// Offsets count from its beginning. All methods check that they stay inside.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    memory: Memory,
    owned: bool,
}

#[derive(Copy, Clone)]
struct Memory(&'static dyn Persist);

impl core::fmt::Debug for Memory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.0.granularity())
    }
}

// SAFETY: the mapping belongs to the value, and is read and written by raw pointers only.
unsafe impl Send for Mapping {}
// SAFETY: as above; who writes to which bytes is agreed on by its users.
unsafe impl Sync for Mapping {}

fn page_sync() -> &'static dyn Persist {
    static MEMORY: PageSync = PageSync;
    &MEMORY
}

/// `PMEM_IS_PMEM_FORCE`: 1 and 0 overrule what the system says.
fn forced() -> Option<bool> {
    let text = std::env::var("PMEM_IS_PMEM_FORCE").ok()?;
    match text.trim().parse::<i64>() {
        Ok(0) => Some(false),
        Ok(1) => Some(true),
        _ => None,
    }
}

impl Mapping {
    /// A range that something else maps, for tests and tools.
    ///
    /// # Safety
    /// The range stays mapped, readable and writable, as long as the value lives.
    #[must_use]
    pub unsafe fn borrowed(base: NonNull<u8>, len: usize, memory: &'static dyn Persist) -> Mapping {
        Mapping { base, len, memory: Memory(memory), owned: false }
    }

    /// Reserves addresses: a multiple of `align`, and of the largest page that may back the range.
    fn reserve(len: usize, align: usize, path: &Path) -> Result<Mapping> {
        honour_hint();
        let align = align.max(mapping::alignment_for(len));
        let base = mapping::reserve(len, align);
        let base = base.map_err(|errno| Error::system("mmap", path, errno))?;
        Ok(Mapping { base, len, memory: Memory(page_sync()), owned: true })
    }

    /// Maps a range of a part over `[at, at + len)`; tells whether stores are durable without the kernel.
    fn place(&self, at: usize, part: &Part, from: u64, len: usize, how: Sharing) -> Result<bool> {
        let fd = Fd::from_raw(part.file().as_raw_fd());
        // SAFETY: `[at, at + len)` lies in the reservation.
        let to = unsafe { self.base.add(at) };
        let result = match how {
            Sharing::Private if part.is_device() => Err(Errno::ENOTSUP),
            Sharing::Private => {
                // SAFETY: the reservation is ours, and nobody relies on its content.
                unsafe { sys::map_file_over(to, len, fd, from, MapFile::Private) }.map(|()| true)
            }
            Sharing::Shared => {
                // SAFETY: as above.
                unsafe { mapping::map_shared_over(to, len, Rights::READ_WRITE, fd, from) }
                    .map(|synchronous| synchronous || part.is_device())
            }
        };
        result.map_err(|errno| Error::system("mmap", part.path(), errno))
    }

    /// Chooses how stores become durable.
    fn decide(&mut self, direct: bool, how: Sharing) {
        // Private stores never become durable: nothing to wait for.
        let direct = how == Sharing::Private || forced().unwrap_or(direct);
        self.memory = Memory(if direct { Cpu::get() } else { page_sync() });
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How stores become durable.
    #[inline]
    #[must_use]
    pub fn memory(&self) -> &'static dyn Persist {
        self.memory.0
    }

    /// The address of an offset. It may be the end.
    ///
    /// # Panics
    /// When `[offset, offset + len)` does not lie inside.
    #[inline]
    #[must_use]
    pub fn at(&self, offset: u64, len: u64) -> *mut u8 {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len as u64), "outside of the mapping");
        // SAFETY: inside of the mapping, by the assertion.
        unsafe { self.base.as_ptr().add(offset as usize) }
    }

    /// Copies bytes out.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len() as u64);
        // SAFETY: both ranges are valid; whoever writes to the mapping does it elsewhere.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Copies bytes in, and makes them durable.
    ///
    /// # Errors
    /// Those of `msync`.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> core::result::Result<(), Errno> {
        self.copy(offset, bytes, CopyFlags::NONE)
    }

    /// Copies bytes in; `flags` say whether to flush and wait.
    ///
    /// # Errors
    /// Those of `msync`.
    #[inline]
    pub fn copy(
        &self,
        offset: u64,
        bytes: &[u8],
        flags: CopyFlags,
    ) -> core::result::Result<(), Errno> {
        let to = self.at(offset, bytes.len() as u64);
        // SAFETY: both ranges are valid; the caller writes where nobody else does.
        unsafe { self.memory().copy(to, bytes.as_ptr(), bytes.len(), flags) }
    }

    /// Sets bytes to zero, and makes them durable.
    ///
    /// # Errors
    /// Those of `msync`.
    pub fn zero(&self, offset: u64, len: u64) -> core::result::Result<(), Errno> {
        let to = self.at(offset, len);
        // SAFETY: valid; the caller writes where nobody else does.
        unsafe { self.memory().set(to, 0, len as usize, CopyFlags::NONE) }
    }

    /// Loads an aligned word (native order). The load is not moved before what this thread did in sequential order.
    #[inline]
    #[must_use]
    pub fn load(&self, offset: u64) -> u64 {
        let word = self.at(offset, 8).cast::<u64>();
        assert!(word.is_aligned(), "words are aligned");
        // SAFETY: valid and aligned; words that change are accessed atomically.
        unsafe { AtomicU64::from_ptr(word) }.load(Ordering::SeqCst)
    }

    /// Stores an aligned word (native order); not flushed.
    #[inline]
    pub fn store(&self, offset: u64, value: u64) {
        let word = self.at(offset, 8).cast::<u64>();
        assert!(word.is_aligned(), "words are aligned");
        // SAFETY: as in `load`.
        unsafe { self.memory().store_u64(word, value) };
    }

    /// Starts to make a range durable.
    ///
    /// # Errors
    /// Those of `msync`.
    #[inline]
    pub fn flush(&self, offset: u64, len: u64) -> core::result::Result<(), Errno> {
        let from = self.at(offset, len);
        // SAFETY: mapped.
        unsafe { self.memory().flush(from, len as usize) }
    }

    /// Waits for what this thread flushed.
    #[inline]
    pub fn drain(&self) {
        self.memory().drain();
    }

    /// Makes a range durable.
    ///
    /// # Errors
    /// Those of `msync`.
    #[inline]
    pub fn persist(&self, offset: u64, len: u64) -> core::result::Result<(), Errno> {
        let from = self.at(offset, len);
        // SAFETY: mapped.
        unsafe { self.memory().persist(from, len as usize) }
    }

    /// Makes a range durable down to the medium.
    ///
    /// # Errors
    /// Those of `msync`.
    pub fn deep_persist(&self, offset: u64, len: u64) -> core::result::Result<(), Errno> {
        let from = self.at(offset, len);
        // SAFETY: mapped.
        unsafe { self.memory().deep_persist(from, len as usize) }
    }

    /// Touches every page, so that later accesses do not fault.
    pub fn prefault(&self) {
        const MADV_POPULATE_WRITE: i32 = 23;
        // SAFETY: no content changes. It is an optimisation: what fails here shows later.
        unsafe {
            libc::madvise(self.base.as_ptr().cast(), self.len, MADV_POPULATE_WRITE);
        }
    }
}

impl AsRef<Mapping> for Mapping {
    fn as_ref(&self) -> &Mapping {
        self
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.owned {
            mapping::will_be_unmapped(self.base.as_ptr(), self.len);
            // SAFETY: ours, and nobody uses it any more. Unmapping a range of whole pages does not fail.
            let _ = unsafe { sys::unmap(self.base, self.len) };
        }
    }
}

/// Lets `PMEM_MMAP_HINT` say where pools are mapped.
fn honour_hint() {
    static READ: Once = Once::new();
    READ.call_once(|| {
        let hint = std::env::var_os("PMEM_MMAP_HINT");
        let hint = hint.and_then(|hint| mapping::parse_hint(hint.as_encoded_bytes()));
        if let Some(hint) = hint {
            mapping::prefer_addresses_from(hint);
        }
    });
}

/// Maps the parts of a replica in a row; `headers`: each has one, and only that of the first is mapped.
pub(crate) fn map_replica(parts: &[Part], headers: bool, how: Sharing) -> Result<Mapping> {
    let path = parts[0].path();
    let hidden = |index: usize| if headers && index > 0 { HEADER_SIZE as u64 } else { 0 };
    let total = parts
        .iter()
        .enumerate()
        .try_fold(0u64, |sum, (index, part)| sum.checked_add(part.mapped_size() - hidden(index)));
    let total = total.and_then(|total| usize::try_from(total).ok());
    let total = total.ok_or_else(|| Error::system("mmap", path, Errno::ENOMEM))?;
    let align = parts.iter().map(Part::align).max().unwrap_or(PAGE);
    let mut whole = Mapping::reserve(total, align as usize, path)?;
    let (mut at, mut direct) = (0, true);
    for (index, part) in parts.iter().enumerate() {
        let len = (part.mapped_size() - hidden(index)) as usize;
        direct &= whole.place(at, part, hidden(index), len, how)?;
        at += len;
    }
    whole.decide(direct, how);
    Ok(whole)
}

/// Maps the beginning of a part, where its header is.
pub(crate) fn map_start(part: &Part) -> Result<Mapping> {
    let len = part.align().max(HEADER_SIZE as u64) as usize;
    let mut start = Mapping::reserve(len, part.align() as usize, part.path())?;
    let direct = start.place(0, part, 0, len, Sharing::Shared)?;
    start.decide(direct, Sharing::Shared);
    Ok(start)
}
