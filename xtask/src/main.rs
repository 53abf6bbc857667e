//! Commands for people who work on the project: `cargo xtask demo`, `test`, `bench`, `capi`, `deps`.

mod bench;
mod capi;
mod demo;
mod deps;
mod process;
mod programs;
mod table;
mod test;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

/// Wrong usage.
const EXIT_USAGE: u8 = 2;
/// Something the command needs is not installed.
pub(crate) const EXIT_MISSING: u8 = 3;

const HELP: &str = "\
Commands of this project.

Usage: cargo xtask COMMAND [OPTIONS]

  demo   run real programs plain and with their heap in a pool, and compare output, memory and time
           --dir D       directory of the pools [default: /dev/shm]
           --only NAME   run only this program; can be given more than once
           --json        print JSON instead of the table
           --keep        keep the working directory
           --library P   use this libvmmalloc instead of building one
  test   run every check of the project
           --quick       leave out what takes minutes: instrumented builds, emulation, fuzzing
           --only STEP   run only this step; can be given more than once
           --list        list the steps
           --verbose     show the output of every step as it runs
           --skip-deps   go on without the packages that are missing
  bench  measure against other allocators; JSON, tables and a chart go to target/bench
           FILTER        only parts (icount, pools, in-process, preload), groups or cases that match
                         this regular expression
           --quick       a few minutes instead of hours; the figures mean little
           --dir D       directory of pools on memory [default: /dev/shm]
           --disk-dir D  directory of pools on a disk file system [default: in the target directory]
           --output D    another directory for the results
           --no-peers    build no other allocators, compare with what is installed
  deps   list the Debian packages that the demo, the tests and the benchmarks use, and whether they are installed
           --install     install the missing ones (as root)
  capi   build the drop-in C libraries and install them: libvmem.so.1, libvmmalloc.so.1, libvmemcache.so.0 and
         their debug twins, libpmem.so.1, libpmem2.so.1, libpmemlog.so.1, libpmemblk.so.1; archives, headers,
         .pc files and manual pages
           --destdir D   below this directory (/ to install into the system)
           --prefix P    [default: /usr]
           --libdir L    [default: PREFIX/lib]

Exit status: 0 all is well, 1 something failed or differs, 2 bad usage, 3 packages are missing.
";

/// Why a command did not succeed.
pub(crate) enum Stop {
    /// Bad usage: the message names it.
    Usage(String),
    /// Packages are missing; the message names them and how to get them.
    Missing(String),
    /// Something went wrong.
    Failed(String),
}

impl From<lexopt::Error> for Stop {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let asks_help = |word: &OsString| word == "--help" || word == "-h";
    if command.is_empty()
        || asks_help(&command)
        || (rest.iter().any(asks_help) && command != demo::measure::COMMAND)
    {
        print!("{HELP}");
        return if command.is_empty() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
    }
    let answer = match command.to_str() {
        Some("demo") => demo::run(rest),
        Some("test") => test::run(rest),
        Some("bench") => bench::run(rest),
        Some("deps") => deps::run(rest),
        Some("capi") => capi::run(rest),
        Some(demo::measure::COMMAND) => demo::measure::run_measured(rest),
        _ => Err(Stop::Usage(format!("unknown command '{}'", command.to_string_lossy()))),
    };
    let (message, exit) = match answer {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Usage(message)) => (format!("{message}; see cargo xtask --help"), EXIT_USAGE),
        Err(Stop::Missing(message)) => (message, EXIT_MISSING),
        Err(Stop::Failed(message)) => (message, 1),
    };
    eprintln!("xtask: {message}");
    ExitCode::from(exit)
}
