//! What a run found: lines for the reader, and docs/conformance.md for those who come later.
//!
//! The document keeps one row per test of the lists; a run over some of them renews their rows and leaves the others.
//! Law: a row says what the last run of that test here said, never what was hoped for.

use super::list::{Test, beyond, tests};
use super::suite::Outcome;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A row of the document: `passed` or the reason of the failure, and the seconds it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub verdict: String,
    pub seconds: f64,
}

pub type Rows = BTreeMap<String, Row>;

const PASSED: &str = "passed";
const UNKNOWN: &str = "not run yet";

/// Prints a line for each failure with its reason, then `N/M`; true if all passed.
pub fn print(selected: &[Test], outcomes: &BTreeMap<&'static str, Outcome>) -> bool {
    let mut passed = 0;
    for test in selected {
        match outcomes.get(test.name).map(|outcome| &outcome.failure) {
            Some(None) => passed += 1,
            Some(Some(reason)) => println!("FAILED {} {}: {reason}", test.stage, test.name),
            None => println!("FAILED {} {}: the suite does not know it", test.stage, test.name),
        }
    }
    println!("{passed}/{}", selected.len());
    passed == selected.len()
}

/// Renews the rows of the tests that ran, and the counts above them.
pub fn record(document: &Path, outcomes: &BTreeMap<&'static str, Outcome>) -> Result<()> {
    let mut rows = read(document);
    for (name, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.reached) {
        let verdict = outcome.failure.as_deref().unwrap_or(PASSED);
        rows.insert((*name).to_owned(), Row { verdict: verdict.to_owned(), seconds: outcome.seconds });
    }
    fs::create_dir_all(document.parent().context("the document has a folder")?)?;
    fs::write(document, render(&rows)).with_context(|| format!("writing {}", document.display()))
}

/// The rows of the document; none if there is no document.
pub fn read(document: &Path) -> Rows {
    let text = fs::read_to_string(document).unwrap_or_default();
    text.lines().filter_map(row_of).collect()
}

/// The tests that the document calls passed in under `seconds`.
pub fn quick(rows: &Rows, selected: &[Test], seconds: f64) -> Vec<Test> {
    let fast = |test: &&Test| rows.get(test.name).is_some_and(|row| row.verdict == PASSED && row.seconds < seconds);
    selected.iter().filter(fast).copied().collect()
}

/// The whole document.
pub fn render(rows: &Rows) -> String {
    let mut text = String::from(HEAD);
    tables(&mut text, &tests(), rows);
    text.push_str(BEYOND);
    tables(&mut text, &beyond(), rows);
    text
}

/// The counts and the verdicts.
fn tables(text: &mut String, all: &[Test], rows: &Rows) {
    let passed = |test: &&Test| rows.get(test.name).is_some_and(|row| row.verdict == PASSED);
    let _ = writeln!(text, "| stage | passed | of |\n|---|---|---|");
    let stages: BTreeSet<&str> = all.iter().map(|test| test.stage).collect();
    for stage in stages {
        let of: Vec<&Test> = all.iter().filter(|test| test.stage == stage).collect();
        let _ = writeln!(text, "| {stage} | {} | {} |", of.iter().copied().filter(passed).count(), of.len());
    }
    let _ = writeln!(text, "| all | {} | {} |\n", all.iter().filter(passed).count(), all.len());
    let _ = writeln!(text, "| stage | test | verdict | seconds |\n|---|---|---|---|");
    for test in all {
        let (verdict, seconds) = match rows.get(test.name) {
            Some(row) => (cell(&row.verdict), format!("{:.1}", row.seconds)),
            None => (UNKNOWN.to_owned(), String::new()),
        };
        let _ = writeln!(text, "| {} | {} | {verdict} | {seconds} |", test.stage, cell(test.name));
    }
}

const HEAD: &str = "# The official suite\n
What Kubernetes' own end-to-end suite says of Gousse: the 462 tests of its release 1.37 that carry `[Conformance]`, unmodified, \
on one machine. `cargo xtask conformance` writes this file; how it runs the suite stands in conformance/README.md. A test that \
did not pass has the suite's own message beside it; the seconds are those it took here.\n\n";

const BEYOND: &str = "\n## Beyond\n
The suite's further tests of nodes and volumes (`[sig-node]`, `[sig-storage]`, `[NodeConformance]` and others) that need no \
cloud, driver, hardware or feature that is off by default: `cargo xtask conformance --beyond`.\n\n";

fn row_of(line: &str) -> Option<(String, Row)> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let [_stage, name, verdict, seconds] = cells.as_slice() else { return None };
    let row = Row { verdict: plain(verdict), seconds: seconds.trim().parse().ok()? };
    Some((plain(name), row))
}

/// A text inside a table's cell: bars would end it, angle brackets and stars would be read as markup.
fn cell(text: &str) -> String {
    MARKUP.iter().fold(text.to_owned(), |text, (plain, written)| text.replace(plain, written))
}

fn plain(cell: &str) -> String {
    MARKUP.iter().rev().fold(cell.to_owned(), |text, (plain, written)| text.replace(written, plain))
}

const MARKUP: &[(&str, &str)] = &[("&", "&amp;"), ("|", "&#124;"), ("<", "&lt;"), (">", "&gt;"), ("*", "&#42;")];
