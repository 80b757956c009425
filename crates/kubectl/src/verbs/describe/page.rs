//! A page of `Name:  value` lines: values of one block stand in one column.

use serde_json::Value;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ANNOTATION_MAX: usize = 140;

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
        for line in crate::table::aligned(rows).lines() {
            self.line(depth, line.trim_end());
        }
    }

    /// `key=value` lines, `<none>` without any.
    pub fn map(&mut self, depth: usize, name: &str, map: &Value, separator: &str) {
        let pairs = map.as_object().into_iter().flatten();
        let lines: Vec<String> = pairs.map(|(k, v)| format!("{k}{separator}{}", shown(v))).collect();
        self.field(depth, name, if lines.is_empty() { "<none>".into() } else { lines.join("\n") });
    }

    /// As `map`, without what clients keep there (a Secret's data among it), long values cut and below their
    /// key (kubectl pkg/describe/describe.go, skipAnnotations and printAnnotationsMultiline).
    pub fn annotations(&mut self, depth: usize, map: &Value) {
        let pairs = map.as_object().into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED);
        let mut lines = Vec::new();
        for (key, value) in pairs {
            let value = shown(value);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 <= ANNOTATION_MAX && !value.contains('\n') {
                lines.push(format!("{key}: {value}"));
                continue;
            }
            lines.push(format!("{key}:"));
            for line in value.split('\n') {
                let cut = line.char_indices().nth(ANNOTATION_MAX - 2).map(|(end, _)| &line[..end]);
                lines.push(cut.map_or(format!("  {line}"), |cut| format!("  {cut}...")));
            }
        }
        self.field(depth, "Annotations", if lines.is_empty() { "<none>".into() } else { lines.join("\n") });
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

    /// The same with tabs for columns, which a further line of a value begins with: what kubectl prints where
    /// it aligns nothing.
    pub fn tabbed(&self) -> String {
        let line = |(depth, cells): &(usize, Vec<String>)| {
            let indent = if cells[0].is_empty() { String::new() } else { "  ".repeat(*depth) };
            format!("{indent}{}\n", cells.join("\t"))
        };
        self.lines.iter().map(line).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_leave_out_what_was_applied_and_cut_what_is_long() {
        let text = |map: Value| {
            let mut page = Page::default();
            page.annotations(0, &map);
            page.text()
        };
        assert_eq!(text(json!({LAST_APPLIED: "{\"data\":\"c2VjcmV0\"}"})), "Annotations:  <none>\n");
        let all = json!({"a": "1", "b": "x\ny\n", "c": "l".repeat(150), LAST_APPLIED: "{}"});
        let long = "l".repeat(138);
        assert_eq!(
            text(all),
            format!(
                "Annotations:  a: 1\n              b:\n                x\n                y\n              c:\n                {long}...\n"
            )
        );
    }
}
