//! Giving memory back, advice, and what is in use.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::{Source, SourceKind};
use crate::errno::Errno;
use crate::sys::{self, Advice};

/// What a purge did.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use = "a range that was given back must be committed again"]
pub enum Purged {
    /// The memory went back: the range is no longer committed, and reads as zeros once it is
    /// committed again.
    Zeroed,
    /// The range is as committed as before; its content is unspecified.
    Kept,
}

impl Source {
    /// Can memory be given back? A file system may turn out to be unable; then this changes to
    /// `false`.
    #[must_use]
    pub fn can_purge(&self) -> bool {
        self.can_purge.load(Relaxed)
    }

    /// Gives the memory of a range back; its content is lost.
    ///
    /// For files a hole is punched through the mapping (no descriptor needed), for anonymous memory
    /// the pages are dropped. A range that is frozen, or not on granule borders, is kept.
    /// Ranges are uniform: not partly frozen.
    pub fn purge(&self, offset: usize, len: usize) -> Purged {
        if len == 0 || !self.can_purge() {
            return Purged::Kept;
        }
        let Ok(address) = self.range(offset, len) else {
            return Purged::Kept;
        };
        if cfg!(miri) {
            // SAFETY: the range is ours, and its content is given up. Miri knows no madvise.
            unsafe { address.write_bytes(0, len) };
            return Purged::Zeroed;
        }
        // Never DontNeed on a shared mapping: it frees nothing and costs a fault per page.
        let advice =
            if self.kind == SourceKind::Anonymous { Advice::DontNeed } else { Advice::Remove };
        // SAFETY: the range is ours, and the caller gave up its content.
        let give_back = || unsafe { sys::advise(address, len, advice) };
        let mut given_back = give_back();
        if matches!(given_back, Err(Errno::ENOSPC | Errno::EIO)) {
            // A disk file system writes what is dirty first, and then reports an earlier failure to
            // write anything of the file: once.
            given_back = give_back();
        }
        match given_back {
            Ok(()) => Purged::Zeroed,
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                self.can_purge.store(false, Relaxed);
                Purged::Kept
            }
            // A private (frozen) mapping, or locked pages: refused before anything was done.
            Err(Errno::EACCES | Errno::EINVAL | Errno::EPERM) => Purged::Kept,
            Err(_) => self.kept_after_failure(offset, len),
        }
    }

    /// The medium failed half-way: make sure that no hole is left in a range that counts as
    /// committed.
    #[cold]
    fn kept_after_failure(&self, offset: usize, len: usize) -> Purged {
        match self.commit(offset, len) {
            Ok(()) => Purged::Kept,
            Err(_) => {
                self.can_purge.store(false, Relaxed);
                Purged::Kept
            }
        }
    }

    /// Gives the memory of a range back that [`replace_anonymous`](Self::replace_anonymous) made
    /// private; its content is lost.
    ///
    /// # Safety
    /// The whole range was replaced and not shared again; in a frozen range the old content of the
    /// file would show.
    pub unsafe fn purge_replaced(&self, offset: usize, len: usize) -> Purged {
        let Ok(address) = self.range(offset, len) else {
            return Purged::Kept;
        };
        // SAFETY: the range is ours and private, and the caller gave up its content.
        match unsafe { sys::advise(address, len, Advice::DontNeed) } {
            Ok(()) => Purged::Zeroed,
            Err(_) => Purged::Kept,
        }
    }

    /// Asks for huge pages in a range; a hint.
    pub fn advise_huge(&self, offset: usize, len: usize) {
        if self.kind == SourceKind::CallerRegion {
            return;
        }
        if let Ok(address) = self.range(offset, len) {
            if len == self.len {
                self.wants_huge.store(true, Relaxed);
            }
            // SAFETY: the range is ours; page sizes do not change content.
            let _ = unsafe { sys::advise(address, len, Advice::HugePage) };
        }
    }

    /// Leaves the whole source out of core files, or puts it in again. Without this a shared file
    /// is dumped as a whole.
    pub fn dont_dump(&self, leave_out: bool) {
        if self.kind == SourceKind::CallerRegion {
            return;
        }
        self.no_dump.store(leave_out, Relaxed);
        let advice = if leave_out { Advice::DontDump } else { Advice::DoDump };
        // SAFETY: the range is ours; nothing but core files changes.
        let _ = unsafe { sys::advise(self.base, self.len, advice) };
    }

    /// Advice belongs to a mapping: after mapping something else over a range it is given again.
    pub(super) fn repeat_advice(&self, address: NonNull<u8>, len: usize) {
        if self.is_on_disk() {
            // SAFETY: the range is ours; what is read ahead changes no content.
            let _ = unsafe { sys::advise(address, len, Advice::Random) };
        }
        if self.no_dump.load(Relaxed) {
            // SAFETY: the range is ours; nothing but core files changes.
            let _ = unsafe { sys::advise(address, len, Advice::DontDump) };
        }
        if self.wants_huge.load(Relaxed) {
            // SAFETY: the range is ours; page sizes do not change content.
            let _ = unsafe { sys::advise(address, len, Advice::HugePage) };
        }
    }

    /// Whether pages go through the page cache of a disk file system.
    ///
    /// Such a mapping must not be read ahead. What is read ahead comes in pieces of many pages, and before a store
    /// to one page the file system allocates blocks for the whole piece: also for holes in it, which nobody
    /// would give back, and without which the store is a `SIGBUS` on a full disk (ext4 and XFS on Linux 6.18).
    fn is_on_disk(&self) -> bool {
        self.kind.is_file() && !self.in_memory && self.huge.is_none()
    }

    /// Bytes of memory or medium in use, for statistics: the file's blocks where the file can still
    /// be asked, the whole device for device DAX, else the pages that are in memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        if self.kind == SourceKind::DeviceDax {
            return self.len as u64;
        }
        if let Some((_, status)) = self.file.as_ref().and_then(|file| file.verified()) {
            return status.allocated;
        }
        if cfg!(miri) {
            return self.len as u64;
        }
        let pages = sys::resident_pages(self.base, self.len).unwrap_or(0);
        pages * sys::page_size() as u64
    }

    /// Whether the page at `offset` has been written since it got its space, by what the kernel says; false where it does not
    /// say. Space that was only allocated in a file in memory is not content yet.
    #[must_use]
    pub fn is_written(&self, offset: usize) -> bool {
        let len = sys::page_size();
        !cfg!(miri) && self.range(offset, len).is_ok_and(|at| sys::resident_pages(at, len) == Ok(1))
    }
}
