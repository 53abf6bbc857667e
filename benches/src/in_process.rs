//! Allocators in one process: runs the criterion benches of `benches/compare` in rounds.
//!
//! A round is one process, in which each case runs under every allocator in an order of its own; ratios are
//! taken within a round, as in the matrix. The measure is wall time per iteration, criterion's median.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::statistics::{Spread, geometric_mean, paired_ratios};

/// All timings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InProcess {
    /// Rounds.
    pub rounds: u32,
    /// Seed of the orders.
    pub seed: u64,
    /// Name of the allocator that ratios refer to.
    pub reference: String,
    /// The columns.
    pub allocators: Vec<String>,
    /// The rows.
    pub cases: Vec<String>,
    /// One entry per case, allocator and round.
    pub timings: Vec<Timing>,
}

/// One case under one allocator in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Name of the case.
    pub case: String,
    /// Name of the allocator.
    pub allocator: String,
    /// Round, from 0.
    pub round: u32,
    /// Median time of an iteration.
    pub nanoseconds: f64,
}

/// What to run.
pub struct Plan<'a> {
    /// The built program of `cargo bench`.
    pub program: &'a Path,
    /// Directory for criterion's files.
    pub scratch: &'a Path,
    /// Directory of our pools.
    pub pools: &'a Path,
    /// Rounds, at least one.
    pub rounds: u32,
    /// Seed of the orders.
    pub seed: u64,
    /// Seconds of warming up and of measuring per case and allocator.
    pub seconds: [f64; 2],
    /// Only cases whose name matches.
    pub filter: Option<&'a Regex>,
}

/// The part of criterion's `estimates.json` that is used.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// The "case/allocator" names in the output of `--list`.
fn parse_list(list: &str) -> Vec<(String, String)> {
    list.lines()
        .filter_map(|line| line.strip_suffix(": benchmark")?.split_once('/'))
        .map(|(case, allocator)| (case.to_owned(), allocator.to_owned()))
        .collect()
}

/// The names, each once, in the order in which they come first.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

impl Plan<'_> {
    fn command(&self, seed: u64) -> Command {
        let mut command = Command::new(self.program);
        command
            .arg("--bench")
            .env("CRITERION_HOME", self.scratch)
            .env("VMEM_ALLOC_DIR", self.pools)
            .env("PMEM_BENCH_SEED", seed.to_string())
            .stdin(Stdio::null());
        command
    }

    /// What the program has that matches the filter.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn list(&self) -> Result<Vec<(String, String)>> {
        let what = || self.program.display().to_string();
        let output = self.command(0).arg("--list").output().context(what)?;
        let all = parse_list(&String::from_utf8_lossy(&output.stdout));
        if all.is_empty() {
            return Err(Error::new(format!(
                "{} lists nothing: {}",
                self.program.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let wanted = |case: &str| self.filter.is_none_or(|filter| filter.is_match(case));
        Ok(all.into_iter().filter(|(case, _)| wanted(case)).collect())
    }

    /// Runs everything. `progress` is told what was done and how far it is, from 0 to 1.
    ///
    /// # Errors
    /// The program cannot be run, or ends badly; no case matches.
    pub fn run(&self, mut progress: impl FnMut(&str, f64)) -> Result<InProcess> {
        let benches = self.list()?;
        let cases = distinct(benches.iter().map(|(case, _)| case.clone()));
        let mut allocators = distinct(benches.iter().map(|(_, allocator)| allocator.clone()));
        // The order of the list is that of a round: drawn.
        allocators.sort_by_key(|name| (name.starts_with("vmem"), name.clone()));
        if cases.is_empty() {
            return Err(Error::new("no case matches"));
        }
        let total = benches.len() * self.rounds as usize;
        let mut timings = Vec::new();
        for round in 0..self.rounds {
            let baseline = format!("round-{round}");
            self.round(round, &baseline, &cases, |done, what| {
                let before = round as usize * benches.len();
                let text =
                    format!("in one process, round {} of {}: {what}", round + 1, self.rounds);
                progress(&text, (before + done) as f64 / total as f64);
            })?;
            for (case, allocator) in &benches {
                timings.push(Timing {
                    case: case.clone(),
                    allocator: allocator.clone(),
                    round,
                    nanoseconds: median(self.scratch, case, allocator, &baseline)?,
                });
            }
        }
        let reference = if allocators.iter().any(|name| name == "mimalloc") {
            "mimalloc".to_owned()
        } else {
            "system".to_owned()
        };
        Ok(InProcess {
            rounds: self.rounds,
            seed: self.seed,
            reference,
            allocators,
            cases,
            timings,
        })
    }

    fn round(
        &self,
        round: u32,
        baseline: &str,
        cases: &[String],
        mut progress: impl FnMut(usize, &str),
    ) -> Result<()> {
        let what = || self.program.display().to_string();
        let complaints = self.scratch.join("criterion.err");
        let mut child = self
            .command(self.seed.wrapping_add(u64::from(round)))
            .args(["--noplot", "--save-baseline", baseline, "--sample-size", "20"])
            .args(["--nresamples", "1000"])
            .arg("--warm-up-time")
            .arg(self.seconds[0].to_string())
            .arg("--measurement-time")
            .arg(self.seconds[1].to_string())
            .arg(format!("^({})/", cases.join("|")))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&complaints).context(what)?)
            .spawn()
            .context(what)?;
        let output = child.stdout.take().ok_or_else(|| Error::new("no output"))?;
        let mut done = 0;
        for line in BufReader::new(output).lines() {
            let line = line.context(what)?;
            if let Some(name) = line.strip_suffix(": Analyzing") {
                done += 1;
                progress(done, name.trim_start_matches("Benchmarking "));
            }
        }
        let status = child.wait().context(what)?;
        if !status.success() {
            let text = std::fs::read_to_string(&complaints).unwrap_or_default();
            return Err(Error::new(format!(
                "{}: {status}: {}",
                self.program.display(),
                text.lines().last().unwrap_or("")
            )));
        }
        Ok(())
    }
}

fn median(home: &Path, case: &str, allocator: &str, baseline: &str) -> Result<f64> {
    let path: PathBuf = [case, allocator, baseline, "estimates.json"].iter().collect();
    let path = home.join(path);
    let what = || path.display().to_string();
    let text = std::fs::read_to_string(&path).context(what)?;
    let estimates: Estimates = serde_json::from_str(&text).context(what)?;
    Ok(estimates.median.point_estimate)
}

impl InProcess {
    fn series(&self, case: &str, allocator: &str) -> Vec<Option<f64>> {
        let of_round = |round| {
            self.timings
                .iter()
                .find(|timing| {
                    timing.round == round && timing.case == case && timing.allocator == allocator
                })
                .map(|timing| timing.nanoseconds)
        };
        (0..self.rounds).map(of_round).collect()
    }

    /// The ratio of an allocator to the reference in a case.
    pub fn ratio(&self, case: &str, allocator: &str) -> Option<Spread> {
        let reference = self.series(case, &self.reference);
        Spread::of(&paired_ratios(&self.series(case, allocator), &reference))
    }

    /// The geometric mean over all cases for each allocator.
    pub fn means(&self) -> Vec<Option<f64>> {
        let of = |allocator: &String| {
            let ratios: Option<Vec<f64>> = self
                .cases
                .iter()
                .map(|case| self.ratio(case, allocator).map(|ratio| ratio.median))
                .collect();
            geometric_mean(&ratios?)
        };
        self.allocators.iter().map(of).collect()
    }

    /// The table.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "### In one process\n\nWall time of an iteration, {} = 1.00: median of the paired ratios of {} rounds, \
             with the smallest and largest. Allocators are called directly, or through one more call for the \
             containers of the standard library; see `benches/compare`.\n\n",
            self.reference, self.rounds
        );
        let _ = writeln!(text, "| case | {} |", self.allocators.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(self.allocators.len()));
        for case in &self.cases {
            let cells: Vec<String> = self
                .allocators
                .iter()
                .map(|allocator| match self.ratio(case, allocator) {
                    Some(ratio) => {
                        format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max)
                    }
                    None => "–".to_owned(),
                })
                .collect();
            let _ = writeln!(text, "| {case} | {} |", cells.join(" | "));
        }
        let means: Vec<String> = self
            .means()
            .iter()
            .map(|mean| mean.map_or_else(|| "–".to_owned(), |mean| format!("{mean:.2}")))
            .collect();
        let _ = writeln!(text, "| geometric mean | {} |\n", means.join(" | "));
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> InProcess {
        let timing = |case: &str, allocator: &str, round, nanoseconds| Timing {
            case: case.to_owned(),
            allocator: allocator.to_owned(),
            round,
            nanoseconds,
        };
        InProcess {
            rounds: 2,
            seed: 1,
            reference: "mimalloc".to_owned(),
            allocators: vec!["mimalloc".to_owned(), "vmem-global".to_owned()],
            cases: vec!["pair-16".to_owned(), "touch-1m".to_owned()],
            timings: vec![
                timing("pair-16", "mimalloc", 0, 10.0),
                timing("pair-16", "vmem-global", 0, 5.0),
                // The second round is slow for everybody.
                timing("pair-16", "mimalloc", 1, 30.0),
                timing("pair-16", "vmem-global", 1, 15.0),
                timing("touch-1m", "mimalloc", 0, 100.0),
                timing("touch-1m", "vmem-global", 0, 200.0),
                timing("touch-1m", "mimalloc", 1, 100.0),
                timing("touch-1m", "vmem-global", 1, 200.0),
            ],
        }
    }

    #[test]
    fn names_are_read_from_the_list() {
        let list = "pair-16/system: benchmark\npair-16/vmem-pool: benchmark\nother text\n";
        let expected = vec![
            ("pair-16".to_owned(), "system".to_owned()),
            ("pair-16".to_owned(), "vmem-pool".to_owned()),
        ];
        assert_eq!(parse_list(list), expected);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let all = example();
        let ratio = all.ratio("pair-16", "vmem-global").unwrap();
        assert_eq!((ratio.min, ratio.max), (0.5, 0.5));
        let means = all.means();
        assert_eq!(means[0], Some(1.0));
        assert!((means[1].unwrap() - 1.0).abs() < 1e-12);
        let text = all.markdown();
        assert!(text.contains("| touch-1m | 1.00 (1.00–1.00) | 2.00 (2.00–2.00) |"), "{text}");
        assert!(text.contains("| geometric mean | 1.00 | 1.00 |"), "{text}");
    }

    #[test]
    fn a_lost_timing_is_a_hole() {
        let mut all = example();
        all.timings.retain(|timing| timing.case != "touch-1m");
        assert_eq!(all.ratio("touch-1m", "vmem-global"), None);
        assert_eq!(all.means(), [None, None]);
    }
}
