//! The harness itself: a harness that cannot see failures would make every other test worthless.

use std::panic;
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::program;
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::run::{SHORT, run, run_with_input};
use pmem_e2e::stats::Report;

#[test]
fn a_hanging_program_is_killed_with_its_children() {
    let outcome = run(
        Command::new("sh").args(["-c", "echo begun; sleep 1000 & sleep 1000"]),
        Duration::from_millis(300),
    );
    assert_eq!(outcome.status, None);
    assert_eq!(outcome.out(), "begun\n");
    assert!(outcome.wall < Duration::from_secs(5));
}

#[test]
fn exit_codes_signals_and_output_are_seen() {
    let outcome = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]), SHORT);
    assert_eq!((outcome.code(), outcome.signal()), (Some(7), None));
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("out\n", "err\n"));
    let outcome = run(Command::new("sh").args(["-c", "kill -ABRT $$"]), SHORT);
    assert_eq!((outcome.code(), outcome.signal()), (None, Some(libc::SIGABRT)));
    assert_eq!(run_with_input(&mut Command::new("cat"), b"in", SHORT).out(), "in");
}

/// A failing, a crashing, a silent and a passing case.
#[test]
fn failing_cases_are_named() {
    let program = program("selftest");
    let cases = Cases::of(&program).limit(Duration::from_secs(2));
    let failure = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        cases.run_with(|command| {
            plain(command);
        });
    }))
    .expect_err("failing cases were taken for passing ones");
    let text = failure.downcast_ref::<String>().expect("a message");
    for name in
        ["fails", "fails_in_a_thread", "fails_in_a_child", "crashes", "hangs", "exits_early"]
    {
        assert!(text.contains(&format!("case {name}: ")), "{name} is not named in:\n{text}");
    }
    assert!(text.contains("6 of 8 cases failed"), "{text}");
    assert!(text.contains("selftest.c:"), "no place in:\n{text}");
}

#[test]
fn the_cases_of_c_programs_run_without_a_pool() {
    let program = program("selftest");
    Cases::of(&program).only(|name| name.starts_with("passes")).run_with(|command| {
        plain(command);
    });
}

#[test]
fn a_pool_sets_its_variables_and_no_others() {
    let pool = Pool::lazy(16).fork(2).set("VMMALLOC_PURGE_MS", "100");
    let mut command = Command::new("env");
    let outcome = run(pool.describe(&mut command), SHORT).success();
    let out = outcome.out();
    let mut lines: Vec<&str> = out.lines().filter(|l| l.starts_with("VMMALLOC_")).collect();
    lines.sort_unstable();
    let dir = format!("VMMALLOC_POOL_DIR={}", pool.dir().display());
    assert_eq!(
        lines,
        [
            "VMMALLOC_FORK=2",
            dir.as_str(),
            "VMMALLOC_POOL_SIZE=16777216",
            "VMMALLOC_PURGE_MS=100",
            "VMMALLOC_SPACE=lazy",
        ]
    );
}

#[test]
fn a_report_is_one_line_of_json() {
    assert!(Report::parse("{\"pid\":1}\n").is_ok());
    assert!(Report::parse("{\"pid\":1}").is_err());
    assert!(Report::parse("{\"pid\":1}\n{}\n").is_err());
    assert!(Report::parse("[1]\n").is_err());
}
