//! Runs all cases under all allocators, interleaved.
//!
//! A round takes every case once, and each case under every allocator in an order of its own, so that
//! what drifts on the machine meets all of them; ratios are taken within a round.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::allocator::Allocator;
use crate::case::{Case, Growth, Label, comparable, growth, work_us};
use crate::error::{Context, Error, Result};
use crate::launch::{Finished, Launcher, Usage};
use crate::machine::Machine;
use crate::pool_stats::PoolStats;
use crate::random::Random;

/// Everything that was measured, and what is needed to read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Matrix {
    /// What it was measured on.
    pub machine: Machine,
    /// The command line.
    pub command: String,
    /// Rounds asked for.
    pub rounds: u32,
    /// Scale of the work.
    pub scale: f64,
    /// Seed of the order and of the workloads.
    pub seed: u64,
    /// Name of the allocator that ratios refer to.
    pub reference: String,
    /// The columns.
    pub allocators: Vec<Allocator>,
    /// The rows.
    pub cases: Vec<Label>,
    /// One entry per run.
    pub runs: Vec<Run>,
    /// What our pools held, from separate runs that are not timed.
    pub pools: Vec<Pool>,
    /// What was wrong with those separate runs.
    pub pool_failures: Vec<String>,
}

impl Matrix {
    /// Adds the cases of another measurement with the same allocators and the same reference.
    ///
    /// # Errors
    /// The columns differ, or a case is in both.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        let names = |matrix: &Self| -> Vec<String> {
            matrix.allocators.iter().map(|allocator| allocator.name.clone()).collect()
        };
        if names(self) != names(&other) || self.reference != other.reference {
            return Err(Error::new("measurements with different allocators or references"));
        }
        if let Some(label) = other.cases.iter().find(|label| self.cases.contains(label)) {
            return Err(Error::new(format!("case {} is in more than one measurement", label.name)));
        }
        self.command.push_str("; ");
        self.command.push_str(&other.command);
        self.rounds = self.rounds.max(other.rounds);
        self.cases.extend(other.cases);
        self.runs.extend(other.runs);
        self.pools.extend(other.pools);
        self.pool_failures.extend(other.pool_failures);
        Ok(())
    }
}

/// What [`Plan::run`] brings back.
#[derive(Debug, Default)]
pub struct Results {
    /// One entry per run.
    pub runs: Vec<Run>,
    /// What our pools held.
    pub pools: Vec<Pool>,
    /// What was wrong with the runs that asked the pools.
    pub pool_failures: Vec<String>,
}

/// One run of a case under an allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Name of the case.
    pub case: String,
    /// Name of the allocator.
    pub allocator: String,
    /// Round, from 0.
    pub round: u32,
    /// Why the run does not count, if it does not.
    pub failure: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// Growth of the resident set, where the workload reports it.
    pub growth: Option<Growth>,
    /// CPU time of the work alone in microseconds, where the workload reports it.
    pub work_us: Option<u64>,
}

/// What one of our pools held while it served a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// Name of the case.
    pub case: String,
    /// Name of the allocator.
    pub allocator: String,
    /// Its report.
    pub stats: PoolStats,
}

/// What to run.
pub struct Plan<'a> {
    /// The rows.
    pub cases: &'a [Case],
    /// The columns.
    pub allocators: &'a [Allocator],
    /// Rounds, at least one.
    pub rounds: u32,
    /// Seed of the order.
    pub seed: u64,
    /// How programs are started.
    pub launcher: &'a Launcher,
}

/// What the first correct run of a case printed; later runs must print the same.
#[derive(Default)]
struct Expected(BTreeMap<String, Vec<u8>>);

impl Expected {
    fn judge(&mut self, case: &str, finished: &Finished) -> Option<String> {
        if let Some(failure) = finished.usage.failure() {
            let complaint = finished.complaints.lines().last().unwrap_or("");
            return Some(if complaint.is_empty() {
                failure
            } else {
                format!("{failure}: {complaint}")
            });
        }
        // The dynamic linker only warns when it cannot preload a library: nothing would be measured.
        if finished.complaints.contains("cannot be preloaded") {
            return Some("the library could not be preloaded".to_owned());
        }
        let output = comparable(&finished.output);
        let expected = self.0.entry(case.to_owned()).or_insert_with(|| output.clone());
        (*expected != output).then(|| "its output differs".to_owned())
    }
}

/// How long the runs that lie ahead will take, judged by those that are done.
struct Ahead(Vec<Runs>);

/// Runs of one case.
#[derive(Clone, Copy, Default)]
struct Runs {
    done: u32,
    left: u32,
    took: f64,
}

impl Ahead {
    fn new(plan: &Plan<'_>) -> Self {
        let ours = plan.allocators.iter().filter(|allocator| allocator.ours).count();
        let left = |case: &Case| {
            let rounds = if case.label.is_long() { 1 } else { plan.rounds as usize };
            (rounds * plan.allocators.len() + ours) as u32
        };
        Self(plan.cases.iter().map(|case| Runs { left: left(case), ..Runs::default() }).collect())
    }

    fn ran(&mut self, case: usize, took: Duration) {
        let case = &mut self.0[case];
        case.done += 1;
        case.left = case.left.saturating_sub(1);
        case.took += took.as_secs_f64();
    }

    /// The part of the time that is gone, from 0 to 1. A case that never ran is taken to be like the others.
    fn done(&self) -> f64 {
        let took: f64 = self.0.iter().map(|case| case.took).sum();
        let done: u32 = self.0.iter().map(|case| case.done).sum();
        let usual = took / f64::from(done.max(1));
        let ahead = |case: &Runs| {
            let each = if case.done > 0 { case.took / f64::from(case.done) } else { usual };
            each * f64::from(case.left)
        };
        let ahead: f64 = self.0.iter().map(ahead).sum();
        if took > 0.0 { took / (took + ahead) } else { 0.0 }
    }
}

impl Plan<'_> {
    /// Runs everything. `progress` is told what comes next and how far it is, from 0 to 1.
    ///
    /// # Errors
    /// A program that cannot be started. Runs that end badly are recorded, not errors.
    pub fn run(&self, mut progress: impl FnMut(&str, f64)) -> Result<Results> {
        let mut random = Random::new(self.seed);
        let mut expected = Expected::default();
        let mut ahead = Ahead::new(self);
        let mut runs = Vec::new();
        self.warm_up(&mut expected)?;
        for round in 0..self.rounds {
            for (index, case) in self.cases.iter().enumerate() {
                if round > 0 && case.label.is_long() {
                    continue;
                }
                let mut order: Vec<&Allocator> = self.allocators.iter().collect();
                random.shuffle(&mut order);
                for allocator in order {
                    let name = &case.label.name;
                    let what = format!("{name} under {}", allocator.name);
                    progress(
                        &format!("round {} of {}: {what}", round + 1, self.rounds),
                        ahead.done(),
                    );
                    let start = Instant::now();
                    let finished = case.run(self.launcher, &allocator.environment())?;
                    ahead.ran(index, start.elapsed());
                    runs.push(Run {
                        case: name.clone(),
                        allocator: allocator.name.clone(),
                        round,
                        failure: expected.judge(name, &finished),
                        growth: growth(&finished.output),
                        work_us: work_us(&finished.output),
                        usage: finished.usage,
                    });
                }
            }
        }
        let mut results = Results { runs, ..Results::default() };
        self.ask_pools(&mut results, &mut ahead, progress)?;
        Ok(results)
    }

    /// One run of each case that is not counted: files come into memory, and the output under the first
    /// allocator is what the others are compared with.
    fn warm_up(&self, expected: &mut Expected) -> Result<()> {
        if let Some(first) = self.allocators.first() {
            for case in self.cases.iter().filter(|case| !case.label.is_long()) {
                let finished = case.run(self.launcher, &first.environment())?;
                let _ = expected.judge(&case.label.name, &finished);
            }
        }
        Ok(())
    }

    /// Runs each case once more under each of ours with statistics on.
    fn ask_pools(
        &self,
        results: &mut Results,
        ahead: &mut Ahead,
        mut progress: impl FnMut(&str, f64),
    ) -> Result<()> {
        for allocator in self.allocators.iter().filter(|allocator| allocator.ours) {
            for (index, case) in self.cases.iter().enumerate() {
                let what = format!("statistics of {} under {}", case.label.name, allocator.name);
                progress(&what, ahead.done());
                let start = Instant::now();
                let answer = self.pool_of(case, allocator)?;
                ahead.ran(index, start.elapsed());
                match answer {
                    Ok(stats) => results.pools.push(Pool {
                        case: case.label.name.clone(),
                        allocator: allocator.name.clone(),
                        stats,
                    }),
                    Err(failure) => results.pool_failures.push(format!("{what}: {failure}")),
                }
            }
        }
        Ok(())
    }

    fn pool_of(&self, case: &Case, allocator: &Allocator) -> Result<Result<PoolStats, String>> {
        let directory = self.launcher.directory.join("stats");
        recreate(&directory)?;
        let mut environment = allocator.environment();
        // A trailing dash asks for the process number at the end of the name.
        let file = directory.join("stats-").display().to_string();
        environment.push(("VMMALLOC_STATS".to_owned(), "json".to_owned()));
        environment.push(("VMMALLOC_STATS_FILE".to_owned(), file));
        let finished = case.run(self.launcher, &environment)?;
        if let Some(failure) = finished.usage.failure() {
            return Ok(Err(failure));
        }
        Ok(match PoolStats::read_all(&directory) {
            Ok(reports) => {
                PoolStats::combine(&reports).ok_or_else(|| "no report was written".to_owned())
            }
            Err(error) => Err(error.to_string()),
        })
    }
}

fn recreate(directory: &Path) -> Result<()> {
    let what = || directory.display().to_string();
    if directory.exists() {
        fs::remove_dir_all(directory).context(what)?;
    }
    fs::create_dir_all(directory).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::example;

    fn finished(output: &str, exit_status: i32, complaints: &str) -> Finished {
        Finished {
            usage: Usage { exit_status, ..Usage::default() },
            output: output.as_bytes().to_owned(),
            complaints: complaints.to_owned(),
        }
    }

    #[test]
    fn later_output_must_equal_the_first_correct_one() {
        let mut expected = Expected::default();
        assert_eq!(
            expected.judge("a", &finished("broken", 1, "oh\nno")).unwrap(),
            "exit status 1: no"
        );
        assert_eq!(expected.judge("a", &finished("1", 0, "")), None);
        assert_eq!(expected.judge("a", &finished("1", 0, "")), None);
        assert_eq!(expected.judge("b", &finished("2", 0, "")), None);
        assert_eq!(expected.judge("a", &finished("2", 0, "")).unwrap(), "its output differs");
    }

    #[test]
    fn measurements_of_different_cases_can_be_put_together() {
        let part = |case: &str| {
            let mut matrix = example();
            matrix.cases.retain(|label| label.name == case);
            matrix.runs.retain(|run| run.case == case);
            matrix
        };
        let mut whole = part("pair16");
        whole.merge(part("lua")).unwrap();
        assert_eq!((whole.cases.len(), whole.runs.len()), (2, 8));
        assert!(whole.merge(part("lua")).unwrap_err().to_string().contains("lua"));
        let mut other = part("lua");
        other.allocators.pop();
        assert!(part("pair16").merge(other).is_err());
    }

    #[test]
    fn a_library_that_was_not_preloaded_does_not_count() {
        let warning = "ERROR: ld.so: object 'x.so' from LD_PRELOAD cannot be preloaded: ignored.";
        let failure = Expected::default().judge("a", &finished("1", 0, warning));
        assert_eq!(failure.unwrap(), "the library could not be preloaded");
    }

    #[test]
    fn what_is_ahead_is_judged_by_the_case() {
        let second = Duration::from_secs(1);
        let case = |left| Runs { left, ..Runs::default() };
        let mut ahead = Ahead(vec![case(2), case(2)]);
        assert_eq!(ahead.done(), 0.0);
        ahead.ran(0, second);
        // One second is gone, the same again three times.
        assert_eq!(ahead.done(), 0.25);
        ahead.ran(1, 3 * second);
        assert_eq!(ahead.done(), 0.5);
        ahead.ran(0, second);
        ahead.ran(1, 3 * second);
        assert_eq!(ahead.done(), 1.0);
    }
}
