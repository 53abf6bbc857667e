//! What failed, as a number that C programs know.

use std::fmt;
use std::path::{Path, PathBuf};

use pmem_core::errno::Errno;

macro_rules! kinds {
    ($($name:ident = $code:literal, $text:literal;)+) => {
        /// Why something failed.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum ErrorKind {
            /// The operating system refused.
            System(Errno),
            $(#[doc = $text] $name,)+
        }

        impl ErrorKind {
            /// The number that libpmem2 returns: below -100000, or a negated error number.
            #[must_use]
            pub fn code(self) -> i32 {
                match self {
                    ErrorKind::System(errno) => -errno.0,
                    $(ErrorKind::$name => $code,)+
                }
            }
        }

        impl fmt::Display for ErrorKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    ErrorKind::System(errno) => errno.fmt(f),
                    $(ErrorKind::$name => f.write_str($text),)+
                }
            }
        }
    };
}

kinds! {
    NotSupported = -100_001, "not supported here";
    InvalidFileHandle = -100_004, "the descriptor is not open, or not for reading";
    InvalidFileType = -100_005, "neither a regular file nor a device-DAX node";
    MapRange = -100_006, "the range passes the end of the source";
    MappingExists = -100_007, "something is mapped there";
    GranularityNotSet = -100_008, "no required granularity was set";
    GranularityNotSupported = -100_009, "the granularity cannot be had";
    OffsetOutOfRange = -100_010, "the offset is out of range";
    OffsetUnaligned = -100_011, "the offset is not a multiple of the alignment";
    InvalidAlignmentValue = -100_013, "the device reports an alignment that is no power of two";
    LengthUnaligned = -100_015, "the length is not a multiple of the alignment";
    MappingNotFound = -100_016, "there is no such mapping";
    BufferTooSmall = -100_017, "the buffer is too small";
    SourceEmpty = -100_018, "the source is empty";
    InvalidSharing = -100_019, "neither shared nor private";
    DevDaxPrivate = -100_020, "device DAX cannot be mapped privately";
    AddressUnaligned = -100_022, "the address is not a multiple of the alignment";
    DeepFlushRange = -100_024, "the range is not inside of the mapping";
    RegionNotFound = -100_026, "it lies on no region of NVDIMMs";
    NoBadBlock = -100_029, "there is no further bad block";
    LengthOutOfRange = -100_030, "the length is out of range";
    InvalidProtection = -100_031, "unknown protection flags";
    NoAccess = -100_032, "the descriptor does not allow this access";
    ReservationNotEmpty = -100_033, "the reservation holds mappings";
    MapExists = -100_034, "a mapping in this range is registered";
    FileDescriptorNotSet = -100_035, "the source has no descriptor";
    SourceTypeNotSupported = -100_036, "not for this kind of source";
    IoFailed = -100_037, "the medium could not be read or written";
}

/// An operation that failed, on what, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    detail: String,
    path: Option<PathBuf>,
}

impl Error {
    /// Makes an error: `operation` names what failed.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str) -> Error {
        Error { kind, operation, detail: String::new(), path: None }
    }

    /// For `map_err`.
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::new(ErrorKind::System(errno), operation)
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = detail.into();
        self
    }

    /// Adds the file that it was about.
    #[must_use]
    pub fn with_path(mut self, path: &Path) -> Error {
        self.path = Some(path.to_owned());
        self
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The number that libpmem2 returns.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.kind.code()
    }

    /// The nearest error number of the system.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self.kind {
            ErrorKind::System(errno) => errno,
            ErrorKind::NotSupported => Errno::ENOTSUP,
            _ => Errno::EINVAL,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        write!(f, "{}: {}", self.operation, self.kind)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        match error.kind {
            ErrorKind::System(errno) => std::io::Error::from_raw_os_error(errno.0),
            _ => std::io::Error::other(error),
        }
    }
}
