//! `cargo xtask bench`: builds what the benchmarks need, runs all their parts, and leaves JSON, tables and a chart.
//!
//! The measuring is `pmem-bench all`, which can also be run by itself; see `benches/README.md`.

use crate::deps::{self, For};
use crate::{Stop, workspace};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace of the peers.
const COMPARE: &str = "benches/compare/Cargo.toml";

#[derive(Default)]
struct Options {
    quick: bool,
    without_peers: bool,
    memory: Option<PathBuf>,
    disk: Option<PathBuf>,
    output: Option<PathBuf>,
    filter: Option<String>,
}

fn parse(arguments: Vec<OsString>) -> Result<Options, Stop> {
    use lexopt::prelude::*;
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => options.quick = true,
            Long("no-peers") => options.without_peers = true,
            Long("dir") => options.memory = Some(std::path::absolute(parser.value()?)?),
            Long("disk-dir") => options.disk = Some(std::path::absolute(parser.value()?)?),
            Long("output") => options.output = Some(std::path::absolute(parser.value()?)?),
            Value(filter) if options.filter.is_none() => options.filter = Some(filter.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// The command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Stop> {
    let command = arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let options = parse(arguments)?;
    let missing = deps::missing(&[For::Bench]);
    if !missing.is_empty() {
        eprintln!(
            "without the columns and rows of these packages; to install them:\n  {}",
            deps::install_command(&missing)
        );
    }
    let target = workspace::target_dir()?;
    let harness = target.join("release/pmem-bench");
    eprintln!("building the library and the harness");
    succeed(&mut workspace::benchmark_build())?;
    if !options.without_peers {
        eprintln!("building the peers, if they have changed");
        succeed(Command::new(&harness).args(["peers", "--if-changed"]))?;
    }
    eprintln!("building the benches in one process (jemalloc takes minutes the first time)");
    let in_process = build_in_process(&target.join("compare"), options.without_peers)?;

    let output = options.output.unwrap_or_else(|| target.join("bench"));
    let mut all = Command::new(&harness);
    all.current_dir(workspace::root()).stdin(Stdio::null());
    // The results name the command that gives them again.
    all.env("PMEM_BENCH_COMMAND", format!("cargo xtask bench {command}").trim_end());
    all.arg("all").arg("--output").arg(&output).arg("--in-process").arg(&in_process);
    if options.quick {
        all.arg("--quick");
    }
    for (option, value) in [("--memory-dir", &options.memory), ("--disk-dir", &options.disk)] {
        if let Some(value) = value {
            all.arg(option).arg(value);
        }
    }
    if let Some(filter) = &options.filter {
        all.arg("--").arg(filter);
    }
    succeed(&mut all)
}

fn succeed(command: &mut Command) -> Result<(), Stop> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| Stop::Failed(format!("{name}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Stop::Failed(format!("{name}: {status}"))) }
}

/// Builds the criterion benches in a directory of their own, and says where the program is.
fn build_in_process(target: &Path, without_peers: bool) -> Result<PathBuf, Stop> {
    let mut command = workspace::cargo();
    command.args(["bench", "--no-run", "--locked", "--manifest-path", COMPARE]);
    command.args(["--bench", "in_process", "--message-format", "json-render-diagnostics"]);
    if !without_peers {
        command.arg("--all-features");
    }
    let output = command.arg("--target-dir").arg(target).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(Stop::Failed(
            "the benches in one process do not build; --no-peers leaves the C and C++ allocators out".into(),
        ));
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| Stop::Failed("cargo names no program of the benches".into()))
}

/// The program in cargo's messages; libraries have none.
fn executable(messages: &str) -> Option<PathBuf> {
    let of = |line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().rev().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/in_process-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/in_process-1")));
        assert_eq!(executable("not JSON"), None);
    }

    #[test]
    fn options_and_the_filter_are_read() {
        let words = |all: &[&str]| all.iter().map(OsString::from).collect::<Vec<_>>();
        let options = parse(words(&["--quick", "--dir", "/x", "churn|lua"])).ok().unwrap();
        assert!(options.quick && !options.without_peers);
        assert_eq!(options.memory, Some(PathBuf::from("/x")));
        assert_eq!(options.filter.as_deref(), Some("churn|lua"));
        assert!(parse(words(&["one", "two"])).is_err());
        assert!(parse(words(&["--colour"])).is_err());
    }
}
