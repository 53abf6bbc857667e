//! The matrix as Markdown, as a chart, and as JSON to keep.

pub mod chart;
pub mod markdown;

use std::fs;
use std::path::Path;

use crate::error::{Context, Result};
use crate::matrix::Matrix;

/// Writes a text file.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).context(|| path.display().to_string())
}

/// Writes the matrix as JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, matrix: &Matrix) -> Result<()> {
    let text = serde_json::to_string_pretty(matrix).context(|| "matrix".to_owned())?;
    write(path, &(text + "\n"))
}

/// Reads a matrix that was written by [`write_json`], or that of a file of all parts.
///
/// # Errors
/// The file cannot be read or holds something else.
pub fn read_json(path: &Path) -> Result<Matrix> {
    let what = || path.display().to_string();
    let mut value: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).context(what)?).context(what)?;
    let part = value.get_mut("matrix").map(serde_json::Value::take);
    serde_json::from_value(part.unwrap_or(value)).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::example;

    #[test]
    fn what_was_written_can_be_read_back() {
        let path = std::env::temp_dir().join(format!("pmem-bench-{}.json", std::process::id()));
        write_json(&path, &example()).unwrap();
        let matrix = read_json(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(matrix.runs.len(), 8);
        assert_eq!(matrix.reference, "mimalloc");
        assert_eq!(markdown::render(&matrix), markdown::render(&example()));
    }
}
