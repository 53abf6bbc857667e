//! Building and running the examples of this package.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The directory of the built examples, next to that of the tests: `target/PROFILE/examples`.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let test = env::current_exe().expect("the test knows where it is");
        let profile = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
        // `cargo test` builds them too, but `cargo test --test processes` does not.
        let name = match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(name) => name,
            None => panic!("the profile has no name"),
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", env!("CARGO_PKG_NAME"), "--examples"])
            .args(["--profile", name])
            .arg("--target-dir")
            .arg(profile.parent().expect("the target directory"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the examples are built");
        profile.join("examples")
    })
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
