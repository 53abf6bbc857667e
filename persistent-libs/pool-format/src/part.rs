//! Parts: the files and devices of a pool.

use crate::{Error, LEAST_PART, PoolHeader, Result, device, mapping};
use pmem_core::dax::{self, DaxDevice};
use pmem_core::errno::Errno;
use pmem_core::sys;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zerocopy::{FromZeros, IntoBytes};

/// A file or device of a pool, locked as long as it is open.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    file: File,
    /// In bytes.
    size: u64,
    /// What its mappings are multiples of.
    align: u64,
    is_device: bool,
    origin: Origin,
}

/// Where the file of a part comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    /// It was there.
    Found,
    /// Made for this pool; it has no name yet, and vanishes with the process.
    Unnamed,
    /// Made for this pool.
    Named,
}

/// Locks a file against other users, without waiting.
pub(crate) fn lock(file: &File, path: &Path) -> Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::system("flock", path, Errno::EAGAIN),
        TryLockError::Error(error) => Error::io("flock", path, &error),
    })
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> Error + 'p {
    move |error| Error::io(operation, path, &error)
}

/// Takes the space of a file from the file system.
fn allocate(file: &File, size: u64, path: &Path) -> Result<()> {
    let len = libc::off_t::try_from(size)
        .map_err(|_| Error::system("posix_fallocate", path, Errno::EFBIG))?;
    loop {
        // SAFETY: no memory is involved.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
            0 => return Ok(()),
            libc::EINTR => {}
            errno => return Err(Error::system("posix_fallocate", path, Errno(errno))),
        }
    }
}

/// Makes a file without rights. Where the file system can, without a name, too.
fn make(path: &Path) -> io::Result<(File, Origin)> {
    // A name that is taken is told before space is.
    match fs::symlink_metadata(path) {
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o0);
    if let Some(directory) = directory_of(path) {
        match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
            Ok(file) if fs::symlink_metadata(path_of(&file)).is_ok() => {
                return Ok((file, Origin::Unnamed));
            }
            Ok(_) => {} // no /proc, so it could not be named
            // Not every file system has such files; an old kernel takes the flag for one of directories.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            }
            Err(error) => return Err(error),
        }
    }
    options.create_new(true).open(path).map(|file| (file, Origin::Named))
}

/// The directory that a new file of this path is in; `None` when the path cannot be one.
fn directory_of(path: &Path) -> Option<&Path> {
    let is_name = path.file_name().is_some() && !path.as_os_str().as_bytes().ends_with(b"/");
    let directory = path.parent().filter(|_| is_name)?;
    Some(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })
}

/// Where an open file can be found.
fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn already_exists(path: &Path) -> Error {
    let text = format!("file {} already exists", path.display());
    Error::pool(text, path, Errno::EEXIST)
}

impl Part {
    /// Makes a file of `size` bytes that nobody can open until [`publish`](Self::publish). It is removed when
    /// something fails, and where the file system has files without names, when the process ends before that.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `EACCES`, ... of `open`; `ENOSPC`, `EDQUOT`, `EFBIG`, ... of taking the space.
    pub(crate) fn create(path: &Path, size: u64) -> Result<Part> {
        let (file, origin) = make(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => already_exists(path),
            _ => Error::io("open", path, &error),
        })?;
        let align = mapping::PAGE;
        let part = Part { path: path.into(), file, size, align, is_device: false, origin };
        let allocated = lock(&part.file, path).and_then(|()| {
            let fd = sys::Fd::from_raw(part.file.as_raw_fd());
            pmem_core::file::extend_to(fd, size)
                .map_err(|error| Error::system("ftruncate", path, error.errno))?;
            allocate(&part.file, size, path)
        });
        match allocated {
            Ok(()) => Ok(part),
            Err(error) => {
                part.remove();
                Err(error)
            }
        }
    }

    /// Opens and locks an existing file or device.
    ///
    /// # Errors
    /// Those of `open`; `EAGAIN` when somebody has it; `EINVAL` when it is neither a regular file nor
    /// device DAX, or too small.
    pub(crate) fn open(path: &Path, writable: bool) -> Result<Part> {
        if path.is_dir() {
            return Err(Error::pool("a directory is no pool", path, Errno::EINVAL));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(writable)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| unreadable(path, &error))?;
        let device = describe(&file).map_err(|errno| Error::system("stat", path, errno))?;
        let metadata = file.metadata().map_err(io_error("stat", path))?;
        if device.is_none() && !metadata.is_file() {
            let text = "neither a regular file nor device DAX";
            return Err(Error::pool(text, path, Errno::EINVAL));
        }
        lock(&file, path)?;
        let size = device.map_or(metadata.len(), |device| device.size);
        if size < LEAST_PART {
            let text = format!("size {size} smaller than {LEAST_PART}");
            return Err(Error::pool(text, path, Errno::EINVAL));
        }
        let align = device.map_or(mapping::PAGE, |device| device.align as u64);
        let is_device = device.is_some();
        Ok(Part { path: path.into(), file, size, align, is_device, origin: Origin::Found })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How much of it can be mapped.
    #[must_use]
    pub fn mapped_size(&self) -> u64 {
        self.size & !(self.align - 1)
    }

    /// What offsets and lengths of its mappings are multiples of.
    #[must_use]
    pub fn align(&self) -> u64 {
        self.align
    }

    /// Whether it is device DAX.
    #[must_use]
    pub fn is_device(&self) -> bool {
        self.is_device
    }

    /// Whether it was made for this pool.
    #[must_use]
    pub fn is_created(&self) -> bool {
        self.origin != Origin::Found
    }

    /// The open file, which holds the lock.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Id and count of unsafe shutdowns of the device below; `None` when it has none.
    pub(crate) fn device(&self) -> Result<Option<(String, u64)>> {
        device::shutdowns(&self.file)
            .map_err(|errno| Error::system("unsafe shutdown count", &self.path, errno))
    }

    /// `EINVAL` unless it has exactly `size` bytes.
    pub(crate) fn must_have(&self, size: u64) -> Result<()> {
        if self.size == size {
            return Ok(());
        }
        let path = self.path.display();
        let text = format!("file size does not match config: {path}, {} != {size}", self.size);
        Err(Error::pool(text, &self.path, Errno::EINVAL))
    }

    /// Takes the whole space of a file that was there before: it may have holes.
    pub(crate) fn allocate(&self) -> Result<()> {
        if self.is_device { Ok(()) } else { allocate(&self.file, self.size, &self.path) }
    }

    /// Its header, as it is on the medium.
    pub(crate) fn read_header(&self) -> Result<PoolHeader> {
        let mut header = PoolHeader::new_zeroed();
        if self.is_device {
            let map = mapping::map_start(self)?;
            map.read(0, header.as_mut_bytes());
        } else {
            self.file
                .read_exact_at(header.as_mut_bytes(), 0)
                .map_err(io_error("read", &self.path))?;
        }
        Ok(header)
    }

    /// Seconds since 1970 of its last change.
    pub(crate) fn changed(&self) -> u64 {
        let seconds = self.file.metadata().map_or(0, |metadata| metadata.ctime());
        u64::try_from(seconds).unwrap_or(0)
    }

    /// Gives a file that was made for this pool its permissions, whatever the umask, and its name.
    ///
    /// # Errors
    /// Those of `chmod` and `linkat`: `EEXIST` when somebody else was faster, `ENOSPC`, `EDQUOT`.
    pub(crate) fn publish(&mut self, mode: u32) -> Result<()> {
        if self.origin == Origin::Found {
            return Ok(());
        }
        let permissions = std::fs::Permissions::from_mode(mode);
        self.file.set_permissions(permissions).map_err(io_error("chmod", &self.path))?;
        if self.origin == Origin::Unnamed {
            self.give_name()?;
            self.origin = Origin::Named;
        }
        Ok(())
    }

    /// Whether it will get this name.
    pub(crate) fn will_be_at(&self, path: &Path) -> bool {
        let resolved = |path: &Path| {
            let directory = directory_of(path).and_then(|directory| directory.canonicalize().ok());
            (directory, path.file_name().map(ToOwned::to_owned))
        };
        self.origin == Origin::Unnamed && resolved(&self.path) == resolved(path)
    }

    fn give_name(&self) -> Result<()> {
        let terminated = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| Error::system("linkat", &self.path, Errno::EINVAL))
        };
        let from = terminated(path_of(&self.file).as_bytes())?;
        let to = terminated(self.path.as_os_str().as_bytes())?;
        let (here, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
        // SAFETY: two C strings.
        match unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), follow) } {
            0 => Ok(()),
            _ => match Errno::last() {
                Errno::EEXIST => Err(already_exists(&self.path)),
                errno => Err(Error::system("linkat", &self.path, errno)),
            },
        }
    }

    /// Makes the name of a file that was made for this pool durable: nothing that is written to it later would.
    ///
    /// # Errors
    /// Those of `fsync`.
    pub(crate) fn sync_name(&self) -> Result<()> {
        if self.origin != Origin::Named {
            return Ok(());
        }
        let synced = |result: io::Result<()>| match result {
            // Said by file systems without anything to sync.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result.map_err(io_error("fsync", &self.path)),
        };
        synced(self.file.sync_all())?;
        // One that cannot be read is left to the file system, which has the name in the file's transaction.
        match directory_of(&self.path).map(File::open) {
            Some(Ok(directory)) => synced(directory.sync_all()),
            _ => Ok(()),
        }
    }

    /// Removes the file if it was made for this pool.
    pub(crate) fn remove(&self) {
        if self.origin != Origin::Found {
            // XFS takes its time to free the space of a file that has gone, and counts it to a quota until then.
            let _ = self.file.set_len(0);
        }
        if self.origin == Origin::Named {
            // What cannot be removed has mode 0 and a zero header: nobody takes it for a pool.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why a part cannot be opened; with a hint when it looks like one that was never finished.
fn unreadable(path: &Path, error: &io::Error) -> Error {
    let denied = error.raw_os_error() == Some(libc::EACCES);
    if denied && fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o7777 == 0) {
        let text = "Permission denied: mode 0, as of a pool that is being created; \
                    if that was interrupted, remove the file";
        return Error::pool(text, path, Errno::EACCES);
    }
    Error::io("open", path, error)
}

fn describe(file: &File) -> core::result::Result<Option<DaxDevice>, Errno> {
    dax::describe(&sys::file_status(sys::Fd::from_raw(file.as_raw_fd()))?)
}

/// The size of a device-DAX node; `None` when the path is none.
pub(crate) fn device_size(path: &Path) -> Result<Option<u64>> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = std::fs::metadata(path).map_err(io_error("stat", path))?;
    if !metadata.file_type().is_char_device() {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(io_error("open", path))?;
    let device = describe(&file).map_err(|errno| Error::system("stat", path, errno))?;
    Ok(device.map(|device| device.size))
}
