//! Small file systems, to see what happens when they are full.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{env, fs, process, ptr};

/// A mounted tmpfs that only the calling thread sees; unmounted when dropped.
#[derive(Debug)]
pub struct SmallTmpfs {
    path: PathBuf,
    c_path: CString,
}

impl SmallTmpfs {
    /// Mounts one with `size` bytes. `None` only when the user has asked for it with
    /// `PMEM_TEST_NO_MOUNT`; then it has said that nothing is checked.
    ///
    /// # Panics
    /// When it cannot be mounted otherwise.
    #[must_use]
    pub fn mount(size: usize) -> Option<SmallTmpfs> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("pmem-test-tmpfs-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        let c_path = CString::new(path.to_str().unwrap()).unwrap();
        let mounted = own_namespace() && mount_tmpfs(&c_path, size);
        if mounted {
            return Some(SmallTmpfs { path, c_path });
        }
        let error = std::io::Error::last_os_error();
        fs::remove_dir(&path).unwrap();
        if env::var_os("PMEM_TEST_NO_MOUNT").is_some() {
            crate::tell(b"NOT CHECKED: a full file system (PMEM_TEST_NO_MOUNT is set)\n");
            return None;
        }
        panic!(
            "cannot mount a small tmpfs ({error}), so behaviour on a full file system cannot be \
             checked: run as root, or set PMEM_TEST_NO_MOUNT=1 to leave it unchecked"
        );
    }

    /// Where it is mounted.
    #[must_use]
    pub fn c_path(&self) -> &CStr {
        &self.c_path
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Free bytes.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn free(&self) -> u64 {
        // SAFETY: a C string and a writable structure.
        unsafe {
            let mut status: libc::statvfs = std::mem::zeroed();
            assert_eq!(libc::statvfs(self.c_path.as_ptr(), &raw mut status), 0);
            status.f_bavail * status.f_frsize
        }
    }
}

impl Drop for SmallTmpfs {
    fn drop(&mut self) {
        // SAFETY: a C string.
        unsafe { libc::umount2(self.c_path.as_ptr(), libc::MNT_DETACH) };
        let _ = fs::remove_dir(&self.path);
    }
}

/// Gives the thread a mount namespace that ends with it.
fn own_namespace() -> bool {
    let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: C strings and null.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, root, ptr::null(), flags, ptr::null()) == 0
    }
}

fn mount_tmpfs(path: &CStr, size: usize) -> bool {
    let options = CString::new(format!("size={size}")).unwrap();
    let (none, tmpfs) = (c"none".as_ptr(), c"tmpfs".as_ptr());
    // SAFETY: C strings.
    unsafe { libc::mount(none, path.as_ptr(), tmpfs, 0, options.as_ptr().cast()) == 0 }
}
