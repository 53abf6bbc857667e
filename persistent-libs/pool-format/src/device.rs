//! The devices under parts, as sysfs describes them: unsafe shutdowns and bad blocks of persistent memory.

use crate::BadBlock;
use pmem_core::errno::Errno;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Unit of lists of bad blocks, in bytes.
const SECTOR: u64 = 512;

fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The device a file lies on, or is, in sysfs; `None` for file systems without one.
fn sysfs_device(file: &File) -> Result<Option<PathBuf>, Errno> {
    let metadata = file.metadata().map_err(|error| errno(&error))?;
    let (class, number) = if metadata.file_type().is_char_device() {
        ("char", metadata.rdev())
    } else {
        ("block", metadata.dev())
    };
    let link = format!("/sys/dev/{class}/{}:{}", libc::major(number), libc::minor(number));
    match fs::canonicalize(link) {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(errno(&error)),
    }
}

/// The region of persistent memory that a device is part of.
fn region_of(device: &Path) -> Option<&Path> {
    device.ancestors().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        name.strip_prefix("region")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
            && path.join("mappings").exists()
    })
}

/// The text of an attribute without blanks around; `None` when there is no such attribute.
fn attribute(path: &Path) -> Result<Option<String>, Errno> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(errno(&error)),
    }
}

/// The ids, strung together, and the sum of the unsafe shutdown counts of the modules under a file; `None` when it
/// does not lie on persistent memory that counts.
pub(crate) fn shutdowns(file: &File) -> Result<Option<(String, u64)>, Errno> {
    let Some(device) = sysfs_device(file)? else { return Ok(None) };
    region_of(&device)
        .map_or(Ok(None), |region| shutdowns_of(region, Path::new("/sys/bus/nd/devices")))
}

fn shutdowns_of(region: &Path, modules: &Path) -> Result<Option<(String, u64)>, Errno> {
    let count = attribute(&region.join("mappings"))?.and_then(|text| text.parse::<u32>().ok());
    let (mut ids, mut sum) = (String::new(), 0u64);
    for number in 0..count.unwrap_or(0) {
        let Some(mapping) = attribute(&region.join(format!("mapping{number}")))? else {
            return Ok(None);
        };
        let module = modules.join(mapping.split(',').next().unwrap_or(&mapping)).join("nfit");
        let id = attribute(&module.join("id"))?;
        let Some(shutdowns) = attribute(&module.join("dirty_shutdown"))? else { return Ok(None) };
        ids.push_str(&id.unwrap_or_default());
        sum = sum.wrapping_add(shutdowns.parse::<u64>().map_err(|_| Errno::EINVAL)?);
    }
    Ok((!ids.is_empty()).then_some((ids, sum)))
}

/// Ranges of a part that its device cannot read.
pub(crate) fn bad_blocks(file: &File) -> Result<Vec<BadBlock>, Errno> {
    let Some(device) = sysfs_device(file)? else { return Ok(Vec::new()) };
    let metadata = file.metadata().map_err(|error| errno(&error))?;
    if metadata.file_type().is_char_device() {
        let Some(region) = region_of(&device) else { return Ok(Vec::new()) };
        let bad = listed(&region.join("badblocks"))?;
        let start = |path: &Path| -> Result<Option<u64>, Errno> {
            let text = attribute(&path.join("resource"))?;
            let digits = text.as_deref().and_then(|text| text.strip_prefix("0x"));
            Ok(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()))
        };
        // Where the device begins in the region; only root may read it. Else every bad block counts.
        let from = match (start(region)?, start(&device)?) {
            (Some(region), Some(device)) if device >= region => device - region,
            _ => 0,
        };
        let from_start = |block: BadBlock| {
            let offset = block.offset.saturating_sub(from);
            let len = (block.offset + block.len).saturating_sub(from + offset);
            BadBlock { offset, len }
        };
        return Ok(bad.into_iter().map(from_start).filter(|block| block.len > 0).collect());
    }
    // A partition begins somewhere on its disk, which has the list.
    let (disk, start) = match attribute(&device.join("partition"))? {
        None => (device.as_path(), 0),
        Some(_) => {
            let start = attribute(&device.join("start"))?.and_then(|text| text.parse::<u64>().ok());
            (device.parent().unwrap_or(&device), start.unwrap_or(0) * SECTOR)
        }
    };
    let bad = listed(&disk.join("badblocks"))?;
    if bad.is_empty() {
        return Ok(bad);
    }
    let mut found = Vec::new();
    for extent in extents(file)? {
        for block in &bad {
            let from = extent.on_disk + start;
            let first = block.offset.max(from);
            let end = (block.offset + block.len).min(from + extent.len);
            if first < end {
                found.push(BadBlock { offset: extent.in_file + (first - from), len: end - first });
            }
        }
    }
    found.sort_unstable_by_key(|block| block.offset);
    Ok(found)
}

/// A list of sysfs: first sector and number of sectors in each line.
fn listed(path: &Path) -> Result<Vec<BadBlock>, Errno> {
    let Some(text) = attribute(path)? else { return Ok(Vec::new()) };
    text.lines()
        .map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
            match (numbers.next(), numbers.next()) {
                (Some(Ok(first)), Some(Ok(count))) => {
                    Ok(BadBlock { offset: first * SECTOR, len: count * SECTOR })
                }
                _ => Err(Errno::EINVAL),
            }
        })
        .collect()
}

/// A piece of a file on its disk, in bytes.
struct Extent {
    in_file: u64,
    on_disk: u64,
    len: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

const EXTENTS_AT_ONCE: usize = 64;

#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; EXTENTS_AT_ONCE],
}

fn extents(file: &File) -> Result<Vec<Extent>, Errno> {
    const FS_IOC_FIEMAP: libc::c_ulong = 0xC020_660B;
    const FIEMAP_FLAG_SYNC: u32 = 1;
    const FIEMAP_EXTENT_LAST: u32 = 1;
    let mut all = Vec::new();
    let mut start = 0;
    loop {
        let mut map = Fiemap {
            start,
            length: u64::MAX - start,
            flags: FIEMAP_FLAG_SYNC,
            mapped_extents: 0,
            extent_count: EXTENTS_AT_ONCE as u32,
            reserved: 0,
            extents: [FiemapExtent::default(); EXTENTS_AT_ONCE],
        };
        // SAFETY: the structure has the layout of the kernel and room for `extent_count` extents.
        if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) } != 0 {
            return Err(Errno::last());
        }
        let count = (map.mapped_extents as usize).min(EXTENTS_AT_ONCE);
        for extent in &map.extents[..count] {
            all.push(Extent {
                in_file: extent.logical,
                on_disk: extent.physical,
                len: extent.length,
            });
            start = extent.logical.saturating_add(extent.length);
            if extent.flags & FIEMAP_EXTENT_LAST != 0 {
                return Ok(all);
            }
        }
        if count == 0 {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_counts_of_a_region() {
        let sysfs = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = sysfs.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("region3/mappings", "2\n");
        write("region3/mapping0", "nmem1,0,1024,0\n");
        write("region3/mapping1", "nmem0,0,1024,1\n");
        for (name, id, count) in [("nmem0", "8089-a2", "5"), ("nmem1", "8089-a1", "2")] {
            write(&format!("bus/{name}/nfit/id"), id);
            write(&format!("bus/{name}/nfit/dirty_shutdown"), count);
        }
        let namespace = sysfs.path().join("region3/namespace3.0/block/pmem3");
        let region = region_of(&namespace).unwrap();
        let bus = sysfs.path().join("bus");
        assert_eq!(shutdowns_of(region, &bus), Ok(Some(("8089-a18089-a2".into(), 7))));
        fs::remove_file(bus.join("nmem1/nfit/dirty_shutdown")).unwrap();
        assert_eq!(shutdowns_of(region, &bus), Ok(None));
        assert_eq!(region_of(Path::new("/sys/devices/region/x")), None);
    }

    #[test]
    fn a_file_has_extents() {
        let mut file = tempfile::NamedTempFile::new_in(".").unwrap();
        io::Write::write_all(&mut file, &[1; 100_000]).unwrap();
        match extents(file.as_file()) {
            Ok(extents) => assert!(extents.iter().map(|extent| extent.len).sum::<u64>() >= 100_000),
            // Not every file system tells.
            Err(error) => assert_eq!(error, Errno::EOPNOTSUPP),
        }
        assert_eq!(bad_blocks(file.as_file()), Ok(Vec::new()));
    }
}
