//! `pmem-bench icount`: instructions of preloaded allocators, and the gate on ours.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use pmem_bench::allocator::Allocator;
use pmem_bench::error::{Error, Result};
use pmem_bench::icount::kept::{Difference, Kept};
use pmem_bench::icount::locations::Locations;
use pmem_bench::icount::{self, Column};
use pmem_bench::progress::Progress;
use pmem_bench::{machine, report};

use super::{Where, choose, own_directory, pattern, sources, write_value};

#[derive(Args)]
pub(crate) struct Icount {
    #[command(flatten)]
    pub(crate) places: Where,
    /// Allocators, separated by commas [default: all there are; see `list`]
    #[arg(long = "peers", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) allocators: Option<Vec<String>>,
    /// Only probes whose name ("pair 16 B", "batch 64 B") matches this regular expression
    #[arg(long, value_name = "RE")]
    pub(crate) filter: Option<String>,
    /// Write the counts as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the table as Markdown [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write how often each instruction was executed, as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) locations: Option<PathBuf>,
    /// Fail if an operation takes over 2 % and more than one instruction above what this file keeps;
    /// only our library, unless --peers names others. Exit status 77: processes cannot be traced here
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
    /// Write the counts into the file of --check
    #[arg(long, requires = "check")]
    pub(crate) update: bool,
}

/// What test harnesses understand as "cannot run here".
const EXIT_SKIPPED: u8 = 77;

pub(crate) fn measure_columns(
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

pub(crate) fn run(options: &Icount) -> Result<ExitCode> {
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
        write_value(path, &columns)?;
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
