//! Why a pool could not be made.

use pmem_core::errno::Errno;
use pmem_core::error::Error as Cause;
use pmem_core::source::SourceKind;
use std::io;
use std::path::{Path, PathBuf};
use vmem_engine::remedy;

/// Why a pool could not be made.
///
/// The text is one line: what was wanted, what the system said, and what to do about it. The system's
/// error is part of the text and therefore not a `source()`; [`Error::operation`] and
/// [`Error::errno`] give it in parts.
///
/// # Examples
/// ```
/// let error = vmem::Pool::in_directory("/nowhere", 1 << 30).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "cannot open /nowhere (open: No such file or directory); \
///      make the directory, or name one that exists"
/// );
/// assert_eq!(error.errno(), 2); // ENOENT
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No size was given, or one that no pool can have.
    #[error("{size} bytes are no size of a pool; {}", self.remedy())]
    Size {
        /// The size asked for in bytes; 0 when none was given.
        size: usize,
    },
    /// The directory, file or device could not be opened or made.
    #[error("cannot open {} ({cause}); {}", path.display(), self.remedy())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// What it was to be.
        kind: SourceKind,
        /// What the system said.
        cause: Cause,
    },
    /// Another process uses the file or device.
    #[error("{} is in use; {}", path.display(), self.remedy())]
    InUse {
        /// The file or device.
        path: PathBuf,
        /// What it is.
        kind: SourceKind,
        /// What the system said.
        cause: Cause,
    },
    /// A limit of the process or of the file system forbids so large a file.
    #[error("a file of {size} bytes is too large ({cause}); {}", self.remedy())]
    TooLarge {
        /// The size in bytes.
        size: usize,
        /// What the system said.
        cause: Cause,
    },
    /// The medium has no space for the whole pool, which was to be taken at once.
    #[error("no space for {size} bytes{} ({cause}); {}", in_place(path.as_deref()), self.remedy())]
    NoSpace {
        /// The size in bytes.
        size: usize,
        /// The directory or file, where there is one.
        path: Option<PathBuf>,
        /// What the medium is.
        kind: SourceKind,
        /// What the system said.
        cause: Cause,
    },
    /// No memory comes from these nodes.
    #[error("cannot use the nodes {nodes:?} ({cause}); {}", self.remedy())]
    Nodes {
        /// Their numbers.
        nodes: Vec<usize>,
        /// What the system said.
        cause: Cause,
    },
    /// The caller's region is not aligned to a page, or too small.
    #[error("the region at {address:#x} of {size} bytes cannot be a pool; {}", self.remedy())]
    Region {
        /// Its first address.
        address: usize,
        /// Its length in bytes.
        size: usize,
        /// What does not hold.
        cause: Cause,
    },
    /// No address space, or no memory for the pool's metadata.
    #[error("no memory for a pool of {size} bytes ({cause}); {}", self.remedy())]
    Memory {
        /// The size in bytes.
        size: usize,
        /// What the system said.
        cause: Cause,
    },
    /// What else the system may refuse: too many pools, pages of a size the kernel does not have.
    #[error("cannot make a pool ({cause}); {}", self.remedy())]
    System {
        /// What the pool was to be made of.
        kind: SourceKind,
        /// What the system said.
        cause: Cause,
    },
}

fn in_place(path: Option<&Path>) -> String {
    path.map_or(String::new(), |path| format!(" in {}", path.display()))
}

/// Where a pool was to be, for the texts.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) kind: SourceKind,
    pub(crate) path: Option<&'a Path>,
    pub(crate) size: usize,
}

impl Attempt<'_> {
    /// Puts the system's error into words. Nodes and regions are put in by those who know them.
    pub(crate) fn failed(self, cause: Cause) -> Error {
        let Attempt { kind, path, size } = self;
        let to_path = || path.map(Path::to_path_buf);
        match (cause.operation, cause.errno) {
            ("size" | "pool size", Errno::EINVAL) => Error::Size { size },
            (_, Errno::EFBIG) => Error::TooLarge { size, cause },
            (_, Errno::ENOSPC | Errno::EDQUOT)
            | ("posix_fallocate" | "fallocate", Errno::ENOMEM) => {
                Error::NoSpace { size, path: to_path(), kind, cause }
            }
            ("flock", _) => Error::InUse { path: to_path().unwrap_or_default(), kind, cause },
            ("open" | "mkstemp" | "fstat" | "sysfs", _) if path.is_some() => {
                Error::Open { path: to_path().unwrap_or_default(), kind, cause }
            }
            (_, Errno::ENOMEM) => Error::Memory { size, cause },
            _ => Error::System { kind, cause },
        }
    }
}

impl Error {
    /// What the system said; `None` when it was not asked.
    fn cause(&self) -> Option<Cause> {
        match self {
            Error::Size { .. } => None,
            Error::Open { cause, .. }
            | Error::InUse { cause, .. }
            | Error::TooLarge { cause, .. }
            | Error::NoSpace { cause, .. }
            | Error::Nodes { cause, .. }
            | Error::Region { cause, .. }
            | Error::Memory { cause, .. }
            | Error::System { cause, .. } => Some(*cause),
        }
    }

    /// The step that failed, mostly the name of a system call: `"open"`, `"mbind"`.
    pub fn operation(&self) -> &'static str {
        self.cause().map_or("size", |cause| cause.operation)
    }

    /// The error number as C has it, for example 28 (`ENOSPC`); 22 (`EINVAL`) for a wrong size.
    pub fn errno(&self) -> i32 {
        self.cause().map_or(Errno::EINVAL, |cause| cause.errno).0
    }

    /// The directory, file or device concerned.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Open { path, .. } | Error::InUse { path, .. } => Some(path),
            Error::NoSpace { path, .. } => path.as_deref(),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        let kind = match self {
            Error::Open { kind, .. }
            | Error::InUse { kind, .. }
            | Error::NoSpace { kind, .. }
            | Error::System { kind, .. } => *kind,
            Error::Region { .. } => SourceKind::CallerRegion,
            Error::TooLarge { .. } => SourceKind::Directory,
            Error::Size { .. } | Error::Nodes { .. } | Error::Memory { .. } => {
                SourceKind::Anonymous
            }
        };
        remedy(kind, &self.cause().unwrap_or(Cause::new("size", Errno::EINVAL)))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(error.errno()).kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each failure of the system becomes: variant, text, and the parts it is made of.
    #[test]
    fn every_variant_names_the_value_the_reason_and_the_remedy() {
        let missing = Cause::new("open", Errno::ENOENT);
        let path = Path::new("/mnt/pmem");
        let attempt = |kind, path| Attempt { kind, path, size: 1 << 30 };
        let full = Cause::new("posix_fallocate", Errno::ENOSPC);
        let cases = [
            (
                Attempt { size: 5, ..attempt(SourceKind::Directory, Some(path)) }
                    .failed(Cause::new("size", Errno::EINVAL)),
                "5 bytes are no size of a pool; use a size of at least 14 MiB and less than 16 TiB",
                ("size", Errno::EINVAL, None),
            ),
            (
                attempt(SourceKind::NamedFile, Some(path)).failed(missing),
                "cannot open /mnt/pmem (open: No such file or directory); \
                 make the file and the directory it is in, or name another",
                ("open", Errno::ENOENT, Some(path)),
            ),
            (
                attempt(SourceKind::DeviceDax, Some(path))
                    .failed(Cause::new("flock", Errno::EWOULDBLOCK)),
                "/mnt/pmem is in use; end the process that uses it, or name another",
                ("flock", Errno::EWOULDBLOCK, Some(path)),
            ),
            (
                attempt(SourceKind::Directory, Some(path))
                    .failed(Cause::new("ftruncate", Errno::EFBIG)),
                "a file of 1073741824 bytes is too large (ftruncate: File too large); \
                 make the pool smaller, or raise the limit on file sizes (ulimit -f)",
                ("ftruncate", Errno::EFBIG, None),
            ),
            (
                attempt(SourceKind::Directory, Some(path)).failed(full),
                "no space for 1073741824 bytes in /mnt/pmem (posix_fallocate: No space left on \
                 device); make the pool smaller, or free space there",
                ("posix_fallocate", Errno::ENOSPC, Some(path)),
            ),
            (
                attempt(SourceKind::Memfd, None).failed(full),
                "no space for 1073741824 bytes (posix_fallocate: No space left on device); make \
                 the pool smaller; huge pages must be reserved first (sysctl vm.nr_hugepages)",
                ("posix_fallocate", Errno::ENOSPC, None),
            ),
            (
                Error::Nodes { nodes: vec![3, 5], cause: Cause::new("mbind", Errno::EINVAL) },
                "cannot use the nodes [3, 5] (mbind: Invalid argument); \
                 name nodes that have memory (/sys/devices/system/node/has_memory)",
                ("mbind", Errno::EINVAL, None),
            ),
            (
                Error::Region {
                    address: 0x1001,
                    size: 77,
                    cause: Cause::new("region", Errno::EINVAL),
                },
                "the region at 0x1001 of 77 bytes cannot be a pool; \
                 give a region that starts on a page and has at least 14 MiB",
                ("region", Errno::EINVAL, None),
            ),
            (
                attempt(SourceKind::Directory, Some(path))
                    .failed(Cause::new("mmap", Errno::ENOMEM)),
                "no memory for a pool of 1073741824 bytes (mmap: Cannot allocate memory); \
                 make the pool smaller, or raise the limit on address space (ulimit -v)",
                ("mmap", Errno::ENOMEM, None),
            ),
            (
                attempt(SourceKind::Anonymous, None)
                    .failed(Cause::new("too many pools", Errno::EMFILE)),
                "cannot make a pool (too many pools: Too many open files); \
                 drop pools that are no longer used",
                ("too many pools", Errno::EMFILE, None),
            ),
        ];
        for (error, text, (operation, errno, path)) in cases {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.operation(), operation);
            assert_eq!(error.errno(), errno.0);
            assert_eq!(error.path(), path);
            assert!(text.ends_with(error.remedy()) && !error.remedy().is_empty());
            let converted = io::Error::from(error.clone());
            assert_eq!(converted.kind(), io::Error::from_raw_os_error(errno.0).kind());
            assert_eq!(converted.to_string(), text);
        }
    }
}
