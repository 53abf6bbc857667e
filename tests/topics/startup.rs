//! Before main and after it; the ways a process can come to carry the library.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pmem_e2e::artifact::{Shape, compile, library, need, program, shared};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::run::{Outcome, SHORT, run, wait};
use pmem_e2e::scratch::Scratch;

fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

/// `early` linked with the library whose constructor allocates.
fn early_linked() -> std::path::PathBuf {
    let early = shared("early_lib");
    compile("early", "early_linked", Shape::Program, &["-Wl,--no-as-needed", text(&early)])
}

#[test]
fn constructors_and_destructors_of_a_linked_library_allocate() {
    Cases::of(&early_linked()).run(&Pool::lazy(64));
    Cases::of(&early_linked()).run(&Pool::prealloc(64));
}

#[test]
fn constructors_and_destructors_of_preloaded_libraries_allocate() {
    let early = shared("early_lib");
    for order in [[early.as_path(), library()], [library(), early.as_path()]] {
        let pool = Pool::lazy(64);
        Cases::of(&program("early")).run_with(|command| {
            pool.preload(command);
            command.env("LD_PRELOAD", format!("{}:{}", text(order[0]), text(order[1])));
        });
    }
}

fn used_pool(outcome: Outcome) {
    let outcome = outcome.success();
    let out = outcome.out();
    let count = out.lines().last().and_then(|l| l.strip_prefix("mappings of the pool: "));
    assert!(count.is_some_and(|c| c != "0"), "the heap is elsewhere: {outcome}");
}

fn did_not_use_pool(outcome: Outcome) {
    let outcome = outcome.success();
    assert_eq!(outcome.out(), "mappings of the pool: 0\n", "{outcome}");
    assert_eq!(outcome.err(), "");
}

#[test]
fn preloaded_in_different_ways() {
    let mapped = program("mapped");
    let pool = Pool::lazy(16);
    used_pool(run(&mut pool.command(&mapped), SHORT));
    used_pool(run(pool.command(&mapped).env("LD_BIND_NOW", "1"), SHORT));
    let twice = format!("{0} {0}", text(library()));
    used_pool(run(pool.command(&mapped).env("LD_PRELOAD", twice), SHORT));
    let mut command = Command::new(interpreter(&mapped));
    pool.describe(&mut command).arg("--preload").arg(library()).arg(&mapped);
    used_pool(run(&mut command, SHORT));
    let mut command = pool.command(&mapped);
    command.env("LD_PRELOAD", "libvmmalloc.so").env("LD_LIBRARY_PATH", library().parent().unwrap());
    used_pool(run(&mut command, SHORT));
}

/// The program loader a program asks for.
fn interpreter(program: &Path) -> String {
    let mut command = Command::new(need("readelf", "binutils"));
    let headers = run(command.arg("-lW").arg(program), SHORT).success().out();
    let (_, rest) = headers.split_once("interpreter: ").expect("a dynamic program");
    rest.split(']').next().expect("the end of the name").to_owned()
}

#[test]
fn linked_instead_of_preloaded() {
    let folder = library().parent().expect("a folder").to_owned();
    let scratch = Scratch::new("linked");
    // As installed: the program asks for the SONAME.
    fs::copy(library(), scratch.path().join("libvmmalloc.so.1")).expect("a copy");
    let linked = compile(
        "mapped",
        "mapped_linked",
        Shape::Program,
        &["-Wl,--no-as-needed", "-L", text(&folder), "-lvmmalloc"],
    );
    let pool = Pool::lazy(16);
    let mut command = Command::new(&linked);
    pool.describe(&mut command).env("LD_LIBRARY_PATH", scratch.path());
    used_pool(run(&mut command, SHORT));
    // A linked program needs the variables too.
    let mut command = Command::new(&linked);
    plain(&mut command).env("LD_LIBRARY_PATH", scratch.path());
    let outcome = run(&mut command, SHORT);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(
        outcome.err(),
        "Error (libvmmalloc): environment variable VMMALLOC_POOL_DIR not specified\n"
    );
}

/// Opened at run time, as by a script's foreign-function interface: static TLS must suffice, and the
/// process goes on with its own allocator.
#[test]
fn opened_at_run_time() {
    let script = "import ctypes, sys\n\
        lib = ctypes.CDLL(sys.argv[1])\n\
        lib.malloc.restype = ctypes.c_void_p\n\
        lib.malloc.argtypes = [ctypes.c_size_t]\n\
        lib.free.argtypes = [ctypes.c_void_p]\n\
        p = lib.malloc(1000)\n\
        ctypes.memset(p, 65, 1000)\n\
        maps = [line.split() for line in open('/proc/self/maps')]\n\
        place = [m for m in maps if int(m[0].split('-')[0], 16) <= p < int(m[0].split('-')[1], 16)]\n\
        print(ctypes.string_at(p, 3).decode(), place[0][-2].startswith(sys.argv[2]))\n\
        lib.free(p)\n";
    let pool = Pool::lazy(16);
    let mut command = Command::new(need("python3", "python3"));
    pool.describe(&mut command).args(["-c", script]).arg(library()).arg(pool.dir());
    assert_eq!(run(&mut command, SHORT).success().out(), "AAA True\n");
}

#[test]
fn a_static_program_is_left_alone() {
    let program = compile("mapped", "mapped_static", Shape::Program, &["-static"]);
    did_not_use_pool(run(&mut Pool::lazy(16).command(program), SHORT));
}

/// Its own allocator wins: the pool, which nobody uses, is not made.
#[test]
fn a_program_with_its_own_allocator_is_left_alone() {
    let program = compile("own_malloc", "own_malloc", Shape::Program, &["-rdynamic"]);
    did_not_use_pool(run(&mut Pool::prealloc(16).command(program), SHORT));
}

#[test]
fn a_program_with_the_address_sanitizer_works() {
    let program = compile("hello", "hello_asan", Shape::Program, &["-fsanitize=address"]);
    let pool = Pool::lazy(64);
    // Without the option the sanitizer insists on being the first library.
    let mut command = pool.command(&program);
    command.env("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0");
    assert_eq!(run(&mut command, SHORT).success().out(), "hello\n");
    let linked = format!("{}:{}", sanitizer_library(&program), text(library()));
    let mut command = pool.command(&program);
    command.env("LD_PRELOAD", linked).env("ASAN_OPTIONS", "detect_leaks=0");
    assert_eq!(run(&mut command, SHORT).success().out(), "hello\n");
}

/// The sanitizer's run-time library a program was linked with.
fn sanitizer_library(program: &Path) -> String {
    let list = run(plain(&mut Command::new("ldd")).arg(program), SHORT).success().out();
    let line = list.lines().find(|l| l.contains("libasan")).expect("a libasan");
    line.split_whitespace().nth(2).expect("a path").to_owned()
}

/// A set-user-ID program must not write where its caller tells it to.
#[test]
fn a_set_user_id_program_ignores_the_variables() {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        assert!(
            std::env::var_os("PMEM_TEST_NO_MOUNT").is_some(),
            "needs root to make a set-user-ID program; PMEM_TEST_NO_MOUNT=1 leaves this unchecked"
        );
        println!("NOT CHECKED: set-user-ID programs (needs root, PMEM_TEST_NO_MOUNT is set)");
        return;
    }
    let scratch = Scratch::new("suid");
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our file");
    };
    open(scratch.path(), 0o755);
    let copy = scratch.path().join("libvmmalloc.so.1");
    fs::copy(library(), &copy).expect("a copy of the library");
    open(&copy, 0o755);
    let rpath = format!("-Wl,-rpath,{}", text(scratch.path()));
    let folder = library().parent().expect("a folder");
    let linked = compile(
        "mapped",
        "mapped_suid",
        Shape::Program,
        &["-Wl,--no-as-needed", "-L", text(folder), "-lvmmalloc", &rpath],
    );
    let program = scratch.path().join("mapped");
    fs::copy(&linked, &program).expect("a copy of the program");
    let pool = Pool::lazy(16);
    open(pool.dir(), 0o777);
    let start = || {
        let mut command = Command::new(need("setpriv", "util-linux"));
        pool.describe(&mut command);
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        run(command.arg(&program).arg(pool.dir()), SHORT)
    };
    open(&program, 0o755);
    used_pool(start());
    open(&program, 0o4755);
    did_not_use_pool(start());
}

#[test]
fn closed_standard_descriptors() {
    let pool = Pool::lazy(16);
    for closed in ["0<&-", "1>&-", "2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"] {
        let mut command = Command::new("bash");
        pool.describe(&mut command);
        let script = format!("LD_PRELOAD=$LIBRARY \"$0\" \"$1\" {closed}; echo $?");
        command.arg("-c").arg(script).arg(program("mapped")).arg(pool.dir());
        let outcome = run(command.env("LIBRARY", library()), SHORT).success();
        assert!(outcome.out().ends_with("0\n"), "{closed}: {outcome}");
        // The pool's descriptors must not have taken the places of the standard ones.
        if !closed.contains('1') {
            assert!(outcome.out().starts_with("mappings of the pool: "), "{closed}: {outcome}");
        }
    }
}

#[test]
fn a_damaged_environment() {
    let pool = Pool::lazy(16);
    let hello = program("hello");
    // No variables but ours, then many large ones.
    let mut command = pool.command(&hello);
    let kept: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command.env_clear().envs(kept);
    assert_eq!(run(&mut command, SHORT).success().out(), "hello\n");
    let mut command = pool.command(&hello);
    for i in 0..500 {
        command.env(format!("VARIABLE_{i}"), "x".repeat(2000));
    }
    assert_eq!(run(&mut command, SHORT).success().out(), "hello\n");
}

/// Stop and continue signals interrupt system calls. The allocation of a large pool takes long enough to
/// be hit many times.
#[test]
fn interrupted_while_the_pool_is_made() {
    let pool = Pool::prealloc(512);
    let mut command = pool.command(program("hello"));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a child");
    let pid = libc::pid_t::try_from(child.id()).expect("process ids fit pid_t");
    let deadline = std::time::Instant::now() + SHORT;
    let status = loop {
        for signal in [libc::SIGSTOP, libc::SIGCONT] {
            // SAFETY: kill has no memory effects; the child is ours and not yet waited for.
            unsafe { libc::kill(pid, signal) };
            thread::sleep(Duration::from_micros(300));
        }
        let soon = std::time::Instant::now() + Duration::from_millis(2);
        if let Some(status) = wait(&mut child, soon) {
            break status;
        }
        assert!(std::time::Instant::now() < deadline, "the program never starts");
    };
    assert!(status.success(), "{status}");
}
