//! Bad blocks: ranges of a part that the device cannot read, and the files that remember them during a repair.

use crate::{Error, Result};
use pmem_core::errno::Errno;
use std::fs;
use std::path::{Path, PathBuf};

/// A range of a part in bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BadBlock {
    /// From the beginning of the part.
    pub offset: u64,
    /// Its length.
    pub len: u64,
}

/// Where the bad blocks of a part are kept while they are repaired.
///
/// # Examples
/// ```
/// let path = pool_format::recovery_file("/pools/set".as_ref(), 1, 2);
/// assert_eq!(path.to_str(), Some("/pools/set_r1_p2_badblocks.txt"));
/// ```
#[must_use]
pub fn recovery_file(pool_set: &Path, replica: usize, part: usize) -> PathBuf {
    let mut name = pool_set.as_os_str().to_owned();
    name.push(format!("_r{replica}_p{part}_badblocks.txt"));
    name.into()
}

/// Writes a recovery file: lines of offset and length, ended by zeros.
///
/// # Errors
/// Those of creating (`EEXIST`) and writing.
pub fn write_recovery_file(path: &Path, blocks: &[BadBlock]) -> Result<()> {
    use std::io::Write;
    let mut text = String::new();
    for block in blocks {
        text.push_str(&format!("{} {}\n", block.offset, block.len));
    }
    text.push_str("0 0\n");
    let mut file = fs::File::create_new(path).map_err(|error| Error::io("open", path, &error))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| Error::io("write", path, &error))
}

/// Reads a recovery file; `None` when it is not complete, so that the blocks have to be looked for again.
///
/// # Errors
/// Those of reading; `EINVAL` when its text makes no sense.
pub fn read_recovery_file(path: &Path) -> Result<Option<Vec<BadBlock>>> {
    let text = fs::read_to_string(path).map_err(|error| Error::io("open", path, &error))?;
    let bad = |line: usize| Error::Syntax {
        text: "incorrect bad block",
        path: path.into(),
        line,
        errno: Errno::EINVAL,
    };
    let mut blocks = Vec::new();
    let mut end = 0;
    for (line, text) in (1..).zip(text.lines()) {
        let numbers: Option<Vec<u64>> =
            text.split_ascii_whitespace().map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([0, 0]) => return Ok(Some(blocks)),
            Some(&[offset, len]) if len > 0 && offset >= end => {
                end = offset.checked_add(len).ok_or_else(|| bad(line))?;
                blocks.push(BadBlock { offset, len });
            }
            _ => return Err(bad(line)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = recovery_file(&directory.path().join("set"), 0, 0);
        let blocks = [BadBlock { offset: 4096, len: 512 }, BadBlock { offset: 8192, len: 1024 }];
        write_recovery_file(&path, &blocks).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4096 512\n8192 1024\n0 0\n");
        assert_eq!(read_recovery_file(&path).unwrap().unwrap(), blocks);
        assert_eq!(write_recovery_file(&path, &[]).unwrap_err().errno(), Errno::EEXIST);
        for (text, incomplete) in [
            ("", true),
            ("4096 512\n", true),
            ("4096\n0 0\n", false),
            ("8 8\n4 4\n0 0\n", false),
            ("x y\n", false),
        ] {
            fs::write(&path, text).unwrap();
            let read = read_recovery_file(&path);
            assert_eq!(matches!(read, Ok(None)), incomplete, "{text}");
            assert_eq!(read.is_err(), !incomplete, "{text}");
        }
    }
}
