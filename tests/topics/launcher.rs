//! The `vmmalloc` launcher: what it sets, what it checks first, how it refuses.

use std::fs;
use std::path::Path;
use std::process::Command;

use pmem_e2e::artifact::{launcher, program};
use pmem_e2e::mount::Mount;
use pmem_e2e::preload::plain;
use pmem_e2e::run::{Outcome, SHORT, run};
use pmem_e2e::scratch::Scratch;
use pmem_e2e::stats::Report;

/// The launcher with a directory given through `--dir`, and more arguments.
fn launch(dir: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(launcher());
    plain(&mut command).arg("--dir").arg(dir).args(arguments);
    run(&mut command, SHORT)
}

/// Refused before anything was started: one line that names `value`.
fn refused(outcome: &Outcome, value: &str) {
    assert!(outcome.code().is_some_and(|code| code != 0), "{outcome}");
    assert_eq!(outcome.out(), "", "the program was started: {outcome}");
    let err = outcome.err();
    assert_eq!(err.lines().count(), 1, "{outcome}");
    assert!(err.contains(value), "{value:?} is not named: {outcome}");
}

#[test]
fn a_program_runs_in_the_pool() {
    let dir = Scratch::in_memory("launch");
    let mapped = program("mapped");
    let mapped = mapped.to_str().expect("a readable path");
    let place = dir.path().to_str().expect("a readable path");
    for options in [
        &[][..],
        &["--size", "64M"],
        &["--lazy"],
        &["--prealloc", "--size", "16M"],
        &["--fork", "2"],
        &["--lazy", "--size=32M", "--fork=3"],
    ] {
        let arguments = [options, &["--", mapped, place]].concat();
        let outcome = launch(dir.path(), &arguments).success();
        let out = outcome.out();
        let count = out.strip_prefix("mappings of the pool: ").expect("the program's line");
        assert_ne!(count.trim(), "0", "{options:?}: the heap is elsewhere");
        assert_eq!(outcome.err(), "", "{options:?}");
    }
}

#[test]
fn arguments_exit_codes_and_signals_pass_through() {
    let dir = Scratch::in_memory("launch");
    let out = launch(dir.path(), &["--", "printf", "%s|", "a b", "--help", "--", ""]).success();
    assert_eq!(out.out(), "a b|--help|--||");
    assert_eq!(launch(dir.path(), &["--", "sh", "-c", "exit 42"]).code(), Some(42));
    let killed = launch(dir.path(), &["--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.signal(), Some(libc::SIGTERM), "{killed}");
}

#[test]
fn children_inherit_the_pool() {
    let dir = Scratch::in_memory("launch");
    let script = "echo \"$(echo inner | cat)\" | tr a-z A-Z";
    assert_eq!(launch(dir.path(), &["--", "bash", "-c", script]).success().out(), "INNER\n");
}

#[test]
fn help_is_help() {
    let outcome = run(plain(Command::new(launcher()).arg("--help")), SHORT).success();
    for option in ["--dir", "--size", "--lazy", "--prealloc", "--fork", "--stats", "--overflow"] {
        assert!(outcome.out().contains(option), "{option} is missing in:\n{}", outcome.out());
    }
}

#[test]
fn stats_as_json_are_one_report() {
    let dir = Scratch::in_memory("launch");
    let hello = program("hello");
    let hello = hello.to_str().expect("a readable path");
    let outcome = launch(dir.path(), &["--stats=json", "--", hello]).success();
    assert_eq!(outcome.out(), "hello\n");
    let report = Report::parse(&outcome.err()).unwrap_or_else(|e| panic!("{e}: {outcome}"));
    assert!(report.number("allocations") >= 1, "{}", report.text());
    assert!(launch(dir.path(), &["--stats", "--", hello]).success().err().lines().count() > 1);
}

#[test]
fn bad_arguments_are_refused() {
    let dir = Scratch::in_memory("launch");
    let bad = |arguments: &[&str], value: &str| {
        refused(&launch(dir.path(), &[arguments, &["--", "echo", "started"]].concat()), value);
    };
    bad(&["--frobnicate"], "--frobnicate");
    bad(&["--size", "nonsense"], "nonsense");
    bad(&["--size", "1M"], "1M");
    bad(&["--size", "-5"], "-5");
    bad(&["--size", "0"], "0");
    bad(&["--size", ""], "--size");
    bad(&["--fork", "4"], "4");
    bad(&["--fork", "abc"], "abc");
    bad(&["--stats=xml"], "xml");
    bad(&["--overflow=disk"], "disk");
    refused(&launch(dir.path(), &["--", "/nonexistent/program"]), "/nonexistent/program");
    refused(&launch(dir.path(), &["--size"]), "--size");
    let nothing = launch(dir.path(), &[]);
    assert!(nothing.code().is_some_and(|code| code != 0), "{nothing}");
    assert!(!nothing.err().is_empty(), "{nothing}");
}

#[test]
fn bad_directories_are_refused() {
    let dir = Scratch::in_memory("launch");
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("a file");
    for bad in [Path::new("/nonexistent/dir"), &file, Path::new("/dev/null")] {
        let outcome = launch(bad, &["--", "echo", "started"]);
        refused(&outcome, bad.to_str().expect("a readable path"));
    }
}

#[test]
fn file_systems_that_cannot_hold_the_pool_are_refused() {
    let Some(mount) = Mount::tmpfs(24, "the launcher's check for space") else { return };
    let place = mount.path().to_str().expect("a readable path");
    refused(
        &launch(mount.path(), &["--prealloc", "--size", "64M", "--", "echo", "started"]),
        place,
    );
    mount.remount("ro");
    refused(&launch(mount.path(), &["--", "echo", "started"]), place);
}
