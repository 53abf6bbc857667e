//! Pools behind handles: paths of C callers, the settings applied, and what the calls give back.

use crate::{ctl, memory};
use core::ffi::{CStr, c_char, c_int};
use core::ptr;
use pmem_capi_shared::fail;
use pmem_core::errno::Errno;
use pool_format::{CreateOptions, Error, OpenOptions};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the settings ask for when a pool is opened.
#[must_use]
pub fn open_options() -> OpenOptions {
    let mut options = OpenOptions::default();
    ctl::apply_to_open(&mut options);
    options
}

/// What the settings and the caller ask for when a pool is made.
#[must_use]
pub fn create_options(mode: libc::mode_t) -> CreateOptions {
    let mut options = CreateOptions { mode, ..CreateOptions::default() };
    ctl::apply_to_create(&mut options);
    options
}

/// Sets errno and the message of an error, and gives -1.
pub fn fail_with(error: &Error) -> c_int {
    fail(error.errno(), format_args!("{error}"))
}

/// Complains of a null path, and gives `value`.
pub fn no_path<T>(value: T) -> T {
    fail(Errno::EINVAL, format_args!("invalid (NULL) path"));
    value
}

/// A handle, or null with errno. `open` may change errno, success does not.
pub fn handle<P>(open: impl FnOnce() -> Result<P, Error>) -> *mut P {
    let before = Errno::last();
    match open().map(memory::into_handle) {
        Ok(Ok(handle)) => {
            before.set();
            return handle.as_ptr();
        }
        Ok(Err(_)) => fail(Errno::ENOMEM, format_args!("{}", Errno::ENOMEM)),
        Err(error) => fail_with(&error),
    };
    ptr::null_mut()
}

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
