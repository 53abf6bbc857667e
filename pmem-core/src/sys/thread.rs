//! Hooks for the end of a thread and for fork.

use core::ffi::c_void;

use crate::errno::{Errno, ErrnoGuard};

/// A function called at the end of each thread that armed it.
///
/// A pthread key underneath: its destructors run after those of Rust thread-locals, and a hook that
/// arms itself again is called again, at most four times in total.
#[derive(Copy, Clone, Debug)]
pub struct ExitKey(libc::pthread_key_t);

impl ExitKey {
    /// Makes a key; it exists until the process ends. Early in a process its index is below 32, and
    /// then [`arm`](Self::arm) never allocates.
    ///
    /// # Errors
    /// `EAGAIN` when the process has no free key, `ENOMEM`.
    pub fn new(at_exit: unsafe extern "C" fn(*mut c_void)) -> Result<ExitKey, Errno> {
        let _keep = ErrnoGuard::new();
        let mut key = 0;
        // SAFETY: `key` is writable; the destructor is a plain function that lives as long as the
        // library.
        match unsafe { libc::pthread_key_create(&raw mut key, Some(at_exit)) } {
            0 => Ok(ExitKey(key)),
            number => Err(Errno(number)),
        }
    }

    /// Asks for the hook to be called with `value` when the calling thread ends; null disarms. Who
    /// made the key knows what its hook can be called with.
    ///
    /// For a key with an index of 32 or more the C library allocates once per thread here.
    ///
    /// # Errors
    /// `ENOMEM`.
    #[expect(clippy::not_unsafe_ptr_arg_deref, reason = "the value is kept, not followed")]
    pub fn arm(self, value: *mut c_void) -> Result<(), Errno> {
        let _keep = ErrnoGuard::new();
        // SAFETY: the key exists (only `new` makes one and nothing deletes it).
        match unsafe { libc::pthread_setspecific(self.0, value) } {
            0 => Ok(()),
            number => Err(Errno(number)),
        }
    }

    /// The key's index, which tells whether arming may allocate.
    #[must_use]
    pub fn index(self) -> u32 {
        self.0
    }
}

/// Where the C library keeps what it knows of the calling thread, beside its thread-local variables.
#[must_use]
pub fn thread_area() -> usize {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::pthread_self() as usize }
}

/// Registers functions to be called around `fork`: before it, and after it in the parent and in the
/// child.
///
/// # Errors
/// `ENOMEM`.
pub fn at_fork(
    prepare: unsafe extern "C" fn(),
    parent: unsafe extern "C" fn(),
    child: unsafe extern "C" fn(),
) -> Result<(), Errno> {
    let _keep = ErrnoGuard::new();
    // SAFETY: plain functions that live as long as the library.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        number => Err(Errno(number)),
    }
}
