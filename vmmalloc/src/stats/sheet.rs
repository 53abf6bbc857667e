//! A place to format into that is neither on the stack nor in the heap.

use core::fmt;
use core::ptr::NonNull;
use pmem_core::sys;

/// Enough for a report with every size class in use.
const BYTES: usize = 32 << 10;

/// Anonymous memory to format into. Text that does not fit is cut at the end.
pub(crate) struct Sheet {
    memory: NonNull<u8>,
    len: usize,
}

impl Sheet {
    /// An empty sheet; `None` without memory.
    pub(crate) fn new() -> Option<Sheet> {
        sys::map_anonymous(BYTES).ok().map(|memory| Sheet { memory, len: 0 })
    }

    /// What was written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: the mapping is ours, and so much of it was written.
        unsafe { core::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl fmt::Write for Sheet {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let taken = text.len().min(BYTES - self.len);
        // SAFETY: inside the mapping, and the text is not.
        unsafe {
            self.memory.add(self.len).copy_from_nonoverlapping(NonNull::from(text).cast(), taken)
        };
        self.len += taken;
        Ok(())
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody has a reference into it any more.
        let _ = unsafe { sys::unmap(self.memory, BYTES) };
    }
}
