//! From the C convention (-1 and `errno`) to `Result`, with the thread's `errno` untouched.

use crate::errno::{Errno, ErrnoGuard};

/// What C functions return that report failure as -1.
pub(super) trait Returned: Copy {
    fn is_failure(self) -> bool;
}

impl Returned for i32 {
    fn is_failure(self) -> bool {
        self == -1
    }
}

impl Returned for i64 {
    fn is_failure(self) -> bool {
        self == -1
    }
}

impl Returned for isize {
    fn is_failure(self) -> bool {
        self == -1
    }
}

impl Returned for *mut libc::c_void {
    fn is_failure(self) -> bool {
        self == libc::MAP_FAILED
    }
}

/// Makes one call; a failure becomes the number it left in `errno`.
pub(super) fn once<R: Returned>(call: impl FnOnce() -> R) -> Result<R, Errno> {
    let _keep = ErrnoGuard::new();
    let value = call();
    if value.is_failure() { Err(Errno::last()) } else { Ok(value) }
}

/// Makes a call again until a signal no longer interrupts it.
pub(super) fn retry<R: Returned>(mut call: impl FnMut() -> R) -> Result<R, Errno> {
    loop {
        match once(&mut call) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
