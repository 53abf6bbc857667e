//! What the machine has, and pools on it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use vmem::{Error, HugePageSize, OpenMode, Pool, PoolBuilder};

/// Programs of `tests/c` that the tests run; compiled before the machine starts.
pub(crate) const C_PROGRAMS: &[&str] = &["fork"];

/// As [`C_PROGRAMS`], of those that call libvmem.
pub(crate) const VMEM_PROGRAMS: &[&str] = &["vmem", "vmem_device"];

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const HUGE_PAGE: usize = 2 * MIB;

/// The user that quotas are for; there is no need for it to have a name.
pub(crate) const SOMEBODY: u32 = 4711;

fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")).into()
}

/// Mount point of the ext4 with DAX.
pub(crate) fn ext4() -> PathBuf {
    variable("DAXVM_PMEM0")
}

/// Mount point of the XFS with DAX.
pub(crate) fn xfs() -> PathBuf {
    variable("DAXVM_PMEM1")
}

/// The device-DAX node.
pub(crate) fn device() -> PathBuf {
    variable("DAXVM_DAX2")
}

/// The block device below the file system mounted at `point`.
pub(crate) fn block_device(point: &Path) -> PathBuf {
    variable(if point == ext4() { "DAXVM_BLK0" } else { "DAXVM_BLK1" })
}

/// Size of the device-DAX node as sysfs has it.
pub(crate) fn device_size() -> usize {
    let name = device().file_name().expect("a node has a name").to_owned();
    let path = Path::new("/sys/bus/dax/devices").join(name).join("size");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().parse().expect("a number of bytes")
}

/// Where a pool can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Ext4Directory,
    XfsDirectory,
    Ext4File,
    XfsFile,
    Device,
    HugePages,
}

impl Place {
    pub(crate) const ALL: [Place; 6] = [
        Place::Ext4Directory,
        Place::XfsDirectory,
        Place::Ext4File,
        Place::XfsFile,
        Place::Device,
        Place::HugePages,
    ];

    /// Directory of a place in a file system.
    pub(crate) fn directory(self) -> Option<PathBuf> {
        match self {
            Place::Ext4Directory | Place::Ext4File => Some(ext4()),
            Place::XfsDirectory | Place::XfsFile => Some(xfs()),
            Place::Device | Place::HugePages => None,
        }
    }

    /// What space is taken and given back by.
    pub(crate) fn granule(self) -> usize {
        match self {
            Place::Device | Place::HugePages => HUGE_PAGE,
            _ => 4096,
        }
    }

    /// Makes a pool there. The name of a named file is taken away at once, so that nothing stays behind.
    pub(crate) fn try_make(self, builder: &PoolBuilder) -> Result<Pool, Error> {
        match self {
            Place::Ext4Directory => builder.in_directory(ext4()),
            Place::XfsDirectory => builder.in_directory(xfs()),
            Place::Ext4File | Place::XfsFile => {
                let path = self.directory().expect("a file").join("pool");
                let pool = builder.on_file(&path, OpenMode::CreateNew);
                if pool.is_ok() {
                    fs::remove_file(&path).expect("the file of the pool");
                }
                pool
            }
            Place::Device => builder.on_device(device()),
            Place::HugePages => builder.memory_file(Some(HugePageSize::Mib2)),
        }
    }

    /// Makes a pool of `mib` MiB; on the device the pool has the size of the device.
    pub(crate) fn pool(self, mib: usize) -> Pool {
        self.make(&Pool::builder().size(mib * MIB))
    }

    /// As [`Place::try_make`], where that must succeed.
    pub(crate) fn make(self, builder: &PoolBuilder) -> Pool {
        self.try_make(builder).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}
