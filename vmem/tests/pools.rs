//! Pools in all places, and what is said when there is none.
#![cfg(not(miri))]

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};
use vmem::{
    Error, Harden, HugePageSize, HugePages, NodeMask, NumaPolicy, OpenMode, Pool, PurgePolicy,
};

const MIB: usize = 1 << 20;

/// A directory of its own for a test, on tmpfs; removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = PathBuf::from(format!("/dev/shm/vmem-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn entries(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Blocks of many sizes, written and read back; everything is free again afterwards.
fn exercise(pool: &Pool) {
    let mut blocks = Vec::new();
    for round in 0..3u8 {
        for size in [0, 1, 8, 100, 5000, 70_000, MIB] {
            let block = pool.alloc(size).expect("a pool of 16 MiB has room for this");
            assert!(pool.contains(block));
            // SAFETY: a live block of at least this size.
            unsafe {
                assert!(pool.usable_size(block) >= size);
                block.write_bytes(round, size);
            }
            blocks.push((block, size, round));
        }
    }
    for (block, size, round) in blocks {
        // SAFETY: live blocks of these sizes; freed once.
        unsafe {
            let bytes = std::slice::from_raw_parts(block.as_ptr(), size);
            assert!(bytes.iter().all(|byte| *byte == round));
            let block = pool.realloc(block, size + 100).expect("there is room");
            pool.free(block);
        }
    }
    let zeroed = pool.alloc_zeroed(70_000).expect("there is room");
    // SAFETY: a live block of this size.
    unsafe {
        let bytes = std::slice::from_raw_parts(zeroed.as_ptr(), 70_000);
        assert!(bytes.iter().all(|byte| *byte == 0));
        pool.free(zeroed);
    }
    assert_eq!(pool.stats().allocated_bytes, 0);
    pool.check().unwrap();
}

#[test]
fn in_a_directory() {
    let directory = Directory::new("directory");
    let pool = Pool::in_directory(&directory.0, 16 * MIB).unwrap();
    exercise(&pool);
    assert_eq!(directory.entries(), 0, "the file has no name");
    assert_eq!(pool.stats().pool_bytes, 16 * MIB);
    assert_eq!(pool.range().len(), 16 * MIB);
}

#[test]
fn a_size_in_bytes_is_rounded_up_to_pages() {
    let pool = Pool::in_directory("/dev/shm", 14 * MIB + 1).unwrap();
    assert_eq!(pool.stats().pool_bytes, 14 * MIB + 4096);
}

#[test]
fn on_a_named_file() {
    let directory = Directory::new("file");
    let path = directory.path("pool");
    let builder = Pool::builder().size(16 * MIB);
    let pool = builder.on_file(&path, OpenMode::CreateNew).unwrap();
    exercise(&pool);
    assert_eq!(fs::metadata(&path).unwrap().len(), 16 << 20);

    let busy = builder.on_file(&path, OpenMode::Existing).unwrap_err();
    assert!(matches!(&busy, Error::InUse { path: p, .. } if *p == path), "{busy}");
    drop(pool);
    let exists = builder.on_file(&path, OpenMode::CreateNew).unwrap_err();
    assert_eq!((exists.operation(), exists.errno()), ("open", libc::EEXIST));
    // Without a size it is as long as the file.
    let pool = Pool::builder().on_file(&path, OpenMode::Existing).unwrap();
    assert_eq!(pool.stats().pool_bytes, 16 * MIB);
    exercise(&pool);
    drop(pool);
    let pool = Pool::builder().size(20 * MIB).on_file(&path, OpenMode::Create).unwrap();
    assert_eq!(pool.stats().pool_bytes, 20 * MIB);
    exercise(&pool);
}

#[test]
fn a_named_file_that_does_not_do() {
    let directory = Directory::new("no-file");
    let builder = Pool::builder().size(16 * MIB);
    let missing = builder.on_file(directory.path("x"), OpenMode::Existing).unwrap_err();
    assert_eq!(missing.errno(), libc::ENOENT);
    let no_file = builder.on_file(&directory.0, OpenMode::Existing).unwrap_err();
    assert_eq!(no_file.remedy(), "name a regular file");
    let no_file = builder.on_file("/dev/null", OpenMode::Create).unwrap_err();
    assert_eq!(no_file.path(), Some("/dev/null".as_ref()));
    // One that is too small says how large it is.
    fs::write(directory.path("small"), [0; 8192]).unwrap();
    let small = Pool::builder().on_file(directory.path("small"), OpenMode::Existing).unwrap_err();
    assert_eq!(small, Error::Size { size: 8192 });
    fs::write(directory.path("empty"), []).unwrap();
    let empty = Pool::builder().on_file(directory.path("empty"), OpenMode::Existing).unwrap_err();
    assert_eq!(empty, Error::Size { size: 0 });
    let unsized_new = Pool::builder().on_file(directory.path("new"), OpenMode::Create);
    assert_eq!(unsized_new.unwrap_err(), Error::Size { size: 0 });
    assert_eq!(directory.entries(), 2, "nothing was left behind");
}

#[test]
fn a_file_that_was_made_for_nothing_is_removed() {
    let directory = Directory::new("removed");
    let size = larger_than_shm();
    let path = directory.path("pool");
    let builder = Pool::builder().size(size).prealloc(true);
    let error = builder.on_file(&path, OpenMode::CreateNew).unwrap_err();
    assert!(matches!(&error, Error::NoSpace { path: Some(p), .. } if *p == path), "{error}");
    assert_eq!((error.errno(), directory.entries()), (libc::ENOSPC, 0));
    let error = builder.in_directory(&directory.0).unwrap_err();
    assert_eq!((error.errno(), error.path()), (libc::ENOSPC, Some(&*directory.0)));
}

/// More bytes than /dev/shm can have.
fn larger_than_shm() -> usize {
    // SAFETY: zero is a valid value of this plain structure, which the call then fills.
    let status = unsafe {
        let mut status: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(c"/dev/shm".as_ptr(), &raw mut status), 0);
        status
    };
    let bytes = status.f_blocks as usize * status.f_frsize as usize;
    assert!(bytes > 0, "/dev/shm has a size limit");
    bytes + 64 * MIB
}

#[test]
fn directories_that_do_not_do() {
    let directory = Directory::new("directories");
    let file = directory.path("file");
    fs::write(&file, "x").unwrap();
    symlink(directory.path("loop"), directory.path("loop")).unwrap();
    let long = directory.path(&"long/".repeat(1000));
    for (path, errno, remedy) in [
        ("/nowhere/at/all".into(), libc::ENOENT, "make the directory, or name one that exists"),
        (file, libc::ENOTDIR, "name a directory, not a file"),
        (directory.path("loop"), libc::ELOOP, "name another place for the pool"),
        (long, libc::ENAMETOOLONG, "use a shorter path"),
        ("zero\0byte".into(), libc::EINVAL, "name another place for the pool"),
        ("".into(), libc::ENOENT, "make the directory, or name one that exists"),
    ] {
        let path: PathBuf = path;
        let error = Pool::in_directory(&path, 16 * MIB).unwrap_err();
        assert!(matches!(&error, Error::Open { path: p, .. } if *p == path), "{error}");
        assert_eq!((error.operation(), error.errno()), ("open", errno), "{error}");
        assert_eq!(error.remedy(), remedy, "{error}");
    }
    // /proc is a directory in which nobody can make files, not even root.
    let error = Pool::in_directory("/proc", 16 * MIB).unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error}");
}

#[test]
fn a_directory_without_permission() {
    // SAFETY: no arguments, cannot fail.
    let user = unsafe { libc::geteuid() };
    let directory = Directory::new("closed");
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o555)).unwrap();
    let result = Pool::in_directory(&directory.0, 16 * MIB);
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    if user == 0 {
        // Root may write everywhere: then the pool must work.
        exercise(&result.unwrap());
    } else {
        let error = result.unwrap_err();
        assert_eq!(error.errno(), libc::EACCES);
        assert_eq!(error.remedy(), "get permission to write to the directory, or name another");
    }
}

#[test]
fn sizes_that_no_pool_has() {
    for size in [1, 14 * MIB - 1, 16 << 40, usize::MAX] {
        let error = Pool::in_directory("/dev/shm", size).unwrap_err();
        assert_eq!(error, Error::Size { size });
        assert_eq!(Pool::anonymous(size).unwrap_err(), error);
    }
    let unset = Pool::builder();
    assert_eq!(unset.in_directory("/dev/shm").unwrap_err(), Error::Size { size: 0 });
    assert_eq!(unset.anonymous().unwrap_err(), Error::Size { size: 0 });
    assert_eq!(unset.memory_file(None).unwrap_err(), Error::Size { size: 0 });
    exercise(&Pool::anonymous(14 * MIB).unwrap());
}

#[test]
fn in_anonymous_memory_and_in_memory_files() {
    exercise(&Pool::anonymous(16 * MIB).unwrap());
    exercise(&Pool::builder().size(16 * MIB).memory_file(None).unwrap());
    let advised = Pool::builder().size(16 * MIB).huge_pages(HugePages::Advise);
    exercise(&advised.anonymous().unwrap());
}

#[test]
fn in_huge_pages_as_far_as_the_system_has_them() {
    // More than any machine has reserved: an error, and not a signal later.
    let error = Pool::builder()
        .size(8 << 40)
        .prealloc(true)
        .memory_file(Some(HugePageSize::Mib2))
        .unwrap_err();
    let has_huge_pages = fs::exists("/sys/kernel/mm/hugepages/hugepages-2048kB").unwrap();
    match error {
        Error::NoSpace { .. } | Error::Memory { .. } => assert!(has_huge_pages),
        other => assert!(!has_huge_pages, "{other}"),
    }
    if !has_huge_pages {
        return;
    }
    // Lazy: a page at a time, and None when there is none left.
    let pool = Pool::builder().size(16 * MIB).memory_file(Some(HugePageSize::Mib2)).unwrap();
    let mut blocks = Vec::new();
    while let Some(block) = pool.alloc(MIB) {
        // SAFETY: a live block of this size.
        unsafe { block.write_bytes(1, MIB) };
        blocks.push(block);
    }
    assert!(blocks.len() <= 16);
    for block in blocks {
        // SAFETY: live, and not used again.
        unsafe { pool.free(block) };
    }
    pool.check().unwrap();
}

#[test]
fn on_nodes() {
    let builder = Pool::builder().size(16 * MIB);
    let node = NodeMask::single(0).unwrap();
    for policy in [NumaPolicy::Bind, NumaPolicy::Preferred, NumaPolicy::Interleave] {
        match builder.on_nodes(&node, policy) {
            Ok(pool) => exercise(&pool),
            // Kernels without NUMA support, and sandboxes.
            Err(Error::Nodes { nodes, cause }) => {
                assert!(matches!(cause.errno.0, libc::ENOSYS | libc::EPERM), "{cause}");
                assert_eq!(nodes, [0]);
            }
            Err(error) => panic!("{error}"),
        }
    }
    let far = NodeMask::single(1000).unwrap();
    let error = builder.on_nodes(&far, NumaPolicy::Bind).unwrap_err();
    assert!(matches!(&error, Error::Nodes { nodes, .. } if *nodes == [1000]), "{error}");
    let error = builder.on_nodes(&NodeMask::EMPTY, NumaPolicy::Bind).unwrap_err();
    assert!(matches!(&error, Error::Nodes { nodes, .. } if nodes.is_empty()), "{error}");
}

#[test]
fn on_things_that_are_no_device() {
    for (path, errno) in [("/dev/null", libc::EINVAL), ("/dev/dax-9.9", libc::ENOENT)] {
        let error = Pool::builder().on_device(path).unwrap_err();
        assert!(matches!(&error, Error::Open { .. }), "{error}");
        assert_eq!((error.errno(), error.path()), (errno, Some(path.as_ref())));
        assert_eq!(error.remedy(), "name a device-DAX node, such as /dev/dax0.0");
    }
}

/// A region that a caller has mapped himself.
fn region(len: usize) -> NonNull<[u8]> {
    // SAFETY: a fresh mapping; it stays until the process ends.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(address, libc::MAP_FAILED);
    NonNull::slice_from_raw_parts(NonNull::new(address.cast()).unwrap(), len)
}

#[test]
fn in_a_region_of_the_caller() {
    let memory = region(16 * MIB);
    let builder = Pool::builder().head_bytes(100);
    // SAFETY: the region is used for nothing else while the pool lives.
    let pool = unsafe { builder.in_region(memory) }.unwrap();
    assert_eq!(pool.range(), memory);
    assert_eq!((pool.head().cast::<u8>(), pool.head().len()), (memory.cast(), 100));
    // SAFETY: the head is ours.
    unsafe { pool.head().cast::<u8>().write_bytes(0xAB, 100) };
    exercise(&pool);
    drop(pool);
    // SAFETY: still mapped: it is the caller's.
    unsafe {
        let head = std::slice::from_raw_parts(memory.cast::<u8>().as_ptr(), 100);
        assert!(head.iter().all(|byte| *byte == 0xAB));
        memory.cast::<u8>().add(16 * MIB - 1).write(1);
    }
    let part = |offset: usize, len| {
        // SAFETY: inside the region.
        NonNull::slice_from_raw_parts(unsafe { memory.cast::<u8>().add(offset) }, len)
    };
    for bad in [part(8, 15 * MIB), part(4096, 13 * MIB), part(0, 0)] {
        // SAFETY: as above.
        let error = unsafe { Pool::builder().in_region(bad) }.unwrap_err();
        let address = bad.cast::<u8>().addr().get();
        assert!(
            matches!(error, Error::Region { address: a, size, .. } if (a, size) == (address, bad.len())),
            "{error}"
        );
    }
}

#[test]
fn heads_are_left_alone_and_can_be_touched() {
    for head_bytes in [1, 4096, 4097, 3 * MIB] {
        let pool = Pool::builder().size(16 * MIB).head_bytes(head_bytes);
        let pool = pool.in_directory("/dev/shm").unwrap();
        let head = pool.head();
        assert_eq!((head.cast::<u8>(), head.len()), (pool.range().cast::<u8>(), head_bytes));
        // SAFETY: the head is ours, and committed.
        unsafe { head.cast::<u8>().write_bytes(0x5A, head_bytes) };
        exercise(&pool);
        while let Some(block) = pool.alloc(MIB) {
            // SAFETY: a live block of this size.
            unsafe { block.write_bytes(1, MIB) };
        }
        // SAFETY: as above.
        let bytes = unsafe { head.as_ref() };
        assert!(bytes.iter().all(|byte| *byte == 0x5A));
    }
    let error = Pool::builder().size(16 * MIB).head_bytes(16 * MIB).anonymous().unwrap_err();
    assert_eq!(error, Error::Size { size: 16 * MIB });
}

#[test]
fn lazy_pools_take_space_as_it_is_needed_and_others_at_once() {
    let builder = Pool::builder().size(64 * MIB);
    let lazy = builder.in_directory("/dev/shm").unwrap();
    assert!(lazy.stats().resident_bytes < 2 << 20);
    let taken = builder.clone().prealloc(true).in_directory("/dev/shm").unwrap();
    assert_eq!(taken.stats().resident_bytes, 64 << 20);
    assert_eq!(taken.stats().committed_bytes, 64 * MIB);
    let block = taken.alloc(40 * MIB).unwrap();
    // SAFETY: a live block.
    unsafe { taken.free(block) };
    assert_eq!(taken.stats().resident_bytes, 64 << 20, "what was taken stays");
    assert!(taken.trim() >= 60 * MIB);
    assert!(taken.stats().resident_bytes < 4 << 20);
}

/// Frees 32 MiB and tells whether the medium has them back within some seconds of little use.
fn goes_back(pool: &Pool, patience: Duration) -> bool {
    let block = pool.alloc(32 * MIB).unwrap();
    // SAFETY: a live block of this size.
    unsafe {
        block.write_bytes(1, 32 * MIB);
        pool.free(block);
    }
    let start = Instant::now();
    while pool.stats().resident_bytes > 4 << 20 {
        if start.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
        let small = pool.alloc(300_000).unwrap();
        // SAFETY: a live block.
        unsafe { pool.free(small) };
    }
    true
}

#[test]
fn freed_memory_goes_back_as_the_policy_says() {
    let make = |purge: PurgePolicy| {
        Pool::builder().size(64 * MIB).purge(purge).in_directory("/dev/shm").unwrap()
    };
    assert!(goes_back(&make(PurgePolicy::Immediate), Duration::ZERO));
    assert!(goes_back(&make(Duration::from_millis(20).into()), Duration::from_secs(60)));
    let never = make(PurgePolicy::Never);
    assert!(!goes_back(&never, Duration::from_millis(300)));
    assert!(never.trim() >= 32 * MIB);
    assert!(never.stats().resident_bytes < 2 << 20);
}

/// The flags of the mapping that holds `address`, from /proc/self/smaps. It may hold its neighbours too, where their flags are
/// the same.
fn mapping_flags(address: NonNull<[u8]>) -> Vec<String> {
    let address = address.cast::<u8>().addr().get();
    let holds = |line: &str| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let ends = range.map(|(start, end)| [start, end].map(|at| usize::from_str_radix(at, 16)));
        matches!(ends, Some([Ok(start), Ok(end)]) if (start..end).contains(&address))
    };
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let lines = smaps.lines().skip_while(|line| !holds(line));
    let flags = lines.map(|line| line.strip_prefix("VmFlags: ")).find_map(|flags| flags).unwrap();
    flags.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn core_files_and_huge_pages_are_as_asked_for() {
    let builder = Pool::builder().size(16 * MIB);
    let plain = builder.in_directory("/dev/shm").unwrap();
    assert!(!mapping_flags(plain.range()).contains(&"dd".into()));
    let left_out = builder.clone().dump(false).in_directory("/dev/shm").unwrap();
    assert!(mapping_flags(left_out.range()).contains(&"dd".into()));
    if fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap() {
        let builder = builder.clone().huge_pages(HugePages::Advise);
        let small = builder.anonymous().unwrap();
        assert!(!mapping_flags(small.range()).contains(&"hg".into()));
        let large = builder.size(64 * MIB).anonymous().unwrap();
        assert!(mapping_flags(large.range()).contains(&"hg".into()));
    }
}

#[test]
fn a_pool_is_gone_when_it_is_dropped() {
    let path = Directory::new("gone");
    let file = path.path("pool");
    let pool = Pool::builder().size(16 * MIB).on_file(&file, OpenMode::CreateNew).unwrap();
    let start = pool.range().cast::<u8>().addr().get();
    let block = pool.alloc(MIB).unwrap();
    // SAFETY: a live block of this size.
    unsafe { block.write_bytes(1, MIB) };
    assert!(fs::metadata(&file).unwrap().blocks() * 512 >= 1 << 20);
    drop(pool);
    // Another process's lock would fail now if ours were left.
    let options = fs::OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC).open(&file);
    options.unwrap().try_lock().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let name = file.to_str().unwrap();
    assert!(!maps.contains(name), "{start:x} is unmapped");
}

#[test]
fn many_pools_come_and_go() {
    for round in 0..20 {
        let pools: Vec<Pool> = (0..20).map(|_| Pool::anonymous(14 * MIB).unwrap()).collect();
        let blocks: Vec<_> = pools.iter().map(|pool| pool.alloc(100 + round).unwrap()).collect();
        for (at, block) in blocks.iter().enumerate() {
            let owners = pools.iter().filter(|pool| pool.contains(*block)).count();
            assert!(owners == 1 && pools[at].contains(*block));
        }
    }
}

#[test]
fn a_hardened_pool_is_as_good_as_others_and_knows_what_was_asked_for() {
    for harden in [Harden::Checks, Harden::Poison] {
        let pool = Pool::builder().size(32 * MIB).harden(harden).anonymous().unwrap();
        exercise(&pool);
        let block = pool.alloc(41).unwrap();
        // SAFETY: a live block.
        unsafe {
            assert_eq!(pool.usable_size(block), 41);
            pool.free(block);
        }
        let mut numbers = allocator_api2::vec::Vec::new_in(&pool);
        numbers.extend(0..100_000_u32);
        assert!(numbers.iter().copied().eq(0..100_000));
    }
}
