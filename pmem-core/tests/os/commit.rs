//! Space is there before it is used: a full medium is an error, never SIGBUS.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use pmem_core::errno::Errno;
use pmem_core::source::{Purged, Source};

use crate::{MIB, stamp, stamped};
use pmem_test_support::child;
use pmem_test_support::tmpfs::SmallTmpfs;

#[test]
fn a_full_file_system_is_an_error() {
    let Some(tmpfs) = SmallTmpfs::mount(MIB) else {
        return;
    };
    let source = Source::in_directory(tmpfs.c_path(), 16 * MIB).unwrap();
    source.commit(0, MIB / 2).unwrap();
    stamp(&source, 0, MIB / 2, 1);
    assert_eq!(source.commit(MIB / 2, MIB), Err(Errno::ENOSPC));
    assert_eq!(tmpfs.free(), MIB as u64 / 2, "what failed keeps nothing");
    source.commit(MIB / 2, MIB / 2).unwrap();
    stamp(&source, 0, MIB, 2);
    assert_eq!(tmpfs.free(), 0);
    assert_eq!(source.commit(8 * MIB, 4096), Err(Errno::ENOSPC));
    assert_eq!(source.populate(8 * MIB, 4096), Err(Errno::ENOSPC));

    assert_eq!(source.purge(0, 8192), Purged::Zeroed);
    source.commit(8 * MIB, 8192).unwrap();
    stamp(&source, 8 * MIB, 8192, 3);
    assert_eq!(source.commit(0, 4096), Err(Errno::ENOSPC));
    assert!(stamped(&source, 8192, MIB - 8192, 2));
}

#[test]
fn a_full_file_system_is_an_error_without_a_descriptor_too() {
    child::run("commit::a_full_file_system_is_an_error_without_a_descriptor_too", || {
        let Some(tmpfs) = SmallTmpfs::mount(MIB) else {
            return;
        };
        let source = Source::in_directory(tmpfs.c_path(), 16 * MIB).unwrap();
        // SAFETY: nothing in this process needs these descriptors.
        assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
        assert!(!source.has_descriptor());
        source.commit(0, MIB / 2).unwrap();
        stamp(&source, 0, MIB / 2, 1);
        assert_eq!(source.commit(MIB / 2, MIB), Err(Errno::ENOSPC));
        assert!(stamped(&source, 0, MIB / 2, 1));
        assert_eq!(source.purge(0, MIB / 2), Purged::Zeroed);
        source.commit(4 * MIB, MIB / 2).unwrap();
        stamp(&source, 4 * MIB, MIB / 2, 1);
    });
}

#[test]
fn commit_keeps_content() {
    for source in [Source::in_directory(c"/dev/shm", MIB).unwrap(), Source::anonymous(MIB).unwrap()]
    {
        source.commit(0, MIB).unwrap();
        stamp(&source, 0, MIB, 6);
        source.commit(0, MIB).unwrap();
        source.populate(0, MIB).unwrap();
        assert!(stamped(&source, 0, MIB, 6));
    }
}

#[test]
fn ranges_are_checked() {
    let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
    for (offset, len) in
        [(1, 4096), (0, 100), (MIB, 4096), (0, MIB + 4096), (usize::MAX - 4095, 4096)]
    {
        assert_eq!(source.commit(offset, len), Err(Errno::EINVAL), "{offset} {len}");
        assert_eq!(source.populate(offset, len), Err(Errno::EINVAL), "{offset} {len}");
        assert_eq!(source.freeze(offset, len), Err(Errno::EINVAL), "{offset} {len}");
        assert_eq!(source.share(offset, len), Err(Errno::EINVAL), "{offset} {len}");
        assert_eq!(source.replace_anonymous(offset, len), Err(Errno::EINVAL), "{offset} {len}");
        assert_eq!(source.purge(offset, len), Purged::Kept, "{offset} {len}");
    }
    assert_eq!(source.commit(MIB, 0), Ok(()));
    assert_eq!(source.resident_bytes(), 0);
}

#[test]
fn populate_brings_pages_in() {
    let source = Source::anonymous(MIB).unwrap();
    assert_eq!(source.resident_bytes(), 0);
    source.populate(0, MIB / 2).unwrap();
    assert_eq!(source.resident_bytes(), MIB as u64 / 2);
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_signal: libc::c_int) {
    SIGNALS.fetch_add(1, SeqCst);
}

/// Some kernels give an allocation on tmpfs up when a signal arrives, and undo it; a profiler's
/// timer would keep it from ever succeeding.
#[test]
fn a_storm_of_signals_does_not_stop_a_commit() {
    child::run("commit::a_storm_of_signals_does_not_stop_a_commit", || {
        const LEN: usize = 16 * MIB;
        // SAFETY: the handler only counts; without SA_RESTART system calls are interrupted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as libc::sighandler_t;
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        }
        let source = Source::in_directory(c"/dev/shm", LEN).unwrap();
        // SAFETY: no arguments.
        let committer = unsafe { libc::pthread_self() };
        let done = AtomicBool::new(false);
        let mut results = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    // SAFETY: the thread outlives this scope.
                    unsafe { libc::pthread_kill(committer, libc::SIGUSR1) };
                    thread::sleep(Duration::from_micros(50));
                }
            });
            while SIGNALS.load(SeqCst) < 100 {
                results.push((source.commit(0, LEN), source.populate(0, MIB)));
                assert_eq!(source.purge(0, LEN), Purged::Zeroed);
            }
            results.push((source.commit(0, LEN), Ok(())));
            done.store(true, SeqCst);
        });
        assert!(results.iter().all(|result| *result == (Ok(()), Ok(()))), "{results:?}");
        assert_eq!(source.resident_bytes(), LEN as u64);
        stamp(&source, 0, LEN, 1);
    });
}

/// Answers `fallocate` with an error, as sandboxes and file systems do that have no such call.
fn refuse_fallocate(errno: Errno) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        // The number is the first word of what the filter sees.
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, u32::try_from(libc::SYS_fallocate).unwrap()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno.0.unsigned_abs()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the filter is well-formed and outlives the calls.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter), 0);
    }
}

#[test]
fn without_fallocate_the_mapping_is_used() {
    child::run("commit::without_fallocate_the_mapping_is_used", || {
        let Some(tmpfs) = SmallTmpfs::mount(MIB) else { return };
        for errno in [Errno::EOPNOTSUPP, Errno::ENOSYS, Errno::EPERM] {
            let source = Source::in_directory(tmpfs.c_path(), 16 * MIB).unwrap();
            let code = child::fork(|| {
                refuse_fallocate(errno);
                source.commit(0, MIB / 2).unwrap();
                stamp(&source, 0, MIB / 2, 1);
                assert_eq!(source.commit(MIB / 2, MIB), Err(Errno::ENOSPC));
                let clone = source.new_clone().unwrap();
                let copied = source.copy_to_clone(&clone, 0, MIB / 2);
                assert_eq!(copied, Err(Errno::ENOSPC));
                assert_eq!(source.purge(MIB / 2, 15 * MIB), Purged::Zeroed);
                source.copy_to_clone(&clone, 0, MIB / 2).unwrap();
            });
            assert_eq!(code, 0, "{errno}");
        }
    });
}

#[test]
fn faults_can_be_injected() {
    let source = Source::anonymous(MIB).unwrap();
    source.set_fault_after(2);
    assert_eq!(source.commit(0, 4096), Ok(()));
    assert_eq!(source.populate(0, 4096), Ok(()));
    assert_eq!(source.commit(0, 4096), Err(Errno::ENOSPC));
    assert_eq!(source.commit(0, 4096), Ok(()), "only one call fails");
    source.set_fault_after(0);
    assert_eq!(source.replace_anonymous(0, 4096), Err(Errno::ENOSPC));
    source.set_fault_after(0);
    assert_eq!(source.freeze(0, 4096), Err(Errno::ENOSPC));
    source.set_fault_after(0);
    source.set_fault_after(u64::MAX);
    assert_eq!(source.share(0, 4096), Ok(()));
}

#[test]
fn errno_is_left_alone() {
    let expect = Errno(77);
    expect.set();
    let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
    let _ = Source::in_directory(c"/no/such", MIB).unwrap_err();
    let _ = Source::device_dax(c"/dev/null").unwrap_err();
    source.commit(0, MIB).unwrap();
    source.commit(1, MIB).unwrap_err();
    source.populate(0, 4096).unwrap();
    source.advise_huge(0, MIB);
    source.dont_dump(true);
    source.freeze(0, 4096).unwrap();
    assert_eq!(source.purge(0, 4096), Purged::Kept, "a frozen range cannot be punched");
    source.share(0, 4096).unwrap();
    source.replace_anonymous(0, 4096).unwrap();
    let clone = source.new_clone().unwrap();
    source.copy_to_clone(&clone, 0, MIB).unwrap();
    drop(clone);
    let _ = source.resident_bytes();
    drop(source);
    assert_eq!(Errno::last(), expect);
}

/// Stores to committed pages take no blocks for the holes between them: on a disk file system pages come in
/// pieces that can be larger than what was committed.
#[test]
fn stores_take_no_space_outside_of_what_is_committed() {
    const RUN: usize = MIB / 16;
    let directory = CString::new(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for directory in [directory.as_c_str(), c"/dev/shm"] {
        let source = Source::in_directory(directory, 64 * MIB).unwrap();
        let runs = || (0..source.len()).step_by(2 * RUN);
        for value in 1..4 {
            for at in runs() {
                source.commit_writable(at, RUN).unwrap();
                stamp(&source, at, RUN, value);
            }
            assert!(runs().all(|at| stamped(&source, at, RUN, value)));
            let (taken, committed) = (source.resident_bytes(), 32 * MIB as u64);
            assert!(taken < committed + committed / 8, "{taken} bytes at {directory:?}");
        }
        assert!(runs().all(|at| source.purge(at, RUN) == Purged::Zeroed));
        let taken = source.resident_bytes();
        assert!(taken < MIB as u64 / 4, "{taken} bytes are left at {directory:?}");
    }
}
