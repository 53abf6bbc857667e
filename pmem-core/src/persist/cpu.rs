//! Byte and cache-line granularity: instructions of the processor.

use super::{CopyFlags, Engine, Granularity, PageSync, Persist, arch, copy};
use crate::errno::Errno;

/// Memory whose stores the processor makes durable.
#[derive(Debug)]
pub struct Cpu {
    needs_flush: bool,
}

impl Cpu {
    /// The backend for memory of cache-line granularity.
    pub const CACHE_LINE: &'static Cpu = &Cpu { needs_flush: true };
    /// The backend for memory of byte granularity: a fence is all it takes.
    pub const BYTE: &'static Cpu = &Cpu { needs_flush: false };

    /// The backend for persistent memory that is mapped directly.
    #[must_use]
    pub fn get() -> &'static Cpu {
        Cpu::CACHE_LINE
    }
}

impl Persist for Cpu {
    fn granularity(&self) -> Granularity {
        if self.needs_flush { Granularity::CacheLine } else { Granularity::Byte }
    }

    #[inline]
    unsafe fn flush(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        if self.needs_flush {
            // SAFETY: forwarded from the caller's contract.
            unsafe { copy::flush(&Engine::get(), addr, len) };
        }
        Ok(())
    }

    #[inline]
    fn drain(&self) {
        arch::fence();
    }

    unsafe fn copy(
        &self,
        dest: *mut u8,
        src: *const u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { copy::copy(&Engine::get(), dest, src, len, flags, self.needs_flush) };
        if !flags.intersects(CopyFlags::NODRAIN | CopyFlags::NOFLUSH) {
            arch::fence();
        }
        Ok(())
    }

    unsafe fn set(
        &self,
        dest: *mut u8,
        byte: u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { copy::set(&Engine::get(), dest, byte, len, flags, self.needs_flush) };
        if !flags.intersects(CopyFlags::NODRAIN | CopyFlags::NOFLUSH) {
            arch::fence();
        }
        Ok(())
    }

    unsafe fn deep_persist(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { Cpu::CACHE_LINE.persist(addr, len) }?;
        // SAFETY: as above. The kernel knows what lies behind the mapping.
        unsafe { PageSync.flush(addr, len) }
    }
}
