//! libpmem.so.1 and libpmem2.so.1: the contract, by C programs, against our libraries and against those of
//! PMDK (Debian's packages), compiled with our headers and with theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{Shape, compile, need};
use pmem_e2e::capi::{Build, headers};
use pmem_e2e::cases::Cases;
use pmem_e2e::mount::Mount;
use pmem_e2e::preload::plain;
use pmem_e2e::run::{SHORT, run};
use pmem_e2e::scratch::Scratch;

const LONG: Duration = Duration::from_secs(60);

/// The library a program runs on.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Library {
    Ours,
    /// The debug twins.
    Twin,
    Reference,
}

impl Library {
    fn choose(self, command: &mut Command) -> &mut Command {
        plain(command);
        match self {
            Library::Ours => command.env("LD_LIBRARY_PATH", Build::Release.folder()),
            Library::Twin => command.env("LD_LIBRARY_PATH", Build::Debug.persistent_folder()),
            Library::Reference => command.env_remove("LD_LIBRARY_PATH"),
        }
    }

    /// Debian's, or a word on what is missing.
    fn reference() -> Option<Library> {
        let found = Path::new("/usr/include/libpmem2.h").exists();
        if !found {
            eprintln!(
                "NOT CHECKED: the libraries of PMDK (Debian packages libpmem-dev, libpmem2-dev)"
            );
        }
        found.then_some(Library::Reference)
    }
}

/// `c/NAME.c`, compiled and linked with one of the libraries.
fn program(name: &str, library: Library) -> PathBuf {
    let link = format!("-l{name}");
    match library {
        Library::Ours | Library::Twin => {
            let include = format!("-I{}", headers().display());
            let folder = Build::Release.folder();
            let search = format!("-L{}", folder.display());
            // For runs that only list the cases.
            let runpath = format!("-Wl,--enable-new-dtags,-rpath,{}", folder.display());
            let extra = [&include, "-DOWN_LIBRARY", &search, &runpath, &link];
            compile(name, name, Shape::Program, &extra)
        }
        Library::Reference => {
            let output = format!("{name}-reference");
            compile(name, &output, Shape::Program, &[&link])
        }
    }
}

fn all_cases(program: &Path, library: Library, place: &Path, variables: &[(&str, &str)]) {
    let mut cases = Cases::of(program).limit(LONG).argument(place);
    if library == Library::Reference {
        cases = cases.argument("reference");
    }
    cases.run_with(|command| {
        library
            .choose(command)
            .env("PMEM_MMAP_HINT", "0x10000000000")
            .envs(variables.iter().copied());
    });
}

fn in_memory(check: impl FnOnce(&Path)) {
    let scratch = Scratch::in_memory("persist");
    check(scratch.path());
}

#[test]
fn programs_for_our_libraries() {
    in_memory(|place| {
        for name in ["pmem", "pmem2"] {
            all_cases(&program(name, Library::Ours), Library::Ours, place, &[]);
        }
    });
}

#[test]
fn programs_run_on_the_twins() {
    in_memory(|place| {
        let log = place.join("log-");
        let log = log.to_str().expect("UTF-8");
        for name in ["pmem", "pmem2"] {
            let program = program(name, Library::Ours);
            let prefix = name.to_uppercase();
            all_cases(&program, Library::Twin, place, &[]);
            // And with everything logged.
            let (level, file) = (format!("{prefix}_LOG_LEVEL"), format!("{prefix}_LOG_FILE"));
            all_cases(&program, Library::Twin, place, &[(&level, "4"), (&file, log)]);
        }
    });
}

/// A case of a program on the twin, with variables; what it logs.
fn logged(name: &str, case: &str, variables: &[(&str, &str)]) -> String {
    let mut said = String::new();
    in_memory(|place| {
        let mut command = Command::new(program(name, Library::Ours));
        Library::Twin.choose(command.arg(case).arg(place)).envs(variables.iter().copied());
        said = run(&mut command, LONG).success().err();
    });
    said
}

#[test]
fn the_twins_log_what_the_level_says() {
    // Level, the highest level in the log.
    for (level, highest) in
        [("0", None), ("1", Some(1)), ("2", Some(1)), ("3", Some(3)), ("4", Some(4))]
    {
        let said = logged("pmem", "movement", &[("PMEM_LOG_LEVEL", level)]);
        let levels = said.lines().map(|line| {
            let digit = line.strip_prefix("<libpmem>: <").and_then(|rest| rest.chars().next());
            digit.and_then(|digit| digit.to_digit(10)).unwrap_or_else(|| panic!("{line}"))
        });
        assert_eq!(levels.max(), highest, "level {level}");
        if level == "3" {
            assert!(said.contains(" start] flush by "), "which instructions are used: {said}");
        }
    }
    let said = logged("pmem2", "functions", &[("PMEM2_LOG_LEVEL", "3")]);
    assert!(said.contains(" pmem2_map_new] ") && said.contains("<libpmem2>: <3> ["), "{said}");
    assert_eq!(logged("pmem2", "functions", &[("PMEM_LOG_LEVEL", "4")]), "", "another library's");
}

/// What was compiled with PMDK's headers and linked with its libraries runs on ours.
#[test]
fn programs_for_the_reference_run_on_ours() {
    let Some(reference) = Library::reference() else { return };
    in_memory(|place| {
        for name in ["pmem", "pmem2"] {
            all_cases(&program(name, reference), Library::Ours, place, &[]);
        }
    });
}

/// The tests say the truth about the reference.
#[test]
fn the_reference_does_what_the_tests_say() {
    let Some(reference) = Library::reference() else { return };
    in_memory(|place| {
        for name in ["pmem", "pmem2"] {
            all_cases(&program(name, reference), reference, place, &[]);
        }
        // The other direction exists where both have one version node.
        all_cases(&program("pmem", reference), reference, place, &[("PMEM_IS_PMEM_FORCE", "1")]);
    });
}

#[test]
fn on_ext4() {
    let Some(mount) = Mount::ext4(200, &[], "", "libpmem on ext4") else { return };
    for name in ["pmem", "pmem2"] {
        let program = program(name, Library::Ours);
        let cases = Cases::of(&program).limit(LONG).argument(mount.path());
        cases.only(|name| name != "large_mappings_are_aligned_to_a_gigabyte").run_with(|command| {
            Library::Ours.choose(command).env("PMEM_MMAP_HINT", "0x10000000000");
        });
    }
}

/// Each variable that steers the instructions: the cases are the same.
#[test]
fn variables_change_no_result() {
    let settings: &[&[(&str, &str)]] = &[
        &[("PMEM_NO_FLUSH", "1")],
        &[("PMEM_NO_FLUSH", "0"), ("PMEM_NO_CLWB", "1")],
        &[("PMEM_NO_CLWB", "1"), ("PMEM_NO_CLFLUSHOPT", "1")],
        &[("PMEM_NO_MOVNT", "1")],
        &[("PMEM_AVX512F", "0"), ("PMEM_WC_WORKAROUND", "1")],
        &[("PMEM_AVX512F", "0"), ("PMEM_AVX", "0"), ("PMEM_WC_WORKAROUND", "0")],
        &[("PMEM_MOVDIR64B", "1"), ("PMEM_MOVNT_THRESHOLD", "0")],
        &[("PMEM_IS_PMEM_FORCE", "1")],
        &[("PMEM_IS_PMEM_FORCE", "0")],
    ];
    in_memory(|place| {
        for setting in settings {
            for name in ["pmem", "pmem2"] {
                let program = program(name, Library::Ours);
                let chosen =
                    ["movement", "words_are_not_torn", "functions", "flushing", "what_is_pmem"];
                let cases = Cases::of(&program).limit(LONG).argument(place);
                cases.only(|case| chosen.contains(&case)).run_with(|command| {
                    Library::Ours.choose(command).envs(setting.iter().copied());
                });
            }
        }
    });
}

/// fio's engine for libpmem, from Debian: writes a file and verifies it.
#[test]
fn fio_runs_on_ours() {
    let fio = need("fio", "fio");
    let scratch = Scratch::in_memory("persist-fio");
    let file = scratch.path().join("data");
    for sync in ["0", "1"] {
        let mut command = Command::new(&fio);
        command.args(["--name=verify", "--ioengine=libpmem", "--rw=randwrite", "--bs=4k"]);
        command.args(["--size=16m", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1"]);
        command.args(["--iodepth=1", "--thread", "--direct=1", "--output-format=terse"]);
        command.arg(format!("--sync={sync}")).arg(format!("--filename={}", file.display()));
        Library::Ours.choose(&mut command).env("PMEM_IS_PMEM_FORCE", "1");
        command.env("LD_DEBUG", "libs").env("LD_DEBUG_OUTPUT", scratch.path().join("ld"));
        command.current_dir(scratch.path());
        run(&mut command, LONG).success();
        assert_eq!(fs::metadata(&file).expect("the file").len(), 16 << 20);
    }
    // It was our library that the engine found.
    let ours = Build::Release.folder().join("libpmem.so.1").display().to_string();
    let logs = fs::read_dir(scratch.path()).expect("a directory").filter_map(Result::ok);
    let mut logs = logs.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"ld."));
    let found = logs.any(|entry| {
        fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(&format!("init: {ours}")))
    });
    assert!(found, "fio did not load {ours}");
}

/// Dynamic symbols that a file defines, as `LETTER NAME`.
fn defined(file: &Path) -> Vec<String> {
    let arguments = ["-D", "--defined-only", "--with-symbol-versions"];
    let mut command = Command::new(need("nm", "binutils"));
    let out = run(command.args(arguments).arg(file), SHORT).success().out();
    let lines = out.lines().filter_map(|line| line.split_once(' '));
    let mut lines: Vec<String> = lines.map(|(_, rest)| rest.trim().to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn shared_objects_have_the_committed_symbols_nodes_and_names() {
    for library in ["libpmem", "libpmem2"] {
        let file = Build::Release.folder().join(format!("{library}.so"));
        let list = format!("{}/abi/{library}.symbols", env!("CARGO_MANIFEST_DIR"));
        let list = fs::read_to_string(list).expect("the committed list");
        let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let mut listed: Vec<&str> = lines.collect();
        listed.sort();
        assert_eq!(defined(&file), listed, "{}", file.display());
        let mut command = Command::new(need("readelf", "binutils"));
        let dynamic = run(command.arg("-dW").arg(&file), SHORT).success().out();
        assert!(dynamic.contains(&format!("Library soname: [{library}.so.1]")), "{dynamic}");
        for tag in ["(RPATH)", "(RUNPATH)", "(TEXTREL)", "ndctl", "daxctl"] {
            assert!(!dynamic.contains(tag), "{tag} in\n{dynamic}");
        }
    }
}

/// Everything that the reference's libraries export is there, except what the manual page names.
#[test]
fn nothing_of_the_reference_is_missing() {
    const LEFT_OUT: [&str; 4] =
        ["pmem2_config_set_vdm", "pmem2_memcpy_async", "pmem2_memmove_async", "pmem2_memset_async"];
    if Library::reference().is_none() {
        return;
    }
    for library in ["libpmem", "libpmem2"] {
        let ours = defined(&Build::Release.folder().join(format!("{library}.so.1")));
        let theirs = Path::new("/usr/lib/x86_64-linux-gnu").join(format!("{library}.so.1"));
        for symbol in defined(&theirs) {
            let name = symbol.rsplit_once("@@").map_or(symbol.as_str(), |(name, _)| name);
            if LEFT_OUT.iter().any(|left_out| name.ends_with(left_out)) {
                continue;
            }
            let old = symbol.replace("@@LIBPMEM2_1.0", "@LIBPMEM2_1.0");
            assert!(ours.contains(&symbol) || ours.contains(&old), "{library} lacks {symbol}");
        }
    }
}

/// The static archives, in a program with its own `old_node`: nothing but the API is visible.
#[test]
fn static_archives_link() {
    in_memory(|place| {
        for name in ["pmem", "pmem2"] {
            let include = format!("-I{}", headers().display());
            let archive = Build::Release.folder().join(format!("lib{name}.a"));
            let extra =
                [&include, "-DOWN_LIBRARY", archive.to_str().expect("UTF-8"), "-ldl", "-lm"];
            let program = compile(name, &format!("{name}-static"), Shape::Program, &extra);
            let cases = Cases::of(&program).limit(LONG).argument(place);
            cases.only(|case| case != "address_hint").run_with(|command| {
                plain(command);
            });
            let mut command = Command::new(need("nm", "binutils"));
            let out = run(command.args(["-g", "--defined-only"]).arg(&archive), SHORT).success();
            let foreign: Vec<String> = out
                .out()
                .lines()
                .filter(|line| line.contains(' ') && !line.contains(&format!(" {name}_")))
                .map(str::to_owned)
                .collect();
            assert!(foreign.is_empty(), "{foreign:?}");
        }
    });
}
