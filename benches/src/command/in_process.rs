//! `pmem-bench in-process`: the criterion benches of `benches/compare` in rounds.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pmem_bench::error::Result;
use pmem_bench::in_process::{InProcess, Plan};
use pmem_bench::progress::Progress;

use super::{Scratch, pattern, rounds, write_value};

#[derive(Args)]
pub(crate) struct RunInProcess {
    /// The built program of `cargo bench` in benches/compare
    #[arg(long, value_name = "FILE")]
    pub(crate) program: PathBuf,
    /// Directory for the pools
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub(crate) memory_dir: PathBuf,
    /// Little time for each case, two rounds
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Only cases whose name matches this regular expression
    #[arg(long, value_name = "RE")]
    pub(crate) filter: Option<String>,
    /// Seed of the order of runs
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Write the timings as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Seconds of warming up and of measuring per case and allocator.
pub(crate) fn seconds(quick: bool) -> [f64; 2] {
    if quick { [0.02, 0.05] } else { [0.5, 2.0] }
}

pub(crate) fn run(options: &RunInProcess) -> Result<ExitCode> {
    let scratch = Scratch::new()?;
    let filter = options.filter.as_deref().map(pattern).transpose()?;
    let plan = Plan {
        program: &options.program,
        scratch: &scratch.0,
        pools: &options.memory_dir,
        rounds: rounds(options.rounds, options.quick),
        seed: options.seed,
        seconds: seconds(options.quick),
        filter: filter.as_ref(),
    };
    let measured = measure_in_process(&plan)?;
    if let Some(path) = &options.json {
        write_value(path, &measured)?;
    }
    print!("{}", measured.markdown());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn measure_in_process(plan: &Plan<'_>) -> Result<InProcess> {
    let mut progress = Progress::new("in-process");
    let measured = plan.run(|what, done| progress.show(what, done))?;
    progress.finish();
    Ok(measured)
}
