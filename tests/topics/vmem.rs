//! libvmem.so.1: the contract, by C programs against both builds, on several media.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{c_sources, need};
use pmem_e2e::capi::{self, Build, compile, headers, installed};
use pmem_e2e::core_file;
use pmem_e2e::log_line::LogLine;
use pmem_e2e::mount::Mount;
use pmem_e2e::object::{self, defined, functions, listed, offered, tool};
use pmem_e2e::run::{Outcome, SHORT, run};
use pmem_e2e::scratch::Scratch;

const LONG: Duration = Duration::from_secs(180);

/// Runs all cases of a program with both builds on a place.
fn on(program: &str, place: &Path) {
    capi::run_cases(&capi::program(program), place, LONG);
}

fn region() -> &'static Path {
    Path::new("region")
}

fn tmpfs() -> (Scratch, PathBuf) {
    Scratch::with_odd_name("vmem")
}

fn ext4(what: &str) -> Option<Mount> {
    Mount::ext4(3000, &["-O", "^has_journal"], "", what)
}

// ---- conformance ----

#[test]
fn calls_on_tmpfs() {
    let (_scratch, path) = tmpfs();
    on("vmem", &path);
}

#[test]
fn calls_on_regions() {
    on("vmem", region());
}

#[test]
fn calls_on_ext4() {
    if let Some(mount) = ext4("libvmem on ext4") {
        on("vmem", mount.path());
    }
}

#[test]
fn assertions_of_the_reference_tests_on_tmpfs() {
    let (_scratch, path) = tmpfs();
    on("vmem_reference", &path);
}

#[test]
fn assertions_of_the_reference_tests_on_regions() {
    on("vmem_reference", region());
}

#[test]
fn assertions_of_the_reference_tests_on_ext4() {
    if let Some(mount) = ext4("the reference's assertions on ext4") {
        on("vmem_reference", mount.path());
    }
}

#[test]
fn weaknesses_of_the_reference_are_not_copied() {
    let (_scratch, path) = tmpfs();
    on("vmem_defects", &path);
}

#[test]
fn weaknesses_of_the_reference_are_not_copied_on_regions() {
    on("vmem_defects", region());
}

// ---- the environment ----

#[test]
fn pools_go_where_the_hint_says() {
    let (_scratch, path) = tmpfs();
    // Far from everything; not a multiple of 4 MiB, and nonsense that is ignored.
    for (hint, case) in [
        ("0x100000000000", "pools_are_at_the_hint"),
        ("0FFFFFFFF001", "pools_are_at_the_hint"),
        ("somewhere", "pools_are_elsewhere"),
    ] {
        space(case, &path, &[("PMEM_MMAP_HINT", hint)]);
    }
}

// ---- the log of the debug library ----

/// Runs a case of `vmem_log` with some variables.
fn logged(build: Build, case: &str, variables: &[(&str, &str)]) -> Outcome {
    let (_scratch, path) = tmpfs();
    let mut command = Command::new(capi::program("vmem_log"));
    build.choose(command.arg(case).arg(&path)).envs(variables.iter().copied());
    run(&mut command, SHORT)
}

fn lines(log: &str) -> Vec<LogLine> {
    LogLine::all("libvmem", log)
}

#[test]
fn the_debug_library_logs_calls_and_errors() {
    let outcome = logged(Build::Debug, "calls", &[("VMEM_LOG_LEVEL", "3")]).success();
    let lines = lines(&outcome.err());
    let program = capi::program("vmem_log");
    for (at, text) in [
        (0, format!("pid {}: program: {}", outcome.pid, program.display())),
        (1, "libvmem version 1.1".to_owned()),
        (2, format!("src version: {}", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!((lines[at].level, &lines[at].text), (1, &text));
    }
    let functions: Vec<&str> = lines[3..].iter().map(|line| &*line.function).collect();
    assert_eq!(
        functions,
        [
            "vmem_create",
            "vmem_malloc",
            "vmem_realloc",
            "vmem_free",
            "vmem_calloc",
            "vmem_aligned_alloc",
            "vmem_create",
            "vmem_create",
            "vmem_check",
            "vmem_delete",
        ]
    );
    let text = |at: usize| &*lines[3 + at].text;
    assert!(text(0).ends_with(" size 14680064"), "{}", text(0));
    assert!(text(1).ends_with(" size 4321") && text(2).ends_with(" size 5432"));
    assert!(text(4).ends_with(" nmemb 3 size 77") && text(5).ends_with(" alignment 64 size 6543"));
    assert_eq!((lines[10].level, text(7)), (1, "open: No such file or directory"));
    assert!(lines[3..10].iter().all(|line| line.level == 3));
}

#[test]
fn the_level_chooses_what_is_logged() {
    for (level, count) in
        [("0", 0), ("-3", 0), ("abc", 0), ("1", 4), ("2", 4), ("3x", 13), ("99", 13)]
    {
        let outcome = logged(Build::Debug, "calls", &[("VMEM_LOG_LEVEL", level)]).success();
        assert_eq!(outcome.err().lines().count(), count, "level {level}: {}", outcome.err());
    }
    let outcome = logged(Build::Debug, "calls", &[]).success();
    assert_eq!(outcome.err(), "");
    let outcome = logged(Build::Debug, "own_function_gets_the_log", &[("VMEM_LOG_LEVEL", "3")]);
    // Before the program could set its function, three lines went the usual way.
    assert_eq!(outcome.success().err().lines().count(), 4);
}

#[test]
fn the_log_goes_to_its_file() {
    let scratch = Scratch::new("log");
    let file = scratch.path().join("log");
    let name = file.to_str().expect("UTF-8");
    fs::write(&file, "what was there before, which is longer than nothing\n").expect("a file");
    let variables = [("VMEM_LOG_LEVEL", "3"), ("VMEM_LOG_FILE", name)];
    let outcome = logged(Build::Debug, "calls", &variables).success();
    assert_eq!(outcome.err(), "");
    assert_eq!(lines(&fs::read_to_string(&file).expect("the log")).len(), 13);

    let prefix = format!("{name}-");
    let variables = [("VMEM_LOG_LEVEL", "1"), ("VMEM_LOG_FILE", &*prefix)];
    let outcome = logged(Build::Debug, "calls", &variables).success();
    let log = fs::read_to_string(format!("{prefix}{}", outcome.pid)).expect("the log");
    assert_eq!(log.lines().count(), 4);

    // Statistics have no level.
    let outcome = logged(Build::Debug, "statistics", &[("VMEM_LOG_FILE", name)]).success();
    assert_eq!(outcome.err(), "");
    let text = fs::read_to_string(&file).expect("the log");
    assert!(text.starts_with("___ Begin jemalloc statistics ___\n"), "{text}");

    let outcome = logged(Build::Debug, "calls", &[("VMEM_LOG_LEVEL", "1"), ("VMEM_LOG_FILE", "")]);
    assert_eq!(outcome.success().err().lines().count(), 4, "an empty name is none");
}

#[test]
fn a_log_file_that_cannot_be_opened_ends_the_program() {
    let outcome = logged(Build::Debug, "calls", &[("VMEM_LOG_FILE", "/nowhere/log")]);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(
        outcome.err(),
        "Error (libvmem): VMEM_LOG_FILE=/nowhere/log: No such file or directory\n"
    );
}

#[test]
fn the_log_is_aligned_when_asked() {
    let variables = [("VMEM_LOG_LEVEL", "1"), ("PMDK_LOG_ALIGN", "70")];
    let outcome = logged(Build::Debug, "calls", &variables).success();
    for line in outcome.err().lines() {
        assert!(!line[70..].starts_with(' ') && line[..70].ends_with("  "), "{line}");
    }
}

/// A file that had a name for a moment is told of.
#[test]
fn a_file_system_without_unnamed_files_serves() {
    let (_scratch, path) = tmpfs();
    for build in Build::ALL {
        let mut command = Command::new(pmem_e2e::artifact::program("no_tmpfile"));
        command.arg(capi::program("vmem_log")).arg("calls").arg(&path);
        let outcome = run(build.choose(&mut command).env("VMEM_LOG_LEVEL", "3"), SHORT).success();
        let lines = lines(&outcome.err());
        let told = lines.iter().find(|line| line.function == "util_tmpfile_mkstemp");
        assert_eq!(told.is_some(), build == Build::Debug, "{outcome}");
        if let Some(LogLine { level, text, .. }) = told {
            assert_eq!(*level, 3);
            assert!(text.starts_with("unlinked file is \"/") && text.contains("/vmem."), "{text}");
        }
        assert_eq!(fs::read_dir(&path).expect("the directory").count(), 0, "a name stays behind");
    }
}

#[test]
fn the_other_library_logs_nothing() {
    let variables = [("VMEM_LOG_LEVEL", "4"), ("VMEM_LOG_FILE", "/nowhere/log")];
    let outcome = logged(Build::Release, "calls", &variables).success();
    assert_eq!(outcome.err(), "");
}

#[test]
fn settings_of_the_other_allocator_are_ignored() {
    for build in Build::ALL {
        for value in ["narenas:64,tcache:true", "nonsense", "unknown:1", ""] {
            let outcome = logged(build, "calls", &[("JE_VMEM_MALLOC_CONF", value)]).success();
            assert_eq!(outcome.err(), "");
        }
    }
}

// ---- space ----

/// Runs one case of `vmem_space` with both builds.
fn space(case: &str, place: &Path, variables: &[(&str, &str)]) {
    for build in Build::ALL {
        let mut command = Command::new(capi::program("vmem_space"));
        build.choose(command.arg(case).arg(place)).envs(variables.iter().copied());
        let outcome = run(&mut command, LONG).success();
        assert_eq!(outcome.out().lines().last(), Some(&*format!("ok {case}")), "{outcome}");
    }
}

#[test]
fn a_file_system_without_room_is_told_when_the_pool_is_made() {
    if let Some(mount) = Mount::tmpfs(20, "libvmem without space on tmpfs") {
        space("no_space_for_a_pool", mount.path(), &[]);
    }
    if let Some(mount) = Mount::ext4(24, &[], "", "libvmem without space on ext4") {
        space("no_space_for_a_pool", mount.path(), &[]);
    }
}

#[test]
fn a_read_only_file_system_is_told() {
    if let Some(mount) = Mount::tmpfs(20, "libvmem on a read-only file system") {
        mount.remount("ro");
        space("a_read_only_place", mount.path(), &[]);
    }
}

#[test]
fn a_lazy_pool_takes_space_as_it_is_used_and_gives_it_back() {
    if let Some(mount) = Mount::tmpfs(200, "libvmem with lazy space on tmpfs") {
        space("lazy_space_comes_and_goes", mount.path(), &[("VMEM_SPACE", "lazy")]);
    }
    if let Some(mount) = Mount::ext4(200, &[], "", "libvmem with lazy space on ext4") {
        space("lazy_space_comes_and_goes", mount.path(), &[("VMEM_SPACE", "lazy")]);
    }
}

#[test]
fn a_lazy_pool_on_a_full_file_system_gives_null() {
    if let Some(mount) = Mount::tmpfs(24, "a full tmpfs under a lazy pool of libvmem") {
        space("lazy_pool_on_a_full_file_system", mount.path(), &[("VMEM_SPACE", "lazy")]);
    }
}

#[test]
fn a_core_file_has_pools_only_when_they_are_wanted() {
    let (_scratch, path) = tmpfs();
    for build in Build::ALL {
        for (value, wanted) in [(None, false), (Some("yes"), false), (Some("1"), true)] {
            let mut command = Command::new(capi::program("vmem_space"));
            build.choose(command.arg("a_core_file").arg(&path));
            command.envs(value.map(|value| ("VMEM_DUMP", value)));
            if let Some(found) = core_file::has_the_block(&mut command) {
                assert_eq!(found, wanted, "VMEM_DUMP {value:?} {build:?}");
            }
        }
    }
}

// ---- the files ----

#[test]
fn shared_objects_have_the_committed_symbols_nodes_and_names() {
    for build in Build::ALL {
        for library in ["libvmem", "libvmmalloc"] {
            let file = build.folder().join(format!("{library}.so"));
            assert_eq!(defined(&file), listed(library), "{}", file.display());
            object::check(&file, &format!("{library}.so.1"), &["libc.so.6"]);
            for (name, to) in [("so", "so.1"), ("so.1", "so.1.0.0")] {
                let link = build.folder().join(format!("{library}.{name}"));
                assert_eq!(
                    fs::read_link(link).expect("a link"),
                    PathBuf::from(format!("{library}.{to}"))
                );
            }
        }
    }
}

#[test]
fn libvmem_imports_nothing_that_allocates_or_prints() {
    const BANNED: [&str; 12] = [
        "__tls_get_addr",
        "dlsym",
        "malloc",
        "calloc",
        "free",
        "realloc",
        "printf",
        "fopen",
        "getenv",
        "_Unwind_Resume",
        "rust_eh_personality",
        "__cxa_thread_atexit_impl",
    ];
    for build in Build::ALL {
        let file = build.folder().join("libvmem.so");
        for line in tool("nm", &["-D", "--undefined-only"], &file).lines() {
            let name = line.split_whitespace().last().expect("a name");
            let name = name.split('@').next().expect("a name");
            assert!(!BANNED.contains(&name), "{build:?} imports {name}");
        }
    }
}

#[test]
fn archives_export_the_contract_and_nothing_else() {
    for build in Build::ALL {
        for library in ["libvmem", "libvmmalloc"] {
            let archive = build.folder().join(format!("{library}.a"));
            assert_eq!(offered(&archive), functions(library), "{}", archive.display());
        }
    }
}

#[test]
fn headers_compile_alone_in_every_language() {
    let languages: [(&str, &[&str]); 2] = [
        ("cc", &["-std=c99", "-std=c11", "-std=c17", "-std=gnu17", "-std=c2x"]),
        ("c++", &["-std=c++11", "-std=c++14", "-std=c++17", "-std=c++20", "-std=gnu++17"]),
    ];
    for header in ["libvmem.h", "libvmmalloc.h"] {
        for (compiler, standards) in languages {
            for standard in standards {
                // Twice, and with those of the C library in front and behind.
                for around in ["", "#include <stdlib.h>\n", "#include <malloc.h>\n"] {
                    let source = format!(
                        "{around}#include <{header}>\n#include <{header}>\n{around}\
                         void *probe;\n"
                    );
                    compile(compiler, &[standard], &source).success();
                }
            }
        }
    }
    for standard in ["-std=c90", "-std=c++98"] {
        let compiler = if standard.contains("++") { "c++" } else { "cc" };
        compile(compiler, &[standard, "-Wno-comment"], "#include <libvmem.h>\nint probe;\n")
            .success();
    }
    let wrong = compile("cc", &[], "#include <libvmem.h>\nint x = vmem_malloc;\n");
    assert!(wrong.code() != Some(0), "the check cannot fail");
}

#[test]
fn constants_and_types_are_those_of_the_contract() {
    let source = fs::read_to_string(c_sources().join("vmem_asserts.c")).expect("the source");
    compile("cc", &["-std=c11"], &source).success();
    let wrong = source.replace("VMEM_MIN_POOL == 14680064", "VMEM_MIN_POOL == 14680065");
    assert!(compile("cc", &["-std=c11"], &wrong).code() != Some(0), "the check cannot fail");
}

/// What it takes to run on another library of the contract, or on this one when built for that.
#[test]
fn programs_need_the_symbols_and_the_node_of_the_contract_only() {
    let program = capi::program("vmem");
    let wanted: Vec<String> = listed("libvmem")
        .iter()
        .filter_map(|line| line.strip_prefix("T ").map(|name| name.replace("@@", "@")))
        .collect();
    let out = tool("nm", &["-D", "--undefined-only", "--with-symbol-versions"], &program);
    let mut needed: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| name.starts_with("vmem_"))
        .collect();
    needed.sort_unstable();
    assert_eq!(needed, wanted, "the program calls every function");
    let dynamic = tool("readelf", &["-dW"], &program);
    assert!(dynamic.contains("Shared library: [libvmem.so.1]"), "{dynamic}");
}

#[test]
fn programs_in_cxx_link_and_run() {
    let scratch = Scratch::new("cxx");
    let (source, program) = (scratch.path().join("x.cc"), scratch.path().join("x"));
    let text = "#include <libvmem.h>\n#include <libvmmalloc.h>\n\
                int main() {\n\
                    VMEM *vmp = vmem_create(\"/dev/shm\", VMEM_MIN_POOL);\n\
                    char *text = vmem_strdup(vmp, \"text\");\n\
                    bool right = text != nullptr && vmem_check_version(1, 1) == nullptr;\n\
                    vmem_delete(vmp);\n\
                    free(memalign(64, VMMALLOC_MIN_POOL));\n\
                    return right ? 0 : 1;\n}\n";
    fs::write(&source, text).expect("a file");
    let folder = Build::Release.folder();
    let mut compiler = Command::new(need("c++", "g++"));
    compiler.args(["-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror"]);
    compiler.arg("-I").arg(headers()).arg("-o").arg(&program).arg(&source);
    run(compiler.arg("-L").arg(&folder).arg("-lvmem"), SHORT).success();
    for build in Build::ALL {
        run(build.choose(&mut Command::new(&program)), SHORT).success();
    }
}

#[test]
fn pkg_config_files_name_folders_and_libraries() {
    for name in ["vmem", "vmmalloc"] {
        capi::check_pkg_config(name);
    }
}

#[test]
fn manual_pages_are_installed_under_every_name() {
    capi::check_manual(&functions("libvmem"));
    let man = installed().join("usr/share/man");
    for page in ["man7/libvmem.7", "man7/libvmmalloc.7"] {
        assert!(man.join(page).is_file());
    }
}

#[test]
fn a_program_links_with_the_archive() {
    let (_scratch, path) = tmpfs();
    capi::run_cases_with_archive("vmem", "vmem", &path, LONG);
}

// ---- valgrind ----

/// Runs a case of `vmem_valgrind` under memcheck.
fn memcheck(build: Build, case: &str, place: &Path) -> Outcome {
    let mut command = Command::new(need("valgrind", "valgrind"));
    command.args(["--leak-check=full", "--show-leak-kinds=definite", "--error-exitcode=99"]);
    command.args(["--num-callers=20", "--fullpath-after="]);
    command.arg(capi::program("vmem_valgrind")).arg(case).arg(place);
    run(build.choose(&mut command), LONG)
}

/// For both builds, on a file and on a region.
fn memcheck_everywhere(case: &str, check: impl Fn(&Outcome)) {
    let (_scratch, path) = tmpfs();
    for build in Build::ALL {
        for place in [&*path, region()] {
            let outcome = memcheck(build, case, place);
            assert!(outcome.err().contains("ERROR SUMMARY: "), "{outcome}");
            check(&outcome);
        }
    }
}

/// The lines from the one that contains `text` on, without the process id in front.
fn report_from(outcome: &Outcome, text: &str) -> Vec<String> {
    let err = outcome.err();
    let lines: Vec<String> = err
        .lines()
        .map(|line| line.splitn(3, "==").nth(2).unwrap_or(line).trim().to_owned())
        .skip_while(|line| !line.contains(text))
        .collect();
    assert!(!lines.is_empty(), "no \"{text}\" in {outcome}");
    lines
}

#[test]
fn memcheck_finds_nothing_in_clean_programs() {
    for case in ["a_clean_program", "threads_are_clean"] {
        memcheck_everywhere(case, |outcome| {
            assert_eq!(outcome.code(), Some(0), "{outcome}");
            assert!(outcome.err().contains("ERROR SUMMARY: 0 errors"), "{outcome}");
            assert!(outcome.err().contains("All heap blocks were freed"), "{outcome}");
        });
    }
}

#[test]
fn memcheck_reports_blocks_that_were_not_freed() {
    for case in ["a_block_is_lost", "a_block_is_lost_with_its_pool"] {
        memcheck_everywhere(case, |outcome| {
            assert_eq!(outcome.code(), Some(99), "{outcome}");
            let report = report_from(outcome, "8 bytes in 1 blocks are definitely lost");
            // Frames of the library, unnamed in the one that ships, then the caller.
            let caller = report.iter().position(|line| line.contains(": lose_four_bytes ("));
            assert!(
                caller.is_some_and(|at| report[at - 1].contains(": vmem_malloc (")),
                "{outcome}"
            );
        });
    }
}

#[test]
fn innermost_frames_of_the_shipped_library_have_no_names() {
    let outcome = memcheck(Build::Release, "a_block_is_lost", region());
    let report = report_from(&outcome, "8 bytes in 1 blocks are definitely lost");
    let end = report.iter().position(|line| line.contains(": vmem_malloc (")).expect("the call");
    assert!(report[1..end].iter().all(|line| line.contains(": ??? (")), "{outcome}");
    assert!(end <= 2, "at most one frame of the library below the call: {outcome}");
}

#[test]
fn memcheck_reports_uses_of_freed_blocks() {
    memcheck_everywhere("a_freed_block_is_read", |outcome| {
        assert_eq!(outcome.code(), Some(99), "{outcome}");
        let report = report_from(outcome, "Invalid read of size 1");
        assert!(
            report.iter().any(|line| line.contains("is 10 bytes inside a block of size 48 free'd")),
            "{outcome}"
        );
        // The call ends in a jump: its frame may be unnamed.
        assert!(
            report.iter().any(|line| line.contains(": vmem_free (") || line.contains(": ??? (")),
            "{outcome}"
        );
    });
}

#[test]
fn memcheck_reports_stores_beside_blocks() {
    memcheck_everywhere("a_byte_behind_a_block_is_written", |outcome| {
        let report = report_from(outcome, "Invalid write of size 1");
        let wanted = "is 0 bytes after a block of size 48 alloc'd";
        assert!(report.iter().any(|line| line.contains(wanted)), "{outcome}");
        assert!(outcome.err().contains("ERROR SUMMARY: 1 errors"), "{outcome}");
    });
    memcheck_everywhere("a_byte_in_front_of_a_block_is_written", |outcome| {
        report_from(outcome, "Invalid write of size 1");
        assert!(outcome.err().contains("ERROR SUMMARY: 1 errors"), "{outcome}");
    });
}

#[test]
fn memcheck_reports_values_that_nobody_gave() {
    memcheck_everywhere("a_byte_without_a_value_decides", |outcome| {
        report_from(outcome, "Conditional jump or move depends on uninitialised value");
        assert!(outcome.err().contains("ERROR SUMMARY: 1 errors"), "{outcome}");
    });
}

#[test]
fn memcheck_reports_blocks_that_are_freed_twice() {
    memcheck_everywhere("a_block_is_freed_twice", |outcome| {
        report_from(outcome, "Invalid free()");
        assert!(outcome.err().contains("ERROR SUMMARY: 1 errors"), "{outcome}");
        assert!(outcome.out().contains("ok a_block_is_freed_twice"), "{outcome}");
    });
}

#[test]
fn memcheck_reports_uses_of_memory_that_is_no_block() {
    for case in [
        "memory_of_a_pool_that_was_never_handed_out_is_read",
        "a_stale_block_is_read_in_a_new_pool",
    ] {
        memcheck_everywhere(case, |outcome| {
            report_from(outcome, "Invalid read of size 1");
            assert!(outcome.err().contains("ERROR SUMMARY: 1 errors"), "{outcome}");
        });
    }
}

#[test]
fn memcheck_goes_on_when_addresses_of_lost_blocks_are_used_again() {
    memcheck_everywhere("lost_blocks_and_new_pools_at_their_addresses", |outcome| {
        assert!(
            outcome.out().contains("ok lost_blocks_and_new_pools_at_their_addresses"),
            "{outcome}"
        );
        assert!(!outcome.err().contains("overlaps"), "{outcome}");
        report_from(outcome, "definitely lost");
    });
}
