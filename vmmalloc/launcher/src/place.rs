//! The place of the pool: everything about it that would make the library abort, or
//! the program run out of memory at once, is found here first.

mod device;
mod nodes;

use crate::failure::{Failure, quoted};
use crate::filesystem::{self, Kind, Suits};
use crate::os::{self, Access, Limit};
use crate::settings::{Medium, Settings, Sourced, Space, variable};
use crate::size::{MAX_POOL_BYTES, MIN_POOL_BYTES, human};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Default sizes are whole multiples of this many bytes: one huge page.
const SIZE_STEP_BYTES: u64 = 2 << 20;

/// A place that was checked.
#[derive(Debug)]
pub(crate) struct Place {
    /// The variable that names it to the library.
    pub(crate) variable: &'static str,
    /// What is in the variable; a path is absolute.
    pub(crate) value: OsString,
    /// Size of the pool in bytes; `None` for all of a device.
    pub(crate) size_bytes: Option<u64>,
    /// What the user should know although it works.
    pub(crate) warnings: Vec<String>,
}

/// Checks the place that `settings` name and settles the size.
///
/// # Errors
/// The place does not exist, is of a wrong type, in use or may not be written; it cannot hold a pool or has too little
/// space or memory; a resource limit forbids the size.
pub(crate) fn check(settings: &Settings) -> Result<Place, Failure> {
    match &settings.medium {
        Medium::Directory(dir) => check_directory(settings, dir),
        Medium::Device(path) => device::check(settings, path),
        Medium::Nodes(nodes) => nodes::check(settings, nodes),
    }
}

fn check_directory(settings: &Settings, dir: &Sourced<OsString>) -> Result<Place, Failure> {
    // Absolute, because the program and its children may change their directory before they make a pool.
    let path = std::path::absolute(&dir.value)
        .map_err(|error| bad(dir, &describe(&error), "name the directory by its full path"))?;
    let metadata = fs::metadata(&path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => bad(
            dir,
            "does not exist",
            &format!("create it first (mkdir -p {}) or name another", quoted(path.as_os_str())),
        ),
        Some(libc::ENOTDIR) => bad(dir, "lies under a file", "name an existing directory"),
        Some(libc::EACCES) => bad(
            dir,
            "cannot be reached (permission denied)",
            "name a directory you own, or have its owner allow you in",
        ),
        _ => bad(dir, &describe(&error), "name an existing directory"),
    })?;
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        directory(settings, dir, path)
    } else if file_type.is_char_device() {
        Err(character_device(dir, &metadata))
    } else if file_type.is_block_device() {
        Err(bad(dir, "is a block device", "mount a file system on it and name a directory there"))
    } else {
        Err(bad(dir, "is a file, not a directory", "name the directory it lies in, or another"))
    }
}

fn bad(place: &Sourced<OsString>, problem: &str, remedy: &str) -> Failure {
    Failure::configuration(format!("{} {problem}: {remedy}", shown(place)))
}

/// Who gave it, and what.
fn shown(place: &Sourced<OsString>) -> String {
    format!("{} {}", place.origin, quoted(&place.value))
}

/// The system's text for an error, without its number.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn directory(
    settings: &Settings,
    dir: &Sourced<OsString>,
    path: PathBuf,
) -> Result<Place, Failure> {
    let file_system = os::file_system(&path)
        .map_err(|error| bad(dir, &describe(&error), "name another directory"))?;
    let kind = filesystem::kind(file_system.magic);
    let mut warnings = Vec::new();
    match kind.suits {
        Suits::Local => {}
        Suits::Network => warnings.push(format!(
            "{} {} is on {}, which may be remote: the heap can be slow, or be lost with its server; a local directory is safer",
            dir.origin,
            quoted(&dir.value),
            kind.name
        )),
        Suits::Pseudo => {
            return Err(bad(
                dir,
                &format!("is on {}, which holds no ordinary files", kind.name),
                "name a directory on tmpfs, ext4, xfs or the like",
            ));
        }
        Suits::HugePagesOnly => {
            return Err(bad(
                dir,
                "is on hugetlbfs, whose files cannot be taken and given back in pages of 4 KiB",
                "name a directory on tmpfs and add --hugepages advise",
            ));
        }
    }
    os::check_access(&path, Access::Create).map_err(|error| match error.raw_os_error() {
        Some(libc::EROFS) => bad(
            dir,
            &format!("is on a read-only file system ({})", kind.name),
            "name a directory that can be written",
        ),
        _ => bad(
            dir,
            "is not writable (permission denied)",
            "name a directory you may create files in, or change its permissions",
        ),
    })?;
    let size_bytes = settle_size(settings, dir, kind, file_system.free_bytes, &mut warnings)?;
    probe(dir, kind, &path, size_bytes)?;
    Ok(Place {
        variable: variable::DIR,
        value: path.into(),
        size_bytes: Some(size_bytes),
        warnings,
    })
}

/// The pool's size: what was asked for, or half of the free space but no more than the machine's memory; checked
/// against the free space and the resource limits.
fn settle_size(
    settings: &Settings,
    dir: &Sourced<OsString>,
    kind: Kind,
    free_bytes: Option<u64>,
    warnings: &mut Vec<String>,
) -> Result<u64, Failure> {
    let file_limit = os::limit(Limit::FileSize);
    let address_limit = os::limit(Limit::AddressSpace);
    let size_bytes = match &settings.size_bytes {
        Some(size) => size.value,
        None => default_size(free_bytes, file_limit, address_limit),
    };
    let origin = match &settings.size_bytes {
        Some(size) => size.origin.to_string(),
        None => "default size".to_owned(),
    };
    for (limit, name, ulimit) in
        [(file_limit, "file size", "-f"), (address_limit, "address space", "-v")]
    {
        if let Some(limit) = limit.filter(|&limit| limit < size_bytes) {
            return Err(Failure::configuration(format!(
                "{origin} {size_bytes} is above the {name} limit of {limit} bytes: raise it (ulimit {ulimit} unlimited) or give a smaller --size"
            )));
        }
    }
    let Some(free) = free_bytes else {
        return Ok(size_bytes);
    };
    let where_to = "free some space, or name a directory with more in --dir";
    if settings.space == Space::Prealloc && free < size_bytes {
        return Err(bad(
            dir,
            &format!(
                "has {} free on {}, less than the {} of {origin} {size_bytes} that --prealloc takes at once",
                human(free),
                kind.name,
                human(size_bytes)
            ),
            &format!("give a smaller --size, use --lazy, or {where_to}"),
        ));
    }
    if free < MIN_POOL_BYTES && settings.overflow_to_dram != Some(true) {
        return Err(bad(
            dir,
            &format!(
                "has only {} free on {}, less than the smallest pool of {MIN_POOL_BYTES} bytes",
                human(free),
                kind.name
            ),
            &format!("{where_to}, or let the heap go on in memory with --overflow dram"),
        ));
    }
    if free < size_bytes && settings.size_bytes.is_some() {
        warnings.push(format!(
            "{origin} {size_bytes} is more than the {} that {} has free: allocations fail when that is used up",
            human(free),
            quoted(&dir.value)
        ));
    }
    Ok(size_bytes)
}

fn default_size(free: Option<u64>, file_limit: Option<u64>, address_limit: Option<u64>) -> u64 {
    let memory = os::memory_bytes();
    let mut size = free.map_or(memory, |free| free / 2).min(memory).min(MAX_POOL_BYTES);
    // The program needs address space for itself as well.
    for limit in [file_limit, address_limit.map(|limit| limit / 2)].into_iter().flatten() {
        size = size.min(limit);
    }
    (size / SIZE_STEP_BYTES * SIZE_STEP_BYTES).max(MIN_POOL_BYTES)
}

/// Makes a nameless file, gives it the pool's size and maps it: what the library is going to do, without space.
fn probe(dir: &Sourced<OsString>, kind: Kind, path: &Path, size_bytes: u64) -> Result<(), Failure> {
    let file = nameless_file(path).map_err(|error| {
        let (problem, remedy) = match error.raw_os_error() {
            Some(libc::EDQUOT) => {
                ("takes no more files (quota exceeded)", "free some, or name another directory")
            }
            Some(libc::ENOSPC) => (
                "takes no more files (no space or no inodes left)",
                "free some, or name another directory",
            ),
            _ => ("takes no files", "name a directory you can create files in"),
        };
        bad(dir, &format!("on {} {problem}: {}", kind.name, describe(&error)), remedy)
    })?;
    file.set_len(size_bytes).map_err(|error| {
        bad(
            dir,
            &format!("on {} holds no file of {size_bytes} bytes: {}", kind.name, describe(&error)),
            "give a smaller --size, or name another directory",
        )
    })?;
    os::try_map(&file, size_bytes).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV) => bad(
            dir,
            &format!("is on {}, whose files cannot be mapped shared", kind.name),
            "name a directory on a local file system",
        ),
        _ => bad(
            dir,
            &format!(
                "on {}: a pool of {size_bytes} bytes cannot be mapped: {}",
                kind.name,
                describe(&error)
            ),
            "give a smaller --size",
        ),
    })
}

fn nameless_file(directory: &Path) -> io::Result<File> {
    let open = |path: &Path, flags: i32, create: bool| {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)
    };
    match open(directory, libc::O_TMPFILE | libc::O_EXCL, false) {
        // Kernels and file systems without O_TMPFILE answer with one of these.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOENT)
            ) =>
        {
            let named = directory.join(format!("vmem.probe-{}", std::process::id()));
            let file = open(&named, 0, true)?;
            fs::remove_file(&named)?;
            Ok(file)
        }
        answer => answer,
    }
}

/// A character device: never a directory, but a device-dax has ways to hold a program's heap.
fn character_device(dir: &Sourced<OsString>, metadata: &Metadata) -> Failure {
    let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    let subsystem = fs::canonicalize(format!("/sys/dev/char/{major}:{minor}/subsystem"));
    if subsystem.is_ok_and(|path| path.ends_with("dax")) {
        return bad(
            dir,
            "is a device-dax, which has room for the pool of one process",
            "name it with --device for one, or give it a file system (ndctl create-namespace --mode=fsdax), or make it a NUMA node for --nodes (daxctl reconfigure-device --mode=system-ram)",
        );
    }
    bad(dir, "is a character device", "name a directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_size_is_half_the_free_space_in_whole_steps() {
        let memory = os::memory_bytes();
        assert_eq!(default_size(Some(201 << 20), None, None), 100 << 20);
        assert_eq!(
            default_size(Some(u64::MAX), None, None),
            memory / SIZE_STEP_BYTES * SIZE_STEP_BYTES
        );
        assert_eq!(default_size(None, None, None), memory / SIZE_STEP_BYTES * SIZE_STEP_BYTES);
    }

    #[test]
    fn the_default_size_respects_limits_but_not_below_the_minimum() {
        assert_eq!(default_size(Some(1 << 30), Some(64 << 20), None), 64 << 20);
        assert_eq!(default_size(Some(1 << 30), None, Some(64 << 20)), 32 << 20);
        assert_eq!(default_size(Some(1 << 20), None, None), MIN_POOL_BYTES);
    }

    #[test]
    fn system_errors_lose_their_number() {
        assert_eq!(describe(&io::Error::from_raw_os_error(libc::EACCES)), "Permission denied");
    }
}
