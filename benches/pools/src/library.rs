//! The C libraries, by their exported functions. Two of the same name can be loaded at once: by path, and each for itself.

use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};
use std::path::Path;

/// Declares a table of functions that are looked up by name.
macro_rules! functions {
    ($(#[$doc:meta])* $name:ident { $($function:ident: fn($($argument:ty),*) $(-> $result:ty)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name {
            $(pub(crate) $function: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $name {
            /// Loads a library.
            pub(crate) fn load(path: &Path) -> Result<$name, String> {
                let library = open(path)?;
                Ok($name {
                    $($function: {
                        let symbol = symbol(library, stringify!($function), path)?;
                        // SAFETY: the function has this type, by the header of the library.
                        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(symbol) }
                    },)*
                })
            }
        }
    };
}

functions! {
    /// libpmemlog.
    Log {
        pmemlog_create: fn(*const c_char, usize, libc::mode_t) -> *mut c_void,
        pmemlog_close: fn(*mut c_void),
        pmemlog_append: fn(*mut c_void, *const c_void, usize) -> c_int,
        pmemlog_appendv: fn(*mut c_void, *const libc::iovec, c_int) -> c_int,
        pmemlog_rewind: fn(*mut c_void),
        pmemlog_errormsg: fn() -> *const c_char,
    }
}

functions! {
    /// libpmemblk.
    Blk {
        pmemblk_create: fn(*const c_char, usize, usize, libc::mode_t) -> *mut c_void,
        pmemblk_close: fn(*mut c_void),
        pmemblk_nblock: fn(*mut c_void) -> usize,
        pmemblk_read: fn(*mut c_void, *mut c_void, c_longlong) -> c_int,
        pmemblk_write: fn(*mut c_void, *const c_void, c_longlong) -> c_int,
        pmemblk_errormsg: fn() -> *const c_char,
    }
}

/// The text behind a message of a library.
pub(crate) fn text(message: *const c_char) -> String {
    // SAFETY: libraries give C strings.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

fn open(path: &Path) -> Result<*mut c_void, String> {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: a library of ours or of the distribution.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        // SAFETY: dlopen has just failed, so there is a text.
        return Err(text(unsafe { libc::dlerror() }));
    }
    Ok(library)
}

fn symbol(library: *mut c_void, name: &str, path: &Path) -> Result<*mut c_void, String> {
    let symbol = CString::new(name).map_err(|e| e.to_string())?;
    // SAFETY: a loaded library and a C string.
    let found = unsafe { libc::dlsym(library, symbol.as_ptr()) };
    if found.is_null() { Err(format!("{}: no {name}", path.display())) } else { Ok(found) }
}
