use super::*;
use std::ffi::CString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{format, fs, process};

/// A sysfs tree with one character device 252:7.
struct FakeSysfs(PathBuf);

impl FakeSysfs {
    fn new(name: &str) -> FakeSysfs {
        let root = std::env::temp_dir().join(format!("pmem-core-sysfs-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("dev/char/252:7")).unwrap();
        FakeSysfs(root)
    }

    fn device(&self) -> PathBuf {
        self.0.join("dev/char/252:7")
    }

    fn subsystem(self, target: &str) -> FakeSysfs {
        symlink(target, self.device().join("subsystem")).unwrap();
        self
    }

    fn attribute(self, name: &str, text: &str) -> FakeSysfs {
        let path = self.device().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn describe(&self) -> Result<Option<DaxDevice>, Errno> {
        describe_under(&c_path(&self.0), (252, 7))
    }
}

impl Drop for FakeSysfs {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

#[test]
fn a_bus_device_of_a_current_kernel() {
    let sysfs = FakeSysfs::new("bus")
        .subsystem("../../../../../../../../bus/dax")
        .attribute("size", "135289372672\n")
        .attribute("align", "1073741824\n")
        .attribute("numa_node", "0\n")
        .attribute("target_node", "2\n");
    let expected = DaxDevice {
        size: 135_289_372_672,
        align: 1 << 30,
        numa_node: Some(0),
        target_node: Some(2),
    };
    assert_eq!(sysfs.describe(), Ok(Some(expected)));
}

#[test]
fn a_class_device_of_an_older_kernel() {
    let sysfs = FakeSysfs::new("class")
        .subsystem("../../../../class/dax")
        .attribute("size", "2097152\n")
        .attribute("device/align", "4096\n")
        .attribute("numa_node", "-1\n");
    let expected = DaxDevice { size: 2 << 20, align: 4096, numa_node: None, target_node: None };
    assert_eq!(sysfs.describe(), Ok(Some(expected)));
}

#[test]
fn without_alignment_it_is_a_huge_page() {
    let sysfs = FakeSysfs::new("old").subsystem("/x/dax").attribute("size", "4194304");
    assert_eq!(sysfs.describe().unwrap().unwrap().align, HUGE_PAGE_SIZE);
}

#[test]
fn other_devices_are_not_dax() {
    assert_eq!(FakeSysfs::new("none").describe(), Ok(None));
    assert_eq!(FakeSysfs::new("mem").subsystem("../../../../class/mem").describe(), Ok(None));
    assert_eq!(FakeSysfs::new("suffix").subsystem("../../../../class/notdax").describe(), Ok(None));
    let null =
        sys::open_at(Fd::CURRENT_DIRECTORY, c"/dev/null", sys::OpenFlags::new(sys::Access::Path))
            .unwrap();
    assert_eq!(describe(&sys::file_status(null).unwrap()), Ok(None));
    // SAFETY: opened above.
    unsafe { sys::close(null) };
}

#[test]
fn nonsense_is_an_error() {
    let dax = |name| FakeSysfs::new(name).subsystem("../bus/dax");
    assert_eq!(dax("nosize").describe(), Err(Errno::ENOENT));
    assert_eq!(dax("text").attribute("size", "big\n").describe(), Err(Errno::EINVAL));
    assert_eq!(dax("zero").attribute("size", "0\n").describe(), Err(Errno::EINVAL));
    let odd = dax("odd").attribute("size", "4096\n").attribute("align", "3000\n");
    assert_eq!(odd.describe(), Err(Errno::EINVAL));
}
