//! Making caches: first how they behave, then where their values are.

use crate::block::Units;
use crate::cache::Cache;
use crate::error::Error;
use crate::events::Listener;
use crate::heap::Heap;
use crate::policy::{AnyPolicy, Kind, Policy};
use crate::protect::Fences;
use crate::shard::{KeyHash, Parts, Rules, Shard};
use crate::slab::MAX_LOC;
use pmem_core::errno::Errno;
use pmem_core::error::Error as Cause;
use pmem_core::numa::{NodeMask, NumaPolicy};
use pmem_core::source::{HugePageSize, OpenMode, Source};
use pmem_core::sys;
use pmem_core::valgrind;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

/// The smallest pool in bytes.
pub const MIN_POOL: usize = 64 << 10;
/// The smallest part of a pool that is a shard.
pub const MIN_SHARD: usize = 64 << 10;
/// What a shard has at least when the number of shards is not set, in bytes.
const USUAL_SHARD: usize = 64 << 20;
/// What a shard keeps free for reclaiming in batches: at most so many bytes, and one part in so many.
const RESERVE_BYTES: u64 = 1 << 20;
const RESERVE_PART: u32 = 256;

/// What leaves when space is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Replacement {
    /// Nothing: a put into a full cache fails.
    None,
    /// What this policy chooses.
    Policy(Kind),
}

/// How a cache is to behave; the methods named after places make it.
///
/// | method | the values are |
/// |---|---|
/// | [`in_directory`](Self::in_directory) | in a file without a name; gone with the cache |
/// | [`on_device`](Self::on_device) | on a device-DAX node |
/// | [`anonymous`](Self::anonymous) | in private memory |
/// | [`memory_file`](Self::memory_file) | in a file in memory, of huge pages if wanted |
/// | [`on_nodes`](Self::on_nodes) | in private memory of some NUMA nodes |
/// | [`in_region`](Self::in_region) | in memory that the caller has mapped |
///
/// # Examples
/// ```
/// use vmemcache::{Cache, policy::Kind};
/// let cache = Cache::builder().size(64 << 20).policy(Kind::Lru).in_directory("/dev/shm")?;
/// cache.put(b"key", b"value")?;
/// assert_eq!(cache.get(b"key").unwrap().to_vec(), b"value");
/// # Ok::<(), vmemcache::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder makes a cache only when a place is named"]
pub struct Builder {
    size: Option<usize>,
    shards: Option<usize>,
    replacement: Replacement,
    extent: usize,
    least_entry: usize,
    contiguous: bool,
    exact_space: Option<bool>,
    empty_keys: bool,
    listener: Option<Arc<dyn Listener>>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            size: None,
            shards: None,
            replacement: Replacement::Policy(Kind::Adaptive),
            extent: 1,
            least_entry: 1,
            contiguous: false,
            exact_space: None,
            empty_keys: false,
            listener: None,
        }
    }
}

/// # How it behaves
impl Builder {
    /// A builder with the usual settings.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The size of the pool in bytes, rounded up to whole pages of the place. Keys, values and a header of 8 bytes each
    /// fit into it; see the table in the README for what comes on top in DRAM.
    pub fn size(mut self, bytes: usize) -> Builder {
        self.size = Some(bytes);
        self
    }

    /// The policy that chooses what leaves. Default: [`Kind::Adaptive`].
    pub fn policy(mut self, kind: Kind) -> Builder {
        self.replacement = Replacement::Policy(kind);
        self
    }

    /// As [`policy`](Self::policy), or nothing leaves at all.
    pub fn replacement(mut self, replacement: Replacement) -> Builder {
        self.replacement = replacement;
        self
    }

    /// The number of parts with a lock, and a share of the space, each. An entry must fit into one part, and each has an order
    /// of replacement of its own. Default: one part for policies with an exact order; else one per 64 MiB, up to four per
    /// processor.
    pub fn shards(mut self, count: usize) -> Builder {
        self.shards = Some(count);
        self
    }

    /// The unit of space in bytes: what an entry takes is a multiple of it. Default: 8. Large ones waste space, but let one
    /// entry always make room for another of about the same size.
    pub fn extent_size(mut self, bytes: usize) -> Builder {
        self.extent = bytes;
        self
    }

    /// What an entry with a value takes at least, in bytes. Default: 8. If it is more than small entries need, one of them always
    /// makes room for another, at the price of wasted space.
    pub fn least_entry(mut self, bytes: usize) -> Builder {
        self.least_entry = bytes;
        self
    }

    /// Whether values are always in one piece, so that [`Value::as_slice`](crate::Value::as_slice) always has them. Then more
    /// entries may have to leave for a large value. Default: no.
    pub fn contiguous(mut self, contiguous: bool) -> Builder {
        self.contiguous = contiguous;
        self
    }

    /// Whether entries leave only when there is no space without it, one by one. If not, a small part of the pool (at most
    /// 1 part in 256, and at most 1 MiB per shard) stays free, which makes hits cheaper. Default: yes for policies with an
    /// exact order and without replacement.
    pub fn exact_space(mut self, exact: bool) -> Builder {
        self.exact_space = Some(exact);
        self
    }

    /// Whether a key may have no bytes. Default: no; most such keys are mistakes.
    pub fn empty_keys(mut self, allowed: bool) -> Builder {
        self.empty_keys = allowed;
        self
    }

    /// Who is told of evictions and misses; see [`Cache::set_listener`].
    pub fn listener(mut self, listener: Arc<dyn Listener>) -> Builder {
        self.listener = Some(listener);
        self
    }
}

/// # Where its values are
impl Builder {
    /// Makes a cache in a file without a name in `directory`; the file vanishes with the cache or with the process.
    ///
    /// # Errors
    /// [`Error::Place`], [`Error::NoMedium`], [`Error::Size`], [`Error::Extent`], [`Error::Shards`], [`Error::Metadata`].
    pub fn in_directory(&self, directory: impl AsRef<Path>) -> Result<Cache, Error> {
        let path = directory.as_ref();
        let c_path = c_path(path)?;
        self.make(|size| {
            Source::in_directory(&c_path, size).map_err(|cause| Error::place(Some(path), cause))
        })
    }

    /// Makes a cache on a file with a name, which no other process can use meanwhile. What the file held is lost.
    ///
    /// # Errors
    /// As [`in_directory`](Self::in_directory).
    pub fn on_file(&self, path: impl AsRef<Path>, mode: OpenMode) -> Result<Cache, Error> {
        let path = path.as_ref();
        let c_path = c_path(path)?;
        self.make(|size| {
            Source::named_file(&c_path, size, mode).map_err(|cause| Error::place(Some(path), cause))
        })
    }

    /// Makes a cache on a device-DAX node, for example `/dev/dax0.0`. Without a size it takes the whole device.
    ///
    /// # Errors
    /// [`Error::NoMedium`] when the device is smaller than the size that was set; else as
    /// [`in_directory`](Self::in_directory).
    pub fn on_device(&self, path: impl AsRef<Path>) -> Result<Cache, Error> {
        let path = path.as_ref();
        let source =
            Source::device_dax(&c_path(path)?).map_err(|cause| Error::place(Some(path), cause))?;
        let size = self.size.unwrap_or(source.len());
        if size > source.len() {
            return Err(Error::NoMedium { size, cause: Cause::new("device", Errno::ENOSPC) });
        }
        self.check_size(size)?;
        self.over(source, size)
    }

    /// Makes a cache in private memory, which is used as it is touched.
    ///
    /// # Errors
    /// As [`in_directory`](Self::in_directory).
    pub fn anonymous(&self) -> Result<Cache, Error> {
        self.make(|size| Source::anonymous(size).map_err(|cause| Error::place(None, cause)))
    }

    /// Makes a cache in a file that only exists in memory, of ordinary or of huge pages.
    ///
    /// # Errors
    /// As [`in_directory`](Self::in_directory).
    pub fn memory_file(&self, huge: Option<HugePageSize>) -> Result<Cache, Error> {
        self.make(|size| Source::memfd(size, huge).map_err(|cause| Error::place(None, cause)))
    }

    /// Makes a cache in private memory that comes from the given NUMA nodes.
    ///
    /// # Errors
    /// As [`in_directory`](Self::in_directory).
    pub fn on_nodes(&self, nodes: &NodeMask, policy: NumaPolicy) -> Result<Cache, Error> {
        self.make(|size| {
            Source::anonymous_on_nodes(size, nodes, policy)
                .map_err(|cause| Error::place(None, cause))
        })
    }

    /// Makes a cache in memory that the caller has mapped. A size that was set does not matter.
    ///
    /// # Errors
    /// [`Error::Place`] when it does not start on a page; else as [`in_directory`](Self::in_directory).
    ///
    /// # Safety
    /// The region can be read and written, and nobody else uses it while the cache lives.
    pub unsafe fn in_region(&self, region: NonNull<[u8]>) -> Result<Cache, Error> {
        // SAFETY: contract.
        let source = unsafe { Source::caller_region(region.cast(), region.len()) }
            .map_err(|cause| Error::place(None, cause))?;
        self.check_size(source.len())?;
        let size = source.len();
        self.over(source, size)
    }

    fn make(&self, source: impl FnOnce(usize) -> Result<Source, Error>) -> Result<Cache, Error> {
        let size = self.size.unwrap_or(0);
        self.check_size(size)?;
        let source = source(size)?;
        let size = source.len();
        self.over(source, size)
    }

    fn check_size(&self, size: usize) -> Result<(), Error> {
        if size < MIN_POOL {
            return Err(Error::Size { size });
        }
        if self.extent == 0 || self.extent > size {
            return Err(Error::Extent { extent: self.extent, size });
        }
        if let Some(shards) = self.shards
            && (shards == 0 || shards > size / MIN_SHARD)
        {
            return Err(Error::Shards { shards, size });
        }
        Ok(())
    }

    fn over(&self, source: Source, size: usize) -> Result<Cache, Error> {
        if source.needs_commit() {
            source.commit_writable(0, source.len()).map_err(|errno| Error::NoMedium {
                size,
                cause: Cause::new("posix_fallocate", errno),
            })?;
        }
        if valgrind::is_running() {
            valgrind::ignore_races(source.base().as_ptr(), source.len());
        }
        let is_exact = match self.replacement {
            Replacement::None => true,
            // A small policy of this kind, to ask it.
            Replacement::Policy(kind) => AnyPolicy::reports_are_binding(&kind.build(1 << 20)),
        };
        let count = self.shards.unwrap_or_else(|| if is_exact { 1 } else { usual_shards(size) });
        let exact_space = self.exact_space.unwrap_or(is_exact);
        let mut seed = [0; 8];
        sys::fill_random(&mut seed);
        let hash = KeyHash::new(u64::from_le_bytes(seed));
        let stride = size / count / 64 * 64;
        let shards = (0..count)
            .map(|at| self.shard(&source, at * stride, stride, exact_space, &hash))
            .collect::<Result<Vec<_>, _>>()?;
        Cache::new(source, shards, hash, self.empty_keys, self.listener.clone())
    }

    fn shard(
        &self,
        source: &Source,
        start: usize,
        len: usize,
        exact_space: bool,
        hash: &KeyHash,
    ) -> Result<Shard, Error> {
        let mut shift = 3;
        while len >> shift > MAX_LOC as usize {
            shift += 1;
        }
        // SAFETY: inside the source.
        let units = Units::new(unsafe { source.base().add(start) }, shift, false);
        // SAFETY: committed, and this shard's alone.
        let heap = unsafe { Heap::new(units, 1, (len >> shift) as u32) };
        let total = heap.total_units();
        let extent = units.round_up(self.extent as u64).min(u64::from(total)) as u32;
        let least = units.round_up(self.least_entry as u64).min(u64::from(total)) as u32;
        let reserve = if exact_space {
            0
        } else {
            (total / RESERVE_PART).min(units.round_up(RESERVE_BYTES) as u32).max(1)
        };
        Shard::new(Parts {
            units,
            heap,
            fences: if exact_space { Fences::Equal } else { Fences::for_batches() },
            rules: Rules {
                extent,
                least,
                contiguous: self.contiguous,
                reserve,
                hash: hash.clone(),
            },
            policy: match self.replacement {
                Replacement::None => None,
                Replacement::Policy(kind) => Some(kind),
            },
            quotas: vec![u64::from(total)],
        })
    }
}

fn usual_shards(size: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (size / USUAL_SHARD).clamp(1, processors * 4)
}

fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::place(Some(path), Cause::new("open", Errno::EINVAL)))
}
