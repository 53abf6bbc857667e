//! Keeping parent and child apart.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pmem_core::errno::Errno;
use pmem_core::source::{OpenMode, Source};

use crate::{MIB, stamp, stamped};
use pmem_test_support::child;
use pmem_test_support::tmpfs::SmallTmpfs;

#[test]
fn a_frozen_range_does_not_reach_the_file() {
    let path = format!("/dev/shm/pmem-core-freeze-{}", std::process::id());
    let c_path = std::ffi::CString::new(path.as_str()).unwrap();
    let source = Source::named_file(&c_path, MIB, OpenMode::CreateNew).unwrap();
    let in_file = |offset: usize| fs::read(&path).unwrap()[offset];
    source.commit(0, MIB).unwrap();
    stamp(&source, 0, MIB, 1);
    assert_eq!(in_file(0), 1);

    source.freeze(0, MIB / 2).unwrap();
    assert!(stamped(&source, 0, MIB, 1), "content is as before");
    stamp(&source, 0, MIB, 2);
    assert_eq!((in_file(0), in_file(MIB / 2 - 4096)), (1, 1), "frozen");
    assert_eq!(in_file(MIB / 2), 2, "not frozen");
    assert!(stamped(&source, 0, MIB, 2));

    source.share(0, MIB / 2).unwrap();
    assert!(stamped(&source, 0, MIB / 2, 1), "the file shows again");
    stamp(&source, 0, MIB, 3);
    assert_eq!(in_file(0), 3);

    source.replace_anonymous(0, 4096).unwrap();
    assert!(stamped(&source, 0, 4096, 0) && stamped(&source, 4096, MIB - 4096, 3));
    stamp(&source, 0, 4096, 4);
    assert_eq!(in_file(0), 3);
    source.share(0, 4096).unwrap();
    assert!(stamped(&source, 0, MIB, 3));
    fs::remove_file(path).unwrap();
}

#[test]
fn freezing_makes_parent_and_child_independent() {
    child::run("fork::freezing_makes_parent_and_child_independent", || {
        let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
        source.commit(0, MIB).unwrap();
        stamp(&source, 0, MIB, 1);
        source.freeze(0, MIB / 2).unwrap();
        let code = child::fork(|| {
            assert!(stamped(&source, 0, MIB, 1));
            stamp(&source, 0, MIB, 2);
        });
        assert_eq!(code, 0);
        assert!(stamped(&source, 0, MIB / 2, 1), "frozen: each has its own");
        assert!(stamped(&source, MIB / 2, MIB / 2, 2), "still shared with the child");
    });
}

/// Threads go on writing while ranges below them are frozen: no store may be lost.
#[test]
fn freezing_loses_no_store_of_another_thread() {
    let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
    source.commit(0, MIB).unwrap();
    // SAFETY: committed, and only used as an atomic.
    let counter = unsafe { source.base().cast::<AtomicU64>().as_ref() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0u64;
            while !done.load(Relaxed) {
                let seen = counter.fetch_add(1, Relaxed);
                assert_eq!(seen, written);
                written += 1;
            }
            written
        });
        // Once frozen, freezing again would show the file: the contract is one freeze.
        std::thread::sleep(std::time::Duration::from_millis(5));
        source.freeze(0, MIB).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        done.store(true, Relaxed);
        let written = writer.join().unwrap();
        assert!(written > 0);
        assert_eq!(counter.load(Relaxed), written);
    });
}

fn a_child_with_its_own_file(source: &Source) {
    let half = source.len() / 2;
    source.commit(0, source.len()).unwrap();
    stamp(source, 0, source.len(), 1);
    // A range that differs from the file: the clone gets what the process sees.
    source.freeze(0, source.granule()).unwrap();
    stamp(source, 0, source.granule(), 7);
    let clone = source.new_clone().unwrap();
    source.copy_to_clone(&clone, 0, half).unwrap();
    clone.commit(half, source.granule()).unwrap();
    let before = source.resident_bytes();
    let code = child::fork(move || {
        // SAFETY: one thread, and the test needs only the first half.
        unsafe { source.adopt_clone(clone) }.unwrap();
        assert!(source.has_descriptor());
        let used = half + source.granule();
        assert_eq!(source.resident_bytes(), used as u64, "only what was copied uses space");
        assert!(stamped(source, 0, source.granule(), 7));
        assert!(stamped(source, source.granule(), half - source.granule(), 1));
        assert!(stamped(source, half, source.granule(), 0));
        source.commit(half, half).unwrap();
        stamp(source, 0, source.len(), 2);
        source.freeze(half, half).unwrap();
        source.share(half, half).unwrap();
        assert!(stamped(source, 0, source.len(), 2));
    });
    assert_eq!(code, 0);
    assert!(stamped(source, 0, source.granule(), 7));
    assert!(stamped(source, source.granule(), source.len() - source.granule(), 1));
    assert_eq!(source.resident_bytes(), before);
}

#[test]
fn a_child_can_have_its_own_file() {
    child::run("fork::a_child_can_have_its_own_file", || {
        a_child_with_its_own_file(&Source::in_directory(c"/dev/shm", 2 * MIB).unwrap());
        a_child_with_its_own_file(&Source::memfd(2 * MIB, None).unwrap());
        let path = format!("/dev/shm/pmem-core-clone-{}", std::process::id());
        let c_path = std::ffi::CString::new(path.as_str()).unwrap();
        let named = Source::named_file(&c_path, 2 * MIB, OpenMode::CreateNew).unwrap();
        fs::remove_file(path).unwrap();
        a_child_with_its_own_file(&named);
        assert_eq!(child::unnamed_files().len(), 1, "the parent's clones are closed");
    });
}

#[test]
fn a_clone_without_space_is_an_error() {
    let Some(tmpfs) = SmallTmpfs::mount(MIB) else {
        return;
    };
    let source = Source::in_directory(tmpfs.c_path(), MIB).unwrap();
    let used = 3 * MIB / 4;
    source.commit(0, used).unwrap();
    stamp(&source, 0, used, 1);
    let clone = source.new_clone().unwrap();
    assert_eq!(source.copy_to_clone(&clone, 0, used), Err(Errno::ENOSPC));
    drop(clone);
    assert_eq!(tmpfs.free(), MIB as u64 / 4);
    assert!(stamped(&source, 0, used, 1));
    assert_eq!(fs::read_dir(tmpfs.path()).unwrap().count(), 0);
}

/// A device has granules of 2 MiB, and a fork asks for pages: the answer must be the one that makes it copy.
#[test]
fn what_cannot_be_frozen_says_so_for_every_range() {
    let memory = Source::anonymous(4 * MIB).unwrap();
    // SAFETY: the memory outlives the source over it, and nothing else uses it.
    let region = unsafe { Source::caller_region(memory.base(), 4 * MIB) }.unwrap();
    for range in [(0, 4 * MIB), (4096, 8192), (100, 100)] {
        assert_eq!(region.freeze(range.0, range.1), Err(Errno::EOPNOTSUPP), "{range:?}");
    }
}

#[test]
fn only_files_can_be_cloned() {
    let error = Source::anonymous(MIB).unwrap().new_clone().unwrap_err();
    assert_eq!((error.operation, error.errno), ("clone", Errno::EOPNOTSUPP));
}
