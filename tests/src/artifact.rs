//! What is under test: the library, the launcher and the C programs, each built once.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

/// Flags of every C program. `-fno-builtin` keeps the compiler from removing or merging allocation calls.
const C_FLAGS: &[&str] = &[
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-deprecated-declarations",
    "-fno-builtin",
    "-pthread",
    "-D_GNU_SOURCE",
];

/// Folder of the C sources.
#[must_use]
pub fn c_sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("c")
}

/// Folder where cargo puts what it builds.
#[must_use]
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// The library under test, built with the `e2e` profile on first use.
///
/// # Panics
///
/// When the build fails, with cargo's output.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| match env::var_os("PMEM_TEST_LIBRARY") {
        Some(path) => fs::canonicalize(&path)
            .unwrap_or_else(|e| panic!("PMEM_TEST_LIBRARY={}: {e}", path.display())),
        None => build("e2e").join("libvmmalloc.so"),
    })
}

/// The launcher under test, built with the `e2e` profile on first use.
///
/// # Panics
///
/// When the build fails, with cargo's output.
pub fn launcher() -> &'static Path {
    static LAUNCHER: OnceLock<PathBuf> = OnceLock::new();
    LAUNCHER.get_or_init(|| match env::var_os("PMEM_TEST_LAUNCHER") {
        Some(path) => PathBuf::from(path),
        None => build("e2e").join("vmmalloc"),
    })
}

/// The library as it ships: built with the `release` profile on first use.
///
/// # Panics
///
/// When the build fails, with cargo's output.
pub fn release_library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| build("release").join("libvmmalloc.so"))
}

/// Builds library and launcher with `profile` and gives the folder they are in.
fn build(profile: &'static str) -> PathBuf {
    static DONE: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = done.get(profile) {
        return folder.clone();
    }
    let target = target_dir();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--profile", profile, "-p", "vmmalloc", "-p", "vmmalloc-launcher"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo cannot be started");
    assert!(
        output.status.success(),
        "cargo build --profile {profile} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = fs::canonicalize(target.join(profile)).expect("cargo left no target folder");
    done.insert(profile, folder.clone());
    folder
}

/// What a C source becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A program.
    Program,
    /// A shared library.
    Library,
}

/// The program made from `c/NAME.c`, or `c/NAME.cc` for C++.
///
/// # Panics
///
/// When the compiler rejects it.
pub fn program(name: &str) -> PathBuf {
    compile(name, name, Shape::Program, &[])
}

/// The shared library made from `c/NAME.c`.
///
/// # Panics
///
/// When the compiler rejects it.
pub fn shared(name: &str) -> PathBuf {
    compile(name, &format!("lib{name}.so"), Shape::Library, &[])
}

/// Compiles `c/SOURCE.c` (or `.cc`) to a file called `output`, with `extra` arguments at the end of the
/// compiler's command line. Does nothing when the file exists and is newer than every C source.
///
/// # Panics
///
/// When the compiler rejects it.
pub fn compile(source: &str, output: &str, shape: Shape, extra: &[&str]) -> PathBuf {
    static COMPILING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);

    let folder = target_dir().join("e2e-c");
    fs::create_dir_all(&folder).expect("the folder of the C programs cannot be made");
    let folder = fs::canonicalize(folder).expect("the folder of the C programs vanished");
    let result = folder.join(output);
    let stamp = folder.join(format!("{output}.args"));
    let arguments = extra.join("\n");
    let built = fs::metadata(&result).and_then(|m| m.modified()).ok();
    let same_arguments = fs::read_to_string(&stamp).is_ok_and(|old| old == arguments);
    if same_arguments && built.is_some_and(|built| built > newest_source()) {
        return result;
    }

    let cxx = c_sources().join(format!("{source}.cc"));
    let is_cxx = cxx.exists();
    let path = if is_cxx { cxx } else { c_sources().join(format!("{source}.c")) };
    let fresh = folder.join(format!("{output}.{}", std::process::id()));
    let mut compiler = Command::new(if is_cxx { "c++" } else { "cc" });
    compiler.args(C_FLAGS);
    if shape == Shape::Library {
        compiler.args(["-shared", "-fPIC"]);
    }
    compiler.arg("-I").arg(c_sources()).arg("-o").arg(&fresh).arg(&path).args(extra);
    let run = compiler.output().expect("the C compiler cannot be started (Debian: gcc, g++)");
    assert!(run.status.success(), "{compiler:?} failed:\n{}", String::from_utf8_lossy(&run.stderr));
    // Another test binary may be running the old file or making the same one: replace it in one step.
    fs::rename(&fresh, &result).expect("the compiled program cannot be put into place");
    fs::write(&stamp, arguments).expect("the folder of the C programs is not writable");
    result
}

/// Time of the last change of any C source.
fn newest_source() -> SystemTime {
    fs::read_dir(c_sources())
        .expect("tests/c is missing")
        .filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok())
        .max()
        .expect("tests/c is empty")
}

/// Whether `name` is an executable file in one of the folders of `PATH`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The program `name`, which the Debian package `package` brings.
///
/// # Panics
///
/// When it is not installed: a test that needs it has not been run.
pub fn need(name: &str, package: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("`{name}` is not installed (Debian package {package})"))
}
