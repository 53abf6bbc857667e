//! What freed memory is overwritten with.

use core::ptr;

/// In each byte. As part of an address it leads nowhere.
const BYTE: u8 = 0xDF;
const WORD: u64 = u64::from_ne_bytes([BYTE; 8]);

/// Bytes of a block that are overwritten at most.
const MAX_FILLED: usize = 64 << 10;
/// Bytes of a slot that are looked at at most.
const MAX_VERIFIED: usize = 512;

/// Overwrites a freed block of `room` bytes.
///
/// # Safety
/// The block is the caller's.
pub(super) unsafe fn fill(block: *mut u8, room: usize) {
    // SAFETY: contract.
    unsafe { block.write_bytes(BYTE, room.min(MAX_FILLED)) };
}

/// Offset of a byte that was changed since [`fill`] with the same `room`, a multiple of 16.
///
/// # Safety
/// The block is the caller's.
pub(super) unsafe fn changed_at(block: *mut u8, room: usize) -> Option<usize> {
    let looked_at = room.min(MAX_VERIFIED);
    // SAFETY: contract; blocks are aligned to 16.
    let words = unsafe { core::slice::from_raw_parts(block.cast::<u64>(), looked_at / 8) };
    let changed = words.iter().fold(0, |changed, word| changed | (word ^ WORD));
    if changed == 0 {
        return None;
    }
    let bytes = ptr::slice_from_raw_parts(block, looked_at);
    // SAFETY: contract.
    unsafe { (*bytes).iter().position(|&byte| byte != BYTE) }
}
