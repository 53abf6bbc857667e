//! Bad and unusual configurations: exact texts, SIGABRT, order of the checks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use pmem_e2e::artifact::{library, need, program};
use pmem_e2e::core_file;
use pmem_e2e::mount::Mount;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::procfs::{flags_of, maps_of, storage_of};
use pmem_e2e::run::{Outcome, SHORT, Server, await_value, run};
use pmem_e2e::scratch::Scratch;

/// A pool just above the minimum.
fn small() -> Pool {
    Pool::prealloc(14)
}

fn hello(pool: &Pool) -> Outcome {
    run(&mut pool.command(program("hello")), SHORT)
}

/// The process dies of SIGABRT before it does anything, with exactly one line.
fn refused(outcome: &Outcome, text: &str) {
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(outcome.err(), format!("Error (libvmmalloc): {text}\n"), "{outcome}");
    assert_eq!(outcome.out(), "", "the program was started: {outcome}");
}

/// As [`refused`] for the creation of the pool.
fn refused_pool(outcome: &Outcome, reason: &str) {
    refused(outcome, &format!("vmem pool creation failed: {reason}"));
}

fn accepted(outcome: &Outcome) {
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("hello\n", ""), "{outcome}");
}

#[test]
fn a_good_configuration_says_nothing() {
    accepted(&hello(&small()));
    accepted(&hello(&Pool::lazy(14)));
}

#[test]
fn missing_variables() {
    let no_dir = "environment variable VMMALLOC_POOL_DIR not specified";
    let no_size = "environment variable VMMALLOC_POOL_SIZE not specified";
    let program = program("hello");
    let bare = |variables: &[(&str, &str)]| {
        let mut command = Command::new(&program);
        plain(&mut command).env("LD_PRELOAD", library()).envs(variables.iter().copied());
        run(&mut command, SHORT)
    };
    refused(&bare(&[]), no_dir);
    refused(&bare(&[("VMMALLOC_POOL_SIZE", "14680064")]), no_dir);
    refused(&bare(&[("VMMALLOC_POOL_DIR", "/dev/shm")]), no_size);
    refused(&bare(&[("VMMALLOC_POOL_DIR", "/nonexistent")]), no_size);
    // Names that only begin like ours are not ours.
    refused(&bare(&[("VMMALLOC_POOL_DIRECTORY", "/dev/shm")]), no_dir);
}

#[test]
fn sizes_that_are_too_small() {
    let refused_size = |text: &str, value: &str| {
        let outcome = hello(&small().set("VMMALLOC_POOL_SIZE", text));
        refused(
            &outcome,
            &format!("VMMALLOC_POOL_SIZE value is less than minimum ({value} < 14680064)"),
        );
    };
    refused_size("14680063", "14680063");
    refused_size("0", "0");
    refused_size("1", "1");
    refused_size("", "0");
    refused_size("abc", "0");
    refused_size(" ", "0");
    refused_size("1000000 0000000", "1000000");
    refused_size("12345abc", "12345");
}

#[test]
fn negative_sizes() {
    for text in ["-1", "-14680064", " -5", "-99999999999999999999"] {
        refused(&hello(&small().set("VMMALLOC_POOL_SIZE", text)), "negative VMMALLOC_POOL_SIZE");
    }
}

#[test]
fn sizes_the_reference_accepts() {
    for text in [
        "14680064",
        "14680064xyz",
        " \t14680064",
        "+14680064",
        "014680064",
        "14680065",
        "14680064.5",
        "14700000 0",
    ] {
        accepted(&hello(&small().set("VMMALLOC_POOL_SIZE", text)));
    }
}

/// Where the reference would reject the value, a suffix counts: K, M, G, T with 1024.
#[test]
fn sizes_with_suffixes() {
    for (text, bytes) in [
        ("14336K", 14_680_064),
        ("14M", 14_680_064),
        ("16m", 16 << 20),
        ("1G", 1 << 30),
        ("2g", 2 << 30),
        ("1T", 1_u64 << 40),
    ] {
        let pool = Pool::lazy(14).set("VMMALLOC_POOL_SIZE", text);
        let server = Server::start(pool.command("sleep").arg("1000"));
        let mapped = await_value("the mapping of the pool", SHORT, || {
            let mappings = maps_of(server.pid(), pool.dir());
            let mapped: u64 = mappings.iter().map(|m| m.len()).sum();
            (mapped > 0).then_some(mapped)
        });
        assert!(mapped >= bytes && mapped <= bytes + (8 << 20), "{text}: {mapped} bytes mapped");
    }
    for text in ["13M", "1K", "14335K"] {
        let outcome = hello(&Pool::lazy(14).set("VMMALLOC_POOL_SIZE", text));
        assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
        let err = outcome.err();
        let head = "Error (libvmmalloc): VMMALLOC_POOL_SIZE value is less than minimum (";
        assert!(err.starts_with(head) && err.ends_with(" < 14680064)\n"), "{outcome}");
        assert_eq!(err.lines().count(), 1, "{outcome}");
    }
}

#[test]
fn absurd_sizes() {
    for text in ["99999999999999999999", "9223372036854775807"] {
        let outcome = hello(&small().set("VMMALLOC_POOL_SIZE", text));
        refused_pool(&outcome, "Invalid argument");
    }
}

#[test]
fn fork_values() {
    for text in ["0", "1", "2", "3", "abc", "", " 2", "2x", "03"] {
        accepted(&hello(&small().set("VMMALLOC_FORK", text)));
    }
    for (text, value) in [("4", "4"), ("-1", "-1"), ("5x", "5"), ("100", "100")] {
        refused(
            &hello(&small().set("VMMALLOC_FORK", text)),
            &format!("incorrect VMMALLOC_FORK value ({value})"),
        );
    }
}

/// Directory given, size given, size in range, fork value, pool: in this order.
#[test]
fn order_of_the_checks() {
    let minimum = "VMMALLOC_POOL_SIZE value is less than minimum (5 < 14680064)";
    let bad = small().at("/nonexistent").set("VMMALLOC_POOL_SIZE", "5").set("VMMALLOC_FORK", "9");
    refused(&hello(&bad), minimum);
    let bad = bad.set("VMMALLOC_POOL_SIZE", "-5");
    refused(&hello(&bad), "negative VMMALLOC_POOL_SIZE");
    let bad = bad.set("VMMALLOC_POOL_SIZE", "14680064");
    refused(&hello(&bad), "incorrect VMMALLOC_FORK value (9)");
    let bad = bad.set("VMMALLOC_FORK", "1");
    refused_pool(&hello(&bad), "No such file or directory");
}

#[test]
fn directories_that_are_none() {
    let scratch = Scratch::new("dirs");
    let file = scratch.path().join("file");
    fs::write(&file, "content").expect("a file");
    let dangling = scratch.path().join("dangling");
    symlink("/nonexistent", &dangling).expect("a link");
    let refused = |dir: &Path, reason: &str| {
        refused_pool(&hello(&small().at(dir)), reason);
    };
    for missing in ["/nonexistent/deeper", "", "/proc"] {
        refused(Path::new(missing), "No such file or directory");
    }
    refused(&dangling, "No such file or directory");
    for none in [file.as_path(), Path::new("/dev/null")] {
        refused(none, "Not a directory");
    }
    assert_eq!(fs::read(&file).expect("the file"), b"content", "the file was touched");
    refused(&scratch.path().join("x".repeat(300)), "File name too long");
    let deep = format!("/nonexistent{}", "/deeper".repeat(1000));
    refused(Path::new(&deep), "File name too long");
}

#[test]
fn directories_with_odd_names() {
    let scratch = Scratch::in_memory("odd");
    for name in ["with space", "with\nline", "ütf-8 ∞", "-dash", "quote'\"", "%s%n"] {
        let dir = scratch.path().join(name);
        fs::create_dir(&dir).expect("a directory");
        accepted(&hello(&small().at(&dir)));
        assert_eq!(fs::read_dir(&dir).expect("the directory").count(), 0, "a file was left");
    }
    let link = scratch.path().join("link");
    symlink("with space", &link).expect("a link");
    accepted(&hello(&small().at(&link)));
    accepted(&hello(&small().at(scratch.path().join("with space/"))));
    let mut relative = small().at("with space").command(program("hello"));
    accepted(&run(relative.current_dir(scratch.path()), SHORT));
}

#[test]
fn a_directory_without_permission() {
    let scratch = Scratch::new("closed");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o555)).expect("our directory");
    // Root may write everywhere: become somebody else first where that is possible.
    // The library and the program must be readable for that user.
    let open = Scratch::new("open");
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).expect("our directory");
    let (hello, library) = (open.path().join("hello"), open.path().join("libvmmalloc.so"));
    fs::copy(program("hello"), &hello).expect("a copy of the program");
    fs::copy(pmem_e2e::artifact::library(), &library).expect("a copy of the library");
    let pool = small().at(scratch.path());
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let mut command = if root {
        let mut command = pool.command(need("setpriv", "util-linux"));
        command.env_remove("LD_PRELOAD");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "env"]);
        command.arg(format!("LD_PRELOAD={}", library.display())).arg(&hello);
        command
    } else {
        pool.command(&hello)
    };
    refused_pool(&run(&mut command, SHORT), "Permission denied");
}

#[test]
fn a_read_only_file_system() {
    let Some(mount) = Mount::tmpfs(32, "a read-only file system") else { return };
    mount.remount("ro");
    refused_pool(&hello(&small().at(mount.path())), "Read-only file system");
}

#[test]
fn a_file_system_that_is_too_small() {
    let Some(mount) = Mount::tmpfs(24, "a file system smaller than the pool") else { return };
    let outcome = hello(&Pool::prealloc(64).at(mount.path()));
    refused_pool(&outcome, "No space left on device");
    // What was allocated before the failure is free again.
    accepted(&hello(&Pool::prealloc(20).at(mount.path())));
    // The lazy mode starts: space is a matter of each allocation.
    accepted(&hello(&Pool::lazy(64).at(mount.path())));
}

#[test]
fn limits_of_the_process() {
    let limited = |limit: &str, pool: &Pool| {
        let mut command = Command::new("bash");
        // The limit is for the program, not for a shell with the pool.
        pool.describe(&mut command);
        command.args(["-c", &format!("ulimit {limit}; LD_PRELOAD=$LIBRARY exec \"$0\"")]);
        run(command.arg(program("hello")).env("LIBRARY", library()), SHORT)
    };
    refused_pool(&limited("-v 60000", &Pool::lazy(64)), "Cannot allocate memory");
    // The reference dies of SIGXFSZ here.
    for pool in [Pool::lazy(64), Pool::prealloc(64)] {
        refused_pool(&limited("-f 1000", &pool), "File too large");
    }
    accepted(&limited("-f 70000", &Pool::lazy(64)));
    // A hard limit of a few descriptors leaves room for the pool's.
    accepted(&limited("-n 8", &Pool::lazy(64)));
}

#[test]
fn the_shell_sees_status_134() {
    let pool = small().at("/nonexistent");
    let mut command = Command::new("bash");
    pool.describe(&mut command);
    let script = "LD_PRELOAD=$LIBRARY \"$0\" 2>/dev/null; echo $?";
    command.args(["-c", script]).arg(program("hello")).env("LIBRARY", library());
    assert_eq!(run(&mut command, SHORT).success().out(), "134\n");
}

/// Our own variables: one line that names the variable and the value.
#[test]
fn nonsense_in_our_own_variables() {
    for name in [
        "VMMALLOC_SPACE",
        "VMMALLOC_OVERFLOW",
        "VMMALLOC_PURGE_MS",
        "VMMALLOC_HUGEPAGE",
        "VMMALLOC_HARDEN",
        "VMMALLOC_STATS",
        "VMMALLOC_DUMP",
    ] {
        let outcome = hello(&small().set(name, "nonsense-4711"));
        assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{name}: {outcome}");
        let err = outcome.err();
        assert!(
            err.starts_with("Error (libvmmalloc): ")
                && err.lines().count() == 1
                && err.contains(name)
                && err.contains("nonsense-4711"),
            "{name}: {outcome}"
        );
    }
}

#[test]
fn sense_in_our_own_variables() {
    for (name, values) in [
        ("VMMALLOC_SPACE", &["lazy", "prealloc"][..]),
        ("VMMALLOC_OVERFLOW", &["none", "dram"]),
        ("VMMALLOC_PURGE_MS", &["off", "0", "1", "1000", "100000"]),
        ("VMMALLOC_HUGEPAGE", &["never", "advise"]),
        ("VMMALLOC_HARDEN", &["0", "1", "2"]),
        ("VMMALLOC_DUMP", &["0", "1"]),
    ] {
        for value in values {
            let outcome = hello(&small().set(name, value));
            assert_eq!(outcome.out(), "hello\n", "{name}={value}: {outcome}");
            accepted(&outcome);
        }
    }
}

/// The variables the reference's debug build or its allocator reads are no errors.
#[test]
fn variables_of_the_reference_are_accepted() {
    for (name, value) in [
        ("VMMALLOC_LOG_LEVEL", "4"),
        ("VMMALLOC_LOG_STATS", "1"),
        ("JE_VMEM_MALLOC_CONF", "narenas:64"),
        ("PMDK_LOG_ALIGN", "8"),
    ] {
        accepted(&hello(&small().set(name, value)));
    }
}

/// The kernel's flag for memory that stays out of core files.
#[test]
fn the_pool_is_kept_out_of_core_files_unless_it_is_wanted() {
    for (pool, kept_out) in [
        (Pool::lazy(14).set("VMMALLOC_DUMP", "0"), true),
        (Pool::lazy(14).set("VMMALLOC_DUMP", "1"), false),
        (Pool::lazy(14), true),
    ] {
        let server = Server::start(pool.command("sleep").arg("1000"));
        let found = await_value("the pool", SHORT, || {
            let flags = flags_of(server.pid(), pool.dir());
            (!flags.is_empty()).then(|| flags.iter().all(|f| f.contains(" dd ")))
        });
        assert_eq!(found, kept_out, "{pool:?}");
    }
}

#[test]
fn a_core_file_has_the_heap_only_when_it_is_wanted() {
    let program = program("dumped");
    for (value, wanted) in [(None, false), (Some("0"), false), (Some("1"), true)] {
        for pool in [Pool::lazy(14), Pool::prealloc(14).set("VMMALLOC_HARDEN", "1")] {
            let pool = value.into_iter().fold(pool, |pool, value| pool.set("VMMALLOC_DUMP", value));
            if let Some(found) = core_file::has_the_block(&mut pool.command(&program)) {
                assert_eq!(found, wanted, "{pool:?}");
            }
        }
    }
}

#[test]
fn the_file_is_private_nameless_and_gone_with_the_process() {
    let pool = Pool::prealloc(32);
    let mut server = Server::start(pool.command("sleep").arg("1000"));
    let storage = await_value("the storage of the pool", SHORT, || {
        let storage = storage_of(server.pid(), pool.dir());
        (storage >= 32 << 20).then_some(storage)
    });
    assert!(storage <= 34 << 20, "{storage} bytes");
    assert_eq!(fs::read_dir(pool.dir()).expect("the directory").count(), 0, "the file has a name");
    let mappings = maps_of(server.pid(), pool.dir());
    assert!(mappings.iter().all(|m| m.name.ends_with("(deleted)")), "{mappings:?}");
    assert!(server.ended().is_none());
    let link = pmem_e2e::procfs::descriptors(server.pid())
        .into_iter()
        .find(|(_, target)| target.starts_with(pool.dir()) && target.as_path() != pool.dir())
        .expect("a descriptor of the pool file");
    let mode = fs::metadata(link.0).expect("the pool file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}
