//! Tests that measure or change their whole process run in a process of their own.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, exit};

const VARIABLE: &str = "VMEM_ENGINE_TEST_CHILD";

/// What a child answers when the body has run to its end; a mistyped test name gives 0 instead.
const PASSED: i32 = 42;

/// Runs `body` in a process that runs nothing else. `test` is the calling test's own name.
pub(crate) fn run(test: &str, body: impl FnOnce()) {
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
}
