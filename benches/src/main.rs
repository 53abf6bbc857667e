//! `pmem-bench`: measures allocators against each other. See the package's README.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pmem_bench::allocator::{self, Allocator, Candidate, Places};
use pmem_bench::case::{self, Case};
use pmem_bench::error::{Context, Error, Result};
use pmem_bench::icount::kept::{Difference, Kept};
use pmem_bench::icount::locations::Locations;
use pmem_bench::icount::{self, Column};
use pmem_bench::launch::Launcher;
use pmem_bench::machine::{self, Machine};
use pmem_bench::matrix::{Matrix, Plan};
use pmem_bench::{peers, program, report};
use regex_lite::Regex;

#[derive(Parser)]
#[command(version, about = "Measures memory allocators against each other by LD_PRELOAD")]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run workloads and real programs under each allocator, interleaved
    Preload(Preload),
    /// Count the instructions of malloc and free exactly (x86-64)
    Icount(Icount),
    /// Build the newest mimalloc, snmalloc and rpmalloc from the sources of their crates
    Peers(Where),
    /// List the allocators and cases, and what is missing
    List(Where),
    /// Render the tables and the chart of kept JSON files, put together if there are several
    Report {
        /// JSON files that `preload --json` wrote, with the same allocators and different cases
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
struct Where {
    /// Our library [default: libvmmalloc.so beside this program]
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Directory of the built peers [default: `peers` beside this program's directory]
    #[arg(long, value_name = "DIR")]
    peers_dir: Option<PathBuf>,
    /// Directory for pools on memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    memory_dir: PathBuf,
    /// Directory for pools on a disk file system [default: beside this program's directory]
    #[arg(long, value_name = "DIR")]
    disk_dir: Option<PathBuf>,
    /// Directory on a tmpfs mounted with huge=advise: adds the allocator vmmalloc-huge
    #[arg(long, value_name = "DIR")]
    huge_dir: Option<PathBuf>,
    /// Size of lazy pools
    #[arg(long, value_name = "SIZE", default_value = "8G")]
    pool_size: String,
    /// Size of preallocated pools
    #[arg(long, value_name = "SIZE", default_value = "640M")]
    prealloc_size: String,
}

#[derive(Args)]
struct Output {
    /// Write all runs as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables as Markdown [default: standard output]
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write a chart of the geometric means
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Args)]
struct Preload {
    #[command(flatten)]
    places: Where,
    #[command(flatten)]
    output: Output,
    /// A twentieth of the work, three rounds
    #[arg(long)]
    quick: bool,
    /// Rounds [default: 5, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Factor on the work of each case [default: 1, or 0.05 with --quick]
    #[arg(long, value_name = "F")]
    scale: Option<f64>,
    /// Only cases whose name or group matches this regular expression
    #[arg(long, value_name = "RE")]
    filter: Option<String>,
    /// Allocators, separated by commas [default: all there are; see `list`]
    #[arg(long = "peers", value_name = "NAMES", value_delimiter = ',')]
    allocators: Option<Vec<String>>,
    /// Allocator that ratios refer to [default: the newest mimalloc there is]
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// Seed of the workloads and of the order of runs
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Longest time of one run in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u32,
}

#[derive(Args)]
struct Icount {
    #[command(flatten)]
    places: Where,
    /// Allocators, separated by commas [default: all there are; see `list`]
    #[arg(long = "peers", value_name = "NAMES", value_delimiter = ',')]
    allocators: Option<Vec<String>>,
    /// Only probes whose name ("pair 16 B", "batch 64 B") matches this regular expression
    #[arg(long, value_name = "RE")]
    filter: Option<String>,
    /// Write the counts as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown [default: standard output]
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write how often each instruction was executed, as CSV
    #[arg(long, value_name = "FILE")]
    locations: Option<PathBuf>,
    /// Fail if an operation takes over 2 % and more than one instruction above what this file keeps;
    /// only our library, unless --peers names others. Exit status 77: processes cannot be traced here
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Write the counts into the file of --check
    #[arg(long, requires = "check")]
    update: bool,
}

/// What test harnesses understand as "cannot run here".
const EXIT_SKIPPED: u8 = 77;

/// Where the package's sources were when it was built; the peers' versions are pinned there.
fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Directory of this program: its siblings are the workloads, the launcher and our library.
fn own_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context(|| "own path".to_owned())?;
    program.parent().map(Path::to_owned).ok_or_else(|| Error::new("this program has no directory"))
}

impl Where {
    fn places(&self) -> Result<Places> {
        let own = own_directory()?;
        let beside = own.parent().unwrap_or(&own);
        Ok(Places {
            library: self.library.clone().unwrap_or_else(|| own.join("libvmmalloc.so")),
            peers: self.peers_dir.clone().unwrap_or_else(|| beside.join("peers")),
            memory: self.memory_dir.clone(),
            disk: self.disk_dir.clone().unwrap_or_else(|| beside.join("bench-pools")),
            huge: self.huge_dir.clone(),
            pool_size: self.pool_size.clone(),
            prealloc_size: self.prealloc_size.clone(),
        })
    }
}

/// The chosen allocators; what is left out is said.
fn choose(places: &Places, wanted: Option<&[String]>) -> Result<Vec<Allocator>> {
    std::fs::create_dir_all(&places.disk).context(|| places.disk.display().to_string())?;
    let candidates = allocator::candidates(places);
    if wanted.is_none() {
        for missing in candidates.iter().filter_map(|candidate| candidate.as_ref().err()) {
            eprintln!("pmem-bench: without {}: {}", missing.name, missing.remedy);
        }
    }
    allocator::choose(candidates, wanted)
}

/// A directory of our own for inputs, captured output and sockets, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pmem-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a directory that stays behind.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn all_cases(directory: &Path, scale: f64, seed: u64) -> Result<Vec<Case>> {
    let mut cases = case::workloads(&own_directory()?.join("pmem-workloads"), scale, seed)?;
    cases.extend(program::programs(directory, scale)?);
    Ok(cases)
}

fn pattern(filter: &str) -> Result<Regex> {
    Regex::new(filter).context(|| format!("--filter {filter:?}"))
}

fn filtered(cases: Vec<Case>, filter: Option<&str>) -> Result<Vec<Case>> {
    let Some(filter) = filter else {
        return Ok(cases);
    };
    let pattern = pattern(filter)?;
    let kept: Vec<Case> = cases
        .into_iter()
        .filter(|case| pattern.is_match(&case.label.name) || pattern.is_match(&case.label.group))
        .collect();
    if kept.is_empty() {
        return Err(Error::new(format!(
            "--filter {filter:?} matches no case; see `pmem-bench list`"
        )));
    }
    Ok(kept)
}

fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("pmem-bench {}", arguments.join(" "))
}

fn show(what: &str, done: f64) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{:3.0} % {what}", done * 100.0);
        // A progress line that cannot be written is no reason to stop.
        let _ = std::io::stderr().flush();
    }
}

fn write_output(output: &Output, matrix: &Matrix) -> Result<()> {
    if let Some(path) = &output.json {
        report::write_json(path, matrix)?;
    }
    if let Some(path) = &output.svg {
        report::write(path, &report::chart::render(matrix))?;
    }
    let tables = report::markdown::render(matrix);
    match &output.markdown {
        Some(path) => report::write(path, &tables),
        None => {
            print!("{tables}");
            Ok(())
        }
    }
}

fn preload(options: &Preload) -> Result<ExitCode> {
    let scale = options.scale.unwrap_or(if options.quick { 0.05 } else { 1.0 });
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::new(format!("--scale {scale}: must be above 0")));
    }
    let allocators = choose(&options.places.places()?, options.allocators.as_deref())?;
    let reference = allocator::reference(&allocators, options.reference.as_deref())?;
    let scratch = Scratch::new()?;
    let launcher = Launcher {
        program: own_directory()?.join("pmem-launch"),
        directory: scratch.0.clone(),
        timeout_s: options.timeout,
    };
    let cases = filtered(all_cases(&scratch.0, scale, options.seed)?, options.filter.as_deref())?;
    let machine = Machine::observe(sources());
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 5 });
    let plan = Plan {
        cases: &cases,
        allocators: &allocators,
        rounds,
        seed: options.seed,
        launcher: &launcher,
    };
    let results = plan.run(show)?;
    show("", 1.0);
    let matrix = Matrix {
        machine,
        command: command_line(),
        rounds,
        scale,
        seed: options.seed,
        reference,
        cases: cases.into_iter().map(|case| case.label).collect(),
        allocators,
        runs: results.runs,
        pools: results.pools,
        pool_failures: results.pool_failures,
    };
    write_output(&options.output, &matrix)?;
    Ok(judge(&matrix))
}

/// Tells each failure once; ours make the exit status 1.
fn judge(matrix: &Matrix) -> ExitCode {
    let mut told = std::collections::BTreeSet::new();
    let mut ours_failed = false;
    for run in &matrix.runs {
        if let Some(failure) = &run.failure {
            let ours =
                matrix.allocators.iter().any(|known| known.ours && known.name == run.allocator);
            ours_failed |= ours;
            if told.insert((&run.case, &run.allocator)) {
                eprintln!("pmem-bench: {} under {}: {failure}", run.case, run.allocator);
            }
        }
    }
    for failure in &matrix.pool_failures {
        eprintln!("pmem-bench: {failure}");
        ours_failed = true;
    }
    if ours_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn count_instructions(options: &Icount) -> Result<ExitCode> {
    let only_ours = options.check.is_some().then(|| vec!["vmmalloc".to_owned()]);
    let named = options.allocators.as_ref().or(only_ours.as_ref());
    let allocators = choose(&options.places.places()?, named.map(Vec::as_slice))?;
    let tracee = own_directory()?.join("pmem-workloads");
    if !tracee.exists() {
        return Err(Error::new(format!(
            "{}: build it by `cargo build --release`",
            tracee.display()
        )));
    }
    let pattern = options.filter.as_deref().map(pattern).transpose()?;
    let wanted = |probe: &icount::Probe| {
        (options.check.is_none() || probe.is_steady())
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(&probe.name()))
    };
    if !icount::PROBES.iter().any(wanted) {
        let names: Vec<String> = icount::PROBES.iter().map(icount::Probe::name).collect();
        return Err(Error::new(format!("--filter matches none of: {}", names.join(", "))));
    }
    if options.check.is_some()
        && let Some(reason) = icount::stepper::refusal()
    {
        eprintln!("SKIPPED: {reason}");
        return Ok(ExitCode::from(EXIT_SKIPPED));
    }
    let mut locations = Locations::default();
    let mut columns: Vec<Column> = Vec::new();
    for (index, allocator) in allocators.iter().enumerate() {
        show(&allocator.name, index as f64 / allocators.len() as f64);
        columns.push(icount::measure(&tracee, allocator, wanted, &mut locations)?);
    }
    show("", 1.0);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&columns).context(|| "counts".to_owned())?;
        report::write(path, &(text + "\n"))?;
    }
    if let Some(path) = &options.locations {
        report::write(path, &locations.csv())?;
    }
    let table = icount::markdown(&columns);
    match &options.markdown {
        Some(path) => report::write(path, &table)?,
        None => print!("{table}"),
    }
    match &options.check {
        Some(file) => check_counts(file, columns, options),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Compares the counts with those of a file, or puts them there.
fn check_counts(file: &Path, columns: Vec<Column>, options: &Icount) -> Result<ExitCode> {
    let compiler = machine::compiler(sources());
    if options.update {
        if options.filter.is_some() {
            return Err(Error::new("--update keeps the counts of all probes; leave out --filter"));
        }
        Kept { compiler, columns }.write(file)?;
        return Ok(ExitCode::SUCCESS);
    }
    let kept = Kept::read(file)?;
    let mut is_worse = false;
    for difference in kept.compare(&columns, options.filter.is_none())? {
        match difference {
            Difference::Grown(line) | Difference::Unknown(line) => {
                is_worse = true;
                eprintln!("pmem-bench: FAILED: {line}");
            }
            Difference::Shrunk(line) => eprintln!("pmem-bench: fewer, keep it: {line}"),
        }
    }
    if is_worse {
        if kept.compiler != compiler {
            eprintln!("pmem-bench: kept with {}, this is {compiler}", kept.compiler);
        }
        eprintln!(
            "pmem-bench: if this is meant, say why in the commit and update the file:\n  \
             cargo build --release && target/release/pmem-bench icount --check {} --update",
            file.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn list(options: &Where) -> Result<ExitCode> {
    println!("Allocators:");
    for candidate in allocator::candidates(&options.places()?) {
        match candidate {
            Candidate::Ok(found) => println!("  {:18} {}", found.name, found.description),
            Candidate::Err(missing) => {
                println!("  {:18} missing: {}", missing.name, missing.remedy)
            }
        }
    }
    println!("Cases:");
    let scratch = Scratch::new()?;
    for case in all_cases(&scratch.0, 0.001, 1)? {
        println!("  {:18} {}, {} thread(s)", case.label.name, case.label.group, case.label.threads);
    }
    Ok(ExitCode::SUCCESS)
}

fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Action::Preload(options) => preload(options),
        Action::Icount(options) => count_instructions(options),
        Action::Peers(options) => {
            let output = options.places()?.peers;
            peers::build_all(&sources().join("compare"), &output, |file, version| {
                println!("{}: {version}", output.join(file).display());
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Action::List(options) => list(options),
        Action::Report { files, output } => {
            let mut parts = files.iter().map(|file| report::read_json(file));
            let mut matrix = parts.next().unwrap_or_else(|| Err(Error::new("no file")))?;
            for part in parts {
                matrix.merge(part?)?;
            }
            write_output(output, &matrix)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn main() -> ExitCode {
    // A reader that closes the pipe early (`| head`) ends us quietly.
    // SAFETY: no other thread runs yet, and the default action needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pmem-bench: {error}");
            ExitCode::from(2)
        }
    }
}
