//! Columns of text for a terminal.

/// Longest rule under the head.
const MAX_RULE: usize = 100;

/// How a column is aligned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table; a row may have fewer cells than there are columns, and its last cell may then be wider than its column.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert!(cells.len() <= self.columns.len(), "more cells than columns");
        self.rows.push(cells);
    }

    /// The lines, with a rule under the head.
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut text = self.line(&head, &widths);
        let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        // A long remark in the last column needs no rule of its length.
        text.push_str(&"-".repeat(total.min(MAX_RULE)));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&self.line(row, &widths));
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let full_rows = self.rows.iter().filter(|row| row.len() == self.columns.len());
        let cells = full_rows.map(|row| row[column].chars().count());
        cells.chain([self.columns[column].0.len()]).max().unwrap_or(0)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut text = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => text.extend([cell.as_str(), &gap, "  "]),
                Align::Right => text.extend([gap.as_str(), cell, "  "]),
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("name", Align::Left), ("count", Align::Right)]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["long name".into(), "1234567".into()]);
        table.row(vec!["short, with more to say".into()]);
        let expected = "name         count\n\
                        ------------------\n\
                        a                1\n\
                        long name  1234567\n\
                        short, with more to say\n";
        assert_eq!(table.render(), expected);
    }
}
