//! Room on the nodes that memory is bound to.
//!
//! A page fault that finds such nodes full ends in the kernel's out-of-memory killer. So memory there is
//! taken in [`commit`](super::Source::commit), by asking first what is left and populating at once.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::errno::Errno;
use crate::numa::{self, NodeMask};

/// The part of what is left that is taken before the next look: others may take theirs meanwhile.
const PART: u64 = 8;
/// What is taken before the next look where the system cannot be asked.
const UNKNOWN: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Room {
    nodes: NodeMask,
    /// Bytes that can be taken before the next look.
    left: AtomicU64,
}

impl Room {
    pub(super) fn new(nodes: NodeMask) -> Room {
        Room { nodes, left: AtomicU64::new(0) }
    }

    /// # Errors
    /// `ENOMEM` when the nodes have less than `len` bytes left.
    pub(super) fn take(&self, len: usize) -> Result<(), Errno> {
        let len = len as u64;
        let rest = |left: u64| left.checked_sub(len);
        if self.left.fetch_update(Relaxed, Relaxed, rest).is_ok() {
            return Ok(());
        }
        let left = match numa::available_bytes(&self.nodes) {
            Ok(available) => available.checked_sub(len).ok_or(Errno::ENOMEM)? / PART,
            Err(_) => UNKNOWN,
        };
        self.left.store(left, Relaxed);
        Ok(())
    }
}
