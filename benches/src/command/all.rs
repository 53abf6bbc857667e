//! `pmem-bench all`: every part, one after the other, into one directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use pmem_bench::allocator::Allocator;
use pmem_bench::error::{Context, Error, Result};
use pmem_bench::icount::locations::Locations;
use pmem_bench::icount::{self, stepper};
use pmem_bench::in_process::Plan;
use pmem_bench::machine::Machine;
use pmem_bench::pools::{self, Cost};
use pmem_bench::progress::Progress;
use pmem_bench::suite::Suite;

use super::icount::measure_columns;
use super::in_process::{measure_in_process, seconds};
use super::preload::{Asked, judge, measure_matrix};
use super::{
    Scratch, Where, all_cases, choose, command_line, matching, own_directory, pattern, rounds,
    sources,
};

#[derive(Args)]
pub(crate) struct All {
    #[command(flatten)]
    pub(crate) places: Where,
    /// Directory for bench.json, bench.md and bench.svg
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The built program of `cargo bench` in benches/compare; without it that part is left out
    #[arg(long, value_name = "FILE")]
    pub(crate) in_process: Option<PathBuf>,
    /// Little work, two rounds: shows that everything runs, its figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Allocators of the parts icount and preload, separated by commas [default: all there are]
    #[arg(long = "peers", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) allocators: Option<Vec<String>>,
    /// Seed of the workloads and of the order of runs
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Only parts whose name, or cases whose name or group matches this regular expression
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
}

pub(crate) fn measure_pools(directory: &Path) -> Result<Vec<Cost>> {
    let mut progress = Progress::new("pools");
    let tracee = own_directory()?.join("pmem-pool-probe");
    let costs = pools::measure(&tracee, directory, |what, done| progress.show(what, done))?;
    progress.finish();
    Ok(costs)
}

/// Work and longest time of a run with `--quick`: an allocator that is very slow in a case fails it.
const QUICK_SCALE: f64 = 0.02;

const QUICK_TIMEOUT_S: u32 = 30;
const QUICK_WITHOUT_SIZE: usize = 1000;

/// All parts that the filter matches, quick ones first; what is done is on the disk when a later one fails.
pub(crate) fn run(options: &All) -> Result<ExitCode> {
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
    // Steps are slow where processors are virtual: with --quick the probes with the most of them are left out.
    let wanted = |probe: &icount::Probe| {
        (!options.quick || (probe.is_steady() && probe.size != QUICK_WITHOUT_SIZE))
            && probes.is_none_or(|filter| filter.is_match(&probe.name()))
    };
    let refusal = stepper::refusal();
    if let Some(reason) = &refusal {
        eprintln!("pmem-bench: without icount and pools: {reason}");
    }
    if refusal.is_none() && icount::PROBES.iter().any(wanted) {
        // Columns that only differ in the place or the pages count the same.
        let mut different: Vec<Allocator> = Vec::new();
        for allocator in &allocators {
            let is_new = different.iter().all(|known| known.library != allocator.library);
            if is_new && !(options.quick && allocator.is_partial) {
                different.push(allocator.clone());
            }
        }
        let columns = measure_columns(&different, wanted, &mut Locations::default())?;
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
        let plan = Plan {
            program,
            scratch: &scratch.0,
            pools: &places.memory,
            rounds: rounds(options.rounds, options.quick),
            seed: options.seed,
            seconds: seconds(options.quick),
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
