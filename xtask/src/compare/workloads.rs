//! `cargo xtask compare --workloads`: the same workloads under upstream's controllers and under ours.
//!
//! Beside the stock API server runs upstream's kube-controller-manager, beside ours our controllers; nobody schedules,
//! and what happens to pods is written by this program as a kubelet would (`kubelet`), the same on both sides, one pod
//! after the other, each when all that followed from the one before has happened (`side`: nothing changes any more).
//! After each step of a case (`cases`) all objects and events of its namespace are compared, and at its end the
//! sequences of each condition (`told`). Each case has a namespace of its own, and all go on side by side.

/// What is asked, step by step.
mod cases;
/// What becomes of pods.
mod kubelet;
/// One of the clusters, as it is followed.
mod side;
/// What there is, comparable.
mod told;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::Options;
use super::cases::{Step, Told};
use super::difference::{self, Difference};
use super::report::Report;
use super::servers::{Servers, TOKEN};
use cases::{Act, Case};
use side::Side;
use told::Snapshot;

/// Whose controllers are left out on both sides: nodes are objects only, nobody renews their leases.
pub const CONTROLLERS: &str =
    "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller";

/// What is meant to differ, as `purposes.tsv` has it of requests.
pub const PURPOSES: &str = "compare/workloads.tsv";

/// Cases under way at once.
const AT_ONCE: usize = 12;

/// Upstream's controllers, on the stock server.
pub fn manager(program: &Path, home: &Path, out: &Path) -> Result<Child> {
    let kubeconfig = home.join("manager.kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stock",
        "clusters": [{"name": "stock", "cluster": {"server": "https://127.0.0.1:7443", "insecure-skip-tls-verify": true}}],
        "users": [{"name": "stock", "user": {"token": TOKEN}}],
        "contexts": [{"name": "stock", "context": {"cluster": "stock", "user": "stock"}}],
    });
    std::fs::write(&kubeconfig, text.to_string())?;
    let log = std::fs::File::create(out.join("kube-controller-manager.log"))?;
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(&kubeconfig).args([CONTROLLERS, "--leader-elect=false", "--secure-port", "0"]);
    command.args(["--kube-api-qps", "500", "--kube-api-burst", "1000"]);
    command.current_dir(home).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().context("starting kube-controller-manager")
}

/// Runs all cases on both.
pub async fn all(servers: &Servers, options: &Options) -> Result<Report> {
    let (stock, gousse) = tokio::try_join!(Side::of(servers.stock.client()?), Side::of(servers.gousse.client()?))?;
    let sides = [stock, gousse];
    let chosen = cases::all().into_iter().filter(|case| options.names(case.kind, &case.name));
    let mut compared =
        futures::stream::iter(chosen.map(async |case| compared(&sides, case).await)).buffer_unordered(AT_ONCE);
    let mut report = Report::new(PURPOSES, Vec::new())?;
    while let Some(told) = compared.next().await {
        report.add(told?);
    }
    Ok(report)
}

/// One case on both sides.
async fn compared(sides: &[Side; 2], case: Case) -> Result<Told> {
    let about = || format!("{} {}", case.kind, case.name);
    let (stock, gousse) = tokio::join!(played(&sides[0], &case), played(&sides[1], &case));
    let stock = stock.with_context(|| format!("{}, stock", about()))?;
    let mut differences = Vec::new();
    let gousse = match gousse {
        Ok(gousse) => gousse,
        Err(why) => {
            let place = "not played to its end".to_owned();
            let difference = Difference { place, stock: String::new(), gousse: format!("{why:#}") };
            differences.push((Step::new("", "all steps"), difference));
            Vec::new()
        }
    };
    for (step, (one, other)) in stock.iter().zip(&gousse).enumerate() {
        let act = case.acts.get(step).map_or_else(|| "all its conditions".to_owned(), Act::shown);
        for difference in told::between(one, other) {
            // What stands so since an earlier step is told once.
            if !differences.iter().any(|(_, told)| *told == difference) {
                differences.push((Step::new("", format!("after step {}, {act}", step + 1)), difference));
            }
        }
    }
    Ok(Told { kind: case.kind.to_owned(), name: case.name, requests: case.acts.len(), differences })
}

/// What a side shows after each act, and the sequences at the end.
async fn played(side: &Side, case: &Case) -> Result<Vec<Snapshot>> {
    let namespace = case.namespace();
    side.begin(&namespace).await?;
    let mut shown = Vec::new();
    for (at, act) in case.acts.iter().enumerate() {
        let about = || format!("step {}, {}", at + 1, act.shown());
        done(side, &namespace, act).await.with_context(about)?;
        side.settled(&namespace, case.quiet).await;
        shown.push(told::snapshot(&side.objects(&namespace), &side.identities(&namespace)));
    }
    shown.push(told::sequences(&side.histories(&namespace)));
    Ok(shown)
}

async fn done(side: &Side, namespace: &str, act: &Act) -> Result<()> {
    match act {
        Act::Create(plural, object) => drop(side.client.create(side.kind(plural)?, namespace, object).await?),
        Act::Patch(plural, name, patch) => {
            let kind = side.kind(plural)?;
            side.client.patch(kind, namespace, name, "", client::PatchKind::Merge, patch).await?;
        }
        Act::Delete(plural, name, propagation) => {
            let propagation_policy = (*propagation).to_owned();
            let options = client::DeleteOptions { propagation_policy, ..client::DeleteOptions::default() };
            side.client.delete(side.kind(plural)?, namespace, name, &options).await?;
        }
        Act::Pods(fate, count) => kubelet::act(side, namespace, *fate, *count).await?,
        Act::Play => kubelet::play(side, namespace).await?,
        Act::Until(text) => side.until(namespace, text).await?,
    }
    Ok(())
}

/// A node's object, as a kubelet would have it.
fn node(name: &str) -> Value {
    let resources = json!({"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {"capacity": resources, "allocatable": resources, "conditions": [{"type": "Ready", "status": "True",
            "reason": "KubeletReady", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

/// Where two values differ, below a place.
fn places(place: &str, one: &Value, other: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    difference::values(&mut place.to_owned(), one, other, &mut found);
    found
}
