//! Making stores durable: flush, drain, and copies that flush what they write.
//!
//! A store to mapped persistent memory sits in the cache of a processor until its line is written back.
//! *Flush* starts the write-back of a range, *drain* waits until everything flushed before is durable,
//! and *persist* does both. What that takes depends on the memory ([`Granularity`]), so programs go
//! through [`Persist`]:
//!
//! | backend | memory | flush | drain |
//! |---|---|---|---|
//! | [`Cpu`] | byte, cache line | `clwb` and its relatives per line; nothing if caches are in the power-fail domain | store fence |
//! | [`PageSync`] | page | `msync` of the pages | nothing |
//!
//! A third backend, the recorder of the crash-explorer crate, notes every store, flush and drain for tests.

#[cfg_attr(all(target_arch = "x86_64", not(miri)), path = "persist/x86_64.rs")]
#[cfg_attr(all(target_arch = "aarch64", not(miri)), path = "persist/aarch64.rs")]
#[cfg_attr(
    any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))),
    path = "persist/portable.rs"
)]
mod arch;
mod copy;
mod cpu;
mod engine;
mod options;
mod page_sync;
mod words;

pub use cpu::Cpu;
pub use engine::{Engine, FlushInstruction, Stores};
pub use options::{Options, integer};
pub use page_sync::PageSync;

use core::ops::{BitOr, BitOrAssign};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::errno::Errno;

/// How much memory has to be flushed at once to make one stored byte durable. Ordered from fine to coarse.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Granularity {
    /// Nothing: a store is durable once it is visible, after a fence.
    Byte,
    /// A cache line, by an instruction of the processor.
    CacheLine,
    /// A page, by `msync`.
    Page,
}

/// How a copy is made, as the `PMEM_F_MEM_*` flags of libpmem.
///
/// # Examples
/// ```
/// use pmem_core::persist::CopyFlags;
/// let flags = CopyFlags::NODRAIN | CopyFlags::TEMPORAL;
/// assert!(flags.contains(CopyFlags::NODRAIN));
/// assert!(!flags.contains(CopyFlags::NOFLUSH));
/// assert_eq!(flags.bits(), 5);
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct CopyFlags(u32);

impl CopyFlags {
    /// Flush and drain, in the way that suits the length.
    pub const NONE: CopyFlags = CopyFlags(0);
    /// Flush, and leave the drain to the caller.
    pub const NODRAIN: CopyFlags = CopyFlags(1 << 0);
    /// Past the cache: the data will not be read soon.
    pub const NONTEMPORAL: CopyFlags = CopyFlags(1 << 1);
    /// Through the cache: the data will be read soon.
    pub const TEMPORAL: CopyFlags = CopyFlags(1 << 2);
    /// Prefer stores that combine in write buffers; a wish.
    pub const WC: CopyFlags = CopyFlags(1 << 3);
    /// Prefer stores that stay in the cache; a wish.
    pub const WB: CopyFlags = CopyFlags(1 << 4);
    /// Neither flush nor drain.
    pub const NOFLUSH: CopyFlags = CopyFlags(1 << 5);
    const ALL: u32 = (1 << 6) - 1;

    /// Takes the flags of a C caller; bits without a meaning are dropped.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u32) -> CopyFlags {
        CopyFlags(bits & CopyFlags::ALL)
    }

    /// The flags as C has them.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: CopyFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    #[inline]
    #[must_use]
    pub const fn intersects(self, other: CopyFlags) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for CopyFlags {
    type Output = CopyFlags;
    fn bitor(self, other: CopyFlags) -> CopyFlags {
        CopyFlags(self.0 | other.0)
    }
}

impl BitOrAssign for CopyFlags {
    fn bitor_assign(&mut self, other: CopyFlags) {
        self.0 |= other.0;
    }
}

/// A range of mapped memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// Its first byte.
    pub addr: *const u8,
    /// Its length in bytes.
    pub len: usize,
}

impl Range {
    /// Makes a range.
    #[must_use]
    pub const fn new(addr: *const u8, len: usize) -> Range {
        Range { addr, len }
    }
}

/// Durable stores to one kind of memory.
///
/// # What holds
///
/// * After [`persist`](Self::persist), or [`flush`](Self::flush) and a later [`drain`](Self::drain) by the
///   same thread, the stores that this thread made to the range before are durable.
/// * Before that, each of them may be durable or not, in any order, except: stores to the same cache line
///   become durable in program order, and an aligned 8-byte word becomes durable as a whole if it was written
///   by one store ([`store_u64`](Self::store_u64)) or by [`copy`](Self::copy) or [`set`](Self::set) of a range
///   that contains all of it. So a pointer or a length that is published by an 8-byte store after a `persist`
///   of what it leads to is never seen without it.
/// * Only stores through this trait are noted by the recorder of the crash explorer. Code that wants to be
///   tested with it makes every store to persistent memory through `copy`, `set` or `store_u64`.
///
/// An error (only with [`PageSync`]) means that the range may not be durable, now or later, even if the call is
/// repeated: the kernel may have dropped the pages.
///
/// # Examples
/// ```
/// use pmem_core::persist::{CopyFlags, Cpu, Persist};
///
/// fn append(log: &mut [u64; 8], text: &[u8], memory: &dyn Persist) -> Result<(), pmem_core::errno::Errno> {
///     let log = log.as_mut_ptr();
///     // SAFETY: the log has room for 56 bytes after its first word, which holds the length.
///     unsafe {
///         memory.copy(log.add(1).cast(), text.as_ptr(), text.len(), CopyFlags::NONE)?;
///         memory.store_u64(log, text.len() as u64);
///         memory.persist(log.cast(), 8)
///     }
/// }
///
/// let mut log = [0u64; 8];
/// append(&mut log, b"durable!", Cpu::get()).unwrap();
/// assert_eq!(log[..2], [8, u64::from_le_bytes(*b"durable!")]);
/// ```
pub trait Persist: Send + Sync {
    /// What the memory needs.
    fn granularity(&self) -> Granularity;

    /// Starts to make `[addr, addr + len)` durable. Nothing happens when `len` is 0.
    ///
    /// # Safety
    /// The range is mapped.
    ///
    /// # Errors
    /// Those of `msync`, with page granularity: `EIO`, `ENOSPC`, ...
    unsafe fn flush(&self, addr: *const u8, len: usize) -> Result<(), Errno>;

    /// Waits until everything that this thread flushed is durable, and orders the stores before it before those
    /// after it.
    fn drain(&self);

    /// Makes `[addr, addr + len)` durable.
    ///
    /// # Safety
    /// As for [`flush`](Self::flush).
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    #[inline]
    unsafe fn persist(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { self.flush(addr, len) }?;
        self.drain();
        Ok(())
    }

    /// Makes several ranges durable with as few waits as possible. Their order means nothing: after a crash any of
    /// them may be durable without the others.
    ///
    /// # Safety
    /// As for [`flush`](Self::flush), for each range.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush): the first one; the other ranges are tried all the same.
    unsafe fn persist_ranges(&self, ranges: &[Range]) -> Result<(), Errno> {
        let mut result = Ok(());
        for range in ranges {
            // SAFETY: forwarded from the caller's contract.
            let flushed = unsafe { self.flush(range.addr, range.len) };
            result = result.and(flushed);
        }
        self.drain();
        result
    }

    /// Copies `len` bytes as `memmove` does (the ranges may overlap), then flushes and drains as `flags` say.
    ///
    /// An aligned 8-byte word that lies in the destination is written by one store: a concurrent reader or a
    /// crash sees it old or new.
    ///
    /// # Safety
    /// `src` is readable and `dest` writable for `len` bytes. Nobody writes to either meanwhile; who reads the
    /// destination meanwhile does it by atomic loads.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    unsafe fn copy(
        &self,
        dest: *mut u8,
        src: *const u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno>;

    /// Sets `len` bytes to `byte`, with the promises of [`copy`](Self::copy).
    ///
    /// # Safety
    /// As for [`copy`](Self::copy).
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    unsafe fn set(
        &self,
        dest: *mut u8,
        byte: u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno>;

    /// Stores one word, in memory order (an aligned 8-byte store with release order). Not flushed.
    ///
    /// # Safety
    /// `dest` is aligned to 8 bytes and writable; everybody who accesses it meanwhile does it by atomic
    /// operations.
    #[inline]
    unsafe fn store_u64(&self, dest: *mut u64, value: u64) {
        // SAFETY: aligned, valid and only accessed atomically, by the caller's contract.
        unsafe { AtomicU64::from_ptr(dest) }.store(value, Ordering::Release);
    }

    /// Makes a range durable down to the medium itself, behind the buffers that a working power supply protects.
    /// Takes system calls: for rare, important points.
    ///
    /// # Safety
    /// As for [`flush`](Self::flush).
    ///
    /// # Errors
    /// Those of `msync`.
    unsafe fn deep_persist(&self, addr: *const u8, len: usize) -> Result<(), Errno>;
}

#[cfg(test)]
mod tests;
