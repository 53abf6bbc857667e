//! The harness from end to end, with an allocator of known properties in the place of ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_pmem-bench");

/// The workloads and the launcher lie beside the harness; they belong to another package, which is built
/// here on first use.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let directory = Path::new(BENCH).parent().expect("a directory");
        let profile = match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(other) => other,
            None => panic!("no profile in {}", directory.display()),
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "pmem-workloads", "--profile", profile])
            .arg("--target-dir")
            .arg(directory.parent().expect("a target directory"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo");
        assert!(status.success());
        directory.to_owned()
    })
}

/// A directory for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Compiles the stand-in for our library.
    fn library(&self, crash: bool) -> String {
        let library = self.path("libbump.so");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-fno-builtin", "-o", &library])
            .arg(format!("-DCRASH={}", u8::from(crash)))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/bump.c"))
            .status()
            .expect("cc");
        assert!(status.success());
        library
    }

    fn bench(&self, arguments: &[&str]) -> Output {
        built();
        Command::new(BENCH)
            .args(arguments)
            .args(["--disk-dir", &self.path("disk"), "--memory-dir", &self.path("")])
            .output()
            .expect("the harness starts")
    }

    fn json(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.path(name)).expect("a JSON file");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind lies in the target directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn complaints(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn known_instructions_are_counted_exactly() {
    let scratch = Scratch::new("count");
    let (library, json, csv) =
        (scratch.library(false), scratch.path("counts.json"), scratch.path("places.csv"));
    let common = [
        "icount",
        "--library",
        &library,
        "--peers",
        "vmmalloc",
        "--filter",
        "^(pair 16|batch 64) B$",
    ];
    let output = scratch.bench(&[&common[..], &["--json", &json, "--locations", &csv]].concat());
    assert!(output.status.success(), "{}", complaints(&output));

    let counts = scratch.json("counts.json");
    let figure = |index: usize, name: &str| {
        let figure = &counts[0]["figures"][index];
        assert_eq!(figure["operation"], name);
        assert_eq!(figure["system_calls"], 0.0);
        figure["instructions"].as_f64().expect("a number")
    };
    assert_eq!(figure(0, "pair 16 B"), 6.0);
    assert_eq!(figure(1, "malloc 64 B"), 5.0);
    assert_eq!(figure(2, "free 64 B"), 1.0);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("| free 64 B | 1 |"), "{table}");

    // Six places, all in the stand-in: 100 pairs, then twice 200 blocks.
    let places = std::fs::read_to_string(&csv).expect("a CSV file");
    let lines: Vec<&str> = places.lines().skip(1).collect();
    assert_eq!(lines.len(), 12, "{places}");
    assert!(
        lines[..6].iter().all(|line| line.starts_with("vmmalloc,pair 16 100,100,0x")),
        "{places}"
    );
    assert!(
        lines[6..].iter().all(|line| line.starts_with("vmmalloc,batch 64 200 2,400,0x")),
        "{places}"
    );
    assert!(lines.iter().all(|line| line.ends_with("libbump.so")), "{places}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn counts_that_grew_fail_the_check() {
    let scratch = Scratch::new("check");
    let (library, file) = (scratch.library(false), scratch.path("kept.json"));
    let check = |more: &[&str]| {
        scratch.bench(&[&["icount", "--library", &library, "--check", &file], more].concat())
    };
    assert_eq!(check(&[]).status.code(), Some(2), "nothing is kept yet");
    let output = check(&["--update"]);
    assert!(output.status.success(), "{}", complaints(&output));
    let kept = std::fs::read_to_string(&file).expect("kept counts");
    // Blocks of this size are never steady.
    assert!(kept.contains("\"rustc ") && !kept.contains("pair 2 MiB"), "{kept}");

    // The same again passes and says nothing.
    let output = check(&[]);
    assert!(output.status.success(), "{}", complaints(&output));
    assert!(!complaints(&output).contains("pmem-bench:"), "{}", complaints(&output));

    let pair = "\"operation\": \"pair 16 B\",\n          \"instructions\": 6.0";
    assert!(kept.contains(pair), "{kept}");
    std::fs::write(&file, kept.replace(pair, &pair.replace("6.0", "4.0"))).expect("written");
    let output = check(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = complaints(&output);
    assert!(
        text.contains("FAILED: vmmalloc, pair 16 B: 4.00 instructions before, 6.00 now (+50.0 %)"),
        "{text}"
    );
    assert!(text.contains("--update"), "{text}");
    assert!(check(&["--filter", "8 KiB"]).status.success());
    assert_eq!(check(&["--filter", "16 B", "--update"]).status.code(), Some(2));

    std::fs::write(&file, kept.replace(pair, &pair.replace("6.0", "9.0"))).expect("written");
    let output = check(&[]);
    assert!(output.status.success());
    assert!(complaints(&output).contains("fewer, keep it: vmmalloc, pair 16 B"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_c_library_is_counted_too() {
    let scratch = Scratch::new("glibc");
    let json = scratch.path("counts.json");
    let output =
        scratch.bench(&["icount", "--peers", "glibc", "--filter", "^pair 16 B$", "--json", &json]);
    assert!(output.status.success(), "{}", complaints(&output));
    let pair =
        scratch.json("counts.json")[0]["figures"][0]["instructions"].as_f64().expect("a number");
    // 129 in glibc 2.36; others differ a little, but none does it in a dozen or needs hundreds.
    assert!((40.0..300.0).contains(&pair), "{pair}");
}

#[test]
fn a_matrix_is_run_and_reported() {
    let scratch = Scratch::new("matrix");
    let library = scratch.library(false);
    let (json, markdown, svg) =
        (scratch.path("m.json"), scratch.path("m.md"), scratch.path("m.svg"));
    let output = scratch.bench(&[
        "preload",
        "--library",
        &library,
        "--peers",
        "glibc,vmmalloc",
        "--scale",
        "0.0005",
        "--rounds",
        "2",
        "--filter",
        "^(pair16|primes|perl)$",
        "--json",
        &json,
        "--markdown",
        &markdown,
        "--svg",
        &svg,
    ]);
    assert!(output.status.success(), "{}", complaints(&output));

    let matrix = scratch.json("m.json");
    assert_eq!(matrix["reference"], "glibc");
    let cases = matrix["cases"].as_array().expect("cases").len();
    // perl is part of every Debian system.
    assert_eq!(cases, 3);
    let runs = matrix["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 2 * 2 * cases);
    for run in runs {
        assert_eq!(run["failure"], Value::Null, "{run}");
        assert!(run["usage"]["peak_rss_kib"].as_u64().expect("a number") > 500, "{run}");
        assert!(run["usage"]["minor_faults"].as_u64().expect("a number") > 20, "{run}");
    }
    let pools = matrix["pools"].as_array().expect("pools");
    assert_eq!(pools.len(), cases);
    assert_eq!(pools[0]["stats"]["program"], "pmem-workloads");
    // 20,000 blocks of 16 bytes, never reused.
    assert!(pools[0]["stats"]["peak_committed_bytes"].as_u64().expect("a number") >= 320_000);

    let tables = std::fs::read_to_string(&markdown).expect("tables");
    assert!(tables.contains("| case | glibc | vmmalloc |"), "{tables}");
    assert!(tables.contains("| all (3) | 1.00 |"), "{tables}");
    assert!(std::fs::read_to_string(&svg).expect("a chart").starts_with("<svg "));

    // The kept file gives the same tables again.
    let again = Command::new(BENCH).args(["report", &json]).output().expect("the harness starts");
    assert_eq!(String::from_utf8_lossy(&again.stdout), tables);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn all_parts_that_the_filter_matches_become_one_result() {
    let scratch = Scratch::new("all");
    let library = scratch.library(false);
    let common = ["all", "--quick", "--library", &library, "--peers", "glibc,vmmalloc"];
    let output = scratch.path("out");
    let run = |filter: &str| scratch.bench(&[&common[..], &["--output", &output, filter]].concat());
    let result = run("^(pair16|pair 16 B)$");
    assert!(result.status.success(), "{}", complaints(&result));
    // How far it is, also where there is no terminal.
    assert!(complaints(&result).contains("preload:   0 %, round 1 of 2: pair16 under"));

    let all = scratch.json("out/bench.json");
    assert_eq!(all["instructions"][1]["figures"][0]["instructions"], 6.0);
    assert_eq!(all["matrix"]["runs"].as_array().expect("runs").len(), 4);
    assert_eq!(all["pools"], Value::Null);
    assert_eq!(all["in_process"], Value::Null);
    let tables = std::fs::read_to_string(scratch.path("out/bench.md")).expect("tables");
    assert!(tables.contains("| pair 16 B | ") && tables.contains("| pair16 | "), "{tables}");
    assert!(tables.contains("### Page faults by case"), "{tables}");
    assert!(std::fs::read_to_string(scratch.path("out/bench.svg")).expect("a chart").len() > 500);

    let result = run("^nothing$");
    assert_eq!(result.status.code(), Some(2));
    assert!(complaints(&result).contains("matches no part"), "{}", complaints(&result));
}

#[test]
fn fragmentation_is_told_by_what_the_pool_has_committed() {
    let scratch = Scratch::new("fragmentation");
    let (library, json) = (scratch.library(false), scratch.path("m.json"));
    let output = scratch.bench(&[
        "preload",
        "--library",
        &library,
        "--peers",
        "glibc,vmmalloc",
        "--scale",
        "0.001",
        "--rounds",
        "2",
        "--filter",
        "^fragmentation$",
        "--json",
        &json,
    ]);
    assert!(output.status.success(), "{}", complaints(&output));
    // One round is enough for what is the same each time.
    assert_eq!(scratch.json("m.json")["runs"].as_array().expect("runs").len(), 2);
    let tables = String::from_utf8_lossy(&output.stdout);
    assert!(tables.contains("### Fragmentation, case fragmentation"), "{tables}");
    let line = tables.lines().find(|line| line.starts_with("| vmmalloc | 64.0 |"));
    assert!(line.is_some_and(|line| !line.contains("–")), "{tables}");
}

#[test]
fn a_failure_of_ours_is_told_and_fails_the_run() {
    let scratch = Scratch::new("crash");
    let (library, json) = (scratch.library(true), scratch.path("m.json"));
    let output = scratch.bench(&[
        "preload",
        "--library",
        &library,
        "--peers",
        "glibc,vmmalloc",
        "--scale",
        "0.0001",
        "--rounds",
        "1",
        "--filter",
        "^pair16$",
        "--json",
        &json,
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", complaints(&output));
    assert!(
        complaints(&output).contains("pair16 under vmmalloc: signal 6"),
        "{}",
        complaints(&output)
    );
    let tables = String::from_utf8_lossy(&output.stdout);
    assert!(tables.contains("| pair16 | 1.00 (1.00–1.00) | **signal 6** |"), "{tables}");
    assert!(
        scratch.json("m.json")["pool_failures"][0].as_str().expect("text").contains("signal 6")
    );
}

#[test]
fn what_cannot_be_done_is_said_before_anything_runs() {
    let scratch = Scratch::new("usage");
    for (arguments, complaint) in [
        (
            &["preload", "--peers", "vmmalloc", "--library", "/nonexistent/lib.so"][..],
            "cargo build --release",
        ),
        (&["preload", "--peers", "nonsense"], "no allocator 'nonsense'"),
        (&["preload", "--peers", "glibc", "--filter", "^nothing$"], "matches no case"),
        (&["preload", "--peers", "glibc", "--filter", "("], "--filter \"(\""),
        (&["preload", "--peers", "glibc", "--reference", "jemalloc"], "'jemalloc' is not among"),
        (&["preload", "--peers", "glibc", "--scale", "0"], "--scale 0"),
        (&["icount", "--peers", "glibc", "--filter", "^nothing$"], "matches none of"),
    ] {
        let output = scratch.bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", complaints(&output));
        assert!(complaints(&output).contains(complaint), "{arguments:?}: {}", complaints(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
