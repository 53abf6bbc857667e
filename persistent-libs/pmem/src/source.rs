//! Where the bytes of a mapping come from.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use pmem_core::dax::{self, DaxDevice};
use pmem_core::errno::Errno;
use pmem_core::nvdimm::{Device, NdRegion, SYSTEM};
use pmem_core::sys::{self, Fd, FileStatus};

use crate::deep::Backing;
use crate::error::{Error, ErrorKind};

/// A file, a device-DAX node, or memory.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
    /// Keeps the descriptor open, unless somebody else does.
    _owner: Option<File>,
}

#[derive(Copy, Clone, Debug)]
enum Kind {
    Anonymous { size: usize },
    Regular { fd: Fd },
    Device { fd: Fd, device: DaxDevice },
}

impl Source {
    /// Memory of `size` bytes.
    #[must_use]
    pub fn anonymous(size: usize) -> Source {
        Source { kind: Kind::Anonymous { size }, _owner: None }
    }

    /// Opens a file or a device-DAX node for reading and writing.
    ///
    /// # Errors
    /// Those of `open`, and as for [`from_fd`](Self::from_fd).
    pub fn open(path: &Path) -> Result<Source, Error> {
        let opened = File::options().read(true).write(true).open(path);
        let file = opened.map_err(|error| {
            let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
            Error::new(ErrorKind::System(errno), "open").with_path(path)
        })?;
        Source::from_file(file).map_err(|error| error.with_path(path))
    }

    /// Takes an open file.
    ///
    /// # Errors
    /// As for [`from_fd`](Self::from_fd).
    pub fn from_file(file: File) -> Result<Source, Error> {
        let source = Source::from_fd(file.as_raw_fd())?;
        Ok(Source { _owner: Some(file), ..source })
    }

    /// Uses a descriptor that somebody else keeps open.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFileHandle`] when it is not open for reading,
    /// [`ErrorKind::InvalidFileType`] when it is neither a regular file nor device DAX, and those of
    /// reading sysfs.
    pub fn from_fd(number: RawFd) -> Result<Source, Error> {
        let bad_handle = || Error::new(ErrorKind::InvalidFileHandle, "source");
        // SAFETY: asks for flags; no memory is involved.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
        let is_readable = flags >= 0 && flags & libc::O_ACCMODE != libc::O_WRONLY;
        if number < 0 || !is_readable || flags & libc::O_PATH != 0 {
            return Err(bad_handle().detail(format!("descriptor {number}")));
        }
        let fd = Fd::from_raw(number);
        let status = sys::file_status(fd).map_err(Error::system("fstat"))?;
        let bad_type = || Error::new(ErrorKind::InvalidFileType, "source");
        let kind = if status.is_regular() {
            Kind::Regular { fd }
        } else {
            let device = dax::describe(&status).map_err(|errno| match errno {
                Errno::EINVAL => Error::new(ErrorKind::InvalidAlignmentValue, "device DAX"),
                errno => Error::new(ErrorKind::System(errno), "device DAX"),
            })?;
            Kind::Device { fd, device: device.ok_or_else(bad_type)? }
        };
        Ok(Source { kind, _owner: None })
    }

    pub(crate) fn fd(&self) -> Option<Fd> {
        match self.kind {
            Kind::Anonymous { .. } => None,
            Kind::Regular { fd } | Kind::Device { fd, .. } => Some(fd),
        }
    }

    /// The descriptor's number.
    ///
    /// # Errors
    /// [`ErrorKind::FileDescriptorNotSet`] for memory.
    pub fn raw_fd(&self) -> Result<RawFd, Error> {
        let fd = self.fd().ok_or_else(|| Error::new(ErrorKind::FileDescriptorNotSet, "source"))?;
        Ok(fd.raw())
    }

    pub(crate) fn is_device(&self) -> bool {
        matches!(self.kind, Kind::Device { .. })
    }

    /// Its present size in bytes.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn size(&self) -> Result<usize, Error> {
        let size = match self.kind {
            Kind::Anonymous { size } => return Ok(size),
            Kind::Device { device, .. } => device.size,
            Kind::Regular { .. } => self.status()?.map_or(0, |status| status.len),
        };
        usize::try_from(size).map_err(|_| Error::new(ErrorKind::System(Errno::EFBIG), "source"))
    }

    /// What offsets and lengths of mappings are multiples of.
    #[must_use]
    pub fn alignment(&self) -> usize {
        match self.kind {
            Kind::Device { device, .. } => device.align,
            Kind::Anonymous { .. } | Kind::Regular { .. } => sys::page_size(),
        }
    }

    fn status(&self) -> Result<Option<FileStatus>, Error> {
        let Some(fd) = self.fd() else { return Ok(None) };
        sys::file_status(fd).map(Some).map_err(Error::system("fstat"))
    }

    /// The device behind it.
    pub(crate) fn device(&self) -> Result<Option<Device>, Error> {
        Ok(self.status()?.map(|status| Device::behind(&status)))
    }

    /// The region of NVDIMMs that it lies on.
    ///
    /// # Errors
    /// Those of `fstat` and of reading sysfs.
    pub fn region(&self) -> Result<Option<NdRegion>, Error> {
        match self.device()? {
            Some(device) => SYSTEM.region_of(device).map_err(Error::system("sysfs")),
            None => Ok(None),
        }
    }

    pub(crate) fn backing(&self) -> Backing {
        match self.kind {
            Kind::Anonymous { .. } => Backing::Anonymous,
            Kind::Regular { .. } => Backing::File,
            Kind::Device { .. } => Backing::Device(self.region().ok().flatten()),
        }
    }

    fn region_or(&self, kind: ErrorKind, operation: &'static str) -> Result<NdRegion, Error> {
        self.region()?.ok_or_else(|| Error::new(kind, operation))
    }

    /// The identities of the NVDIMMs that it lies on, one after the other.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] when it is on none, or they have no identity.
    pub fn device_id(&self) -> Result<Vec<u8>, Error> {
        let unsupported = || Error::new(ErrorKind::NotSupported, "device id");
        let region = self.region_or(ErrorKind::NotSupported, "device id")?;
        let mut id = Vec::new();
        let collected = SYSTEM.device_id(region, |part| {
            id.extend_from_slice(part);
            Ok(())
        });
        collected.map_err(|errno| unsupported().detail(errno.to_string()))?;
        Ok(id)
    }

    /// How often the power failed before its NVDIMMs had stored what they buffered.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] when it is on none, or they do not tell.
    pub fn unsafe_shutdown_count(&self) -> Result<u64, Error> {
        let region = self.region_or(ErrorKind::NotSupported, "unsafe shutdown count")?;
        SYSTEM.unsafe_shutdown_count(region).map_err(|errno| {
            let error = Error::new(ErrorKind::NotSupported, "unsafe shutdown count");
            error.detail(format!("{errno}; reading it may take more privileges"))
        })
    }

    /// The NUMA node of its NVDIMMs.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for memory, [`ErrorKind::RegionNotFound`] when it is on no NVDIMM.
    pub fn numa_node(&self) -> Result<Option<u32>, Error> {
        match self.kind {
            Kind::Anonymous { .. } => Err(Error::new(ErrorKind::NotSupported, "NUMA node")),
            // Devices on other buses know it themselves.
            Kind::Device { device, .. } if self.region()?.is_none() => {
                Ok(device.numa_node.and_then(|node| u32::try_from(node).ok()))
            }
            _ => {
                let region = self.region_or(ErrorKind::RegionNotFound, "NUMA node")?;
                SYSTEM.numa_node(region).map_err(Error::system("NUMA node"))
            }
        }
    }
}
