//! The caller's memory functions. Handles live in memory they give; the other state is small and ours.

use core::ffi::{c_char, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

/// As `malloc`.
pub type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
/// As `free`.
pub type Free = unsafe extern "C" fn(*mut c_void);
/// As `realloc`.
pub type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
/// As `strdup`.
pub type Strdup = unsafe extern "C" fn(*const c_char) -> *mut c_char;

static MALLOC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static FREE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Uses the caller's functions from now on; `None` is the C library's. Nothing here makes strings or grows blocks, so the
/// other two are not needed.
pub fn set(malloc: Option<Malloc>, free: Option<Free>) {
    MALLOC.store(malloc.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Release);
    FREE.store(free.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Release);
}

fn malloc(size: usize) -> *mut c_void {
    let function = MALLOC.load(Ordering::Acquire);
    if function.is_null() {
        // SAFETY: no requirement.
        return unsafe { libc::malloc(size) };
    }
    // SAFETY: stored by `set` from such a function, which works as `malloc` by the contract of `set_funcs`.
    unsafe { core::mem::transmute::<*mut c_void, Malloc>(function)(size) }
}

fn current_free() -> Free {
    let function = FREE.load(Ordering::Acquire);
    if function.is_null() {
        return libc::free;
    }
    // SAFETY: stored by `set` from such a function.
    unsafe { core::mem::transmute::<*mut c_void, Free>(function) }
}

/// What a handle points to: the pool, and how its memory is given back.
struct Handle<T> {
    value: T,
    free: Free,
}

/// Makes a handle; gives the value back when there is no memory.
///
/// # Errors
/// The value, when the function for memory gives null.
pub fn into_handle<T>(value: T) -> Result<NonNull<T>, T> {
    const { assert!(align_of::<T>() <= 16, "malloc gives no more") };
    let Some(memory) = NonNull::new(malloc(size_of::<Handle<T>>()).cast::<Handle<T>>()) else {
        return Err(value);
    };
    // SAFETY: fresh memory, large enough and aligned as malloc's is.
    unsafe {
        memory.write(Handle { value, free: current_free() });
        Ok(NonNull::new_unchecked(&raw mut (*memory.as_ptr()).value))
    }
}

/// Ends a handle: the value is dropped, its memory given back.
///
/// # Safety
/// `handle` came from [`into_handle`], and is not used again.
pub unsafe fn end_handle<T>(handle: NonNull<T>) {
    // SAFETY: the value is a field of a `Handle`, which lives in memory of the function that `free` belongs to.
    unsafe {
        let offset = core::mem::offset_of!(Handle<T>, value);
        let memory = handle.as_ptr().byte_sub(offset).cast::<Handle<T>>();
        let Handle { value, free } = memory.read();
        drop(value);
        free(memory.cast());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;

    static LIVE: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn counting_malloc(size: usize) -> *mut c_void {
        LIVE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as malloc.
        unsafe { libc::malloc(size) }
    }

    unsafe extern "C" fn counting_free(memory: *mut c_void) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: as free.
        unsafe { libc::free(memory) }
    }

    #[test]
    fn handles_go_back_to_where_they_came_from() {
        set(Some(counting_malloc), Some(counting_free));
        let handle = into_handle(vec![1, 2, 3]).unwrap();
        set(None, None);
        assert_eq!(LIVE.load(Ordering::Relaxed), 1);
        // SAFETY: a live handle.
        unsafe {
            assert_eq!(handle.as_ref().len(), 3);
            end_handle(handle);
        }
        assert_eq!(LIVE.load(Ordering::Relaxed), 0);
    }
}
