//! Which forked processes are still there.
//!
//! A descriptor tells nothing: a child may close it and live on. What a child cannot lose before it
//! executes another program or ends is its memory. So a page of a file is mapped while the process
//! forks, and unmapped in the parent after that. As long as the child, or a descendant of it, lives on
//! as a copy of this program it maps that page, writable and shared; and the kernel refuses
//! (`EBUSY`) to seal a file against writing that someone maps so.

use core::ptr::NonNull;

use crate::errno::Errno;
use crate::file::Descriptor;
use crate::sys::{self, Advice, MapFile};

/// Watches over the children of some forks, and their children. See the module text.
#[derive(Debug)]
pub struct Offspring {
    /// Of the forks since all were gone; none when there were none.
    file: Option<Descriptor>,
    /// The page, while a fork is under way.
    page: Option<NonNull<u8>>,
    /// Of some child it will never be known whether it lives: the program has closed the descriptor, or
    /// there was none to be had.
    lost: bool,
}

// SAFETY: the page is reached by the owner only.
unsafe impl Send for Offspring {}

impl Offspring {
    /// No children.
    #[must_use]
    pub const fn new() -> Offspring {
        Offspring { file: None, page: None, lost: false }
    }

    /// Before a fork. In the parent [`after_fork`](Self::after_fork) follows, in the child
    /// [`in_child`](Self::in_child).
    pub fn before_fork(&mut self) {
        if self.show().is_err() {
            self.lost = true;
        }
    }

    fn show(&mut self) -> Result<(), Errno> {
        if self.page.is_some() || self.lost {
            return Ok(());
        }
        let len = sys::page_size();
        if self.file.is_none() {
            let fd = sys::sealable_file(c"vmem-fork")?;
            // SAFETY: made above, and used nowhere else.
            let (file, _) = unsafe { Descriptor::adopt(fd) }?;
            let (fd, _) = file.verified().ok_or(Errno::EBADF)?;
            sys::truncate(fd, len as u64)?;
            self.file = Some(file);
        }
        let file = self.file.as_ref().and_then(Descriptor::verified);
        let (fd, _) = file.ok_or(Errno::EBADF)?;
        let page = sys::map_anonymous(len)?;
        // SAFETY: mapped above, and nobody has seen it.
        let shown = unsafe { sys::map_file_over(page, len, fd, 0, MapFile::Shared) };
        if shown.is_err() {
            // SAFETY: as above.
            let _ = unsafe { sys::unmap(page, len) };
        } else {
            // SAFETY: as above; it stays out of core files.
            let _ = unsafe { sys::advise(page, len, Advice::DontDump) };
            self.page = Some(page);
        }
        shown
    }

    /// After a fork, or one that failed, in the parent.
    pub fn after_fork(&mut self) {
        if let Some(page) = self.page.take() {
            // SAFETY: mapped by `before_fork`, and only there to be inherited.
            let gone = unsafe { sys::unmap(page, sys::page_size()) };
            // Mapped here it would look like a child for ever.
            self.lost |= gone.is_err();
        }
    }

    /// In a child: it has no children yet. What tells its parent that it lives stays.
    pub fn in_child(&mut self) {
        *self = Offspring::new();
    }

    /// Whether every child since the last time that this was true has ended or executed another
    /// program, and their children too.
    pub fn is_gone(&mut self) -> bool {
        if self.lost || self.page.is_some() {
            return false;
        }
        let Some(file) = &self.file else { return true };
        let Some((fd, _)) = file.verified() else {
            self.lost = true;
            return false;
        };
        match sys::seal_writes(fd) {
            Ok(()) => {
                self.file = None;
                true
            }
            Err(Errno::EBUSY) => false,
            Err(_) => {
                self.lost = true;
                false
            }
        }
    }
}

impl Default for Offspring {
    fn default() -> Self {
        Self::new()
    }
}
