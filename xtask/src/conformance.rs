//! `cargo xtask conformance`: Kubernetes' own end-to-end suite, unmodified, as the judge.
//!
//! Outside: build the programs and the images that are missing. Inside namespaces of the run's own: start a cluster, load
//! the images, run the suite, say what failed and why, and last `N/M`. With `--kubeconfig` the cluster is another's, and
//! the suite runs where the command was called. Laws: no test is skipped, retried or given more time; every run ends by
//! its deadline and leaves no process, mount, link or folder behind; only a run on our own cluster is recorded.

/// Build products and when they are current.
pub mod cache;
/// A cluster of the run's own.
pub mod cluster;
/// The images.
mod images;
/// Images as files: an OCI layout and a docker archive at once.
pub mod layout;
/// The tests, their stages, and which a run takes.
mod list;
/// Nodes beside the first.
mod machines;
/// The namespaces of a run.
pub mod namespace;
/// The command line.
mod options;
/// The Go programs.
pub mod programs;
/// The images that tests pull, served as their registry would.
pub mod registry;
/// The file trees of the images.
pub mod roots;
/// The suite's passes and what they report.
mod suite;
#[cfg(test)]
mod tests;
/// Lines, counts and docs/conformance.md.
mod verdict;

use crate::needs::{self, Need};
use anyhow::{Context, Result, bail};
use options::{Options, USAGE};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use suite::{Outcome, Suite};

/// A whole run took upstream's own programs 40 minutes on two cores.
const LIMIT: Duration = Duration::from_secs(100 * 60);
const LIMIT_QUICK: Duration = Duration::from_secs(10 * 60);

/// What builds the suite and its images.
const NEEDS: &[Need] = &[
    ("go", "golang-go", "builds the official suite (Go 1.26 or later; https://go.dev/dl where Debian's is older)"),
    ("cc", "gcc", "builds static programs of images"),
    ("debootstrap", "debootstrap", "makes the images' Debian root"),
    ("tar", "tar", "packs images"),
];

/// What a quick run takes of the tests that passed.
const QUICK_SECONDS: f64 = 5.0;

/// Runs the command; true if all the selected tests passed.
pub fn conformance(words: &[String]) -> Result<bool> {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return Ok(true);
    }
    let options = Options::parse(words)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    let document = workspace.join("docs/conformance.md");
    let all = if options.beyond { list::beyond() } else { list::tests() };
    let mut tests = list::select(all, options.stage.as_deref(), options.focus.as_deref())?;
    if options.quick {
        tests = verdict::quick(&verdict::read(&document), &tests, QUICK_SECONDS);
        if tests.is_empty() {
            bail!("{} calls no test passed yet: run without --quick first", document.display());
        }
    }
    let own_cluster: &[Need] = if options.kubeconfig.is_none() { needs::NAMESPACES } else { &[] };
    needs::check(&[NEEDS, needs::PACKAGES, own_cluster])?;
    // Inside, everything was built by the same command outside; the cache is only read.
    let cache = cache::Cache::open()?;
    let programs = programs::build(&cache, &workspace.join("conformance"))?;
    list::check(&cache, &programs)?;
    let images = images::pack(&cache, &programs)?;
    drop(cache);
    if options.build_only {
        println!("{}", images.archive.display());
        return Ok(true);
    }
    let run =
        Run { options: &options, workspace, document: &document, tests: &tests, programs: &programs, images: &images };
    match &options.kubeconfig {
        Some(kubeconfig) => {
            let outcomes = run.judge(kubeconfig)?;
            Ok(run.close(outcomes))
        }
        None => match namespace::inside() {
            Some(home) => run.on_own_cluster(&home),
            None => cluster::enter("conformance", words, options.gousse.as_deref(), workspace, &["--release"]),
        },
    }
}

struct Run<'a> {
    options: &'a Options,
    workspace: &'a Path,
    document: &'a Path,
    tests: &'a [list::Test],
    programs: &'a programs::Programs,
    images: &'a images::Images,
}

impl Run<'_> {
    /// Starts a cluster in the namespaces that this process is in, judges it, and takes it down.
    fn on_own_cluster(&self, home: &Path) -> Result<bool> {
        let gousse = self.options.gousse.as_deref().context("the program to judge is named by the call outside")?;
        namespace::furnish(home)?;
        registry::serve(&self.images.layout)?;
        let out = self.out();
        std::fs::create_dir_all(&out)?;
        let kubectl = self.programs.path("kubectl");
        let mut cluster = cluster::Cluster::start(gousse, kubectl, home, &out.join("gousse.log"))?;
        let grown = cluster.grow(self.options.nodes, kubectl, home);
        let loaded = grown.and_then(|()| cluster.load(&self.images.archive));
        let judged = loaded.and_then(|()| self.judge(&cluster.kubeconfig));
        cluster.stop();
        let outcomes = judged?;
        if !self.options.quick {
            verdict::record(self.document, &outcomes)?;
        }
        Ok(self.close(outcomes))
    }

    fn judge(&self, kubeconfig: &Path) -> Result<BTreeMap<&'static str, Outcome>> {
        let limit = if self.options.quick { LIMIT_QUICK } else { LIMIT };
        let suite = Suite {
            ginkgo: self.programs.path("ginkgo"),
            e2e: self.programs.path("e2e.test"),
            kubectl: self.programs.path("kubectl"),
            kubeconfig,
            out: self.out(),
            deadline: Instant::now() + limit,
        };
        suite.run(self.tests, self.options.procs)
    }

    /// Says what failed. A quick run judges what it reached in its ten minutes; any other judges all it selected.
    fn close(&self, outcomes: BTreeMap<&'static str, Outcome>) -> bool {
        let reached =
            |test: &&list::Test| !self.options.quick || outcomes.get(test.name).is_some_and(|told| told.reached);
        let judged: Vec<list::Test> = self.tests.iter().filter(reached).copied().collect();
        if judged.len() < self.tests.len() {
            println!(
                "not reached in {} minutes: {} tests",
                LIMIT_QUICK.as_secs() / 60,
                self.tests.len() - judged.len()
            );
        }
        println!("reports: {}", self.out().display());
        verdict::print(&judged, &outcomes) && !judged.is_empty()
    }

    /// Logs, JUnit XML and ginkgo's JSON.
    fn out(&self) -> PathBuf {
        self.workspace.join("target/conformance")
    }
}
