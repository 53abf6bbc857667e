//! How bytes lie in the pool.
//!
//! A heap is a row of *blocks*, each a whole number of *units* long (8 bytes, more for very large heaps). The first word
//! of a block says what it is:
//!
//! ```text
//!  63                    28 27            6 5          4       3       2    1         0
//! +------------------------+---------------+----------+-------+-------+----+---------+----+
//! | value length, or units | key length    | unproven |expires|chained|part|prev free|free|
//! +------------------------+---------------+----------+-------+-------+----+---------+----+
//!
//! entry    header [check] [expiry] [next, units] key value
//! part     header  next                          value, continued
//! free     header [links]  ...                   header again in the last word
//! ```
//!
//! Words in brackets are there when the flag is set (`links`: when there is room). The check word belongs to caches that
//! survive restarts. The length of an entry that is not chained follows from its header.

use crate::fetch;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A place in a heap, in units. 0 is none.
pub(crate) type Loc = u32;

/// The size of a word in bytes.
pub(crate) const WORD: usize = 8;

const FREE: u64 = 1;
const PREV_FREE: u64 = 1 << 1;
const PART: u64 = 1 << 2;
const CHAINED: u64 = 1 << 3;
const EXPIRES: u64 = 1 << 4;
const UNPROVEN: u64 = 1 << 5;
const KEY_SHIFT: u32 = 6;
const LEN_SHIFT: u32 = 28;

/// The longest key in bytes.
pub(crate) const MAX_KEY: usize = (1 << (LEN_SHIFT - KEY_SHIFT)) - 1;
/// The longest value in bytes.
pub(crate) const MAX_VALUE: u64 = (1 << (64 - LEN_SHIFT)) - 1;

/// The first word of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header(pub(crate) u64);

impl Header {
    pub(crate) const fn entry(
        key_len: usize,
        value_len: u64,
        chained: bool,
        expires: bool,
    ) -> Header {
        let mut word = (key_len as u64) << KEY_SHIFT | value_len << LEN_SHIFT;
        if chained {
            word |= CHAINED;
        }
        if expires {
            word |= EXPIRES;
        }
        Header(word)
    }

    /// A block in use that is no entry, or not yet.
    pub(crate) const fn part(units: u32) -> Header {
        Header(PART | (units as u64) << LEN_SHIFT)
    }

    /// A free block; in the bits of a key's length is a number that depends on length, place and `seed`, by which a restart tells it from
    /// bytes of a value.
    pub(crate) const fn free(units: u32, loc: Loc, seed: u32) -> Header {
        let mixed = ((units as u64) << 32 | loc as u64) ^ seed as u64;
        let mixed = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (seed as u64) << 32;
        let check = mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> (64 - (LEN_SHIFT - KEY_SHIFT));
        Header(FREE | check << KEY_SHIFT | (units as u64) << LEN_SHIFT)
    }

    #[inline]
    pub(crate) const fn is_free(self) -> bool {
        self.0 & FREE != 0
    }

    #[inline]
    pub(crate) const fn prev_is_free(self) -> bool {
        self.0 & PREV_FREE != 0
    }

    #[inline]
    pub(crate) const fn is_part(self) -> bool {
        self.0 & PART != 0
    }

    #[inline]
    pub(crate) const fn is_entry(self) -> bool {
        self.0 & (FREE | PART) == 0
    }

    #[inline]
    pub(crate) const fn is_chained(self) -> bool {
        self.0 & CHAINED != 0
    }

    #[inline]
    pub(crate) const fn expires(self) -> bool {
        self.0 & EXPIRES != 0
    }

    /// Found after a restart, and its content not looked at yet.
    #[inline]
    pub(crate) const fn is_unproven(self) -> bool {
        self.0 & UNPROVEN != 0
    }

    /// Whether it has to be looked at closely before it is shown.
    #[inline]
    pub(crate) const fn is_doubtful(self) -> bool {
        self.0 & (EXPIRES | UNPROVEN) != 0
    }

    pub(crate) const fn with_unproven(self, unproven: bool) -> Header {
        Header(if unproven { self.0 | UNPROVEN } else { self.0 & !UNPROVEN })
    }

    /// What does not change while the entry lives.
    pub(crate) const fn lasting(self) -> u64 {
        self.0 & !(PREV_FREE | UNPROVEN)
    }

    pub(crate) const fn with_prev_free(self, free: bool) -> Header {
        Header(if free { self.0 | PREV_FREE } else { self.0 & !PREV_FREE })
    }

    #[inline]
    pub(crate) const fn key_len(self) -> usize {
        (self.0 >> KEY_SHIFT) as usize & MAX_KEY
    }

    #[inline]
    pub(crate) const fn value_len(self) -> u64 {
        self.0 >> LEN_SHIFT
    }

    /// The length of a block that is no entry.
    #[inline]
    pub(crate) const fn units(self) -> u32 {
        (self.0 >> LEN_SHIFT) as u32
    }
}

/// The units of a heap, as readers see them too. A plain address: the owner of the heap keeps the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units {
    base: NonNull<u8>,
    shift: u32,
    /// Whether entries have a check word.
    pub(crate) checked: bool,
}

// SAFETY: a plain address; who uses it does the synchronisation.
unsafe impl Send for Units {}
// SAFETY: as above.
unsafe impl Sync for Units {}

impl Units {
    pub(crate) const fn new(base: NonNull<u8>, shift: u32, checked: bool) -> Units {
        Units { base, shift, checked }
    }

    /// Bytes per unit.
    pub(crate) const fn unit(self) -> usize {
        1 << self.shift
    }

    /// Units that hold this many bytes.
    #[inline]
    pub(crate) const fn round_up(self, bytes: u64) -> u64 {
        (bytes + (1 << self.shift) - 1) >> self.shift
    }

    #[inline]
    pub(crate) const fn bytes(self, units: u32) -> u64 {
        (units as u64) << self.shift
    }

    /// # Safety
    /// The byte is inside the heap, or right behind it.
    #[inline]
    pub(crate) unsafe fn at(self, loc: Loc, byte: usize) -> *mut u8 {
        // SAFETY: inside the heap by the caller's word.
        unsafe { self.base.as_ptr().add(((loc as usize) << self.shift) + byte) }
    }

    /// The `index`-th word of the block at `loc`.
    ///
    /// # Safety
    /// It is inside the heap, and all threads use it as a word for as long as the reference is used.
    #[inline]
    pub(crate) unsafe fn word<'a>(self, loc: Loc, index: usize) -> &'a AtomicU64 {
        // SAFETY: inside the heap by the caller's word; blocks are aligned to words.
        unsafe { &*self.at(loc, index * WORD).cast::<AtomicU64>() }
    }

    /// # Safety
    /// A block starts at `loc`.
    #[inline]
    pub(crate) unsafe fn header(self, loc: Loc) -> Header {
        // SAFETY: the first word of a block is always used as a word.
        Header(unsafe { self.word(loc, 0) }.load(Acquire))
    }

    /// # Safety
    /// As [`header`](Self::header), and the caller holds the heap's lock.
    #[inline]
    pub(crate) unsafe fn set_header(self, loc: Loc, header: Header) {
        // SAFETY: as above.
        unsafe { self.word(loc, 0) }.store(header.0, Release);
    }

    /// Where the optional words and the key of an entry are.
    #[inline]
    pub(crate) const fn layout(self, header: Header) -> Layout {
        let expiry = 1 + self.checked as usize;
        let chain = expiry + header.expires() as usize;
        Layout { expiry, chain, key: (chain + header.is_chained() as usize) * WORD }
    }

    /// The length in bytes of an entry that is in one piece.
    #[inline]
    pub(crate) const fn entry_len(self, header: Header) -> u64 {
        (self.layout(header).key + header.key_len()) as u64 + header.value_len()
    }

    /// The key of an entry.
    ///
    /// # Safety
    /// At `loc` is an entry with this header, which does not go away while the slice is used.
    #[inline]
    pub(crate) unsafe fn key<'a>(self, loc: Loc, header: Header) -> &'a [u8] {
        let layout = self.layout(header);
        // SAFETY: the key is always in the entry's first block.
        unsafe { std::slice::from_raw_parts(self.at(loc, layout.key), header.key_len()) }
    }

    /// Next part and own length in units of a chained entry or of a part.
    ///
    /// # Safety
    /// As for [`key`](Self::key).
    #[inline]
    pub(crate) unsafe fn chain(self, loc: Loc, header: Header) -> (Loc, u32) {
        // SAFETY: the word is there by the header.
        unsafe {
            if header.is_part() {
                (self.word(loc, 1).load(Relaxed) as Loc, header.units())
            } else {
                let word = self.word(loc, self.layout(header).chain).load(Relaxed);
                (word as Loc, (word >> 32) as u32)
            }
        }
    }

    /// The value of an entry, piece by piece.
    ///
    /// # Safety
    /// As for [`key`](Self::key), while the pieces are used.
    #[inline]
    pub(crate) unsafe fn pieces(self, loc: Loc, header: Header) -> Pieces {
        let start = self.layout(header).key + header.key_len();
        let len = header.value_len();
        if header.is_chained() {
            // SAFETY: forwarded.
            let (next, units) = unsafe { self.chain(loc, header) };
            let room = self.bytes(units) - start as u64;
            Pieces { units: self, loc, start, len: len.min(room), left: len, next }
        } else {
            Pieces { units: self, loc, start, len, left: len, next: 0 }
        }
    }
}

/// Indices of the optional words of an entry, and the byte at which its key starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) expiry: usize,
    pub(crate) chain: usize,
    pub(crate) key: usize,
}

/// The word of a chained entry.
pub(crate) const fn chain_word(next: Loc, units: u32) -> u64 {
    next as u64 | (units as u64) << 32
}

/// Iterates over the pieces of a value: address and length.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    units: Units,
    loc: Loc,
    start: usize,
    len: u64,
    left: u64,
    next: Loc,
}

impl Pieces {
    /// Fetches some bytes of the first piece.
    #[inline]
    pub(crate) fn fetch(&self, offset: usize, len: usize) {
        if let Some(left) = (self.len as usize).checked_sub(offset) {
            // SAFETY: only the address is used.
            let start = unsafe { self.units.at(self.loc, self.start) };
            fetch::for_reading(start.wrapping_add(offset), len.min(left));
        }
    }
}

impl Iterator for Pieces {
    type Item = (*mut u8, usize);

    #[inline]
    fn next(&mut self) -> Option<(*mut u8, usize)> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: whoever made this promised that the entry stays.
        let piece = (unsafe { self.units.at(self.loc, self.start) }, self.len as usize);
        self.left -= self.len;
        if self.left > 0 {
            self.loc = self.next;
            // SAFETY: as above; a chain has as many parts as the value needs.
            let (next, units) = unsafe {
                let header = self.units.header(self.loc);
                self.units.chain(self.loc, header)
            };
            self.next = next;
            self.start = 2 * WORD;
            self.len = self.left.min(self.units.bytes(units) - self.start as u64);
        }
        Some(piece)
    }
}
