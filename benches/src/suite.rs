//! All parts of a measurement as one file, one set of tables and one chart.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::icount::{self, Column};
use crate::in_process::InProcess;
use crate::machine::Machine;
use crate::matrix::Matrix;
use crate::pools::{self, Cost};
use crate::report;

/// The parts, each there when it was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Suite {
    /// What it was measured on.
    pub machine: Machine,
    /// The command line.
    pub command: String,
    /// Instructions of preloaded allocators.
    pub instructions: Option<Vec<Column>>,
    /// Instructions with many and with large pools.
    pub pools: Option<Vec<Cost>>,
    /// Allocators in one process.
    pub in_process: Option<InProcess>,
    /// Programs under preloaded allocators.
    pub matrix: Option<Matrix>,
}

impl Suite {
    /// A measurement of which nothing is done yet.
    pub fn new(machine: Machine, command: String) -> Self {
        Self { machine, command, instructions: None, pools: None, in_process: None, matrix: None }
    }

    /// All tables.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        if self.matrix.is_none() {
            // The tables of the matrix begin with this.
            let _ = writeln!(text, "{} `{}`\n", self.machine.line(), self.command);
        }
        if let Some(matrix) = &self.matrix {
            text.push_str(&report::markdown::render(matrix));
        }
        if let Some(in_process) = &self.in_process {
            text.push_str(&in_process.markdown());
        }
        if let Some(columns) = &self.instructions {
            let _ = writeln!(
                text,
                "### Instructions\n\nPer operation; call, PLT and loop are not counted.\n\n{}",
                icount::markdown(columns)
            );
        }
        if let Some(costs) = &self.pools {
            text.push_str(&pools::markdown(costs));
        }
        text
    }

    /// Writes `bench.json`, `bench.md` and `bench.svg` into a directory.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).context(|| "measurement".to_owned())?;
        report::write(&directory.join("bench.json"), &(json + "\n"))?;
        report::write(&directory.join("bench.md"), &self.markdown())?;
        let chart = report::chart::render(self.matrix.as_ref(), self.in_process.as_ref());
        report::write(&directory.join("bench.svg"), &chart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_process;
    use crate::summary::tests::example;

    #[test]
    fn parts_that_were_not_measured_are_left_out() {
        let matrix = example();
        let mut suite = Suite::new(matrix.machine.clone(), "pmem-bench all".to_owned());
        suite.in_process = Some(in_process::tests::example());
        let text = suite.markdown();
        assert!(text.starts_with("P, 2 processors") && text.contains("`pmem-bench all`"), "{text}");
        assert!(text.contains("### In one process") && !text.contains("### Instructions"));
        suite.matrix = Some(matrix);
        let text = suite.markdown();
        assert_eq!(text.matches("2 processors").count(), 1, "{text}");
        assert!(text.contains("### CPU time by case"), "{text}");
    }

    #[test]
    fn the_files_are_written_and_read_back() {
        let directory = std::env::temp_dir().join(format!("pmem-suite-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let matrix = example();
        let mut suite = Suite::new(matrix.machine.clone(), "pmem-bench all".to_owned());
        suite.matrix = Some(matrix);
        suite.write(&directory).unwrap();
        let json = std::fs::read_to_string(directory.join("bench.json")).unwrap();
        let again: Suite = serde_json::from_str(&json).unwrap();
        assert_eq!(again.markdown(), suite.markdown());
        // The report of a matrix can be had from the file of all parts, too.
        let matrix = report::read_json(&directory.join("bench.json")).unwrap();
        assert_eq!(matrix.runs.len(), 8);
        assert!(directory.join("bench.md").exists() && directory.join("bench.svg").exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
