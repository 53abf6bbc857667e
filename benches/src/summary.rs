//! From runs to rows: medians, paired ratios to the reference, geometric means.

use crate::allocator::Allocator;
use crate::case::Growth;
use crate::matrix::{Matrix, Run};
use crate::statistics::{Spread, geometric_mean, paired_ratios};

/// One case under one allocator.
#[derive(Clone, Debug)]
pub struct Cell {
    /// CPU time as a ratio to the reference of the same round; `None` when no round counts.
    pub cpu: Option<Spread>,
    /// Wall time, likewise.
    pub wall: Option<Spread>,
    /// CPU time of the work alone, likewise: without the start of the process and of its pool.
    pub work: Option<Spread>,
    /// Memory, likewise: see [`Cell::memory_kib`].
    pub memory: Option<f64>,
    /// CPU seconds, median.
    pub cpu_seconds: Option<f64>,
    /// System CPU seconds, median.
    pub system_seconds: Option<f64>,
    /// Page faults that read nothing from a disk, median.
    pub minor_faults: Option<f64>,
    /// Page faults that did, median.
    pub major_faults: Option<f64>,
    /// Peak resident set in KiB, median.
    pub rss_kib: Option<f64>,
    /// Peak of what the pool's file held in KiB, for ours.
    pub pool_kib: Option<f64>,
    /// Peak resident set or peak pool size, whichever is larger: a pool's pages are part of the resident
    /// set once they are mapped, so the two must not be added.
    pub memory_kib: Option<f64>,
    /// Requested bytes alive at the end, where the workload tells them.
    pub live_bytes: Option<f64>,
    /// Growth of the resident set that holds them.
    pub resident_bytes: Option<f64>,
    /// What our pool had committed for them.
    pub committed_bytes: Option<f64>,
    /// Resident growth per 1,000 live bytes in steady state, worst, median of the runs.
    pub growth_permille: Option<f64>,
    /// Growth of the resident set at the end of the churn, before the rest.
    pub churn_bytes: Option<f64>,
    /// Of pages that hold a live byte.
    pub pages_bytes: Option<f64>,
    /// Why runs did not count.
    pub failure: Option<String>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub case: String,
    /// Its group.
    pub group: String,
    /// One cell per allocator, in the order of the matrix.
    pub cells: Vec<Cell>,
}

/// Means over the cases of a group.
#[derive(Clone, Debug)]
pub struct Mean {
    /// Group, or "all".
    pub group: String,
    /// Cases that every allocator finished, those aside that are known not to run everything; the means are
    /// taken over these.
    pub cases: usize,
    /// Cases of these that each allocator finished; its means are taken over them.
    pub finished: Vec<usize>,
    /// CPU ratio per allocator.
    pub cpu: Vec<Option<f64>>,
    /// Wall ratio per allocator.
    pub wall: Vec<Option<f64>>,
    /// Ratio of the work alone per allocator; `None` in groups with real programs, which do not tell it.
    pub work: Vec<Option<f64>>,
    /// Memory ratio per allocator.
    pub memory: Vec<Option<f64>>,
}

/// All rows and means.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The cases.
    pub rows: Vec<Row>,
    /// The means: each group, then all.
    pub means: Vec<Mean>,
    /// Means over the cases that need at least [`LARGE_KIB`] under some allocator: in small processes the
    /// tables and the first huge page of an allocator are all that shows.
    pub large: Mean,
}

/// A process from this size on says something about how densely an allocator packs.
pub const LARGE_KIB: f64 = 50.0 * 1024.0;

/// One of our allocators in one case against the fastest of the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Name of the case.
    pub case: String,
    /// Name of our allocator.
    pub allocator: String,
    /// Name of the fastest other one.
    pub best: String,
    /// CPU time of ours divided by that of the best.
    pub ratio: f64,
}

/// The values of one case and allocator by round; a round that does not count is a hole.
struct Series<'a>(Vec<Option<&'a Run>>);

impl<'a> Series<'a> {
    fn of(matrix: &'a Matrix, case: &str, allocator: &str) -> Self {
        let mut rounds = vec![None; matrix.rounds as usize];
        for run in &matrix.runs {
            if run.case == case && run.allocator == allocator && run.failure.is_none() {
                rounds[run.round as usize] = Some(run);
            }
        }
        Self(rounds)
    }

    fn values(&self, value: impl Fn(&Run) -> f64) -> Vec<Option<f64>> {
        self.0.iter().map(|run| run.map(&value)).collect()
    }

    fn median(&self, value: impl Fn(&Run) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.values(value).into_iter().flatten().collect();
        Spread::of(&values).map(|spread| spread.median)
    }

    fn ratio(&self, reference: &Series<'_>, value: impl Fn(&Run) -> f64) -> Option<Spread> {
        Spread::of(&paired_ratios(&self.values(&value), &reference.values(&value)))
    }
}

impl Cell {
    /// Bytes that hold the live ones: what a pool has committed, or else the growth of the resident set.
    pub fn held(&self) -> Option<f64> {
        self.committed_bytes.or(self.resident_bytes)
    }
}

/// A figure of the growth of the resident set, where the workload tells it.
fn growth(series: &Series<'_>, figure: impl Fn(&Growth) -> u64) -> Option<f64> {
    series.median(|run| run.growth.as_ref().map_or(f64::NAN, |growth| figure(growth) as f64))
}

fn cell(matrix: &Matrix, case: &str, allocator: &str, reference: &Series<'_>) -> Cell {
    let series = Series::of(matrix, case, allocator);
    let rss_kib = series.median(|run| run.usage.peak_rss_kib as f64);
    let pool = matrix
        .pools
        .iter()
        .find(|pool| pool.case == case && pool.allocator == allocator)
        .map(|pool| &pool.stats);
    let pool_kib = pool.map(|stats| stats.peak_committed_bytes as f64 / 1024.0);
    let live_bytes = growth(&series, |growth| growth.live_bytes);
    let memory_kib = rss_kib.map(|rss| rss.max(pool_kib.unwrap_or(0.0)));
    let reference_rss = reference.median(|run| run.usage.peak_rss_kib as f64);
    let failure = matrix
        .runs
        .iter()
        .filter(|run| run.case == case && run.allocator == allocator)
        .find_map(|run| run.failure.clone());
    Cell {
        cpu: series.ratio(reference, |run| run.usage.cpu_seconds()),
        wall: series.ratio(reference, |run| run.usage.wall_us as f64),
        work: series.ratio(reference, |run| run.work_us.map_or(f64::NAN, |work| work as f64)),
        memory: memory_kib.zip(reference_rss).map(|(own, reference)| own / reference),
        cpu_seconds: series.median(|run| run.usage.cpu_seconds()),
        system_seconds: series.median(|run| run.usage.system_us as f64 / 1e6),
        minor_faults: series.median(|run| run.usage.minor_faults as f64),
        major_faults: series.median(|run| run.usage.major_faults as f64),
        rss_kib,
        pool_kib,
        memory_kib,
        live_bytes,
        resident_bytes: growth(&series, |growth| growth.rss_bytes),
        committed_bytes: live_bytes.and(pool).map(|stats| stats.committed_bytes as f64),
        growth_permille: growth(&series, |growth| growth.rss_worst_permille),
        churn_bytes: growth(&series, |growth| growth.rss_churn_bytes),
        pages_bytes: growth(&series, |growth| growth.pages_bytes),
        failure,
    }
}

fn mean(group: &str, rows: &[&Row], allocators: &[Allocator]) -> Mean {
    // Only cases that all allocators finished: otherwise a column would gain by failing.
    let is_complete = |row: &&&Row| {
        allocators
            .iter()
            .zip(&row.cells)
            .all(|(allocator, cell)| allocator.is_partial || cell.cpu.is_some())
    };
    let complete: Vec<&&Row> = rows.iter().filter(is_complete).collect();
    let cells = |index: usize| {
        complete.iter().map(move |row| &row.cells[index]).filter(|cell| cell.cpu.is_some())
    };
    let column = |value: &dyn Fn(&Cell) -> Option<f64>| {
        (0..allocators.len())
            .map(|index| {
                let values: Option<Vec<f64>> = cells(index).map(value).collect();
                geometric_mean(&values?)
            })
            .collect()
    };
    Mean {
        group: group.to_owned(),
        cases: complete.len(),
        finished: (0..allocators.len()).map(|index| cells(index).count()).collect(),
        cpu: column(&|cell| cell.cpu.map(|ratio| ratio.median)),
        wall: column(&|cell| cell.wall.map(|ratio| ratio.median)),
        work: column(&|cell| cell.work.map(|ratio| ratio.median)),
        memory: column(&|cell| cell.memory),
    }
}

impl Summary {
    /// Summarises a matrix.
    pub fn of(matrix: &Matrix) -> Self {
        let rows: Vec<Row> = matrix
            .cases
            .iter()
            .map(|label| {
                let reference = Series::of(matrix, &label.name, &matrix.reference);
                let cells = matrix
                    .allocators
                    .iter()
                    .map(|allocator| cell(matrix, &label.name, &allocator.name, &reference))
                    .collect();
                Row { case: label.name.clone(), group: label.group.clone(), cells }
            })
            .collect();
        let mut groups: Vec<&str> = Vec::new();
        for row in &rows {
            if !groups.contains(&row.group.as_str()) {
                groups.push(&row.group);
            }
        }
        let allocators = &matrix.allocators;
        let mut means: Vec<Mean> = groups
            .iter()
            .map(|group| {
                let members: Vec<&Row> = rows.iter().filter(|row| row.group == *group).collect();
                mean(group, &members, allocators)
            })
            .collect();
        means.push(mean("all", &rows.iter().collect::<Vec<_>>(), allocators));
        let is_large = |row: &&Row| {
            row.cells.iter().any(|cell| cell.rss_kib.is_some_and(|kib| kib >= LARGE_KIB))
        };
        let large =
            mean("50 MiB and more", &rows.iter().filter(is_large).collect::<Vec<_>>(), allocators);
        Self { rows, means, large }
    }

    /// How ours stand against the best of the others, the slowest case first. Cases in which one of the
    /// two does not count are left out.
    pub fn standings(&self, matrix: &Matrix) -> Vec<Standing> {
        let mut all = Vec::new();
        for row in &self.rows {
            let timed = |ours: bool| {
                matrix
                    .allocators
                    .iter()
                    .zip(&row.cells)
                    .filter(move |(allocator, _)| allocator.ours == ours)
                    .filter_map(|(allocator, cell)| Some((&allocator.name, cell.cpu?.median)))
            };
            let Some((best, fastest)) = timed(false).min_by(|a, b| a.1.total_cmp(&b.1)) else {
                continue;
            };
            all.extend(timed(true).map(|(allocator, ratio)| Standing {
                case: row.case.clone(),
                allocator: allocator.clone(),
                best: best.clone(),
                ratio: ratio / fastest,
            }));
        }
        all.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
        all
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::case::Label;
    use crate::launch::Usage;
    use crate::machine::Machine;
    use crate::matrix::Pool;
    use crate::pool_stats::PoolStats;

    fn run(case: &str, allocator: &str, round: u32, cpu_us: u64) -> Run {
        Run {
            case: case.to_owned(),
            allocator: allocator.to_owned(),
            round,
            failure: None,
            usage: Usage {
                user_us: cpu_us,
                wall_us: cpu_us,
                peak_rss_kib: 1000,
                minor_faults: 10,
                ..Usage::default()
            },
            growth: None,
            work_us: (case == "pair16").then_some(cpu_us / 2),
        }
    }

    /// Two cases, two allocators, two rounds; the second round is three times as slow for everybody.
    pub(crate) fn example() -> Matrix {
        let allocator = |name: &str, ours| Allocator {
            name: name.to_owned(),
            description: format!("{name} <1.0>"),
            library: "/lib/x.so".into(),
            settings: Vec::new(),
            ours,
            is_partial: false,
        };
        let label = |name: &str, group: &str| Label {
            name: name.to_owned(),
            group: group.to_owned(),
            threads: 1,
        };
        Matrix {
            machine: Machine {
                processor: "P".into(),
                processors: 2,
                memory_bytes: 8 << 30,
                kernel: "6.1".into(),
                libc: "glibc 2.36".into(),
                governor: "none".into(),
                huge_pages: "madvise".into(),
                commit: "abc".into(),
                taken_at: 0,
            },
            command: "pmem-bench preload".into(),
            rounds: 2,
            scale: 1.0,
            seed: 1,
            reference: "mimalloc".into(),
            allocators: vec![allocator("mimalloc", false), allocator("vmmalloc", true)],
            cases: vec![label("pair16", "micro"), label("lua", "programs")],
            runs: vec![
                run("pair16", "mimalloc", 0, 1_000_000),
                run("pair16", "vmmalloc", 0, 500_000),
                run("pair16", "mimalloc", 1, 3_000_000),
                run("pair16", "vmmalloc", 1, 1_500_000),
                run("lua", "mimalloc", 0, 1_000_000),
                run("lua", "vmmalloc", 0, 2_000_000),
                run("lua", "mimalloc", 1, 3_000_000),
                run("lua", "vmmalloc", 1, 6_000_000),
            ],
            pools: vec![Pool {
                case: "lua".into(),
                allocator: "vmmalloc".into(),
                stats: PoolStats { peak_committed_bytes: 4000 * 1024, ..PoolStats::default() },
            }],
            pool_failures: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let summary = Summary::of(&example());
        let cpu = summary.rows[0].cells[1].cpu.unwrap();
        assert_eq!((cpu.median, cpu.min, cpu.max), (0.5, 0.5, 0.5));
        assert_eq!(summary.rows[0].cells[0].cpu.unwrap().median, 1.0);
        assert_eq!(summary.rows[1].cells[1].wall.unwrap().median, 2.0);
    }

    #[test]
    fn means_are_by_group_and_over_all() {
        let summary = Summary::of(&example());
        let groups: Vec<&str> = summary.means.iter().map(|mean| mean.group.as_str()).collect();
        assert_eq!(groups, ["micro", "programs", "all"]);
        assert!((summary.means[2].cpu[1].unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(summary.means[0].work, [Some(1.0), Some(0.5)]);
        assert_eq!(summary.means[1].work, [None, None]);
        assert_eq!(summary.means[2].cases, 2);
    }

    #[test]
    fn a_pool_larger_than_the_resident_set_counts_as_memory() {
        let summary = Summary::of(&example());
        let cell = &summary.rows[1].cells[1];
        assert_eq!(cell.pool_kib, Some(4000.0));
        assert_eq!(cell.memory_kib, Some(4000.0));
        assert_eq!(cell.memory, Some(4.0));
        assert_eq!(summary.rows[0].cells[1].memory, Some(1.0));
    }

    #[test]
    fn ours_stand_against_the_fastest_other_one() {
        let matrix = example();
        let standings = Summary::of(&matrix).standings(&matrix);
        let seen: Vec<(&str, &str, f64)> =
            standings.iter().map(|s| (s.case.as_str(), s.best.as_str(), s.ratio)).collect();
        assert_eq!(seen, [("lua", "mimalloc", 2.0), ("pair16", "mimalloc", 0.5)]);
    }

    #[test]
    fn only_large_processes_count_for_the_mean_of_large_ones() {
        let mut matrix = example();
        assert_eq!(Summary::of(&matrix).large.cases, 0);
        for run in &mut matrix.runs {
            if run.case == "lua" {
                run.usage.peak_rss_kib = 60 << 10;
            }
        }
        let large = Summary::of(&matrix).large;
        assert_eq!((large.cases, large.memory[1]), (1, Some(1.0)));
    }

    #[test]
    fn a_case_that_one_allocator_fails_counts_for_no_mean() {
        let mut matrix = example();
        for run in &mut matrix.runs {
            if run.case == "lua" && run.allocator == "vmmalloc" {
                run.failure = Some("signal 11".to_owned());
            }
        }
        let summary = Summary::of(&matrix);
        assert_eq!(summary.rows[1].cells[1].failure.as_deref(), Some("signal 11"));
        assert!(summary.rows[1].cells[1].cpu.is_none());
        assert_eq!(summary.means[1].cases, 0);
        assert_eq!(summary.means[1].cpu, [None, None]);
        let all = &summary.means[2];
        assert_eq!((all.cases, all.cpu[1]), (1, Some(0.5)));
    }

    #[test]
    fn a_case_that_a_partial_allocator_fails_counts_for_the_others() {
        let mut matrix = example();
        matrix.allocators[1].is_partial = true;
        for run in &mut matrix.runs {
            if run.case == "lua" && run.allocator == "vmmalloc" {
                run.failure = Some("signal 11".to_owned());
            }
        }
        let summary = Summary::of(&matrix);
        let all = &summary.means[2];
        assert_eq!((all.cases, &all.finished[..]), (2, &[2, 1][..]));
        assert_eq!(all.cpu, [Some(1.0), Some(0.5)]);
        assert_eq!(summary.means[1].cpu, [Some(1.0), None]);
    }
}
