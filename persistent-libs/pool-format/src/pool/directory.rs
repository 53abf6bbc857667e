//! Pool sets of directories: files are added to them as the pool grows.

use crate::poolset::PartSpec;
use crate::{Error, PoolSet, Result};
use pmem_core::errno::Errno;
use std::path::{Path, PathBuf};

/// Whether the parts of a set are directories; all must be, or none.
pub(super) fn check(set: &PoolSet, path: &Path) -> Result<bool> {
    let parts = || set.replicas.iter().flat_map(|replica| &replica.parts);
    let directories = parts().filter(|part| part.path.is_dir()).count();
    let error = |text: &str| Err(Error::pool(text, path, Errno::EINVAL));
    if directories == 0 {
        return Ok(false);
    }
    if directories < parts().count() {
        return error("cannot mix directories and files in a set");
    }
    if !set.single_header {
        return error(
            "directory based pools are not supported for poolsets with headers (without SINGLEHDR option)",
        );
    }
    let mut names = std::collections::HashSet::new();
    if parts().any(|part| !names.insert(&part.path)) {
        return error("a directory occurs twice");
    }
    Ok(true)
}

/// The path of the file with this number; the directories take turns.
pub(super) fn file(directories: &[PartSpec], number: usize) -> PathBuf {
    directories[number % directories.len()].path.join(format!("{number:06}.pmem"))
}

/// The files of a replica, in order.
pub(super) fn files(directories: &[PartSpec], path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for directory in directories {
        let io = |error| Error::io("opendir", &directory.path, &error);
        for entry in std::fs::read_dir(&directory.path).map_err(io)? {
            let file = entry.map_err(io)?.path();
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
            let digits = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit());
            if digits && file.extension().is_some_and(|extension| extension == "pmem") {
                found.push((stem.parse::<u64>().unwrap_or(u64::MAX), file));
            }
        }
    }
    found.sort_unstable();
    if found.is_empty() {
        return Err(Error::pool("no files of a pool in its directories", path, Errno::ENOENT));
    }
    for (expected, (number, file)) in (0..).zip(&found) {
        if *number != expected {
            let text = format!("file {expected:06}.pmem is missing");
            return Err(Error::pool(text, file, Errno::EINVAL));
        }
    }
    Ok(found.into_iter().map(|(_, file)| file).collect())
}
