//! `cargo xtask test`: every check of the project, one after the other, with a summary that hides nothing.
//!
//! A step passes, fails, or is NOT CHECKED with the reason: what cannot run here is never counted as passed.

mod library;
mod manual;
mod runner;
mod steps;

use crate::deps::{self, For};
use crate::table::{Align, Table};
use crate::{Stop, process, workspace};
use runner::Runner;
use std::ffi::OsString;
use std::io::Write;
use std::time::{Duration, Instant};
use steps::{STEPS, Step};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It found nothing wrong; how many tests it ran, if it counts them.
    Passed(Option<Tests>),
    /// It found something wrong.
    Failed(Option<Tests>, String),
    /// It could not run here.
    NotChecked(String),
}

/// Tests of a run of a test harness.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tests {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// What single tests said they could not check here.
    pub(crate) unchecked: Vec<String>,
}

/// A finished step.
struct Finished {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

struct Options {
    quick: bool,
    only: Vec<String>,
    verbose: bool,
    skip_deps: bool,
}

/// The command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Stop> {
    let Some(options) = parse(arguments)? else {
        return Ok(());
    };
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| match options.only.as_slice() {
            [] => !(options.quick && step.long),
            names => names.iter().any(|name| name == step.name),
        })
        .collect();
    let mut finished = check_packages(&options, &chosen)?;
    process::adopt_orphans()?;
    let runner = Runner::new(workspace::target_dir()?, options.verbose)?;
    for (number, step) in chosen.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", number + 1, chosen.len(), step.name, step.what);
        let start = Instant::now();
        let outcome = (step.run)(&runner, step.name).unwrap_or_else(|stop| match stop {
            Stop::Failed(reason) | Stop::Missing(reason) | Stop::Usage(reason) => {
                Outcome::Failed(None, reason)
            }
        });
        let done = Finished { name: step.name, outcome, took: start.elapsed() };
        let (word, details) = result_words(&done.outcome);
        let gap = if details.is_empty() { "" } else { ": " };
        eprintln!("        {word} after {}{gap}{details}", seconds(done.took));
        finished.push(done);
    }
    std::io::stdout().write_all(summary(&finished).as_bytes())?;
    verdict(&finished)
}

/// `None` when only the list was asked for.
fn parse(arguments: Vec<OsString>) -> Result<Option<Options>, Stop> {
    use lexopt::prelude::*;
    let mut options = Options { quick: false, only: Vec::new(), verbose: false, skip_deps: false };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => options.quick = true,
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("verbose") => options.verbose = true,
            Long("skip-deps") => options.skip_deps = true,
            Long("list") => {
                let mut table = Table::new(&[
                    ("step", Align::Left),
                    ("with --quick", Align::Left),
                    ("what", Align::Left),
                ]);
                for step in STEPS {
                    let quick = if step.long { "no" } else { "yes" };
                    table.row(vec![step.name.into(), quick.into(), step.what.into()]);
                }
                print!("{}", table.render());
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    for name in &options.only {
        if !STEPS.iter().any(|step| step.name == name) {
            return Err(Stop::Usage(format!("no step '{name}'; see cargo xtask test --list")));
        }
    }
    Ok(Some(options))
}

/// Installs what the chosen steps need, or says how to.
fn check_packages(options: &Options, chosen: &[&Step]) -> Result<Vec<Finished>, Stop> {
    let mut wanted: Vec<For> = Vec::new();
    for kind in chosen.iter().flat_map(|step| step.needs) {
        if !wanted.contains(kind) {
            wanted.push(*kind);
        }
    }
    // An emulator is a lot to ask for: its step can do without, and says so.
    if wanted.contains(&For::Machine) {
        wanted.retain(|kind| *kind != For::Machine);
        if !options.skip_deps
            && let Err(Stop::Missing(reason) | Stop::Failed(reason) | Stop::Usage(reason)) =
                deps::install(&deps::missing(&[For::Machine]))
        {
            eprintln!("going on without the virtual machine: {reason}");
        }
    }
    let start = Instant::now();
    let missing = deps::missing(&wanted);
    let outcome = if !options.skip_deps {
        deps::install(&missing)?;
        match deps::missing(&wanted) {
            still if still.is_empty() => return Ok(Vec::new()),
            still => Outcome::Failed(None, format!("still missing: {}", deps::names(&still))),
        }
    } else if missing.is_empty() {
        return Ok(Vec::new());
    } else {
        Outcome::NotChecked(format!("left out by --skip-deps: {}", deps::names(&missing)))
    };
    Ok(vec![Finished { name: "packages", outcome, took: start.elapsed() }])
}

/// The result as a word, and what there is to say about it.
fn result_words(outcome: &Outcome) -> (&'static str, String) {
    let tests = |tests: &Option<Tests>| {
        tests.as_ref().map_or(String::new(), |tests| {
            let mut text = format!("{} tests", tests.passed + tests.failed);
            for (count, word) in
                [(tests.ignored, "ignored"), (tests.unchecked.len() as u64, "NOT CHECKED")]
            {
                if count > 0 {
                    text.push_str(&format!(", {count} {word}"));
                }
            }
            text
        })
    };
    match outcome {
        Outcome::Passed(counts) => ("passed", tests(counts)),
        Outcome::Failed(counts, reason) => {
            let counts = tests(counts);
            let gap = if counts.is_empty() { "" } else { ": " };
            ("FAILED", format!("{counts}{gap}{reason}"))
        }
        Outcome::NotChecked(reason) => ("NOT CHECKED", reason.clone()),
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        long => format!("{} min {:02} s", long / 60, long % 60),
    }
}

/// Sums of the closing line. A step without counted tests is one check.
fn count(finished: &[Finished]) -> Tests {
    let mut sum = Tests::default();
    for step in finished {
        match &step.outcome {
            Outcome::Passed(None) => sum.passed += 1,
            Outcome::NotChecked(_) => sum.ignored += 1,
            Outcome::Passed(Some(tests)) => sum.add(tests),
            Outcome::Failed(tests, _) => {
                let tests = tests.clone().unwrap_or_default();
                sum.add(&tests);
                // Something else than a test went wrong: the build, or a crash of the harness.
                sum.failed += u64::from(tests.failed == 0);
            }
        }
    }
    sum
}

impl Tests {
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.unchecked.extend_from_slice(&other.unchecked);
    }
}

/// The table, what was left out, and the closing line.
fn summary(finished: &[Finished]) -> String {
    let mut table = Table::new(&[
        ("step", Align::Left),
        ("result", Align::Left),
        ("time", Align::Right),
        ("", Align::Left),
    ]);
    for step in finished {
        let (word, details) = result_words(&step.outcome);
        table.row(vec![step.name.into(), word.into(), seconds(step.took), details]);
    }
    let total: Duration = finished.iter().map(|step| step.took).sum();
    let sum = count(finished);
    let mut text = format!("\n{}in {}\n", table.render(), seconds(total));
    text.push_str(&format!(
        "{} passed, {} failed, {} skipped\n",
        sum.passed, sum.failed, sum.ignored
    ));
    text
}

fn verdict(finished: &[Finished]) -> Result<(), Stop> {
    let failed: Vec<&str> = finished
        .iter()
        .filter(|step| matches!(step.outcome, Outcome::Failed(..)))
        .map(|step| step.name)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Stop::Failed(format!("failed: {}", failed.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(outcome: Outcome) -> Finished {
        Finished { name: "x", outcome, took: Duration::from_secs(1) }
    }

    #[test]
    fn tests_and_checks_are_counted_once() {
        let tests =
            |passed, failed, ignored| Some(Tests { passed, failed, ignored, ..Tests::default() });
        let steps = [
            finished(Outcome::Passed(None)),
            finished(Outcome::Passed(tests(10, 0, 1))),
            finished(Outcome::Failed(tests(5, 2, 0), "tests failed".into())),
            finished(Outcome::Failed(None, "does not build".into())),
            finished(Outcome::Failed(tests(3, 0, 0), "crashed".into())),
            finished(Outcome::NotChecked("no compiler".into())),
        ];
        let expected = Tests { passed: 19, failed: 4, ignored: 2, ..Tests::default() };
        assert_eq!(count(&steps), expected);
        assert!(summary(&steps).ends_with("\n19 passed, 4 failed, 2 skipped\n"));
        assert!(verdict(&steps).is_err());
        assert!(verdict(&steps[..2]).is_ok());
    }

    #[test]
    fn what_was_left_out_is_said() {
        let tests = Tests { passed: 2, ignored: 1, unchecked: vec!["x".into()], failed: 0 };
        let words = result_words(&Outcome::Passed(Some(tests)));
        assert_eq!(words, ("passed", "2 tests, 1 ignored, 1 NOT CHECKED".into()));
        assert_eq!(result_words(&Outcome::NotChecked("why".into())), ("NOT CHECKED", "why".into()));
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
