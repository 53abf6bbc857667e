//! Limits of the process: an error, never a signal.

use pmem_core::errno::Errno;
use pmem_core::source::{OpenMode, Source};
use pmem_core::sys;

use crate::{MIB, stamp};
use pmem_test_support::child;

fn set_limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is readable.
    let result = unsafe { libc::setrlimit(resource, &raw const limit) };
    assert_eq!(result, 0);
}

fn limit_file_size(bytes: u64) {
    set_limit(libc::RLIMIT_FSIZE, bytes, libc::RLIM_INFINITY);
    assert_eq!(sys::limit_file_size(), bytes);
}

#[test]
fn a_file_beyond_the_limit_is_refused_without_a_signal() {
    child::run("limits::a_file_beyond_the_limit_is_refused_without_a_signal", || {
        limit_file_size(MIB as u64);
        let path =
            std::ffi::CString::new(format!("/dev/shm/pmem-core-limit-{}", std::process::id()));
        for result in [
            Source::in_directory(c"/dev/shm", MIB + 4096),
            Source::memfd(MIB + 4096, None),
            Source::named_file(&path.unwrap(), MIB + 4096, OpenMode::CreateNew),
        ] {
            let error = result.unwrap_err();
            assert_eq!((error.operation, error.errno), ("ftruncate", Errno::EFBIG));
        }
        Source::in_directory(c"/dev/shm", MIB).unwrap();
    });
}

#[test]
fn a_limit_set_later_does_no_harm() {
    child::run("limits::a_limit_set_later_does_no_harm", || {
        let source = Source::in_directory(c"/dev/shm", 4 * MIB).unwrap();
        let early = source.new_clone().unwrap();
        limit_file_size(MIB as u64);
        source.commit(0, 4 * MIB).unwrap();
        stamp(&source, 0, 4 * MIB, 1);
        let error = source.new_clone().unwrap_err();
        assert_eq!((error.operation, error.errno), ("ftruncate", Errno::EFBIG));
        source.copy_to_clone(&early, 0, MIB).unwrap();
        assert_eq!(source.copy_to_clone(&early, MIB, MIB), Err(Errno::EFBIG));
    });
}

#[test]
fn no_free_descriptor_is_an_error() {
    child::run("limits::no_free_descriptor_is_an_error", || {
        set_limit(libc::RLIMIT_NOFILE, 3, 1024);
        let error = Source::in_directory(c"/dev/shm", MIB).unwrap_err();
        assert_eq!((error.operation, error.errno), ("open", Errno::EMFILE));
        let error = Source::memfd(MIB, None).unwrap_err();
        assert_eq!((error.operation, error.errno), ("memfd_create", Errno::EMFILE));
    });
}

#[test]
fn too_little_address_space_is_an_error() {
    child::run("limits::too_little_address_space_is_an_error", || {
        set_limit(libc::RLIMIT_AS, 1 << 30, 1 << 30);
        let error = Source::in_directory(c"/dev/shm", 2 << 30).unwrap_err();
        assert_eq!((error.operation, error.errno), ("mmap", Errno::ENOMEM));
        Source::in_directory(c"/dev/shm", 64 * MIB).unwrap();
    });
}
