//! The drop-in C libraries, installed once by `cargo xtask capi` into a folder of their own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::artifact::{self, Shape};
use crate::cases::Cases;
use crate::object::tool;
use crate::preload::plain;
use crate::run::{Outcome, SHORT, run};
use crate::scratch::Scratch;

/// Which of the two builds of a library runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// What programs get.
    Release,
    /// The twin with assertions and a log.
    Debug,
}

impl Build {
    /// Both.
    pub const ALL: [Build; 2] = [Build::Release, Build::Debug];

    /// The folder with its libraries.
    #[must_use]
    pub fn folder(self) -> PathBuf {
        let lib = installed().join("usr/lib");
        match self {
            Build::Release => lib,
            Build::Debug => lib.join("vmem_debug"),
        }
    }

    /// Lets a command find this build, and removes what would steer it.
    pub fn choose(self, command: &mut Command) -> &mut Command {
        for (name, _) in env::vars_os() {
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b"VMEM_") || bytes.starts_with(b"VMEMCACHE_") {
                command.env_remove(name);
            }
        }
        plain(command).env("LD_LIBRARY_PATH", self.folder())
    }
}

/// The destination of the installation; `PMEM_TEST_CAPI` names another one, where nothing can be built.
///
/// # Panics
///
/// When it fails, with cargo's output.
pub fn installed() -> &'static Path {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    DONE.get_or_init(|| {
        if let Some(path) = env::var_os("PMEM_TEST_CAPI") {
            return fs::canonicalize(path).expect("the folder that PMEM_TEST_CAPI names");
        }
        let destination = artifact::target_dir().join("e2e-capi");
        let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["run", "--quiet", "-p", "xtask", "--target-dir"])
            .arg(artifact::target_dir())
            .args(["--", "capi", "--destdir"])
            .arg(&destination)
            .env("CARGO_TARGET_DIR", artifact::target_dir())
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .output()
            .expect("cargo cannot be started");
        assert!(
            output.status.success(),
            "cargo xtask capi failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::canonicalize(destination).expect("nothing was installed")
    })
}

/// The folder of the headers.
#[must_use]
pub fn headers() -> PathBuf {
    installed().join("usr/include")
}

/// The program made from `c/NAME.c`, linked with libvmem.
///
/// # Panics
///
/// When the compiler rejects it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    program_with("vmem", name)
}

/// The program made from `c/NAME.c`, linked with a library.
///
/// # Panics
///
/// When the compiler rejects it.
#[must_use]
pub fn program_with(library: &str, name: &str) -> PathBuf {
    let include = format!("-I{}", headers().display());
    let search = format!("-L{}", Build::Release.folder().display());
    // For runs that only list the cases; LD_LIBRARY_PATH comes first.
    let runpath = format!("-Wl,--enable-new-dtags,-rpath,{}", Build::Release.folder().display());
    artifact::compile(
        name,
        name,
        Shape::Program,
        &[&include, &search, &runpath, &format!("-l{library}")],
    )
}

/// Runs all cases of a program with both builds on a place.
pub fn run_cases(program: &Path, place: &Path, limit: Duration) {
    for build in Build::ALL {
        Cases::of(program).limit(limit).argument(place).run_with(|command| {
            build.choose(command);
        });
    }
}

/// Runs all cases of the program made from `c/NAME.c` and the archive of a library, which it then needs no more.
///
/// # Panics
///
/// When it needs the shared object, or a case fails.
pub fn run_cases_with_archive(library: &str, name: &str, place: &Path, limit: Duration) {
    let include = format!("-I{}", headers().display());
    let archive = Build::Release.folder().join(format!("lib{library}.a"));
    let output = format!("{library}_static");
    let program =
        artifact::compile(name, &output, Shape::Program, &[&include, &archive.to_string_lossy()]);
    let needed = tool("readelf", &["-dW"], &program);
    assert!(!needed.contains(&format!("lib{library}.so")), "{needed}");
    Cases::of(&program).limit(limit).argument(place).run_with(|command| {
        plain(command).env_remove("LD_LIBRARY_PATH");
    });
}

/// Compiles a source with the installed headers, every warning an error, and gives what became of it.
///
/// # Panics
///
/// When there is no compiler.
#[must_use]
pub fn compile(compiler: &str, arguments: &[&str], source: &str) -> Outcome {
    let scratch = Scratch::new("compile");
    let extension = if compiler == "cc" { "c" } else { "cc" };
    let file = scratch.path().join(format!("x.{extension}"));
    fs::write(&file, source).expect("a file");
    let mut command = Command::new(artifact::need(compiler, "g++"));
    command.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-c", "-o", "/dev/null"]);
    command.arg("-I").arg(headers()).args(arguments).arg(&file).env("LC_ALL", "C");
    run(&mut command, SHORT)
}

/// Checks the `.pc` file of a library for its lines.
///
/// # Panics
///
/// When one is missing, or something was left to fill in.
pub fn check_pkg_config(library: &str) {
    let path = installed().join(format!("usr/lib/pkgconfig/lib{library}.pc"));
    let text = fs::read_to_string(path).expect("the .pc file");
    for line in [
        "prefix=/usr",
        "libdir=/usr/lib",
        "includedir=${prefix}/include",
        &format!("Name: lib{library}"),
        &format!("Libs: -L${{libdir}} -l{library}"),
        "Cflags: -I${includedir}",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
    assert!(!text.contains('@') && !text.contains("Requires"), "{text}");
}

/// Checks that every function has a manual page that mentions it.
///
/// # Panics
///
/// When one has none.
pub fn check_manual(functions: &[String]) {
    for name in functions {
        let page = installed().join(format!("usr/share/man/man3/{name}.3"));
        let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains(name), "{} does not mention {name}", page.display());
    }
}
