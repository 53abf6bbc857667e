//! The caller's functions, for bookkeeping and output.

use core::ffi::{CStr, c_char, c_void};
use core::mem;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use pmem_core::errno::ErrnoGuard;
use vmem_engine::memcheck;

use crate::pools::{self, Entry};

pub(crate) type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
pub(crate) type Free = unsafe extern "C" fn(*mut c_void);
pub(crate) type Print = unsafe extern "C" fn(*const c_char);

static MALLOC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static FREE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static PRINT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Bytes that a pool asks for, once.
const BOOKKEEPING_BYTES: usize = 64;

/// Takes the functions over. Output changes at once; bookkeeping only with both functions, and before the
/// first pool: what one function allocated another could not free.
pub(crate) fn set(malloc: Option<Malloc>, free: Option<Free>, print: Option<Print>) {
    let _quiet = memcheck::quiet();
    PRINT.store(print.map_or(ptr::null_mut(), |print| print as *mut c_void), Relaxed);
    let _list = pools::lock();
    if pools::any_yet() {
        return;
    }
    let both = malloc.zip(free);
    MALLOC.store(both.map_or(ptr::null_mut(), |(malloc, _)| malloc as *mut c_void), Relaxed);
    FREE.store(both.map_or(ptr::null_mut(), |(_, free)| free as *mut c_void), Relaxed);
}

/// Whether a pool has to ask the caller's function for memory first.
pub(crate) fn keeps_books() -> bool {
    !MALLOC.load(Relaxed).is_null()
}

/// Gets memory for a pool from the caller's function, if it has none yet. False when there is none.
pub(crate) fn open_books(entry: &Entry) -> bool {
    let Some(malloc) = NonNull::new(MALLOC.load(Relaxed)) else { return true };
    if !entry.bookkeeping.load(Relaxed).is_null() {
        return true;
    }
    let _errno = ErrnoGuard::new();
    // SAFETY: stored from such a function; called without any lock.
    let memory = unsafe { mem::transmute::<NonNull<c_void>, Malloc>(malloc)(BOOKKEEPING_BYTES) };
    if memory.is_null() {
        return false;
    }
    let first =
        entry.bookkeeping.compare_exchange(ptr::null_mut(), memory.cast(), Relaxed, Relaxed);
    if first.is_err() {
        // Another thread was faster.
        release(memory.cast());
    }
    true
}

/// Gives the memory of a deleted pool back; null is ignored.
pub(crate) fn release(memory: *mut u8) {
    let Some(free) = NonNull::new(FREE.load(Relaxed)) else { return };
    if memory.is_null() {
        return;
    }
    let _errno = ErrnoGuard::new();
    // SAFETY: stored from such a function; the memory came from the function beside it.
    unsafe { mem::transmute::<NonNull<c_void>, Free>(free)(memory.cast()) }
}

/// Hands a text to the caller's function, or to the log.
pub(crate) fn print(text: &CStr) {
    match NonNull::new(PRINT.load(Relaxed)) {
        // SAFETY: stored from such a function; the text lives as long as the call.
        Some(print) => unsafe { mem::transmute::<NonNull<c_void>, Print>(print)(text.as_ptr()) },
        None => crate::log::write(text.to_bytes()),
    }
}
