//! `pmem-bench preload`: programs under preloaded allocators.

use std::process::ExitCode;

use clap::Args;
use pmem_bench::allocator::{self, Allocator};
use pmem_bench::error::{Error, Result};
use pmem_bench::launch::Launcher;
use pmem_bench::machine::Machine;
use pmem_bench::matrix::{Matrix, Plan};
use pmem_bench::progress::Progress;
use pmem_bench::report;
use regex_lite::Regex;

use super::{
    Output, Scratch, Where, all_cases, choose, command_line, matching, own_directory, pattern,
    sources,
};

#[derive(Args)]
pub(crate) struct Preload {
    #[command(flatten)]
    pub(crate) places: Where,
    #[command(flatten)]
    pub(crate) output: Output,
    /// A twentieth of the work, three rounds
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds [default: 5, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Factor on the work of each case; that of long ones shrinks faster [default: 1, or 0.05 with --quick]
    #[arg(long, value_name = "F")]
    pub(crate) scale: Option<f64>,
    /// Only cases whose name or group matches this regular expression
    #[arg(long, value_name = "RE")]
    pub(crate) filter: Option<String>,
    /// Allocators, separated by commas [default: all there are; see `list`]
    #[arg(long = "peers", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) allocators: Option<Vec<String>>,
    /// Allocator that ratios refer to [default: the newest mimalloc there is]
    #[arg(long, value_name = "NAME")]
    pub(crate) reference: Option<String>,
    /// Seed of the workloads and of the order of runs
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Longest time of one run in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u32,
}

/// What a run of the matrix is asked to do.
pub(crate) struct Asked<'a> {
    pub(crate) allocators: Vec<Allocator>,
    pub(crate) reference: Option<&'a str>,
    pub(crate) filter: Option<&'a Regex>,
    pub(crate) scale: f64,
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
    pub(crate) timeout_s: u32,
}

pub(crate) fn measure_matrix(asked: Asked<'_>) -> Result<Matrix> {
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

pub(crate) fn write_output(output: &Output, matrix: &Matrix) -> Result<()> {
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

pub(crate) fn run(options: &Preload) -> Result<ExitCode> {
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
pub(crate) fn judge(matrix: &Matrix) -> ExitCode {
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
