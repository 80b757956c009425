//! No kind is named outside its row: the generic verbs know none.

use std::fs;
use std::path::Path;

/// Where every kind is treated alike. What is special to one stands in its row, or in a file of its own.
const GENERIC: [&str; 14] = [
    "crates/api/src/managed",
    "crates/api/src/patch",
    "crates/kinds/src/openapi",
    "crates/kinds/src/ownership.rs",
    "crates/kinds/src/print.rs",
    "crates/kinds/src/table.rs",
    "crates/server/src/discovery.rs",
    "crates/server/src/managed.rs",
    "crates/server/src/records.rs",
    "crates/server/src/render",
    "crates/server/src/reviews.rs",
    "crates/server/src/subresources.rs",
    "crates/server/src/verbs",
    "crates/server/src/write.rs",
];

/// Adds a line for each name of a kind in a generic file.
pub fn problems(root: &Path, files: &[(String, String)], problems: &mut Vec<String>) {
    let names = names(root);
    if names.is_empty() {
        problems.push("crates/kinds/src: no rows found".into());
    }
    for (name, text) in files.iter().filter(|(name, _)| GENERIC.iter().any(|generic| name.starts_with(generic))) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in names.iter().filter(|word| code.contains(&format!("\"{word}\""))) {
                problems.push(format!("{name}:{}: {word:?} is named outside its row in crates/kinds", number + 1));
            }
        }
    }
}

/// Kinds and plurals of the rows: of `Kind::namespaced("v1", "Pod", "pods")`.
fn names(root: &Path) -> Vec<String> {
    let rows = fs::read_dir(root.join("crates/kinds/src")).into_iter().flatten().flatten();
    let mut names = Vec::new();
    for text in rows.filter_map(|file| fs::read_to_string(file.path()).ok()) {
        for call in ["..Kind::namespaced(", "..Kind::cluster("] {
            let Some((_, rest)) = text.split_once(call) else { continue };
            names.extend(rest.split('"').skip(3).step_by(2).take(2).map(String::from));
        }
    }
    names
}
