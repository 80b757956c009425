//! Circles of imports inside a crate: parent and child may know each other, others not.
//!
//! Judged among siblings: what stands below a module counts for it. A name that a parent re-exports leads
//! to where it comes from. `KNOTS` are those of today, which may only shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Crates without a circle but those listed in `KNOTS`; the others come when they are untied.
const CRATES: [&str; 6] = ["api", "kinds", "server", "client", "controllers", "node"];

/// Crate, parent module, and the siblings that know each other in a circle.
type Knot = (&'static str, &'static str, &'static [&'static str]);

const KNOTS: &[Knot] = &[];

/// A module as its path: `["verbs", "change"]`; the root's is empty.
type Module = Vec<String>;

/// The circles of the crates, and exceptions that are none any more.
pub fn problems(root: &Path, problems: &mut Vec<String>) {
    let mut found: BTreeSet<(String, String, Vec<String>)> = BTreeSet::new();
    for name in CRATES {
        let mut files = BTreeMap::new();
        modules(&root.join("crates").join(name).join("src"), &Vec::new(), &mut files);
        found.extend(knots(&files).into_iter().map(|(parent, knot)| (name.to_string(), parent, knot)));
    }
    let known = |(name, parent, knot): &Knot| {
        (name.to_string(), parent.to_string(), knot.iter().map(|module| module.to_string()).collect::<Vec<_>>())
    };
    let known: BTreeSet<_> = KNOTS.iter().map(known).collect();
    for (name, parent, knot) in found.difference(&known) {
        let place = if parent.is_empty() { String::new() } else { format!("::{parent}") };
        problems.push(format!("crates/{name}: a circle of imports in {name}{place}: {}", knot.join(" ↔ ")));
    }
    for (name, parent, knot) in known.difference(&found) {
        problems.push(format!(
            "xtask/src/tidy/circles.rs: {name}::{parent} is not tied like {} any more: shrink KNOTS",
            knot.join(" ↔ ")
        ));
    }
}

/// The files of a crate by their module, tests aside.
fn modules(folder: &Path, parent: &Module, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if stem == "tests" {
            continue;
        }
        let own = if matches!(stem.as_str(), "lib" | "main") && parent.is_empty() {
            Vec::new()
        } else {
            [parent.as_slice(), &[stem]].concat()
        };
        if path.is_dir() {
            modules(&path, &own, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            files.insert(own, text.split(concat!("#[cfg", "(test)]\nmod tests {")).next().unwrap_or_default().into());
        }
    }
}

/// Parents, and the children of each that know each other in a circle.
fn knots(files: &BTreeMap<Module, String>) -> Vec<(String, Vec<String>)> {
    let mut edges: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, text) in files {
        for path in paths(module, text) {
            let target = resolved(files, path);
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            // One is the other's ancestor, or the same.
            if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                let siblings = edges.entry(module[..shared].to_vec()).or_default();
                siblings.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    let mut all = Vec::new();
    for (parent, edges) in &edges {
        let reached = |from: &String| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(module) = next.pop() {
                next.extend(edges.get(module).into_iter().flatten().filter(|to| seen.insert((*to).clone())));
            }
            seen
        };
        let reach: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|module| (module, reached(module))).collect();
        let circle = |module: &String| -> Vec<String> {
            let back = |other: &&String| reach.get(other).is_some_and(|reached| reached.contains(module));
            reach[module].iter().filter(back).cloned().collect()
        };
        let circles: BTreeSet<Vec<String>> = edges.keys().map(circle).filter(|circle| circle.len() > 1).collect();
        all.extend(circles.into_iter().map(|circle| (parent.join("::"), circle)));
    }
    all
}

/// Every path that a file names from the crate's root: of `use` declarations and in code.
fn paths(module: &Module, text: &str) -> BTreeSet<Module> {
    let mut paths = BTreeSet::new();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for word in ["crate::", "super::"] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| is_word(c) || c == ':') {
                continue;
            }
            let (mut base, mut rest) = (Vec::new(), &code[at..]);
            if let Some(after) = rest.strip_prefix("crate::") {
                rest = after;
            } else {
                base = module.clone();
                while let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                }
            }
            tree(&base, rest, &mut paths);
        }
    }
    paths
}

/// The paths of a tree of imports: `a::{b, c::d}`.
fn tree(base: &Module, text: &str, paths: &mut BTreeSet<Module>) {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inside.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => return tree(base, &inside[start..at], paths),
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    tree(base, &inside[start..at], paths);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let path = if end == 0 || &text[..end] == "self" {
        base.clone()
    } else {
        [base.as_slice(), &[text[..end].into()]].concat()
    };
    match text[end..].strip_prefix("::") {
        Some(rest) => tree(&path, rest, paths),
        None => drop(paths.insert(path)),
    }
}

/// The module that a path leads to, through what parents re-export.
fn resolved(files: &BTreeMap<Module, String>, path: Module) -> Module {
    let mut module = path.clone();
    while !files.contains_key(&module) && module.pop().is_some() {}
    let Some(name) = path.get(module.len()) else { return module };
    let text = files.get(&module).map(String::as_str).unwrap_or_default();
    for line in text.split(';').filter_map(|part| part.trim_start().rsplit_once("use ").map(|(_, rest)| rest)) {
        let mut names = BTreeSet::new();
        let line = line.strip_prefix("crate::").unwrap_or(line);
        tree(&module, line, &mut names);
        let from = names.iter().find(|path| path.last() == Some(name) && path.len() > module.len() + 1);
        if let Some(mut from) = from.cloned() {
            from.pop();
            if files.contains_key(&from) {
                return from;
            }
        }
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knots_of(files: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
        let module = |name: &str| name.split("::").filter(|part| !part.is_empty()).map(String::from).collect();
        knots(&files.iter().map(|(name, text)| (module(name), text.to_string())).collect())
    }

    #[test]
    fn siblings_in_a_circle_are_found_whatever_lies_between() {
        let files = [
            ("", ""),
            ("a", "use crate::b::x;"),
            ("b", ""),
            ("b::c", "fn f() { crate::d::g() }"),
            ("d", "use super::a;"),
        ];
        assert_eq!(knots_of(&files), [(String::new(), vec!["a".into(), "b".into(), "d".into()])]);
    }

    #[test]
    fn parent_and_child_may_know_each_other() {
        assert_eq!(knots_of(&[("", "use a::X;"), ("a", "use b::Y;"), ("a::b", "use super::X; use crate::Z;")]), []);
        assert_eq!(knots_of(&[("", ""), ("a", "use crate::b::X;"), ("b", "// crate::a::Y")]), []);
    }

    #[test]
    fn reexported_name_leads_to_where_it_comes_from() {
        let root = "pub use kind::{Context, Kind};";
        let files =
            [("", root), ("kind", "use crate::row::{AGE, NAME};"), ("row", "use crate::{Kind, data};"), ("data", "")];
        assert_eq!(knots_of(&files), [(String::new(), vec!["kind".into(), "row".into()])]);
    }
}
