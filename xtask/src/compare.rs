//! `cargo xtask compare`: what a stock API server and Gousse's answer to the same requests.
//!
//! Outside: build what is missing. Inside namespaces of the run's own: start both, ask their discovery what both
//! serve, send each kind's cases to both, level what must differ (`level`), compare the rest (`difference`), and group
//! what is left by its cause (`report`). Law: nothing is passed over in silence; a difference that is meant stands with
//! its reason in `xtask/compare/purposes.tsv`, and a row there that explains nothing any more fails a whole run.

/// Requests in an order, and what becomes of them.
mod cases;
/// What two answers differ in.
mod difference;
/// Documents about the API, comparable.
mod documents;
/// Bodies in whatever form they come.
mod forms;
/// What must differ, made equal.
mod level;
/// Values that are wrong in one place, along the schema.
mod mutations;
/// Differences by their cause.
mod report;
/// Both servers.
mod servers;
/// The kinds that both serve, with a valid object of each.
mod subjects;
#[cfg(test)]
mod tests;
/// What controllers make of workloads.
mod workloads;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures::StreamExt;

use crate::conformance::{cache, cluster, namespace, programs};
use crate::flags;
use crate::needs::{self, Need};
use cases::Case;
use report::Report;
use servers::Servers;

const USAGE: &str = "cargo xtask compare [--gousse FILE] [--kind REGEX] [--case REGEX] [--all] [--build-only]

  --gousse FILE  compare this program instead of a debug build of the workspace
  --kind REGEX   only kinds whose name matches: pods, ingresses.networking.k8s.io/v1; outside: what is no kind's
  --case REGEX   only cases whose name matches
  --all          print those that are on purpose too
  --workloads    compare what controllers make of workloads instead (docs/testing.md)
  --build-only   build what it needs, and stop";

const NEEDS: &[Need] = &[
    ("go", "golang-go", "builds the stock API server (Go 1.26 or later; https://go.dev/dl where Debian's is older)"),
    ("openssl", "openssl", "makes the key of service accounts' tokens"),
];

/// Kinds whose cases are under way at once.
const AT_ONCE: usize = 6;

#[derive(Default)]
struct Options {
    gousse: Option<PathBuf>,
    kind: Option<regex::Regex>,
    case: Option<regex::Regex>,
    all: bool,
    workloads: bool,
    build_only: bool,
}

impl Options {
    fn parse(words: &[String]) -> Result<Options> {
        let mut options = Options::default();
        flags::each(words, USAGE, |flag, value| {
            match flag {
                "--gousse" => options.gousse = Some(std::path::absolute(value()?)?),
                "--kind" => options.kind = Some(regex::Regex::new(&format!("^(?:{})", value()?))?),
                "--case" => options.case = Some(regex::Regex::new(&value()?)?),
                "--all" => options.all = true,
                "--workloads" => options.workloads = true,
                "--build-only" => options.build_only = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(options)
    }

    /// All cases of all kinds.
    fn is_whole(&self) -> bool {
        self.kind.is_none() && self.case.is_none()
    }

    fn takes(&self, case: &Case) -> bool {
        self.names(&case.kind, &case.name)
    }

    fn names(&self, of_kind: &str, of_case: &str) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind.is_match(of_kind))
            && self.case.as_ref().is_none_or(|name| name.is_match(of_case))
    }
}

/// Runs the command; true if nothing differs but what is meant to.
pub fn compare(words: &[String]) -> Result<bool> {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return Ok(true);
    }
    let options = Options::parse(words)?;
    needs::check(&[NEEDS, needs::NAMESPACES])?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    let cache = cache::Cache::open()?;
    let apiserver = programs::apiserver(&cache, &workspace.join("conformance"))?;
    let etcd = programs::etcd(&cache)?;
    let manager = match options.workloads {
        true => Some(programs::component(&cache, &workspace.join("conformance"), "kube-controller-manager")?),
        false => None,
    };
    drop(cache);
    if options.build_only {
        println!("{}\n{}", apiserver.path.display(), etcd.path.display());
        return Ok(true);
    }
    let Some(home) = namespace::inside() else {
        return cluster::enter("compare", words, options.gousse.as_deref(), workspace, &[]);
    };
    let gousse = options.gousse.as_deref().context("the program to compare is named by the call outside")?;
    namespace::furnish(&home)?;
    let out = workspace.join("target/compare");
    std::fs::create_dir_all(&out)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let flags: &[&str] = if options.workloads { &["--scheduler=false", workloads::CONTROLLERS] } else { &[] };
        let servers = Servers::start(&apiserver.path, &etcd.path, (gousse, flags), &home, &out).await?;
        let report = match &manager {
            Some(manager) => {
                let _running = workloads::manager(&manager.path, &home, &out)?;
                workloads::all(&servers, &options).await
            }
            None => all(&servers, &options).await,
        };
        servers.stop().await;
        report
    })?;
    let file = if options.workloads { "workloads.txt" } else { "differences.txt" };
    report.write(&out.join(file))?;
    Ok(report.print(options.all, options.is_whole()))
}

/// Sends every case to both servers. The cases of a kind follow each other, kinds go on side by side.
async fn all(servers: &Servers, options: &Options) -> Result<Report> {
    let (subjects, unserved) = subjects::served(servers).await?;
    let mut report = Report::new(report::PURPOSES, unserved)?;
    let mut runs: Vec<Vec<Case>> = vec![cases::outside(&subjects)];
    for subject in &subjects {
        runs.push(cases::of(subject));
    }
    for run in &mut runs {
        run.retain(|case| options.takes(case));
    }
    let runs = runs.into_iter().filter(|run| !run.is_empty());
    let mut compared = futures::stream::iter(runs.map(async |run| {
        let mut told = Vec::new();
        for case in run {
            told.push(case.run(servers).await);
        }
        told
    }))
    .buffer_unordered(AT_ONCE);
    while let Some(told) = compared.next().await {
        for told in told {
            report.add(told?);
        }
    }
    Ok(report)
}
