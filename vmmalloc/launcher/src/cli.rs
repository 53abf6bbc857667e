//! The command line, as typed: nothing is checked here but its form.

use crate::failure::{Failure, quoted};
use lexopt::prelude::*;
use std::ffi::{OsStr, OsString};

/// Text of `--help`.
pub(crate) const HELP: &str = "\
Run PROGRAM with its heap in a file, on a device or on NUMA nodes: libvmmalloc is preloaded in front of libc's malloc.

Usage: vmmalloc [OPTIONS] [--] PROGRAM [ARGS...]

Where the heap lives:
  --dir D               directory of the pool file
                        [default: $VMMALLOC_POOL_DIR, else /dev/shm]
  --nodes LIST          memory of these NUMA nodes instead of a file, such as 1 or 0-1,3; prefer:LIST goes on
                        on other nodes when these are full
  --device D            a whole device-dax instead, such as /dev/dax0.0; one process at a time has it
  --size S              upper limit of the pool: bytes, or with a suffix K, M, G, T (x1024); at least 14M
                        [default: $VMMALLOC_POOL_SIZE, else half of the free space or of the nodes' free memory,
                        at most the machine's memory; of a device all]
  --lazy                take space from the file system or nodes as the heap grows [default]
  --prealloc            take the whole size at the start of each process (then --size is needed)

How it behaves:
  --fork MODE           what fork() does with the pool: 0 share it, 1 private copy in memory [default],
                        2 copy it to a new file, 3 as 2 but fall back to 1
  --home-ms N|off       after a fork in mode 1, bring the heap back into the pool within N milliseconds
                        after the child is gone [default: 1000], or leave it in memory
  --overflow none|dram  when the pool is full: fail with ENOMEM [default], or go on in ordinary memory [default
                        with --device, also for processes that find it in use]
  --purge-ms N|off      give freed pages back to the file system after N milliseconds, or never
  --hugepages never|advise
                        ask for 2 MiB pages in the pool
  --harden[=0|1|2]      end the program at double frees, frees of what is no block and overflows [1, without a value];
                        2 overwrites freed memory too, and finds writes to it

What it tells:
  --stats[=text|json]   print what the heap did when each process ends
  --stats-file F        where to, instead of standard error; a trailing '-' gets the process id appended

Other:
  --library PATH        the libvmmalloc to preload [default: beside this program, ../lib, the system's]
  --dry-run             check everything and print what would be run
  -h, --help            this text
  -V, --version         the version

The options become VMMALLOC_* variables, which child processes inherit: each process has a pool of its own.
Exit status: 2 bad usage or configuration, 126 PROGRAM cannot be executed, 127 PROGRAM not found, else PROGRAM's.
See vmmalloc(1) and libvmmalloc(7).
";

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// Run a program.
    Run(Box<Options>),
}

/// Options of a run; `None` where none was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) dir: Option<OsString>,
    pub(crate) nodes: Option<OsString>,
    pub(crate) device: Option<OsString>,
    pub(crate) size: Option<OsString>,
    pub(crate) space: Option<OsString>,
    pub(crate) fork: Option<OsString>,
    pub(crate) home_ms: Option<OsString>,
    pub(crate) overflow: Option<OsString>,
    pub(crate) purge_ms: Option<OsString>,
    pub(crate) hugepages: Option<OsString>,
    pub(crate) harden: Option<OsString>,
    pub(crate) stats: Option<OsString>,
    pub(crate) stats_file: Option<OsString>,
    pub(crate) library: Option<OsString>,
    pub(crate) dry_run: bool,
    /// The program as typed; becomes its `argv[0]`.
    pub(crate) program: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
}

/// Reads a command line without its program name.
///
/// # Errors
/// Unknown options, missing or unexpected values, options that exclude each other, no program.
pub(crate) fn parse<I>(arguments: I) -> Result<Invocation, Failure>
where
    I: IntoIterator<Item = OsString>,
{
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(Invocation::Help),
            Short('V') | Long("version") => return Ok(Invocation::Version),
            Long("dir") => options.dir = Some(value(&mut parser, "--dir", "a directory")?),
            Long("nodes") => {
                options.nodes = Some(value(&mut parser, "--nodes", "nodes, such as 0-1,3")?)
            }
            Long("device") => {
                options.device = Some(value(&mut parser, "--device", "a device-dax")?)
            }
            Long("size") => options.size = Some(value(&mut parser, "--size", "a size")?),
            Long("lazy") => set_space(&mut options, "lazy")?,
            Long("prealloc") => set_space(&mut options, "prealloc")?,
            Long("fork") => options.fork = Some(value(&mut parser, "--fork", "a mode, 0 to 3")?),
            Long("home-ms") => {
                options.home_ms = Some(value(&mut parser, "--home-ms", "milliseconds or off")?);
            }
            Long("overflow") => {
                options.overflow = Some(value(&mut parser, "--overflow", "none or dram")?);
            }
            Long("purge-ms") => {
                options.purge_ms = Some(value(&mut parser, "--purge-ms", "milliseconds or off")?);
            }
            Long("hugepages") => {
                options.hugepages = Some(value(&mut parser, "--hugepages", "never or advise")?);
            }
            Long("harden") => {
                options.harden = Some(parser.optional_value().unwrap_or_else(|| "1".into()));
            }
            Long("stats") => {
                options.stats = Some(parser.optional_value().unwrap_or_else(|| "text".into()));
            }
            Long("stats-file") => {
                options.stats_file = Some(value(&mut parser, "--stats-file", "a file name")?);
            }
            Long("library") => {
                options.library =
                    Some(value(&mut parser, "--library", "the path of a libvmmalloc")?);
            }
            Long("dry-run") => options.dry_run = true,
            Value(program) => {
                options.program = program;
                options.arguments = parser.raw_args().map_err(usage)?.collect();
                break;
            }
            Short(c) => return Err(unknown(&format!("-{c}"))),
            Long(name) => return Err(unknown(&format!("--{name}"))),
        }
    }
    let places = [&options.dir, &options.nodes, &options.device];
    if places.iter().filter(|place| place.is_some()).count() > 1 {
        return Err(Failure::configuration(
            "options --dir, --nodes and --device exclude each other: give one of them",
        ));
    }
    if options.program.is_empty() {
        return Err(Failure::configuration(
            "no program to run; give one: vmmalloc [OPTIONS] -- PROGRAM [ARGS...] (see vmmalloc --help)",
        ));
    }
    Ok(Invocation::Run(Box::new(options)))
}

fn value(parser: &mut lexopt::Parser, option: &str, what: &str) -> Result<OsString, Failure> {
    let missing = || Failure::configuration(format!("option {option} needs a value: give {what}"));
    let value = parser.value().map_err(|_| missing())?;
    // `--size -- prog` would otherwise take the separator for the size.
    if value.is_empty() || value == OsStr::new("--") {
        return Err(missing());
    }
    Ok(value)
}

fn set_space(options: &mut Options, mode: &str) -> Result<(), Failure> {
    match &options.space {
        Some(other) if other != OsStr::new(mode) => Err(Failure::configuration(
            "options --lazy and --prealloc exclude each other: give one of them",
        )),
        _ => {
            options.space = Some(mode.into());
            Ok(())
        }
    }
}

fn unknown(option: &str) -> Failure {
    Failure::configuration(format!(
        "unknown option {}; options of PROGRAM go behind it, the launcher's are in vmmalloc --help",
        quoted(OsStr::new(option))
    ))
}

fn usage(error: lexopt::Error) -> Failure {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => Failure::configuration(format!(
            "option {option} takes no value, but got {}: leave out what follows '='",
            quoted(&value)
        )),
        other => Failure::configuration(format!("{other}; see vmmalloc --help")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Result<Options, String> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Invocation::Run(options)) => Ok(*options),
            Ok(other) => panic!("not a run: {other:?}"),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        let options = run(&["--dir", "/d", "ls", "--dir", "x", "--", "-h"]).unwrap();
        assert_eq!(options.dir.unwrap(), "/d");
        assert_eq!(options.program, "ls");
        assert_eq!(options.arguments, ["--dir", "x", "--", "-h"]);
    }

    #[test]
    fn the_separator_is_dropped_once() {
        let options = run(&["--", "--odd", "--", "x"]).unwrap();
        assert_eq!(options.program, "--odd");
        assert_eq!(options.arguments, ["--", "x"]);
    }

    #[test]
    fn stats_takes_its_value_only_after_an_equals_sign() {
        assert_eq!(run(&["--stats", "json"]).unwrap().stats.unwrap(), "text");
        assert_eq!(run(&["--stats=json", "ls"]).unwrap().stats.unwrap(), "json");
    }

    #[test]
    fn harden_takes_its_value_only_after_an_equals_sign() {
        assert_eq!(run(&["--harden", "2"]).unwrap().harden.unwrap(), "1");
        assert_eq!(run(&["--harden=2", "ls"]).unwrap().harden.unwrap(), "2");
    }

    #[test]
    fn lazy_and_prealloc_exclude_each_other() {
        assert!(run(&["--lazy", "--prealloc", "ls"]).unwrap_err().contains("exclude"));
        assert_eq!(run(&["--lazy", "--lazy", "ls"]).unwrap().space.unwrap(), "lazy");
    }

    #[test]
    fn there_is_one_place() {
        assert_eq!(run(&["--nodes", "1", "ls"]).unwrap().nodes.unwrap(), "1");
        assert_eq!(run(&["--device=/dev/dax0.0", "ls"]).unwrap().device.unwrap(), "/dev/dax0.0");
        for two in
            [["--dir=/d", "--nodes=0"], ["--nodes=0", "--device=/d"], ["--device=/d", "--dir=/d"]]
        {
            let refusal = run(&[two[0], two[1], "ls"]).unwrap_err();
            assert!(refusal.contains("--dir, --nodes and --device exclude"), "{refusal}");
        }
    }

    #[test]
    fn bad_usage_names_the_option() {
        assert!(run(&["--frok", "1", "ls"]).unwrap_err().contains("'--frok'"));
        assert!(run(&["-x", "ls"]).unwrap_err().contains("'-x'"));
        assert!(run(&["--size"]).unwrap_err().contains("--size"));
        assert!(run(&["--size", "--", "ls"]).unwrap_err().contains("--size"));
        assert!(run(&["--lazy=yes", "ls"]).unwrap_err().contains("'yes'"));
        assert!(run(&[]).unwrap_err().contains("no program"));
    }

    #[test]
    fn help_and_version_win_over_a_missing_program() {
        assert_eq!(parse(["--help".into()]), Ok(Invocation::Help));
        assert_eq!(parse(["-V".into()]), Ok(Invocation::Version));
    }
}
