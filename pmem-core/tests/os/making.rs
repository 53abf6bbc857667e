//! Constructors: what they make, and what they refuse.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::{env, fs, process};

use pmem_core::errno::Errno;
use pmem_core::error::Error;
use pmem_core::numa::{NodeMask, NumaPolicy};
use pmem_core::source::{HugePageSize, OpenMode, Source, SourceKind};

use crate::{MIB, stamp, stamped};
use pmem_test_support::child;

/// A directory of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = env::temp_dir().join(format!("pmem-core-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn c_path(&self, file: &str) -> CString {
        CString::new(self.0.join(file).to_str().unwrap()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn refused(result: Result<Source, Error>) -> (&'static str, Errno) {
    let error = result.expect_err("this must not work");
    (error.operation, error.errno)
}

#[test]
fn in_a_directory() {
    let scratch = Scratch::new("directory");
    let source = Source::in_directory(&scratch.c_path("."), 10 * MIB + 1).unwrap();
    assert_eq!(source.kind(), SourceKind::Directory);
    assert_eq!(source.len(), 10 * MIB + 4096);
    assert_eq!(source.granule(), 4096);
    assert!(source.needs_commit() && source.can_purge() && source.starts_zeroed());
    assert!(source.has_descriptor());
    assert_eq!(source.resident_bytes(), 0, "making a source uses no space");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0, "the file has no name");
    source.commit(0, source.len()).unwrap();
    assert!(stamped(&source, 0, source.len(), 0));
    stamp(&source, 0, source.len(), 7);
    assert!(stamped(&source, 0, source.len(), 7));
    assert!(source.resident_bytes() >= source.len() as u64);
}

#[test]
fn bases_are_multiples_of_4_mib() {
    let scratch = Scratch::new("alignment");
    // Odd sizes in between push the system's own choice off the border.
    let sources: Vec<Source> = (0..8)
        .flat_map(|n| {
            let len = MIB + n * 12288;
            let path = scratch.c_path(&format!("file{n}"));
            [
                Source::in_directory(c"/dev/shm", len).unwrap(),
                Source::named_file(&path, len, OpenMode::CreateNew).unwrap(),
                Source::memfd(len, None).unwrap(),
                Source::anonymous(len).unwrap(),
            ]
        })
        .collect();
    for source in &sources {
        assert_eq!(source.base().addr().get() % (4 * MIB), 0, "{source:?}");
    }
}

#[test]
fn nothing_around_a_source_is_left_reserved() {
    child::run("making::nothing_around_a_source_is_left_reserved", || {
        let lines = || fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let mapped = |source: &Source| {
            let text = fs::read_to_string("/proc/self/maps").unwrap();
            let base = source.base().addr().get();
            let end = base + source.len();
            text.lines().any(|line| line.starts_with(&format!("{base:x}-{end:x} ")))
        };
        // Before counting: allocations of the harness itself settle.
        let _ = lines();
        let before = lines();
        let source = Source::in_directory(c"/dev/shm", 5 * MIB).unwrap();
        assert!(mapped(&source));
        assert_eq!(lines(), before + 1);
        let base = source.base();
        drop(source);
        assert_eq!(lines(), before);
        assert_eq!(pmem_core::sys::resident_pages(base, 4096), Err(Errno::ENOMEM));
    });
}

#[test]
fn a_descriptor_is_high_closed_on_exec_and_closed_at_the_end() {
    child::run("making::a_descriptor_is_high_closed_on_exec_and_closed_at_the_end", || {
        assert_eq!(child::unnamed_files(), []);
        let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
        let numbers = child::unnamed_files();
        let &[number] = numbers.as_slice() else { panic!("one file, not {numbers:?}") };
        assert!(number >= 100, "descriptor {number} is in the way of the program");
        // SAFETY: asks only for flags.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, libc::FD_CLOEXEC);
        let mode = fs::metadata(format!("/proc/self/fd/{number}")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        drop(source);
        assert_eq!(child::unnamed_files(), []);
        let low = fs::File::open("/dev/null").unwrap().as_raw_fd();
        assert!(low < 10, "the low numbers are free: {low}");
    });
}

#[test]
fn directories_that_do_not_work() {
    assert_eq!(refused(Source::in_directory(c"/no/such", MIB)), ("open", Errno::ENOENT));
    assert_eq!(refused(Source::in_directory(c"", MIB)), ("open", Errno::ENOENT));
    assert_eq!(refused(Source::in_directory(c"/etc/passwd", MIB)), ("open", Errno::ENOTDIR));
    // No O_TMPFILE here, so this is the other way of making a file, which fails too. The kernel
    // looks at permissions first.
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    let expected = if root { ("mkstemp", Errno::ENOENT) } else { ("open", Errno::EACCES) };
    assert_eq!(refused(Source::in_directory(c"/proc", MIB)), expected);
    let text = Source::in_directory(c"/no/such", MIB).unwrap_err().to_string();
    assert_eq!(text, "open: No such file or directory");
}

#[test]
fn sizes_that_do_not_work() {
    let dir = c"/dev/shm";
    assert_eq!(refused(Source::in_directory(dir, 0)), ("size", Errno::EINVAL));
    assert_eq!(refused(Source::in_directory(dir, usize::MAX)), ("size", Errno::EFBIG));
    assert_eq!(refused(Source::in_directory(dir, 1 << 63)), ("size", Errno::EFBIG));
    assert_eq!(refused(Source::in_directory(dir, 1 << 50)), ("mmap", Errno::ENOMEM));
    assert_eq!(refused(Source::memfd(0, None)), ("size", Errno::EINVAL));
    assert_eq!(refused(Source::anonymous(0)), ("size", Errno::EINVAL));
    assert_eq!(refused(Source::anonymous(1 << 62)), ("mmap", Errno::ENOMEM));
}

#[test]
fn named_files() {
    let scratch = Scratch::new("named");
    let path = scratch.c_path("pool");
    let missing = refused(Source::named_file(&path, MIB, OpenMode::Existing));
    assert_eq!(missing, ("open", Errno::ENOENT));

    let source = Source::named_file(&path, MIB, OpenMode::CreateNew).unwrap();
    assert_eq!((source.kind(), source.starts_zeroed()), (SourceKind::NamedFile, true));
    let exists = refused(Source::named_file(&path, MIB, OpenMode::CreateNew));
    assert_eq!(exists, ("open", Errno::EEXIST));
    let in_use = refused(Source::named_file(&path, MIB, OpenMode::Existing));
    assert_eq!(in_use, ("flock", Errno::EWOULDBLOCK));
    source.commit(0, MIB).unwrap();
    stamp(&source, 0, MIB, 9);
    drop(source);

    let bytes = fs::read(scratch.0.join("pool")).unwrap();
    assert_eq!((bytes.len(), bytes[4096]), (MIB, 9));

    let longer = Source::named_file(&path, 2 * MIB, OpenMode::Create).unwrap();
    assert_eq!((longer.len(), longer.starts_zeroed()), (2 * MIB, false));
    drop(longer);
    let shorter = Source::named_file(&path, MIB, OpenMode::Existing).unwrap();
    assert_eq!(shorter.len(), MIB);
    drop(shorter);
    let whole = Source::named_file(&path, 0, OpenMode::Existing).unwrap();
    assert_eq!(whole.len(), 2 * MIB, "an existing file is never cut");
    drop(whole);
    assert_eq!(refused(Source::named_file(&scratch.c_path("new"), 0, OpenMode::Create)).0, "size");
}

#[test]
fn a_named_file_that_cannot_be_mapped_is_removed_again() {
    let scratch = Scratch::new("removed");
    let path = scratch.c_path("pool");
    refused(Source::named_file(&path, 1 << 62, OpenMode::CreateNew));
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    fs::write(scratch.0.join("pool"), "x").unwrap();
    refused(Source::named_file(&path, 1 << 62, OpenMode::Create));
    assert_eq!(fs::read(scratch.0.join("pool")).unwrap().first(), Some(&b'x'));
}

#[test]
fn only_regular_files_are_named_files() {
    for path in [c"/dev/null", c"/dev/zero"] {
        let result = refused(Source::named_file(path, MIB, OpenMode::Existing));
        assert_eq!(result, ("open", Errno::EINVAL), "{path:?}");
    }
    let directory = refused(Source::named_file(c"/dev/shm", MIB, OpenMode::Existing));
    assert_eq!(directory, ("open", Errno::EISDIR));
}

#[test]
fn only_dax_devices_are_dax_devices() {
    assert_eq!(refused(Source::device_dax(c"/dev/null")), ("open", Errno::EINVAL));
    assert_eq!(refused(Source::device_dax(c"/dev/dax999.0")), ("open", Errno::ENOENT));
    assert_eq!(refused(Source::device_dax(c"/dev/shm")), ("open", Errno::EINVAL));
    let scratch = Scratch::new("dax");
    fs::write(scratch.0.join("file"), "x").unwrap();
    assert_eq!(refused(Source::device_dax(&scratch.c_path("file"))), ("open", Errno::EINVAL));
}

#[test]
fn files_in_memory() {
    let source = Source::memfd(MIB, None).unwrap();
    assert_eq!(source.kind(), SourceKind::Memfd);
    source.commit(0, MIB).unwrap();
    stamp(&source, 0, MIB, 1);
    assert_eq!(source.resident_bytes(), MIB as u64);
}

/// With huge pages on the machine this uses one; without, it sees them missing.
#[test]
fn huge_pages_are_committed_or_refused() {
    const HUGE: usize = HugePageSize::Mib2.bytes();
    let free = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free = free.map_or(0, |text| text.trim().parse::<usize>().unwrap());
    let source = match Source::memfd(HUGE + 1, Some(HugePageSize::Mib2)) {
        Ok(source) => source,
        Err(error) => {
            assert_eq!(error.operation, "memfd_create", "{error}");
            return;
        }
    };
    assert_eq!((source.len(), source.granule()), (2 * HUGE, HUGE));
    assert_eq!(source.commit(0, 4096), Err(Errno::EINVAL), "granules are huge pages");
    match source.commit(0, HUGE) {
        Ok(()) => {
            assert!(free > 0, "committed a page that the machine does not have");
            stamp(&source, 0, HUGE, 3);
            assert_eq!(source.resident_bytes(), HUGE as u64);
            assert_eq!(source.purge(0, HUGE), pmem_core::source::Purged::Zeroed);
            assert_eq!(source.resident_bytes(), 0);
            source.commit(0, HUGE).unwrap();
            assert!(stamped(&source, 0, HUGE, 0));
            assert_eq!(source.freeze(0, HUGE), Err(Errno::EOPNOTSUPP));
        }
        Err(errno) => {
            assert_eq!((errno, free), (Errno::ENOSPC, 0));
        }
    }
}

#[test]
fn regions_of_the_caller() {
    let mut memory = Source::anonymous(MIB).unwrap();
    let address = memory.base();
    // SAFETY: the memory belongs to this test and outlives the sources on it.
    let region = |skip: usize, len: usize| unsafe {
        Source::caller_region(NonNull::new(address.as_ptr().wrapping_add(skip)).unwrap(), len)
    };
    assert_eq!(refused(region(8, MIB)), ("region", Errno::EINVAL));
    assert_eq!(refused(region(0, 4095)), ("region", Errno::EINVAL));
    let source = region(4096, 10_000).unwrap();
    assert_eq!((source.base().addr().get() - address.addr().get(), source.len()), (4096, 8192));
    assert!(!source.needs_commit() && !source.can_purge() && !source.starts_zeroed());
    source.commit(0, 8192).unwrap();
    stamp(&source, 0, 8192, 5);
    assert_eq!(source.purge(0, 8192), pmem_core::source::Purged::Kept);
    assert_eq!(source.freeze(0, 4096), Err(Errno::EOPNOTSUPP));
    assert_eq!(source.replace_anonymous(0, 4096), Err(Errno::EOPNOTSUPP));
    drop(source);
    assert!(stamped(&memory, 4096, 8192, 5), "the memory is still there");
    memory = Source::anonymous(4096).unwrap();
    assert_eq!(memory.len(), 4096);
}

#[test]
fn nodes_that_do_not_work() {
    let policy = NumaPolicy::Bind;
    let none = Source::anonymous_on_nodes(MIB, &NodeMask::EMPTY, policy);
    assert_eq!(refused(none), ("mbind", Errno::EINVAL));
    let far = NodeMask::single(NodeMask::CAPACITY - 1).unwrap();
    assert_eq!(refused(Source::anonymous_on_nodes(MIB, &far, policy)), ("mbind", Errno::EINVAL));
}
