//! Messages of failures, and the log of version 2.1.
//!
//! The log has two thresholds: what is important enough for the program's log function, and for standard error.
//! Without a function of the program's own, messages go to standard error only, as far as its threshold allows (by default
//! none does), and to `pmem_errormsg`; nothing goes to syslog.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt;
use std::io::Write;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering::*};

use pmem_core::errno::{Errno, ErrnoGuard};

/// Levels, from the most to the least important.
const HARK: c_int = 0;
const ERROR: c_int = 2;
const WARNING: c_int = 3;
const DEBUG: c_int = 6;

/// Thresholds by number: for the function, and for standard error.
static THRESHOLDS: [AtomicI32; 2] = [AtomicI32::new(WARNING), AtomicI32::new(HARK)];

type LogFunction = unsafe extern "C" fn(c_int, *const c_char, c_uint, *const c_char, *const c_char);

/// The program's function; null for our own.
static FUNCTION: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Keeps the message for `pmem_errormsg`, and logs it if the program has set a function or asks for standard error.
pub(crate) fn fail(message: fmt::Arguments<'_>) {
    let _keep = ErrnoGuard::new();
    pmem_capi_shared::set_message(message);
    let text = pmem_capi_shared::message();
    let function = FUNCTION.load(Acquire);
    if !function.is_null() && ERROR <= THRESHOLDS[0].load(Relaxed) {
        // SAFETY: only `pmem_log_set_function` stores there, and it stores functions of this type.
        let function = unsafe { std::mem::transmute::<*mut (), LogFunction>(function) };
        // SAFETY: C strings, as the type of the function demands.
        unsafe { function(ERROR, c"libpmem".as_ptr(), 0, c"".as_ptr(), text) };
    } else if ERROR <= THRESHOLDS[1].load(Relaxed) {
        // SAFETY: terminated by `set_message`.
        let text = unsafe { CStr::from_ptr(text) };
        let _ = writeln!(std::io::stderr(), "libpmem: {}", text.to_string_lossy());
    }
}

/// 1 and errno.
fn refuse(errno: Errno) -> c_int {
    errno.set();
    1
}

/// Sends the log to a function of the program; NULL for the default.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_log_set_function(function: Option<LogFunction>) -> c_int {
    trace!("pmem_log_set_function", "called");
    let function = function.map_or(null_mut(), |function| function as *mut ());
    FUNCTION.store(function, Release);
    0
}

fn threshold(number: c_int) -> Option<&'static AtomicI32> {
    THRESHOLDS.get(usize::try_from(number).ok()?)
}

/// Sets a threshold.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_log_set_threshold(number: c_int, level: c_int) -> c_int {
    trace!("pmem_log_set_threshold", "number {number} level {level}");
    match threshold(number) {
        Some(threshold) if (HARK..=DEBUG).contains(&level) => {
            threshold.store(level, Relaxed);
            0
        }
        _ => refuse(Errno::EINVAL),
    }
}

/// Asks for a threshold.
///
/// # Safety
/// `level` is NULL or writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_log_get_threshold(number: c_int, level: *mut c_int) -> c_int {
    trace!("pmem_log_get_threshold", "number {number} level {level:p}");
    match threshold(number) {
        Some(threshold) if !level.is_null() => {
            // SAFETY: writable by the caller's contract.
            unsafe { level.write(threshold.load(Relaxed)) };
            0
        }
        _ => refuse(Errno::EINVAL),
    }
}
