//! Every case prints the same result each time and under every allocator that can be had.

use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pmem-workloads");

/// Small enough for a test; each case does at least one unit of work.
const SCALE: &str = "0.002";

fn run(arguments: &[&str], preload: Option<&Path>) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("LD_PRELOAD");
    if let Some(library) = preload {
        command.env("LD_PRELOAD", library);
    }
    command.output().expect("the program starts")
}

/// The printed line without what differs from run to run.
fn result(case: &str, seed: &str, preload: Option<&Path>) -> String {
    let output = run(&[case, "--scale", SCALE, "--seed", seed], preload);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case} under {preload:?}: {}: {complaints}", output.status);
    assert!(!complaints.contains("cannot be preloaded"), "{complaints}");
    let text = String::from_utf8(output.stdout).expect("plain text");
    let differs =
        |field: &&str| ["rss_", "work_", "pages_"].iter().any(|start| field.starts_with(start));
    let kept: Vec<&str> = text.split_whitespace().filter(|field| !differs(field)).collect();
    kept.join(" ")
}

fn cases() -> Vec<String> {
    let output = run(&["list"], None);
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).expect("plain text");
    list.lines().map(|line| line.split('\t').next().expect("a name").to_owned()).collect()
}

#[test]
fn each_case_gives_the_same_result_under_every_allocator() {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    // The C library itself is always there; the others are compared where they are installed.
    let libraries =
        ["libc.so.6", "libmimalloc.so.2", "libjemalloc.so.2", "libtcmalloc_minimal.so.4"]
            .map(|file| Path::new("/usr/lib").join(&triple).join(file));
    let all = cases();
    assert!(all.len() > 40, "{all:?}");
    for case in all {
        let expected = result(&case, "42", None);
        assert!(expected.contains(" checksum="), "{expected}");
        for library in libraries.iter().filter(|library| library.exists()) {
            assert_eq!(result(&case, "42", Some(library)), expected, "under {}", library.display());
        }
    }
}

#[test]
fn the_seed_changes_what_random_cases_do() {
    for case in ["churn-small", "primes", "minimise", "nbody", "server", "retain", "long-run"] {
        assert_ne!(result(case, "1", None), result(case, "2", None), "{case}");
    }
}

#[test]
fn the_scale_changes_the_amount_of_work() {
    let operations = |scale| {
        let output = run(&["churn-small", "--scale", scale], None);
        String::from_utf8(output.stdout).expect("plain text").split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(operations("0.001").as_deref(), Some("ops=12000"));
    assert_eq!(operations("0.002").as_deref(), Some("ops=24000"));
}

#[test]
fn the_long_run_reports_what_is_alive_and_what_it_takes() {
    let output = run(&["long-run", "--scale", "0.1"], None);
    let text = String::from_utf8(output.stdout).expect("plain text");
    let field = |name: &str| -> u64 {
        let field = text.split_whitespace().find_map(|field| field.strip_prefix(name));
        field.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    };
    let (live, resident) = (field("live_bytes="), field("rss_bytes="));
    assert!(live >= 32 << 20, "{text}");
    assert!(resident >= live, "{text}");
    let pages = field("pages_bytes=");
    assert!((live..=resident).contains(&pages) && pages.is_multiple_of(4096), "{text}");
}

#[test]
fn parameters_can_be_given() {
    let fifo = run(&["batch", "--size", "48", "--count", "10", "--ops", "100"], None);
    let lifo = ["batch", "--size", "48", "--count", "10", "--ops", "100", "--order", "lifo"];
    let lifo = run(&lifo, None);
    let text = String::from_utf8_lossy(&fifo.stdout);
    assert!(text.starts_with("workload=batch ops=100 checksum="), "{text}");
    let sum = |output: &Output| {
        String::from_utf8_lossy(&output.stdout).split(' ').nth(2).map(str::to_owned)
    };
    assert_eq!(sum(&fifo), sum(&lifo), "the order of frees does not change the sum");
}

#[test]
fn bad_usage_is_named_and_nothing_is_run() {
    for (arguments, complaint) in [
        (&["nonsense"][..], "unknown workload 'nonsense'"),
        (&["pair16", "--size", "x"], "--size 'x'"),
        (&["pair16", "--size", "-1"], "--size '-1'"),
        (&["pair16", "--scale", "0"], "--scale '0'"),
        (&["pair16", "--colour", "red"], "unknown option '--colour'"),
        (&["pair16", "--ops"], "no value for '--ops'"),
        (&["churn", "--min", "9", "--max", "8"], "--min is above --max"),
    ] {
        let output = run(arguments, None);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(complaint), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}
