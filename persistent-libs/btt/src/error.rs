//! Why a block cannot be had.

use core::fmt;
use pmem_core::errno::Errno;

/// What is wrong, and the error number of the contract.
///
/// # Examples
/// ```
/// let error = btt::Error::new(pmem_core::errno::Errno::EIO, "block 7 is in error state");
/// assert_eq!(error.to_string(), "block 7 is in error state");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    errno: Errno,
    text: String,
}

impl Error {
    /// Makes one.
    #[must_use]
    pub fn new(errno: Errno, text: impl Into<String>) -> Error {
        Error { errno, text: text.into() }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        Error::new(Errno::EINVAL, text)
    }

    pub(crate) fn sync(errno: Errno) -> Error {
        Error::new(errno, format!("msync: {errno}"))
    }

    /// The error number.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for Error {}
