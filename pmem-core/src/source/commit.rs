//! Allocating space before it is used, so that a full medium shows as an error and never as
//! `SIGBUS`.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::Source;
use crate::errno::Errno;
use crate::file::Descriptor;
use crate::sys::{self, Advice, Fd, SignalBlock};

/// What a pool leaves free on a disk file system, in bytes.
const ROOM_FOR_RECORDS: u64 = 4 << 20;

impl Source {
    /// Allocates space for a range; afterwards touching these bytes can never raise `SIGBUS`. Memory on
    /// chosen nodes is brought in at once.
    ///
    /// Content that the range has stays. The descriptor is used if it still is ours, else the
    /// mapping itself; so programs that close all descriptors do no harm. On an error a part of
    /// the range may have got space.
    ///
    /// # Errors
    /// `ENOSPC` or `EDQUOT` without space, `ENOMEM` without memory; `EINVAL` for a range that is
    /// not on granule borders or leaves the source; `EOPNOTSUPP` where the file system cannot
    /// allocate and the kernel is older than 5.14.
    pub fn commit(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let address = self.range(offset, len)?;
        self.injected_fault()?;
        if len == 0 || !self.needs_commit() {
            return Ok(());
        }
        if self.on_nodes {
            return self.commit_on_nodes(address, len);
        }
        // A descriptor knows nothing of what the mapping was advised: it would take small pages.
        if self.in_memory && self.wants_huge.load(Relaxed) {
            // SAFETY: inside our own range; populating changes no content.
            let result = unsafe { sys::advise(address, len, Advice::PopulateWrite) };
            // Other errors: not known to the kernel, or forbidden by a sandbox.
            if let result @ (Ok(()) | Err(Errno::ENOSPC | Errno::ENOMEM)) =
                result.map_err(populate_error)
            {
                return result;
            }
        }
        if let Some(result) = self.commit_by_descriptor(offset, len) {
            return result;
        }
        // SAFETY: inside our own range; populating changes no content.
        unsafe { sys::advise(address, len, Advice::PopulateWrite) }.map_err(populate_error)
    }

    /// As [`commit`](Self::commit) for a range without content, and brings the pages into memory,
    /// writable. On an error nothing stays allocated.
    ///
    /// Where the medium is memory this takes one system call instead of an allocation and a fault for
    /// each page. On a disk file system allocation alone is no promise: allocated space that was
    /// never written is recorded as such there, and changing the record at a store may need a
    /// block that a full disk does not have. So the pages are written as well, and the last megabytes
    /// of the file system are left to its records.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_writable(&self, offset: usize, len: usize) -> Result<(), Errno> {
        if len == 0 || cfg!(miri) || !(self.in_memory || self.needs_commit()) {
            return self.commit(offset, len);
        }
        let address = self.range(offset, len)?;
        if self.on_nodes {
            return self.commit(offset, len).inspect_err(|_| self.take_back(offset, len));
        }
        if self.in_memory {
            self.injected_fault()?;
        } else {
            if self.huge.is_none() && !self.leaves_room_for_records(len) {
                return Err(Errno::ENOSPC);
            }
            // Some file systems keep what they had allocated when space ran out.
            self.commit(offset, len).inspect_err(|_| self.take_back(offset, len))?;
        }
        // SAFETY: inside our own range; populating changes no content.
        match unsafe { sys::advise(address, len, Advice::PopulateWrite) }.map_err(populate_error) {
            Ok(()) => Ok(()),
            Err(errno @ (Errno::ENOSPC | Errno::ENOMEM)) => {
                self.take_back(offset, len);
                Err(errno)
            }
            // Not known to the kernel, or forbidden by a sandbox.
            Err(_) if self.in_memory => self.commit(offset, len),
            Err(_) => Ok(()),
        }
    }

    fn commit_on_nodes(&self, address: NonNull<u8>, len: usize) -> Result<(), Errno> {
        if let Some(room) = &self.room {
            room.take(len)?;
        }
        // SAFETY: inside our own range; populating changes no content.
        match unsafe { sys::advise(address, len, Advice::PopulateWrite) } {
            Err(errno @ Errno::ENOMEM) => Err(errno),
            // Not known to the kernel, or forbidden by a sandbox: pages come as they are touched.
            _ => Ok(()),
        }
    }

    #[cold]
    fn take_back(&self, offset: usize, len: usize) {
        if self.can_purge() {
            let _ = self.purge(offset, len);
        }
    }

    /// Whether the file system has room for `len` bytes and some blocks of its own. True when it
    /// cannot be asked.
    fn leaves_room_for_records(&self, len: usize) -> bool {
        let file = self.file.as_ref().and_then(Descriptor::verified);
        let Some((fd, _)) = file else { return true };
        sys::free_space(fd).map_or(true, |free| free >= len as u64 + ROOM_FOR_RECORDS)
    }

    /// Whether the medium is memory in pages of the usual size: space there needs no records.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// `None` when the descriptor cannot do it and the mapping has to.
    fn commit_by_descriptor(&self, offset: usize, len: usize) -> Option<Result<(), Errno>> {
        let file = self.file.as_ref()?;
        let (fd, _) = file.verified()?;
        let allocated = self.chunks.for_runs(offset, len, |_, in_file, len| {
            match allocate(fd, in_file, len as u64) {
                Ok(Allocated::Yes) => Ok(()),
                Ok(Allocated::NotAvailable) => Err(None),
                Err(errno) => Err(Some(errno)),
            }
        });
        match allocated {
            // Another thread may have put another file on the number meanwhile; then ours still
            // lacks the space.
            Ok(()) => file.verified().map(|_| Ok(())),
            Err(error) => error.map(Err),
        }
    }

    /// Brings the pages of a committed range into memory now, to save the page faults later.
    ///
    /// # Errors
    /// `ENOSPC` or `ENOMEM` when there is no space; every other failure is ignored, for it is a
    /// hint. `EINVAL` for a range that is not on granule borders or leaves the source.
    pub fn populate(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let address = self.range(offset, len)?;
        self.injected_fault()?;
        if len == 0 || cfg!(miri) {
            return Ok(());
        }
        // SAFETY: inside our own range; populating changes no content.
        match unsafe { sys::advise(address, len, Advice::PopulateWrite) }.map_err(populate_error) {
            Err(errno @ (Errno::ENOSPC | Errno::ENOMEM)) => Err(errno),
            _ => Ok(()),
        }
    }
}

/// What `MADV_POPULATE_WRITE` means by its errors.
fn populate_error(errno: Errno) -> Errno {
    match errno {
        // Where touching the page would have raised SIGBUS.
        Errno::EFAULT => Errno::ENOSPC,
        // The kernel does not know the advice.
        Errno::EINVAL => Errno::EOPNOTSUPP,
        other => other,
    }
}

/// Whether an allocation was made.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Allocated {
    Yes,
    /// The file system or a sandbox does not offer the call, or the descriptor is none for it.
    NotAvailable,
}

/// `fallocate`, also under a storm of signals: tmpfs may give up when one arrives, and undoes what
/// it did.
///
/// # Errors
/// Those that speak of space or of a broken medium.
pub(super) fn allocate(fd: Fd, offset: u64, len: u64) -> Result<Allocated, Errno> {
    let result = match sys::fallocate(fd, offset, len) {
        Err(Errno::EINTR) => allocate_undisturbed(fd, offset, len),
        result => result,
    };
    match result {
        Ok(()) => Ok(Allocated::Yes),
        Err(
            errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM | Errno::EFBIG | Errno::EIO),
        ) => Err(errno),
        Err(_) => Ok(Allocated::NotAvailable),
    }
}

/// In pieces, so that signals wait for milliseconds and not for the whole pool.
#[cold]
fn allocate_undisturbed(fd: Fd, offset: u64, len: u64) -> Result<(), Errno> {
    // A multiple of every granule but 1 GiB pages, which are one piece each.
    const PIECE: u64 = 16 << 20;
    let end = offset + len;
    let mut start = offset;
    while start < end {
        let piece = PIECE.min(end - start);
        let _block = SignalBlock::new();
        match sys::fallocate(fd, start, piece) {
            Ok(()) => start += piece,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    /// Kernels differ in whether signals interrupt an allocation, so this way is taken by hand.
    #[test]
    fn pieces_make_up_the_whole() {
        let file = sys::memory_file(c"pieces", 0).unwrap();
        sys::truncate(file, 64 << 20).unwrap();
        let (start, len) = (4096, (40 << 20) + 8192);
        allocate_undisturbed(file, start, len).unwrap();
        assert_eq!(sys::file_status(file).unwrap().allocated, len);
        allocate_undisturbed(file, 0, 0).unwrap();
        // SAFETY: made above.
        unsafe { sys::close(file) };
        assert_eq!(allocate_undisturbed(file, 0, 4096), Err(Errno::EBADF));
    }
}
