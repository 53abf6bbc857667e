//! A program twice, plain and in a pool: the same output?

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::artifact::{find, need};
use crate::preload::{Pool, plain};
use crate::run::run;
use crate::scratch::Scratch;

/// How long one run may take.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A pool large enough for every process of a program.
pub fn roomy() -> Pool {
    Pool::lazy(1024).with_reports()
}

/// Path of a file of the folder `scripts`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Runs what `make` gives twice, each time in an empty working directory: plain and in a pool. Exit code
/// and output must be equal after `clean`, and `allocator`, a program of the run, must have used the pool.
pub fn compare_cleaned(
    allocator: &str,
    make: impl Fn() -> Command,
    clean: impl Fn(String) -> String,
) {
    let run_in = |prepare: &dyn Fn(&mut Command)| -> (Option<i32>, String, String) {
        let work = Scratch::new("work");
        let mut command = make();
        prepare(&mut command);
        command.current_dir(work.path()).env("HOME", work.path()).env("TMPDIR", work.path());
        let outcome = run(&mut command, LIMIT);
        assert!(outcome.status.is_some(), "{outcome}");
        let place = work.path().display().to_string();
        let clean = |text: String| clean(text.replace(&place, "WORK"));
        (outcome.code(), clean(outcome.out()), clean(outcome.err()))
    };
    let expected = run_in(&|command| {
        plain(command);
    });
    assert_eq!(expected.0, Some(0), "fails without a pool already: {expected:?}");
    let pool = roomy();
    let found = run_in(&|command| {
        pool.preload(command);
    });
    assert!(expected == found, "{}", difference(&expected, &found));
    served(&pool, allocator);
}

/// [`compare_cleaned`] without cleaning.
pub fn compare(allocator: &str, make: impl Fn() -> Command) {
    compare_cleaned(allocator, make, |text| text);
}

/// The first differing line of two runs.
pub fn difference(
    expected: &(Option<i32>, String, String),
    found: &(Option<i32>, String, String),
) -> String {
    let lines = expected.1.lines().chain(expected.2.lines());
    let others = found.1.lines().chain(found.2.lines());
    let first = lines.zip(others).find(|(a, b)| a != b);
    format!(
        "exit codes {:?} and {:?}; first difference {first:?}; in the pool it printed\n{}\n{}",
        expected.0, found.0, found.1, found.2
    )
}

/// A process called `name` was served from the pool.
pub fn served(pool: &Pool, name: &str) {
    let reports = pool.reports();
    let found: u64 = reports
        .iter()
        .filter(|r| r.program().rsplit('/').next().is_some_and(|p| p.starts_with(name)))
        .map(|r| r.number("allocations"))
        .sum();
    let programs: Vec<_> = reports.iter().map(|r| r.program().to_owned()).collect();
    assert!(found > 10, "{name} made {found} allocations in the pool; reports of {programs:?}");
}

/// The program `name` of the Debian package `package` with its arguments.
pub fn command(name: &str, package: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(need(name, package));
    command.args(arguments);
    command
}

/// `name` if the machine has it: programs a test may do without.
pub fn optional(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        println!("NOT CHECKED: {name} is not installed");
    }
    found
}
