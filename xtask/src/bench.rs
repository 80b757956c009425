//! `cargo xtask bench [FLAG…]`: the figures, held against their limits.
//!
//! `--json FILE` writes them, `--only NAME,…` takes those whose names begin so, `--quick` fewer of each,
//! `--gousse FILE` another build. It builds the release binary, makes a network and a mount namespace of its own,
//! and starts `gousse up` in it with fresh folders; the client runs beside it on the same two cores. Limits are
//! those of docs in `bench/README.md`, worked out before measuring. A run with more than 2 % of CPU
//! steal is void and says so.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;

mod cluster;
mod dns;
mod idle;
mod ingress;
mod large;
mod pods;
mod reads;
mod throughput;
mod workloads;

const INSIDE: &str = "GOUSSE_BENCH_INSIDE";
/// The binary that is measured, where it is not this tree's.
const BINARY: &str = "GOUSSE_BENCH_BINARY";

/// One line of the table.
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    /// In the order in which they were taken.
    pub samples: Vec<f64>,
    /// A bound from above, or from below where more is better.
    pub limit: f64,
    pub more_is_better: bool,
}

impl Figure {
    pub fn below(name: &'static str, unit: &'static str, limit: f64, samples: Vec<f64>) -> Figure {
        Figure { name, unit, samples, limit, more_is_better: false }
    }

    pub fn above(name: &'static str, unit: &'static str, limit: f64, samples: Vec<f64>) -> Figure {
        Figure { name, unit, samples, limit, more_is_better: true }
    }

    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    fn is_met(&self) -> bool {
        let median = self.at(0.5);
        if self.more_is_better { median >= self.limit } else { median <= self.limit }
    }
}

/// What is to be measured.
pub struct Plan {
    pub only: Vec<String>,
    pub quick: bool,
}

impl Plan {
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// Repetitions: as given, fewer when quick.
    pub fn times(&self, full: usize) -> usize {
        if self.quick { (full / 5).max(3) } else { full }
    }
}

/// Measures; true when the run was not void.
pub fn bench(words: &[String]) -> Result<bool> {
    let mut json_file = None;
    let mut plan = Plan { only: Vec::new(), quick: false };
    let mut binary = None;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--json" => json_file = Some(PathBuf::from(rest.next().context("--json needs a file")?)),
            "--only" => plan.only = rest.next().context("--only needs names")?.split(',').map(String::from).collect(),
            "--quick" => plan.quick = true,
            "--gousse" => binary = Some(std::path::absolute(rest.next().context("--gousse needs a file")?)?),
            other => bail!("{other:?}: cargo xtask bench [--json FILE] [--only NAME,…] [--quick] [--gousse FILE]"),
        }
    }
    if std::env::var_os(INSIDE).is_none() {
        crate::needs::check(&[crate::needs::NAMESPACES])?;
        if binary.is_none() {
            let build = crate::cargo::cargo().args(["build", "--release"]).status()?;
            anyhow::ensure!(build.success(), "the release build failed");
        }
        // unshare before any thread starts: the namespaces end with this process tree.
        let inside = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe()?)
            .arg("bench")
            .args(words)
            .env(INSIDE, "1")
            .envs(binary.map(|binary| (BINARY, binary)))
            .status()?;
        return Ok(inside.success());
    }
    // A new network namespace begins with its loopback down.
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    anyhow::ensure!(up.success(), "ip link set lo up failed");
    let steal = Steal::now()?;
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let figures = runtime.block_on(measure(&plan))?;
    let stolen = steal.share_since()?;
    print_table(&figures);
    println!(
        "{:.0} s; CPU steal {stolen:.1} %{}",
        begun.elapsed().as_secs_f64(),
        if stolen > 2.0 { ": void" } else { "" }
    );
    if let Some(path) = json_file {
        let all: Vec<_> = figures
            .iter()
            .map(|f| json!({"name": f.name, "unit": f.unit, "min": f.at(0.0), "p50": f.at(0.5), "p99": f.at(0.99), "n": f.samples.len()}))
            .collect();
        std::fs::write(&path, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(stolen <= 2.0)
}

async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if plan.wants("ready_ms") {
        figures.push(cluster::ready(plan).await?);
    }
    let cluster = cluster::Cluster::start().await?;
    let measured = measure_one(plan, &cluster).await;
    cluster.stop().await?;
    figures.extend(measured?);
    figures.extend(large::measure(plan).await?);
    if plan.wants("binary_mb") {
        let bytes = std::fs::metadata(cluster::binary()?)?.len();
        figures.push(Figure::below("binary_mb", "MB", 25.0, vec![bytes as f64 / 1e6]));
    }
    Ok(figures)
}

async fn measure_one(plan: &Plan, cluster: &cluster::Cluster) -> Result<Vec<Figure>> {
    let mut figures = idle::measure(plan, cluster).await?;
    figures.extend(pods::measure(plan, cluster).await?);
    figures.extend(workloads::measure(plan, cluster).await?);
    figures.extend(throughput::measure(plan, cluster).await?);
    figures.extend(reads::measure(plan, cluster).await?);
    figures.extend(dns::measure(plan, cluster).await?);
    figures.extend(ingress::measure(plan, cluster).await?);
    Ok(figures)
}

fn print_table(figures: &[Figure]) {
    println!("{:<28} {:>5} {:>10} {:>10} {:>10} {:>5} {:>12}", "name", "unit", "min", "p50", "p99", "n", "limit");
    for f in figures {
        let sign = if f.more_is_better { ">=" } else { "<=" };
        let verdict = if f.is_met() { "" } else { "  MISSED" };
        println!(
            "{:<28} {:>5} {:>10.2} {:>10.2} {:>10.2} {:>5} {sign}{:>10}{verdict}",
            f.name,
            f.unit,
            f.at(0.0),
            f.at(0.5),
            f.at(0.99),
            f.samples.len(),
            f.limit
        );
    }
}

/// The processor's time counters from /proc/stat.
struct Steal {
    stolen: u64,
    all: u64,
}

impl Steal {
    fn now() -> Result<Steal> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let first = text.lines().next().unwrap_or_default();
        let numbers: Vec<u64> = first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        Ok(Steal { stolen: numbers.get(7).copied().unwrap_or(0), all: numbers.iter().sum() })
    }

    fn share_since(&self) -> Result<f64> {
        let now = Steal::now()?;
        Ok((now.stolen - self.stolen) as f64 * 100.0 / ((now.all - self.all) as f64).max(1.0))
    }
}
