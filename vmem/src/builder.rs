//! Making pools: first how they behave, then where they are.

use crate::Pool;
use crate::error::{Attempt, Error};
use pmem_core::align::align_up;
use pmem_core::errno::Errno;
use pmem_core::error::Error as Cause;
use pmem_core::numa::{NodeMask, NumaPolicy};
use pmem_core::source::{HugePageSize, OpenMode, Source, SourceKind};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use vmem_engine::config::{MAX_POOL_BYTES, MIN_POOL_BYTES};
use vmem_engine::{Harden, HugePages, PoolOptions, PurgePolicy, fork};

/// How a pool is to behave; the methods named after places make it.
///
/// | method | the pool's bytes are | size |
/// |---|---|---|
/// | [`in_directory`](Self::in_directory) | in a file without a name; gone with the pool | needed |
/// | [`on_file`](Self::on_file) | in a file with a name | needed, but for an existing file |
/// | [`on_device`](Self::on_device) | on a device-DAX node | the whole device, at least what was set |
/// | [`anonymous`](Self::anonymous) | in private memory | needed |
/// | [`memory_file`](Self::memory_file) | in a file in memory, of huge pages if wanted | needed |
/// | [`on_nodes`](Self::on_nodes) | in private memory of some NUMA nodes | needed |
/// | [`in_region`](Self::in_region) | in memory that the caller has mapped | the region |
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use vmem::{HugePages, Pool, PurgePolicy};
///
/// let pool = Pool::builder()
///     .size(64 << 20)
///     .huge_pages(HugePages::Advise)
///     .purge(Duration::from_millis(200))
///     .dump(false)
///     .in_directory("/dev/shm")?;
/// let block = pool.alloc(1000).expect("a fresh pool has room");
/// assert!(pool.contains(block));
/// # Ok::<(), vmem::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes a pool only when a place is named"]
pub struct PoolBuilder {
    size: Option<usize>,
    options: PoolOptions,
    dump: bool,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder { size: None, options: PoolOptions::default(), dump: true }
    }
}

impl PoolBuilder {
    /// A builder of lazy pools that give freed memory back after a second.
    pub fn new() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// The size limit in bytes, at least 14 MiB and less than 16 TiB, rounded up to whole pages of the place. The
    /// blocks and what is lost between them fit into it; metadata lies elsewhere.
    pub fn size(mut self, bytes: usize) -> PoolBuilder {
        self.size = Some(bytes);
        self
    }

    /// Takes the space of the whole pool when it is made, so that it cannot run out of backing
    /// later; then only [`Pool::trim`] gives something back. Default: space is taken as needed.
    pub fn prealloc(mut self, prealloc: bool) -> PoolBuilder {
        self.options.prealloc = prealloc;
        self
    }

    /// Whether the kernel is asked for huge pages. Default: no.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> PoolBuilder {
        self.options.huge_pages = huge_pages;
        self
    }

    /// What the pool does to find errors of the program. Default: nothing.
    ///
    /// A double free, a free of what is no block of this pool, or a write behind the end of a block
    /// then ends the process with one line on standard error. In a region of the caller's the canaries
    /// of a hardened pool lie between the blocks.
    pub fn harden(mut self, harden: Harden) -> PoolBuilder {
        self.options.harden = harden;
        self
    }

    /// When freed memory goes back to the medium: after a
    /// [`Duration`](std::time::Duration), [`PurgePolicy::Immediate`] or [`PurgePolicy::Never`].
    /// Default: after a second.
    pub fn purge(mut self, purge: impl Into<PurgePolicy>) -> PoolBuilder {
        self.options.purge = purge.into();
        self
    }

    /// Bytes at the start of the range that the pool leaves to the caller (see [`Pool::head`]).
    /// Default: none.
    pub fn head_bytes(mut self, bytes: usize) -> PoolBuilder {
        self.options.head_bytes = bytes;
        self
    }

    /// Whether the pool goes into core files. Default: yes.
    pub fn dump(mut self, dump: bool) -> PoolBuilder {
        self.dump = dump;
        self
    }

    /// Makes a pool in a file without a name in `directory`; the file vanishes with the pool or with
    /// the process, however it ends.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::TooLarge`], [`Error::NoSpace`], [`Error::Size`],
    /// [`Error::Memory`], [`Error::System`].
    pub fn in_directory(&self, directory: impl AsRef<Path>) -> Result<Pool, Error> {
        let attempt = self.attempt(SourceKind::Directory, Some(directory.as_ref()));
        let path = c_path(attempt, directory.as_ref())?;
        self.finish(attempt, || Source::in_directory(&path, self.checked_size(attempt)?))
    }

    /// Makes a pool on a file with a name, which no other process can use meanwhile. What the file
    /// held is lost, and what the pool leaves in it means nothing. Without a size, an existing file
    /// is used at the length it has.
    ///
    /// # Errors
    /// [`Error::InUse`], and those of [`in_directory`](Self::in_directory). A file that
    /// [`OpenMode::CreateNew`] made is removed again.
    pub fn on_file(&self, path: impl AsRef<Path>, mode: OpenMode) -> Result<Pool, Error> {
        let attempt = self.attempt(SourceKind::NamedFile, Some(path.as_ref()));
        let c_path = c_path(attempt, path.as_ref())?;
        let mut is_made = false;
        let result = self.finish(attempt, || {
            // A source of no size takes the length of the file.
            let size = match self.size {
                None if mode == OpenMode::Existing => 0,
                _ => self.checked_size(attempt)?,
            };
            let source = Source::named_file(&c_path, size, mode)?;
            is_made = mode == OpenMode::CreateNew;
            Ok(source)
        });
        if result.is_err() && is_made {
            // Should this fail too, the first error is still the one that matters.
            let _ = std::fs::remove_file(path);
        }
        result
    }

    /// Makes a pool on a whole device-DAX node, for example `/dev/dax0.0`, which no other process can
    /// use meanwhile. A size that was set is what the device must have at least.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when the device is smaller than the size that was set; [`Error::Open`],
    /// [`Error::InUse`], [`Error::Size`], [`Error::Memory`], [`Error::System`].
    pub fn on_device(&self, path: impl AsRef<Path>) -> Result<Pool, Error> {
        let attempt = self.attempt(SourceKind::DeviceDax, Some(path.as_ref()));
        let path = c_path(attempt, path.as_ref())?;
        self.finish(attempt, || {
            let source = Source::device_dax(&path)?;
            match self.size {
                Some(size) if size > source.len() => Err(Cause::new("device", Errno::ENOSPC)),
                _ => Ok(source),
            }
        })
    }

    /// Makes a pool in private memory, used as it is touched.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::Memory`], [`Error::System`].
    pub fn anonymous(&self) -> Result<Pool, Error> {
        let attempt = self.attempt(SourceKind::Anonymous, None);
        self.finish(attempt, || Source::anonymous(self.checked_size(attempt)?))
    }

    /// Makes a pool in a file that only exists in memory, of ordinary or of huge pages. Huge pages
    /// must have been reserved (`sysctl vm.nr_hugepages`); without one an allocation fails, and
    /// nothing worse.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::NoSpace`], [`Error::TooLarge`], [`Error::Memory`],
    /// [`Error::System`].
    pub fn memory_file(&self, huge: Option<HugePageSize>) -> Result<Pool, Error> {
        let attempt = self.attempt(SourceKind::Memfd, None);
        self.finish(attempt, || Source::memfd(self.checked_size(attempt)?, huge))
    }

    /// Makes a pool in private memory that comes from the given NUMA nodes; it is taken before it is
    /// handed out. With [`NumaPolicy::Bind`] an allocation fails when the nodes have none left. Only
    /// what a fork makes parent and child copy cannot be refused: on full nodes the kernel then
    /// ends a process.
    ///
    /// # Errors
    /// [`Error::Nodes`], and those of [`anonymous`](Self::anonymous).
    pub fn on_nodes(&self, nodes: &NodeMask, policy: NumaPolicy) -> Result<Pool, Error> {
        let attempt = self.attempt(SourceKind::Anonymous, None);
        let result = self.finish(attempt, || {
            Source::anonymous_on_nodes(self.checked_size(attempt)?, nodes, policy)
        });
        result.map_err(|error| match error {
            Error::System { cause, .. } if cause.operation == "mbind" => {
                Error::Nodes { nodes: nodes.iter().collect(), cause }
            }
            error => error,
        })
    }

    /// Makes a pool in memory that the caller has mapped. It is used as it is: never unmapped or given
    /// back. A size that was set does not matter.
    ///
    /// # Errors
    /// [`Error::Region`] when it does not start on a page or is smaller than 14 MiB;
    /// [`Error::Size`], [`Error::Memory`], [`Error::System`].
    ///
    /// # Safety
    /// The region can be read and written, and nobody else uses it while the pool lives (but for
    /// the head, which is the caller's).
    pub unsafe fn in_region(&self, region: NonNull<[u8]>) -> Result<Pool, Error> {
        let (address, size) = (region.cast::<u8>(), region.len());
        let attempt = self.attempt(SourceKind::CallerRegion, None);
        let result = self.finish(attempt, || {
            if size < MIN_POOL_BYTES {
                return Err(Cause::new("region", Errno::EINVAL));
            }
            // SAFETY: contract.
            unsafe { Source::caller_region(address, size) }
        });
        result.map_err(|error| match error {
            Error::System { cause, .. } if cause.operation == "region" => {
                Error::Region { address: address.addr().get(), size, cause }
            }
            error => error,
        })
    }

    fn attempt<'a>(&self, kind: SourceKind, path: Option<&'a Path>) -> Attempt<'a> {
        Attempt { kind, path, size: self.size.unwrap_or(0) }
    }

    /// The size, before anything is made that would have to be removed again.
    fn checked_size(&self, attempt: Attempt<'_>) -> Result<usize, Cause> {
        match attempt.size {
            size @ MIN_POOL_BYTES..=MAX_POOL_BYTES => Ok(size),
            _ => Err(Cause::new("size", Errno::EINVAL)),
        }
    }

    fn finish(
        &self,
        attempt: Attempt<'_>,
        make: impl FnOnce() -> Result<Source, Cause>,
    ) -> Result<Pool, Error> {
        // First, so that no fork finds a pool and no handlers.
        let source = fork::install()
            .map_err(|errno| Cause::new("pthread_atfork", errno))
            .and_then(|()| make())
            .map_err(|cause| attempt.failed(cause))?;
        let attempt = Attempt { size: source.len(), ..attempt };
        self.make_pool(source).map_err(|cause| attempt.failed(cause))
    }

    fn make_pool(&self, source: Source) -> Result<Pool, Cause> {
        let head = self.options.head_bytes;
        if head >= source.len() {
            return Err(Cause::new("pool size", Errno::EINVAL));
        }
        if !self.dump {
            source.dont_dump(true);
        }
        // The caller's part of the range must be as safe to touch as blocks are.
        let head_len = align_up(head, source.granule());
        source.commit(0, head_len).map_err(|errno| Cause::new("fallocate", errno))?;
        let engine = vmem_engine::Pool::create(source, &self.options)?;
        Ok(Pool { engine, head })
    }
}

fn c_path(attempt: Attempt<'_>, path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| attempt.failed(Cause::new("open", Errno::EINVAL)))
}
