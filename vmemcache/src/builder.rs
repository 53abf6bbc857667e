//! Making caches: first how they behave, then where their values are.

use crate::block::Loc;
use crate::cache::{Cache, Pool};
use crate::check::Check;
use crate::error::Error;
use crate::events::Listener;
use crate::ground::Ground;
use crate::heap::Heap;
use crate::policy::{AnyPolicy, Kind, Policy};
use crate::protect::Fences;
use crate::quota::{Quota, Quotas, Whole};
use crate::restart::{HEAD, MAX_NAME, Names, Superblock, recorded_part};
use crate::shard::{KeyHash, Parts, Rules, Shard, Share};
use crate::slab::MAX_LOC;
use crate::stats::{Curve, Stopwatch, Watch};
use pmem_core::errno::Errno;
use pmem_core::error::Error as Cause;
use pmem_core::numa::{NodeMask, NumaPolicy};
use pmem_core::source::{HugePageSize, OpenMode, Source, SourceKind};
use pmem_core::sys;
use pmem_core::valgrind;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
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
/// What a shard keeps free for reclaiming in batches, at most, in bytes.
const RESERVE_BYTES: u64 = 1 << 20;

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
/// | [`warm_file`](Self::warm_file) | in a file with a name, and there again after a restart |
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
    max_size: Option<usize>,
    shards: Option<usize>,
    replacement: Replacement,
    extent: usize,
    least_entry: usize,
    contiguous: bool,
    exact_space: Option<bool>,
    empty_keys: bool,
    namespaces: Quotas,
    listener: Option<Arc<dyn Listener>>,
    latencies: bool,
    curve: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            size: None,
            max_size: None,
            shards: None,
            replacement: Replacement::Policy(Kind::Adaptive),
            extent: 1,
            least_entry: 1,
            contiguous: false,
            exact_space: None,
            empty_keys: false,
            namespaces: Quotas::default(),
            listener: None,
            latencies: false,
            curve: false,
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

    /// The size in bytes that [`Cache::resize`] can give the pool at most. Default: the first size.
    ///
    /// What costs something is address space for pool and tables; a file has this length, but space only for what is in use. The unit
    /// of space, 8 bytes, is larger for pools whose shards can have more than 16 GiB. Has no effect on devices, on the
    /// caller's memory, and on a [`warm_file`](Self::warm_file) that is there already.
    pub fn max_size(mut self, bytes: usize) -> Builder {
        self.max_size = Some(bytes);
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
    /// makes room for another, at the price of wasted space. Has no effect on [`warm_file`](Self::warm_file).
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

    /// Adds a namespace: keys of its own, an order of replacement of its own, and a quota, which each shard has an equal part of.
    /// See [`Cache::namespace`].
    ///
    /// An entry that does not fit the quota makes older ones of the same namespace leave
    /// ([`Cause::Quota`](crate::Cause::Quota)). The namespace without a name has what the quotas leave, and may also
    /// use what the others do not use: it gives that back when they need it.
    ///
    /// In a [`warm_file`](Self::warm_file) entries keep their namespace. Those of namespaces that are not there when it is opened,
    /// or beyond a quota that is smaller now, are lost.
    ///
    /// # Examples
    /// ```
    /// use vmemcache::{Cache, Quota};
    /// let cache = Cache::builder()
    ///     .size(4 << 20)
    ///     .namespace("pages", Quota::Share(0.5))
    ///     .namespace("users", Quota::Bytes(256 << 10))
    ///     .anonymous()?;
    /// let pages = cache.namespace("pages").unwrap();
    /// pages.put(b"/", b"<html>")?;
    /// assert!(pages.contains(b"/") && !cache.contains(b"/"));
    /// # Ok::<(), vmemcache::Error>(())
    /// ```
    pub fn namespace(mut self, name: &str, quota: Quota) -> Builder {
        self.namespaces.0.push((name.into(), quota));
        self
    }

    /// Who is told of evictions and misses; see [`Cache::set_listener`].
    pub fn listener(mut self, listener: Arc<dyn Listener>) -> Builder {
        self.listener = Some(listener);
        self
    }

    /// Whether the cache measures how long its operations take, for [`Stats::latencies`](crate::Stats::latencies). Default: no.
    ///
    /// # Cost
    /// The clock is read twice per operation (some 50 ns), and 7 KiB of DRAM per thread. A hit still stores nothing that other
    /// threads read.
    pub fn latencies(mut self, measured: bool) -> Builder {
        self.latencies = measured;
        self
    }

    /// Whether the cache estimates what it would miss with another size, for
    /// [`Stats::miss_ratio_curve`](crate::Stats::miss_ratio_curve). Default: no.
    ///
    /// The estimate is for exact LRU over the keys of all namespaces, whatever their quotas, from a sample of up to 8192 keys. It counts gets of keys with their values' sizes at the last
    /// put or hit; a key that was removed, or whose time was found to be over by a get, misses next time whatever the size.
    /// On Zipf loads the tests hold it to 0.02 of the miss ratio of a simulation in the mean over the sizes, and 0.05 at each.
    ///
    /// # Cost
    /// About a mebibyte of DRAM. Gets, puts and removals of keys in the sample, which are all until it is full, take one lock of the cache
    /// and may allocate; the others only look at a threshold.
    pub fn miss_ratio_curve(mut self, estimated: bool) -> Builder {
        self.curve = estimated;
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
        let (size, most) = self.sizes()?;
        let source = source(most)?;
        let size = if size == most { source.len() } else { size };
        self.over(source, size)
    }

    /// The size that was set, and the largest.
    fn sizes(&self) -> Result<(usize, usize), Error> {
        let size = self.size.unwrap_or(0);
        self.check_size(size)?;
        let most = self.max_size.unwrap_or(size);
        if most < size {
            return Err(Error::Maximum { size, most });
        }
        Ok((size, most))
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
        // Devices and the caller's memory cannot grow.
        let is_whole = matches!(source.kind(), SourceKind::DeviceDax | SourceKind::CallerRegion);
        let len = if is_whole { size } else { source.len() };
        let shape = self.shape(size, len, 0);
        let ground = shape.ground(source, len, 0);
        let part = ground.part(size);
        ground.commit_fresh(part).map_err(|errno| no_medium(size, errno))?;
        self.assemble(ground, part, shape, None, false, None)
    }

    /// Makes a cache on a file that outlives it: entries that were complete when the process ended, however it ended, are there
    /// when the file is opened again. An existing file keeps its size (after a [`resize`](Cache::resize) the new one), largest size, number of
    /// shards and extent size; other settings may change. The order of replacement starts anew. For namespaces see [`namespace`](Self::namespace).
    ///
    /// Keys and values have checksums, which are looked at when an entry is first read after a restart. After a loss of
    /// power, entries may be missing, and entries that were removed shortly before may be there again;
    /// [`Cache::sync`] is the point from which all is safe.
    ///
    /// # Errors
    /// [`Error::Format`] when the file is something else, or of another version; else as
    /// [`in_directory`](Self::in_directory).
    pub fn warm_file(&self, path: impl AsRef<Path>) -> Result<Cache, Error> {
        let path = path.as_ref();
        let c_path = c_path(path)?;
        let failed = |call, error: io::Error| {
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::EIO.0));
            Error::place(Some(path), Cause::new(call, errno))
        };
        let system = |error| failed("open", error);
        let synced = |error| failed("fsync", error);
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = options.map_err(system)?;
        let mut start = Vec::new();
        (&file).take(HEAD as u64).read_to_end(&mut start).map_err(system)?;
        let file_len = file.metadata().map_err(system)?.len();
        let found = Superblock::from_bytes(&start, file_len, path)?;
        let mut names = if found.is_some() { Names::from_bytes(&start) } else { Names::default() };
        let known = names.len();
        self.number(&mut names)?;
        let named = |size| {
            Source::named_file(&c_path, size, OpenMode::Existing)
                .map_err(|cause| Error::place(Some(path), cause))
        };
        let Some(found) = found else {
            let (size, most) = self.sizes()?;
            let source = named(most)?;
            let len = source.len();
            let size = if size == most { len } else { size };
            let shape = self.shape(size, len, HEAD);
            let ground = shape.ground(source, len, HEAD);
            let part = ground.part(size);
            ground.commit_fresh(part).map_err(|errno| no_medium(size, errno))?;
            let block = Superblock {
                len: len as u64,
                shards: shape.shards as u32,
                shift: shape.shift,
                extent: shape.extent,
                salt: shape.salt,
            };
            let base = ground.source.base();
            ground.record(part);
            let cache = self.assemble(ground, part, shape, Some(file), false, Some(&names))?;
            // SAFETY: the first page is committed, and no heap's.
            unsafe { write_names(base, &names) };
            // Last, so that a crash before leaves a file that was never used.
            let bytes = block.to_bytes();
            // SAFETY: the first page is committed, and no heap's.
            unsafe { base.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            // Or a loss of power would take all entries with it, however old.
            cache.sync().map_err(synced)?;
            return Ok(cache);
        };
        let source = named(0)?;
        if (source.len() as u64) < found.len {
            return Err(Error::Format { path: path.to_owned(), what: "it was cut" });
        }
        let len = found.len as usize;
        let shape = Shape {
            shards: found.shards as usize,
            shift: found.shift,
            extent: found.extent,
            salt: found.salt,
            // The number of shards that was set is for new files; this one may be too small for it.
            ..self.clone().shards(found.shards as usize).shape(len, len, HEAD)
        };
        let ground = shape.ground(source, len, HEAD);
        let damaged = || Error::Format { path: path.to_owned(), what: "its first page is damaged" };
        if ground.stride() < MIN_SHARD / 2 || ground.stride() >> shape.shift > MAX_LOC as usize {
            return Err(damaged());
        }
        let part = recorded_part(&start, found.salt).ok_or_else(damaged)?;
        if part > ground.most() || (part as usize) << shape.shift < MIN_SHARD / 2 {
            return Err(damaged());
        }
        let size = ground.size(part);
        ground.commit_filled(part).map_err(|errno| no_medium(size, errno))?;
        if part < ground.most() {
            // A shrink may have been cut short after its last entry had moved.
            for shard in 0..ground.shards {
                ground.give_back_from(shard, part);
            }
        }
        let base = ground.source.base();
        let cache = self.assemble(ground, part, shape, Some(file), true, Some(&names))?;
        if names.len() > known {
            // SAFETY: the first page is committed, and no heap's.
            unsafe { write_names(base, &names) };
            // Before any entry has such a number.
            cache.sync().map_err(synced)?;
        }
        Ok(cache)
    }

    /// How a pool is divided that has this size, and at most `len` bytes, by the settings.
    fn shape(&self, size: usize, len: usize, head: usize) -> Shape {
        let is_exact = match self.replacement {
            Replacement::None => true,
            // A small policy of this kind, to ask it.
            Replacement::Policy(kind) => AnyPolicy::reports_are_binding(&kind.build(1 << 20)),
        };
        let shards = self.shards.unwrap_or_else(|| if is_exact { 1 } else { usual_shards(size) });
        let stride = (len - head) / shards / 64 * 64;
        let mut shift = 3;
        while stride >> shift > MAX_LOC as usize {
            shift += 1;
        }
        let part = (size - head) / shards / 64 * 64;
        let units = (part >> shift) - 2;
        let extent = self.extent.div_ceil(1 << shift).min(units) as u32;
        let exact_space = self.exact_space.unwrap_or(is_exact);
        let mut salt = [0; 8];
        sys::fill_random(&mut salt);
        Shape { shards, shift, extent, salt: u64::from_le_bytes(salt), exact_space }
    }

    /// Numbers the namespaces for a file that knows some names already.
    fn number(&self, names: &mut Names) -> Result<(), Error> {
        for name in self.namespaces.names() {
            let wrong = |what| Error::Namespace { name: name.to_string(), what };
            if name.len() > MAX_NAME {
                return Err(wrong("its name is too long; names in a file have up to 255 bytes"));
            }
            let full = "the file has no room for further names; name another file";
            names.add(name).ok_or_else(|| wrong(full))?;
        }
        Ok(())
    }

    fn assemble(
        &self,
        ground: Ground,
        part: Loc,
        shape: Shape,
        file: Option<File>,
        existing: bool,
        names: Option<&Names>,
    ) -> Result<Cache, Error> {
        if valgrind::is_running() {
            valgrind::ignore_races(ground.source.base().as_ptr(), ground.source.len());
        }
        let ground = Arc::new(ground);
        // The hash also chooses the shard, so it stays the same for a file.
        let hash = KeyHash::new(shape.salt);
        let stopwatch = if self.latencies { Some(Arc::new(Stopwatch::new()?)) } else { None };
        let mut shards = Vec::with_capacity(shape.shards);
        for at in 0..shape.shards {
            let checked = names.is_some();
            let units = ground.units(at, checked);
            let seed = (shape.salt >> 32) as u32;
            // SAFETY: committed, and this shard's alone.
            let heap = unsafe {
                if existing {
                    Heap::bare(units, seed, 1, part)
                } else {
                    Heap::new(units, seed, 1, part)
                }
            };
            let total = heap.total_units();
            // A file must be read in the same way again.
            let least = if checked { 1 } else { units.round_up(self.least_entry as u64) };
            let reserve = if shape.exact_space { 0 } else { units.round_up(RESERVE_BYTES) as u32 };
            let rules = Rules {
                extent: shape.extent,
                least: least.min(u64::from(total)) as u32,
                contiguous: self.contiguous,
                reserve,
                hash: hash.clone(),
            };
            let shares = |total| {
                let (shards, extent, reserve) = (shape.shards, shape.extent, rules.reserve(total));
                self.namespaces.shares(Whole { units, shards, total, reserve, extent })
            };
            let quotas = shares(total)?;
            // Of the largest size; without the bare sum, for which there may be no place yet.
            let most = shares(ground.most() - 2)?;
            let all = std::iter::once("").chain(self.namespaces.names());
            let numbered = all.map(|name| Some((name, names?.number(name)?)));
            let checks = numbered.map(|numbered| {
                numbered.map(|(name, number)| Check::new(shape.salt, at as u32, name, number))
            });
            let spaces = quotas.into_iter().zip(most).zip(checks);
            let spaces =
                spaces.map(|((quota, most), check)| Share { quota, most, check }).collect();
            let shard = Shard::new(Parts {
                units,
                heap,
                fences: if shape.exact_space { Fences::Equal } else { Fences::for_batches() },
                rules,
                policy: match self.replacement {
                    Replacement::None => None,
                    Replacement::Policy(kind) => Some(kind),
                },
                spaces,
                stopwatch: stopwatch.clone(),
                ground: Arc::clone(&ground),
                at,
            })?;
            if let (true, Some(names)) = (existing, names) {
                let mut numbered = vec![None; 1 + names.len()];
                numbered[0] = Some(0);
                for (space, name) in self.namespaces.names().enumerate() {
                    if let Some(number) = names.number(name) {
                        numbered[usize::from(number)] = Some(space + 1);
                    }
                }
                shard.rebuild(&numbered);
            }
            shards.push(shard);
        }
        let pool = Pool::new(ground, part, self.namespaces.clone());
        let watch = Watch { stopwatch, curve: self.curve.then(Curve::new) };
        let cache = Cache::new(pool, shards, hash, self.empty_keys, file, watch)?;
        cache.set_listener(self.listener.clone());
        Ok(cache)
    }
}

/// # Safety
/// At `base` is the first page of a file, and nobody else uses it.
unsafe fn write_names(base: NonNull<u8>, names: &Names) {
    let (at, bytes) = names.to_bytes();
    // SAFETY: they end inside the page, see `Names::add`.
    unsafe { base.as_ptr().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// How a pool is divided.
#[derive(Clone, Copy, Debug)]
struct Shape {
    shards: usize,
    shift: u32,
    /// In units.
    extent: u32,
    /// A random number of this pool.
    salt: u64,
    exact_space: bool,
}

impl Shape {
    fn ground(&self, source: Source, len: usize, head: usize) -> Ground {
        Ground { source, len, head, shards: self.shards, shift: self.shift, salt: self.salt }
    }
}

pub(crate) fn no_medium(size: usize, errno: Errno) -> Error {
    Error::NoMedium { size, cause: Cause::new("posix_fallocate", errno) }
}

fn usual_shards(size: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (size / USUAL_SHARD).clamp(1, processors * 4)
}

fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::place(Some(path), Cause::new("open", Errno::EINVAL)))
}
