//! The pool.

use crate::{Access, Error, Options, Result};
use btt::{Btt, Config};
use pmem_core::errno::Errno;
use pool_format::blk::{BlkDescriptor, DESCRIPTOR_OFFSET, NAMESPACE_OFFSET};
use pool_format::{NewPool, Pool};
use std::path::Path;
use zerocopy::IntoBytes;

/// An array of blocks in persistent memory. A write is durable when it returns; a write that a crash interrupts has not
/// happened.
///
/// All methods may be called by many threads at once; who reads a block while it is written gets the old or the
/// new one.
///
/// # Examples
/// ```
/// use pmemblk::{LEAST_POOL, PmemBlk};
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("blocks");
/// let blocks = PmemBlk::create(&path, 4096, LEAST_POOL)?;
/// blocks.write(7, &[42; 4096])?;
/// drop(blocks);
/// let blocks = PmemBlk::open(&path)?;
/// let mut buffer = [0; 4096];
/// blocks.read(7, &mut buffer)?;
/// assert_eq!(buffer, [42; 4096]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PmemBlk {
    blocks: Btt<Pool>,
}

impl PmemBlk {
    /// Makes a pool of `size` bytes in a new file. [`Options`] can do more.
    ///
    /// # Errors
    /// See [`Options::create`].
    pub fn create(path: impl AsRef<Path>, block_size: u32, size: u64) -> Result<PmemBlk> {
        Options::new().create(path, block_size, size)
    }

    /// Opens a pool.
    ///
    /// # Errors
    /// See [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<PmemBlk> {
        Options::new().open(path)
    }

    /// Whether a pool is consistent: every block on the medium is used exactly once. Nothing is changed; the file need
    /// not be writable.
    ///
    /// # Errors
    /// As for [`Options::open`]; `EINVAL` when the map leads out of the pool.
    ///
    /// # Examples
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("blocks");
    /// pmemblk::PmemBlk::create(&path, 512, pmemblk::LEAST_POOL)?;
    /// assert!(pmemblk::PmemBlk::check(&path)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(path: impl AsRef<Path>) -> Result<bool> {
        Options::new().access(Access::ReadOnly).open(path)?.is_consistent()
    }

    /// As [`check`](Self::check), of a pool that is open. Nobody writes meanwhile.
    ///
    /// # Errors
    /// `EINVAL` when the map leads out of the pool.
    pub fn is_consistent(&self) -> Result<bool> {
        self.blocks.check().map_err(|error| self.error(&error))
    }

    pub(crate) fn format(new: NewPool, path: &Path, block_size: u32) -> Result<PmemBlk> {
        let is_zeroed = new.is_zeroed();
        let descriptor = BlkDescriptor::new(block_size, is_zeroed);
        // Refused before anything is written.
        let largest = btt::largest_block(new.size() - NAMESPACE_OFFSET);
        if block_size > largest {
            let text = format!(
                "blocks of {block_size} bytes are too large for a pool of {} bytes (at most {largest})",
                new.size()
            );
            return Err(Error::pool(text, path, Errno::EINVAL));
        }
        let mapping = new.mapping();
        let written = mapping
            .zero(DESCRIPTOR_OFFSET, NAMESPACE_OFFSET - DESCRIPTOR_OFFSET)
            .and_then(|()| mapping.write(DESCRIPTOR_OFFSET, descriptor.as_bytes()));
        written.map_err(|errno| Error::system("msync", path, errno))?;
        PmemBlk::load(new.finish()?, None)
    }

    pub(crate) fn load(pool: Pool, wanted: Option<u32>) -> Result<PmemBlk> {
        let mut descriptor = BlkDescriptor::new(0, false);
        pool.mapping().read(DESCRIPTOR_OFFSET, descriptor.as_mut_bytes());
        let block_size = descriptor.block_size.get();
        if let Some(wanted) = wanted.filter(|&wanted| wanted != block_size) {
            let text = format!("wrong bsize ({wanted}), pool created with bsize {block_size}");
            return Err(Error::pool(text, pool.path(), Errno::EINVAL));
        }
        let config = Config {
            start: NAMESPACE_OFFSET,
            len: pool.size() - NAMESPACE_OFFSET,
            block_size,
            parent_uuid: pool.poolset_uuid(),
            is_zeroed: descriptor.is_zeroed.get() != 0,
            writable: pool.access() != Access::ReadOnly,
        };
        let path = pool.path().to_path_buf();
        let blocks = Btt::open(pool, config);
        let blocks =
            blocks.map_err(|error| Error::pool(error.to_string(), &path, error.errno()))?;
        Ok(PmemBlk { blocks })
    }

    fn error(&self, error: &btt::Error) -> Error {
        Error::pool(error.to_string(), self.blocks.memory().path(), error.errno())
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.blocks.block_size()
    }

    /// How many blocks there are.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.blocks.block_count()
    }

    /// Reads a block into the beginning of `buffer`.
    ///
    /// # Errors
    /// `EINVAL` when there is no such block; `EIO` when it is in error state.
    ///
    /// # Panics
    /// When the buffer is shorter than a block.
    pub fn read(&self, block: u64, buffer: &mut [u8]) -> Result<()> {
        self.blocks.read(block, buffer).map_err(|error| self.error(&error))
    }

    /// Writes a block from the beginning of `data`.
    ///
    /// # Errors
    /// In this order: `EROFS` when the pool is open for reading only; `EINVAL` when there is no such block; `EIO` when
    /// the pool is in error state; those of `msync`.
    ///
    /// # Panics
    /// When the data is shorter than a block.
    pub fn write(&self, block: u64, data: &[u8]) -> Result<()> {
        self.blocks.write(block, data).map_err(|error| self.error(&error))
    }

    /// Makes a block read as zeros.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn set_zero(&self, block: u64) -> Result<()> {
        self.blocks.set_zero(block).map_err(|error| self.error(&error))
    }

    /// Makes reading a block fail with `EIO` until it is written or zeroed.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn set_error(&self, block: u64) -> Result<()> {
        self.blocks.set_error(block).map_err(|error| self.error(&error))
    }
}
