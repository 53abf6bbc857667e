//! How a log is made or opened.

use crate::{Access, PmemLog, Result};
use pool_format::{CreateOptions, Feature, Features, OpenOptions, Pool, PoolKind};
use std::path::Path;

/// How a log is made or opened.
///
/// # Examples
/// ```
/// use pmemlog::{Access, Options};
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("log");
/// Options::new().mode(0o600).create(&path, 2 << 20)?.append(b"one")?;
/// let log = Options::new().access(Access::ReadOnly).open(&path)?;
/// assert_eq!(log.append(b"two").unwrap_err().errno().name(), "EROFS");
/// assert_eq!(&*log.contents(), b"one");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    create: CreateOptions,
    open: OpenOptions,
    replicas: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The defaults of libpmemlog; new files have mode 0666.
    #[must_use]
    pub fn new() -> Options {
        Options { create: CreateOptions::default(), open: OpenOptions::default(), replicas: false }
    }

    /// As `pool_format` has them.
    #[must_use]
    pub fn with(create: CreateOptions, open: OpenOptions) -> Options {
        Options { create, open, ..Options::new() }
    }

    /// Permissions of new files, whatever the umask.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Options {
        self.create.mode = mode;
        self
    }

    /// Touches all pages when the log is made or opened. Default: no.
    #[must_use]
    pub fn prefault(mut self, on: bool) -> Options {
        (self.create.prefault, self.open.prefault) = (on, on);
        self
    }

    /// Whether files that exist get all their space when a log is made in them. Default: yes.
    #[must_use]
    pub fn allocate(mut self, on: bool) -> Options {
        self.create.allocate = on;
        self
    }

    /// Features of new logs. Default: those of the distributions' libpmemlog.
    #[must_use]
    pub fn features(mut self, features: Features) -> Options {
        self.create.features = features;
        self
    }

    /// Whether new logs keep a shutdown state. Default: yes.
    #[must_use]
    pub fn shutdown_state(mut self, on: bool) -> Options {
        self.create.features = self.create.features.with(Feature::ShutdownState, on);
        self
    }

    /// What is to be done with a log that is opened. Default: reading and writing.
    #[must_use]
    pub fn access(mut self, access: Access) -> Options {
        self.open.access = access;
        self
    }

    /// Allows pool sets with replicas: every append goes to all of them. libpmemlog cannot open such logs. Default: no.
    #[must_use]
    pub fn replicas(mut self, on: bool) -> Options {
        self.replicas = on;
        self
    }

    fn kind(&self) -> PoolKind {
        PoolKind { replicas: self.replicas, ..PoolKind::LOG }
    }

    /// Makes a log of `size` bytes in a new file.
    ///
    /// # Errors
    /// `EINVAL` for less than [`LEAST_POOL`](crate::LEAST_POOL); `EEXIST`, `ENOENT`, `EACCES`, `ENOSPC`, ... of
    /// making the file. No file is left behind.
    pub fn create(&self, path: impl AsRef<Path>, size: u64) -> Result<PmemLog> {
        self.create_with(path.as_ref(), Some(size))
    }

    /// Makes a log in a file that exists and begins with 4096 zero bytes, on a device, or in the parts of a pool set.
    ///
    /// # Errors
    /// `EEXIST` when a part is not empty, `EINVAL` for a wrong size or pool set file, `EAGAIN` when somebody has a
    /// part, `ENOTSUP` for replicas, and those of [`create`](Self::create).
    pub fn create_in(&self, path: impl AsRef<Path>) -> Result<PmemLog> {
        self.create_with(path.as_ref(), None)
    }

    fn create_with(&self, path: &Path, size: Option<u64>) -> Result<PmemLog> {
        let options = CreateOptions { size, ..self.create.clone() };
        PmemLog::format(Pool::create(path, &self.kind(), &options)?)
    }

    /// Opens a log: a file, a device, or a pool set file.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, ... of opening; `EAGAIN` when somebody has it open; `EINVAL` when it is no log or is damaged;
    /// `ENOTSUP` for replicas.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<PmemLog> {
        PmemLog::load(Pool::open(path.as_ref(), &self.kind(), &self.open)?)
    }
}
