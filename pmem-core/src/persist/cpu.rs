//! Byte and cache-line granularity: instructions of the processor.

use super::{CopyFlags, Engine, Granularity, PageSync, Persist, arch, copy};
use crate::errno::Errno;
use crate::valgrind::pmemcheck;

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

/// Tells pmemcheck what a copy with these flags has done.
#[cold]
fn announce(dest: *const u8, len: usize, flags: CopyFlags) {
    if !flags.contains(CopyFlags::NOFLUSH) {
        pmemcheck::flushed(dest, len);
        if !flags.contains(CopyFlags::NODRAIN) {
            pmemcheck::fenced();
        }
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
        if Engine::announces() {
            pmemcheck::flushed(addr, len);
        }
        Ok(())
    }

    #[inline]
    fn drain(&self) {
        arch::fence();
        if Engine::announces() {
            pmemcheck::fenced();
        }
    }

    unsafe fn copy(
        &self,
        dest: *mut u8,
        src: *const u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        let engine = Engine::get();
        // SAFETY: forwarded from the caller's contract.
        unsafe { copy::copy(&engine, dest, src, len, flags, self.needs_flush) };
        if !flags.intersects(CopyFlags::NODRAIN | CopyFlags::NOFLUSH) {
            arch::fence();
        }
        if engine.announces {
            announce(dest, len, flags);
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
        let engine = Engine::get();
        // SAFETY: forwarded from the caller's contract.
        unsafe { copy::set(&engine, dest, byte, len, flags, self.needs_flush) };
        if !flags.intersects(CopyFlags::NODRAIN | CopyFlags::NOFLUSH) {
            arch::fence();
        }
        if engine.announces {
            announce(dest, len, flags);
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
