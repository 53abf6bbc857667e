//! `vmmalloc`: runs an unmodified program with its heap in a file, on a device or on NUMA nodes.
//!
//! The launcher checks everything that it can before the program starts, sets the `VMMALLOC_*` variables and
//! `LD_PRELOAD`, and becomes the program. It prints one line and starts nothing when a value is wrong.
//!
//! ```text
//! cli -> settings -> program -> library -> place -> start
//! typed  checked     found      found      checked  exec
//! ```

mod cli;
mod elf;
mod failure;
mod filesystem;
mod library;
mod os;
mod place;
mod program;
mod settings;
mod size;
mod start;

use cli::{Invocation, Options};
use failure::{Failure, quoted};
use place::Place;
use settings::{Settings, Sourced, Space, variable};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(failure.exit)
        }
    }
}

/// One line on standard error; where that is closed there is nobody to tell.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "vmmalloc: {message}");
}

/// Runs the program, or returns the text that was asked for instead.
fn run() -> Result<String, Failure> {
    match cli::parse(std::env::args_os().skip(1))? {
        Invocation::Help => Ok(cli::HELP.to_owned()),
        Invocation::Version => Ok(format!("vmmalloc {}\n", env!("CARGO_PKG_VERSION"))),
        Invocation::Run(options) => launch(&options),
    }
}

fn launch(options: &Options) -> Result<String, Failure> {
    let environment = |name: &str| std::env::var_os(name);
    let settings = settings::resolve(options, environment)?;
    let stats_file = settings.stats_file.as_ref().map(check_stats_file).transpose()?;
    let program = program::find(&options.program, environment("PATH").as_deref())?;
    let launcher = std::env::current_exe().ok();
    let library = library::find(
        options.library.as_deref(),
        launcher.as_deref(),
        environment("LD_LIBRARY_PATH").as_deref(),
    )?;
    let place = place::check(&settings)?;

    let existing = environment("LD_PRELOAD");
    let rivals = library::rivals(existing.as_deref(), &library);
    for warning in place.warnings.iter().chain(&program.warnings) {
        say(&format!("warning: {warning}"));
    }
    for rival in rivals {
        say(&format!(
            "warning: LD_PRELOAD already names {}, which brings a malloc and comes first: the pool stays empty unless it is left out",
            quoted(rival.as_os_str())
        ));
    }
    let preload = library::preload_list(existing.as_deref(), &library);
    let mut changes = changes(&settings, &place, stats_file, preload);
    // Nothing is said about what was not there.
    changes.retain(|(name, value)| value.is_some() || environment(name).is_some());
    if options.dry_run {
        let mut line = start::shell_line(&changes, &program.path, &options.arguments);
        line.push('\n');
        return Ok(line);
    }
    let environment = start::changed(std::env::vars_os(), &changes);
    Err(start::exec(&program.path, &options.program, &options.arguments, &environment))
}

/// Everything the program's environment gets: what is left to the library is removed, so that an empty variable
/// means the same to both.
fn changes(
    settings: &Settings,
    place: &Place,
    stats_file: Option<OsString>,
    preload: OsString,
) -> start::Changes {
    let word = |word: &str| Some(OsString::from(word));
    let at = |variable| (place.variable == variable).then(|| place.value.clone());
    // The children of the program inherit the variables, and one process has the device.
    let overflows = (place.variable == variable::DEVICE).then_some(true);
    let overflows = settings.overflow_to_dram.or(overflows);
    let values = [
        (variable::DIR, at(variable::DIR)),
        (variable::NODES, at(variable::NODES)),
        (variable::DEVICE, at(variable::DEVICE)),
        (variable::SIZE, place.size_bytes.and_then(|bytes| word(&bytes.to_string()))),
        (
            variable::SPACE,
            word(match settings.space {
                Space::Lazy => "lazy",
                Space::Prealloc => "prealloc",
            }),
        ),
        (variable::FORK, settings.fork.and_then(|mode| word(&mode.to_string()))),
        (variable::HOME_MS, settings.home_ms.and_then(|ms| word(&ms.to_string()))),
        (variable::OVERFLOW, overflows.and_then(|dram| word(if dram { "dram" } else { "none" }))),
        (variable::PURGE_MS, settings.purge_ms.and_then(|ms| word(&ms.to_string()))),
        (
            variable::HUGEPAGE,
            settings.advise_huge_pages.and_then(|on| word(if on { "advise" } else { "never" })),
        ),
        (variable::HARDEN, settings.harden.and_then(|level| word(&level.to_string()))),
        (variable::STATS, settings.stats.and_then(word)),
        (variable::STATS_FILE, stats_file),
    ];
    debug_assert!(values.iter().map(|(name, _)| *name).eq(variable::ALL));
    values.into_iter().chain([("LD_PRELOAD", Some(preload))]).collect()
}

/// The absolute name of the statistics file; the processes that write it may have other working directories.
fn check_stats_file(file: &Sourced<OsString>) -> Result<OsString, Failure> {
    let bad = |problem: &str, remedy: &str| {
        Failure::configuration(format!(
            "{} {} {problem}: {remedy}",
            file.origin,
            quoted(&file.value)
        ))
    };
    let path = std::path::absolute(&file.value)
        .map_err(|_| bad("is no file name", "give the path of a file"))?;
    if path.is_dir() || file.value.as_encoded_bytes().ends_with(b"/") {
        return Err(bad("is a directory", "name a file in it"));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() {
        return Err(bad("lies in no existing directory", "create its directory first"));
    }
    let denied = "cannot be written";
    if path.exists() {
        os::check_access(&path, os::Access::ReadWrite)
            .map_err(|_| bad(denied, "change its permissions or name another file"))?;
    } else {
        os::check_access(directory, os::Access::Create)
            .map_err(|_| bad(denied, "name a file in a directory you may write to"))?;
    }
    Ok(path.into_os_string())
}
