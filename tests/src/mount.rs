//! Small file systems to fill up: tmpfs, and ext4 in a file.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::artifact::need;
use crate::scratch::Scratch;

/// A mounted file system, unmounted on drop.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    _scratch: Scratch,
}

impl Mount {
    /// A tmpfs of `mib` MiB.
    ///
    /// `None` only with `PMEM_TEST_NO_MOUNT=1`, after saying what stays unchecked.
    ///
    /// # Panics
    ///
    /// When the mount is refused and the variable is not set.
    #[must_use]
    pub fn tmpfs(mib: u64, what: &str) -> Option<Self> {
        Self::tmpfs_with(&format!("size={mib}m"), what)
    }

    /// A tmpfs with these mount options; see [`Mount::tmpfs`].
    ///
    /// # Panics
    ///
    /// As [`Mount::tmpfs`].
    #[must_use]
    pub fn tmpfs_with(options: &str, what: &str) -> Option<Self> {
        Self::make(what, |_, command| {
            command.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        })
    }

    /// An ext4 of `mib` MiB in a file, with the extra mount options `options`, made with the extra
    /// `mkfs.ext4` arguments `format`; see [`Mount::tmpfs`].
    ///
    /// # Panics
    ///
    /// As [`Mount::tmpfs`], and when `mkfs.ext4` fails.
    #[must_use]
    pub fn ext4(mib: u64, format: &[&str], options: &str, what: &str) -> Option<Self> {
        Self::make(what, |scratch, command| {
            let image = scratch.join("image");
            fs::File::create(&image)
                .and_then(|file| file.set_len(mib << 20))
                .expect("the image file cannot be made");
            let mkfs = Command::new(need("mkfs.ext4", "e2fsprogs"))
                .args(["-q", "-F", "-m", "0"])
                .args(format)
                .arg(&image)
                .output()
                .expect("mkfs.ext4 cannot be started");
            assert!(mkfs.status.success(), "mkfs.ext4: {}", String::from_utf8_lossy(&mkfs.stderr));
            command.args(["-t", "ext4", "-o", &format!("loop,{options}")]).arg(&image);
        })
    }

    fn make(what: &str, prepare: impl FnOnce(&Path, &mut Command)) -> Option<Self> {
        if env::var_os("PMEM_TEST_NO_MOUNT").is_some_and(|v| v == "1") {
            println!("NOT CHECKED: {what} (needs a mount, PMEM_TEST_NO_MOUNT=1)");
            return None;
        }
        let scratch = Scratch::new("mount");
        let point = scratch.path().join("point");
        fs::create_dir(&point).expect("the mount point cannot be made");
        let mut command = Command::new("mount");
        prepare(scratch.path(), &mut command);
        let output = command.arg(&point).output().expect("mount cannot be started");
        assert!(
            output.status.success(),
            "{what} needs a mount, and {command:?} was refused: {}\n\
             Run the tests as root, or set PMEM_TEST_NO_MOUNT=1 to leave this unchecked.",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Some(Self { point, _scratch: scratch })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Mounts it again with other options, for example `ro`.
    ///
    /// # Panics
    ///
    /// When that is refused.
    pub fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.point)
            .status()
            .expect("mount cannot be started");
        assert!(status.success(), "remount,{options} was refused");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process killed a moment ago may still hold its pool file.
        let status = Command::new("umount").arg("-l").arg(&self.point).status();
        if !status.is_ok_and(|s| s.success()) {
            eprintln!("umount {} failed", self.point.display());
        }
    }
}
