//! Bad blocks of files and devices.

use std::collections::VecDeque;
use std::marker::PhantomData;

use pmem_core::errno::Errno;
use pmem_core::nvdimm::{BadRange, SYSTEM};

use crate::error::{Error, ErrorKind};
use crate::source::Source;

/// A range of a source that cannot be read, in bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct BadBlock {
    /// Where it starts.
    pub offset: u64,
    /// Its length.
    pub len: u64,
}

/// The bad blocks of a source, as they were when this was made.
///
/// ```compile_fail,E0505
/// // Its descriptor may be that of another file when the source is gone.
/// let source = pmem::Source::open("pool".as_ref())?;
/// let blocks = pmem::BadBlocks::of(&source)?;
/// drop(source);
/// blocks.clear(&pmem::BadBlock { offset: 0, len: 4096 })?;
/// # Ok::<(), pmem::Error>(())
/// ```
#[derive(Debug)]
pub struct BadBlocks<'s> {
    left: VecDeque<BadBlock>,
    fd: i32,
    is_device: bool,
    source: PhantomData<&'s Source>,
}

/// A piece of a file that lies in one piece on the device, in bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Extent {
    logical: u64,
    physical: u64,
    len: u64,
}

impl<'s> BadBlocks<'s> {
    /// Collects the bad blocks. A file on an ordinary file system has none.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for memory; those of reading sysfs and of asking for extents.
    pub fn of(source: &'s Source) -> Result<BadBlocks<'s>, Error> {
        let unsupported = || Error::new(ErrorKind::NotSupported, "bad blocks");
        let (Some(fd), Some(device)) = (source.fd(), source.device()?) else {
            return Err(unsupported());
        };
        let is_device = source.is_device();
        let mut bad = Vec::new();
        let listed = SYSTEM.for_each_bad_range(device, |range| bad.push(range));
        listed.map_err(Error::system("bad blocks"))?;
        let extents = if bad.is_empty() {
            Vec::new()
        } else if is_device {
            vec![Extent { logical: 0, physical: 0, len: source.size()? as u64 }]
        } else {
            extents(fd.raw()).map_err(Error::system("extents"))?
        };
        let left = overlaps(&bad, &extents).into();
        Ok(BadBlocks { left, fd: fd.raw(), is_device, source: PhantomData })
    }

    /// Repairs a range of a file: its blocks are given back and new ones taken, which hold zeros.
    /// **What the range held is gone, whether the block was bad or not.**
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for device DAX; those of `fallocate`.
    pub fn clear(&self, bad: &BadBlock) -> Result<(), Error> {
        if self.is_device {
            return Err(Error::new(ErrorKind::NotSupported, "clear bad block")
                .detail("device DAX: use ndctl clear-errors"));
        }
        let invalid = |_| Error::new(ErrorKind::System(Errno::EINVAL), "clear bad block");
        let offset = i64::try_from(bad.offset).map_err(invalid)?;
        let len = i64::try_from(bad.len).map_err(invalid)?;
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        for mode in [keep | libc::FALLOC_FL_PUNCH_HOLE, keep] {
            // SAFETY: no memory is involved.
            if unsafe { libc::fallocate(self.fd, mode, offset, len) } != 0 {
                return Err(Error::new(ErrorKind::System(Errno::last()), "fallocate"));
            }
        }
        Ok(())
    }
}

impl Iterator for BadBlocks<'_> {
    type Item = BadBlock;

    fn next(&mut self) -> Option<BadBlock> {
        self.left.pop_front()
    }
}

/// The parts of bad ranges of a device that lie in a file, in the order of the file.
fn overlaps(bad: &[BadRange], extents: &[Extent]) -> Vec<BadBlock> {
    let mut found = Vec::new();
    for extent in extents {
        for range in bad {
            let start = range.offset.max(extent.physical);
            let end = (range.offset + range.len).min(extent.physical.saturating_add(extent.len));
            if start < end {
                let offset = start - extent.physical + extent.logical;
                found.push(BadBlock { offset, len: end - start });
            }
        }
    }
    found.sort_by_key(|block| block.offset);
    found
}

/// `struct fiemap` with room for some extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [FiemapExtent; 64],
}

#[repr(C)]
#[derive(Copy, Clone)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

const _: () = assert!(size_of::<Fiemap>() == 32 + 64 * 56);

/// Asks the file system where a file lies.
fn extents(fd: i32) -> Result<Vec<Extent>, Errno> {
    const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
    const LAST: u32 = 1;
    let mut found: Vec<Extent> = Vec::new();
    loop {
        let empty = FiemapExtent {
            logical: 0,
            physical: 0,
            length: 0,
            reserved64: [0; 2],
            flags: 0,
            reserved: [0; 3],
        };
        let start = found.last().map_or(0, |extent| extent.logical + extent.len);
        let mut request = Fiemap {
            start,
            length: u64::MAX - start,
            flags: 0,
            mapped: 0,
            count: 64,
            reserved: 0,
            extents: [empty; 64],
        };
        // SAFETY: the structure has room for as many extents as it says.
        if unsafe { libc::ioctl(fd, FS_IOC_FIEMAP as _, &raw mut request) } != 0 {
            return Err(Errno::last());
        }
        let mapped = request.extents.iter().take(request.mapped as usize);
        let mut is_last = request.mapped == 0;
        for extent in mapped {
            is_last |= extent.flags & LAST != 0;
            let FiemapExtent { logical, physical, length: len, .. } = *extent;
            found.push(Extent { logical, physical, len });
        }
        if is_last {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_ranges_are_found_in_the_file() {
        let extents = [
            Extent { logical: 0, physical: 10_000, len: 1000 },
            Extent { logical: 4096, physical: 2000, len: 500 },
        ];
        let bad = |offset, len| BadRange { offset, len };
        let block = |offset, len| BadBlock { offset, len };
        assert_eq!(overlaps(&[bad(0, 100)], &extents), []);
        assert_eq!(overlaps(&[bad(10_100, 50)], &extents), [block(100, 50)]);
        assert_eq!(overlaps(&[bad(9_900, 200)], &extents), [block(0, 100)]);
        let all = overlaps(&[bad(2100, 20_000)], &extents);
        assert_eq!(all, [block(0, 1000), block(4196, 400)]);
        assert_eq!(overlaps(&[bad(2500, 10)], &extents), []);
    }

    #[test]
    fn extents_of_a_real_file_are_in_order() {
        let path = std::env::temp_dir().join(format!("pmem-extents-{}", std::process::id()));
        std::fs::write(&path, vec![1; 100_000]).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        use std::os::fd::AsRawFd;
        match extents(file.as_raw_fd()) {
            Ok(found) => {
                assert!(found.windows(2).all(|pair| pair[0].logical < pair[1].logical));
            }
            // tmpfs and overlay file systems may not know.
            Err(errno) => assert_eq!(errno, Errno::EOPNOTSUPP),
        }
    }
}
