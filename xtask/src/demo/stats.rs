//! The reports that the library writes at the end of each process, added up over one run.

use crate::Stop;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What all processes of a run did together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Reports found: one for each process that ended by itself. Processes that were killed, or that left by
    /// `_exit`, write none, so the sums below are at least true.
    pub(crate) reports: u64,
    /// Allocations served, over all reports.
    pub(crate) allocations: u64,
    /// Most pool bytes that one process had taken from the file system.
    pub(crate) peak_pool_bytes_max: u64,
    /// The same, added up over all processes; they need not have been alive together.
    pub(crate) peak_pool_bytes_sum: u64,
    /// Bytes that did not fit the pools and came from ordinary memory.
    pub(crate) overflow_bytes: u64,
}

impl Totals {
    fn add(&mut self, report: &Value) -> Option<()> {
        let peak = report["peak_committed_bytes"].as_u64()?;
        self.reports += 1;
        self.allocations += report["allocations"].as_u64()?;
        self.peak_pool_bytes_max = self.peak_pool_bytes_max.max(peak);
        self.peak_pool_bytes_sum += peak;
        self.overflow_bytes += report["overflow_bytes"].as_u64()?;
        Some(())
    }
}

/// Adds up the reports in the files of `directory` whose names start with `prefix`.
///
/// # Errors
/// A file cannot be read, or is no report.
pub(crate) fn read_all(directory: &Path, prefix: &str) -> Result<Totals, Stop> {
    let mut totals = Totals::default();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        // A process that becomes another program keeps its id, so a file can have more than one line.
        for line in fs::read_to_string(entry.path())?.lines() {
            let bad =
                |problem: String| Stop::Failed(format!("{}: {problem}", entry.path().display()));
            let report: Value =
                serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
            totals.add(&report).ok_or_else(|| bad(format!("incomplete report: {line}")))?;
        }
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_added_up() {
        let directory = std::env::temp_dir().join(format!("xtask-stats-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let line = |allocations: u64, peak: u64| {
            format!(
                "{{\"allocations\":{allocations},\"peak_committed_bytes\":{peak},\"overflow_bytes\":1}}\n"
            )
        };
        fs::write(directory.join("s-1"), line(5, 100)).unwrap();
        fs::write(directory.join("s-2"), line(7, 300) + &line(1, 200)).unwrap();
        fs::write(directory.join("other"), "not read").unwrap();
        let totals = read_all(&directory, "s-").ok().unwrap();
        let expected = Totals {
            reports: 3,
            allocations: 13,
            peak_pool_bytes_max: 300,
            peak_pool_bytes_sum: 600,
            overflow_bytes: 3,
        };
        assert_eq!(totals, expected);
        fs::write(directory.join("s-3"), "{\"allocations\":5}\n").unwrap();
        assert!(read_all(&directory, "s-").is_err());
        fs::remove_dir_all(directory).unwrap();
    }
}
