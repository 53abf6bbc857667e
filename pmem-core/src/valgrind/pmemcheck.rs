//! Requests of pmemcheck, the tool of a fork of valgrind that watches whether stores to persistent memory are flushed. It
//! sees instructions by itself, but not which memory is persistent, nor what `msync` does.
//!
//! Outside of the tool nothing is requested: [`is_running`] asks once.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::request;

/// The requests of pmemcheck start here.
const PMEMCHECK: usize = (b'P' as usize) << 24 | (b'C' as usize) << 16;
/// Descriptor, address, length, offset in the file.
const REGISTER_FILE: usize = PMEMCHECK + 1;
/// Address, length.
const REMOVE_MAPPING: usize = PMEMCHECK + 2;
/// Address, length; answers whether it is registered.
const IS_MAPPING: usize = PMEMCHECK + 3;
/// Address, length.
const DO_FLUSH: usize = PMEMCHECK + 5;
const DO_FENCE: usize = PMEMCHECK + 6;

/// Whether the process runs under pmemcheck.
#[must_use]
pub fn is_running() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    static RUNNING: AtomicU8 = AtomicU8::new(UNKNOWN);
    match RUNNING.load(Relaxed) {
        UNKNOWN => {
            /// No answer of the tool; what remains where nobody answers.
            const NOBODY: usize = 0x504d;
            let answer =
                if super::is_running() { request(NOBODY, IS_MAPPING, [0; 4]) } else { NOBODY };
            let running = answer != NOBODY;
            RUNNING.store(if running { YES } else { NO }, Relaxed);
            running
        }
        state => state == YES,
    }
}

/// A file was mapped that is to be watched.
#[cold]
pub fn file_mapped(fd: i32, start: *const u8, len: usize, offset: u64) {
    let descriptor = usize::try_from(fd).unwrap_or(usize::MAX);
    request(0, REGISTER_FILE, [descriptor, start.addr(), len, offset as usize]);
}

/// A range is no longer watched.
#[cold]
pub fn unmapped(start: *const u8, len: usize) {
    request(0, REMOVE_MAPPING, [start.addr(), len, 0, 0]);
}

/// A range was flushed.
#[cold]
#[inline(never)]
pub fn flushed(start: *const u8, len: usize) {
    request(0, DO_FLUSH, [start.addr(), len, 0, 0]);
}

/// What was flushed is durable.
#[cold]
#[inline(never)]
pub fn fenced() {
    request(0, DO_FENCE, [0; 4]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the header of the tool numbers them, from 0x50430000 on.
    #[test]
    fn requests_have_their_numbers() {
        let numbers = [REGISTER_FILE, REMOVE_MAPPING, IS_MAPPING, DO_FLUSH, DO_FENCE];
        assert_eq!(numbers, [0x5043_0001, 0x5043_0002, 0x5043_0003, 0x5043_0005, 0x5043_0006]);
    }

    #[test]
    fn it_is_not_running_here() {
        assert!(!is_running() && !is_running());
        let byte = 7u8;
        flushed(&raw const byte, 1);
        fenced();
        assert_eq!(byte, 7);
    }
}
