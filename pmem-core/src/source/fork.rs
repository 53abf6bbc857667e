//! What a fork needs: freezing ranges in place, and a copy of the file for the child.
//!
//! A shared mapping stays shared after `fork`, so parent and child would write into the same bytes.
//! Either the ranges in use are made private for a while (`freeze`, `replace_anonymous`, later
//! `share`), or the child gets a file of its own (`new_clone`, `copy_to_clone`, `adopt_clone`).

use core::ptr::NonNull;

use super::commit::Allocated;
use super::open::memory_file;
use super::{Source, SourceKind, commit};
use crate::errno::Errno;
use crate::error::Error;
use crate::file::{self, Descriptor};
use crate::region::Region;
use crate::sys::{self, Fd, MapFile, Protection};

impl Source {
    /// Replaces a range in place by a private mapping of the same part of the file: content is the
    /// same, later stores stay in this process (and, after `fork`, in each process).
    ///
    /// Threads that use the range meanwhile notice nothing. Memory that a device has pinned for
    /// writing (registered buffers) is cut off from the device. Anonymous memory is private
    /// anyway, and nothing is done.
    ///
    /// # Errors
    /// `EBADF` when the program has closed the descriptor; `EOPNOTSUPP` for huge-page files (a
    /// private copy could raise `SIGBUS` when huge pages run out), device DAX and a caller's
    /// region; `EINVAL` for a range off granule borders or outside; `ENOMEM`. Of a range that is
    /// longer than its [`run`](Self::run) a part may have been frozen then.
    pub fn freeze(&self, offset: usize, len: usize) -> Result<(), Errno> {
        if self.huge.is_some() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.map_part(offset, len, MapFile::Private)
    }

    /// Shows the file in a range again, with the content that the file has; undoes
    /// [`freeze`](Self::freeze) and [`replace_anonymous`](Self::replace_anonymous), whose
    /// private stores are lost.
    ///
    /// A child that was forked while the range was frozen reads the file too, wherever it has not
    /// stored itself: do this when it is gone.
    ///
    /// # Errors
    /// As [`freeze`](Self::freeze); huge-page files can be shared again.
    pub fn share(&self, offset: usize, len: usize) -> Result<(), Errno> {
        self.map_part(offset, len, MapFile::Shared)
    }

    fn map_part(&self, offset: usize, len: usize, how: MapFile) -> Result<(), Errno> {
        // Whatever the range: who asks for pages of a device that has larger granules is told that it cannot be.
        if !self.kind.is_file() && self.kind != SourceKind::Anonymous {
            return Err(Errno::EOPNOTSUPP);
        }
        let address = self.range(offset, len)?;
        self.injected_fault()?;
        if self.kind == SourceKind::Anonymous || len == 0 {
            return Ok(());
        }
        let fd = self.verified_file()?;
        self.chunks.for_runs(offset, len, |start, in_file, len| {
            // SAFETY: a part of the range checked above.
            let address = unsafe { self.base.add(start) };
            // SAFETY: the range is ours. Frozen content is that of the file; sharing gives up private
            // content by contract.
            unsafe { sys::map_file_over(address, len, fd, in_file, how) }
        })?;
        self.repeat_advice(address, len);
        Ok(())
    }

    /// Replaces a range in place by fresh private zero pages; its content is lost to this process,
    /// and the file keeps what it has.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a caller's region; `EINVAL` for a range off granule borders or outside;
    /// `ENOMEM`.
    pub fn replace_anonymous(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let address = self.range(offset, len)?;
        self.injected_fault()?;
        if self.kind == SourceKind::CallerRegion {
            return Err(Errno::EOPNOTSUPP);
        }
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the range is ours, and the caller gave up its content.
        unsafe { sys::map_anonymous_over(address, len, Protection::ReadWrite) }?;
        self.repeat_advice(address, len);
        Ok(())
    }

    /// Replaces a range in place by private memory with a copy of its content: what
    /// [`freeze`](Self::freeze) does, where freezing is not possible. Costs the memory at once.
    ///
    /// # Errors
    /// `ENOMEM`; `EOPNOTSUPP` for a caller's region; `EINVAL` for a range off granule borders or
    /// outside.
    ///
    /// # Safety
    /// The range is committed, and no other thread or process writes to it meanwhile: such stores
    /// could be lost.
    pub unsafe fn replace_with_copy(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let address = self.range(offset, len)?;
        self.injected_fault()?;
        if self.kind == SourceKind::CallerRegion {
            return Err(Errno::EOPNOTSUPP);
        }
        if len == 0 {
            return Ok(());
        }
        let copy = sys::map_anonymous(len)?;
        // SAFETY: the range is committed and not written to; the copy is new.
        unsafe { address.copy_to_nonoverlapping(copy, len) };
        // SAFETY: both are ours; the content is in the copy.
        let moved = unsafe { sys::move_mapping_over(copy, address, len) };
        if moved.is_err() {
            // SAFETY: ours and unused.
            let _ = unsafe { sys::unmap(copy, len) };
        }
        moved?;
        self.repeat_advice(address, len);
        Ok(())
    }

    pub(super) fn verified_file(&self) -> Result<Fd, Errno> {
        let file = self.file.as_ref().and_then(Descriptor::verified);
        file.map(|(fd, _)| fd).ok_or(Errno::EBADF)
    }

    /// Makes another file of the same kind, in the same directory, as long as this one and empty.
    ///
    /// # Errors
    /// As for making the source; operation `open` with `EBADF` when the program has closed the
    /// directory's descriptor; `EOPNOTSUPP` when the source is no file.
    pub fn new_clone(&self) -> Result<FileClone, Error> {
        self.injected_fault().map_err(Error::of("open"))?;
        let file = match (self.kind, &self.directory) {
            (SourceKind::Memfd, _) => memory_file(self.huge)?,
            (SourceKind::Directory | SourceKind::NamedFile, Some(directory)) => {
                file::temporary_in(directory)?
            }
            (SourceKind::Directory | SourceKind::NamedFile, None) => {
                return Err(Error::new("open", Errno::EBADF));
            }
            _ => return Err(Error::new("clone", Errno::EOPNOTSUPP)),
        };
        let (fd, _) = file.verified().ok_or(Error::new("open", Errno::EBADF))?;
        file::extend_to(fd, self.len as u64)?;
        Ok(FileClone { file, written_through_mapping: self.huge.is_some() })
    }

    /// Copies a committed range, as this process sees it, to the same place in a clone. (The clone has
    /// at each offset what the source has there, whatever was exchanged.)
    ///
    /// Copied through memory on purpose: sharing blocks between the files (reflink) would make
    /// later stores in either allocate space, and raise `SIGBUS` when there is none.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EFBIG`, `EBADF` when the program has closed the clone's descriptor,
    /// `EINVAL` for a range off granule borders or outside.
    pub fn copy_to_clone(&self, clone: &FileClone, offset: usize, len: usize) -> Result<(), Errno> {
        let address = self.range(offset, len)?;
        self.injected_fault()?;
        if len == 0 {
            return Ok(());
        }
        let (fd, _) = clone.file.verified().ok_or(Errno::EBADF)?;
        let allocated = commit::allocate(fd, offset as u64, len as u64)?;
        if clone.written_through_mapping {
            return match allocated {
                Allocated::Yes => copy_by_mapping(fd, address, offset, len),
                Allocated::NotAvailable => Err(Errno::EOPNOTSUPP),
            };
        }
        // Writing allocates too. Beyond the limit it raises SIGXFSZ.
        if (offset + len) as u64 > sys::limit_file_size() {
            return Err(Errno::EFBIG);
        }
        copy_by_writing(fd, address, offset, len)
    }

    /// Maps the clone in place of the file, in the child of a fork. The old file is closed.
    ///
    /// # Errors
    /// `EBADF` when the clone's descriptor is gone, `ENOMEM`; the source is then as it was.
    ///
    /// # Safety
    /// No other thread exists, and all content that is still needed has been copied to the clone.
    pub unsafe fn adopt_clone(&self, clone: FileClone) -> Result<(), Errno> {
        let (fd, _) = clone.file.verified().ok_or(Errno::EBADF)?;
        let file = self.file.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        // SAFETY: the range is ours, and its content is in the clone.
        unsafe { sys::map_file_over(self.base, self.len, fd, 0, MapFile::Shared) }?;
        self.repeat_advice(self.base, self.len);
        self.chunks.reset();
        // SAFETY: no other thread exists.
        unsafe { file.replace(clone.file) };
        Ok(())
    }
}

/// A file that is to take the place of a source's file in a child. Dropping it closes it, and the
/// file is gone.
#[derive(Debug)]
pub struct FileClone {
    file: Descriptor,
    /// Huge-page files cannot be written to.
    written_through_mapping: bool,
}

impl FileClone {
    /// Allocates space for a range that is committed in the source but has no content worth
    /// copying.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, ...; `EBADF` when the program has closed the descriptor; `EOPNOTSUPP`
    /// where space cannot be allocated ahead: commit in the source after adopting the clone.
    pub fn commit(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let (fd, _) = self.file.verified().ok_or(Errno::EBADF)?;
        match commit::allocate(fd, offset as u64, len as u64)? {
            Allocated::Yes => Ok(()),
            Allocated::NotAvailable => Err(Errno::EOPNOTSUPP),
        }
    }
}

fn copy_by_writing(fd: Fd, from: NonNull<u8>, offset: usize, len: usize) -> Result<(), Errno> {
    let mut done = 0;
    while done < len {
        // SAFETY: inside the range, which is mapped and committed.
        let written = unsafe {
            sys::pwrite(fd, from.as_ptr().add(done), len - done, (offset + done) as u64)
        }?;
        if written == 0 {
            return Err(Errno::ENOSPC);
        }
        done += written;
    }
    Ok(())
}

fn copy_by_mapping(fd: Fd, from: NonNull<u8>, offset: usize, len: usize) -> Result<(), Errno> {
    let window = Region::reserve(len, super::HugePageSize::Gib1.bytes())?;
    // SAFETY: the window is ours and new.
    unsafe { sys::map_file_over(window.base(), len, fd, offset as u64, MapFile::Shared) }?;
    // SAFETY: the source range is committed, the window's was allocated just now; the window is
    // new, so they do not overlap.
    unsafe { from.copy_to_nonoverlapping(window.base(), len) };
    Ok(())
}
