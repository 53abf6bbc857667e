//! Canaries: bytes behind the end of a block that nobody has a reason to write.
//!
//! ```text
//! slack of 8 bytes or more     | block ... | canary (8) | rest of the slack |
//! less                         | block ... | as much of it as there is room for |
//! ```
//!
//! They depend on a secret and on the address, and none of their bytes is 0: the zero that ends a
//! string too long by one is always noticed.

/// Bytes of a whole canary.
const LEN: usize = size_of::<u64>();

/// Address of the word that ends with the canary, the canary's place in it (in bits from the lowest),
/// and the canary of that word.
#[inline(always)]
fn place(block: *mut u8, room: usize, slack: usize, secret: u64) -> (*mut u64, u32, u64) {
    debug_assert!(slack > 0 && slack <= room && room >= LEN);
    let at = block.wrapping_add(room - slack.max(LEN));
    let shift = 8 * (LEN - slack.min(LEN)) as u32;
    let mixed = (at.addr() as u64).swap_bytes() ^ secret;
    (at.cast(), shift, (mixed | 0x0101_0101_0101_0101).to_le())
}

/// The bits of a word that are the canary's.
#[inline(always)]
fn mask(shift: u32) -> u64 {
    (u64::MAX << shift).to_le()
}

/// Writes the canary of a block with `room` bytes, `slack` (> 0) of them behind its end. May change
/// the last bytes of the block.
///
/// # Safety
/// The block is the caller's.
#[inline(always)]
pub(super) unsafe fn write(block: *mut u8, room: usize, slack: usize, secret: u64) {
    let (at, shift, canary) = place(block, room, slack, secret);
    // The program is not told the part of the canary that it would see.
    // SAFETY: inside the block's room.
    unsafe { at.write_unaligned(canary & mask(shift)) };
}

/// As [`write`], and the block stays as it is.
///
/// # Safety
/// As [`write`].
pub(super) unsafe fn blend(block: *mut u8, room: usize, slack: usize, secret: u64) {
    let (at, shift, canary) = place(block, room, slack, secret);
    // SAFETY: inside the block's room.
    unsafe {
        let kept = at.read_unaligned() & !mask(shift);
        at.write_unaligned(kept | canary & mask(shift));
    }
}

/// Whether the canary is as it was written.
///
/// # Safety
/// As [`write`]; a canary was written for these lengths.
#[inline(always)]
pub(super) unsafe fn is_intact(block: *mut u8, room: usize, slack: usize, secret: u64) -> bool {
    let (at, shift, canary) = place(block, room, slack, secret);
    // SAFETY: inside the block's room.
    unsafe { (at.read_unaligned() ^ canary) & mask(shift) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: u64 = 0x0123_4567_89AB_CDEF;
    const ROOM: usize = 48;

    #[test]
    fn the_first_byte_behind_a_block_is_guarded_and_the_block_is_not() {
        for slack in 1..=ROOM {
            let mut memory = [0x5A_u8; ROOM];
            let block = memory.as_mut_ptr();
            // SAFETY: `memory` is the block.
            unsafe {
                blend(block, ROOM, slack, SECRET);
                let end = ROOM - slack;
                assert!(memory[..end].iter().all(|&byte| byte == 0x5A), "slack {slack}");
                assert!(is_intact(block, ROOM, slack, SECRET));
                for byte in end..(end + slack.min(LEN)) {
                    assert_ne!(block.add(byte).read(), 0);
                    let kept = block.add(byte).replace(0);
                    assert!(!is_intact(block, ROOM, slack, SECRET), "slack {slack} byte {byte}");
                    block.add(byte).write(kept);
                }
                if end > 0 {
                    block.add(end - 1).write(0xFF);
                }
                assert!(is_intact(block, ROOM, slack, SECRET));
                write(block, ROOM, slack, SECRET);
                assert!(is_intact(block, ROOM, slack, SECRET));
            }
        }
    }
}
