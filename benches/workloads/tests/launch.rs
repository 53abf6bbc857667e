//! The launcher reports what became of a process tree and what it used.

use std::path::PathBuf;
use std::process::{Command, Output};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_pmem-launch");
const WORKLOADS: &str = env!("CARGO_BIN_EXE_pmem-workloads");

struct Launched {
    output: Output,
    report: String,
}

impl Launched {
    /// A number, or a word, of the report.
    fn field(&self, name: &str) -> &str {
        let key = format!("\"{name}\":");
        let at = self.report.find(&key).unwrap_or_else(|| panic!("{name} in {}", self.report));
        let rest = &self.report[at + key.len()..];
        &rest[..rest.find([',', '}']).expect("an end")]
    }

    fn number(&self, name: &str) -> i64 {
        self.field(name).parse().expect("a number")
    }
}

fn launch(test: &str, options: &[&str], program: &[&str]) -> Launched {
    let path: PathBuf =
        std::env::temp_dir().join(format!("pmem-launch-{}-{test}", std::process::id()));
    let output = Command::new(LAUNCHER)
        .arg("--report")
        .arg(&path)
        .args(options)
        .arg("--")
        .args(program)
        .output()
        .expect("the launcher starts");
    let report = std::fs::read_to_string(&path).unwrap_or_default();
    // Not there if the launcher refused its arguments.
    let _ = std::fs::remove_file(&path);
    Launched { output, report }
}

#[test]
fn the_exit_status_is_reported() {
    let launched = launch("status", &[], &["sh", "-c", "exit 7"]);
    assert!(launched.output.status.success());
    assert_eq!(launched.number("exit_status"), 7);
    assert_eq!(launched.number("signal"), 0);
    assert_eq!(launched.field("timed_out"), "false");
}

#[test]
fn a_signal_is_reported() {
    let launched = launch("signal", &[], &["sh", "-c", "kill -SEGV $$"]);
    assert_eq!(launched.number("exit_status"), -1);
    assert_eq!(launched.number("signal"), 11);
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_its_children() {
    let launched = launch("timeout", &["--timeout", "1"], &["sh", "-c", "sleep 60 & sleep 60"]);
    assert_eq!(launched.field("timed_out"), "true");
    assert_eq!(launched.number("signal"), 9);
    assert!(launched.number("wall_us") < 20_000_000, "{}", launched.report);
}

#[test]
fn a_program_that_does_not_exist_is_an_error() {
    let launched = launch("missing", &[], &["/nonexistent/program"]);
    assert_eq!(launched.output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&launched.output.stderr);
    assert!(text.contains("/nonexistent/program: No such file or directory"), "{text}");
}

#[test]
fn settings_reach_the_program_and_replace_what_was_there() {
    let options = ["--set", "HOME=/somewhere", "--set", "PMEM_TEST=a=b"];
    let launched = launch("settings", &options, &["sh", "-c", "echo $HOME $PMEM_TEST"]);
    assert_eq!(String::from_utf8_lossy(&launched.output.stdout), "/somewhere a=b\n");
}

#[test]
fn the_peak_is_that_of_the_program_and_not_of_who_asked() {
    // This process becomes much larger than `true`.
    let ballast = vec![1_u8; 64 << 20];
    let launched = launch("peak", &[], &["true"]);
    assert!(launched.number("peak_rss_kib") < 16 << 10, "{}", launched.report);
    assert_eq!(ballast[ballast.len() - 1], 1);
    let program = [WORKLOADS, "large64m", "--ops", "1"];
    let launched = launch("large", &[], &program);
    assert!(launched.number("peak_rss_kib") >= 64 << 10, "{}", launched.report);
    assert!(launched.number("minor_faults") > 0, "{}", launched.report);
}

#[test]
fn descendants_that_lost_their_parent_are_waited_for_and_counted() {
    // The worker's parent ends at once; the worker goes on, in a session of its own.
    let script = format!("(setsid {WORKLOADS} pair16 --ops 30000000 >/dev/null &) ; exit 3");
    let launched = launch("orphan", &[], &["sh", "-c", &script]);
    assert_eq!(launched.number("exit_status"), 3);
    assert!(launched.number("user_us") > 50_000, "{}", launched.report);
}

#[test]
fn bad_usage_prints_the_usage() {
    for arguments in
        [&[][..], &["--report"], &["--report", "x"], &["--", "true"], &["--set", "x", "--", "true"]]
    {
        let output = Command::new(LAUNCHER).args(arguments).output().expect("the launcher starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage:"));
    }
}
