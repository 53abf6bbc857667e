//! Lock ranks of the engine: a thread takes locks only in ascending order (checked in debug builds).

use pmem_core::sync::Rank;

/// Blocks that valgrind knows; only under valgrind.
pub(crate) const WATCH: Rank = Rank::new(2);
/// The registry of pools and threads.
pub(crate) const REGISTRY: Rank = Rank::new(10);
/// The list of thread caches of a pool.
pub(crate) const CACHES: Rank = Rank::new(20);
/// A bin (one class of one pool).
pub(crate) const BIN: Rank = Rank::new(30);
/// The page heap of a pool.
pub(crate) const ARENA: Rank = Rank::new(40);
/// Descriptor memory of a pool, and of the process.
pub(crate) const META: Rank = Rank::new(50);
/// What the process knows of its children.
pub(crate) const OFFSPRING: Rank = Rank::new(60);
