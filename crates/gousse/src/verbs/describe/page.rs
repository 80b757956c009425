//! A page of `Name:  value` lines: values of one block stand in one column.

use serde_json::Value;

/// Lines as they are written: indentation, then cells divided by tabs, aligned at the end.
#[derive(Default)]
pub struct Page {
    lines: Vec<(usize, Vec<String>)>,
}

impl Page {
    /// `Name:  value`; further lines of the value stand below its first.
    pub fn field(&mut self, depth: usize, name: &str, value: impl Into<String>) {
        let value = value.into();
        let mut parts = value.split('\n');
        self.lines.push((depth, vec![format!("{name}:"), parts.next().unwrap_or_default().to_string()]));
        for part in parts {
            self.lines.push((depth, vec![String::new(), part.to_string()]));
        }
    }

    /// A name with a block below it.
    pub fn head(&mut self, depth: usize, name: &str) {
        self.lines.push((depth, vec![format!("{name}:")]));
    }

    pub fn line(&mut self, depth: usize, text: impl Into<String>) {
        self.lines.push((depth, vec![text.into()]));
    }

    /// Rows that have columns of their own.
    pub fn table(&mut self, depth: usize, rows: &[Vec<String>]) {
        for line in super::super::table::aligned(rows).lines() {
            self.line(depth, line.trim_end());
        }
    }

    /// `key=value` lines, `<none>` without any.
    pub fn map(&mut self, depth: usize, name: &str, map: &Value, separator: &str) {
        let pairs = map.as_object().into_iter().flatten();
        let lines: Vec<String> = pairs.map(|(k, v)| format!("{k}{separator}{}", shown(v))).collect();
        self.field(depth, name, if lines.is_empty() { "<none>".into() } else { lines.join("\n") });
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut start = 0;
        while start < self.lines.len() {
            // A block of one depth shares a column; deeper lines in between have their own.
            let (depth, _) = self.lines[start];
            let width = self.lines[start..]
                .iter()
                .take_while(|(d, _)| *d >= depth)
                .filter(|(d, cells)| *d == depth && cells.len() > 1)
                .map(|(_, cells)| cells[0].chars().count())
                .max()
                .unwrap_or(0);
            let (_, cells) = &self.lines[start];
            let mut line = "  ".repeat(depth) + &cells[0];
            if cells.len() > 1 && !cells[1].is_empty() {
                let used = cells[0].chars().count();
                line.extend(std::iter::repeat_n(' ', width.max(self.width_before(start)) - used + 2));
                line.push_str(&cells[1]);
            }
            text.push_str(line.trim_end());
            text.push('\n');
            start += 1;
        }
        text
    }

    /// The width of the block that this line belongs to, seen from its start.
    fn width_before(&self, at: usize) -> usize {
        let (depth, _) = self.lines[at];
        self.lines[..at]
            .iter()
            .rev()
            .take_while(|(d, _)| *d >= depth)
            .filter(|(d, cells)| *d == depth && cells.len() > 1)
            .map(|(_, cells)| cells[0].chars().count())
            .max()
            .unwrap_or(0)
    }
}

/// A leaf as people read it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The text at a path, `or` where there is none.
pub fn text_or<'v>(value: &'v Value, or: &'v str) -> &'v str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(or)
}
