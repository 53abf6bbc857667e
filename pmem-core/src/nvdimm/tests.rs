use super::*;
use std::ffi::CString;
use std::os::unix::fs::symlink;
use std::path::PathBuf as Path;
use std::vec::Vec;
use std::{format, fs, process};

struct Tree(Path);

impl Tree {
    fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("pmem-core-nd-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("dev/block")).unwrap();
        Tree(root)
    }

    fn file(self, path: &str, text: &str) -> Tree {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn region(self, number: u32, attribute: &str, text: &str) -> Tree {
        self.file(&format!("bus/nd/devices/region{number}/{attribute}"), text)
    }

    fn root(&self) -> CString {
        CString::new(self.0.to_str().unwrap()).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_region_is_in_the_path_of_the_device() {
    let tree = Tree::new("path");
    let target = "../../devices/LNXSYSTM:00/ACPI0012:00/ndbus0/region3/namespace3.0/block/pmem3";
    symlink(target, tree.0.join("dev/block/259:4")).unwrap();
    symlink("../../devices/virtual/block/loop0", tree.0.join("dev/block/7:0")).unwrap();
    let root = tree.root();
    let sysfs = Sysfs::at(&root);
    assert_eq!(sysfs.region_of(Device::Block(259, 4)), Ok(Some(NdRegion(3))));
    assert_eq!(sysfs.region_of(Device::Block(7, 0)), Ok(None));
    assert_eq!(sysfs.region_of(Device::Block(0, 55)), Ok(None));
    assert_eq!(sysfs.region_of(Device::Character(1, 1)), Ok(None));
    assert_eq!(region_in_path(b"a/ndbus0/region/x"), None);
    assert_eq!(region_in_path(b"a/ndbus0/region99999999999/x"), None);
    assert_eq!(region_in_path(b"a/region1/x"), None);
    // CXL regions are no regions of the NVDIMM bus.
    assert_eq!(region_in_path(b"../devices/platform/ACPI0017:00/root0/region0/dax_region0"), None);
}

#[test]
fn caches_are_safe_only_if_all_regions_say_so() {
    let of = |tree: &Tree| Sysfs::at(&tree.root()).auto_flush();
    let tree = Tree::new("domain");
    assert_eq!(of(&tree), Ok(false), "no bus");
    let tree = tree.file("bus/nd/devices/ndbus0/provider", "x");
    assert_eq!(of(&tree), Ok(false), "no region");
    let tree = tree.region(0, "persistence_domain", "cpu_cache\n");
    assert_eq!(of(&tree), Ok(true));
    let tree = tree.region(1, "persistence_domain", "cpu_cache\n");
    assert_eq!(of(&tree), Ok(true));
    let tree = tree.region(7, "persistence_domain", "memory_controller\n");
    assert_eq!(of(&tree), Ok(false));
    let tree = tree.region(8, "size", "1");
    fs::remove_file(tree.0.join("bus/nd/devices/region7/persistence_domain")).unwrap();
    assert_eq!(of(&tree), Err(Errno::ENOENT), "a region that does not say");
}

#[test]
fn deep_flushes() {
    let tree = Tree::new("deep").region(0, "deep_flush", "1\n").region(1, "deep_flush", "0\n");
    let tree = tree.region(2, "size", "1\n");
    let root = tree.root();
    let sysfs = Sysfs::at(&root);
    let text = |number| {
        fs::read_to_string(tree.0.join(format!("bus/nd/devices/region{number}/deep_flush")))
    };
    for number in 0..3 {
        assert_eq!(sysfs.deep_flush(NdRegion(number)), Ok(()), "{number}");
    }
    assert_eq!(text(0).unwrap(), "1\n");
    assert_eq!(text(1).unwrap(), "0\n", "not needed, not written");
    // Only root may write to it, so any other text means the same.
    fs::write(tree.0.join("bus/nd/devices/region0/deep_flush"), "2\n").unwrap();
    assert_eq!(sysfs.deep_flush(NdRegion(0)), Ok(()));
    assert_eq!(text(0).unwrap(), "1\n", "written");
}

#[test]
fn counts_and_identities_of_all_dimms() {
    let tree = Tree::new("dimms")
        .region(4, "mappings", "2\n")
        .region(4, "mapping0", "nmem0,0,536870912,0\n")
        .region(4, "mapping1", "nmem5,0,536870912,1\n")
        .region(4, "numa_node", "1\n")
        .region(5, "numa_node", "-1\n")
        .file("bus/nd/devices/nmem0/nfit/dirty_shutdown", "3\n")
        .file("bus/nd/devices/nmem0/nfit/id", "8680-56341200\n")
        .file("bus/nd/devices/nmem5/nfit/id", "8680-57341200\n");
    let root = tree.root();
    let sysfs = Sysfs::at(&root);
    let region = NdRegion(4);
    assert_eq!(sysfs.unsafe_shutdown_count(region), Err(Errno::ENOENT), "one does not count");
    let tree = tree.file("bus/nd/devices/nmem5/nfit/dirty_shutdown", "4\n");
    assert_eq!(sysfs.unsafe_shutdown_count(region), Ok(7));
    let mut id = Vec::new();
    let collected = sysfs.device_id(region, |part| {
        id.extend_from_slice(part);
        Ok(())
    });
    assert_eq!(collected, Ok(()));
    assert_eq!(id, b"8680-563412008680-57341200");
    assert_eq!(sysfs.numa_node(region), Ok(Some(1)));
    assert_eq!(sysfs.numa_node(NdRegion(5)), Ok(None));
    let tree = tree.region(4, "mapping1", "../../etc,0\n");
    assert_eq!(sysfs.unsafe_shutdown_count(region), Err(Errno::EINVAL));
    drop(tree);
}

#[test]
fn bad_blocks_of_files_and_devices() {
    let tree = Tree::new("bad").file("dev/block/259:1/badblocks", "8 2\n");
    let collect = |tree: &Tree, device| {
        let mut bad = Vec::new();
        Sysfs::at(&tree.root()).for_each_bad_range(device, |range| bad.push(range)).map(|()| bad)
    };
    let range = |offset, len| BadRange { offset, len };
    // A directory here, a link in the real one: it is on no region, and has a list all the same.
    assert_eq!(collect(&tree, Device::Block(259, 1)), Ok(std::vec![range(4096, 1024)]));
    assert_eq!(collect(&tree, Device::Block(8, 1)), Ok(std::vec![]));
    // Device DAX starts behind the head of its namespace.
    let tree = tree
        .file("devices/ndbus0/region2/dax2.0/resource", "0x100200000\n")
        .region(2, "resource", "0x100000000\n")
        .region(2, "badblocks", "0 8\n4095 2\n8192 1\n");
    fs::create_dir_all(tree.0.join("dev/char")).unwrap();
    symlink("../../devices/ndbus0/region2/dax2.0", tree.0.join("dev/char/252:0")).unwrap();
    let expected = std::vec![range(0, 512), range(8192 * 512 - (2 << 20), 512)];
    assert_eq!(collect(&tree, Device::Character(252, 0)), Ok(expected));
}
