//! The memory policy calls of the kernel, without libnuma.

use core::ptr::NonNull;

use super::raw::once;
use crate::errno::Errno;
use crate::numa::NodeMask;

/// `get_mempolicy`: answer with a node ...
const MPOL_F_NODE: i32 = 1 << 0;
/// ... and that of an address.
const MPOL_F_ADDR: i32 = 1 << 1;

/// Sets the policy number `mode` (`MPOL_*`) with `nodes` for `[address, address + len)`. Pages that
/// exist stay where they are.
///
/// # Safety
/// The range belongs to the caller.
///
/// # Errors
/// `EINVAL` for a node that does not exist or holds no memory, `ENOSYS` without NUMA support,
/// `EPERM` in a sandbox.
pub unsafe fn bind_memory(
    address: NonNull<u8>,
    len: usize,
    mode: i32,
    nodes: &NodeMask,
) -> Result<(), Errno> {
    // The kernel counts one bit less than it is told.
    let bits = NodeMask::CAPACITY + 1;
    // SAFETY: the caller owns the range; the mask has as many bits as stated.
    once(|| unsafe {
        libc::syscall(libc::SYS_mbind, address.as_ptr(), len, mode, nodes.words().as_ptr(), bits, 0)
    })?;
    Ok(())
}

/// The node that holds the page at `address`; touches the page.
///
/// # Errors
/// `EFAULT` when nothing is mapped there, `ENOSYS`, `EPERM`.
pub fn node_of_address(address: NonNull<u8>) -> Result<usize, Errno> {
    let mut node = -1i32;
    // SAFETY: `node` is writable; the mask pointer may be null with these flags.
    once(|| unsafe {
        libc::syscall(
            libc::SYS_get_mempolicy,
            &raw mut node,
            core::ptr::null_mut::<u64>(),
            0usize,
            address.as_ptr(),
            MPOL_F_NODE | MPOL_F_ADDR,
        )
    })?;
    usize::try_from(node).map_err(|_| Errno::EINVAL)
}
