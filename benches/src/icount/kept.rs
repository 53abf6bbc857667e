//! The gate: counts that were kept, and what differs from them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Column, Figure};
use crate::error::{Context, Error, Result};
use crate::report;

/// Growth that is let pass: both must be exceeded. Half of a small count is less than one instruction, and
/// one instruction of a large count is nothing.
const TOLERATED_PERCENT: f64 = 2.0;
const TOLERATED_INSTRUCTIONS: f64 = 1.0;

/// Counts of one library, as they are committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The compiler that built the library: another one counts differently.
    pub compiler: String,
    /// Counts by allocator.
    pub columns: Vec<Column>,
}

/// How one operation compares with what was kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// It takes more than is let pass, or makes system calls that it did not make.
    Grown(String),
    /// It takes less: good, and worth keeping.
    Shrunk(String),
    /// It is counted and not kept, or kept and not counted.
    Unknown(String),
}

impl Kept {
    /// Reads a file that [`Kept::write`] wrote.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub fn read(path: &Path) -> Result<Self> {
        let what = || path.display().to_string();
        serde_json::from_str(&std::fs::read_to_string(path).context(what)?).context(what)
    }

    /// Writes the counts.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context(|| "counts".to_owned())?;
        report::write(path, &(text + "\n"))
    }

    /// Compares counts with the kept ones, operation by operation. `all` says that every probe was counted,
    /// so that a kept operation that is not there is one that was lost.
    ///
    /// # Errors
    /// An allocator that nothing is kept of: a check of nothing must not pass.
    pub fn compare(&self, now: &[Column], all: bool) -> Result<Vec<Difference>> {
        let mut found = Vec::new();
        for column in now {
            let name = &column.allocator;
            let Some(before) = self.columns.iter().find(|kept| kept.allocator == *name) else {
                return Err(Error::new(format!("no counts of {name} are kept")));
            };
            let lost = before.figures.iter().filter(|old| all && find(column, old).is_none());
            found.extend(lost.map(|old| {
                Difference::Unknown(format!("{name}, {}: kept, but not counted", old.operation))
            }));
            for figure in &column.figures {
                match find(before, figure) {
                    Some(old) => found.extend(difference(name, old, figure)),
                    None => found.push(Difference::Unknown(format!(
                        "{name}, {}: {:.2} instructions, not kept yet",
                        figure.operation, figure.instructions
                    ))),
                }
            }
        }
        Ok(found)
    }
}

fn find<'a>(column: &'a Column, like: &Figure) -> Option<&'a Figure> {
    column.figures.iter().find(|figure| figure.operation == like.operation)
}

fn difference(allocator: &str, old: &Figure, new: &Figure) -> Option<Difference> {
    let (before, after) = (old.instructions, new.instructions);
    let growth = after - before;
    let mut text =
        format!("{allocator}, {}: {before:.2} instructions before, {after:.2} now", old.operation);
    if before > 0.0 && growth != 0.0 {
        text.push_str(&format!(" ({:+.1} %)", growth / before * 100.0));
    }
    if new.system_calls != old.system_calls {
        text.push_str(&format!(
            "; {:.3} system calls before, {:.3} now",
            old.system_calls, new.system_calls
        ));
    }
    let is_grown = growth > TOLERATED_INSTRUCTIONS && growth > before * TOLERATED_PERCENT / 100.0;
    if is_grown || new.system_calls > old.system_calls {
        Some(Difference::Grown(text))
    } else if growth < 0.0 || new.system_calls < old.system_calls {
        Some(Difference::Shrunk(text))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(operation: &str, instructions: f64, system_calls: f64) -> Column {
        let figure = Figure { operation: operation.to_owned(), instructions, system_calls };
        Column { allocator: "vmmalloc".to_owned(), figures: vec![figure] }
    }

    fn compare(before: (f64, f64), after: (f64, f64)) -> Vec<Difference> {
        let kept = Kept {
            compiler: "rustc".to_owned(),
            columns: vec![column("pair 16 B", before.0, before.1)],
        };
        kept.compare(&[column("pair 16 B", after.0, after.1)], true).unwrap()
    }

    #[test]
    fn growth_needs_more_than_an_instruction_and_more_than_two_percent() {
        assert!(compare((31.0, 0.0), (31.0, 0.0)).is_empty());
        // One instruction of 31 is 3 %, but only one.
        assert!(compare((31.0, 0.0), (32.0, 0.0)).is_empty());
        assert!(matches!(compare((31.0, 0.0), (32.5, 0.0))[..], [Difference::Grown(_)]));
        // Five instructions of 300 are less than 2 %.
        assert!(compare((300.0, 0.0), (305.0, 0.0)).is_empty());
        assert!(matches!(compare((300.0, 0.0), (306.5, 0.0))[..], [Difference::Grown(_)]));
    }

    #[test]
    fn a_new_system_call_is_growth_however_small() {
        assert!(matches!(compare((100.0, 0.0), (50.0, 0.01))[..], [Difference::Grown(_)]));
    }

    #[test]
    fn the_line_names_the_case_before_and_after() {
        let Difference::Grown(line) = &compare((40.0, 0.0), (44.0, 0.5))[0] else {
            panic!("no growth");
        };
        let expected = "vmmalloc, pair 16 B: 40.00 instructions before, 44.00 now (+10.0 %); \
                        0.000 system calls before, 0.500 now";
        assert_eq!(line, expected);
    }

    #[test]
    fn shrinkage_is_told_and_is_no_growth() {
        let found = compare((31.0, 0.0), (30.0, 0.0));
        assert!(matches!(&found[..], [Difference::Shrunk(line)] if line.contains("30.00 now")));
    }

    #[test]
    fn what_is_not_on_both_sides_is_told() {
        let kept = Kept { compiler: String::new(), columns: vec![column("pair 16 B", 1.0, 0.0)] };
        let now = [column("pair 8 KiB", 1.0, 0.0)];
        assert_eq!(kept.compare(&now, true).unwrap().len(), 2);
        // With a filter the rest is not counted on purpose.
        assert_eq!(kept.compare(&now, false).unwrap().len(), 1);
        let mut other = column("pair 16 B", 1.0, 0.0);
        other.allocator = "glibc".to_owned();
        let error = kept.compare(&[other], true).unwrap_err().to_string();
        assert_eq!(error, "no counts of glibc are kept");
    }

    #[test]
    fn kept_counts_are_read_back() {
        let path = std::env::temp_dir().join(format!("pmem-kept-{}.json", std::process::id()));
        let kept =
            Kept { compiler: "rustc 1".into(), columns: vec![column("pair 16 B", 31.5, 0.0)] };
        kept.write(&path).unwrap();
        let again = Kept::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(again, kept);
    }
}
