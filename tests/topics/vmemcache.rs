//! libvmemcache.so.0: the contract, by C programs against both builds, on tmpfs and on ext4.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{c_sources, need};
use pmem_e2e::capi::{self, Build, compile, headers, installed, program_with};
use pmem_e2e::cases::Cases;
use pmem_e2e::log_line::LogLine;
use pmem_e2e::mount::Mount;
use pmem_e2e::object;
use pmem_e2e::run::{Outcome, SHORT, run};
use pmem_e2e::scratch::Scratch;

const LONG: Duration = Duration::from_secs(180);

fn program(name: &str) -> PathBuf {
    program_with("vmemcache", name)
}

/// Runs all cases of a program with both builds on a place.
fn on(name: &str, place: &Path) {
    capi::run_cases(&program(name), place, LONG);
}

fn tmpfs() -> (Scratch, PathBuf) {
    Scratch::with_odd_name("vmemcache")
}

fn on_tmpfs(name: &str) {
    let (_scratch, path) = tmpfs();
    on(name, &path);
}

fn on_ext4(name: &str, what: &str) {
    if let Some(mount) = Mount::ext4(1000, &["-O", "^has_journal"], "", what) {
        on(name, mount.path());
    }
}

// ---- conformance ----

#[test]
fn calls_on_tmpfs() {
    on_tmpfs("vmemcache");
}

#[test]
fn calls_on_ext4() {
    on_ext4("vmemcache", "libvmemcache on ext4");
}

#[test]
fn assertions_of_the_reference_tests_on_tmpfs() {
    on_tmpfs("vmemcache_reference");
}

#[test]
fn assertions_of_the_reference_tests_on_ext4() {
    on_ext4("vmemcache_reference", "the reference's assertions about caches on ext4");
}

#[test]
fn nobody_falls_into_a_trap_on_tmpfs() {
    on_tmpfs("vmemcache_traps");
}

#[test]
fn nobody_falls_into_a_trap_on_ext4() {
    on_ext4("vmemcache_traps", "the traps of caches on ext4");
}

#[test]
fn defects_of_the_reference_are_not_copied_on_tmpfs() {
    on_tmpfs("vmemcache_defects");
}

#[test]
fn defects_of_the_reference_are_not_copied_on_ext4() {
    on_ext4("vmemcache_defects", "the defects of caches on ext4");
}

#[test]
fn threads_on_tmpfs() {
    on_tmpfs("vmemcache_threads");
}

#[test]
fn threads_on_ext4() {
    on_ext4("vmemcache_threads", "caches with threads on ext4");
}

#[test]
fn ordinary_memory_balances() {
    on_tmpfs("vmemcache_memory");
}

// ---- the environment ----

/// The reference's tests set all of these.
#[test]
fn variables_of_the_reference_are_harmless() {
    let (scratch, path) = tmpfs();
    for sharding in ["1", "0", "Yes", "no", "nonsense"] {
        for build in Build::ALL {
            let log = scratch.path().join("log-");
            Cases::of(&program("vmemcache_reference")).limit(LONG).argument(&path).run_with(
                |command| {
                    build.choose(command);
                    command.env("VMEMCACHE_SHARDING", sharding).env("VMEMCACHE_LEVEL", "3");
                    command.env("VMEMCACHE_FILE", &log).env("PMDK_LOG_ALIGN", "40");
                },
            );
        }
    }
}

/// Runs a case of `vmemcache_space` with some variables.
fn space_with(build: Build, case: &str, place: &Path, variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(program("vmemcache_space"));
    build.choose(command.arg(case).arg(place)).envs(variables.iter().copied());
    let outcome = run(&mut command, LONG).success();
    assert_eq!(outcome.out().lines().last(), Some(&*format!("ok {case}")), "{outcome}");
    outcome
}

/// What the case with one call of everything logs.
fn logged(build: Build, variables: &[(&str, &str)]) -> Outcome {
    let (_scratch, path) = tmpfs();
    space_with(build, "every_call", &path, variables)
}

fn lines(log: &str) -> Vec<LogLine> {
    LogLine::all("libvmemcache", log)
}

#[test]
fn the_debug_library_logs_calls_and_errors() {
    let outcome = logged(Build::Debug, &[("VMEMCACHE_LEVEL", "3")]);
    let lines = lines(&outcome.err());
    for (at, text) in [
        (0, format!("pid {}: program: {}", outcome.pid, program("vmemcache_space").display())),
        (1, "libvmemcache version 0.8".to_owned()),
        (2, format!("src version: {}", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!((lines[at].level, &lines[at].text), (1, &text));
    }
    let functions: Vec<&str> = lines[3..].iter().map(|line| &*line.function).collect();
    assert_eq!(
        functions,
        [
            "vmemcache_new",
            "vmemcache_set_size",
            "vmemcache_set_extent_size",
            "vmemcache_set_eviction_policy",
            "vmemcache_add",
            "vmemcache_add",
            "vmemcache_add",
            "vmemcache_callback_on_evict",
            "vmemcache_callback_on_miss",
            "vmemcache_put",
            "vmemcache_get",
            "vmemcache_exists",
            "vmemcache_get_stat",
            "vmemcache_bench_set",
            "vmemcache_evict",
            "vmemcache_delete",
        ]
    );
    assert_eq!((lines[3 + 5].level, &*lines[3 + 5].text), (1, "open: No such file or directory"));
    assert!(lines[3 + 9].text.ends_with(" key_size 8 value_size 77"), "{:?}", lines[3 + 9]);
    let calls = lines[3..].iter().enumerate().filter(|(at, _)| *at != 5);
    for (_, line) in calls {
        assert_eq!(line.level, 3, "{line:?}");
    }
}

#[test]
fn the_level_chooses_what_is_logged() {
    for (level, count) in [("0", 0), ("-3", 0), ("abc", 0), ("1", 4), ("2", 4), ("3x", 19)] {
        let outcome = logged(Build::Debug, &[("VMEMCACHE_LEVEL", level)]);
        assert_eq!(outcome.err().lines().count(), count, "level {level}: {}", outcome.err());
    }
    assert_eq!(logged(Build::Debug, &[]).err(), "");
    let variables = [("VMEMCACHE_LEVEL", "4"), ("VMEMCACHE_FILE", "/nowhere/log")];
    assert_eq!(logged(Build::Release, &variables).err(), "", "the other library logs nothing");
}

#[test]
fn the_log_goes_to_its_file() {
    let scratch = Scratch::new("log");
    let file = scratch.path().join("log");
    let name = file.to_str().expect("UTF-8");
    let outcome = logged(Build::Debug, &[("VMEMCACHE_LEVEL", "3"), ("VMEMCACHE_FILE", name)]);
    assert_eq!(outcome.err(), "");
    assert_eq!(lines(&fs::read_to_string(&file).expect("the log")).len(), 19);
    let prefix = format!("{name}-");
    let outcome = logged(Build::Debug, &[("VMEMCACHE_LEVEL", "1"), ("VMEMCACHE_FILE", &prefix)]);
    let log = fs::read_to_string(format!("{prefix}{}", outcome.pid)).expect("the log");
    assert_eq!(log.lines().count(), 4);
}

// ---- space ----

/// Runs one case of `vmemcache_space` with both builds.
fn space(case: &str, place: &Path) {
    for build in Build::ALL {
        space_with(build, case, place, &[]);
    }
}

#[test]
fn a_file_system_without_room_is_told_when_the_pool_is_made() {
    if let Some(mount) = Mount::tmpfs(20, "libvmemcache without space on tmpfs") {
        space("no_space_for_a_pool", mount.path());
    }
    if let Some(mount) = Mount::ext4(24, &[], "", "libvmemcache without space on ext4") {
        space("no_space_for_a_pool", mount.path());
    }
}

#[test]
fn a_full_file_system_does_not_matter_to_a_pool_that_was_made() {
    if let Some(mount) = Mount::tmpfs(20, "libvmemcache on a full tmpfs") {
        space("space_is_taken_at_once", mount.path());
        space("a_full_file_system_does_not_matter_later", mount.path());
    }
    if let Some(mount) = Mount::ext4(24, &[], "", "libvmemcache on a full ext4") {
        space("space_is_taken_at_once", mount.path());
        space("a_full_file_system_does_not_matter_later", mount.path());
    }
}

#[test]
fn places_that_cannot_be_written_are_told() {
    if let Some(mount) = Mount::tmpfs(20, "libvmemcache on a read-only file system") {
        mount.remount("ro");
        space("a_read_only_place", mount.path());
    }
    if let Some(mount) = Mount::tmpfs_with("size=20m,mode=0700", "libvmemcache in a closed place") {
        space("a_place_of_others", mount.path());
    }
}

// ---- the files ----

fn functions() -> Vec<String> {
    object::functions("libvmemcache")
}

#[test]
fn the_shared_object_has_the_committed_symbols_node_and_name() {
    assert_eq!(functions().len(), 15);
    for build in Build::ALL {
        let file = build.folder().join("libvmemcache.so");
        assert_eq!(object::defined(&file), object::listed("libvmemcache"), "{}", file.display());
        // The loader is where the C library keeps thread-local storage.
        let needed = ["libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
        object::check(&file, "libvmemcache.so.0", &needed);
        let to = fs::read_link(&file).expect("a link");
        assert_eq!(to, Path::new("libvmemcache.so.0"));
        let kind = fs::symlink_metadata(build.folder().join(to)).expect("the file").file_type();
        assert!(kind.is_file(), "the file has the name for the loader");
    }
}

#[test]
fn the_archive_exports_the_contract_and_nothing_else() {
    for build in Build::ALL {
        let archive = build.folder().join("libvmemcache.a");
        assert_eq!(object::offered(&archive), functions(), "{}", archive.display());
    }
}

#[test]
fn a_program_links_with_the_archive() {
    let (_scratch, path) = tmpfs();
    capi::run_cases_with_archive("vmemcache", "vmemcache_reference", &path, LONG);
}

#[test]
fn the_header_compiles_alone_in_every_language() {
    // A callback of the right type; of the wrong one, it must not compile.
    const USE: &str = "#include <libvmemcache.h>\n#include <libvmemcache.h>\n\
        static void called(VMEMcache *cache, const void *key, size_t size, void *arg)\n\
        { (void)cache; (void)key; (void)size; (void)arg; }\n\
        void probe(VMEMcache *cache) { vmemcache_callback_on_evict(cache, called, NULL);\n\
        vmemcache_callback_on_miss(cache, &called, NULL); }\n";
    let c = ["-std=c90", "-std=c99", "-std=c11", "-std=c17", "-std=gnu17", "-std=c2x"];
    let cxx =
        ["-std=c++98", "-std=c++11", "-std=c++14", "-std=c++17", "-std=c++20", "-std=gnu++17"];
    for (compiler, standards) in [("cc", c), ("c++", cxx)] {
        for standard in standards {
            for around in ["", "#include <stdlib.h>\n"] {
                compile(compiler, &[standard], &format!("{around}{USE}{around}")).success();
            }
        }
        let wrong = USE.replace("size_t size", "char size");
        assert!(compile(compiler, &[], &wrong).code() != Some(0), "the check cannot fail");
    }
    // It brings nothing but sizes and types.
    let names = "#include <libvmemcache.h>\nint printf, malloc, strlen, errno;\n";
    compile("cc", &["-fno-builtin"], names).success();
}

#[test]
fn constants_and_types_are_those_of_the_contract() {
    let source = fs::read_to_string(c_sources().join("vmemcache_asserts.c")).expect("the source");
    compile("cc", &["-std=c11"], &source).success();
    let wrong = source.replace("VMEMCACHE_STATS_NUM == 9", "VMEMCACHE_STATS_NUM == 10");
    assert!(compile("cc", &["-std=c11"], &wrong).code() != Some(0), "the check cannot fail");
}

#[test]
fn the_pkg_config_file_names_folders_and_library() {
    capi::check_pkg_config("vmemcache");
    let path = installed().join("usr/lib/pkgconfig/libvmemcache.pc");
    let text = fs::read_to_string(path).expect("the .pc file");
    assert!(text.contains("\nVersion: 0.8\n"), "{text}");
}

#[test]
fn the_manual_page_is_installed_under_every_name() {
    assert!(installed().join("usr/share/man/man3/vmemcache.3").is_file());
    capi::check_manual(&functions());
}

/// The program of the manual page does what it shows.
#[test]
fn the_example_of_the_manual_runs() {
    let page = installed().join("usr/share/man/man3/vmemcache.3");
    let page = fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once(".EX\n").expect("an example");
    let (example, _) = rest.split_once(".EE\n").expect("its end");
    let scratch = Scratch::new("example");
    let (source, binary) = (scratch.path().join("example.c"), scratch.path().join("example"));
    fs::write(&source, example.replace("\\e", "\\")).expect("a file");
    let mut command = Command::new(need("cc", "gcc"));
    command.args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(&binary).arg(&source);
    command.arg("-I").arg(headers()).arg("-L").arg(Build::Release.folder()).arg("-lvmemcache");
    run(&mut command, SHORT).success();
    for build in Build::ALL {
        let outcome = run(build.choose(&mut Command::new(&binary)), SHORT).success();
        assert_eq!(outcome.out(), "hello, world\n");
    }
}

// ---- valgrind ----

/// Runs a case under one of valgrind's tools.
fn under(tool: &str, name: &str, case: &str) -> Outcome {
    let (_scratch, path) = tmpfs();
    let mut command = Command::new(need("valgrind", "valgrind"));
    command.arg(format!("--tool={tool}")).arg("--error-exitcode=99");
    if tool == "memcheck" {
        command.args(["--leak-check=full", "--errors-for-leak-kinds=definite"]);
    }
    command.arg(program(name)).arg(case).arg(&path);
    run(Build::Release.choose(&mut command), 2 * LONG)
}

/// Row 15 of the acceptance list: the same programs under valgrind's tools, without a report.
fn is_quiet_under(tool: &str, name: &str, cases: &[&str]) {
    for case in cases {
        let outcome = under(tool, name, case);
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        assert!(outcome.err().contains("ERROR SUMMARY: 0 errors"), "{outcome}");
        assert_eq!(outcome.out().lines().last(), Some(&*format!("ok {case}")), "{outcome}");
    }
}

const THREADS: &[&str] = &["row_9_two_threads", "row_9_ten_threads", "row_14_simulation"];

#[test]
fn memcheck_finds_nothing() {
    let cases = [
        "row_1_handles",
        "row_2_put_get_evict",
        "row_3_sixteen_combinations",
        "row_4_eviction_by_recency",
        "row_5_leaks_with_short_keys",
        "row_5_leaks_with_long_keys",
        "row_6_free_regions_merge",
        "row_7_puts_inside_of_on_evict",
        "row_8_integrity",
        "row_10_utilization",
        "row_12_two_levels",
        "row_13_example",
    ];
    is_quiet_under("memcheck", "vmemcache_reference", &cases);
    is_quiet_under("memcheck", "vmemcache_threads", &["row_9_two_threads"]);
}

#[test]
fn helgrind_finds_nothing_but_races_of_the_program() {
    is_quiet_under("helgrind", "vmemcache_reference", &["row_4_eviction_by_recency"]);
    is_quiet_under("helgrind", "vmemcache_threads", THREADS);
    let outcome = under("helgrind", "vmemcache_threads", "a_race_of_the_program");
    assert_eq!(outcome.code(), Some(99), "{outcome}");
    assert!(outcome.err().contains(": races ("), "{outcome}");
}

#[test]
fn drd_finds_nothing_but_races_of_the_program() {
    is_quiet_under("drd", "vmemcache_reference", &["row_4_eviction_by_recency"]);
    is_quiet_under("drd", "vmemcache_threads", THREADS);
    let outcome = under("drd", "vmemcache_threads", "a_race_of_the_program");
    assert_eq!(outcome.code(), Some(99), "{outcome}");
    assert!(outcome.err().contains(": races ("), "{outcome}");
}
