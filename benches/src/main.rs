//! `pmem-bench`: measures allocators against each other. See the package's README.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pmem_bench::allocator::{self, Allocator, Candidate, Places};
use pmem_bench::case::{self, Case};
use pmem_bench::error::{Context, Error, Result};
use pmem_bench::icount::kept::{Difference, Kept};
use pmem_bench::icount::locations::Locations;
use pmem_bench::icount::{self, Column};
use pmem_bench::in_process::{self, InProcess};
use pmem_bench::launch::Launcher;
use pmem_bench::machine::{self, Machine};
use pmem_bench::matrix::{Matrix, Plan};
use pmem_bench::pools::{self, Cost};
use pmem_bench::progress::Progress;
use pmem_bench::suite::Suite;
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
    /// Run all parts: icount, pools, in-process, preload. `cargo xtask bench` builds what this needs
    All(All),
    /// Run workloads and real programs under each allocator, interleaved
    Preload(Preload),
    /// Run the criterion benches of benches/compare in rounds
    InProcess(RunInProcess),
    /// Count the instructions of a malloc and free in one and in a thousand pools, small and large (x86-64)
    Pools {
        /// Directory for the pools
        #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
        memory_dir: PathBuf,
        /// Write the counts as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Count the instructions of malloc and free exactly (x86-64)
    Icount(Icount),
    /// Build the newest mimalloc, snmalloc and rpmalloc from the sources of their crates, and the shim that
    /// puts programs on libmemkind
    Peers {
        #[command(flatten)]
        places: Where,
        /// Do nothing if their sources have not changed since
        #[arg(long)]
        if_changed: bool,
    },
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
struct All {
    #[command(flatten)]
    places: Where,
    /// Directory for bench.json, bench.md and bench.svg
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The built program of `cargo bench` in benches/compare; without it that part is left out
    #[arg(long, value_name = "FILE")]
    in_process: Option<PathBuf>,
    /// Little work, two rounds: shows that everything runs, its figures mean little
    #[arg(long)]
    quick: bool,
    /// Rounds [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Allocators of the parts icount and preload, separated by commas [default: all there are]
    #[arg(long = "peers", value_name = "NAMES", value_delimiter = ',')]
    allocators: Option<Vec<String>>,
    /// Seed of the workloads and of the order of runs
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Only parts whose name, or cases whose name or group matches this regular expression
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

#[derive(Args)]
struct RunInProcess {
    /// The built program of `cargo bench` in benches/compare
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Directory for the pools
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    memory_dir: PathBuf,
    /// Little time for each case, two rounds
    #[arg(long)]
    quick: bool,
    /// Rounds [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Only cases whose name matches this regular expression
    #[arg(long, value_name = "RE")]
    filter: Option<String>,
    /// Seed of the order of runs
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Write the timings as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    /// Factor on the work of each case; that of long ones shrinks faster [default: 1, or 0.05 with --quick]
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
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
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

fn matching(mut cases: Vec<Case>, filter: Option<&Regex>) -> Vec<Case> {
    if let Some(filter) = filter {
        cases.retain(|Case { label, .. }| {
            filter.is_match(&label.name) || filter.is_match(&label.group)
        });
    }
    cases
}

/// Names the command that a person gave, when another program calls this one.
const COMMAND_VARIABLE: &str = "PMEM_BENCH_COMMAND";

fn command_line() -> String {
    if let Ok(command) = std::env::var(COMMAND_VARIABLE) {
        return command;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("pmem-bench {}", arguments.join(" "))
}

fn write_output(output: &Output, matrix: &Matrix) -> Result<()> {
    if let Some(path) = &output.json {
        report::write_json(path, matrix)?;
    }
    if let Some(path) = &output.svg {
        report::write(path, &report::chart::render(Some(matrix), None))?;
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

/// What a run of the matrix is asked to do.
struct Asked<'a> {
    allocators: Vec<Allocator>,
    reference: Option<&'a str>,
    filter: Option<&'a Regex>,
    scale: f64,
    rounds: u32,
    seed: u64,
    timeout_s: u32,
}

fn measure_matrix(asked: Asked<'_>) -> Result<Matrix> {
    let Asked { allocators, scale, rounds, seed, .. } = asked;
    let reference = allocator::reference(&allocators, asked.reference)?;
    let scratch = Scratch::new()?;
    let launcher = Launcher {
        program: own_directory()?.join("pmem-launch"),
        directory: scratch.0.clone(),
        timeout_s: asked.timeout_s,
    };
    let cases = matching(all_cases(&scratch.0, scale, seed)?, asked.filter);
    let machine = Machine::observe(sources());
    let plan = Plan { cases: &cases, allocators: &allocators, rounds, seed, launcher: &launcher };
    let mut progress = Progress::new("preload");
    let results = plan.run(|what, done| progress.show(what, done))?;
    progress.finish();
    Ok(Matrix {
        machine,
        command: command_line(),
        rounds,
        scale,
        seed,
        reference,
        cases: cases.into_iter().map(|case| case.label).collect(),
        allocators,
        runs: results.runs,
        pools: results.pools,
        pool_failures: results.pool_failures,
    })
}

fn preload(options: &Preload) -> Result<ExitCode> {
    let scale = options.scale.unwrap_or(if options.quick { 0.05 } else { 1.0 });
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::new(format!("--scale {scale}: must be above 0")));
    }
    let allocators = choose(&options.places.places()?, options.allocators.as_deref())?;
    let filter = options.filter.as_deref().map(pattern).transpose()?;
    let scratch = Scratch::new()?;
    if matching(all_cases(&scratch.0, scale, options.seed)?, filter.as_ref()).is_empty() {
        return Err(Error::new("--filter matches no case; see `pmem-bench list`"));
    }
    let matrix = measure_matrix(Asked {
        allocators,
        reference: options.reference.as_deref(),
        filter: filter.as_ref(),
        scale,
        rounds: options.rounds.unwrap_or(if options.quick { 3 } else { 5 }),
        seed: options.seed,
        timeout_s: options.timeout,
    })?;
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

fn measure_columns(
    allocators: &[Allocator],
    wanted: impl Fn(&icount::Probe) -> bool,
    locations: &mut Locations,
) -> Result<Vec<Column>> {
    let tracee = own_directory()?.join("pmem-workloads");
    if !tracee.exists() {
        return Err(Error::new(format!(
            "{}: build it by `cargo build --release`",
            tracee.display()
        )));
    }
    let mut progress = Progress::new("icount");
    let mut columns = Vec::new();
    for (index, allocator) in allocators.iter().enumerate() {
        progress.show(&allocator.name, index as f64 / allocators.len() as f64);
        columns.push(icount::measure(&tracee, allocator, &wanted, locations)?);
    }
    progress.finish();
    Ok(columns)
}

fn count_instructions(options: &Icount) -> Result<ExitCode> {
    let only_ours = options.check.is_some().then(|| vec!["vmmalloc".to_owned()]);
    let named = options.allocators.as_ref().or(only_ours.as_ref());
    let allocators = choose(&options.places.places()?, named.map(Vec::as_slice))?;
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
    let columns = measure_columns(&allocators, wanted, &mut locations)?;
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

fn measure_pools(directory: &Path) -> Result<Vec<Cost>> {
    let mut progress = Progress::new("pools");
    let tracee = own_directory()?.join("pmem-pool-probe");
    let costs = pools::measure(&tracee, directory, |what, done| progress.show(what, done))?;
    progress.finish();
    Ok(costs)
}

fn write_value(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context(|| path.display().to_string())?;
    report::write(path, &(text + "\n"))
}

/// Seconds of warming up and of measuring per case and allocator.
const SECONDS: [f64; 2] = [0.5, 2.0];
const QUICK_SECONDS: [f64; 2] = [0.02, 0.05];

fn rounds(asked: Option<u32>, quick: bool) -> u32 {
    asked.unwrap_or(if quick { 2 } else { 5 })
}

fn run_in_process(options: &RunInProcess) -> Result<ExitCode> {
    let scratch = Scratch::new()?;
    let filter = options.filter.as_deref().map(pattern).transpose()?;
    let plan = in_process::Plan {
        program: &options.program,
        scratch: &scratch.0,
        pools: &options.memory_dir,
        rounds: rounds(options.rounds, options.quick),
        seed: options.seed,
        seconds: if options.quick { QUICK_SECONDS } else { SECONDS },
        filter: filter.as_ref(),
    };
    let measured = measure_in_process(&plan)?;
    if let Some(path) = &options.json {
        write_value(path, &measured)?;
    }
    print!("{}", measured.markdown());
    Ok(ExitCode::SUCCESS)
}

fn measure_in_process(plan: &in_process::Plan<'_>) -> Result<InProcess> {
    let mut progress = Progress::new("in-process");
    let measured = plan.run(|what, done| progress.show(what, done))?;
    progress.finish();
    Ok(measured)
}

/// Work and longest time of a run with `--quick`: an allocator that is very slow in a case fails it.
const QUICK_SCALE: f64 = 0.02;
const QUICK_TIMEOUT_S: u32 = 30;

/// All parts that the filter matches, quick ones first; what is done is on the disk when a later one fails.
fn run_all(options: &All) -> Result<ExitCode> {
    let filter = options.filter.as_deref().map(pattern).transpose()?;
    let matches = |name: &str| filter.as_ref().is_none_or(|filter| filter.is_match(name));
    // A part that is named runs whole.
    let cases_of = |part: &str| if matches(part) { None } else { filter.as_ref() };
    std::fs::create_dir_all(&options.output).context(|| options.output.display().to_string())?;
    let places = options.places.places()?;
    let allocators = choose(&places, options.allocators.as_deref())?;
    let mut suite = Suite::new(Machine::observe(sources()), command_line());
    let mut exit = ExitCode::SUCCESS;
    let mut is_empty = true;

    let probes = cases_of("icount");
    let wanted = |probe: &icount::Probe| probes.is_none_or(|filter| filter.is_match(&probe.name()));
    let refusal = icount::stepper::refusal();
    if let Some(reason) = &refusal {
        eprintln!("pmem-bench: without icount and pools: {reason}");
    }
    if refusal.is_none() && icount::PROBES.iter().any(wanted) {
        let columns = measure_columns(&allocators, wanted, &mut Locations::default())?;
        suite.instructions = Some(columns);
        suite.write(&options.output)?;
        is_empty = false;
    }
    if refusal.is_none() && matches("pools") {
        suite.pools = Some(measure_pools(&places.memory)?);
        suite.write(&options.output)?;
        is_empty = false;
    }
    if let Some(program) = &options.in_process {
        let scratch = Scratch::new()?;
        let plan = in_process::Plan {
            program,
            scratch: &scratch.0,
            pools: &places.memory,
            rounds: rounds(options.rounds, options.quick),
            seed: options.seed,
            seconds: if options.quick { QUICK_SECONDS } else { SECONDS },
            filter: cases_of("in-process"),
        };
        if !plan.list()?.is_empty() {
            suite.in_process = Some(measure_in_process(&plan)?);
            suite.write(&options.output)?;
            is_empty = false;
        }
    }
    let scale = if options.quick { QUICK_SCALE } else { 1.0 };
    let cases = cases_of("preload");
    let scratch = Scratch::new()?;
    if !matching(all_cases(&scratch.0, scale, options.seed)?, cases).is_empty() {
        let matrix = measure_matrix(Asked {
            allocators,
            reference: None,
            filter: cases,
            scale,
            rounds: rounds(options.rounds, options.quick),
            seed: options.seed,
            timeout_s: if options.quick { QUICK_TIMEOUT_S } else { 600 },
        })?;
        exit = judge(&matrix);
        suite.matrix = Some(matrix);
        suite.write(&options.output)?;
        is_empty = false;
    }
    if is_empty {
        return Err(Error::new(
            "the filter matches no part (icount, pools, in-process, preload) and no case; see `pmem-bench list`",
        ));
    }
    for name in ["bench.json", "bench.md", "bench.svg"] {
        println!("{}", options.output.join(name).display());
    }
    Ok(exit)
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
        Action::All(options) => run_all(options),
        Action::InProcess(options) => run_in_process(options),
        Action::Pools { memory_dir, json } => {
            let costs = measure_pools(memory_dir)?;
            if let Some(path) = json {
                write_value(path, &costs)?;
            }
            print!("{}", pools::markdown(&costs));
            Ok(ExitCode::SUCCESS)
        }
        Action::Peers { places, if_changed } => {
            let output = places.places()?.peers;
            if *if_changed && peers::are_current(&sources().join("compare"), &output) {
                return Ok(ExitCode::SUCCESS);
            }
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
