//! The suite's tests that are listed, and which of them a run takes.
//!
//! `conformance/stages.tsv` holds the 462 of the release with their stages on our ladder, `conformance/beyond.tsv` the
//! tests of nodes, volumes and network policies that any machine can run and that are no part of conformance; the suite
//! itself is asked whether it has exactly these, each time it is built. Law: what is selected comes from these lists
//! alone, so that M means the same everywhere.

use super::cache::{Cache, Product, run};
use super::programs::Programs;
use anyhow::{Context, Result, bail};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const LIST: &str = include_str!("../../../conformance/stages.tsv");
const BEYOND: &str = include_str!("../../../conformance/beyond.tsv");
/// What no test beyond has in its name: what is off by default or needs a provider, a driver, hardware, another system,
/// or kinds of storage, whose issue brings their tests.
const NEEDS_MORE: &[&str] = &[
    "[Conformance]",
    "[Alpha]",
    "OffByDefault",
    "[Feature:",
    "[Provider:",
    "[DRA]",
    "DRA ",
    "CSI",
    "NFS",
    "Windows",
    "PersistentVolumes",
    "GenericPersistentVolume",
    "PVC ",
    "PV ",
    "Dynamic Provisioning",
    "StorageClass",
    "Volume metrics",
];
/// Drivers that are none.
const PLAIN_DRIVERS: &[&str] = &["[Driver: emptydir]", "[Driver: hostPath]", "[Driver: hostPathSymlink]"];

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

/// All conformance tests, by stage and name.
pub fn tests() -> Vec<Test> {
    rows(LIST)
}

/// The tests beyond, by `network`, `node` or `storage` and name.
pub fn beyond() -> Vec<Test> {
    rows(BEYOND)
}

fn rows(list: &'static str) -> Vec<Test> {
    list.lines().filter_map(|line| line.split_once('\t')).map(|(stage, name)| Test { stage, name }).collect()
}

/// Whether the test is one of those beyond.
fn is_beyond(name: &str) -> bool {
    if name.starts_with("[sig-network] Netpol ") {
        // It needs a kernel module.
        return !name.contains("[Feature:SCTPConnectivity]");
    }
    let of_ours = name.starts_with("[sig-node]") || name.starts_with("[sig-storage]");
    let driven = name.contains("[Driver: ") && !PLAIN_DRIVERS.iter().any(|driver| name.contains(driver));
    of_ours && !driven && !NEEDS_MORE.iter().any(|mark| name.contains(mark))
}

/// Of `all` the tests of a stage (of every one, without) whose names match an expression (each, without one).
pub fn select(all: Vec<Test>, stage: Option<&str>, focus: Option<&str>) -> Result<Vec<Test>> {
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

/// Asks the built suite for its tests, and fails unless those under `[Conformance]` and those beyond are the lists.
pub fn check(cache: &Cache, programs: &Programs) -> Result<Product> {
    let suite = programs.get("e2e.test");
    cache.product("tests.txt", &["2", &suite.key, LIST, BEYOND], |out| {
        let printed = run(Command::new(&suite.path).arg("--list-tests"))?;
        let printed = String::from_utf8(printed)?;
        compare(&printed)?;
        Ok(fs::write(out, printed)?)
    })
}

/// What `--list-tests` printed (a line is `    file:line: name`) against the lists.
pub fn compare(printed: &str) -> Result<()> {
    let names = printed.lines().filter_map(|line| line.trim_start().split_once(": ").map(|(_, name)| name));
    let names: BTreeSet<&str> = names.collect();
    let of = |wanted: fn(&str) -> bool| names.iter().copied().filter(|name| wanted(name)).collect();
    alike("stages.tsv", &of(|name| name.contains("[Conformance]")), &tests())?;
    alike("beyond.tsv", &of(is_beyond), &beyond())
}

fn alike(file: &str, offered: &BTreeSet<&str>, list: &[Test]) -> Result<()> {
    let listed: BTreeSet<&str> = list.iter().map(|test| test.name).collect();
    if *offered == listed {
        return Ok(());
    }
    let missing: Vec<_> = listed.difference(offered).copied().collect();
    let unknown: Vec<_> = offered.difference(&listed).copied().collect();
    bail!(
        "the suite has {} tests of those that conformance/{file} lists, which has {}\nnot in the suite: {}\nnot in the list: {}",
        offered.len(),
        listed.len(),
        missing.join("\n  "),
        unknown.join("\n  "),
    )
}
