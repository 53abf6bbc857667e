//! libvmemcache, as a C program uses it: a value that is found is copied.

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libloading::{Library, Symbol};

use crate::peer::{Peer, VALUE_BYTES};

type Handle = *mut c_void;
type New = unsafe extern "C" fn() -> Handle;
type Delete = unsafe extern "C" fn(Handle);
type SetSize = unsafe extern "C" fn(Handle, usize) -> c_int;
type Add = unsafe extern "C" fn(Handle, *const c_char) -> c_int;
type Get = unsafe extern "C" fn(
    Handle,
    *const c_void,
    usize,
    *mut c_void,
    usize,
    usize,
    *mut usize,
) -> isize;
type Put = unsafe extern "C" fn(Handle, *const c_void, usize, *const c_void, usize) -> c_int;

/// A cache of the library.
pub struct C {
    handle: Handle,
    get: Get,
    put: Put,
    delete: Delete,
    _library: Library,
}

// SAFETY: the library's handles may be used by all threads.
unsafe impl Send for C {}
// SAFETY: as above.
unsafe impl Sync for C {}

impl C {
    /// Loads the library and makes a cache with room for a number of values.
    pub fn make(
        path: &Path,
        directory: &Path,
        entries: usize,
    ) -> Result<Box<dyn Peer>, libloading::Error> {
        // Key, value and header, with rounding.
        let bytes = entries * (VALUE_BYTES + 8 + 8);
        // SAFETY: the library's start does nothing but open a log; the types are those of its header.
        unsafe {
            let library = Library::new(path)?;
            let new: Symbol<New> = library.get(b"vmemcache_new\0")?;
            let set_size: Symbol<SetSize> = library.get(b"vmemcache_set_size\0")?;
            let add: Symbol<Add> = library.get(b"vmemcache_add\0")?;
            let get = *library.get::<Get>(b"vmemcache_get\0")?;
            let put = *library.get::<Put>(b"vmemcache_put\0")?;
            let delete = *library.get::<Delete>(b"vmemcache_delete\0")?;
            let handle = new();
            let directory = directory.as_os_str().as_bytes();
            let directory = CString::new(directory).expect("paths have no zero byte");
            assert_eq!(set_size(handle, bytes), 0, "the size is set");
            assert_eq!(add(handle, directory.as_ptr()), 0, "the directory has room for the pool");
            Ok(Box::new(C { handle, get, put, delete, _library: library }))
        }
    }
}

impl Drop for C {
    fn drop(&mut self) {
        // SAFETY: made by the library, and used by nobody.
        unsafe { (self.delete)(self.handle) };
    }
}

impl Peer for C {
    fn get(&self, key: u64) -> bool {
        let mut buffer = [0_u8; VALUE_BYTES];
        let (key, into) = ((&raw const key).cast(), buffer.as_mut_ptr().cast());
        // SAFETY: a key and a buffer of these lengths.
        let copied =
            unsafe { (self.get)(self.handle, key, 8, into, VALUE_BYTES, 0, std::ptr::null_mut()) };
        std::hint::black_box(&mut buffer);
        copied == VALUE_BYTES as isize
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        let key = (&raw const key).cast();
        // A key that another thread has put meanwhile is refused, which is as good.
        // SAFETY: a key and a value of these lengths.
        unsafe { (self.put)(self.handle, key, 8, value.as_ptr().cast(), VALUE_BYTES) };
    }
}
