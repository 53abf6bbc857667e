//! Device DAX: persistent or expanded memory as a character device, described by sysfs.
//!
//! Only the `dax` directory of the device is read, so devices without an NVDIMM bus (CXL,
//! firmware-reserved memory) work too.

use core::ffi::CStr;
use core::fmt::Write;

use crate::align::HUGE_PAGE_SIZE;
use crate::errno::Errno;
use crate::file;
use crate::fmt::StackBuf;
use crate::sys::{self, Fd, FileStatus};

/// What sysfs tells about a device-DAX node.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DaxDevice {
    /// Size in bytes.
    pub size: u64,
    /// What offsets and lengths of mappings must be multiples of, in bytes.
    pub align: usize,
    /// The NUMA node of the CPUs next to it.
    pub numa_node: Option<usize>,
    /// The NUMA node that its memory would be if it were ordinary memory.
    pub target_node: Option<usize>,
}

/// Describes the device behind a status; `None` when it is no device-DAX node.
///
/// # Errors
/// Those of reading sysfs; `EINVAL` when its texts make no sense.
pub fn describe(status: &FileStatus) -> Result<Option<DaxDevice>, Errno> {
    if !status.is_character_device() {
        return Ok(None);
    }
    describe_under(c"/sys", status.node)
}

/// `sysfs` is a parameter for the sake of tests.
fn describe_under(sysfs: &CStr, (major, minor): (u32, u32)) -> Result<Option<DaxDevice>, Errno> {
    let mut path = AttributePath::new(sysfs, major, minor);
    if !path.is_dax()? {
        return Ok(None);
    }
    let size = path.number("size")?.ok_or(Errno::ENOENT)?;
    // Older kernels keep the alignment one level further down; the oldest do not tell, and mean a
    // huge page.
    let align = match path.number("align")? {
        Some(align) => Some(align),
        None => path.number("device/align")?,
    };
    let align = align.map_or(Ok(HUGE_PAGE_SIZE), usize::try_from).map_err(|_| Errno::EINVAL)?;
    if size == 0 || !align.is_power_of_two() {
        return Err(Errno::EINVAL);
    }
    Ok(Some(DaxDevice {
        size,
        align,
        numa_node: path.node("numa_node")?,
        target_node: path.node("target_node")?,
    }))
}

/// Builds `<sysfs>/dev/char/<major>:<minor>/<attribute>`.
struct AttributePath {
    text: StackBuf<160>,
    directory: StackBuf<160>,
}

impl AttributePath {
    fn new(sysfs: &CStr, major: u32, minor: u32) -> AttributePath {
        let mut directory = StackBuf::new();
        directory.push_bytes(sysfs.to_bytes());
        let _ = write!(directory, "/dev/char/{major}:{minor}/");
        AttributePath { text: StackBuf::new(), directory }
    }

    fn of(&mut self, attribute: &str) -> Result<&CStr, Errno> {
        self.text.clear();
        self.text.push_bytes(self.directory.as_bytes());
        self.text.push_bytes(attribute.as_bytes());
        self.text.as_c_str().ok_or(Errno::ENAMETOOLONG)
    }

    /// The link `subsystem` names the class or bus; `/dev/null` has another one, and some nodes
    /// have none.
    fn is_dax(&mut self) -> Result<bool, Errno> {
        let mut target = [0; 256];
        match sys::read_link_at(Fd::CURRENT_DIRECTORY, self.of("subsystem")?, &mut target) {
            Ok(len) => {
                let target = target.get(..len).unwrap_or(&[]);
                Ok(target.rsplit(|&byte| byte == b'/').next() == Some(b"dax"))
            }
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn attribute<'b>(
        &mut self,
        name: &str,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, Errno> {
        match file::read_small(self.of(name)?, buffer) {
            Ok(text) => Ok(Some(text.trim_ascii())),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// A number in decimal digits; `None` when there is no such attribute.
    fn number(&mut self, name: &str) -> Result<Option<u64>, Errno> {
        let mut buffer = [0; 32];
        match self.attribute(name, &mut buffer)? {
            Some(text) => file::parse_decimal(text).map(Some).ok_or(Errno::EINVAL),
            None => Ok(None),
        }
    }

    /// A node; sysfs writes -1 for none.
    fn node(&mut self, name: &str) -> Result<Option<usize>, Errno> {
        let mut buffer = [0; 32];
        let text = self.attribute(name, &mut buffer)?;
        Ok(text.and_then(file::parse_decimal).and_then(|node| usize::try_from(node).ok()))
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests;
