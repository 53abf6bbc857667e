//! Layout of a block pool.
//!
//! ```text
//! 0x0000  header
//! 0x1000  descriptor: block size, zeroed (4 bytes each); volatile fields of libpmemblk
//! 0x2000  the block layout (see `btt`), to the end of the pool
//! ```

use core::mem::offset_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the descriptor lies.
pub const DESCRIPTOR_OFFSET: u64 = 4096;
/// Where the block layout begins.
pub const NAMESPACE_OFFSET: u64 = 8192;

/// The descriptor: its persistent part, and the volatile fields that matter.
#[derive(
    Copy, Clone, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct BlkDescriptor {
    /// Bytes of a block, as the user sees it.
    pub block_size: U32,
    /// 1 when all data was known to be zero when the pool was made.
    pub is_zeroed: U32,
    /// The address of the pool in the program that had it open last; never used.
    pub volatile_base: U64,
    volatile: [U64; 2],
    /// The address of the block layout there. `pmempool info` of PMDK 1.12 takes the difference of the two for where the
    /// layout begins, so a new pool has [`NAMESPACE_OFFSET`] here.
    pub volatile_namespace: U64,
}

const _: () = {
    assert!(size_of::<BlkDescriptor>() == 40);
    assert!(offset_of!(BlkDescriptor, volatile_namespace) == 32);
    assert!(offset_of!(BlkDescriptor, is_zeroed) == 4);
};

impl BlkDescriptor {
    /// Of a new pool.
    #[must_use]
    pub fn new(block_size: u32, is_zeroed: bool) -> BlkDescriptor {
        BlkDescriptor {
            block_size: block_size.into(),
            is_zeroed: u32::from(is_zeroed).into(),
            volatile_base: U64::ZERO,
            volatile: [U64::ZERO; 2],
            volatile_namespace: NAMESPACE_OFFSET.into(),
        }
    }
}
