//! Programs that close or replace the library's descriptors.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use pmem_core::errno::Errno;
use pmem_core::fmt::write_stderr;
use pmem_core::source::{Purged, Source};

use crate::{MIB, stamp, stamped};
use pmem_test_support::child;

#[test]
fn everything_but_forks_works_without_descriptors() {
    child::run("descriptors::everything_but_forks_works_without_descriptors", || {
        for source in [
            Source::in_directory(c"/dev/shm", 4 * MIB).unwrap(),
            Source::memfd(4 * MIB, None).unwrap(),
        ] {
            source.commit(0, MIB).unwrap();
            stamp(&source, 0, MIB, 1);
            // SAFETY: nothing in this process needs these descriptors.
            assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
            assert!(!source.has_descriptor());
            source.commit(MIB, MIB).unwrap();
            stamp(&source, MIB, MIB, 2);
            assert!(stamped(&source, 0, MIB, 1));
            assert_eq!(source.resident_bytes(), 2 * MIB as u64, "counted through the mapping");
            assert_eq!(source.purge(0, MIB), Purged::Zeroed);
            assert_eq!(source.resident_bytes(), MIB as u64);
            assert_eq!(source.freeze(MIB, MIB), Err(Errno::EBADF));
            assert_eq!(source.share(MIB, MIB), Err(Errno::EBADF));
            assert!(stamped(&source, MIB, MIB, 2), "a refused freeze changes nothing");
            // SAFETY: this process has one thread that matters.
            unsafe { source.replace_with_copy(MIB, MIB) }.unwrap();
            assert!(stamped(&source, MIB, MIB, 2));
            source.replace_anonymous(MIB, MIB).unwrap();
            assert!(stamped(&source, MIB, MIB, 0));
        }
    });
}

#[test]
fn clones_need_the_directory() {
    child::run("descriptors::clones_need_the_directory", || {
        let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
        // SAFETY: nothing in this process needs these descriptors.
        assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
        let error = source.new_clone().unwrap_err();
        assert_eq!((error.operation, error.errno), ("open", Errno::EBADF));
    });
}

#[test]
fn a_foreign_file_on_our_number_is_never_touched() {
    child::run("descriptors::a_foreign_file_on_our_number_is_never_touched", || {
        let path = format!("/dev/shm/pmem-core-foreign-{}", std::process::id());
        let foreign = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        foreign.set_len(4 * MIB as u64).unwrap();

        let source = Source::in_directory(c"/dev/shm", 4 * MIB).unwrap();
        let numbers = child::unnamed_files();
        let ours = *numbers.iter().find(|&&number| number != foreign.as_raw_fd()).unwrap();
        // SAFETY: puts the foreign file on the library's number, as a program might.
        assert_eq!(unsafe { libc::dup2(foreign.as_raw_fd(), ours) }, ours);
        assert!(!source.has_descriptor());

        source.commit(0, MIB).unwrap();
        stamp(&source, 0, MIB, 4);
        assert_eq!(source.resident_bytes(), MIB as u64);
        assert_eq!(source.purge(0, MIB / 2), Purged::Zeroed);
        assert_eq!(source.freeze(0, MIB), Err(Errno::EBADF));
        let status = foreign.metadata().unwrap();
        assert_eq!((status.blocks(), status.len()), (0, 4 * MIB as u64));
        drop(source);
        // SAFETY: asks only for flags.
        assert!(unsafe { libc::fcntl(ours, libc::F_GETFD) } >= 0, "not ours to close");
    });
}

#[test]
fn chdir_and_chroot_do_not_matter() {
    child::run("descriptors::chdir_and_chroot_do_not_matter", || {
        std::env::set_current_dir("/dev/shm").unwrap();
        let source = Source::in_directory(c".", MIB).unwrap();
        std::env::set_current_dir("/").unwrap();
        if std::os::unix::fs::chroot("/sys").is_err() {
            write_stderr(b"NOT CHECKED: chroot, which needs privileges\n");
        }
        source.commit(0, MIB).unwrap();
        stamp(&source, 0, MIB, 1);
        let clone = source.new_clone().unwrap();
        source.copy_to_clone(&clone, 0, MIB).unwrap();
    });
}

#[test]
fn closed_descriptors_leave_the_memory_as_it_is() {
    let numbers = || fs::read_dir("/proc/self/fd").unwrap().count();
    child::run("descriptors::closed_descriptors_leave_the_memory_as_it_is", || {
        let before = numbers();
        let source = Source::in_directory(c"/dev/shm", 4 * MIB).unwrap();
        source.commit(0, MIB).unwrap();
        stamp(&source, 0, MIB, 1);
        assert_eq!(numbers(), before + 2, "the file and its directory");
        source.close_descriptors();
        assert_eq!(numbers(), before);
        assert!(!source.has_descriptor());
        source.close_descriptors();
        assert!(stamped(&source, 0, MIB, 1));
        source.commit(MIB, MIB).unwrap();
        stamp(&source, MIB, MIB, 2);
        drop(source);
        assert_eq!(numbers(), before);
    });
}
