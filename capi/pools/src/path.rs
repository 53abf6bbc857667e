//! C strings as paths.

use core::ffi::{CStr, c_char};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The path that a C string names; `None` for null.
///
/// # Safety
/// `path` is null or a C string that lives as long as the result.
#[must_use]
pub unsafe fn path<'p>(path: *const c_char) -> Option<&'p Path> {
    if path.is_null() {
        return None;
    }
    // SAFETY: by the caller's contract.
    let text = unsafe { CStr::from_ptr(path) };
    Some(Path::new(OsStr::from_bytes(text.to_bytes())))
}
