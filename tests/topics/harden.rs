//! The hardened heap: errors end the program with one line, and programs without errors run as ever.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{need, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::run::{SHORT, run};

fn hardened(pool: Pool, level: &str) -> Pool {
    pool.set("VMMALLOC_HARDEN", level)
}

/// Every case of the C program that is an error, with what the line must say.
const ERRORS: [(&str, &[&str]); 16] = [
    ("double_free", &["double free of block 0x", "(size class 112)"]),
    ("double_free_later", &["double free of block 0x", "(size class "]),
    ("double_free_in_a_thread", &["double free of block 0x", "(size class 1024)"]),
    ("double_free_in_a_child", &["double free of block 0x", "(size class 1024)"]),
    ("double_free_of_pages", &["double free of block 0x", "(pages)"]),
    ("free_inside", &["not the start of a live block: 0x", "32 bytes inside block 0x"]),
    ("free_misaligned", &["not the start of a live block: 0x", "1 bytes inside block 0x"]),
    ("free_inside_of_pages", &["not the start of a live block: 0x"]),
    ("realloc_after_free", &["double free of block 0x", "realloc() found it free"]),
    ("overflow_small", &["heap overflow of block 0x", "a write behind its 41 bytes"]),
    ("overflow_medium", &["heap overflow of block 0x", "behind its 50000 bytes"]),
    ("overflow_pages", &["heap overflow of block 0x", "(769 pages)", "behind its 3145729 bytes"]),
    ("overflow_calloc", &["heap overflow of block 0x", "behind its 21 bytes"]),
    ("overflow_aligned", &["heap overflow of block 0x", "behind its 300 bytes"]),
    ("overflow_realloc", &["heap overflow of block 0x", "realloc() found", "its 77 bytes"]),
    ("write_after_free", &["use after free of block 0x", "malloc() found byte 50 changed"]),
];

fn each_error_is_reported(pool: &Pool, level: &str) {
    let program = program("harden");
    for (case, parts) in ERRORS {
        if case == "write_after_free" && level == "1" {
            continue;
        }
        let mut command = Command::new(&program);
        let outcome = run(pool.preload(command.arg(case)), SHORT);
        assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{case}: {outcome}");
        let text = outcome.err();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1, "{case}: not one line: {outcome}");
        assert!(lines[0].starts_with("vmem: "), "{case}: {outcome}");
        for part in parts {
            assert!(lines[0].contains(part), "{case}: {part:?} is missing: {outcome}");
        }
    }
}

#[test]
fn each_error_ends_the_program_with_one_line() {
    each_error_is_reported(&hardened(Pool::lazy(32), "1"), "1");
    each_error_is_reported(&hardened(Pool::prealloc(32), "2"), "2");
}

/// Counting calls and hardening both keep threads off the fast paths.
#[test]
fn each_error_is_found_in_a_heap_that_counts_calls() {
    each_error_is_reported(&hardened(Pool::lazy(32), "2").with_reports(), "2");
}

/// The tests above would pass with a program that always aborts, or a library that always does.
#[test]
fn without_hardening_the_same_program_gets_to_its_end() {
    let pool = Pool::lazy(32).set("VMMALLOC_HARDEN", "0");
    for (case, _) in ERRORS.iter().filter(|(case, _)| case.starts_with("overflow")) {
        let mut command = Command::new(program("harden"));
        run(pool.preload(command.arg(case)), SHORT).success();
    }
}

#[test]
fn blocks_hold_what_was_asked_for() {
    for level in ["1", "2"] {
        let program = program("harden");
        Cases::of(&program)
            .only(|name| name.starts_with("fine"))
            .run(&hardened(Pool::lazy(32), level));
    }
}

/// The case that fills pools with blocks of 8 bytes, which take 16 here, and the one of valloc, whose
/// block is as long as was asked for, say what holds without hardening.
#[test]
fn the_calls_of_the_contract() {
    for level in ["1", "2"] {
        for pool in [Pool::prealloc(16), Pool::lazy(16)] {
            Cases::of(&program("conformance"))
                .only(|name| {
                    ![
                        "a_full_pool_gives_enomem_and_recovers",
                        "valloc_is_page_aligned_and_uses_whole_pages",
                    ]
                    .contains(&name)
                })
                .run(&hardened(pool, level));
        }
        Cases::of(&program("reference")).run(&hardened(Pool::prealloc(16), level));
        Cases::of(&program("cxx")).run(&hardened(Pool::lazy(32), level));
    }
}

#[test]
fn a_full_pool_overflows_into_hardened_memory() {
    let pool = hardened(Pool::lazy(16), "2").set("VMMALLOC_OVERFLOW", "dram");
    Cases::of(&program("harden")).only(|name| name.starts_with("fine")).run(&pool);
}

#[test]
fn a_shell_in_every_fork_mode() {
    for mode in 1..=3 {
        let pool = hardened(Pool::lazy(64), "2").fork(mode);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bash.sh");
        let expected = run(plain(Command::new("bash").arg(&script)), SHORT).success();
        let found = run(pool.command("bash").arg(&script), SHORT);
        assert_eq!((found.code(), found.out()), (Some(0), expected.out()), "mode {mode}: {found}");
    }
}

/// The fork matrix, in short: parent and child go on, with threads too, and nothing is taken for an error.
#[test]
fn forks_in_every_mode() {
    let program = program("fork");
    for (level, mode) in [("2", 0), ("1", 1), ("2", 1), ("2", 2), ("1", 3)] {
        let chosen = |name: &str| match mode {
            0 => name.starts_with("any_") || name == "exec_target",
            _ => {
                name.contains("isolated")
                    || name.contains("nested")
                    || name.contains("threads_start")
            }
        };
        let pool = hardened(Pool::lazy(64), level).fork(mode).set("VMMALLOC_PURGE_MS", "100");
        Cases::of(&program).only(chosen).limit(Duration::from_secs(90)).run(&pool);
    }
}

/// A child without fork handlers may use neither the front of a cache nor what is behind it.
#[test]
fn raw_forks_leave_the_pool_alone() {
    for level in ["1", "2"] {
        let pool = hardened(Pool::lazy(64), level).fork(1).set("VMMALLOC_PURGE_MS", "100");
        let limit = Duration::from_secs(90);
        Cases::of(&program("fork"))
            .only(|name| name.starts_with("a_raw_fork_"))
            .limit(limit)
            .run(&pool);
    }
}

#[test]
fn the_heap_comes_home_after_a_fork() {
    let names =
        ["all_pages_", "unwritten_", "the_next_fork_", "nothing_comes_home_while_the_child"];
    for level in ["1", "2"] {
        let pool = hardened(Pool::lazy(64), level).set("VMMALLOC_HOME_MS", "200");
        Cases::of(&program("home"))
            .only(|name| names.iter().any(|start| name.starts_with(start)))
            .limit(Duration::from_secs(60))
            .run(&pool);
    }
}

#[test]
fn threads_and_their_ends() {
    for level in ["1", "2"] {
        Cases::of(&program("threads")).run(&hardened(Pool::lazy(256), level));
    }
}

#[test]
fn a_word_it_does_not_know_is_refused() {
    for word in ["yes", "3", "-1", "01"] {
        let outcome = run(&mut hardened(Pool::lazy(16), word).command("true"), SHORT);
        assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
        assert_eq!(
            outcome.err(),
            format!(
                "Error (libvmmalloc): incorrect VMMALLOC_HARDEN value ({word}), must be 0, 1 or 2\n"
            )
        );
    }
    run(&mut hardened(Pool::lazy(16), "").command("true"), SHORT).success();
}

/// What real programs print in a hardened heap is what they print without one.
#[test]
fn real_programs_print_the_same() {
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let programs: [(&str, &str, Vec<std::ffi::OsString>); 5] = [
        ("bash", "bash", vec![script("bash.sh").into()]),
        ("perl", "perl", vec![script("perl.pl").into()]),
        ("python3", "python3", vec![script("python.py").into()]),
        ("lua5.4", "lua5.4", vec![script("lua.lua").into()]),
        ("sort", "coreutils", vec!["--parallel=4".into(), script("python.py").into()]),
    ];
    for (name, package, arguments) in programs {
        let path = need(name, package);
        let expected = run(plain(Command::new(&path).args(&arguments)), SHORT).success();
        for level in ["1", "2"] {
            let pool = hardened(Pool::lazy(1024), level).with_reports();
            let found = run(pool.command(&path).args(&arguments), SHORT);
            assert_eq!((found.code(), found.out()), (Some(0), expected.out()), "{found}");
            let served: u64 = pool.reports().iter().map(|r| r.number("allocations")).sum();
            assert!(served > 10, "{name} at level {level}");
            // Counting takes other paths than a heap that does not count.
            let pool = hardened(Pool::lazy(1024), level);
            let found = run(pool.command(&path).args(&arguments), SHORT);
            assert_eq!((found.code(), found.out()), (Some(0), expected.out()), "{found}");
        }
    }
}
