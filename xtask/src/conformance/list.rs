//! The 462 tests of the release with their stages on our ladder, and which of them a run takes.
//!
//! `conformance/stages.tsv` holds them; the suite itself is asked whether it has exactly these under `[Conformance]`,
//! each time it is built. Law: what is selected comes from this list alone, so that M means the same everywhere.

use super::cache::{Cache, Product, run};
use super::programs::Programs;
use anyhow::{Context, Result, bail};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const LIST: &str = include_str!("../../../conformance/stages.tsv");

/// One test of the list: the name is the suite's own, in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    pub stage: &'static str,
    pub name: &'static str,
}

impl Test {
    /// Whether it must have the cluster to itself.
    pub fn alone(&self) -> bool {
        self.name.contains("[Serial]") || self.name.contains("[Disruptive]")
    }
}

/// All tests, by stage and name.
pub fn tests() -> Vec<Test> {
    let rows = LIST.lines().filter_map(|line| line.split_once('\t'));
    rows.map(|(stage, name)| Test { stage, name }).collect()
}

/// The tests of a stage (all, without one) whose names match an expression (all, without one).
pub fn select(stage: Option<&str>, focus: Option<&str>) -> Result<Vec<Test>> {
    let all = tests();
    let stages: BTreeSet<&str> = all.iter().map(|test| test.stage).collect();
    if let Some(stage) = stage.filter(|stage| !stages.contains(stage)) {
        let known: Vec<_> = stages.into_iter().collect();
        bail!("there is no stage {stage}; the stages are {}", known.join(", "));
    }
    let focus = focus.map(Regex::new).transpose().context("--focus takes a regular expression")?;
    let wanted = |test: &Test| {
        stage.is_none_or(|stage| test.stage == stage) && focus.as_ref().is_none_or(|focus| focus.is_match(test.name))
    };
    let selected: Vec<Test> = all.into_iter().filter(wanted).collect();
    if selected.is_empty() {
        bail!("no test of the list is selected");
    }
    Ok(selected)
}

/// Asks the built suite for its tests, and fails unless those under `[Conformance]` are exactly the list.
pub fn check(cache: &Cache, programs: &Programs) -> Result<Product> {
    let suite = programs.get("e2e.test");
    cache.product("tests.txt", &["1", &suite.key, LIST], |out| {
        let printed = run(Command::new(&suite.path).arg("--list-tests"))?;
        let printed = String::from_utf8(printed)?;
        compare(&printed)?;
        Ok(fs::write(out, printed)?)
    })
}

/// What `--list-tests` printed (a line is `    file:line: name`) against the list.
pub fn compare(printed: &str) -> Result<()> {
    let names = printed.lines().filter_map(|line| line.trim_start().split_once(": ").map(|(_, name)| name));
    let offered: BTreeSet<&str> = names.filter(|name| name.contains("[Conformance]")).collect();
    let listed: BTreeSet<&str> = tests().iter().map(|test| test.name).collect();
    if offered == listed {
        return Ok(());
    }
    let missing: Vec<_> = listed.difference(&offered).copied().collect();
    let unknown: Vec<_> = offered.difference(&listed).copied().collect();
    bail!(
        "the suite has {} tests under [Conformance], conformance/stages.tsv has {}\nnot in the suite: {}\nnot in the list: {}",
        offered.len(),
        listed.len(),
        missing.join("\n  "),
        unknown.join("\n  "),
    )
}
