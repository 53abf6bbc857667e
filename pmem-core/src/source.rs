//! Sources: where the bytes of a pool come from.
//!
//! A source is one contiguous, aligned range of addresses that stays where it is. Nothing in it may
//! be touched before it is committed; after that an access can never raise `SIGBUS`, because space
//! is allocated before it is used.
//!
//! ```text
//!   base                                                      base + len
//!    |---- committed ----|--- uncommitted ---|-- committed --|
//!    offset 0            granules: commit / purge unit
//! ```
//!
//! | kind | backing | commit | purge |
//! |---|---|---|---|
//! | directory, named file, memfd | shared file mapping | `fallocate`, else populate | punches a hole |
//! | anonymous | private zero pages | nothing to do | `MADV_DONTNEED` |
//! | on nodes | private zero pages | populate | `MADV_DONTNEED` |
//! | device DAX | whole device | nothing to do | not possible |
//! | caller's region | whatever the caller mapped | nothing to do | not done |
//!
//! The bytes at an offset of the source are not always those at the same offset of its file:
//! [`exchange`](Source::exchange) moves mappings in place of bytes. Nothing is promised about what a
//! file holds while or after it is used as a source.
//!
//! All methods take `&self` and may be called from several threads at once for ranges that do not
//! overlap. None allocates, changes `errno`, or is a cancellation point.

mod chunks;
mod commit;
mod exchange;
mod fork;
mod home;
mod open;
mod purge;
mod range;
mod room;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64};

use crate::file::Descriptor;
use crate::region::Region;
use chunks::Chunks;
use room::Room;

pub use crate::file::OpenMode;
pub use crate::region::{parse_hint, prefer_addresses_from};
pub use fork::FileClone;
pub use home::{Homecoming, Stillness};
pub use open::HugePageSize;
pub use purge::Purged;

/// What a source is made of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SourceKind {
    /// A file without a name in a directory.
    Directory,
    /// A file with a name; its content is volatile all the same.
    NamedFile,
    /// A file in memory, of ordinary or huge pages.
    Memfd,
    /// Private zero pages.
    Anonymous,
    /// A whole device-DAX node.
    DeviceDax,
    /// Memory that the caller mapped.
    CallerRegion,
}

impl SourceKind {
    /// Is it a shared mapping of a file whose space is allocated piece by piece?
    const fn is_file(self) -> bool {
        matches!(self, SourceKind::Directory | SourceKind::NamedFile | SourceKind::Memfd)
    }
}

/// A range of addresses and the memory behind it. Dropping it unmaps the range (not a caller's
/// region).
///
/// # Examples
/// ```
/// use pmem_core::source::Source;
/// let source = Source::in_directory(c"/dev/shm", 64 << 20)?;
/// source.commit(0, source.granule())?;
/// // SAFETY: committed above.
/// unsafe { source.base().write(1) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Source {
    base: NonNull<u8>,
    len: usize,
    granule: usize,
    kind: SourceKind,
    starts_zeroed: bool,
    /// Whether the bytes live in page-sized pieces of memory (tmpfs, memfd, anonymous), so that
    /// bringing pages in costs no input or output.
    in_memory: bool,
    huge: Option<HugePageSize>,
    /// Whether the pages come from chosen nodes.
    on_nodes: bool,
    /// Where only these nodes will do: what they have left.
    room: Option<Room>,
    /// Only held for its drop, which unmaps; none for a caller's region.
    _region: Option<Region>,
    file: Option<Descriptor>,
    /// Where the file was made, to make another one for a child.
    directory: Option<Descriptor>,
    /// Cleared when the file system turns out to have no holes.
    can_purge: AtomicBool,
    /// Which part of the file shows where.
    chunks: Chunks,
    /// Cleared when the kernel turns out to be unable to exchange ranges.
    exchanges: AtomicBool,
    /// Whether huge pages are asked for in the whole range.
    wants_huge: AtomicBool,
    /// Whether the range is left out of core files.
    no_dump: AtomicBool,
    /// How many calls are left before one fails on purpose; `u64::MAX` for never.
    calls_before_fault: AtomicU64,
}

// SAFETY: a source is plain values, atomics and descriptors; the memory behind `base` is raw
// memory, whose users do their own synchronisation.
unsafe impl Send for Source {}
// SAFETY: as above; the methods change only atomics and kernel state.
unsafe impl Sync for Source {}

impl Source {
    /// The first address; a multiple of 4 MiB, or for a caller's region whatever the caller chose.
    #[inline]
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes, a multiple of the granule.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a source is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The unit of commit and purge in bytes: a multiple of 4096 and of the system's page size.
    #[inline]
    #[must_use]
    pub fn granule(&self) -> usize {
        self.granule
    }

    /// What the source is made of.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Are bytes zero when they are committed for the first time?
    #[must_use]
    pub fn starts_zeroed(&self) -> bool {
        self.starts_zeroed
    }

    /// Must a range be committed before it is touched? If not, [`commit`](Self::commit) does
    /// nothing.
    #[must_use]
    pub fn needs_commit(&self) -> bool {
        self.kind.is_file() || self.on_nodes
    }

    /// Does the source still have the descriptor of its file? The program may have closed it.
    #[must_use]
    pub fn has_descriptor(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.verified().is_some())
    }

    /// Closes the descriptors of file and directory. What is committed stays; the rest can be
    /// committed through the mapping; a range can no longer be frozen, nor the file cloned.
    ///
    /// For pools that are preallocated and of which there may be very many.
    pub fn close_descriptors(&self) {
        for descriptor in [&self.file, &self.directory].into_iter().flatten() {
            descriptor.close();
        }
    }
}
