//! Pool set files: which files and devices make up a pool.

mod parse;

use crate::{Error, Result};
use core::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a pool set file begins with.
pub const POOL_SET_SIGNATURE: &[u8] = b"PMEMPOOLSET";

/// The largest pool set file that is read, in bytes; a set of thousands of parts is far below.
const MOST_BYTES: u64 = 16 << 20;

/// How large a part is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PartSize {
    /// So many bytes.
    Bytes(u64),
    /// As the device (device DAX only).
    Auto,
}

/// A part as the file names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartSpec {
    /// Size of the file, or of the reservation for a directory.
    pub size: PartSize,
    /// An absolute path.
    pub path: PathBuf,
}

/// Parts that together hold the pool once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplicaSpec {
    /// At least one.
    pub parts: Vec<PartSpec>,
}

/// The content of a pool set file.
///
/// `Display` gives the text of such a file.
///
/// # Examples
/// ```
/// use pool_format::PoolSet;
/// let text = b"PMEMPOOLSET\nOPTION SINGLEHDR\n4M /a # first\n3MiB /b\n";
/// let set = PoolSet::parse(text, "set".as_ref())?;
/// assert!(set.single_header);
/// assert_eq!(set.to_string(), "PMEMPOOLSET\nOPTION SINGLEHDR\n4194304 /a\n3145728 /b\n");
///
/// let error = PoolSet::parse(b"PMEMPOOLSET\n4M a\n", "set".as_ref()).unwrap_err();
/// assert_eq!(error.to_string(), "set [incorrect path (must be an absolute one):2]");
/// # Ok::<(), pool_format::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PoolSet {
    /// At least one; the first is the master.
    pub replicas: Vec<ReplicaSpec>,
    /// `OPTION SINGLEHDR`: only the first part of each replica has a header.
    pub single_header: bool,
}

impl PoolSet {
    /// Parses the text of a pool set file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Syntax`], `EINVAL`; `ENOTSUP` for remote replicas.
    pub fn parse(text: &[u8], path: &Path) -> Result<PoolSet> {
        parse::parse(text, path)
    }

    /// Reads a pool set file, locked meanwhile; `None` when the file is none.
    ///
    /// # Errors
    /// Those of opening and reading, of `flock` (`EAGAIN`), and of [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Option<PoolSet>> {
        let io = |operation| move |error: std::io::Error| Error::io(operation, path, &error);
        let metadata = std::fs::metadata(path).map_err(io("open"))?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut file = File::open(path).map_err(io("open"))?;
        let mut start = Vec::with_capacity(POOL_SET_SIGNATURE.len());
        let length = POOL_SET_SIGNATURE.len() as u64;
        Read::by_ref(&mut file).take(length).read_to_end(&mut start).map_err(io("read"))?;
        if start != POOL_SET_SIGNATURE {
            return Ok(None);
        }
        crate::part::lock(&file, path)?;
        let mut text = start;
        file.take(MOST_BYTES).read_to_end(&mut text).map_err(io("read"))?;
        if text.len() as u64 > MOST_BYTES {
            let text = format!("a pool set file has at most {MOST_BYTES} bytes");
            return Err(Error::pool(text, path, pmem_core::errno::Errno::EINVAL));
        }
        PoolSet::parse(&text, path).map(Some)
    }
}

impl fmt::Display for PoolSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PMEMPOOLSET\n")?;
        if self.single_header {
            f.write_str("OPTION SINGLEHDR\n")?;
        }
        for (number, replica) in self.replicas.iter().enumerate() {
            if number > 0 {
                f.write_str("REPLICA\n")?;
            }
            for part in &replica.parts {
                match part.size {
                    PartSize::Bytes(bytes) => write!(f, "{bytes}")?,
                    PartSize::Auto => f.write_str("AUTO")?,
                }
                writeln!(f, " {}", part.path.display())?;
            }
        }
        Ok(())
    }
}
