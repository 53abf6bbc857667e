//! A memory barrier in all threads of the process at once: the costly half of an asymmetric fence, whose cheap half is
//! a compiler fence.

use super::raw::once;

const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Prepares [`process_barrier`]. False when the kernel or a sandbox does not offer it; it must not be called then.
#[must_use]
pub fn register_process_barrier() -> bool {
    !cfg!(miri) && membarrier(REGISTER_PRIVATE_EXPEDITED)
}

/// Every other thread of the process passes a full memory barrier between the call and its return. False when the call
/// failed; cannot happen after a successful registration.
#[must_use]
pub fn process_barrier() -> bool {
    membarrier(PRIVATE_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: no memory is involved.
    once(|| unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }).is_ok()
}
