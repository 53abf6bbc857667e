//! The report that libvmmalloc writes at exit (`VMMALLOC_STATS=json`): one JSON object per process.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// The part of the report that the tables use; the report has more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStats {
    /// Program that wrote the report.
    #[serde(default)]
    pub program: String,
    /// Calls that allocated.
    #[serde(default)]
    pub allocations: u64,
    /// Largest size of the pool's backing, in bytes.
    #[serde(default)]
    pub peak_committed_bytes: u64,
    /// Size of the pool's backing at exit, in bytes.
    #[serde(default)]
    pub committed_bytes: u64,
    /// Largest sum of the blocks' sizes, in bytes.
    #[serde(default)]
    pub peak_allocated_bytes: u64,
}

impl PoolStats {
    /// Parses the lines of one report file.
    ///
    /// # Errors
    /// A line that is no JSON object.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).context(|| format!("statistics line {line:?}")))
            .collect()
    }

    /// What a process tree used: the largest process for sizes, as with peak RSS; all for counts.
    pub fn combine(reports: &[Self]) -> Option<Self> {
        let largest = reports.iter().max_by_key(|report| report.peak_committed_bytes)?;
        let allocations = reports.iter().map(|report| report.allocations).sum();
        Some(Self { allocations, ..largest.clone() })
    }

    /// Reads all reports `stats-*` of a directory.
    ///
    /// # Errors
    /// A directory or file that cannot be read, or is no report.
    pub fn read_all(directory: &Path) -> Result<Vec<Self>> {
        let what = || format!("reading {}", directory.display());
        let mut reports = Vec::new();
        for entry in std::fs::read_dir(directory).context(what)? {
            let entry = entry.context(what)?;
            if entry.file_name().to_string_lossy().starts_with("stats-") {
                let text = std::fs::read_to_string(entry.path()).context(what)?;
                reports.extend(Self::parse(&text)?);
            }
        }
        Ok(reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"pid":7,"program":"sh","pool_bytes":8192,"allocations":10,"peak_committed_bytes":4096,"classes":[{"size":8,"live":1}]}
{"pid":8,"program":"python3","allocations":90,"peak_committed_bytes":1048576,"committed_bytes":65536}
"#;

    #[test]
    fn a_report_may_say_more_or_less_than_is_used() {
        let reports = PoolStats::parse(REPORT).unwrap();
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[0].program, "sh");
        assert_eq!(reports[0].committed_bytes, 0);
        assert_eq!(reports[1].committed_bytes, 65536);
    }

    #[test]
    fn sizes_come_from_the_largest_process_and_counts_from_all() {
        let all = PoolStats::combine(&PoolStats::parse(REPORT).unwrap()).unwrap();
        assert_eq!(all.peak_committed_bytes, 1 << 20);
        assert_eq!(all.allocations, 100);
        assert_eq!(PoolStats::combine(&[]), None);
    }

    #[test]
    fn text_that_is_no_report_is_an_error_that_shows_it() {
        let error = PoolStats::parse("killed").unwrap_err().to_string();
        assert!(error.contains("killed"), "{error}");
    }
}
