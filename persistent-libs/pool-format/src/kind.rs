//! What kinds of pools there are.

/// A kind of pool, as creating and opening need it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PoolKind {
    /// What its header begins with.
    pub signature: [u8; 8],
    /// Version of its format.
    pub major: u32,
    /// The smallest pool in bytes.
    pub least_bytes: u64,
    /// Whether a pool may have several replicas.
    pub replicas: bool,
}

/// The smallest part in bytes.
pub const LEAST_PART: u64 = 2 << 20;

impl PoolKind {
    /// A log: `pmemlog`.
    pub const LOG: PoolKind =
        PoolKind { signature: *b"PMEMLOG\0", major: 1, least_bytes: 2 << 20, replicas: false };
    /// An array of blocks: `pmemblk`.
    pub const BLK: PoolKind = PoolKind {
        signature: *b"PMEMBLK\0",
        major: 1,
        least_bytes: (16 << 20) + (8 << 10),
        replicas: false,
    };
    /// Objects: `pmemobj`.
    pub const OBJ: PoolKind =
        PoolKind { signature: *b"PMEMOBJ\0", major: 6, least_bytes: 8 << 20, replicas: true };
}
