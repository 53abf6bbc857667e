//! What the kernel tells about NVDIMMs: which region of them a file or a device lies on, whether
//! caches are in the power-fail domain, unsafe shutdowns, deep flushes, bad blocks.
//!
//! Everything comes from sysfs. A file on an ordinary disk, and memory that is not on the NVDIMM bus
//! (CXL), has no region; that is an answer, not an error.

mod bad_blocks;

pub use bad_blocks::{BadRange, bad_ranges};

use core::ffi::CStr;
use core::fmt::Write;

use crate::errno::Errno;
use crate::file;
use crate::fmt::StackBuf;
use crate::sys::{self, Access, Fd, FileStatus, OpenFlags};

/// A tree of the form of sysfs.
#[derive(Copy, Clone, Debug)]
pub struct Sysfs<'a>(&'a CStr);

/// That of the system.
pub const SYSTEM: Sysfs<'static> = Sysfs(c"/sys");

/// A device as sysfs lists it below `dev`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// A block device, as (major, minor).
    Block(u32, u32),
    /// A character device, as (major, minor).
    Character(u32, u32),
}

impl Device {
    /// The device that holds a file, or that a device node stands for.
    #[must_use]
    pub fn behind(status: &FileStatus) -> Device {
        if status.is_character_device() {
            Device::Character(status.node.0, status.node.1)
        } else {
            let (major, minor) = status.device_numbers();
            Device::Block(major, minor)
        }
    }
}

/// The number of a region: a set of NVDIMMs that the memory is interleaved over.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct NdRegion(pub u32);

type PathBuf = StackBuf<256>;

impl<'a> Sysfs<'a> {
    /// A tree elsewhere, for tests.
    #[must_use]
    pub const fn at(root: &'a CStr) -> Sysfs<'a> {
        Sysfs(root)
    }

    fn path(&self, rest: core::fmt::Arguments<'_>) -> PathBuf {
        let mut path = PathBuf::new();
        path.push_bytes(self.0.to_bytes());
        let _ = path.write_fmt(rest);
        path
    }

    fn device_path(&self, device: Device, attribute: &str) -> PathBuf {
        match device {
            Device::Block(major, minor) => {
                self.path(format_args!("/dev/block/{major}:{minor}{attribute}"))
            }
            Device::Character(major, minor) => {
                self.path(format_args!("/dev/char/{major}:{minor}{attribute}"))
            }
        }
    }

    /// The region behind a device; `None` when it is not on the NVDIMM bus.
    ///
    /// # Errors
    /// Those of `readlink`, except `ENOENT` and `EINVAL`.
    pub fn region_of(&self, device: Device) -> Result<Option<NdRegion>, Errno> {
        let mut path = self.device_path(device, "");
        let mut target = [0; 512];
        match sys::read_link_at(Fd::CURRENT_DIRECTORY, c_path(&mut path)?, &mut target) {
            Ok(len) => Ok(region_in_path(target.get(..len).unwrap_or(&[]))),
            // tmpfs and the like have device numbers that no device has.
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether stores are durable without a flush (eADR): all regions say that the caches of the
    /// processors are in the power-fail domain, and there is one.
    ///
    /// # Errors
    /// Those of reading sysfs. A missing bus is no error.
    pub fn auto_flush(&self) -> Result<bool, Errno> {
        let mut devices = self.path(format_args!("/bus/nd/devices"));
        let mut all = None;
        for_each_entry(c_path(&mut devices)?, |name| {
            if all == Some(false) || !contains(name, b"region") {
                return Ok(());
            }
            let mut path = self.path(format_args!("/bus/nd/devices/"));
            path.push_bytes(name);
            path.push_bytes(b"/persistence_domain");
            let mut buffer = [0; 64];
            let domain = file::read_small(c_path(&mut path)?, &mut buffer)?;
            all = Some(domain.trim_ascii() == b"cpu_cache");
            Ok(())
        })?;
        Ok(all == Some(true))
    }

    fn region_attribute(&self, region: NdRegion, attribute: &str) -> PathBuf {
        self.path(format_args!("/bus/nd/devices/region{}/{attribute}", region.0))
    }

    /// Pushes what the memory controllers of a region buffer to the medium. Nothing to do where the
    /// platform says so, or does not say how.
    ///
    /// # Errors
    /// Those of writing to sysfs; `EACCES` when only root may.
    pub fn deep_flush(&self, region: NdRegion) -> Result<(), Errno> {
        let mut path = self.region_attribute(region, "deep_flush");
        let mut buffer = [0; 32];
        match file::read_small(c_path(&mut path)?, &mut buffer) {
            Ok(text) if text.trim_ascii() == b"0" => return Ok(()),
            Err(Errno::ENOENT) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OpenFlags::new(Access::Write);
        let file = sys::open_at(Fd::CURRENT_DIRECTORY, c_path(&mut path)?, flags)?;
        let written = sys::write(file, b"1");
        // SAFETY: opened above and used nowhere else.
        unsafe { sys::close(file) };
        written.map(|_| ())
    }

    /// The NUMA node next to a region; `None` when the kernel knows none.
    ///
    /// # Errors
    /// Those of reading sysfs.
    pub fn numa_node(&self, region: NdRegion) -> Result<Option<u32>, Errno> {
        let mut path = self.region_attribute(region, "numa_node");
        let mut buffer = [0; 32];
        let text = file::read_small(c_path(&mut path)?, &mut buffer)?.trim_ascii();
        Ok(file::parse_decimal(text).and_then(|node| u32::try_from(node).ok()))
    }

    /// Gives the name of each NVDIMM of a region, for example `nmem0`, to `visit`.
    fn for_each_dimm(
        &self,
        region: NdRegion,
        mut visit: impl FnMut(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut buffer = [0; 128];
        let mut path = self.region_attribute(region, "mappings");
        let text = file::read_small(c_path(&mut path)?, &mut buffer)?.trim_ascii();
        let count = file::parse_decimal(text).ok_or(Errno::EINVAL)?;
        for number in 0..count {
            let mut path =
                self.path(format_args!("/bus/nd/devices/region{}/mapping{number}", region.0));
            let text = file::read_small(c_path(&mut path)?, &mut buffer)?;
            let name = text.trim_ascii().split(|&byte| byte == b',').next().unwrap_or(&[]);
            if name.is_empty() || name.contains(&b'/') {
                return Err(Errno::EINVAL);
            }
            visit(name)?;
        }
        Ok(())
    }

    fn dimm_attribute(&self, dimm: &[u8], attribute: &[u8]) -> PathBuf {
        let mut path = self.path(format_args!("/bus/nd/devices/"));
        path.push_bytes(dimm);
        path.push_bytes(b"/nfit/");
        path.push_bytes(attribute);
        path
    }

    /// How often the power failed before the NVDIMMs of a region had stored what they buffered, in
    /// all.
    ///
    /// # Errors
    /// `ENOENT` when an NVDIMM does not count, `EACCES` when only root may know, `EINVAL` when it
    /// says something else than a number.
    pub fn unsafe_shutdown_count(&self, region: NdRegion) -> Result<u64, Errno> {
        let mut sum = 0u64;
        self.for_each_dimm(region, |dimm| {
            let mut path = self.dimm_attribute(dimm, b"dirty_shutdown");
            let mut buffer = [0; 32];
            let text = file::read_small(c_path(&mut path)?, &mut buffer)?.trim_ascii();
            let count = file::parse_decimal(text).ok_or(Errno::EINVAL)?;
            sum = sum.saturating_add(count);
            Ok(())
        })?;
        Ok(sum)
    }

    /// Gives the bad ranges of a device to `visit`, counted from the start of the device.
    ///
    /// # Errors
    /// Those of reading sysfs. A device without a list has no bad range.
    pub fn for_each_bad_range(
        &self,
        device: Device,
        mut visit: impl FnMut(BadRange),
    ) -> Result<(), Errno> {
        // The kernel's list fits into a page.
        let mut buffer = [0; 4096 + 1];
        let mut path = match (device, self.region_of(device)?) {
            // A node of device DAX has no list of its own.
            (Device::Character(..), Some(region)) => self.region_attribute(region, "badblocks"),
            (Device::Character(..), None) => return Ok(()),
            (Device::Block(..), _) => self.device_path(device, "/badblocks"),
        };
        let text = match file::read_small(c_path(&mut path)?, &mut buffer) {
            Ok(text) => text,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let shift = match device {
            Device::Block(..) => 0,
            Device::Character(..) => self.place_in_region(device)?,
        };
        for range in bad_ranges(text) {
            // What ends before the device is not in it.
            let end = range.offset + range.len;
            if end > shift {
                let offset = range.offset.saturating_sub(shift);
                visit(BadRange { offset, len: end - shift - offset });
            }
        }
        Ok(())
    }

    /// How far from the start of its region the bytes of a character device begin.
    fn place_in_region(&self, device: Device) -> Result<u64, Errno> {
        let Some(region) = self.region_of(device)? else { return Ok(0) };
        let mut own = self.device_path(device, "/resource");
        let mut whole = self.region_attribute(region, "resource");
        let own = hexadecimal(c_path(&mut own)?)?;
        let whole = hexadecimal(c_path(&mut whole)?)?;
        own.checked_sub(whole).ok_or(Errno::EINVAL)
    }

    /// The identities of the NVDIMMs of a region, one after the other, to `out`.
    ///
    /// # Errors
    /// Those of reading sysfs, and of `out`.
    pub fn device_id(
        &self,
        region: NdRegion,
        mut out: impl FnMut(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.for_each_dimm(region, |dimm| {
            let mut path = self.dimm_attribute(dimm, b"id");
            let mut buffer = [0; 128];
            out(file::read_small(c_path(&mut path)?, &mut buffer)?.trim_ascii())
        })
    }
}

/// Reads a number of the form `0x2a`.
fn hexadecimal(path: &CStr) -> Result<u64, Errno> {
    let mut buffer = [0; 32];
    let text = file::read_small(path, &mut buffer)?.trim_ascii();
    let digits = text.strip_prefix(b"0x").and_then(|digits| str::from_utf8(digits).ok());
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(Errno::EINVAL)
}

fn c_path(path: &mut PathBuf) -> Result<&CStr, Errno> {
    path.as_c_str().ok_or(Errno::ENAMETOOLONG)
}

/// The region in the path of a device: the component below the bus, `.../ndbus0/region3/...`.
fn region_in_path(path: &[u8]) -> Option<NdRegion> {
    let mut below_bus = false;
    for component in path.split(|&byte| byte == b'/') {
        if below_bus && let Some(number) = component.strip_prefix(b"region") {
            let number = file::parse_decimal(number)?;
            return u32::try_from(number).ok().map(NdRegion);
        }
        below_bus = component.starts_with(b"ndbus");
    }
    None
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Gives the name of each entry of a directory to `visit`; nothing when there is no such directory.
fn for_each_entry(
    path: &CStr,
    mut visit: impl FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let flags = OpenFlags::new(Access::Read).directory();
    let directory = match sys::open_at(Fd::CURRENT_DIRECTORY, path, flags) {
        Ok(directory) => directory,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut buffer = [0; 2048];
    let result = loop {
        match sys::read_directory(directory, &mut buffer) {
            Ok(0) => break Ok(()),
            Ok(len) => {
                let entries = names(buffer.get(..len).unwrap_or(&[]));
                if let Some(errno) = entries.into_iter().find_map(|name| visit(name).err()) {
                    break Err(errno);
                }
            }
            Err(errno) => break Err(errno),
        }
    };
    // SAFETY: opened above and used nowhere else.
    unsafe { sys::close(directory) };
    result
}

/// The names in records of `getdents64`: the length of a record is at 16, its name at 19.
fn names(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes([*records.get(16)?, *records.get(17)?]));
        let (record, rest) = records.split_at_checked(len.max(20))?;
        records = rest;
        record.get(19..)?.split(|&byte| byte == 0).next()
    })
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests;
