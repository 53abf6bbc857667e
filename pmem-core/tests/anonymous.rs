//! The sources that need no operating system to speak of: these tests run under Miri too.
#![cfg(not(pmem_loom))]

use pmem_core::errno::Errno;
use pmem_core::source::{Purged, Source, SourceKind};

const LEN: usize = 64 << 10;

#[test]
fn anonymous_memory() {
    let source = Source::anonymous(LEN - 1).unwrap();
    assert_eq!((source.kind(), source.len()), (SourceKind::Anonymous, LEN));
    assert!(source.starts_zeroed() && source.can_purge() && !source.needs_commit());
    assert!(!source.has_descriptor());
    source.commit(0, LEN).unwrap();
    // SAFETY: the range belongs to the source.
    unsafe {
        assert_eq!(source.base().add(LEN - 1).read(), 0);
        source.base().write_bytes(9, LEN);
    }
    source.freeze(0, LEN).unwrap();
    source.share(0, LEN).unwrap();
    // SAFETY: as above.
    unsafe { assert_eq!(source.base().add(LEN - 1).read(), 9) };
    assert_eq!(source.purge(0, LEN / 2), Purged::Zeroed);
    // SAFETY: as above.
    unsafe {
        assert_eq!(source.base().add(LEN / 2 - 1).read(), 0);
        assert_eq!(source.base().add(LEN / 2).read(), 9);
    }
    assert!(source.resident_bytes() > 0);
    assert_eq!(source.purge(0, 100), Purged::Kept);
    assert_eq!(source.commit(0, LEN + 4096), Err(Errno::EINVAL));
}

#[test]
fn memory_of_the_caller() {
    let owner = Source::anonymous(LEN).unwrap();
    // SAFETY: the memory is the owner's, which outlives the source and is not used meanwhile.
    let source = unsafe { Source::caller_region(owner.base(), LEN) }.unwrap();
    assert_eq!((source.kind(), source.len()), (SourceKind::CallerRegion, LEN));
    assert_eq!(source.base(), owner.base());
    source.commit(0, LEN).unwrap();
    // SAFETY: the range belongs to the source.
    unsafe { source.base().write_bytes(3, LEN) };
    assert_eq!(source.purge(0, LEN), Purged::Kept);
    drop(source);
    // SAFETY: the source is gone, and the memory is still the owner's.
    unsafe { assert_eq!(owner.base().add(LEN - 1).read(), 3) };
}

#[test]
fn sources_can_be_shared_between_threads() {
    let source = Source::anonymous(LEN).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let source = &source;
            scope.spawn(move || {
                source.commit(part * LEN / 4, LEN / 4).unwrap();
                // SAFETY: each thread has a part of its own.
                unsafe { source.base().add(part * LEN / 4).write_bytes(1, LEN / 4) };
            });
        }
    });
    // SAFETY: the threads are gone.
    unsafe { assert_eq!(source.base().add(LEN - 1).read(), 1) };
}
