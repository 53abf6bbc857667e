//! `pmem-bench`: measures allocators against each other. See the package's README.

mod command;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command::all::measure_pools;
use command::preload::write_output;
use command::{Output, Scratch, Where, all_cases, sources, write_value};
use pmem_bench::allocator::{self, Candidate};
use pmem_bench::error::{Error, Result};
use pmem_bench::{peers, pools, report};

#[derive(Parser)]
#[command(version, about = "Measures memory allocators against each other by LD_PRELOAD")]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run all parts: icount, pools, in-process, preload. `cargo xtask bench` builds what this needs
    All(command::all::All),
    /// Run workloads and real programs under each allocator, interleaved
    Preload(command::preload::Preload),
    /// Run the criterion benches of benches/compare in rounds
    InProcess(command::in_process::RunInProcess),
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
    Icount(command::icount::Icount),
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
        Action::Preload(options) => command::preload::run(options),
        Action::Icount(options) => command::icount::run(options),
        Action::All(options) => command::all::run(options),
        Action::InProcess(options) => command::in_process::run(options),
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
