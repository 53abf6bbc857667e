//! Address space: the one place that maps, unmaps and advises.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use super::file::Fd;
use super::raw::{once, retry};
use crate::errno::Errno;
use crate::valgrind::pmemcheck;

/// What a mapping may be used for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Protection {
    /// Any access faults.
    None,
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
}

impl Protection {
    const fn bits(self) -> i32 {
        match self {
            Protection::None => libc::PROT_NONE,
            Protection::Read => libc::PROT_READ,
            Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

/// How a file range is mapped.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MapFile {
    /// Stores reach the file; no page is reserved ahead.
    Shared,
    /// Stores stay in this process; no memory is reserved ahead.
    Private,
}

/// What `madvise` is asked for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Drop the pages of a private mapping; the next access sees zeros or the file again.
    /// On a shared mapping this frees nothing.
    DontNeed,
    /// Punch a hole into the file under a shared mapping.
    Remove,
    /// Map all pages now, readable; those of a file are read, but none is copied.
    PopulateRead,
    /// Allocate and map all pages now, writable; reports an error instead of `SIGBUS`.
    PopulateWrite,
    /// Use huge pages where possible.
    HugePage,
    /// Do not use huge pages.
    NoHugePage,
    /// Leave the range out of core files.
    DontDump,
    /// Put the range into core files.
    DoDump,
    /// A child sees zeros here after `fork`.
    WipeOnFork,
    /// Read no more than the page that is asked for.
    Random,
}

impl Advice {
    const fn number(self) -> i32 {
        match self {
            Advice::DontNeed => libc::MADV_DONTNEED,
            Advice::Remove => libc::MADV_REMOVE,
            Advice::PopulateRead => libc::MADV_POPULATE_READ,
            Advice::PopulateWrite => libc::MADV_POPULATE_WRITE,
            Advice::HugePage => libc::MADV_HUGEPAGE,
            Advice::NoHugePage => libc::MADV_NOHUGEPAGE,
            Advice::DontDump => libc::MADV_DONTDUMP,
            Advice::DoDump => libc::MADV_DODUMP,
            Advice::WipeOnFork => libc::MADV_WIPEONFORK,
            Advice::Random => libc::MADV_RANDOM,
        }
    }
}

fn as_void(address: NonNull<u8>) -> *mut c_void {
    address.as_ptr().cast()
}

fn non_null(address: *mut c_void) -> NonNull<u8> {
    // The kernel never answers a request without an address with page 0.
    NonNull::new(address.cast()).unwrap_or(NonNull::dangling())
}

/// Under Miri only this exact pair of flags works; Miri's memory is never reserved anyway.
const ANONYMOUS: i32 =
    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | if cfg!(miri) { 0 } else { libc::MAP_NORESERVE };

/// Maps `len` bytes of private zero pages at an address of the system's choice; nothing is reserved
/// ahead.
///
/// # Errors
/// `ENOMEM`; `EINVAL` when `len` is 0.
pub fn map_anonymous(len: usize) -> Result<NonNull<u8>, Errno> {
    map_new(len, Protection::ReadWrite)
}

/// Reserves `len` bytes of address space without memory behind it.
///
/// # Errors
/// `ENOMEM`; `EINVAL` when `len` is 0.
pub fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
    // Miri cannot change the protection later.
    map_new(len, if cfg!(miri) { Protection::ReadWrite } else { Protection::None })
}

/// As [`reserve`] at an address, if nothing is mapped there.
///
/// # Errors
/// `EEXIST` when something is; `EINVAL` for an unaligned address; `ENOMEM`, `EPERM`.
pub fn reserve_at(address: usize, len: usize) -> Result<NonNull<u8>, Errno> {
    let flags = ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let wanted = core::ptr::without_provenance_mut::<c_void>(address);
    // SAFETY: nothing that exists is replaced.
    let got = once(|| unsafe { libc::mmap(wanted, len, libc::PROT_NONE, flags, -1, 0) })?;
    if got.addr() != address {
        // A kernel before 4.17 takes the address as a hint.
        // SAFETY: mapped just now.
        let _ = once(|| unsafe { libc::munmap(got, len) });
        return Err(Errno::EEXIST);
    }
    Ok(non_null(got))
}

fn map_new(len: usize, protection: Protection) -> Result<NonNull<u8>, Errno> {
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let address = once(|| unsafe {
        libc::mmap(core::ptr::null_mut(), len, protection.bits(), ANONYMOUS, -1, 0)
    })?;
    Ok(non_null(address))
}

/// Replaces `[address, address + len)` by private zero pages.
///
/// # Safety
/// The range belongs to the caller, and nobody relies on its present content.
///
/// # Errors
/// `ENOMEM`, `EINVAL` for an unaligned address.
pub unsafe fn map_anonymous_over(
    address: NonNull<u8>,
    len: usize,
    protection: Protection,
) -> Result<(), Errno> {
    // SAFETY: the caller owns the range.
    once(|| unsafe {
        libc::mmap(as_void(address), len, protection.bits(), ANONYMOUS | libc::MAP_FIXED, -1, 0)
    })?;
    Ok(())
}

/// Replaces `[address, address + len)` by `len` bytes of a file, from `offset`, readable and
/// writable.
///
/// # Safety
/// The range belongs to the caller, and nobody relies on its present content.
///
/// # Errors
/// Those of `mmap`: `EBADF`, `EACCES`, `ENODEV`, `ENOMEM`, `EINVAL`, ...
pub unsafe fn map_file_over(
    address: NonNull<u8>,
    len: usize,
    fd: Fd,
    offset: u64,
    how: MapFile,
) -> Result<(), Errno> {
    let flags = libc::MAP_FIXED
        | libc::MAP_NORESERVE
        | match how {
            MapFile::Shared => libc::MAP_SHARED,
            MapFile::Private => libc::MAP_PRIVATE,
        };
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the caller owns the range.
    once(|| unsafe {
        libc::mmap(as_void(address), len, Protection::ReadWrite.bits(), flags, fd.raw(), offset)
    })?;
    Ok(())
}

/// Moves a mapping of `len` bytes from `from` to `to`, replacing what is there.
///
/// # Safety
/// Both ranges belong to the caller; nobody uses `from` any more, and nobody relies on the content
/// of `to`.
///
/// # Errors
/// `ENOMEM`, `EINVAL`, `EFAULT`.
pub unsafe fn move_mapping_over(
    from: NonNull<u8>,
    to: NonNull<u8>,
    len: usize,
) -> Result<(), Errno> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the caller owns both ranges.
    once(|| unsafe { libc::mremap(as_void(from), len, len, flags, as_void(to)) })?;
    Ok(())
}

/// Moves the pages of `[from, from + len)` to a new mapping of the same kind, and gives its address:
/// `wish`, if nothing is mapped there. `from` stays mapped: private zero pages are empty then, pages
/// of a file will be looked up again. On an error nothing has changed.
///
/// # Safety
/// The range belongs to the caller, and nobody uses it meanwhile: a store could be lost.
///
/// # Errors
/// `EINVAL` when the kernel cannot do it (before 5.7, for files before 5.13), `EFAULT` when the
/// range is not all of one mapping, `ENOMEM` for want of address space, of mappings, or of memory.
pub unsafe fn move_pages_out(
    from: NonNull<u8>,
    len: usize,
    wish: NonNull<u8>,
) -> Result<NonNull<u8>, Errno> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
    // The C library passes no wish on with these flags.
    // SAFETY: the caller owns the range; without MREMAP_FIXED nothing that exists is replaced.
    let address = once(|| unsafe {
        libc::syscall(libc::SYS_mremap, as_void(from), len, len, flags, as_void(wish))
    })?;
    Ok(non_null(core::ptr::with_exposed_provenance_mut(address.cast_unsigned() as usize)))
}

/// Removes all mappings in `[address, address + len)`.
///
/// # Safety
/// The range belongs to the caller and nobody uses it any more.
///
/// # Errors
/// `EINVAL` for an unaligned range, `ENOMEM` when a mapping would have to be split and the process
/// has too many.
pub unsafe fn unmap(address: NonNull<u8>, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller owns the range.
    once(|| unsafe { libc::munmap(as_void(address), len) })?;
    Ok(())
}

/// Changes what may be done with `[address, address + len)`.
///
/// # Safety
/// The range belongs to the caller, and no access that the new protection forbids is made
/// afterwards.
///
/// # Errors
/// `ENOMEM`, `EACCES`, `EINVAL`.
pub unsafe fn protect(
    address: NonNull<u8>,
    len: usize,
    protection: Protection,
) -> Result<(), Errno> {
    // SAFETY: the caller owns the range.
    once(|| unsafe { libc::mprotect(as_void(address), len, protection.bits()) })?;
    Ok(())
}

/// Advises the kernel about `[address, address + len)`.
///
/// # Safety
/// The range belongs to the caller; for [`Advice::DontNeed`], [`Advice::Remove`] and
/// [`Advice::WipeOnFork`] nobody relies on its content.
///
/// # Errors
/// Those of `madvise`; `EINVAL` when the kernel does not know the advice.
pub unsafe fn advise(address: NonNull<u8>, len: usize, advice: Advice) -> Result<(), Errno> {
    // SAFETY: the caller owns the range and gave up its content where the advice drops it.
    retry(|| unsafe { libc::madvise(as_void(address), len, advice.number()) })?;
    Ok(())
}

/// How many system pages of `[address, address + len)` are in memory (for a file: in the page
/// cache).
///
/// # Errors
/// `ENOMEM` when a part of the range is not mapped.
pub fn resident_pages(address: NonNull<u8>, len: usize) -> Result<u64, Errno> {
    const BATCH: usize = 512;
    let page = super::page_size();
    let mut states = [0u8; BATCH];
    let mut total = 0u64;
    let mut offset = 0;
    while offset < len {
        let part = (len - offset).min(BATCH * page);
        // SAFETY: mincore reads no memory of the range; `states` has one byte per page of `part`.
        retry(|| unsafe {
            libc::mincore(as_void(address).wrapping_byte_add(offset), part, states.as_mut_ptr())
        })?;
        let pages = part.div_ceil(page);
        total += states.iter().take(pages).filter(|&&state| state & 1 != 0).count() as u64;
        offset += part;
    }
    Ok(total)
}

/// Writes the pages of `[address, address + len)` to their file and waits for it. `address` is a
/// multiple of the page size.
///
/// # Errors
/// Those of `msync`: `EIO`, `ENOSPC`; `ENOMEM` when a part of the range is not mapped; `EINVAL` for
/// an unaligned address.
pub fn sync_mapping(address: usize, len: usize) -> Result<(), Errno> {
    // A system call of its own: the C library's function is a cancellation point.
    // SAFETY: msync changes no memory, and reports what is not mapped.
    retry(|| unsafe { libc::syscall(libc::SYS_msync, address, len, libc::MS_SYNC) })?;
    if pmemcheck::is_running() {
        pmemcheck::flushed(ptr::without_provenance(address), len);
        pmemcheck::fenced();
    }
    Ok(())
}

/// What the accesses of a program to a mapping may do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Load.
    pub read: bool,
    /// Store.
    pub write: bool,
    /// Run instructions.
    pub execute: bool,
}

impl Rights {
    /// Loads and stores.
    pub const READ_WRITE: Rights = Rights { read: true, write: true, execute: false };

    const fn bits(self) -> i32 {
        (if self.read { libc::PROT_READ } else { 0 })
            | (if self.write { libc::PROT_WRITE } else { 0 })
            | (if self.execute { libc::PROT_EXEC } else { 0 })
    }
}

/// What [`map_over`] puts into a range.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A file from an offset in bytes on. Once a store is visible, so is the place in the file that
    /// it went to, even after a crash (`MAP_SYNC`).
    SharedSync(Fd, u64),
    /// A file from an offset on.
    Shared(Fd, u64),
    /// A file from an offset on; stores stay in this process.
    Private(Fd, u64),
    /// Zero pages.
    Anonymous,
}

/// Replaces `[address, address + len)`. On an error of `mmap` nothing has changed.
///
/// A file is mapped elsewhere first: a `mmap` over the range that a file system refuses (as `MAP_SYNC`) may leave a hole
/// there, which another thread could be given before the next attempt.
///
/// # Safety
/// The range belongs to the caller, and nobody relies on its present content.
///
/// # Errors
/// Those of `mmap` and `mremap`; `EOPNOTSUPP` or `EINVAL` when `MAP_SYNC` cannot be had.
pub unsafe fn map_over(
    address: NonNull<u8>,
    len: usize,
    rights: Rights,
    content: Content,
) -> Result<(), Errno> {
    let (flags, fd, offset) = match content {
        Content::SharedSync(fd, offset) => {
            (libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC, fd.raw(), offset)
        }
        Content::Shared(fd, offset) => (libc::MAP_SHARED, fd.raw(), offset),
        Content::Private(fd, offset) => (libc::MAP_PRIVATE, fd.raw(), offset),
        Content::Anonymous => {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            // SAFETY: the caller owns the range.
            once(|| unsafe { libc::mmap(as_void(address), len, rights.bits(), flags, -1, 0) })?;
            return Ok(());
        }
    };
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let made = once(|| unsafe {
        libc::mmap(core::ptr::null_mut(), len, rights.bits(), flags, fd, offset)
    })?;
    let made = non_null(made);
    // SAFETY: made above; the other range is the caller's.
    if let Err(errno) = unsafe { move_mapping_over(made, address, len) } {
        // SAFETY: made above.
        let _ = unsafe { unmap(made, len) };
        return Err(errno);
    }
    Ok(())
}
