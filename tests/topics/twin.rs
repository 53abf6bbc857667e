//! libvmmalloc as `cargo xtask capi` installs it: the library, its debug twin, and the archive; and under valgrind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pmem_e2e::artifact::{self, Shape, need, program};
use pmem_e2e::capi::Build;
use pmem_e2e::cases::Cases;
use pmem_e2e::mount::Mount;
use pmem_e2e::preload::Pool;
use pmem_e2e::run::{Outcome, SHORT, run};
use pmem_e2e::scratch::Scratch;

fn library(build: Build) -> PathBuf {
    build.folder().join("libvmmalloc.so.1")
}

/// Runs the program `twin` with a build of the library and some variables.
fn twin(build: Build, pool: &Pool, variables: &[(&str, &str)]) -> Outcome {
    let program = program("twin");
    let mut command = Command::new(program);
    pool.describe(&mut command).env("LD_PRELOAD", library(build)).envs(variables.iter().copied());
    run(&mut command, SHORT)
}

/// Every call, and the assertions of the reference's tests, with both builds.
fn conform(place: Option<&Path>) {
    for name in ["conformance", "reference"] {
        let program = program(name);
        for build in Build::ALL {
            let pool = Pool::prealloc(16);
            let pool = place.into_iter().fold(pool, Pool::at);
            Cases::of(&program).run_with(|command| {
                pool.describe(command).env("LD_PRELOAD", library(build));
            });
        }
    }
}

#[test]
fn installed_libraries_conform_on_tmpfs() {
    conform(None);
}

#[test]
fn installed_libraries_conform_on_ext4() {
    if let Some(mount) = Mount::ext4(64, &[], "", "the interposer's contract on ext4") {
        conform(Some(mount.path()));
    }
}

#[test]
fn the_twin_logs_each_call_once() {
    let pool = Pool::prealloc(16);
    let outcome = twin(Build::Debug, &pool, &[("VMMALLOC_LOG_LEVEL", "4")]).success();
    let err = outcome.err();
    let count = |text: &str| err.lines().filter(|line| line.ends_with(text)).count();
    for text in [
        " malloc] size 4321",
        ", size 5432",
        " calloc] nmemb 3, size 77777",
        " memalign] boundary 64  size 6543",
        " aligned_alloc] alignment 128  size 7654",
        " posix_memalign] alignment 256  size 8765",
        " valloc] size 9876",
        " pvalloc] size 10987",
        "] initialization completed",
        "] libvmmalloc version 1.1",
    ] {
        assert_eq!(count(text), 1, "{text}: {outcome}");
    }
    assert!(err.lines().all(|line| line.starts_with("<libvmmalloc>: <")), "{outcome}");
    assert!(err.lines().filter(|line| line.contains(" free] ptr 0x")).count() >= 7, "{outcome}");
    let first = format!("pid {}: program: {}", outcome.pid, program("twin").display());
    assert!(err.lines().next().is_some_and(|line| line.ends_with(&first)), "{outcome}");
}

#[test]
fn calls_of_a_plugin_are_logged_too() {
    let pool = Pool::prealloc(16);
    let mut command = Command::new(program("twin"));
    pool.describe(command.arg(artifact::shared("plugin")))
        .env("LD_PRELOAD", library(Build::Debug))
        .env("VMMALLOC_LOG_LEVEL", "4");
    let outcome = run(&mut command, SHORT).success();
    let err = outcome.err();
    assert_eq!(err.matches(" malloc] size 4321\n").count(), 2, "{outcome}");
}

/// A file that had a name for a moment is told of.
#[test]
fn a_file_system_without_unnamed_files_serves() {
    let pool = Pool::prealloc(16);
    for build in Build::ALL {
        let mut command = Command::new(program("no_tmpfile"));
        let case = "blocks_are_in_the_pool";
        pool.describe(command.arg(program("conformance")).arg(case));
        let variables = [("VMMALLOC_LOG_LEVEL", "3")];
        let outcome =
            run(command.env("LD_PRELOAD", library(build)).envs(variables), SHORT).success();
        assert!(outcome.out().contains(&format!("ok {case}")), "{outcome}");
        let start =
            format!("util_tmpfile_mkstemp] unlinked file is \"{}/vmem.", pool.dir().display());
        assert_eq!(outcome.err().contains(&start), build == Build::Debug, "{outcome}");
        assert_eq!(fs::read_dir(pool.dir()).expect("the directory").count(), 0);
    }
    let outcome = twin(Build::Debug, &pool, &[("VMMALLOC_LOG_LEVEL", "3")]).success();
    assert!(!outcome.err().contains("util_tmpfile"), "{outcome}");
}

#[test]
fn the_level_and_the_file_choose() {
    let pool = Pool::prealloc(16);
    for (level, lines) in [("0", 0), ("1", 3), ("2", 4), ("3", 4)] {
        let outcome = twin(Build::Debug, &pool, &[("VMMALLOC_LOG_LEVEL", level)]).success();
        assert_eq!(outcome.err().lines().count(), lines, "level {level}: {outcome}");
    }
    let scratch = Scratch::new("log");
    let prefix = format!("{}/log-", scratch.path().display());
    let variables = [("VMMALLOC_LOG_LEVEL", "4"), ("VMMALLOC_LOG_FILE", &*prefix)];
    let outcome = twin(Build::Debug, &pool, &variables).success();
    assert_eq!(outcome.err(), "");
    let log = fs::read_to_string(format!("{prefix}{}", outcome.pid)).expect("the log");
    assert!(log.contains(" malloc] size 4321\n"), "{log}");
    let variables = [("VMMALLOC_LOG_LEVEL", "4"), ("VMMALLOC_LOG_FILE", "/nowhere/log")];
    let outcome = twin(Build::Release, &pool, &variables).success();
    assert_eq!(outcome.err(), "", "the other library has no log");
    let outcome = twin(Build::Debug, &pool, &variables);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(
        outcome.err(),
        "Error (libvmmalloc): VMMALLOC_LOG_FILE=/nowhere/log: No such file or directory\n"
    );
}

/// Lines of statistics of one heap, without the parts that the twin leaves out.
fn is_listing(lines: &[&str]) -> bool {
    let starts = |at: usize, text: &str| lines.get(at).is_some_and(|line| line.starts_with(text));
    starts(0, "___ Begin jemalloc statistics ___")
        && starts(1, "")
        && starts(2, "Merged arenas stats:")
        && starts(3, "assigned threads: ")
        && lines.iter().any(|line| line.starts_with("large:   size pages "))
        && !lines.iter().any(|line| ["Version:", "bins:"].iter().any(|part| line.starts_with(part)))
        && lines.last() == Some(&"--- End jemalloc statistics ---")
}

#[test]
fn statistics_are_logged_at_exit_when_asked() {
    let pool = Pool::prealloc(16);
    let scratch = Scratch::new("log");
    let name = scratch.path().join("log").display().to_string();
    let variables = [("VMMALLOC_LOG_STATS", "1"), ("VMMALLOC_LOG_FILE", &*name)];
    let outcome = twin(Build::Debug, &pool, &variables).success();
    assert_eq!(outcome.err(), "");
    let log = fs::read_to_string(&name).expect("the log");
    let lines: Vec<&str> = log.lines().collect();
    let at = |title| lines.iter().position(|line| *line == title).expect(title);
    let (outside, inside) =
        (at("=========   system heap  ========"), at("=========    vmem pool   ========"));
    assert_eq!(outside, 0, "{log}");
    assert!(is_listing(&lines[1..inside]) && is_listing(&lines[inside + 1..]), "{log}");
    let mapped = |lines: &[&str]| {
        let line = lines.iter().find_map(|line| line.strip_prefix("mapped:"));
        line.expect("a size").trim().parse::<u64>().expect("a number")
    };
    assert_eq!((mapped(&lines[..inside]), mapped(&lines[inside..])), (0, 16 << 20), "{log}");
    // A level is not needed, and does not matter; nothing but `1` asks.
    for (value, asked) in [("1", true), ("0", false), ("", false), ("11", false), ("yes", false)] {
        let outcome = twin(Build::Debug, &pool, &[("VMMALLOC_LOG_STATS", value)]).success();
        assert_eq!(outcome.err().contains("vmem pool"), asked, "{value}: {outcome}");
    }
    let outcome = twin(Build::Release, &pool, &[("VMMALLOC_LOG_STATS", "1")]).success();
    assert_eq!(outcome.err(), "", "the other library has no log");
}

#[test]
fn refusals_of_the_twin_are_in_its_log() {
    let scratch = Scratch::new("log");
    let name = scratch.path().join("log").display().to_string();
    let variables = [("VMMALLOC_LOG_LEVEL", "1"), ("VMMALLOC_LOG_FILE", &*name)];
    let outcome = twin(Build::Debug, &Pool::prealloc(16).at("/nowhere"), &variables);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(outcome.err(), "");
    let log = fs::read_to_string(&name).expect("the log");
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[3].ends_with(" util_tmpfile] open: No such file or directory"), "{log}");
    assert_eq!(
        lines[4],
        "Error (libvmmalloc): vmem pool creation failed: No such file or directory"
    );
    let outcome = twin(Build::Debug, &Pool::prealloc(16).unset("VMMALLOC_POOL_SIZE"), &variables);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    let log = fs::read_to_string(&name).expect("the log");
    assert!(
        log.ends_with(
            "Error (libvmmalloc): environment variable VMMALLOC_POOL_SIZE not specified\n"
        ),
        "{log}"
    );
}

#[test]
fn a_program_linked_with_the_archive_has_its_heap_in_the_pool() {
    for build in Build::ALL {
        let archive = build.folder().join("libvmmalloc.a");
        let output = format!("conformance_static_{build:?}");
        let program = artifact::compile(
            "conformance",
            &output,
            Shape::Program,
            // So that the names that the cases look up at run time are found.
            &[&archive.to_string_lossy(), "-rdynamic"],
        );
        let pool = Pool::prealloc(16);
        let lister = artifact::program("conformance");
        Cases::of(&program).listed_by(&lister).run_with(|command| {
            pool.describe(command);
        });
    }
}

#[test]
fn pools_of_the_interposer_go_where_the_hint_says() {
    let scratch = Scratch::new("hint");
    let file = scratch.path().join("maps");
    let script = format!("cat /proc/$$/maps > '{}'", file.display());
    let pool = Pool::prealloc(16);
    let mut command = Command::new("sh");
    pool.describe(command.args(["-c", &script]))
        .env("LD_PRELOAD", library(Build::Release))
        .env("PMEM_MMAP_HINT", "0x100000000000");
    run(&mut command, SHORT).success();
    let maps = fs::read_to_string(&file).expect("the mappings");
    let at = maps.lines().find(|line| line.starts_with("100000000000-")).expect("the pool");
    assert!(at.contains(&pool.dir().display().to_string()), "{at}");
}

// ---- valgrind ----

/// Runs a case of `valgrind` under memcheck, which leaves malloc to the library.
fn memcheck(build: Build, case: &str) -> Outcome {
    let mut command = Command::new(need("valgrind", "valgrind"));
    command.args(["--soname-synonyms=somalloc=nouserintercepts", "--leak-check=full"]);
    command.args(["--show-leak-kinds=definite", "--error-exitcode=99", "--num-callers=20"]);
    let program = program("valgrind");
    let pool = Pool::prealloc(64);
    pool.describe(command.arg(program).arg(case)).env("LD_PRELOAD", library(build));
    let outcome = run(&mut command, SHORT);
    assert!(outcome.err().contains("ERROR SUMMARY: "), "{outcome}");
    outcome
}

#[test]
fn memcheck_finds_nothing_in_clean_programs() {
    for build in Build::ALL {
        for case in ["a_clean_program", "threads_and_forks_are_clean"] {
            let outcome = memcheck(build, case);
            assert_eq!(outcome.code(), Some(0), "{outcome}");
            assert!(outcome.out().contains(&format!("ok {case}")), "{outcome}");
            assert!(outcome.err().contains("ERROR SUMMARY: 0 errors"), "{outcome}");
        }
    }
}

#[test]
fn memcheck_reports_what_programs_do_wrong() {
    for build in Build::ALL {
        for (case, findings) in [
            (
                "a_block_is_lost",
                &["8 bytes in 1 blocks are definitely lost", "lose_four_bytes"][..],
            ),
            (
                "a_freed_block_is_read",
                &["Invalid read of size 1", "is 10 bytes inside a block of size 48 free'd"][..],
            ),
            (
                "a_byte_behind_a_block_is_written",
                &["Invalid write of size 1", "is 0 bytes after a block of size 48 alloc'd"][..],
            ),
            ("a_block_is_freed_twice", &["Invalid free()"][..]),
        ] {
            let outcome = memcheck(build, case);
            assert_eq!(outcome.code(), Some(99), "{outcome}");
            for finding in findings {
                assert!(outcome.err().contains(finding), "no {finding} in {outcome}");
            }
            assert!(outcome.err().contains("ERROR SUMMARY: 1 errors"), "{outcome}");
        }
    }
}
