//! Making caches: first how they behave, then where their values are.

use crate::block::Units;
use crate::cache::Cache;
use crate::check::Check;
use crate::error::Error;
use crate::events::Listener;
use crate::heap::Heap;
use crate::policy::{AnyPolicy, Kind, Policy};
use crate::protect::Fences;
use crate::restart::{HEAD, MAX_NAME, Names, Superblock};
use crate::shard::{KeyHash, Parts, Rules, Shard};
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
/// What a shard keeps free for reclaiming in batches: at most so many bytes, and one part in so many.
const RESERVE_BYTES: u64 = 1 << 20;
const RESERVE_PART: u32 = 256;

/// The smallest quota of a namespace in each shard, in bytes.
pub const MIN_QUOTA: usize = 4 << 10;

/// What the entries of a namespace may take of the pool: keys, values, headers and rounding.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Quota {
    /// So many bytes.
    Bytes(usize),
    /// A part of the pool, above 0 and up to 1.
    Share(f64),
}

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
    shards: Option<usize>,
    replacement: Replacement,
    extent: usize,
    least_entry: usize,
    contiguous: bool,
    exact_space: Option<bool>,
    empty_keys: bool,
    namespaces: Vec<(Box<str>, Quota)>,
    listener: Option<Arc<dyn Listener>>,
    latencies: bool,
    curve: bool,
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
            namespaces: Vec::new(),
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
        self.namespaces.push((name.into(), quota));
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
        commit_fresh(&source, size)?;
        let shape = self.shape(size, 0);
        self.assemble(source, shape, None, false, None)
    }

    /// Makes a cache on a file that outlives it: entries that were complete when the process ended, however it ended, are there
    /// when the file is opened again. An existing file keeps its size, number of shards and extent size; other settings
    /// may change. The order of replacement starts anew. For namespaces see [`namespace`](Self::namespace).
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
        let system = |error: io::Error| {
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::EIO.0));
            Error::place(Some(path), Cause::new("open", errno))
        };
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
            let size = self.size.unwrap_or(0);
            self.check_size(size)?;
            let source = named(size)?;
            commit_fresh(&source, size)?;
            let shape = self.shape(source.len(), HEAD);
            let block = Superblock {
                len: source.len() as u64,
                shards: shape.shards as u32,
                shift: shape.shift,
                extent: shape.extent,
                salt: shape.salt,
            };
            let base = source.base();
            let cache = self.assemble(source, shape, Some(file), false, Some(&names))?;
            // SAFETY: the first page is committed, and no heap's.
            unsafe { write_names(base, &names) };
            // Last, so that a crash before leaves a file that was never used.
            let bytes = block.to_bytes();
            // SAFETY: the first page is committed, and no heap's.
            unsafe { base.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            return Ok(cache);
        };
        let source = named(0)?;
        if (source.len() as u64) < found.len {
            return Err(Error::Format { path: path.to_owned(), what: "it was cut" });
        }
        let size = source.len();
        source.commit(0, size).map_err(|errno| no_medium(size, errno))?;
        let shape = Shape {
            shards: found.shards as usize,
            shift: found.shift,
            extent: found.extent,
            salt: found.salt,
            // The number of shards that was set is for new files; this one may be too small for it.
            ..self.clone().shards(found.shards as usize).shape(found.len as usize, HEAD)
        };
        let stride = (shape.len - HEAD) / shape.shards / 64 * 64;
        if stride < MIN_SHARD / 2 || stride >> shape.shift > MAX_LOC as usize {
            return Err(Error::Format { path: path.to_owned(), what: "its first page is damaged" });
        }
        let base = source.base();
        let cache = self.assemble(source, shape, Some(file), true, Some(&names))?;
        if names.len() > known {
            // SAFETY: the first page is committed, and no heap's.
            unsafe { write_names(base, &names) };
            // Before any entry has such a number.
            cache.sync().map_err(|error| {
                let errno = Errno(error.raw_os_error().unwrap_or(Errno::EIO.0));
                Error::place(Some(path), Cause::new("fsync", errno))
            })?;
        }
        Ok(cache)
    }

    /// How a pool of this size is divided, by the settings.
    fn shape(&self, len: usize, head: usize) -> Shape {
        let is_exact = match self.replacement {
            Replacement::None => true,
            // A small policy of this kind, to ask it.
            Replacement::Policy(kind) => AnyPolicy::reports_are_binding(&kind.build(1 << 20)),
        };
        let shards = self.shards.unwrap_or_else(|| if is_exact { 1 } else { usual_shards(len) });
        let stride = (len - head) / shards / 64 * 64;
        let mut shift = 3;
        while stride >> shift > MAX_LOC as usize {
            shift += 1;
        }
        let units = (stride >> shift) - 2;
        let extent = self.extent.div_ceil(1 << shift).min(units) as u32;
        let exact_space = self.exact_space.unwrap_or(is_exact);
        let mut salt = [0; 8];
        sys::fill_random(&mut salt);
        Shape { len, head, shards, shift, extent, salt: u64::from_le_bytes(salt), exact_space }
    }

    /// The share of each namespace in the units of each shard; the first one has no name and gets what is left.
    fn quotas(
        &self,
        units: Units,
        total: u32,
        reserve: u32,
        shape: Shape,
    ) -> Result<Vec<u64>, Error> {
        let mut quotas = vec![0];
        let total = u64::from(total);
        for (at, (name, quota)) in self.namespaces.iter().enumerate() {
            let wrong = |what| Err(Error::Namespace { name: name.to_string(), what });
            if name.is_empty() {
                return wrong("the one without a name is always there; give a name");
            }
            if self.namespaces[..at].iter().any(|(other, _)| other == name) {
                return wrong("it was added twice; add it once");
            }
            let quota = match *quota {
                Quota::Bytes(bytes) => (bytes / shape.shards / units.unit()) as u64,
                Quota::Share(share) if share > 0.0 && share <= 1.0 => (total as f64 * share) as u64,
                Quota::Share(_) => return wrong("its share is not above 0 and up to 1"),
            };
            if quota < units.round_up(MIN_QUOTA as u64).max(u64::from(shape.extent)) {
                return wrong(
                    "its quota is too small; give 4 KiB and an extent for each shard at least",
                );
            }
            if quotas.iter().sum::<u64>().saturating_add(quota) > total {
                return wrong("with its quota they are larger than the cache; make quotas smaller");
            }
            quotas.push(quota);
        }
        let named: u64 = quotas.iter().sum();
        // Alone it has all, as the reserve is nobody's.
        let reserve = if named == 0 { 0 } else { u64::from(reserve) };
        quotas[0] = total.saturating_sub(named + reserve);
        Ok(quotas)
    }

    /// Numbers the namespaces for a file that knows some names already.
    fn number(&self, names: &mut Names) -> Result<(), Error> {
        for (name, _) in &self.namespaces {
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
        source: Source,
        shape: Shape,
        file: Option<File>,
        existing: bool,
        names: Option<&Names>,
    ) -> Result<Cache, Error> {
        if valgrind::is_running() {
            valgrind::ignore_races(source.base().as_ptr(), source.len());
        }
        // The hash also chooses the shard, so it stays the same for a file.
        let hash = KeyHash::new(shape.salt);
        let stride = (shape.len - shape.head) / shape.shards / 64 * 64;
        let stopwatch = if self.latencies { Some(Arc::new(Stopwatch::new()?)) } else { None };
        let mut shards = Vec::with_capacity(shape.shards);
        for at in 0..shape.shards {
            let checked = names.is_some();
            // SAFETY: inside the source.
            let start = unsafe { source.base().add(shape.head + at * stride) };
            let units = Units::new(start, shape.shift, checked);
            let end = (stride >> shape.shift) as u32;
            // SAFETY: committed, and this shard's alone.
            let heap = unsafe {
                if existing { Heap::bare(units, 1, end) } else { Heap::new(units, 1, end) }
            };
            let total = heap.total_units();
            // A file must be read in the same way again.
            let least = if checked { 1 } else { units.round_up(self.least_entry as u64) };
            let reserve = if shape.exact_space {
                0
            } else {
                (total / RESERVE_PART).min(units.round_up(RESERVE_BYTES) as u32).max(1)
            };
            let quotas = self.quotas(units, total, reserve, shape)?;
            let all = std::iter::once("").chain(self.namespaces.iter().map(|(name, _)| &**name));
            let numbered = all.map(|name| Some((name, names?.number(name)?)));
            let checks = numbered.map(|numbered| {
                numbered.map(|(name, number)| Check::new(shape.salt, at as u32, name, number))
            });
            let spaces = quotas.into_iter().zip(checks).collect();
            let shard = Shard::new(Parts {
                units,
                heap,
                fences: if shape.exact_space { Fences::Equal } else { Fences::for_batches() },
                rules: Rules {
                    extent: shape.extent,
                    least: least.min(u64::from(total)) as u32,
                    contiguous: self.contiguous,
                    reserve,
                    hash: hash.clone(),
                },
                policy: match self.replacement {
                    Replacement::None => None,
                    Replacement::Policy(kind) => Some(kind),
                },
                spaces,
                stopwatch: stopwatch.clone(),
            })?;
            if let (true, Some(names)) = (existing, names) {
                let mut numbered = vec![None; 1 + names.len()];
                numbered[0] = Some(0);
                for (space, (name, _)) in self.namespaces.iter().enumerate() {
                    if let Some(number) = names.number(name) {
                        numbered[usize::from(number)] = Some(space + 1);
                    }
                }
                shard.rebuild(&numbered);
            }
            shards.push(shard);
        }
        let names = self.namespaces.iter().map(|(name, _)| name.clone());
        let watch = Watch { stopwatch, curve: self.curve.then(Curve::new) };
        let cache = Cache::new(source, shards, hash, self.empty_keys, names, file, watch)?;
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
    /// Of the pool in bytes, and of what comes before the first heap.
    len: usize,
    head: usize,
    shards: usize,
    shift: u32,
    /// In units.
    extent: u32,
    /// A random number of this pool.
    salt: u64,
    exact_space: bool,
}

/// Takes the space of a whole pool, so that nothing is missing later.
fn commit_fresh(source: &Source, size: usize) -> Result<(), Error> {
    if source.kind() != SourceKind::CallerRegion {
        // Fewer misses of the address cache; a hint.
        source.advise_huge(0, source.len());
    }
    if source.needs_commit() {
        source.commit_writable(0, source.len()).map_err(|errno| no_medium(size, errno))?;
    }
    Ok(())
}

fn no_medium(size: usize, errno: Errno) -> Error {
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
