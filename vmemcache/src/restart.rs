//! Caches that outlive their process: the file's first page, and finding the entries again.
//!
//! ```text
//! file: | superblock, names: 4096 bytes | heap of shard 0 | heap of shard 1 | ...
//! ```
//!
//! The superblock does not change while the cache is used, so an unclean end needs no repair of it. Beside it is the size of the heaps: one
//! word with its own checksum, which a resize changes by one store. Heaps lie where they would with the largest size. Names of namespaces are
//! only added to; the first one has number 1, and 0 is the namespace without a name. Entries are found by
//! walking the blocks of each heap. Entries and parts of values have checksums, and free blocks say at both ends what they are. Where
//! a walk meets something else, it looks for the next entry whose header has the right checksum; all between is free space. What users stored is checked when it is first read.

use crate::block::Loc;
use crate::builder::MIN_SHARD;
use crate::error::Error;
use std::path::Path;

/// Bytes before the first heap.
pub(crate) const HEAD: usize = 4096;
const MAGIC: [u8; 8] = *b"VMEMCACH";
const VERSION: u32 = 3;
/// Where the names of namespaces begin.
const NAMES: usize = 64;
/// The longest name in bytes.
pub(crate) const MAX_NAME: usize = 255;
const CHECKED: usize = 40;
/// Where the size word is.
pub(crate) const SIZE_WORD: usize = 48;

/// The size word: how many units each heap has, and a checksum.
pub(crate) fn size_word(salt: u64, part: Loc) -> u64 {
    let sum = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &part.to_le_bytes());
    u64::from(sum) << 32 | u64::from(part)
}

/// What the size word in the first page of a file says; none if it is damaged.
pub(crate) fn recorded_part(page: &[u8], salt: u64) -> Option<Loc> {
    let word = u64::from_le_bytes(*page.get(SIZE_WORD..)?.first_chunk()?);
    let part = word as Loc;
    (word == size_word(salt, part)).then_some(part)
}
/// Larger units are for heaps that have more than 2^31 of the smallest.
const LEAST_UNITS: u64 = 1024;

/// What one must know of a file to use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Superblock {
    /// Of the whole file in bytes: the largest size of the cache.
    pub(crate) len: u64,
    pub(crate) shards: u32,
    /// Units of the heaps are `1 << shift` bytes.
    pub(crate) shift: u32,
    /// Extents in units.
    pub(crate) extent: u32,
    /// A random number of the file.
    pub(crate) salt: u64,
}

impl Superblock {
    pub(crate) fn to_bytes(self) -> [u8; CHECKED + 4] {
        let mut bytes = [0; CHECKED + 4];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.shards.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.shift.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.extent.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Whether each shard has a heap.
    fn is_possible(&self) -> bool {
        let heaps = self.len.saturating_sub(HEAD as u64);
        let Some(len) = heaps.checked_div(self.shards.into()) else { return false };
        let units = len.checked_shr(self.shift).unwrap_or(0);
        len >= (MIN_SHARD / 2) as u64 && units >= LEAST_UNITS && self.shift >= 3 && self.extent > 0
    }

    /// Reads the start of a file; none for a file that was never used.
    pub(crate) fn from_bytes(
        bytes: &[u8],
        file_len: u64,
        path: &Path,
    ) -> Result<Option<Superblock>, Error> {
        let wrong = |what| Err(Error::Format { path: path.to_owned(), what });
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        if bytes.len() < CHECKED + 4 || bytes[..8] != MAGIC {
            return wrong("it is no cache");
        }
        let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |&b| u32::from_le_bytes(b));
        let u64_at = |at: usize| bytes[at..].first_chunk().map_or(0, |&b| u64::from_le_bytes(b));
        if u32_at(8) != VERSION {
            return wrong("another version wrote it");
        }
        if crc32c::crc32c(&bytes[..CHECKED]) != u32_at(CHECKED) {
            return wrong("its first page is damaged");
        }
        let block = Superblock {
            len: u64_at(16),
            shards: u32_at(12),
            shift: u32_at(24),
            extent: u32_at(28),
            salt: u64_at(32),
        };
        if !block.is_possible() {
            return wrong("its first page is damaged");
        }
        if block.len > file_len {
            return wrong("it was cut");
        }
        Ok(Some(block))
    }
}

/// The names that namespaces of a file ever had. Each keeps its number.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Box<str>>);

impl Names {
    /// Reads the first page of a file. A name that was not written to its end is not there.
    pub(crate) fn from_bytes(page: &[u8]) -> Names {
        let mut names = Names::default();
        let mut rest = page.get(NAMES..).unwrap_or(&[]);
        while let Some((&len, _)) = rest.split_first().filter(|&(&len, _)| len > 0)
            && let Some((name, behind)) = rest.split_at_checked(1 + usize::from(len))
            && let Some((sum, behind)) = behind.split_first_chunk()
            && u32::from_le_bytes(*sum) == crc32c::crc32c(name)
            && let Ok(name) = str::from_utf8(&name[1..])
        {
            names.0.push(name.into());
            rest = behind;
        }
        names
    }

    /// What comes into the first page, and where.
    pub(crate) fn to_bytes(&self) -> (usize, Vec<u8>) {
        let mut bytes = Vec::new();
        for name in &self.0 {
            let start = bytes.len();
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name.as_bytes());
            let sum = crc32c::crc32c(&bytes[start..]);
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
        bytes.push(0);
        (NAMES, bytes)
    }

    /// Adds a name, of at most [`MAX_NAME`] bytes, if it is not there. None if there is no room for it.
    pub(crate) fn add(&mut self, name: &str) -> Option<()> {
        if self.number(name).is_none() {
            let room = HEAD - NAMES - self.to_bytes().1.len();
            if name.len() + 5 > room || self.0.len() == usize::from(u8::MAX) {
                return None;
            }
            self.0.push(name.into());
        }
        Some(())
    }

    /// The number of a name.
    pub(crate) fn number(&self, name: &str) -> Option<u8> {
        if name.is_empty() {
            return Some(0);
        }
        self.0.iter().position(|known| **known == *name).map(|at| at as u8 + 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
