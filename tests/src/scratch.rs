//! Directories that vanish with the value that made them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh, empty directory, removed with its content on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one among the machine's temporary files.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        Self::inside(&env::temp_dir(), tag)
    }

    /// Makes one in memory (`/dev/shm`), or among the temporary files of a machine without it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn in_memory(tag: &str) -> Self {
        let shm = Path::new("/dev/shm");
        if shm.is_dir() { Self::inside(shm, tag) } else { Self::new(tag) }
    }

    /// One in memory, and a directory in it whose name is not ASCII.
    ///
    /// # Panics
    ///
    /// When they cannot be made.
    #[must_use]
    pub fn with_odd_name(tag: &str) -> (Self, PathBuf) {
        let scratch = Self::in_memory(tag);
        let path = scratch.path.join("Späßchen-λ-池");
        fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (scratch, path)
    }

    fn inside(parent: &Path, tag: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("pmem-e2e-{}-{number}-{tag}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test may have removed it on purpose.
        let _ = fs::remove_dir_all(&self.path);
    }
}
