//! Frozen ranges on their way back to the file, and who is still there to need them.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pmem_core::offspring::Offspring;
use pmem_core::source::{OpenMode, Source};
use pmem_core::sys::{self, Fd};

use crate::{MIB, stamp, stamped};
use pmem_test_support::child;

/// Runs `body` in a process with one thread.
fn alone(test: &str, body: impl FnOnce()) {
    child::run(test, || assert_eq!(child::fork(body), 0));
}

/// A committed, frozen source over a file with a name, which is removed at the end.
fn with_frozen(test: &str, body: impl FnOnce(&Source, &dyn Fn(usize) -> u8)) {
    let path = format!("/dev/shm/pmem-core-{test}-{}", std::process::id());
    let c_path = std::ffi::CString::new(path.as_str()).unwrap();
    let source = Source::named_file(&c_path, 4 * MIB, OpenMode::CreateNew).unwrap();
    source.commit(0, 4 * MIB).unwrap();
    stamp(&source, 0, 4 * MIB, 1);
    source.freeze(0, 4 * MIB).unwrap();
    body(&source, &|offset| fs::read(&path).unwrap()[offset]);
    fs::remove_file(path).unwrap();
}

#[test]
fn stores_into_a_frozen_range_come_home() {
    alone("home::stores_into_a_frozen_range_come_home", || {
        with_frozen("home", |source, in_file| {
            stamp(source, 4096, 2 * MIB, 2);
            assert_eq!(in_file(4096), 1);
            let still = source.keep_still().expect("one thread");
            // SAFETY: all of it is frozen, and nobody was forked.
            let came = unsafe { source.bring_home(&still, 0, 3 * MIB, usize::MAX) }.unwrap();
            drop(still);
            assert_eq!((came.done, came.copied), (3 * MIB, 2 * MIB));
            assert_eq!((in_file(0), in_file(4096), in_file(2 * MIB)), (1, 2, 2));
            stamp(source, 0, 3 * MIB, 3);
            assert_eq!((in_file(0), in_file(3 * MIB - 4096)), (3, 3), "shared again");
            stamp(source, 3 * MIB, MIB, 3);
            assert_eq!(in_file(3 * MIB), 1, "not asked for");
        });
    });
}

#[test]
fn a_budget_bounds_what_is_copied_and_not_what_is_shared() {
    alone("home::a_budget_bounds_what_is_copied_and_not_what_is_shared", || {
        with_frozen("budget", |source, in_file| {
            stamp(source, MIB, 8 * 4096, 2);
            let still = source.keep_still().expect("one thread");
            // SAFETY: all of it is frozen, and nobody was forked.
            let came = unsafe { source.bring_home(&still, 0, 4 * MIB, 3 * 4096) }.unwrap();
            assert_eq!((came.done, came.copied), (MIB + 3 * 4096, 3 * 4096));
            assert_eq!((in_file(MIB + 2 * 4096), in_file(MIB + 3 * 4096)), (2, 1));
            // SAFETY: the rest is still frozen.
            let rest = unsafe { source.bring_home(&still, came.done, 4 * MIB - came.done, MIB) };
            assert_eq!(rest.unwrap().copied, 5 * 4096);
            assert!(stamped(source, 0, MIB, 1) && stamped(source, MIB, 8 * 4096, 2));
        });
    });
}

/// The bytes go to where the file has them, whatever was exchanged.
#[test]
fn exchanged_ranges_come_home_to_their_place_in_the_file() {
    const CHUNK: usize = Source::CHUNK;
    const COUNT: usize = 8;
    let test = "home::exchanged_ranges_come_home_to_their_place_in_the_file";
    alone(test, || {
        let path = format!("/dev/shm/pmem-core-exchanged-{}", std::process::id());
        let c_path = std::ffi::CString::new(path.as_str()).unwrap();
        let source = Source::named_file(&c_path, COUNT * CHUNK, OpenMode::CreateNew).unwrap();
        source.commit(0, source.len()).unwrap();
        (0..COUNT).for_each(|n| stamp(&source, n * CHUNK, CHUNK, n as u8 + 1));
        // SAFETY: only this thread uses the source.
        unsafe { source.exchange(0, 5 * CHUNK, 2 * CHUNK) }.unwrap();
        source.freeze(0, source.len()).unwrap();
        // What lies side by side here lies far apart in the file.
        stamp(&source, CHUNK, 2 * CHUNK, 9);
        let still = source.keep_still().expect("one thread");
        let mut home = 0;
        while home < source.len() {
            let (run, left) = (source.run(home, source.len() - home), source.len() - home);
            // SAFETY: the rest is still frozen, and nobody was forked.
            let came = unsafe { source.bring_home(&still, home, left, usize::MAX) }.unwrap();
            assert_eq!(came.done, run);
            home += came.done;
        }
        drop(still);
        let in_file = || -> Vec<u8> {
            fs::read(&path).unwrap().chunks(CHUNK).map(|chunk| chunk[CHUNK - 4096]).collect()
        };
        assert_eq!(in_file(), [1, 2, 9, 4, 5, 6, 9, 8]);
        assert!(stamped(&source, CHUNK, 2 * CHUNK, 9) && stamped(&source, 5 * CHUNK, CHUNK, 1));
        stamp(&source, 4 * CHUNK, 2 * CHUNK, 7);
        assert_eq!(in_file(), [7, 2, 9, 4, 7, 6, 9, 8], "shared again");
        fs::remove_file(path).unwrap();
    });
}

/// Ends the storing thread, also when an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Stores to the first word of each page, one more each time, and checks that none is lost.
fn store_until(stop: &AtomicBool, stored: &AtomicU64, source: &Source, pages: usize) {
    for n in 1u64.. {
        if stop.load(Relaxed) {
            return;
        }
        for page in 0..pages {
            // SAFETY: committed; only this thread uses these words.
            unsafe {
                let word = source.base().add(page * 4096).cast::<u64>();
                assert!(n == 1 || word.read_volatile() == n - 1, "page {page}");
                word.write_volatile(n);
            }
        }
        stored.store(n, Relaxed);
    }
}

/// A thread that stores all the time loses nothing, wherever the range is on its way.
#[test]
fn stores_of_other_threads_are_held_back_and_kept() {
    child::run("home::stores_of_other_threads_are_held_back_and_kept", || {
        with_frozen("threads", |source, _| {
            let (stop, stored) = (&AtomicBool::new(false), &AtomicU64::new(0));
            std::thread::scope(|scope| {
                let _stop = StopAtEnd(stop);
                let storing = scope.spawn(move || store_until(stop, stored, source, 256));
                for _ in 0..200 {
                    let before = stored.load(Relaxed);
                    while stored.load(Relaxed) < before + 2 && !storing.is_finished() {
                        std::thread::yield_now();
                    }
                    let Some(still) = source.keep_still() else {
                        pmem_core::fmt::write_stderr(
                            b"NOT CHECKED: userfaultfd is not permitted (CAP_SYS_PTRACE)\n",
                        );
                        break;
                    };
                    // SAFETY: all of it is frozen, and nobody was forked.
                    let came = unsafe { source.bring_home(&still, 0, MIB, usize::MAX) };
                    drop(still);
                    assert_eq!(came.unwrap().done, MIB);
                    assert!(!storing.is_finished());
                    source.freeze(0, MIB).unwrap();
                }
            });
        });
    });
}

#[test]
fn a_stack_in_the_range_forbids_to_keep_it_still() {
    child::run("home::a_stack_in_the_range_forbids_to_keep_it_still", || {
        let stack = 0u8;
        let page = std::ptr::from_ref(&stack).addr() & !4095;
        let address = std::ptr::NonNull::new(page as *mut u8).unwrap();
        // SAFETY: nothing is done with the range.
        let source = unsafe { Source::caller_region(address, 4096) }.unwrap();
        assert!(source.keep_still().is_none());
    });
}

#[test]
fn a_range_without_a_descriptor_stays_as_it_is() {
    alone("home::a_range_without_a_descriptor_stays_as_it_is", || {
        let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
        source.commit(0, MIB).unwrap();
        source.freeze(0, MIB).unwrap();
        stamp(&source, 0, MIB, 2);
        // SAFETY: nothing here needs its descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        let still = source.keep_still().expect("one thread");
        // SAFETY: all of it is frozen, and nobody was forked.
        assert!(unsafe { source.bring_home(&still, 0, MIB, MIB) }.is_err());
        assert!(stamped(&source, 0, MIB, 2));
    });
}

/// A system may insist on memory files that nobody can execute (`vm.memfd_noexec` 2, Linux 6.3).
#[test]
fn what_watches_forks_can_be_made_where_memory_files_must_not_be_executed() {
    const F_SEAL_EXEC: i32 = 0x20;
    let is_without_execution = |file: Fd| {
        // SAFETY: no memory is involved; the descriptor is closed once.
        unsafe {
            let seals = libc::fcntl(file.raw(), libc::F_GET_SEALS);
            sys::close(file);
            assert!(seals >= 0);
            seals & F_SEAL_EXEC != 0
        }
    };
    let usual = is_without_execution(sys::memory_file(c"usual", 0).unwrap());
    assert_eq!(is_without_execution(sys::sealable_file(c"watch").unwrap()), usual);
}

/// Forks as a program with handlers does.
fn watched_fork(offspring: &mut Offspring, body: impl FnOnce(&mut Offspring)) -> i32 {
    offspring.before_fork();
    assert!(!offspring.is_gone(), "a fork is under way");
    // SAFETY: the process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        offspring.in_child();
        body(offspring);
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    offspring.after_fork();
    pid
}

/// Blocks until the other end of the pipe is closed.
fn await_end(pipe: [i32; 2]) {
    let mut byte = 0u8;
    // SAFETY: descriptors of our own; the buffer has room for one byte.
    unsafe {
        libc::close(pipe[1]);
        libc::read(pipe[0], (&raw mut byte).cast(), 1);
    }
}

fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends
}

#[test]
fn offspring_is_gone_when_the_last_descendant_is() {
    child::run("home::offspring_is_gone_when_the_last_descendant_is", || {
        // SAFETY: orphans come to us and not to the system's first process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        let mut offspring = Offspring::new();
        assert!(offspring.is_gone());
        for _ in 0..3 {
            let end = pipe();
            let pid = watched_fork(&mut offspring, |offspring| {
                assert!(offspring.is_gone(), "no children of its own yet");
                watched_fork(offspring, |_| await_end(end));
            });
            assert_eq!(child::wait(pid), 0);
            assert!(!offspring.is_gone(), "the grandchild lives");
            // A second fork is watched as well.
            assert_eq!(child::wait(watched_fork(&mut offspring, |_| ())), 0);
            assert!(!offspring.is_gone());
            // SAFETY: descriptors of our own.
            unsafe {
                libc::close(end[1]);
                libc::close(end[0]);
                assert!(libc::wait(std::ptr::null_mut()) > 0);
            }
            assert!(offspring.is_gone() && offspring.is_gone());
        }
    });
}

#[test]
fn offspring_that_cannot_be_watched_is_never_gone() {
    child::run("home::offspring_that_cannot_be_watched_is_never_gone", || {
        let mut offspring = Offspring::new();
        assert_eq!(child::wait(watched_fork(&mut offspring, |_| ())), 0);
        // SAFETY: nothing here needs its descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert!(!offspring.is_gone());
        assert_eq!(child::wait(watched_fork(&mut offspring, |_| ())), 0);
        assert!(!offspring.is_gone());
    });
}
