//! `vmemcache-bench`: replays traces and made loads against the cache and its policies.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod command;
mod options;

/// Replays traces and made loads against the cache and its policies.
#[derive(Parser)]
#[command(name = "vmemcache-bench", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Simulate(command::simulate::Arguments),
    Run(command::run::Arguments),
    Scale(command::scale::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Simulate(arguments) => command::simulate::run(&arguments),
        Command::Run(arguments) => command::run::run(&arguments),
        Command::Scale(arguments) => command::scale::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmemcache-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
