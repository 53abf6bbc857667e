//! No word that lies in the destination of a copy is ever seen half old, half new: a process copies
//! in single steps, and its parent looks at the destination after each instruction.

use std::ffi::c_void;
use std::ptr::null_mut;

use pmem_core::persist::{CopyFlags, Cpu, Engine, Persist, Stores};

use pmem_test_support::child;

const AREA: usize = 4096;
const OLD: u8 = 0x11;
const NEW: u8 = 0xab;

/// Memory that parent and child share: source, then destination.
struct Shared(*mut u8);

impl Shared {
    fn new() -> Shared {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping.
        let start = unsafe { libc::mmap(null_mut(), 2 * AREA, access, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let start: *mut u8 = start.cast();
        // SAFETY: the first half of the mapping.
        unsafe { start.write_bytes(NEW, AREA) };
        Shared(start)
    }

    fn dest(&self) -> *mut u8 {
        self.0.wrapping_add(AREA)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, used no more.
        unsafe { libc::munmap(self.0.cast(), 2 * AREA) };
    }
}

#[derive(Copy, Clone, Debug)]
enum How {
    Copy,
    Set,
    /// Wrong on purpose: what the test is there to find.
    Bytes,
}

/// Stops the child where stepping is to begin and to end.
fn stop() {
    // SAFETY: the parent waits for it.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn child_body(shared: &Shared, cases: &[(How, usize, usize, CopyFlags)]) {
    // SAFETY: the parent is there.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, null_mut::<c_void>(), null_mut::<c_void>()) };
    let memory: &dyn Persist = Cpu::get();
    // The choice of instructions is made before.
    let _ = Engine::get();
    for &(how, at, len, flags) in cases {
        stop();
        // SAFETY: inside the two halves.
        unsafe {
            match how {
                How::Copy => memory.copy(shared.dest().add(at), shared.0.add(at % 13), len, flags),
                How::Bytes => {
                    for place in at..at + len {
                        shared.dest().add(place).write_volatile(NEW);
                    }
                    Ok(())
                }
                How::Set => memory.set(shared.dest().add(at), NEW, len, flags),
            }
        }
        .unwrap();
        stop();
    }
}

/// Lets the child go on; gives the signal that stops it next.
fn resume(pid: i32, request: libc::c_uint) -> i32 {
    // SAFETY: the child is stopped and traced by this thread.
    let done = unsafe { libc::ptrace(request, pid, null_mut::<c_void>(), null_mut::<c_void>()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFSTOPPED(status), "the child ended: {status:#x}");
    libc::WSTOPSIG(status)
}

/// Whether a word of the destination is half old, half new.
fn torn(shared: &Shared, at: usize, len: usize) -> Option<(usize, u64)> {
    let words = (at.next_multiple_of(8)..(at + len) & !7).step_by(8);
    for place in words {
        // SAFETY: an aligned word of the mapping; the child is stopped.
        let word = unsafe { shared.dest().add(place).cast::<u64>().read_volatile() };
        if word != u64::from_ne_bytes([OLD; 8]) && word != u64::from_ne_bytes([NEW; 8]) {
            return Some((place, word));
        }
    }
    None
}

fn cases() -> Vec<(How, usize, usize, CopyFlags)> {
    let mut cases = Vec::new();
    // Each step costs two switches between the processes, so only lengths and places at which the
    // pieces change are tried.
    for flags in [CopyFlags::NONE, CopyFlags::NOFLUSH, CopyFlags::NONTEMPORAL] {
        for len in [8, 13, 24, 27, 40, 72, 136] {
            for at in [0, 3, 12, 56] {
                cases.push((How::Copy, at, len, flags));
            }
        }
        for len in [8, 17, 72] {
            for at in [0, 13] {
                cases.push((How::Set, at, len, flags));
            }
        }
    }
    for (at, len) in [(56, 640), (3, 577)] {
        cases.push((How::Copy, at, len, CopyFlags::NONE));
    }
    cases
}

fn no_word_is_torn() {
    let found = torn_words(&cases());
    assert!(found.is_empty(), "{} cases: {found:#?}", found.len());
}

/// Runs the cases and tells which of them tore a word.
fn torn_words(cases: &[(How, usize, usize, CopyFlags)]) -> Vec<String> {
    let shared = Shared::new();
    // SAFETY: this process runs this test alone (`child::run`).
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let body = std::panic::AssertUnwindSafe(|| child_body(&shared, cases));
        let passed = std::panic::catch_unwind(body).is_ok();
        // SAFETY: ends the child without the harness's handlers.
        unsafe { libc::_exit(i32::from(!passed)) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    let mut steps = 0u64;
    let mut found = Vec::new();
    for &(how, at, len, flags) in cases {
        assert!(libc::WIFSTOPPED(status));
        // SAFETY: the second half of the mapping; the child is stopped.
        unsafe { shared.dest().write_bytes(OLD, AREA) };
        let mut stopped = libc::SIGTRAP;
        while stopped == libc::SIGTRAP {
            stopped = resume(pid, libc::PTRACE_SINGLESTEP);
            steps += 1;
            if let Some((place, word)) = torn(&shared, at, len) {
                found.push(format!("{how:?} of {len} at {at}, {flags:?}: {word:#x} at {place}"));
                break;
            }
        }
        while stopped != libc::SIGSTOP {
            stopped = resume(pid, libc::PTRACE_CONT);
        }
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(shared.dest(), AREA) };
        assert!(bytes[at..at + len].iter().all(|&byte| byte == NEW), "{how:?} of {len} at {at}");
        // On to the next case, or to the end.
        // SAFETY: the child is stopped and traced by this thread.
        unsafe { libc::ptrace(libc::PTRACE_CONT, pid, null_mut::<c_void>(), null_mut::<c_void>()) };
        // SAFETY: `status` is writable.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    assert!(steps > 5 * cases.len() as u64, "only {steps} steps: nothing was looked at");
    found
}

#[test]
fn words_stay_whole() {
    child::run("torn::words_stay_whole", || {
        no_word_is_torn();
        let wrong = [(How::Bytes, 8, 8, CopyFlags::NONE), (How::Bytes, 3, 20, CopyFlags::NONE)];
        assert_eq!(torn_words(&wrong).len(), 2, "the test sees nothing");
    });
}

/// The other kinds of stores.
#[test]
fn words_stay_whole_with_older_instructions() {
    let variables = [
        ("PMEM_AVX512F", "0", Stores::Avx),
        ("PMEM_AVX", "0", Stores::Sse2),
        ("PMEM_NO_MOVNT", "1", Stores::Words),
    ];
    child::run("torn::words_stay_whole_with_older_instructions", || {
        for (name, value, expected) in variables {
            // SAFETY: no other thread of this process reads the environment.
            unsafe { std::env::set_var(name, value) };
            let passed = child::fork(|| {
                let stores = Engine::get().stores();
                // A machine may have less than the variable leaves.
                assert!(
                    stores == expected || expected == Stores::Avx || !cfg!(target_arch = "x86_64")
                );
                no_word_is_torn();
            });
            assert_eq!(passed, 0, "{name}={value}");
        }
    });
}
