//! Why a pool could not be made, opened or used.

use pmem_core::errno::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Why something about a pool failed. The text is one line and names the file.
///
/// # Examples
/// ```
/// use pool_format::{OpenOptions, Pool, PoolKind};
/// let error = Pool::open("/nowhere/pool".as_ref(), &PoolKind::LOG, &OpenOptions::default()).unwrap_err();
/// assert_eq!(error.to_string(), "open \"/nowhere/pool\": No such file or directory");
/// assert_eq!(error.errno().name(), "ENOENT");
/// ```
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused something.
    #[error("{operation} \"{}\": {errno}", path.display())]
    System {
        /// The call.
        operation: &'static str,
        /// What it was made on.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
    /// A pool set file does not follow the grammar.
    #[error("{} [{text}:{line}]", path.display())]
    Syntax {
        /// What is wrong.
        text: &'static str,
        /// The pool set file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// `EINVAL`, or `ENOTSUP` for a remote replica.
        errno: Errno,
    },
    /// A file is not what it should be, or a request makes no sense.
    #[error("{text}: {}", path.display())]
    Pool {
        /// What is wrong, what was found and what was expected.
        text: String,
        /// The pool, or one of its parts.
        path: PathBuf,
        /// What the contract assigns to it.
        errno: Errno,
    },
}

/// A result with [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// What the system said about `path`.
    #[must_use]
    pub fn system(operation: &'static str, path: &Path, errno: Errno) -> Error {
        Error::System { operation, path: path.into(), errno }
    }

    /// As [`system`](Self::system), from an error of the standard library.
    #[must_use]
    pub fn io(operation: &'static str, path: &Path, error: &io::Error) -> Error {
        Error::system(operation, path, Errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// `path` is not what it should be.
    #[must_use]
    pub fn pool(text: impl Into<String>, path: &Path, errno: Errno) -> Error {
        Error::Pool { text: text.into(), path: path.into(), errno }
    }

    /// The error number, as the C interfaces report it.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Error::System { errno, .. }
            | Error::Syntax { errno, .. }
            | Error::Pool { errno, .. } => *errno,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = io::Error::from_raw_os_error(error.errno().0).kind();
        io::Error::new(kind, error)
    }
}
