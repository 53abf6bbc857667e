//! Where things are, and how cargo is called.

use crate::Stop;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the project: the parent of this crate.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Builds what the benchmarks run: the library as it ships, the harness and the workloads.
pub(crate) fn benchmark_build() -> Command {
    let mut build = cargo();
    build.args(["build", "--release"]);
    build.args(["-p", "vmmalloc", "-p", "pmem-bench", "-p", "pmem-workloads"]);
    build
}

/// The cargo that runs this command, in the root of the project.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    // `cargo run` tells its child about xtask's own package; build scripts of others must not see that.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What `cargo metadata` says of the workspace.
pub(crate) fn metadata() -> Result<serde_json::Value, Stop> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(Stop::Failed("cargo metadata failed".into()));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Stop::Failed(format!("cargo metadata: {error}")))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf, Stop> {
    match metadata()?["target_directory"].as_str() {
        Some(path) => Ok(PathBuf::from(path)),
        None => Err(Stop::Failed("cargo metadata names no target directory".into())),
    }
}
