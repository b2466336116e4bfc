//! Tables for a terminal: columns that are as wide as their widest cell.

use crate::cli::say;

/// Rows of cells. The first row is the head.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned());
        Self {
            rows: vec![head.collect()],
        }
    }

    /// Adds a row. Control characters in it are escaped.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter();
        self.rows.push(cells.map(|cell| printable(&cell)).collect());
    }

    /// Prints all rows, the head only if there are others.
    pub(super) fn print(&self) {
        if self.rows.len() > 1 {
            self.lines().iter().for_each(say::out);
        }
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(widths.iter().copied());
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Returns text without control characters. Quotes and other scripts stay as they are.
fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// Returns text whose only control characters are the ends of lines and tabs.
pub(super) fn printable_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let escaped = |c: char| match c.is_control() && !stays(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_no_cell_moves_the_cursor() {
        let mut table = Table::new(&["ID", "STATE"]);
        table.row(["evt_1".to_owned(), "parked".to_owned()]);
        table.row(["ü\u{1b}[2J".to_owned(), String::new()]);
        assert_eq!(
            table.lines(),
            ["ID          STATE", "evt_1       parked", "ü\\u{1b}[2J"]
        );
    }
}
