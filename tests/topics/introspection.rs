//! What a process can learn about its heap, and the report it leaves.

use std::process::Command;

use pmem_e2e::MIB;
use pmem_e2e::artifact::{library, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::Pool;
use pmem_e2e::run::{Outcome, SHORT, run};
use pmem_e2e::stats::Report;

const PROGRAM: &str = "introspection";

fn run_case(pool: &Pool, name: &str) -> Outcome {
    let outcome = run(pool.command(program(PROGRAM)).arg(name), SHORT).success();
    assert_eq!(outcome.out().lines().last(), Some(&*format!("ok {name}")), "{outcome}");
    outcome
}

#[test]
fn the_calls_tell_of_the_pool() {
    let program = program(PROGRAM);
    let cases = Cases::of(&program);
    cases
        .only(|name| !name.starts_with("report_") && !name.starts_with("overflow_"))
        .run(&Pool::lazy(64));
}

/// Numbers in a text, in order.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn malloc_stats_prints_numbers_of_the_pool_on_stderr() {
    for case in ["malloc_stats_prints", "malloc_stats_of_a_full_pool"] {
        let outcome = run_case(&Pool::lazy(64), case);
        let err = outcome.err();
        assert!(numbers(&err).contains(&(64 * MIB)), "no pool size in:\n{err}");
        assert!(numbers(&err).iter().any(|n| (8 * MIB..=64 * MIB).contains(n)), "{err}");
    }
}

#[test]
fn malloc_info_prints_xml() {
    let outcome = run_case(&Pool::lazy(64), "malloc_info_prints");
    let out = outcome.out();
    let xml = out.strip_suffix("ok malloc_info_prints\n").expect("the last line").trim();
    assert!(xml.starts_with("<malloc version="), "{xml}");
    let mut open = Vec::new();
    for tag in xml.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('&'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{xml}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a name"));
        }
    }
    assert!(open.is_empty(), "{open:?} stay open in {xml}");
    assert!(numbers(xml).iter().any(|n| (8 * MIB..=64 * MIB).contains(n)), "{xml}");
}

/// The only report of a pool.
fn only_report(pool: &Pool) -> Report {
    let mut reports = pool.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0)
}

fn check_consistency(report: &Report) {
    let n = |name| report.number(name);
    let text = report.text();
    assert!(n("allocations") >= n("frees").saturating_sub(n("foreign_frees")), "{text}");
    assert!(n("requested_bytes_live") <= n("allocated_bytes"), "{text}");
    assert!(n("allocated_bytes") <= n("active_bytes"), "{text}");
    assert!(n("peak_allocated_bytes") <= n("peak_committed_bytes"), "{text}");
    assert!(n("active_bytes") <= n("committed_bytes"), "{text}");
    assert!(n("committed_bytes") <= n("peak_committed_bytes"), "{text}");
    assert!(n("peak_committed_bytes") <= n("pool_bytes"), "{text}");
    assert!(n("allocated_bytes") <= n("peak_allocated_bytes"), "{text}");
    assert!(n("resident_bytes") <= n("pool_bytes"), "{text}");
    let classes = report.classes();
    assert!(classes.windows(2).all(|pair| pair[0].size < pair[1].size), "{text}");
    let live: u64 = classes.iter().map(|class| class.size * class.live).sum();
    assert!(live <= n("allocated_bytes"), "{text}");
    let cached: u64 = classes.iter().map(|class| class.size * class.cached).sum();
    assert_eq!(cached, n("thread_cache_bytes"), "{text}");
    assert!(classes.iter().all(|c| c.slabs > 0 || c.live + c.free + c.cached == 0), "{text}");
}

#[test]
fn the_report_counts_right() {
    let pool = Pool::lazy(64).with_reports();
    run_case(&pool, "report_of_known_numbers");
    let report = only_report(&pool);
    check_consistency(&report);
    assert_eq!(report.program().rsplit('/').next(), Some(PROGRAM));
    assert_eq!(report.number("pool_bytes"), 64 * MIB);
    let live = 1000 * 1000 + 3 * MIB;
    // The C library has a few blocks of its own (stdio, the thread).
    let requested = report.number("requested_bytes_live");
    assert!((live..live + 64 * 1024).contains(&requested), "{}", report.text());
    assert!(report.number("allocated_bytes") <= live + live / 8 + 64 * 1024, "{}", report.text());
    let allocations = report.number("allocations");
    assert!((1121..1200).contains(&allocations), "{}", report.text());
    let frees = report.number("frees");
    assert!((120..200).contains(&frees), "{}", report.text());
    assert_eq!(report.number("foreign_frees"), 50);
    assert_eq!(report.number("overflow_bytes"), 0);
    let peak = report.number("peak_allocated_bytes");
    assert!(peak >= live + 8 * MIB, "{}", report.text());
    let class =
        report.classes().into_iter().find(|c| c.size >= 1000).expect("a class for 1000 bytes");
    assert!((1000..1010).contains(&class.live), "{class:?} in {}", report.text());
}

#[test]
fn an_empty_heap_has_a_report() {
    let pool = Pool::lazy(64).with_reports();
    run_case(&pool, "report_of_an_empty_heap");
    check_consistency(&only_report(&pool));
}

#[test]
fn parent_and_child_report_each_for_itself() {
    for mode in 0..=3 {
        let pool = Pool::lazy(64).fork(mode).with_reports();
        run_case(&pool, "report_of_parent_and_child");
        assert_eq!(pool.reports().len(), 2, "mode {mode}");
        pool.reports().iter().for_each(check_consistency);
    }
}

#[test]
fn the_report_goes_to_stderr_without_a_file() {
    let pool = Pool::lazy(64).set("VMMALLOC_STATS", "json");
    let outcome = run(&mut pool.command(program("hello")), SHORT).success();
    assert_eq!(outcome.out(), "hello\n");
    check_consistency(&Report::parse(&outcome.err()).unwrap_or_else(|e| panic!("{e}: {outcome}")));
    let pool = Pool::lazy(64).set("VMMALLOC_STATS", "text");
    let outcome = run(&mut pool.command(program("hello")), SHORT).success();
    assert_eq!(outcome.out(), "hello\n");
    assert!(numbers(&outcome.err()).contains(&(64 * MIB)), "{outcome}");
}

/// Programs of coreutils close stderr in an exit handler; the report comes nevertheless.
#[test]
fn the_report_survives_a_closed_stderr() {
    let pool = Pool::lazy(64).set("VMMALLOC_STATS", "json");
    let outcome = run(pool.command("sort").arg("/dev/null"), SHORT).success();
    let report = Report::parse(&outcome.err()).unwrap_or_else(|e| panic!("{e}: {outcome}"));
    check_consistency(&report);
    let outcome = run_case(&pool, "report_after_closing_stderr");
    Report::parse(&outcome.err()).unwrap_or_else(|e| panic!("{e}: {outcome}"));
}

#[test]
fn a_lost_descriptor_loses_the_report_and_nothing_else() {
    run_case(&Pool::lazy(64).set("VMMALLOC_STATS", "json"), "report_after_closing_everything");
    run_case(&Pool::lazy(64).with_reports(), "report_after_closing_everything");
}

#[test]
fn nothing_is_reported_unasked() {
    let outcome = run(&mut Pool::lazy(64).command(program("hello")), SHORT).success();
    assert_eq!(outcome.err(), "");
}

#[test]
fn every_process_of_a_pipeline_reports() {
    let pool = Pool::lazy(64).with_reports();
    let mut command = pool.command("bash");
    command.args(["-c", "seq 1 1000 | sort -n | tail -1; /bin/true; echo $(echo inner)"]);
    assert_eq!(run(&mut command, SHORT).success().out(), "1000\ninner\n");
    let reports = pool.reports();
    reports.iter().for_each(check_consistency);
    for name in ["bash", "sort", "tail"] {
        let found = reports.iter().any(|r| r.program().rsplit('/').next() == Some(name));
        assert!(found, "no report of {name}: {reports:?}");
    }
}

#[test]
fn overflow_goes_to_dram_when_asked() {
    let program = program(PROGRAM);
    let pool = Pool::lazy(64).set("VMMALLOC_OVERFLOW", "dram").with_reports();
    let cases = Cases::of(&program);
    cases.only(|name| name == "overflow_to_dram").run(&pool);
    check_consistency(&only_report(&pool));
    for mode in 1..=3 {
        let pool = Pool::lazy(64).set("VMMALLOC_OVERFLOW", "dram").fork(mode);
        Cases::of(&program).only(|name| name == "overflow_to_dram_with_fork").run(&pool);
    }
}

/// A report with the numbers of a full run must not cost the process its exit code or its output.
#[test]
fn an_unwritable_report_is_no_failure() {
    let pool = Pool::lazy(64)
        .set("VMMALLOC_STATS", "json")
        .set("VMMALLOC_STATS_FILE", "/nonexistent/dir/report");
    let mut command = Command::new(program("hello"));
    pool.describe(&mut command).env("LD_PRELOAD", library());
    let outcome = run(&mut command, SHORT).success();
    assert_eq!(outcome.out(), "hello\n");
}
