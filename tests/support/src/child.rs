//! Tests that change their whole process (limits, descriptors, signals) run in one of their own.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, exit};

const VARIABLE: &str = "PMEM_TEST_CHILD";

/// What a child answers when the body has run to its end; a mistyped test name gives 0 instead.
const PASSED: i32 = 42;

/// Runs `body` in a process that runs nothing else. `test` is the calling test's own name with its
/// module. What the process prints is printed.
///
/// # Panics
/// When the process does not run the body to its end.
pub fn run(test: &str, body: impl FnOnce()) {
    if env::var(VARIABLE).as_deref() == Ok(test) {
        body();
        exit(PASSED);
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    let (code, signal) = (output.status.code(), output.status.signal());
    assert!(code == Some(PASSED), "{test}: code {code:?}, signal {signal:?}");
    for line in output.stderr.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b"NOT CHECKED") {
            crate::tell(line);
        }
    }
}

/// Forks, runs `body` in the child, and gives the child's exit code. Call it inside of [`run`].
///
/// # Panics
/// Without another process.
pub fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: the process has no other running thread that matters to the body.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        // SAFETY: ends the child without running the test harness's handlers.
        unsafe { libc::_exit(if passed { 0 } else { 1 }) };
    }
    wait(pid)
}

/// Waits for a child; its exit code, or 128 and the signal that killed it.
///
/// # Panics
/// When it is no child.
#[must_use]
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// The descriptors of this process that stand for deleted files and files in memory, in rising
/// order.
///
/// # Panics
/// Without `/proc`.
#[must_use]
pub fn unnamed_files() -> Vec<i32> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().ends_with(" (deleted)") {
            numbers.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    numbers.sort_unstable();
    numbers
}
