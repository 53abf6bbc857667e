//! Layout of a block pool.
//!
//! ```text
//! 0x0000  header
//! 0x1000  descriptor: block size, zeroed (4 bytes each); volatile fields of other programs
//! 0x2000  the block layout (see `btt`), to the end of the pool
//! ```

use core::mem::offset_of;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the descriptor lies.
pub const DESCRIPTOR_OFFSET: u64 = 4096;
/// Where the block layout begins.
pub const NAMESPACE_OFFSET: u64 = 8192;

/// The persistent part of the descriptor.
#[derive(
    Copy, Clone, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct BlkDescriptor {
    /// Bytes of a block, as the user sees it.
    pub block_size: U32,
    /// 1 when all data was known to be zero when the pool was made.
    pub is_zeroed: U32,
}

const _: () = {
    assert!(size_of::<BlkDescriptor>() == 8);
    assert!(offset_of!(BlkDescriptor, is_zeroed) == 4);
};
