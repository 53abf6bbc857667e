//! What can go wrong, with the number that C programs expect.

use crate::policy::UnknownPolicy;
use pmem_core::errno::Errno;
use pmem_core::error::Error as Cause;
use std::io;
use std::path::{Path, PathBuf};

/// Why a cache could not be made, or an entry not stored.
///
/// The text is one line: what was wanted, what was wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No size was given, or one that no cache can have.
    #[error("{size} bytes are no size of a cache; give at least {least}", least = crate::MIN_POOL)]
    Size {
        /// The size asked for in bytes; 0 when none was given.
        size: usize,
    },
    /// The extent size is 0, or larger than the pool.
    #[error("an extent of {extent} bytes does not fit a pool of {size}; make it smaller")]
    Extent {
        /// The extent size in bytes.
        extent: usize,
        /// The size of the pool in bytes.
        size: usize,
    },
    /// A shard would be too small, or there are too many.
    #[error("{shards} shards do not fit a pool of {size} bytes; a shard needs {least}", least = crate::MIN_SHARD)]
    Shards {
        /// The number of shards asked for.
        shards: usize,
        /// The size of the pool in bytes.
        size: usize,
    },
    /// A namespace cannot be as it was asked for.
    #[error("namespace \"{name}\": {what}")]
    Namespace {
        /// Its name.
        name: String,
        /// What is wrong, and what to do about it.
        what: &'static str,
    },
    /// There is no policy of this name.
    #[error("{0}")]
    Policy(#[from] UnknownPolicy),
    /// The place of the values could not be opened or mapped.
    #[error("cannot use {} for a cache ({cause}); check that it exists, is writable and has the space", path.display())]
    Place {
        /// The directory, file or device; empty when it has no name.
        path: PathBuf,
        /// What the system said.
        cause: Cause,
    },
    /// The file is no cache of this version, or damaged.
    #[error("{} cannot be used: {what}; remove it, or name another file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The medium has no space for the whole pool.
    #[error("no space for {size} bytes ({cause}); make the cache smaller or the place larger")]
    NoMedium {
        /// The size in bytes.
        size: usize,
        /// What the system said.
        cause: Cause,
    },
    /// No address space for the tables in DRAM.
    #[error("no address space for {bytes} bytes of tables ({cause}); raise the limit (ulimit -v)")]
    Metadata {
        /// The size of the table in bytes.
        bytes: usize,
        /// What the system said.
        cause: Cause,
    },
    /// The cache was made for less.
    #[error("a cache for at most {most} bytes cannot have {size}; set max_size when it is made")]
    Maximum {
        /// The size asked for in bytes.
        size: usize,
        /// The largest size in bytes.
        most: usize,
    },
    /// The cache is in a place whose size does not change.
    #[error("this cache cannot be resized: {what}; make another one")]
    Fixed {
        /// Why.
        what: &'static str,
    },
    /// The cache cannot become so small.
    #[error(
        "the cache cannot shrink to {size} bytes, for nothing can be evicted; drop guards, remove entries, or choose a replacement policy"
    )]
    Shrink {
        /// The size asked for in bytes.
        size: usize,
    },
    /// Another thread changes the size just now.
    #[error("the cache is being resized; try again when the listener's call is over")]
    Resizing,
    /// The key is empty or too long.
    #[error("a key of {len} bytes; keys have 1 to {most} bytes", most = crate::MAX_KEY)]
    Key {
        /// Its length in bytes.
        len: usize,
    },
    /// The value does not fit even into the empty cache.
    #[error("a value of {len} bytes does not fit; the largest has {most}")]
    ValueTooLarge {
        /// Its length in bytes.
        len: u64,
        /// The longest value with a key of this length.
        most: u64,
    },
    /// The cache is full and nothing can leave: replacement is off, guards hold what is left, or the call came from within
    /// an eviction.
    #[error(
        "no space for {len} bytes, and nothing can be evicted; drop guards, or choose a replacement policy"
    )]
    Full {
        /// The length of the value in bytes.
        len: u64,
    },
}

impl Error {
    /// The error number for C.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Error::Size { .. }
            | Error::Extent { .. }
            | Error::Shards { .. }
            | Error::Namespace { .. }
            | Error::Policy(_)
            | Error::Maximum { .. }
            | Error::Format { .. }
            | Error::Key { .. } => Errno::EINVAL,
            Error::Place { cause, .. }
            | Error::NoMedium { cause, .. }
            | Error::Metadata { cause, .. } => cause.errno,
            Error::Fixed { .. } => Errno::EOPNOTSUPP,
            Error::Shrink { .. } | Error::Resizing => Errno::EBUSY,
            Error::ValueTooLarge { .. } | Error::Full { .. } => Errno::ENOSPC,
        };
        errno.0
    }

    /// The operation of the system that failed, for example `open`.
    pub fn operation(&self) -> Option<&'static str> {
        match self {
            Error::Place { cause, .. }
            | Error::NoMedium { cause, .. }
            | Error::Metadata { cause, .. } => Some(cause.operation),
            _ => None,
        }
    }

    pub(crate) fn place(path: Option<&Path>, cause: Cause) -> Error {
        Error::Place { path: path.unwrap_or(Path::new("memory")).to_owned(), cause }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(error.errno()).kind(), error)
    }
}
