//! Layout of a log pool.
//!
//! ```text
//! 0x0000  header
//! 0x1000  descriptor: start, end, write offset (8 bytes each); volatile fields of other programs; zero
//! 0x2000  data, to the end of the pool
//! ```

use core::mem::offset_of;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the descriptor lies.
pub const DESCRIPTOR_OFFSET: u64 = 4096;
/// Where the data begins.
pub const DATA_OFFSET: u64 = 8192;
/// Where the descriptor's `write` lies: the one word that appending changes.
pub const WRITE_OFFSET: u64 = DESCRIPTOR_OFFSET + offset_of!(LogDescriptor, write) as u64;

/// The persistent part of the descriptor. Offsets count from the beginning of the pool.
#[derive(
    Copy, Clone, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LogDescriptor {
    /// Beginning of the data.
    pub start: U64,
    /// End of the pool.
    pub end: U64,
    /// End of what has been appended.
    pub write: U64,
}

const _: () = {
    assert!(size_of::<LogDescriptor>() == 24);
    assert!(offset_of!(LogDescriptor, end) == 8);
    assert!(offset_of!(LogDescriptor, write) == 16);
};

impl LogDescriptor {
    /// Of an empty log in a pool of so many bytes.
    #[must_use]
    pub fn empty(pool_size: u64) -> LogDescriptor {
        let start = DATA_OFFSET.into();
        LogDescriptor { start, end: pool_size.into(), write: start }
    }

    /// What is wrong with it in a pool of so many bytes, if anything.
    #[must_use]
    pub fn fault(&self, pool_size: u64) -> Option<String> {
        let (start, end, write) = (self.start.get(), self.end.get(), self.write.get());
        if start != DATA_OFFSET || end != pool_size {
            Some(format!(
                "wrong start/end offsets (start: {start} end: {end}), pool size {pool_size}"
            ))
        } else if write < start || write > end {
            Some(format!("write offset {write} of the log outside of {start}..={end}"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults() {
        let good = LogDescriptor::empty(2 << 20);
        assert_eq!(good.fault(2 << 20), None);
        assert!(good.fault(3 << 20).unwrap().contains("offsets"));
        assert!(LogDescriptor { start: 4096.into(), ..good }.fault(2 << 20).is_some());
        assert!(LogDescriptor { write: 8191.into(), ..good }.fault(2 << 20).is_some());
        assert!(LogDescriptor { write: (2 << 20).into(), ..good }.fault(2 << 20).is_none());
        assert!(LogDescriptor { write: ((2 << 20) + 1).into(), ..good }.fault(2 << 20).is_some());
    }
}
