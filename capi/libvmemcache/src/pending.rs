//! Gets that found nothing and whose on_miss runs: a put of the same key in the same thread satisfies them.
//!
//! They lie on the stacks of their calls and form a list, the innermost first, so a get that misses inside of on_miss does
//! not disturb the one outside.

use std::cell::Cell;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

thread_local! {
    static INNERMOST: Cell<*const Pending> = const { Cell::new(ptr::null()) };
}

/// How many there are, in all threads: puts ask for their own thread's only if there are any.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Where a get wants its bytes, and which.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) buffer: *mut u8,
    pub(crate) room: usize,
    pub(crate) offset: usize,
}

impl Wish {
    /// How many bytes of a value of this size are copied.
    pub(crate) fn count(&self, size: usize) -> usize {
        size.saturating_sub(self.offset).min(self.room)
    }
}

/// What a get was satisfied with.
#[derive(Clone, Copy)]
pub(crate) struct Satisfied {
    pub(crate) copied: usize,
    pub(crate) size: usize,
}

struct Pending {
    key: *const u8,
    key_len: usize,
    wish: Wish,
    satisfied: Cell<Option<Satisfied>>,
    outer: *const Pending,
}

/// Runs the callback of a get that has found nothing, and says what it was satisfied with.
///
/// # Safety
/// The wish's buffer has room for that many bytes.
pub(crate) unsafe fn ask(key: &[u8], wish: Wish, callback: impl FnOnce()) -> Option<Satisfied> {
    let pending = Pending {
        key: key.as_ptr(),
        key_len: key.len(),
        wish,
        satisfied: Cell::new(None),
        outer: INNERMOST.get(),
    };
    WAITING.fetch_add(1, Relaxed);
    INNERMOST.set(&raw const pending);
    callback();
    INNERMOST.set(pending.outer);
    WAITING.fetch_sub(1, Relaxed);
    pending.satisfied.get()
}

/// Satisfies the gets of this key that wait in this thread. The first put of a key counts.
#[inline]
pub(crate) fn satisfy(key: &[u8], value: &[u8], copies: bool) {
    if WAITING.load(Relaxed) != 0 {
        satisfy_own(key, value, copies);
    }
}

#[cold]
fn satisfy_own(key: &[u8], value: &[u8], copies: bool) {
    let mut next = INNERMOST.get();
    // SAFETY: those in the list wait on the stack of this thread, further out.
    while let Some(pending) = unsafe { next.as_ref() } {
        next = pending.outer;
        // SAFETY: the key belongs to the get, which still runs.
        let same = unsafe { slice::from_raw_parts(pending.key, pending.key_len) } == key;
        if !same || pending.satisfied.get().is_some() {
            continue;
        }
        let copied = pending.wish.count(value.len());
        if copies && copied != 0 {
            let from = value[pending.wish.offset..].as_ptr();
            // SAFETY: both have that many bytes; the caller may have put what lies in the buffer.
            unsafe { ptr::copy(from, pending.wish.buffer, copied) };
        }
        pending.satisfied.set(Some(Satisfied { copied, size: value.len() }));
    }
}
