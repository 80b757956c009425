//! What much costs: a stored pod, a list of ten thousand in each form, an event that a hundred watch.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use api::resource::{self, CONFIG_MAPS};
use bytes::Bytes;
use client::{Body, Https, Transport, path};
use futures::StreamExt;
use http::{Request, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::cluster::Cluster;
use super::idle::Cost;
use super::{Figure, Plan};

const PODS: usize = 10_000;
const WATCHERS: usize = 100;
/// Who read a list at once.
const READERS: usize = 16;
/// All stored pods.
const ALL: &str = "/api/v1/namespaces/kube-public/pods";

pub async fn measure(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if plan.wants("fanout_us") || plan.wants("delivery_ms") {
        figures.extend(fanout(plan, cluster).await?);
    }
    if ["stored_pod_kb", "list_ms", "list_us", "list_protobuf_ms", "list_table_ms", "lists_extra_mb"]
        .iter()
        .any(|name| plan.wants(name))
    {
        // Connections and buffers have their size by then.
        store(cluster, 0..PODS / 5).await?;
        let before = Cost::of(cluster)?.pss;
        store(cluster, PODS / 5..PODS).await?;
        let grown = Cost::of(cluster)?.pss.saturating_sub(before) as f64;
        figures.push(Figure::below("stored_pod_kb", "KB", 6.0, vec![grown / 1e3 / (PODS - PODS / 5) as f64]));
        figures.extend(list(plan, cluster).await?);
        for (name, limit, accept) in FORMS {
            figures.push(Figure::below(name, "ms", *limit, lists(plan, cluster, accept).await?));
        }
        figures.push(Figure::below("lists_extra_mb", "MB", 8.0, vec![at_once(cluster).await?]));
    }
    Ok(figures)
}

/// Pods of 4.5 KB that nobody schedules.
async fn store(cluster: &Cluster, numbers: Range<usize>) -> Result<()> {
    let clients = (0..16).map(|_| cluster.another()).collect::<Result<Vec<_>>>()?;
    let mut tasks = tokio::task::JoinSet::new();
    for (skipped, client) in clients.into_iter().enumerate() {
        let numbers = numbers.clone().skip(skipped).step_by(16);
        tasks.spawn(async move {
            for number in numbers {
                client.create(&resource::PODS, "kube-public", &stored(number)).await?;
            }
            Ok::<(), api::Status>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    // What the figures are about, as it is served.
    let one = cluster.client.get(&resource::PODS, "kube-public", "stored-1234").await?;
    let size = one.bytes().len();
    anyhow::ensure!((4400..=4600).contains(&size), "a stored pod has {size} bytes");
    Ok(())
}

fn stored(number: usize) -> Value {
    let env: Vec<Value> =
        (0..17).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value {number} of {n}")})).collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("stored-{number}"), "labels": {"bench": "stored"},
            "annotations": {"bench/filler": "f".repeat(500)}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "toolbox", "env": env}]}})
}

/// Milliseconds from the request of all, gzip accepted as by clients in Go, to its last byte; the server's
/// microseconds of CPU for a pod.
async fn list(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let https = Https::new(cluster.https.clone())?;
    let lists = plan.times(20);
    let (before, mut samples) = (Cost::of(cluster)?.ticks, Vec::new());
    for _ in 0..lists {
        let begun = Instant::now();
        let bytes = get(&https, ALL).await?.bytes().await?;
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(bytes.len() > 100_000, "a list of {} bytes", bytes.len());
    }
    let ticks = Cost::of(cluster)?.ticks - before;
    Ok(vec![
        Figure::below("list_ms", "ms", 40.0, samples),
        Figure::below("list_us", "µs", 4.0, vec![ticks as f64 * 1e4 / (lists * PODS) as f64]),
    ])
}

/// Other forms of the list, with the goal for each: what is accepted by clients in Go, and by `kubectl get`.
const FORMS: &[(&str, f64, &str)] = &[
    ("list_protobuf_ms", 60.0, "application/vnd.kubernetes.protobuf"),
    ("list_table_ms", 150.0, "application/json;as=Table;v=v1;g=meta.k8s.io"),
];

/// Milliseconds from the request of all in that form to its last byte.
async fn lists(plan: &Plan, cluster: &Cluster, accept: &str) -> Result<Vec<f64>> {
    let https = Https::new(cluster.https.clone())?;
    let mut samples = Vec::new();
    for _ in 0..plan.times(20) {
        let begun = Instant::now();
        let bytes = get_as(&https, ALL, accept).await?.bytes().await?;
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(bytes.len() > 100_000, "a list of {} bytes", bytes.len());
    }
    Ok(samples)
}

/// Megabytes by which the server is larger while sixteen clients read the list slowly, each a part at a time.
async fn at_once(cluster: &Cluster) -> Result<f64> {
    let connections = (0..READERS).map(|_| Https::new(cluster.https.clone())).collect::<Result<Vec<_>, _>>()?;
    // Connections have their size.
    for https in &connections {
        get(https, "/readyz").await?.bytes().await?;
    }
    let before = Cost::of(cluster)?.pss;
    let mut streams = Vec::new();
    for https in &connections {
        let Body::Stream(stream) = get(https, ALL).await?.body else { anyhow::bail!("a list came whole") };
        streams.push(stream);
    }
    let (mut most, mut parts) = (0, 0_usize);
    loop {
        let mut ended = 0;
        for stream in &mut streams {
            match stream.next().await {
                Some(part) => drop(part?),
                None => ended += 1,
            }
        }
        if ended == READERS {
            break;
        }
        // A look costs more than a part.
        if parts.is_multiple_of(64) {
            most = most.max(Cost::of(cluster)?.pss);
        }
        parts += 1;
    }
    Ok(most.saturating_sub(before) as f64 / 1e6)
}

async fn get(https: &Https, uri: &str) -> Result<client::Reply> {
    get_as(https, uri, "application/json").await
}

async fn get_as(https: &Https, uri: &str, accept: &str) -> Result<client::Reply> {
    let request = Request::get(uri).header(header::ACCEPT, accept).header(header::ACCEPT_ENCODING, "gzip");
    Ok(https.call(request.body(Bytes::new())?).await?)
}

/// The server's microseconds of CPU for an event and a watcher, the write included; milliseconds from the
/// write's request to the event at each watcher. One write after the other.
async fn fanout(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let object = |n: usize| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"},
            "data": {"n": n.to_string(), "x": "y".repeat(900)}})
    };
    let config_maps = &*CONFIG_MAPS;
    let written = cluster.client.create(config_maps, "kube-public", &object(0)).await?;
    let uri = format!(
        "{}?watch=true&fieldSelector=metadata.name%3Dwatched&resourceVersion={}",
        path(config_maps, "kube-public", &[]),
        written.meta().resource_version
    );
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        let https = Arc::new(Https::new(cluster.https.clone())?);
        let Body::Stream(mut stream) = get(&https, &uri).await?.body else { anyhow::bail!("not a watch") };
        let tell = tell.clone();
        watchers.spawn(async move {
            let _connection = https;
            while let Some(Ok(bytes)) = stream.next().await {
                let now = Instant::now();
                for _ in bytes.iter().filter(|byte| **byte == b'\n') {
                    let _ = tell.send(now);
                }
            }
        });
    }
    let events = plan.times(300);
    let (before, mut samples) = (Cost::of(cluster)?.ticks, Vec::new());
    for number in 1..=events {
        let begun = Instant::now();
        cluster.client.update(config_maps, "kube-public", "watched", &object(number)).await?;
        for _ in 0..WATCHERS {
            let at = told.recv().await.context("a watch ended")?;
            samples.push(at.duration_since(begun).as_secs_f64() * 1e3);
        }
    }
    let ticks = Cost::of(cluster)?.ticks - before;
    Ok(vec![
        // A tick is a hundredth of a second.
        Figure::below("fanout_us", "µs", 13.0, vec![ticks as f64 * 1e4 / (events * WATCHERS) as f64]),
        Figure::below("delivery_ms", "ms", 1.2, samples),
    ])
}
