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

    /// Lines that follow each other with a value share its column, whatever their depth; a line without
    /// one ends the block, as in Go's tabwriter.
    pub fn text(&self) -> String {
        let width = |(depth, cells): &(usize, Vec<String>)| depth * 2 + cells[0].chars().count();
        let mut text = String::new();
        for block in self.lines.chunk_by(|(_, above), (_, below)| above.len() > 1 && below.len() > 1) {
            let column = block.iter().map(width).max().unwrap_or(0) + 2;
            for line in block {
                let (depth, cells) = line;
                let mut shown = "  ".repeat(*depth) + &cells[0];
                if let Some(value) = cells.get(1) {
                    shown.extend(std::iter::repeat_n(' ', column - width(line)));
                    shown.push_str(value);
                    shown.truncate(shown.trim_end().len());
                }
                text.push_str(&shown);
                text.push('\n');
            }
        }
        text
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
