//! Byte and cache-line granularity: instructions of the processor.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use super::{CACHE_LINE_SIZE, CopyFlags, Granularity, PageSync, Persist};
use crate::errno::Errno;

/// Memory whose stores the processor makes durable.
#[derive(Debug)]
pub struct Cpu {
    granularity: Granularity,
}

static LINES: Cpu = Cpu { granularity: Granularity::CacheLine };

impl Cpu {
    /// The backend for memory of cache-line granularity.
    #[must_use]
    pub fn get() -> &'static Cpu {
        &LINES
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn flush_line(line: *const u8) {
    // SAFETY: writes one line back; faults only if nothing is mapped there, which the caller excludes.
    unsafe {
        core::arch::asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags));
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
fn flush_line(line: *const u8) {
    // SAFETY: as on x86_64.
    unsafe {
        core::arch::asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags));
    }
}

#[cfg(miri)]
fn flush_line(_line: *const u8) {}

/// Stores one byte where others may be loading.
unsafe fn store_byte(dest: *mut u8, value: u8) {
    // SAFETY: valid by the caller's contract.
    unsafe { AtomicU8::from_ptr(dest) }.store(value, Ordering::Relaxed);
}

unsafe fn store_word(dest: *mut u8, value: u64) {
    // SAFETY: aligned by the caller, valid by the contract of `copy`.
    unsafe { AtomicU64::from_ptr(dest.cast()) }.store(value, Ordering::Relaxed);
}

impl Persist for Cpu {
    fn granularity(&self) -> Granularity {
        self.granularity
    }

    unsafe fn flush(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        let end = addr.addr().saturating_add(len);
        let mut line = addr.addr() & !(CACHE_LINE_SIZE - 1);
        while len != 0 && line < end {
            flush_line(addr.with_addr(line));
            line += CACHE_LINE_SIZE;
        }
        Ok(())
    }

    fn drain(&self) {
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a barrier touches no memory.
        unsafe {
            core::arch::asm!("dsb ish", options(nostack, preserves_flags));
        }
        fence(Ordering::SeqCst);
    }

    unsafe fn copy(
        &self,
        dest: *mut u8,
        src: *const u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        let backwards = dest.addr().wrapping_sub(src.addr()) < len;
        let mut done = 0;
        while done < len {
            let left = len - done;
            let at = if backwards { left } else { done };
            // The piece ends at `at` when going backwards, and starts there otherwise.
            let end_aligned = (dest.addr() + at).is_multiple_of(8);
            let size = if left >= 8 && end_aligned { 8 } else { 1 };
            let from = if backwards { at - size } else { at };
            // SAFETY: the piece lies in both ranges; words are aligned in the destination.
            unsafe {
                if size == 8 {
                    store_word(dest.add(from), src.add(from).cast::<u64>().read_unaligned());
                } else {
                    store_byte(dest.add(from), src.add(from).read());
                }
            }
            done += size;
        }
        if !flags.contains(CopyFlags::NOFLUSH) {
            // SAFETY: the destination is mapped.
            unsafe { self.flush(dest, len) }?;
            if !flags.contains(CopyFlags::NODRAIN) {
                self.drain();
            }
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
        let word = u64::from_ne_bytes([byte; 8]);
        let mut at = 0;
        while at < len {
            let whole = len - at >= 8 && (dest.addr() + at).is_multiple_of(8);
            // SAFETY: the piece lies in the range; words are aligned.
            unsafe {
                if whole {
                    store_word(dest.add(at), word);
                } else {
                    store_byte(dest.add(at), byte);
                }
            }
            at += if whole { 8 } else { 1 };
        }
        if !flags.contains(CopyFlags::NOFLUSH) {
            // SAFETY: the destination is mapped.
            unsafe { self.flush(dest, len) }?;
            if !flags.contains(CopyFlags::NODRAIN) {
                self.drain();
            }
        }
        Ok(())
    }

    unsafe fn deep_persist(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { self.persist(addr, len) }?;
        // SAFETY: as above. The kernel knows what lies behind the mapping.
        unsafe { PageSync.flush(addr, len) }
    }
}
