//! Making sources.

use core::ffi::CStr;
use core::fmt::Write;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64};

use super::chunks::Chunks;
use super::room::Room;
use super::{OpenMode, Source, SourceKind};
use crate::align::{PAGE_SIZE, align_down, checked_align_up, is_aligned};
use crate::dax;
use crate::errno::Errno;
use crate::error::Error;
use crate::file::{self, Descriptor};
use crate::fmt::StackBuf;
use crate::numa::{NodeMask, NumaPolicy};
use crate::region::Region;
use crate::sys::{self, Access, Fd, LockMode, MapFile, OpenFlags, Protection};

/// What the first address is a multiple of: two huge pages, so that huge pages fit wherever the
/// kernel offers them.
const BASE_ALIGNMENT: usize = 4 << 20;

/// The page size of a huge-page file in memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HugePageSize {
    /// 2 MiB.
    Mib2,
    /// 1 GiB.
    Gib1,
}

impl HugePageSize {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            HugePageSize::Mib2 => 2 << 20,
            HugePageSize::Gib1 => 1 << 30,
        }
    }

    /// The flags of `memfd_create`.
    pub(super) const fn memfd_flags(self) -> u32 {
        const SIZE_SHIFT: u32 = 26;
        libc::MFD_HUGETLB | self.bytes().trailing_zeros() << SIZE_SHIFT
    }
}

impl Source {
    /// A file without a name in `directory`; it vanishes with the process. Its length is `max_len`
    /// rounded up to the granule, and no space is used yet.
    ///
    /// # Errors
    /// Operation `open` or `mkstemp`: the directory does not exist (`ENOENT`), is none (`ENOTDIR`),
    /// is not writable (`EACCES`, `EROFS`); `ftruncate`: `EFBIG` beyond the process's or the
    /// file system's limit; `mmap`: `ENOMEM`; `EINVAL` for `max_len` 0.
    pub fn in_directory(directory: &CStr, max_len: usize) -> Result<Source, Error> {
        let len = file_len(max_len, granule())?;
        let directory = file::open_directory(directory)?;
        let file = file::temporary_in(&directory)?;
        let fd = still_ours(&file)?;
        file::extend_to(fd, len as u64)?;
        let source = Source::over_file(SourceKind::Directory, file, fd, len, granule())?;
        Ok(Source { directory: Some(directory), starts_zeroed: true, ..source })
    }

    /// The name that a file of [`in_directory`](Self::in_directory) had for a moment, on a file system that knows no
    /// files without one; written to `buffer`. `None` on others.
    #[must_use]
    pub fn former_name<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let (fd, _) = self.file.as_ref().and_then(Descriptor::verified)?;
        let mut link = StackBuf::<40>::new();
        write!(link, "/proc/self/fd/{}", fd.raw()).ok()?;
        let len = sys::read_link_at(Fd::CURRENT_DIRECTORY, link.as_c_str()?, buffer).ok()?;
        let path = buffer.get(..len)?.strip_suffix(b" (deleted)")?;
        let name = path.rsplit(|&byte| byte == b'/').next()?;
        name.starts_with(b"vmem.").then_some(path)
    }

    /// A file with a name. It is made longer, if need be, never shorter, and locked against a
    /// second user; what it held is lost. With `max_len` 0 an existing file is taken as long as
    /// it is.
    ///
    /// # Errors
    /// Operation `open`: those of `open`; `EINVAL` when it is no regular file; `flock`:
    /// `EWOULDBLOCK` when another process uses the file; else as
    /// [`in_directory`](Self::in_directory). A file that [`OpenMode::CreateNew`] made is
    /// removed again.
    pub fn named_file(path: &CStr, max_len: usize, mode: OpenMode) -> Result<Source, Error> {
        let flags = OpenFlags::new(Access::ReadWrite);
        let flags = match mode {
            OpenMode::Create => flags.create(),
            OpenMode::CreateNew => flags.create_new(),
            OpenMode::Existing => flags,
        };
        let fd = sys::open_at(Fd::CURRENT_DIRECTORY, path, flags).map_err(Error::of("open"))?;
        // SAFETY: opened above.
        let result = unsafe { Source::named(fd, path, max_len) };
        if result.is_err() && mode == OpenMode::CreateNew {
            // Should this fail too, the first error is still the one that matters.
            let _ = sys::unlink_at(Fd::CURRENT_DIRECTORY, path);
        }
        result
    }

    /// # Safety
    /// The descriptor is given up by the caller.
    unsafe fn named(fd: Fd, path: &CStr, max_len: usize) -> Result<Source, Error> {
        // SAFETY: given up by the caller.
        let (file, status) = unsafe { Descriptor::adopt(fd) }.map_err(Error::of("fstat"))?;
        if !status.is_regular() {
            return Err(Error::new("open", Errno::EINVAL));
        }
        let fd = still_ours(&file)?;
        lock(fd)?;
        let wanted = match max_len {
            0 => align_down(usize::try_from(status.len).unwrap_or(usize::MAX), granule()),
            len => len,
        };
        let len = file_len(wanted, granule())?;
        let old_len = file::extend_to(fd, len as u64)?;
        let source = Source::over_file(SourceKind::NamedFile, file, fd, len, granule())?;
        // Without the directory everything works, except a clone for a child.
        let directory = open_parent(path).ok();
        Ok(Source { directory, starts_zeroed: old_len == 0, ..source })
    }

    /// A file in memory that was never in a directory. With `huge`, its pages come from the
    /// system's pool of huge pages and the granule is their size.
    ///
    /// # Errors
    /// Operation `memfd_create`: `ENODEV`, `ENOSYS`, `EINVAL` where the kernel has no such pages;
    /// else as [`in_directory`](Self::in_directory).
    pub fn memfd(max_len: usize, huge: Option<HugePageSize>) -> Result<Source, Error> {
        let granule = huge.map_or(granule(), HugePageSize::bytes);
        let len = file_len(max_len, granule)?;
        let file = memory_file(huge)?;
        let fd = still_ours(&file)?;
        file::extend_to(fd, len as u64)?;
        let source = Source::over_file(SourceKind::Memfd, file, fd, len, granule)?;
        Ok(Source { huge, starts_zeroed: true, ..source })
    }

    /// Private zero pages; memory is used as it is touched.
    ///
    /// # Errors
    /// Operation `mmap`: `ENOMEM`; `EINVAL` for `max_len` 0.
    pub fn anonymous(max_len: usize) -> Result<Source, Error> {
        let granule = granule();
        let len = rounded(max_len, granule)?;
        let region = Region::reserve(len, BASE_ALIGNMENT).map_err(Error::of("mmap"))?;
        if !cfg!(miri) {
            // SAFETY: ours, and nobody has seen it yet.
            unsafe { sys::map_anonymous_over(region.base(), len, Protection::ReadWrite) }
                .map_err(Error::of("mmap"))?;
        }
        let source = Source::bare(SourceKind::Anonymous, region.base(), len, granule);
        Ok(Source { _region: Some(region), starts_zeroed: true, in_memory: true, ..source })
    }

    /// Private zero pages that come from the given NUMA nodes. Memory is taken when it is committed, and
    /// with [`NumaPolicy::Bind`] refused (`ENOMEM`) when the nodes have none left. Pages that a fork
    /// has made common to two processes are copied when either writes to them: that cannot
    /// be refused.
    ///
    /// # Errors
    /// Operation `mbind`: `EINVAL` for no node or for nodes without memory, `ENOSYS` without NUMA
    /// support, `EPERM` in a sandbox; else as [`anonymous`](Self::anonymous).
    pub fn anonymous_on_nodes(
        max_len: usize,
        nodes: &NodeMask,
        policy: NumaPolicy,
    ) -> Result<Source, Error> {
        if nodes.is_empty() {
            return Err(Error::new("mbind", Errno::EINVAL));
        }
        let source = Source::anonymous(max_len)?;
        // SAFETY: the range is the new source's own.
        unsafe { bind(source.base, source.len, policy, nodes) }.map_err(Error::of("mbind"))?;
        let room = (policy == NumaPolicy::Bind).then(|| Room::new(*nodes));
        Ok(Source { on_nodes: true, room, ..source })
    }

    /// A whole device-DAX node, for example `/dev/dax0.0`; locked against a second user. What it
    /// held is lost, and its bytes are not zero. The granule is the device's alignment.
    ///
    /// # Errors
    /// Operation `open`: those of `open`, `EINVAL` when it is no device-DAX node; `flock`:
    /// `EWOULDBLOCK` when another process uses it; `sysfs`: the device is not described;
    /// `mmap`: `ENOMEM`, ...
    pub fn device_dax(path: &CStr) -> Result<Source, Error> {
        Source::device_dax_up_to(path, usize::MAX)
    }

    /// As [`device_dax`](Self::device_dax), but no more than the first `max_len` bytes of it. The rest is not
    /// for others: the device is locked as a whole.
    ///
    /// # Errors
    /// As there; operation `size`: `EINVAL` for a `max_len` below the device's alignment.
    pub fn device_dax_up_to(path: &CStr, max_len: usize) -> Result<Source, Error> {
        let open = |access| {
            let fd = sys::open_at(Fd::CURRENT_DIRECTORY, path, OpenFlags::new(access))?;
            // SAFETY: opened just now.
            unsafe { Descriptor::adopt(fd) }
        };
        // Looked at as a place first: opening some devices does things.
        let (_, place) = open(Access::Path).map_err(Error::of("open"))?;
        let device = dax::describe(&place)
            .map_err(Error::of("sysfs"))?
            .ok_or(Error::new("open", Errno::EINVAL))?;
        let (file, status) = open(Access::ReadWrite).map_err(Error::of("open"))?;
        if status.node != place.node {
            return Err(Error::new("open", Errno::ENODEV));
        }
        let fd = still_ours(&file)?;
        lock(fd)?;
        let granule = device.align.max(granule());
        let size = usize::try_from(device.size).map_err(|_| Error::new("mmap", Errno::ENOMEM))?;
        let len = align_down(size.min(max_len), granule);
        if len == 0 {
            return Err(Error::new("size", Errno::EINVAL));
        }
        Source::over_file(SourceKind::DeviceDax, file, fd, len, granule)
    }

    /// Memory that the caller has mapped; a length that is no multiple of the granule is rounded
    /// down. It is used as it is: never unmapped, purged or advised upon.
    ///
    /// # Errors
    /// Operation `region`: `EINVAL` when the address is no multiple of the granule or the length is
    /// below one granule.
    ///
    /// # Safety
    /// The range is readable and writable, and nobody else uses it as long as the source lives.
    pub unsafe fn caller_region(address: NonNull<u8>, len: usize) -> Result<Source, Error> {
        let granule = granule();
        let len = align_down(len, granule);
        if len == 0 || !is_aligned(address.as_ptr().addr(), granule) {
            return Err(Error::new("region", Errno::EINVAL));
        }
        Ok(Source::bare(SourceKind::CallerRegion, address, len, granule))
    }

    /// Maps the whole file. Its bytes are not known to be zero.
    fn over_file(
        kind: SourceKind,
        file: Descriptor,
        fd: Fd,
        len: usize,
        granule: usize,
    ) -> Result<Source, Error> {
        let region = map_shared(fd, len, granule.max(BASE_ALIGNMENT))?;
        let source = Source::bare(kind, region.base(), len, granule);
        let in_memory = granule == self::granule() && sys::is_on_tmpfs(fd);
        let source = Source { _region: Some(region), file: Some(file), in_memory, ..source };
        source.repeat_advice(source.base, len);
        Ok(source)
    }

    fn bare(kind: SourceKind, base: NonNull<u8>, len: usize, granule: usize) -> Source {
        debug_assert!(len > 0 && is_aligned(len, granule) && is_aligned(granule, PAGE_SIZE));
        Source {
            base,
            len,
            granule,
            kind,
            starts_zeroed: false,
            huge: None,
            on_nodes: false,
            room: None,
            _region: None,
            in_memory: false,
            file: None,
            directory: None,
            can_purge: AtomicBool::new(kind.is_file() || kind == SourceKind::Anonymous),
            chunks: Chunks::new(len),
            exchanges: AtomicBool::new(!cfg!(miri)),
            wants_huge: AtomicBool::new(false),
            no_dump: AtomicBool::new(false),
            calls_before_fault: AtomicU64::new(u64::MAX),
        }
    }
}

/// The granule of everything that has no larger pages.
fn granule() -> usize {
    sys::page_size().max(PAGE_SIZE)
}

fn rounded(len: usize, granule: usize) -> Result<usize, Error> {
    match checked_align_up(len, granule) {
        Some(0) => Err(Error::new("size", Errno::EINVAL)),
        Some(len) => Ok(len),
        None => Err(Error::new("size", Errno::EFBIG)),
    }
}

/// As [`rounded`], and the kernel can express it as a file length.
fn file_len(len: usize, granule: usize) -> Result<usize, Error> {
    let len = rounded(len, granule)?;
    libc::off_t::try_from(len).map_err(|_| Error::new("size", Errno::EFBIG))?;
    Ok(len)
}

/// The number behind a descriptor made a moment ago.
fn still_ours(file: &Descriptor) -> Result<Fd, Error> {
    file.verified().map(|(fd, _)| fd).ok_or(Error::new("open", Errno::EBADF))
}

fn lock(fd: Fd) -> Result<(), Error> {
    match sys::lock_file(fd, LockMode::Exclusive) {
        Err(errno @ Errno::EWOULDBLOCK) => Err(Error::new("flock", errno)),
        // Not every file system can lock; the user is then on his own.
        _ => Ok(()),
    }
}

pub(super) fn memory_file(huge: Option<HugePageSize>) -> Result<Descriptor, Error> {
    let flags = huge.map_or(0, HugePageSize::memfd_flags);
    let fd = sys::memory_file(c"vmem", flags).map_err(Error::of("memfd_create"))?;
    // SAFETY: made above.
    unsafe { Descriptor::adopt(fd) }.map(|(file, _)| file).map_err(Error::of("fstat"))
}

/// Reserves an aligned range and lays the whole file over it.
fn map_shared(fd: Fd, len: usize, alignment: usize) -> Result<Region, Error> {
    let region = Region::reserve_preferred(len, alignment).map_err(Error::of("mmap"))?;
    // SAFETY: ours, and nobody has seen it yet.
    unsafe { sys::map_file_over(region.base(), len, fd, 0, MapFile::Shared) }
        .map_err(Error::of("mmap"))?;
    Ok(region)
}

/// The directory that holds `path`.
fn open_parent(path: &CStr) -> Result<Descriptor, Error> {
    let bytes = path.to_bytes();
    let parent = match bytes.iter().rposition(|&byte| byte == b'/') {
        Some(0) => &b"/"[..],
        Some(end) => bytes.get(..end).unwrap_or(b"."),
        None => b".",
    };
    let mut text = StackBuf::<1024>::new();
    text.push_bytes(parent);
    let text = text.as_c_str().ok_or(Error::new("open", Errno::ENAMETOOLONG))?;
    file::open_directory(text)
}

/// # Safety
/// The range belongs to the caller.
unsafe fn bind(
    base: NonNull<u8>,
    len: usize,
    policy: NumaPolicy,
    nodes: &NodeMask,
) -> Result<(), Errno> {
    // SAFETY: forwarded.
    match unsafe { sys::bind_memory(base, len, policy.mode(), nodes) } {
        // Kernels before 5.15 prefer one node at most.
        Err(Errno::EINVAL) if policy == NumaPolicy::Preferred => {
            let first = nodes.first().map_or(Err(Errno::EINVAL), NodeMask::single)?;
            // SAFETY: forwarded.
            unsafe { sys::bind_memory(base, len, libc::MPOL_PREFERRED, &first) }
        }
        result => result,
    }
}
