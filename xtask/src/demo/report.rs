//! The results as a table for people and as JSON.

use super::stats::Totals;
use crate::table::{Align, Table};
use serde_json::{Value, json};
use std::path::Path;

/// Median and spread of a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    /// Middle of the pairs.
    pub(crate) median: f64,
    /// Smallest.
    pub(crate) low: f64,
    /// Largest.
    pub(crate) high: f64,
}

impl Ratio {
    /// Of pairs (plain, pool); `None` without pairs or when a plain run took no measurable time.
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let mut ratios: Vec<f64> = pairs.iter().map(|(plain, pool)| pool / plain).collect();
        ratios.sort_by(f64::total_cmp);
        let (&low, &high) = (ratios.first()?, ratios.last()?);
        high.is_finite().then(|| Self { median: median(&ratios), low, high })
    }
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// A program that was run.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The first difference of the pool runs from the plain one, if any.
    pub(crate) difference: Option<String>,
    /// Counts of the run with statistics.
    pub(crate) totals: Totals,
    /// Largest resident set of one process, plain, in bytes.
    pub(crate) peak_rss_plain_bytes: u64,
    /// The same in the pool; pages of the pool count.
    pub(crate) peak_rss_pool_bytes: u64,
    /// CPU seconds of the pairs, plain and pool.
    pub(crate) cpu_seconds: Vec<(f64, f64)>,
}

impl Measured {
    /// What is wrong, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        if let Some(difference) = &self.difference {
            return Some(format!("the output differs: {difference}"));
        }
        (self.totals.allocations == 0)
            .then(|| "the pool served no allocation: the library was not used".to_owned())
    }
}

/// A row.
#[derive(Debug)]
pub(crate) enum Row {
    /// The program was run.
    Measured(&'static str, Measured),
    /// It is not on this machine: name, what is missing, packages.
    Absent(&'static str, String, &'static str),
}

/// The table and the words under it.
pub(crate) fn table(rows: &[Row], pool_directory: &Path, pairs: usize) -> String {
    let mut table = Table::new(&[
        ("program", Align::Left),
        ("output", Align::Left),
        ("allocations", Align::Right),
        ("processes", Align::Right),
        ("peak pool", Align::Right),
        ("peak RSS", Align::Right),
        ("in pool", Align::Right),
        ("CPU time", Align::Right),
        ("spread", Align::Right),
    ]);
    for row in rows {
        table.row(match row {
            Row::Measured(name, measured) => measured_cells(name, measured),
            Row::Absent(name, ..) => vec![(*name).to_owned(), "not on this machine".to_owned()],
        });
    }
    let table = table.render();
    format!(
        "{table}\n\
         output       the plain run's standard output, standard error and exit status against those of {runs} runs in the pool\n\
         allocations  served by the pools of all processes that ended by themselves; the others report nothing\n\
         peak pool    most space one process had taken in {directory}\n\
         peak RSS     largest resident set of one process, plain and in the pool (whose pages count)\n\
         CPU time     user and system time of all processes in the pool, as a multiple of the plain run's:\n\
         {blank:13}median and range of {pairs} pairs in alternating order, without statistics\n",
        runs = pairs + 1,
        directory = pool_directory.display(),
        blank = "",
    )
}

fn measured_cells(name: &str, measured: &Measured) -> Vec<String> {
    let totals = &measured.totals;
    let output = if measured.difference.is_none() { "identical" } else { "DIFFERS" };
    let ratio = Ratio::of(&measured.cpu_seconds);
    vec![
        name.to_owned(),
        output.to_owned(),
        thousands(totals.allocations),
        thousands(totals.reports),
        mebibytes(totals.peak_pool_bytes_max),
        mebibytes(measured.peak_rss_plain_bytes),
        mebibytes(measured.peak_rss_pool_bytes),
        ratio.map_or("-".into(), |ratio| format!("{:.2}x", ratio.median)),
        ratio.map_or("-".into(), |ratio| format!("{:.2}-{:.2}", ratio.low, ratio.high)),
    ]
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// `1234567` as `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Everything in the table and the single values behind it.
pub(crate) fn json(rows: &[Row], pool_directory: &Path) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| match row {
            Row::Absent(name, missing, packages) => {
                json!({"program": name, "present": false, "missing": missing, "packages": packages})
            }
            Row::Measured(name, measured) => {
                let ratio = Ratio::of(&measured.cpu_seconds);
                json!({
                    "program": name,
                    "present": true,
                    "identical": measured.difference.is_none(),
                    "difference": measured.difference,
                    "allocations": measured.totals.allocations,
                    "processes": measured.totals.reports,
                    "peak_pool_bytes_max": measured.totals.peak_pool_bytes_max,
                    "peak_pool_bytes_sum": measured.totals.peak_pool_bytes_sum,
                    "overflow_bytes": measured.totals.overflow_bytes,
                    "peak_rss_plain_bytes": measured.peak_rss_plain_bytes,
                    "peak_rss_pool_bytes": measured.peak_rss_pool_bytes,
                    "cpu_seconds_plain": measured.cpu_seconds.iter().map(|pair| pair.0).collect::<Vec<_>>(),
                    "cpu_seconds_pool": measured.cpu_seconds.iter().map(|pair| pair.1).collect::<Vec<_>>(),
                    "cpu_ratio_median": ratio.map(|ratio| ratio.median),
                    "cpu_ratio_low": ratio.map(|ratio| ratio.low),
                    "cpu_ratio_high": ratio.map(|ratio| ratio.high),
                })
            }
        })
        .collect();
    json!({"pool_directory": pool_directory.to_string_lossy(), "programs": rows})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_medians_with_their_range() {
        let ratio = Ratio::of(&[(1.0, 1.5), (2.0, 2.0), (1.0, 1.1)]).unwrap();
        assert_eq!((ratio.median, ratio.low, ratio.high), (1.1, 1.0, 1.5));
        let ratio = Ratio::of(&[(1.0, 1.0), (1.0, 2.0)]).unwrap();
        assert_eq!(ratio.median, 1.5);
        assert_eq!(Ratio::of(&[]), None);
        assert_eq!(Ratio::of(&[(0.0, 1.0)]), None);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    fn measured(difference: Option<&str>, allocations: u64) -> Measured {
        Measured {
            difference: difference.map(str::to_owned),
            totals: Totals { allocations, ..Totals::default() },
            peak_rss_plain_bytes: 1 << 20,
            peak_rss_pool_bytes: 2 << 20,
            cpu_seconds: vec![(1.0, 1.2)],
        }
    }

    #[test]
    fn a_difference_or_an_idle_pool_is_a_problem() {
        assert_eq!(measured(None, 5).problem(), None);
        assert!(measured(Some("x"), 5).problem().unwrap().contains("differs"));
        assert!(measured(None, 0).problem().unwrap().contains("no allocation"));
    }

    #[test]
    fn absent_programs_are_rows_of_their_own() {
        let rows = [
            Row::Measured("here", measured(None, 1234)),
            Row::Measured("bad", measured(Some("stdout line 1"), 1)),
            Row::Absent("gone", "gone".into(), "gone-package"),
        ];
        let text = table(&rows, Path::new("/pools"), 3);
        assert!(text.lines().any(|line| line.contains("here")
            && line.contains("identical")
            && line.contains("1,234")
            && line.contains("1.20x")));
        assert!(text.lines().any(|line| line.contains("bad") && line.contains("DIFFERS")));
        assert!(
            text.lines().any(|line| line.contains("gone") && line.contains("not on this machine"))
        );
        let value = json(&rows, Path::new("/pools"));
        assert_eq!(value["programs"][0]["identical"], true);
        assert_eq!(value["programs"][2]["present"], false);
    }
}
