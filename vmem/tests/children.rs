//! Children: with limits on their resources, and with a copy of their parent's pools.
//!
//! Apart from the other tests, because a fork concerns all pools of a process.
#![cfg(not(miri))]

use std::fs;
use vmem::{Error, OpenMode, Pool};

const MIB: usize = 1 << 20;

/// Runs `check` in a child, and tells whether all was well there.
///
/// The child of a process with threads may do little; it uses pools, which allow it, and the C
/// library's malloc, which does too.
fn child_agrees(check: impl FnOnce() -> bool) -> bool {
    // SAFETY: see above; the child ends without running anything else.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(60);
            libc::_exit(if check() { 0 } else { 1 });
        }
        assert!(pid > 0);
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        status == 0
    }
}

fn limit(resource: libc::__rlimit_resource_t, limit: u64) -> bool {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: a plain system call on a valid structure.
    unsafe { libc::setrlimit(resource, &raw const limit) == 0 }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_signal() {
    assert!(child_agrees(|| {
        assert!(limit(libc::RLIMIT_FSIZE, 64 << 20));
        let fits = Pool::in_directory("/dev/shm", 64 * MIB).is_ok_and(|pool| {
            // SAFETY: a fresh block of this size.
            pool.alloc(50 * MIB).is_some_and(|block| unsafe {
                block.write_bytes(1, 50 * MIB);
                true
            })
        });
        let error = Pool::in_directory("/dev/shm", 65 * MIB).unwrap_err();
        fits && error.errno() == libc::EFBIG
            && matches!(error, Error::TooLarge { size, .. } if size == 65 * MIB)
            && error.to_string().contains("ulimit -f")
    }));
}

#[test]
fn a_limit_on_address_space_is_an_error() {
    assert!(child_agrees(|| {
        assert!(limit(libc::RLIMIT_AS, 1 << 30));
        let error = Pool::anonymous(4 << 30).unwrap_err();
        Pool::anonymous(16 * MIB).is_ok()
            && matches!(error, Error::Memory { size, .. } if size == 4 << 30)
            && error.remedy().contains("ulimit -v")
    }));
}

#[test]
fn a_limit_on_open_files_is_an_error() {
    assert!(child_agrees(|| {
        assert!(limit(libc::RLIMIT_NOFILE, 3));
        let directory = Pool::in_directory("/dev/shm", 16 * MIB).unwrap_err();
        let memory = Pool::builder().size(16 * MIB).memory_file(None).unwrap_err();
        Pool::anonymous(16 * MIB).is_ok()
            && matches!(directory, Error::Open { .. })
            && directory.remedy().contains("ulimit -n")
            && matches!(memory, Error::System { .. })
            && (memory.operation(), memory.errno()) == ("memfd_create", libc::EMFILE)
    }));
}

#[test]
fn after_a_fork_parent_and_child_have_their_own_bytes() {
    let path = format!("/dev/shm/vmem-test-{}-fork", std::process::id());
    let builder = Pool::builder().size(16 * MIB);
    let named = builder.on_file(&path, OpenMode::CreateNew).unwrap();
    fs::remove_file(&path).unwrap();
    for pool in [builder.in_directory("/dev/shm").unwrap(), named, builder.anonymous().unwrap()] {
        let block = pool.alloc(10_000).unwrap();
        // SAFETY: a live block of this size, in both processes.
        unsafe {
            block.write_bytes(1, 10_000);
            assert!(child_agrees(|| {
                let inherited = block.add(9999).read() == 1;
                block.write_bytes(2, 10_000);
                let fresh = pool.alloc(10_000).is_some_and(|fresh| fresh != block);
                inherited && fresh && pool.check().is_ok()
            }));
            assert_eq!(block.add(9999).read(), 1, "the child wrote to the parent");
            pool.free(block);
        }
        pool.check().unwrap();
    }
}

#[test]
fn a_child_makes_pools_of_its_own() {
    let kept = Pool::in_directory("/dev/shm", 16 * MIB).unwrap();
    assert!(child_agrees(|| {
        let own = Pool::in_directory("/dev/shm", 16 * MIB).unwrap();
        let block = own.alloc(MIB).unwrap();
        own.contains(block) && !kept.contains(block) && own.check().is_ok()
    }));
}
