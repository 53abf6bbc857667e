//! `cargo xtask demo`: real, unmodified programs, plain and with their heap in a pool.
//!
//! Each program runs once plain (its output is the reference), once in the pool with statistics (allocations, pool
//! bytes), and then in pairs of plain and pool in alternating order without statistics (CPU time). Every output of
//! every run is compared with the reference.

pub(crate) mod measure;
mod report;
mod stats;
mod workload;

use crate::{Stop, deps, workspace};
use measure::{Output, Run, measure};
use report::{Measured, Row};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use workload::{Tools, WORKLOADS, Workload};

/// Pairs of runs behind a time ratio.
const PAIRS: usize = 3;
/// The demo says nothing about a machine with fewer programs.
const MIN_PROGRAMS: usize = 8;
/// Start of the names of the statistics files; the library appends the process id.
const STATS_PREFIX: &str = "stats-";

struct Options {
    pool_directory: PathBuf,
    only: Vec<String>,
    json: bool,
    keep: bool,
    library: Option<PathBuf>,
}

fn parse(arguments: Vec<OsString>) -> Result<Options, Stop> {
    use lexopt::prelude::*;
    let mut options = Options {
        pool_directory: "/dev/shm".into(),
        only: Vec::new(),
        json: false,
        keep: false,
        library: None,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => options.pool_directory = std::path::absolute(parser.value()?)?,
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("json") => options.json = true,
            Long("keep") => options.keep = true,
            Long("library") => options.library = Some(fs::canonicalize(parser.value()?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    let known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
    for name in &options.only {
        if !known.contains(&name.as_str()) {
            return Err(Stop::Usage(format!(
                "no program '{name}' in the demo; there are: {}",
                known.join(", ")
            )));
        }
    }
    Ok(options)
}

/// The command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Stop> {
    let options = parse(arguments)?;
    let chosen: Vec<&Workload> = WORKLOADS
        .iter()
        .filter(|workload| {
            options.only.is_empty() || options.only.iter().any(|name| name == workload.name)
        })
        .collect();
    let look = || chosen.iter().map(|&workload| (workload, workload.tools())).collect();
    let mut found: Vec<(&Workload, Result<Tools, String>)> = look();
    if !enough(&found, !options.only.is_empty()) {
        deps::install(&missing(&found))?;
        found = look();
        if !enough(&found, !options.only.is_empty()) {
            return Err(Stop::Failed("programs of the demo are missing still".into()));
        }
    }

    let bench = Bench::set_up(&options)?;
    let mut rows = Vec::new();
    let total = found.len();
    for (number, (workload, tools)) in found.into_iter().enumerate() {
        let Workload { name, packages, .. } = workload;
        match tools {
            Err(absent) => {
                eprintln!(
                    "[{}/{total}] {name}: not on this machine ({absent}; Debian: {packages})",
                    number + 1
                );
                rows.push(Row::Absent(name, absent, packages));
            }
            Ok(tools) => {
                eprint!("[{}/{total}] {name}: ", number + 1);
                let start = Instant::now();
                let measured = bench.measure(workload, &tools)?;
                eprintln!("{:.0} s", start.elapsed().as_secs_f64());
                rows.push(Row::Measured(name, measured));
            }
        }
    }
    drop(bench);
    let text = if options.json {
        format!("{:#}\n", report::json(&rows, &options.pool_directory))
    } else {
        report::table(&rows, &options.pool_directory, PAIRS)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    verdict(&rows)
}

/// Whether these are programs enough to speak of a machine.
fn enough(found: &[(&Workload, Result<Tools, String>)], chosen: bool) -> bool {
    let present = found.iter().filter(|(_, tools)| tools.is_ok()).count();
    present >= if chosen { found.len() } else { MIN_PROGRAMS }
}

/// The packages of programs that are not here.
fn missing(found: &[(&Workload, Result<Tools, String>)]) -> Vec<&'static deps::Package> {
    let packages: Vec<&str> = found
        .iter()
        .filter(|(_, tools)| tools.is_err())
        .flat_map(|(workload, _)| workload.packages.split(' '))
        .collect();
    deps::PACKAGES.iter().filter(|package| packages.contains(&package.name)).collect()
}

fn verdict(rows: &[Row]) -> Result<(), Stop> {
    let problems: Vec<String> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Measured(name, measured) => Some(format!("{name}: {}", measured.problem()?)),
            Row::Absent(..) => None,
        })
        .collect();
    let absent: Vec<&str> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Absent(name, ..) => Some(*name),
            Row::Measured(..) => None,
        })
        .collect();
    if !absent.is_empty() {
        eprintln!(
            "not on this machine, so not shown: {} (cargo xtask deps --install)",
            absent.join(", ")
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(Stop::Failed(problems.join("\nxtask: "))) }
}

/// Everything the runs share.
struct Bench {
    launcher: PathBuf,
    library: PathBuf,
    pool_directory: PathBuf,
    work: Scratch,
}

/// The working directory, removed at the end also when something fails.
struct Scratch {
    directory: PathBuf,
    keep: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.directory.display());
        } else if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("{} could not be removed: {error}", self.directory.display());
        }
    }
}

/// With or without the pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heap {
    Plain,
    Pool,
    PoolWithStats,
}

impl Bench {
    fn set_up(options: &Options) -> Result<Self, Stop> {
        let mut build = workspace::cargo();
        build.args(["build", "--release", "-p", "vmmalloc-launcher"]);
        if options.library.is_none() {
            build.args(["-p", "vmmalloc"]);
        }
        eprintln!("building the library and the launcher");
        if !build.status()?.success() {
            return Err(Stop::Failed("the build failed".into()));
        }
        let release = workspace::target_dir()?.join("release");
        let launcher = release.join("vmmalloc");
        let library = match &options.library {
            Some(library) => library.clone(),
            None => release.join("libvmmalloc.so"),
        };
        // A directory that cannot hold a pool is said once, not as a difference of every program.
        let check = Command::new(&launcher)
            .args(["--dry-run", "--library"])
            .arg(&library)
            .arg("--dir")
            .arg(&options.pool_directory)
            .arg("true")
            .output()?;
        if !check.status.success() {
            let message = String::from_utf8_lossy(&check.stderr);
            return Err(Stop::Failed(message.trim_end().to_owned()));
        }
        let directory = std::env::temp_dir().join(format!("vmmalloc-demo-{}", std::process::id()));
        let work = Scratch { directory, keep: options.keep };
        fs::create_dir_all(&work.directory)?;
        Ok(Self { launcher, library, pool_directory: options.pool_directory.clone(), work })
    }

    fn measure(&self, workload: &Workload, tools: &Tools) -> Result<Measured, Stop> {
        let directory = self.work.directory.join(workload.name.replace('|', "-"));
        workload.prepare(&directory)?;
        let once = |heap: Heap| -> Result<(Run, Output), Stop> {
            eprint!("{}", if heap == Heap::Plain { "." } else { "o" });
            let outputs = directory.join("output");
            fs::create_dir_all(&outputs)?;
            let command = self.command(heap, workload.command(tools), &outputs);
            let run = measure(&command, &environment(&directory, tools), &directory, &outputs)?;
            let output = Output::read(&run, &outputs)?;
            Ok((run, output))
        };
        let (plain, reference) = once(Heap::Plain)?;
        if reference.end != workload.end {
            return Err(Stop::Failed(format!(
                "{} does not run on this machine even without the pool ({}):\n{}",
                workload.name,
                reference.end,
                String::from_utf8_lossy(&reference.stderr)
            )));
        }
        let (pool, output) = once(Heap::PoolWithStats)?;
        let mut measured = Measured {
            difference: reference.difference(&output),
            totals: stats::read_all(&directory.join("output"), STATS_PREFIX)?,
            peak_rss_plain_bytes: plain.peak_rss_bytes,
            peak_rss_pool_bytes: pool.peak_rss_bytes,
            cpu_seconds: Vec::new(),
        };
        for pair in 0..PAIRS {
            let mut order = [Heap::Plain, Heap::Pool];
            if pair % 2 == 1 {
                order.reverse();
            }
            let mut seconds = [0.0; 2];
            for heap in order {
                let (run, output) = once(heap)?;
                let difference = reference.difference(&output);
                if heap == Heap::Plain {
                    if let Some(difference) = difference {
                        return Err(Stop::Failed(format!(
                            "{} is not deterministic on this machine, even without the pool: {difference}",
                            workload.name
                        )));
                    }
                    seconds[0] = run.cpu_seconds;
                } else {
                    measured.difference = measured.difference.or(difference);
                    seconds[1] = run.cpu_seconds;
                }
            }
            measured.cpu_seconds.push((seconds[0], seconds[1]));
        }
        Ok(measured)
    }

    fn command(&self, heap: Heap, program: Vec<OsString>, outputs: &Path) -> Vec<OsString> {
        if heap == Heap::Plain {
            return program;
        }
        let mut command = vec![self.launcher.clone().into_os_string()];
        let mut option =
            |name: &str, value: &OsStr| command.extend([name.into(), value.to_owned()]);
        option("--dir", self.pool_directory.as_os_str());
        option("--library", self.library.as_os_str());
        if heap == Heap::PoolWithStats {
            option("--stats-file", outputs.join(STATS_PREFIX).as_os_str());
            command.push("--stats=json".into());
        }
        command.extend(["--lazy".into(), "--".into()]);
        command.extend(program);
        command
    }
}

/// The same small environment for every run.
fn environment(home: &Path, tools: &Tools) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = [
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        // python3 has an allocator of its own in front of malloc; without it every object goes through the pool.
        ("PYTHONMALLOC", "malloc"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "gc.auto"),
        ("GIT_CONFIG_VALUE_0", "0"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    environment.push(("HOME".into(), home.into()));
    environment.push(("PATH".into(), std::env::var_os("PATH").unwrap_or_default()));
    environment.extend(tools.environment());
    environment
}
