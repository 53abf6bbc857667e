//! What failed and why: an operation's name and an error number, without any allocation.

use core::fmt;

use crate::errno::Errno;

/// An operation of the system that failed.
///
/// Displays like the C library's `perror`: `open: No such file or directory`.
///
/// # Examples
/// ```
/// use pmem_core::{errno::Errno, error::Error};
/// let error = Error::new("open", Errno::ENOENT);
/// assert_eq!(error.to_string(), "open: No such file or directory");
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The name of the system call or step that failed, for example `"ftruncate"`.
    pub operation: &'static str,
    /// Why it failed.
    pub errno: Errno,
}

impl Error {
    /// Makes an error value.
    #[must_use]
    pub const fn new(operation: &'static str, errno: Errno) -> Error {
        Error { operation, errno }
    }

    /// For `map_err`: attaches the operation's name to an error number.
    pub(crate) fn of(operation: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error { operation, errno }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.errno)
    }
}

impl core::error::Error for Error {}
