//! Prints the server's tables: columns as wide as their widest cell and three blanks between.

use api::Resource;
use serde_json::Value;

use crate::resource;

pub struct Options<'a> {
    pub wide: bool,
    /// A first column with the namespace.
    pub namespace: bool,
    /// A last column with all labels.
    pub labels: bool,
    pub headers: bool,
    /// Names are printed as `kind/name` where several kinds are shown.
    pub prefix: Option<&'a Resource>,
}

/// A `meta.k8s.io/v1` Table as text.
pub fn print(table: &Value, options: &Options<'_>, first: bool) -> String {
    let columns = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = table["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<usize> =
        (0..columns.len()).filter(|c| options.wide || columns[*c]["priority"].as_i64().unwrap_or(0) == 0).collect();
    let mut lines = Vec::new();
    if options.headers && first {
        let mut line: Vec<String> =
            shown.iter().map(|c| columns[*c]["name"].as_str().unwrap_or_default().to_uppercase()).collect();
        if options.namespace {
            line.insert(0, "NAMESPACE".into());
        }
        if options.labels {
            line.push("LABELS".into());
        }
        lines.push(line);
    }
    for row in rows {
        let meta = &row["object"]["metadata"];
        let mut line: Vec<String> = shown.iter().map(|c| cell(&row["cells"][*c])).collect();
        if let (Some(kind), Some(name)) = (options.prefix, line.first_mut()) {
            *name = resource::shown(kind, name);
        }
        if options.namespace {
            line.insert(0, meta["namespace"].as_str().unwrap_or_default().to_string());
        }
        if options.labels {
            line.push(labels(&meta["labels"]));
        }
        lines.push(line);
    }
    aligned(&lines)
}

/// Lines of cells, padded to their columns.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let lines: Vec<Vec<String>> = lines.iter().map(|line| line.iter().map(|cell| escaped(cell)).collect()).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| lines.iter().filter_map(|l| l.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < line.len() {
                let padding = widths[column] - cell.chars().count() + 3;
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

/// Text of containers and nodes, with what a terminal would obey made visible (cli-runtime terminal.go).
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            '\r' => shown.push_str("\\r"),
            _ if letter.is_ascii_control() => shown.extend(['^', char::from(letter as u8 ^ 0x40)]),
            // A terminal may take them for escape sequences of one byte.
            '\u{80}'..='\u{9f}' => shown.extend(letter.escape_unicode()),
            _ => shown.push(letter),
        }
    }
    shown
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', "\\n"),
        Value::Null => "<none>".into(),
        other => other.to_string(),
    }
}

fn labels(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    let text: Vec<String> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    if text.is_empty() { "<none>".into() } else { text.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kubectl's CVE-2021-25743.
    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let message = "\u{1b}[2J\u{1b}]0;OWNED\u{7}hi\rfake \u{9b}31m\u{7f} é\n\tnext";
        assert_eq!(escaped(message), "^[[2J^[]0;OWNED^Ghi\\rfake \\u{9b}31m^? é\n\tnext");
        let lines = [vec!["\u{1b}[31m".to_owned(), "b".into()], vec!["12345".into(), "c".into()]];
        assert_eq!(aligned(&lines), "^[[31m   b\n12345    c\n");
    }
}
