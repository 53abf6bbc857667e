//! Building and running the examples of this package.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The directory of the built examples, next to that of the tests: `target/PROFILE/examples`, or
/// `target/TRIPLE/PROFILE/examples` when cargo was told the target.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let test = env::current_exe().expect("the test knows where it is");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
        let parent = profile.parent().expect("target/PROFILE");
        // `cargo test` builds them too, but `cargo test --test processes` does not.
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--package", env!("CARGO_PKG_NAME"), "--examples"])
            .args(["--profile", profile_name(profile)])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        match file_name(parent) {
            triple if triple.starts_with(env::consts::ARCH) => {
                let target = parent.parent().expect("target/TRIPLE");
                build.args(["--target", triple]).arg("--target-dir").arg(target)
            }
            _ => build.arg("--target-dir").arg(parent),
        };
        // A sanitizer may want a standard library of its own, and the examples do not need one.
        if env::var("RUSTFLAGS").is_ok_and(|flags| flags.contains("-Zsanitizer")) {
            build.env_remove("RUSTFLAGS");
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "the examples are built: {build:?}");
        profile.join("examples")
    })
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).expect("cargo's directories have names in UTF-8")
}

fn profile_name(directory: &Path) -> &str {
    match file_name(directory) {
        "debug" => "dev",
        name => name,
    }
}

/// The example called `name`, without those variables that would change what it does.
pub(crate) fn example(name: &str) -> Command {
    let mut command = Command::new(directory().join(name));
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("VMEM_ALLOC_") {
            command.env_remove(variable);
        }
    }
    command
}

/// Standard output of a program that ends well.
pub(crate) fn text_of(mut command: Command) -> String {
    let output = run(&mut command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    assert_eq!(errors, "", "{command:?} says nothing on standard error");
    String::from_utf8(output.stdout).expect("the output is text")
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
