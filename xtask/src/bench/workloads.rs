//! Deployments on one node: a hundred pods at once, a rolling update, none to one, at rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::resource::PODS;
use api::{Object, Resource};
use client::{Client, ListOptions, PatchKind, WatchOptions, WatchStream};
use serde_json::{Value, json};

use super::cluster::{Cluster, until};
use super::idle::Cost;
use super::pods::{first_logged, left_nothing, milliseconds, now};
use super::{Figure, Plan};

const NAMESPACE: &str = "kube-public";
const HUNDRED: usize = 100;
/// One of them takes so long at most, or the run ends.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn measure(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if plan.wants("scale01_ms") {
        figures.push(within(none_to_one(plan, cluster)).await?);
    }
    if plan.wants("deploy100_ms") || plan.wants("rollout100_s") {
        figures.extend(within(hundred(plan, cluster)).await?);
    }
    if plan.wants("idle100_requests") || plan.wants("idle100_cpu_pct") {
        figures.extend(at_rest(plan, cluster).await?);
    }
    Ok(figures)
}

/// The result, unless it takes far too long.
async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE * 5, work).await.context("a measurement of Deployments takes far too long")?
}

pub fn deployments() -> Resource {
    Resource::namespaced("apps/v1", "Deployment", "deployments")
}

/// A Deployment whose pods are one toolbox container; `mutate` changes their spec.
pub fn deployment(name: &str, replicas: usize, command: &[&str], mutate: impl FnOnce(&mut Value)) -> Value {
    let labels = json!({"app": name});
    let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "toolbox", "command": command}]}}}});
    mutate(&mut deployment["spec"]["template"]["spec"]);
    deployment
}

/// A watch of all Deployments from now on.
async fn watch(client: &Client) -> Result<WatchStream> {
    let kind = deployments();
    let revision = client.list(&kind, NAMESPACE, &ListOptions::default()).await?.revision;
    let options = WatchOptions { resource_version: revision.to_string(), ..WatchOptions::default() };
    Ok(client.watch(&kind, NAMESPACE, &options).await?)
}

/// All of its pods are of the newest template, available, and no others are left.
fn is_complete(object: &Object) -> bool {
    let object = object.value();
    let (count, status) = (|value: &Value| value.as_u64().unwrap_or(0), &object["status"]);
    let wanted = count(&object["spec"]["replicas"]);
    ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| count(&status[field]) == wanted)
        && status["observedGeneration"] == object["metadata"]["generation"]
}

async fn complete(watch: &mut WatchStream) -> Result<Instant> {
    let found = until(watch, |object, deleted| !deleted && is_complete(object));
    tokio::time::timeout(PATIENCE, found).await.context("a Deployment is never complete")?
}

/// Deletes one and waits until nothing of its pods is left on the machine.
async fn end(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.client.delete(&deployments(), NAMESPACE, name, &Default::default()).await?;
    tokio::time::timeout(PATIENCE, async {
        while !cluster.client.list(&PODS, NAMESPACE, &ListOptions::default()).await?.objects.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        left_nothing(cluster).await
    })
    .await
    .context("pods do not go")?
}

/// Created → all hundred available, as a watch of it shows; then another template → all hundred of that one.
async fn hundred(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let (client, kind) = (&cluster.client, deployments());
    let (mut made, mut rolled) = (Vec::new(), Vec::new());
    for round in 0..if plan.quick { 1 } else { 3 } {
        if plan.wants("deploy100_ms") {
            let name = format!("hundred-{round}");
            let mut events = watch(client).await?;
            let begun = Instant::now();
            client.create(&kind, NAMESPACE, &deployment(&name, HUNDRED, &["sleep", "1h"], |_| {})).await?;
            made.push((complete(&mut events).await? - begun).as_secs_f64() * 1e3);
            end(cluster, &name).await?;
        }
        if plan.wants("rollout100_s") {
            let name = format!("rollout-{round}");
            let mut events = watch(client).await?;
            let serving = deployment(&name, HUNDRED, &["web", "-q", "-p", "80", "/"], |spec| {
                spec["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": 80}, "periodSeconds": 1});
            });
            client.create(&kind, NAMESPACE, &serving).await?;
            complete(&mut events).await?;
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {"bench/round": "two"}}}}});
            let begun = Instant::now();
            client.patch(&kind, NAMESPACE, &name, "", PatchKind::Merge, &patch).await?;
            rolled.push((complete(&mut events).await? - begun).as_secs_f64());
            end(cluster, &name).await?;
        }
    }
    let figures = [Figure::below("deploy100_ms", "ms", 1000.0, made), Figure::below("rollout100_s", "s", 2.5, rolled)];
    Ok(figures.into_iter().filter(|figure| !figure.samples.is_empty()).collect())
}

/// The request that scales from none to one → the container's first instruction.
async fn none_to_one(plan: &Plan, cluster: &Cluster) -> Result<Figure> {
    let (client, kind, scratch) = (&cluster.client, deployments(), cluster.scratch()?);
    let file = scratch.join("scaled");
    let puppet = deployment("scaled", 0, &["puppet", "--log", "/scratch/scaled"], |spec| {
        spec["volumes"] = json!([{"name": "scratch", "hostPath": {"path": scratch}}]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    });
    let mut events = watch(client).await?;
    client.create(&kind, NAMESPACE, &puppet).await?;
    complete(&mut events).await?;
    let mut samples = Vec::new();
    for number in 0..plan.times(25) + 2 {
        let scale = async |replicas: usize| {
            let patch = json!({"spec": {"replicas": replicas}});
            client.patch(&kind, NAMESPACE, "scaled", "scale", PatchKind::Merge, &patch).await
        };
        let asked = now();
        scale(1).await?;
        let started = first_logged(&file, "start").await?;
        complete(&mut events).await?;
        scale(0).await?;
        complete(&mut events).await?;
        tokio::time::timeout(PATIENCE, left_nothing(cluster)).await.context("a pod does not go")??;
        std::fs::remove_file(&file)?;
        // The first few warm caches up.
        if number >= 2 {
            samples.push(milliseconds(asked, started));
        }
    }
    end(cluster, "scaled").await?;
    Ok(Figure::below("scale01_ms", "ms", 15.0, samples))
}

/// A hundred Deployments of one pod each, with nothing to do: requests but of leases, and the processor.
async fn at_rest(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let (client, kind) = (&cluster.client, deployments());
    let names: Vec<String> = (0..HUNDRED).map(|number| format!("rest-{number}")).collect();
    let mut events = watch(client).await?;
    let bodies: Vec<Value> = names.iter().map(|name| deployment(name, 1, &["sleep", "1h"], |_| {})).collect();
    futures::future::try_join_all(bodies.iter().map(|body| client.create(&kind, NAMESPACE, body))).await?;
    let mut missing: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let all = until(&mut events, |object, _| {
        if is_complete(object) {
            missing.remove(object.meta().name.as_str());
        }
        missing.is_empty()
    });
    tokio::time::timeout(PATIENCE, all).await.context("a hundred Deployments are never complete")??;
    drop(events);
    // What the start left to do is done before rest is measured.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let span = Duration::from_secs(if plan.quick { 15 } else { 120 });
    let (asked, before) = (requests(client).await?, Cost::of(cluster)?);
    tokio::time::sleep(span).await;
    let (after, told) = (Cost::of(cluster)?, requests(client).await?);
    let made = told.iter().filter(|(what, _)| what.contains("resource=\"pods\",verb=\"create\""));
    anyhow::ensure!(made.map(|(_, count)| count).sum::<u64>() >= HUNDRED as u64, "requests are not counted: {told:?}");
    let more: BTreeMap<&String, u64> = told
        .iter()
        .map(|(what, count)| (what, count - asked.get(what).copied().unwrap_or(0)))
        .filter(|(_, more)| *more > 0)
        .collect();
    if !more.is_empty() {
        println!("requests at rest: {more:?}");
    }
    for name in &names {
        client.delete(&kind, NAMESPACE, name, &Default::default()).await?;
    }
    tokio::time::timeout(PATIENCE, left_nothing(cluster)).await.context("pods do not go")??;
    let minutes = span.as_secs_f64() / 60.0;
    Ok(vec![
        Figure::below("idle100_requests", "1/m", 0.0, vec![more.values().sum::<u64>() as f64 / minutes]),
        Figure::below("idle100_cpu_pct", "%", 0.3, vec![(after.ticks - before.ticks) as f64 / span.as_secs_f64()]),
    ])
}

/// Requests so far, by verb, resource and code; but those of leases, and those that ask this. The parts in the
/// server's own process ask without HTTP: what they write shows in the revision.
async fn requests(client: &Client) -> Result<BTreeMap<String, u64>> {
    let text = client.call(http::Method::GET, "/metrics", &[], None).await?.bytes().await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let counted = |line: &&str| {
        let is_request = line.starts_with("apiserver_request_total{") && !line.contains("resource=\"leases\"");
        is_request && !line.contains("resource=\"\"")
    };
    let pair = |line: &str| Some((line.rsplit_once(' ')?.0.to_owned(), line.rsplit_once(' ')?.1.parse().ok()?));
    Ok(text.lines().filter(counted).filter_map(pair).collect())
}
