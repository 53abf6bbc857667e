//! Checksums of entries, in caches that survive restarts.
//!
//! The check word of an entry has two halves: the checksum of what the user stored, looked at when the entry is first read
//! after a restart, and one of the header, looked at when the entries are found again. Both depend on the place and on a
//! random number of the file; so bytes of a value never pass for an entry. Parts of values have a checksum of their place and length. The second one also holds the number of the
//! namespace, and the first one depends on its name: should the number change, the entry is damaged and not another's.

use crate::block::{Header, Loc, Units, WORD};
use std::sync::atomic::Ordering::Relaxed;

/// Index of the check word in an entry.
pub(crate) const CHECK_WORD: usize = 1;

/// The number of the namespace is in the highest bits of the header's checksum.
const NUMBER_SHIFT: u32 = 24;

/// How a shard makes its checksums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    seed: u32,
    /// As `seed`, and depends on the name of the namespace.
    content_seed: u32,
    /// The number of the namespace in the file.
    number: u8,
}

impl Check {
    /// For the entries of one namespace in one shard.
    pub(crate) fn new(salt: u64, shard: u32, namespace: &str, number: u8) -> Check {
        let seed = crc32c::crc32c_append(shard, &salt.to_le_bytes());
        let content_seed = crc32c::crc32c_append(seed, namespace.as_bytes());
        Check { seed, content_seed, number }
    }

    /// The check word of an entry.
    ///
    /// # Safety
    /// At `loc` is an entry with this header, or a draft that is written but for this word.
    pub(crate) unsafe fn word(self, units: Units, loc: Loc, header: Header) -> u64 {
        // SAFETY: contract.
        let content = unsafe { self.content(units, loc, header) };
        // SAFETY: contract.
        let head = unsafe { self.head(units, loc, header, content) };
        u64::from(content) | u64::from(head ^ u32::from(self.number) << NUMBER_SHIFT) << 32
    }

    /// If the header of an entry is as it was written: the number of its namespace.
    ///
    /// # Safety
    /// The words of the header are inside the heap.
    pub(crate) unsafe fn number(self, units: Units, loc: Loc, header: Header) -> Option<u8> {
        // SAFETY: contract.
        unsafe {
            let word = units.word(loc, CHECK_WORD).load(Relaxed);
            let difference = (word >> 32) as u32 ^ self.head(units, loc, header, word as u32);
            (difference << (32 - NUMBER_SHIFT) == 0).then_some((difference >> NUMBER_SHIFT) as u8)
        }
    }

    /// Whether key and value are as they were written.
    ///
    /// # Safety
    /// At `loc` is an entry with this header, which does not go away.
    pub(crate) unsafe fn content_is_right(self, units: Units, loc: Loc, header: Header) -> bool {
        // SAFETY: contract.
        unsafe {
            let word = units.word(loc, CHECK_WORD).load(Relaxed);
            word as u32 == self.content(units, loc, header)
        }
    }

    /// The second word of a part: the next one, and a checksum. With it a walk tells parts from bytes of values.
    pub(crate) fn part_word(self, loc: Loc, units: u32, next: Loc) -> u64 {
        let mut sum = crc32c::crc32c_append(self.seed, &loc.to_le_bytes());
        sum = crc32c::crc32c_append(sum, &units.to_le_bytes());
        sum = crc32c::crc32c_append(sum, &next.to_le_bytes());
        u64::from(next) | u64::from(sum) << 32
    }

    unsafe fn head(self, units: Units, loc: Loc, header: Header, content: u32) -> u32 {
        let mut sum = crc32c::crc32c_append(self.seed, &loc.to_le_bytes());
        sum = crc32c::crc32c_append(sum, &header.lasting().to_le_bytes());
        sum = crc32c::crc32c_append(sum, &content.to_le_bytes());
        let layout = units.layout(header);
        for index in CHECK_WORD + 1..layout.key / WORD {
            // SAFETY: inside the heap by the caller's word.
            let word = unsafe { units.word(loc, index) }.load(Relaxed);
            sum = crc32c::crc32c_append(sum, &word.to_le_bytes());
        }
        sum
    }

    unsafe fn content(self, units: Units, loc: Loc, header: Header) -> u32 {
        // SAFETY: contract of the callers.
        unsafe {
            let mut sum = crc32c::crc32c_append(self.content_seed, units.key(loc, header));
            for (start, len) in units.pieces(loc, header) {
                sum = crc32c::crc32c_append(sum, std::slice::from_raw_parts(start, len));
            }
            sum
        }
    }
}
