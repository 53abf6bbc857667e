//! Hooks, clocks, messages.

use std::ffi::c_void;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};

use pmem_core::fmt::write_stderr;
use pmem_core::sys::{self, ExitKey};

use pmem_test_support::child;

static KEY: OnceLock<ExitKey> = OnceLock::new();
static CALLS: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn at_exit(value: *mut c_void) {
    LAST.store(value.addr(), SeqCst);
    CALLS.fetch_add(1, SeqCst);
    KEY.get().unwrap().arm(value).unwrap();
}

#[test]
fn a_thread_that_armed_the_key_calls_the_hook_up_to_four_times() {
    let key = *KEY.get_or_init(|| ExitKey::new(at_exit).unwrap());
    let run = |value: usize| {
        std::thread::spawn(move || key.arm(ptr::without_provenance_mut(value)).unwrap())
            .join()
            .unwrap();
    };
    run(0);
    assert_eq!(CALLS.load(SeqCst), 0);
    run(77);
    assert_eq!((CALLS.load(SeqCst), LAST.load(SeqCst)), (4, 77));
}

static STEPS: AtomicU32 = AtomicU32::new(0);

fn step(digit: u32) {
    let before = STEPS.load(SeqCst);
    STEPS.store(before * 10 + digit, SeqCst);
}

unsafe extern "C" fn prepare() {
    step(1);
}

unsafe extern "C" fn parent() {
    step(2);
}

unsafe extern "C" fn in_child() {
    step(3);
}

#[test]
fn fork_handlers_run() {
    child::run("process::fork_handlers_run", || {
        sys::at_fork(prepare, parent, in_child).unwrap();
        assert_eq!(child::fork(|| assert_eq!(STEPS.load(SeqCst), 13)), 0);
        assert_eq!(STEPS.load(SeqCst), 12);
    });
}

/// What a forked child writes to standard error, and how it ended.
fn standard_error_of(body: impl FnOnce()) -> (String, i32) {
    let mut ends = [0; 2];
    // SAFETY: two writable numbers.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the body makes system calls only.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: the child's own descriptors.
        unsafe { libc::dup2(ends[1], libc::STDERR_FILENO) };
        body();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: this process's end, used nowhere else.
    unsafe { libc::close(ends[1]) };
    // SAFETY: as above.
    let mut reader = unsafe { std::fs::File::from_raw_fd(ends[0]) };
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text, child::wait(pid))
}

#[test]
fn messages_arrive_whole() {
    child::run("process::messages_arrive_whole", || {
        let long = "0123456789".repeat(20_000);
        let (text, code) = standard_error_of(|| write_stderr(long.as_bytes()));
        assert!(text == long && code == 0, "{} of {} bytes", text.len(), long.len());
        let (text, code) = standard_error_of(|| sys::abort_with(b"pool: broken\n"));
        assert_eq!((text.as_str(), code), ("pool: broken\n", 128 + libc::SIGABRT));
    });
}

#[test]
fn facts_agree_with_the_c_library() {
    // SAFETY: asks for numbers.
    let (page, cpus) =
        unsafe { (libc::sysconf(libc::_SC_PAGESIZE), libc::sysconf(libc::_SC_NPROCESSORS_CONF)) };
    assert_eq!(sys::page_size(), usize::try_from(page).unwrap());
    assert!(sys::current_cpu() < usize::try_from(cpus).unwrap());
    assert_eq!(sys::process_id(), i32::try_from(std::process::id()).unwrap());
    assert_ne!(std::thread::spawn(sys::thread_id).join().unwrap(), sys::thread_id());
    assert!(!sys::is_secure());
}

#[test]
fn the_clock_goes_forward() {
    let start = sys::monotonic_ms();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let passed = sys::monotonic_ms() - start;
    // A coarse clock may lag by a tick of 10 ms.
    assert!((40..10_000).contains(&passed), "{passed} ms");
}

#[test]
fn random_bytes_differ() {
    let mut buffers = [[0u8; 32]; 2];
    for buffer in &mut buffers {
        sys::fill_random(buffer);
    }
    assert_ne!(buffers[0], buffers[1]);
    assert_ne!(buffers[0], [0; 32]);
}
