//! How a pool of blocks is made or opened.

use crate::{Access, Error, PmemBlk, Result};
use pmem_core::errno::Errno;
use pool_format::{CreateOptions, Feature, Features, OpenOptions, Pool, PoolKind};
use std::path::Path;

/// How a pool of blocks is made or opened.
///
/// # Examples
/// ```
/// use pmemblk::{Access, LEAST_POOL, Options};
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("blocks");
/// Options::new().mode(0o600).create(&path, 512, LEAST_POOL)?.write(0, &[1; 512])?;
/// let blocks = Options::new().access(Access::ReadOnly).open(&path)?;
/// assert_eq!(blocks.write(0, &[2; 512]).unwrap_err().errno().name(), "EROFS");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    create: CreateOptions,
    open: OpenOptions,
    block_size: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The defaults of libpmemblk; new files have mode 0666.
    #[must_use]
    pub fn new() -> Options {
        Options { create: CreateOptions::default(), open: OpenOptions::default(), block_size: None }
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

    /// Touches all pages when the pool is made or opened. Default: no.
    #[must_use]
    pub fn prefault(mut self, on: bool) -> Options {
        (self.create.prefault, self.open.prefault) = (on, on);
        self
    }

    /// Whether files that exist get all their space when a pool is made in them. Default: yes.
    #[must_use]
    pub fn allocate(mut self, on: bool) -> Options {
        self.create.allocate = on;
        self
    }

    /// Features of new pools. Default: those of the distributions' libpmemblk.
    #[must_use]
    pub fn features(mut self, features: Features) -> Options {
        self.create.features = features;
        self
    }

    /// Whether new pools keep a shutdown state. Default: yes.
    #[must_use]
    pub fn shutdown_state(mut self, on: bool) -> Options {
        self.create.features = self.create.features.with(Feature::ShutdownState, on);
        self
    }

    /// What is to be done with a pool that is opened. Default: reading and writing.
    #[must_use]
    pub fn access(mut self, access: Access) -> Options {
        self.open.access = access;
        self
    }

    /// The block size that a pool must have to be opened. Default: any.
    #[must_use]
    pub fn block_size(mut self, bytes: u32) -> Options {
        self.block_size = Some(bytes);
        self
    }

    /// Makes a pool of `size` bytes with blocks of `block_size` in a new file.
    ///
    /// # Errors
    /// `EINVAL` for less than [`LEAST_POOL`](crate::LEAST_POOL), and for blocks so large that fewer than 512 fit;
    /// `EEXIST`, `ENOENT`, `EACCES`, `ENOSPC`, ... of making the file. No file is left behind.
    pub fn create(&self, path: impl AsRef<Path>, block_size: u32, size: u64) -> Result<PmemBlk> {
        self.create_with(path.as_ref(), block_size, Some(size))
    }

    /// Makes a pool in a file that exists and begins with 4096 zero bytes, on a device, or in the parts of a pool set.
    ///
    /// # Errors
    /// `EEXIST` when a part is not empty, `EINVAL` for a wrong size or pool set file, `EAGAIN` when somebody has a
    /// part, `ENOTSUP` for replicas, and those of [`create`](Self::create).
    pub fn create_in(&self, path: impl AsRef<Path>, block_size: u32) -> Result<PmemBlk> {
        self.create_with(path.as_ref(), block_size, None)
    }

    fn create_with(&self, path: &Path, block_size: u32, size: Option<u64>) -> Result<PmemBlk> {
        if block_size == 0 {
            return Err(Error::pool("a block has at least one byte", path, Errno::EINVAL));
        }
        let options = CreateOptions { size, ..self.create.clone() };
        PmemBlk::format(Pool::create(path, &PoolKind::BLK, &options)?, path, block_size)
    }

    /// Opens a pool: a file, a device, or a pool set file.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, ... of opening; `EAGAIN` when somebody has it open; `EINVAL` when it is no such pool or is
    /// damaged; `ENOTSUP` for replicas.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<PmemBlk> {
        let pool = Pool::open(path.as_ref(), &PoolKind::BLK, &self.open)?;
        PmemBlk::load(pool, self.block_size)
    }
}
