//! What to do about a pool that could not be made.

use pmem_core::errno::Errno;
use pmem_core::error::Error;
use pmem_core::source::SourceKind;

/// A sentence (without a capital or a full stop) that tells what to do about `error`, which making
/// a pool of this kind gave.
///
/// # Examples
/// ```
/// use pmem_core::{errno::Errno, error::Error, source::SourceKind};
/// let error = Error::new("open", Errno::ENOTDIR);
/// assert_eq!(vmem_engine::remedy(SourceKind::Directory, &error), "name a directory, not a file");
/// ```
#[must_use]
pub fn remedy(kind: SourceKind, error: &Error) -> &'static str {
    match error.operation {
        "open" | "mkstemp" | "fstat" => opening(kind, error.errno),
        "flock" => "end the process that uses it, or name another",
        "sysfs" => "name a device-DAX node that sysfs describes, and have /sys mounted",
        "mbind" => match error.errno {
            Errno::EINVAL => "name nodes that have memory (/sys/devices/system/node/has_memory)",
            Errno::EPERM => "allow the call mbind in the sandbox, or do without nodes",
            _ => "use a kernel with NUMA support, or do without nodes",
        },
        "posix_fallocate" if kind == SourceKind::Anonymous => {
            "make the pool smaller, or name nodes that have more memory left"
        }
        "memfd_create" => "use a kernel with pages of this size, or ordinary pages",
        "region" => "give a region that starts on a page and has at least 14 MiB",
        "size" | "pool size" => "use a size of at least 14 MiB and less than 16 TiB",
        "too many pools" => "drop pools that are no longer used",
        _ => resource(kind, error.errno),
    }
}

fn opening(kind: SourceKind, errno: Errno) -> &'static str {
    match (kind, errno) {
        (SourceKind::Directory, Errno::ENOENT) => "make the directory, or name one that exists",
        (SourceKind::Directory, Errno::ENOTDIR) => "name a directory, not a file",
        (SourceKind::Directory, Errno::EACCES | Errno::EPERM) => {
            "get permission to write to the directory, or name another"
        }
        (SourceKind::NamedFile, Errno::ENOENT) => {
            "make the file and the directory it is in, or name another"
        }
        (SourceKind::NamedFile, Errno::EEXIST) => "open it as an existing file, or name another",
        (SourceKind::NamedFile, Errno::EISDIR | Errno::EINVAL | Errno::ENOTDIR) => {
            "name a regular file"
        }
        (SourceKind::DeviceDax, Errno::ENOENT | Errno::EINVAL | Errno::ENOTDIR | Errno::EISDIR) => {
            "name a device-DAX node, such as /dev/dax0.0"
        }
        (_, Errno::EACCES | Errno::EPERM) => "get permission to read and write it, or name another",
        (_, Errno::EROFS) => "mount the file system for writing, or name another place",
        (_, Errno::EMFILE | Errno::ENFILE) => {
            "close files, or raise the limit on open files (ulimit -n)"
        }
        (_, Errno::ENAMETOOLONG) => "use a shorter path",
        _ => resource(kind, errno),
    }
}

fn resource(kind: SourceKind, errno: Errno) -> &'static str {
    match (kind, errno) {
        (_, Errno::EFBIG) => "make the pool smaller, or raise the limit on file sizes (ulimit -f)",
        (SourceKind::Memfd, Errno::ENOSPC | Errno::ENOMEM) => {
            "make the pool smaller; huge pages must be reserved first (sysctl vm.nr_hugepages)"
        }
        (SourceKind::DeviceDax, Errno::ENOSPC) => "make the pool smaller, or name a larger device",
        (_, Errno::ENOSPC | Errno::EDQUOT) => "make the pool smaller, or free space there",
        (_, Errno::ENOMEM) => {
            "make the pool smaller, or raise the limit on address space (ulimit -v)"
        }
        _ => "name another place for the pool",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::BTreeMap;

    #[test]
    fn every_failure_has_a_remedy_that_fits_its_kind() {
        use SourceKind::*;
        let cases = [
            (Directory, "open", Errno::ENOENT, "make the directory"),
            (Directory, "open", Errno::EACCES, "permission to write to the directory"),
            (Directory, "mkstemp", Errno::EROFS, "mount the file system for writing"),
            (Directory, "open", Errno::EMFILE, "ulimit -n"),
            (Directory, "open", Errno::ENAMETOOLONG, "shorter path"),
            (Directory, "open", Errno::EIO, "another place"),
            (Directory, "ftruncate", Errno::EFBIG, "ulimit -f"),
            (Directory, "posix_fallocate", Errno::ENOSPC, "free space"),
            (Directory, "posix_fallocate", Errno::EDQUOT, "free space"),
            (Memfd, "posix_fallocate", Errno::ENOSPC, "nr_hugepages"),
            (Memfd, "memfd_create", Errno::EINVAL, "ordinary pages"),
            (NamedFile, "open", Errno::ENOENT, "make the file"),
            (NamedFile, "open", Errno::EEXIST, "existing file"),
            (NamedFile, "open", Errno::EISDIR, "regular file"),
            (NamedFile, "open", Errno::EACCES, "read and write"),
            (NamedFile, "flock", Errno::EWOULDBLOCK, "end the process"),
            (DeviceDax, "open", Errno::EINVAL, "/dev/dax0.0"),
            (DeviceDax, "sysfs", Errno::ENOENT, "/sys"),
            (DeviceDax, "device", Errno::ENOSPC, "larger device"),
            (Anonymous, "mmap", Errno::ENOMEM, "ulimit -v"),
            (Anonymous, "mbind", Errno::EINVAL, "has_memory"),
            (Anonymous, "posix_fallocate", Errno::ENOMEM, "more memory left"),
            (Anonymous, "mbind", Errno::EPERM, "sandbox"),
            (Anonymous, "mbind", Errno::ENOSYS, "NUMA support"),
            (CallerRegion, "region", Errno::EINVAL, "starts on a page"),
            (Anonymous, "pool size", Errno::EINVAL, "14 MiB"),
            (Anonymous, "too many pools", Errno::EMFILE, "drop pools"),
        ];
        let mut seen = BTreeMap::new();
        for (kind, operation, errno, part) in cases {
            let text = remedy(kind, &Error::new(operation, errno));
            assert!(text.contains(part), "{kind:?} {operation} {errno:?}: {text}");
            seen.insert(text, ());
        }
        assert!(seen.len() > 15, "remedies differ where failures do");
    }
}
