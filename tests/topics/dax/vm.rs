//! The way into the virtual machine.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use pmem_e2e::artifact::{launcher, library, program};
use pmem_e2e::capi;

use crate::place::{C_PROGRAMS, VMEM_PROGRAMS};

/// What the tests begin with; without it on standard output the machine never came that far.
pub(crate) const GREETING: &str = "running in the virtual machine: ";

/// Exit code of a check that could not be made, as in Automake's test protocol.
const EXIT_SKIPPED: u8 = 77;
/// With this status `dax-vm` itself, or the machine, has failed.
const STATUS_NO_VM: i32 = 125;

/// One machine for all tests: small devices, because emulation is slow, and each of another size, so that one taken
/// for another is noticed. The order gives the numbers in the names of the variables; see `place`.
const MACHINE: &[&str] = &[
    "--accel",
    "tcg",
    "--numa=640M,128M,128M,192M",
    "--hugepages",
    "32",
    "--fsdax",
    "ext4:96M",
    "--fsdax",
    "xfs:320M",
    "--devdax=64M",
    "--boot-timeout",
    "240",
    "--timeout",
    "1000",
];

/// Whether this process runs in the virtual machine.
pub(crate) fn is_inside() -> bool {
    env::var_os("DAXVM").is_some()
}

/// Runs this program in a virtual machine.
pub(crate) fn boot(filters: &[&str]) -> ExitCode {
    if !cfg!(target_arch = "x86_64") {
        return not_checked("the virtual machine is one of x86-64");
    }
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("dax-vm/dax-vm");
    for step in ["check", "build"] {
        let output = Command::new(&tool).arg(step).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", tool.display()));
        if !output.status.success() {
            return not_checked(&in_one_line(&output.stderr));
        }
    }
    // Nothing is compiled in the emulation: it takes ten times as long there.
    let library = library();
    let capi = capi::installed();
    let programs = C_PROGRAMS.iter().map(|name| program(name));
    let programs: Vec<PathBuf> =
        programs.chain(VMEM_PROGRAMS.iter().map(|name| capi::program(name))).collect();
    assert!(programs.iter().all(|path| path.is_file()), "{programs:?}");
    let mut command = Command::new(&tool);
    command.arg("run").args(MACHINE);
    command.arg("--env").arg(format!("PMEM_TEST_LIBRARY={}", library.display()));
    command.arg("--env").arg(format!("PMEM_TEST_LAUNCHER={}", launcher().display()));
    command.arg("--env").arg(format!("PMEM_TEST_CAPI={}", capi.display()));
    command.args(["--env", "PMEM_TEST_SEED"]);
    command.arg("--").arg(env::current_exe().expect("the path of this program")).args(filters);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", tool.display()));
    let mut begun = false;
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("the output of the tests is text");
        begun |= line.starts_with(GREETING);
        println!("{line}");
    }
    let status = child.wait().expect("our own child");
    match status.code() {
        Some(STATUS_NO_VM) if !begun => {
            not_checked("the virtual machine does not start; see above for what it said")
        }
        Some(code) if begun => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        _ => {
            eprintln!("no test ran, and the virtual machine ended with {status}");
            ExitCode::FAILURE
        }
    }
}

/// Says that nothing was checked, and why.
fn not_checked(reason: &str) -> ExitCode {
    println!("NOT CHECKED: real DAX devices, NUMA nodes, huge pages, quotas ({reason})");
    eprintln!("SKIPPED: {reason}");
    ExitCode::from(EXIT_SKIPPED)
}

/// What the tool said, in one line: the reason, and what to do about it.
fn in_one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(|line| line.trim_start_matches("dax-vm: ").trim());
    // What it does says nothing about why it could not be done.
    let lines: Vec<&str> =
        lines.filter(|line| !line.starts_with("building the guest in")).collect();
    if lines.is_empty() { "dax-vm gives no reason".to_owned() } else { lines.join("; ") }
}
