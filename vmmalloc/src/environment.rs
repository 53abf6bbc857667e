//! Finding the environment before the C library has.
//!
//! Our constructor runs before that of the C library, so `environ` is still null; the loader passes
//! the list to constructors. A call of malloc may come even before our constructor: then the kernel
//! is asked.

use core::ffi::{CStr, c_char};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};
use pmem_core::env;
use pmem_core::sys::{self, Access, Fd, OpenFlags};

unsafe extern "C" {
    static mut environ: *const *const c_char;
}

static KNOWN: AtomicBool = AtomicBool::new(false);

/// Remembers the list that a constructor was given.
///
/// # Safety
/// `envp` is null or a null-terminated array of C strings that stays valid.
pub(crate) unsafe fn remember(envp: *const *const c_char) {
    // SAFETY: contract.
    unsafe { env::set_fallback(envp) };
    KNOWN.store(!envp.is_null(), Ordering::Relaxed);
}

/// The value of a variable.
pub(crate) fn get(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: a word of the C library (or of the program, which may have a copy).
    let unset = unsafe { (&raw const environ).read().is_null() };
    if unset && !KNOWN.load(Ordering::Relaxed) {
        let list = from_kernel().map_or(ptr::null(), |list| list.as_ptr().cast_const());
        // SAFETY: built just now, and never unmapped.
        unsafe { remember(list) };
    }
    env::get(name)
}

/// Text of an environment is at most this long: the kernel limits arguments and environment
/// together to three quarters of 8 MiB.
const TEXT_BYTES: usize = 6 << 20;

/// The environment that the process was started with, as `/proc/self/environ` has it.
fn from_kernel() -> Option<NonNull<*const c_char>> {
    let flags = OpenFlags::new(Access::Read);
    let file = sys::open_at(Fd::CURRENT_DIRECTORY, c"/proc/self/environ", flags).ok()?;
    let text = read(file);
    // SAFETY: opened above and used nowhere else.
    unsafe { sys::close(file) };
    let text = text?;
    let entries = text.iter().filter(|&&byte| byte == 0).count();
    let list = sys::map_anonymous((entries + 1) * size_of::<*const c_char>()).ok()?;
    let list = list.cast::<*const c_char>();
    let mut at = list;
    for entry in text.split_inclusive(|&byte| byte == 0) {
        if entry.ends_with(b"\0") {
            // SAFETY: one place per entry, and one more that stays null.
            unsafe {
                at.write(entry.as_ptr().cast());
                at = at.add(1);
            }
        }
    }
    Some(list)
}

fn read(file: Fd) -> Option<&'static [u8]> {
    let memory = sys::map_anonymous(TEXT_BYTES).ok()?;
    // SAFETY: a fresh mapping of that size, zero, never unmapped.
    let text = unsafe { core::slice::from_raw_parts_mut(memory.as_ptr(), TEXT_BYTES) };
    let mut len = 0;
    while let Ok(read @ 1..) = sys::read(file, text.get_mut(len..)?) {
        len += read;
    }
    text.get(..len)
}
