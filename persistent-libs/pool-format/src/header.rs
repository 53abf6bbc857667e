//! The header of a pool part.

use crate::{ArchFlags, Feature, Features, ShutdownState, Uuid, checksum};
use core::mem::offset_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a header; what follows in the file begins here.
pub const HEADER_SIZE: usize = 4096;

/// Where the checksum of 2 KiB ends.
const CHECKSUM_2K: usize = 2048;

/// 4096 bytes at the beginning of each part that has a header.
#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PoolHeader {
    /// What the pool is.
    pub signature: [u8; 8],
    /// Version of its format.
    pub major: U32,
    /// Feature bits.
    pub features: Features,
    /// The same in all parts and replicas.
    pub poolset_uuid: Uuid,
    /// Of this part.
    pub uuid: Uuid,
    /// Ring of the parts of a replica.
    pub prev_part_uuid: Uuid,
    /// Ring of the parts of a replica.
    pub next_part_uuid: Uuid,
    /// First part of the replica before this one; a ring, too.
    pub prev_replica_uuid: Uuid,
    /// First part of the replica after this one.
    pub next_replica_uuid: Uuid,
    /// Seconds since 1970.
    pub created: U64,
    /// The machine it was made on.
    pub arch: ArchFlags,
    unused: [u8; 1904],
    unused_2: [u8; 1976],
    /// Used in the first part of a replica.
    pub shutdown_state: ShutdownState,
    /// Over the header, see [`PoolHeader::sum`].
    pub checksum: U64,
}

/// Where the shutdown state lies.
pub const SHUTDOWN_STATE_OFFSET: usize = offset_of!(PoolHeader, shutdown_state);

const _: () = {
    assert!(size_of::<PoolHeader>() == HEADER_SIZE);
    assert!(offset_of!(PoolHeader, major) == 8);
    assert!(offset_of!(PoolHeader, features) == 12);
    assert!(offset_of!(PoolHeader, poolset_uuid) == 24);
    assert!(offset_of!(PoolHeader, uuid) == 40);
    assert!(offset_of!(PoolHeader, prev_part_uuid) == 56);
    assert!(offset_of!(PoolHeader, next_part_uuid) == 72);
    assert!(offset_of!(PoolHeader, prev_replica_uuid) == 88);
    assert!(offset_of!(PoolHeader, next_replica_uuid) == 104);
    assert!(offset_of!(PoolHeader, created) == 120);
    assert!(offset_of!(PoolHeader, arch) == 128);
    assert!(offset_of!(PoolHeader, unused) == 144);
    assert!(offset_of!(PoolHeader, unused_2) == CHECKSUM_2K);
    assert!(offset_of!(PoolHeader, shutdown_state) == 4024);
    assert!(offset_of!(PoolHeader, checksum) == 4088);
};

impl PoolHeader {
    /// A header without identities and links; the checksum is not set yet.
    #[must_use]
    pub fn new(signature: [u8; 8], major: u32, features: Features) -> PoolHeader {
        PoolHeader {
            signature,
            major: major.into(),
            features,
            poolset_uuid: Uuid::NULL,
            uuid: Uuid::NULL,
            prev_part_uuid: Uuid::NULL,
            next_part_uuid: Uuid::NULL,
            prev_replica_uuid: Uuid::NULL,
            next_replica_uuid: Uuid::NULL,
            created: U64::ZERO,
            arch: ArchFlags::native(),
            unused: [0; 1904],
            unused_2: [0; 1976],
            shutdown_state: ShutdownState::closed(Default::default()),
            checksum: U64::ZERO,
        }
    }

    /// The checksum that belongs to the header as it is.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let skip = self.features.has(Feature::Checksum2K).then_some(CHECKSUM_2K);
        checksum(self.as_bytes(), Some(offset_of!(PoolHeader, checksum)), skip)
    }

    /// Sets the checksum.
    pub fn seal(&mut self) {
        self.checksum = self.sum().into();
    }

    /// Whether the checksum is right. That of zero bytes is; see [`PoolHeader::is_empty`].
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.checksum.get() == self.sum()
    }

    /// Whether all bytes are zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().iter().all(|&byte| byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_covers_what_it_should() {
        let mut header = PoolHeader::new(*b"PMEMLOG\0", 1, Features::of_new_pools());
        header.seal();
        assert!(header.is_sealed());
        header.shutdown_state = ShutdownState::open(Default::default());
        assert!(header.is_sealed(), "the shutdown state lies outside of the 2 KiB");
        header.unused[1903] = 1;
        assert!(!header.is_sealed());

        let mut header = PoolHeader::new(*b"PMEMLOG\0", 1, Features::from_words(0, 0, 0));
        header.seal();
        header.unused_2[1975] = 1;
        assert!(!header.is_sealed());
    }
}
