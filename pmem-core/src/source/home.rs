//! Bringing frozen ranges home: what a process stored into them since they were frozen is written to
//! the file, and the file is mapped over them again.
//!
//! There is no single step from a private page to the page of a file. Between the copy and the new
//! mapping nobody may write to the range, or the store would be lost; so it takes a [`Stillness`].

use core::ptr::NonNull;

use super::{Source, SourceKind};
use crate::errno::Errno;
use crate::sys::{self, Advice, MapFile, PageState, PageStates, SignalBlock, WriteBarrier};

/// While it lives, ranges can be kept from changing: the calling thread is the only one in the
/// process, or others can be held back. Signals wait, and whoever is held back goes on when it is
/// dropped at the latest.
#[derive(Debug)]
pub struct Stillness {
    states: Option<PageStates>,
    /// None when there is nobody to hold back.
    barrier: Option<WriteBarrier>,
    /// Last, so that a handler runs when nobody is held back any more.
    _signals: SignalBlock,
}

/// How many page states are read at once: they lie on the stack.
const STATES: usize = 64;

impl Source {
    /// Tries to make ranges keep still. `None` when that cannot be done now.
    ///
    /// Not done either when the thread runs on a stack inside the source (a coroutine's, for
    /// example): its own stores would be among those held back.
    #[must_use]
    pub fn keep_still(&self) -> Option<Stillness> {
        let range = self.base.addr().get()..self.base.addr().get() + self.len;
        let place_on_stack = 0u8;
        let stack = core::ptr::from_ref(&place_on_stack).addr();
        // System calls store their errors to a thread-local variable.
        if range.contains(&stack) || range.contains(&sys::thread_area()) {
            return None;
        }
        let signals = SignalBlock::new();
        let barrier = match sys::is_alone() {
            true => None,
            false if self.in_memory && self.kind.is_file() => Some(WriteBarrier::new().ok()?),
            // The kernel holds back writers to files in memory only.
            false => return None,
        };
        Some(Stillness { states: PageStates::open().ok(), barrier, _signals: signals })
    }

    /// Writes what was stored into a frozen range to the file and shares the range again, as far as
    /// about `budget` bytes of stores go, and not beyond its [`run`](Self::run): what is shared is one
    /// mapping. Returns how many bytes from `offset` are shared now, and how many of them had to be
    /// copied.
    ///
    /// Other processes that have the range frozen see the stores wherever they have made none of their
    /// own. Devices that have pinned pages of the range for writing are cut off from it.
    ///
    /// # Errors
    /// Those of [`share`](Source::share); `EFBIG` beyond the process's limit for files; `EBUSY` when a
    /// file is open for reads that bypass memory, while other threads may wait for one; `EIO`,
    /// `ENOSPC` from the file system. The range is then frozen as before.
    ///
    /// # Safety
    /// All of the range is frozen, and no process forked since needs its content.
    pub unsafe fn bring_home(
        &self,
        still: &Stillness,
        offset: usize,
        len: usize,
        budget: usize,
    ) -> Result<Homecoming, Errno> {
        let address = self.range(offset, len)?;
        self.injected_fault()?;
        if len == 0 || self.kind == SourceKind::Anonymous || !self.kind.is_file() {
            return Err(Errno::EOPNOTSUPP);
        }
        let (len, in_file) = (self.run(offset, len), self.chunks.in_file(offset));
        if in_file + len as u64 > sys::limit_file_size() {
            return Err(Errno::EFBIG);
        }
        if let Some(barrier) = &still.barrier {
            // So that pages without stores can be told from others while the barrier is up.
            // SAFETY: the range is ours; reading changes nothing. A failure costs a copy.
            let _ = unsafe { sys::advise(address, len, Advice::PopulateRead) };
            // SAFETY: this thread's stack and variables are elsewhere (`keep_still`), its signals are
            // blocked, and below it reads the range only.
            unsafe { barrier.raise(address, len) }?;
            // Now that new ones are held back: a read under way past the page tables.
            if sys::has_direct_files() {
                return Err(Errno::EBUSY);
            }
        }
        let (done, copied) = self.write_stores(still, address, in_file, len, budget)?;
        let fd = self.verified_file()?;
        if let Some(barrier) = &still.barrier {
            barrier.confirm(address, done)?;
        }
        // SAFETY: the range is ours, and the file has its content.
        let shared = unsafe { sys::map_file_over(address, done, fd, in_file, MapFile::Shared) };
        if let Some(barrier) = &still.barrier {
            barrier.wake(address, done);
        }
        shared?;
        self.repeat_advice(address, done);
        Ok(Homecoming { done, copied })
    }

    /// Writes pages with stores to the file, where the range begins at `in_file`, until the budget is
    /// used up. Returns how many bytes of the range are now the same in memory and file, and how many
    /// were written.
    fn write_stores(
        &self,
        still: &Stillness,
        address: NonNull<u8>,
        in_file: u64,
        len: usize,
        budget: usize,
    ) -> Result<(usize, usize), Errno> {
        // What can be frozen has pages of the system's size.
        let page = sys::page_size();
        debug_assert!(self.granule == page);
        let nobody_else = still.barrier.is_none();
        let (mut done, mut copied) = (0, 0);
        let mut states = [PageState::default(); STATES];
        while done < len && copied < budget {
            let count = ((len - done) / page).min(STATES);
            let states = &mut states[..count];
            let known = still
                .states
                .as_ref()
                .is_some_and(|file| file.read(address.addr().get() + done, states).is_ok());
            // An empty entry of a page that others write to may stand for a barrier.
            let is_clean = |state: &PageState| {
                known && (state.shows_file() || nobody_else && state.is_empty())
            };
            for run in states.chunk_by(|a, b| is_clean(a) == is_clean(b)) {
                let mut bytes = run.len() * page;
                if !is_clean(&run[0]) {
                    bytes = bytes.min((budget - copied).div_ceil(page).saturating_mul(page));
                    self.write_to_file(address, in_file, done, bytes)?;
                    copied += bytes;
                }
                done += bytes;
                if copied >= budget {
                    break;
                }
            }
        }
        Ok((done, copied))
    }

    fn write_to_file(
        &self,
        address: NonNull<u8>,
        in_file: u64,
        from: usize,
        len: usize,
    ) -> Result<(), Errno> {
        let fd = self.verified_file()?;
        let mut done = from;
        while done < from + len {
            // SAFETY: inside the range, which is mapped and committed.
            let written = unsafe {
                let start = address.as_ptr().add(done);
                sys::pwrite(fd, start, from + len - done, in_file + done as u64)
            }?;
            if written == 0 {
                return Err(Errno::ENOSPC);
            }
            done += written;
        }
        Ok(())
    }
}

/// What [`Source::bring_home`] did.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Homecoming {
    /// Bytes that are shared again.
    pub done: usize,
    /// Bytes that were copied for that.
    pub copied: usize,
}
