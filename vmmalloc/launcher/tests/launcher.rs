//! Runs the built launcher: every bad input with its exit code and message, and what a program gets to see.
//!
//! The library preloaded here is an empty one made with the C compiler, so these tests judge the launcher alone.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A directory of one test on /dev/shm, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("vmmalloc-launcher-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = Path::new("/dev/shm").join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file. `install` does it, not this process: a descriptor open for writing could leak into a child
    /// that another test thread is starting just now, and the kernel refuses to execute such a file.
    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        let mut install = Command::new("install")
            .args(["-m", &format!("{mode:o}"), "/dev/stdin"])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        install.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        path
    }

    /// Copies a file to `name`, by another process for the same reason.
    fn copy(&self, from: impl AsRef<OsStr>, name: &str) -> PathBuf {
        let path = self.0.join(name);
        assert!(Command::new("cp").arg(from).arg(&path).status().unwrap().success());
        path
    }

    /// Builds C source into `name` in this directory.
    fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let input = self.file(&format!("{name}.c"), source, 0o644);
        let output = self.0.join(name);
        let status = Command::new("cc").args(flags).arg("-o").arg(&output).arg(&input).status();
        assert!(status.expect("cc is installed").success());
        output
    }

    /// A shared library without any content.
    fn library(&self) -> PathBuf {
        self.compile("stub.so", "int vmmalloc_stub;\n", &["-shared", "-fPIC", "-nostdlib"])
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The launcher with a clean environment.
fn launcher() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmmalloc"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VMMALLOC_") || name == "LD_PRELOAD" {
            command.env_remove(name);
        }
    }
    command
}

fn run<S: AsRef<OsStr>>(library: &Path, arguments: &[S]) -> Output {
    launcher().arg("--library").arg(library).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Asserts a refusal: this exit code, nothing on stdout, one line on stderr with all of `texts`.
#[track_caller]
fn assert_refused(output: &Output, exit: i32, texts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(exit), "{message}");
    assert_eq!(stdout(output), "", "the program must not have run");
    assert_eq!(message.matches('\n').count(), 1, "one line: {message}");
    assert!(message.starts_with("vmmalloc: "), "{message}");
    for text in texts {
        assert!(message.contains(text), "no {text:?} in {message}");
    }
}

/// Every test program says this when it runs, so a refusal that runs it is seen.
const PROGRAM: [&str; 3] = ["--", "echo", "ran"];

fn with(options: &[&str]) -> Vec<String> {
    options.iter().chain(&PROGRAM).map(|s| (*s).to_owned()).collect()
}

#[test]
fn bad_options_and_values() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--frobnicate"], &["unknown option '--frobnicate'", "--help"]),
        (&["-q"], &["unknown option '-q'"]),
        (&["--lazy=now"], &["--lazy", "'now'"]),
        (&["--lazy", "--prealloc"], &["--lazy and --prealloc exclude each other"]),
        (&["--size", "1M"], &["--size '1M' is below the minimum", "14680064"]),
        (&["--size", "14680063"], &["--size '14680063' is below the minimum"]),
        (&["--size", "big"], &["--size 'big' is not a size", "K, M, G or T"]),
        (&["--size", "64Q"], &["--size '64Q' is not a size"]),
        (&["--size=-64M"], &["--size '-64M' is negative"]),
        (&["--size", "99999999999999999999"], &["is larger than any pool"]),
        (&["--size="], &["--size needs a value"]),
        (&["--fork", "4"], &["--fork '4'", "0, 1, 2, 3"]),
        (&["--fork", "copy"], &["--fork 'copy'", "0, 1, 2, 3"]),
        (&["--overflow", "disk"], &["--overflow 'disk'", "none, dram"]),
        (&["--purge-ms", "later"], &["--purge-ms 'later'", "off"]),
        (&["--hugepages", "1G"], &["--hugepages '1G'", "never, advise"]),
        (&["--harden=yes"], &["--harden 'yes'", "0, 1, 2"]),
        (&["--stats=yaml"], &["--stats 'yaml'", "text, json"]),
        (
            &["--stats-file", "/no/such/dir/f"],
            &["--stats-file '/no/such/dir/f'", "create its directory"],
        ),
        (&["--stats-file", "/tmp"], &["--stats-file '/tmp' is a directory"]),
        (&["--prealloc"], &["--prealloc", "--size"]),
        (&["--nodes", "0", "--dir", "/tmp"], &["--dir, --nodes and --device exclude each other"]),
        (&["--nodes", "first"], &["--nodes 'first' is no list of nodes", "prefer:"]),
        (
            &["--nodes", "1023"],
            &["--nodes '1023' names node 1023, which does not exist", "nodes with memory: 0"],
        ),
        (
            &["--nodes=0", "--prealloc", "--size=15T"],
            &["--nodes '0' has", "less than the 15 TiB that --prealloc"],
        ),
        (&["--device", "/dev/dax77.7"], &["--device '/dev/dax77.7' does not exist", "daxctl list"]),
        (&["--device", "/dev/null"], &["--device '/dev/null' is no device-dax"]),
        (&["--device", "/tmp"], &["--device '/tmp' is no device-dax"]),
        (&["--device", "/dev/null", "--fork=2"], &["--fork", "give 1 or 3"]),
    ];
    for (options, texts) in cases {
        assert_refused(&run(&library, &with(options)), 2, texts);
    }
    assert_refused(&run(&library, &["--lazy"]), 2, &["no program to run"]);
    assert_refused(&run(&library, &["--dir"]), 2, &["--dir needs a value"]);
}

#[test]
fn bad_variables_are_named() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let cases: &[(&str, &str, &[&str])] = &[
        ("VMMALLOC_POOL_SIZE", "14M5", &["VMMALLOC_POOL_SIZE '14M5' is not a size"]),
        ("VMMALLOC_POOL_SIZE", "10", &["VMMALLOC_POOL_SIZE '10' is below the minimum"]),
        ("VMMALLOC_POOL_DIR", "/no/such", &["VMMALLOC_POOL_DIR '/no/such' does not exist"]),
        ("VMMALLOC_SPACE", "some", &["VMMALLOC_SPACE 'some'", "lazy, prealloc"]),
        ("VMMALLOC_FORK", "7", &["VMMALLOC_FORK '7'"]),
        ("VMMALLOC_OVERFLOW", "yes", &["VMMALLOC_OVERFLOW 'yes'"]),
        ("VMMALLOC_PURGE_MS", "x", &["VMMALLOC_PURGE_MS 'x'"]),
        ("VMMALLOC_HUGEPAGE", "x", &["VMMALLOC_HUGEPAGE 'x'"]),
        ("VMMALLOC_HARDEN", "x", &["VMMALLOC_HARDEN 'x'"]),
        ("VMMALLOC_STATS", "x", &["VMMALLOC_STATS 'x'"]),
        ("VMMALLOC_NODES", "x", &["VMMALLOC_NODES 'x' is no list"]),
        ("VMMALLOC_DEVICE", "/no/such", &["VMMALLOC_DEVICE '/no/such' does not exist"]),
    ];
    for (name, value, texts) in cases {
        let output =
            launcher().arg("--library").arg(&library).args(PROGRAM).env(name, value).output();
        assert_refused(&output.unwrap(), 2, texts);
    }
}

#[test]
fn bad_directories() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let file = scratch.file("file", "", 0o644);
    let file = file.to_str().unwrap();
    let below = format!("{file}/below");
    let cases: &[(&str, &[&str])] = &[
        ("/no/such/dir", &["--dir '/no/such/dir' does not exist", "mkdir -p"]),
        (file, &["is a file, not a directory"]),
        (&below, &["lies under a file"]),
        ("/proc", &["--dir '/proc' is on proc", "tmpfs"]),
        ("/sys/kernel", &["--dir '/sys/kernel' is on sysfs"]),
        ("/dev/null", &["--dir '/dev/null' is a character device", "name a directory"]),
    ];
    for (dir, texts) in cases {
        assert_refused(&run(&library, &with(&["--dir", dir])), 2, texts);
    }
}

#[test]
fn nodes_replace_the_directory() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let show = ["sh", "-c", "env | grep ^VMMALLOC_ | sort"];
    let run = |options: &[&str]| {
        let mut command = launcher();
        command.env("VMMALLOC_POOL_DIR", "/no/such").env("VMMALLOC_DEVICE", "/dev/null");
        command.arg("--library").arg(&library).args(options).args(show).output().unwrap()
    };
    let output = run(&["--nodes", "prefer:0", "--size", "32M"]);
    let expected = "VMMALLOC_NODES=prefer:0\nVMMALLOC_POOL_SIZE=33554432\nVMMALLOC_SPACE=lazy\n";
    assert_eq!((stdout(&output), stderr(&output)), (expected.to_owned(), String::new()));
    // By default half of what the nodes have left.
    let output = run(&["--nodes", "0"]);
    let size = stdout(&output);
    let size = size.lines().find_map(|line| line.strip_prefix("VMMALLOC_POOL_SIZE="));
    let size: u64 = size.expect("a size").parse().unwrap();
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let memory = memory.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10;
    assert!(
        size >= 14 << 20 && size <= memory / 2 && size.is_multiple_of(2 << 20),
        "{size} of {memory}"
    );
    let output = run(&["--nodes", "0", "--size", "15T"]);
    assert!(stderr(&output).contains("warning: --nodes '0' has "), "{}", stderr(&output));
}

/// Runs the launcher as an ordinary user, also when the tests run as root.
fn run_as_nobody(scratch: &Scratch, library: &Path, arguments: &[&str]) -> Output {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    // The build directory may be closed to others.
    let copy = scratch.copy(env!("CARGO_BIN_EXE_vmmalloc"), "launcher");
    let mut command = Command::new(copy);
    command.arg("--library").arg(library).args(arguments).env_remove("LD_PRELOAD");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

#[test]
fn a_directory_without_permission() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let closed = scratch.0.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let closed = closed.to_str().unwrap();
    let output = run_as_nobody(&scratch, &library, &["--dir", closed, "echo", "ran"]);
    assert_refused(&output, 2, &["is not writable", closed]);
}

#[test]
fn too_little_space() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let output = run(&library, &with(&["--prealloc", "--size", "15T"]));
    assert_refused(&output, 2, &["--prealloc", "--size", "free on tmpfs", "--lazy"]);
    // The same size is allowed when nothing is taken in advance, with a word about it.
    let output = run(&library, &with(&["--size", "1T"]));
    assert_eq!(stdout(&output), "ran\n", "{}", stderr(&output));
    assert!(
        stderr(&output).contains("warning: --size 1099511627776 is more than"),
        "{}",
        stderr(&output)
    );
}

/// `sh -c` with a resource limit set first, then the launcher.
fn run_limited(library: &Path, limit: &str, options: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"]);
    command.arg(env!("CARGO_BIN_EXE_vmmalloc")).arg("--library").arg(library);
    command.args(with(options)).env_remove("LD_PRELOAD").output().unwrap()
}

#[test]
fn resource_limits() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let output = run_limited(&library, "-f 32768", &["--size", "1G"]);
    assert_refused(&output, 2, &["--size 1073741824 is above the file size limit", "ulimit -f"]);
    let output = run_limited(&library, "-v 500000", &["--size", "1G"]);
    assert_refused(&output, 2, &["address space limit", "ulimit -v"]);
    // The default size keeps within the limits.
    let output = run_limited(&library, "-v 500000", &[]);
    assert_eq!(stdout(&output), "ran\n", "{}", stderr(&output));
}

#[test]
fn programs_that_cannot_run() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let path = |name: &str, content: &str, mode: u32| {
        scratch.file(name, content, mode).to_str().unwrap().to_owned()
    };
    let plain = path("plain", "#!/bin/sh\n", 0o644);
    let orphan = path("orphan", "#!/no/such/interpreter\n", 0o755);
    let dir = scratch.0.to_str().unwrap();
    assert_refused(&run(&library, &["no-such-program"]), 127, &["'no-such-program'", "PATH"]);
    assert_refused(&run(&library, &["./no/such"]), 127, &["'./no/such' does not exist"]);
    assert_refused(&run(&library, &[&plain]), 126, &["is not executable", "chmod +x"]);
    assert_refused(&run(&library, &[dir]), 126, &["is a directory"]);
    assert_refused(&run(&library, &[&orphan]), 126, &["'/no/such/interpreter'", "does not exist"]);
}

#[test]
fn programs_a_preload_does_not_reach() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let fixed = scratch.compile(
        "fixed",
        "void _start(void) { __builtin_trap(); }\n",
        &["-static", "-nostdlib", "-ffreestanding"],
    );
    assert_refused(&run(&library, &[&fixed]), 2, &["is statically linked", "dynamically linked"]);
    let script = scratch.file("script", &format!("#!{}\n", fixed.display()), 0o755);
    assert_refused(&run(&library, &[&script]), 2, &["the interpreter", "is statically linked"]);

    // A copy of `true` that belongs to somebody else and has the set-user-ID bit, or the system's `su`.
    let privileged = if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let copy = scratch.copy("/bin/true", "privileged");
        std::os::unix::fs::chown(&copy, Some(65534), None).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
        copy
    } else {
        PathBuf::from("/bin/su")
    };
    assert_refused(&run(&library, &[&privileged]), 2, &["is set-user-ID", "sudo vmmalloc"]);
}

#[test]
fn a_program_with_its_own_malloc_runs_with_a_warning() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let source = "#include <stddef.h>\n#include <stdio.h>\n\
        static char heap[1 << 20]; static size_t used;\n\
        void *malloc(size_t n) { void *p = heap + used; used += (n + 15) & ~15ul; return p; }\n\
        void free(void *p) { (void)p; }\n\
        int main(void) { puts(\"ran\"); return 0; }\n";
    let program = scratch.compile("own", source, &["-rdynamic", "-fno-builtin"]);
    let output = run(&library, &[&program]);
    assert_eq!(stdout(&output), "ran\n");
    assert!(stderr(&output).contains("brings its own malloc"), "{}", stderr(&output));
}

#[test]
fn bad_libraries() {
    let scratch = Scratch::new();
    let text = scratch.file("text.so", "not a library\n", 0o644);
    let spaced = scratch.copy(scratch.library(), "a b.so");
    assert_refused(
        &run(Path::new("/no/lib.so"), &PROGRAM),
        2,
        &["--library '/no/lib.so' does not exist"],
    );
    assert_refused(&run(&text, &PROGRAM), 2, &["is not a shared library"]);
    assert_refused(&run(&spaced, &PROGRAM), 2, &["space or colon"]);
    // A launcher far from any library; LD_LIBRARY_PATH leads nowhere either.
    let alone = scratch.0.join("alone");
    fs::create_dir(&alone).unwrap();
    scratch.copy(env!("CARGO_BIN_EXE_vmmalloc"), "alone/vmmalloc");
    if !system_has_the_library() {
        let output =
            Command::new(alone.join("vmmalloc")).args(PROGRAM).env_remove("LD_PRELOAD").output();
        assert_refused(&output.unwrap(), 2, &["libvmmalloc.so.1", "--library"]);
    }
    // The same launcher finds the library once it is beside it.
    scratch.copy(scratch.library(), "alone/libvmmalloc.so.1");
    let output =
        Command::new(alone.join("vmmalloc")).args(PROGRAM).env_remove("LD_PRELOAD").output();
    let output = output.unwrap();
    assert_eq!(stdout(&output), "ran\n", "{}", stderr(&output));
}

/// True on a machine where the library is installed for everybody.
fn system_has_the_library() -> bool {
    let cache = fs::read("/etc/ld.so.cache").unwrap_or_default();
    cache.windows(16).any(|window| window == b"libvmmalloc.so.1")
}

#[test]
fn the_program_gets_settings_and_preload() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let script = "printf '%s\\n' \"$0\" \"$@\"; env | grep -E '^(VMMALLOC|LD_PRELOAD)' | sort; \
                  grep -c stub.so /proc/self/maps >/dev/null && echo preloaded";
    let output = launcher()
        .args(["--dir", "."])
        .args(["--size", "32M", "--fork", "2", "--overflow", "dram", "--purge-ms", "off"])
        .args([
            "--home-ms",
            "250",
            "--hugepages",
            "advise",
            "--harden",
            "--stats=json",
            "--stats-file",
            "s-",
            "--library",
        ])
        .arg(&library)
        .args(["--", "sh", "-c", script, "zero", "one two", "--dir"])
        .current_dir(&scratch.0)
        .env("VMMALLOC_FORK", "1")
        .output()
        .unwrap();
    let dir = scratch.0.display();
    let library = library.display();
    let expected = format!(
        "zero\none two\n--dir\nLD_PRELOAD={library}\nVMMALLOC_FORK=2\nVMMALLOC_HARDEN=1\nVMMALLOC_HOME_MS=250\nVMMALLOC_HUGEPAGE=advise\n\
         VMMALLOC_OVERFLOW=dram\nVMMALLOC_POOL_DIR={dir}\nVMMALLOC_POOL_SIZE=33554432\n\
         VMMALLOC_PURGE_MS=off\nVMMALLOC_SPACE=lazy\nVMMALLOC_STATS=json\n\
         VMMALLOC_STATS_FILE={dir}/s-\npreloaded\n"
    );
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn defaults_and_inherited_variables() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let show = [
        "sh",
        "-c",
        "echo $VMMALLOC_POOL_DIR ${VMMALLOC_FORK-unset} $VMMALLOC_SPACE $VMMALLOC_POOL_SIZE",
    ];
    let output = run(&library, &show);
    let line = stdout(&output);
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..3], ["/dev/shm", "unset", "lazy"], "{}", stderr(&output));
    assert!(words[3].parse::<u64>().unwrap() >= 14_680_064);

    let output = launcher()
        .arg("--library")
        .arg(&library)
        .args(show)
        .env("VMMALLOC_POOL_DIR", &scratch.0)
        .env("VMMALLOC_POOL_SIZE", "20M")
        .env("VMMALLOC_FORK", "")
        .output()
        .unwrap();
    assert_eq!(stdout(&output), format!("{} unset lazy 20971520\n", scratch.0.display()));
}

#[test]
fn an_existing_preload_is_appended_to() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let other = scratch.compile("other.so", "int other;\n", &["-shared", "-fPIC", "-nostdlib"]);
    let output = launcher()
        .arg("--library")
        .arg(&library)
        .args(["sh", "-c", "echo $LD_PRELOAD"])
        .env("LD_PRELOAD", &other)
        .output()
        .unwrap();
    assert_eq!(stdout(&output), format!("{}:{}\n", other.display(), library.display()));
}

#[test]
fn exit_codes_and_signals_are_the_programs() {
    let scratch = Scratch::new();
    let library = scratch.library();
    assert_eq!(run(&library, &["sh", "-c", "exit 7"]).status.code(), Some(7));
    let killed = run(&library, &["sh", "-c", "kill -TERM $$"]);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed.status), Some(15));
    // A program must die of SIGPIPE as it would without the launcher.
    let arguments = ["sh", "-c", "grep SigIgn /proc/self/status"];
    let plain = Command::new("sh").args(&arguments[1..]).output().unwrap();
    assert_eq!(stdout(&run(&library, &arguments)), stdout(&plain));
}

#[test]
fn a_script_without_a_first_line_runs_through_the_shell() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let script = scratch.file("bare", "echo bare $1\n", 0o755);
    let output = run(&library, &[script.as_os_str(), OsStr::new("arg")]);
    assert_eq!(stdout(&output), "bare arg\n", "{}", stderr(&output));
}

#[test]
fn a_dry_run_starts_nothing_and_prints_a_line_that_does_the_same() {
    let scratch = Scratch::new();
    let library = scratch.library();
    let mark = scratch.0.join("mark");
    let mark = mark.to_str().unwrap();
    let output = run(&library, &["--dry-run", "--size", "32M", "touch", mark]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!Path::new(mark).exists());
    let line = stdout(&output);
    assert!(line.contains("VMMALLOC_POOL_SIZE='33554432'"), "{line}");
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    assert!(Path::new(mark).exists());
    // The checks are the same.
    assert_refused(
        &run(&library, &["--dry-run", "--size", "1", "true"]),
        2,
        &["below the minimum"],
    );
}

#[test]
fn help_and_version() {
    let help = launcher().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/man/vmmalloc.1");
    let page = fs::read_to_string(page).unwrap();
    let text = stdout(&help);
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options: Vec<&str> =
        words.filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(options.len() >= 14, "{options:?}");
    for option in options {
        let escaped = option.replace('-', "\\-");
        assert!(page.contains(&escaped), "{option} is in --help but not in the manual page");
    }
    let version = launcher().arg("--version").output().unwrap();
    assert_eq!(stdout(&version), concat!("vmmalloc ", env!("CARGO_PKG_VERSION"), "\n"));
}
