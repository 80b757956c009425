//! Writes and reads per second: 64 connections, TLS, admission and durability as in normal use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use api::Resource;
use api::resource::CONFIG_MAPS;
use bytes::Bytes;
use client::{Client, Https, PatchKind, Transport};
use http::{Request, header};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::{Figure, Plan};

const CONNECTIONS: usize = 64;

pub async fn measure(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let clients = (0..CONNECTIONS).map(|_| cluster.another()).collect::<Result<Vec<Client>>>()?;
    let filler = "x".repeat(900);
    if plan.wants("durable_creates_per_s") {
        let next = Arc::new(AtomicU64::new(0));
        let samples = rate(plan, &clients, move |client| {
            let (next, filler) = (next.clone(), filler.clone());
            async move {
                let name = format!("c{}", next.fetch_add(1, Ordering::Relaxed));
                let object =
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": filler}});
                client.create(&CONFIG_MAPS, "default", &object).await.map(|_| ())
            }
        })
        .await?;
        figures.push(Figure::above("durable_creates_per_s", "1/s", 5000.0, samples));
    }
    if plan.wants("gets_per_s") {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"x": "y".repeat(900)}});
        cluster.client.create(&CONFIG_MAPS, "default", &object).await?;
        let samples =
            rate(plan, &clients, |client| async move { client.get(&CONFIG_MAPS, "default", "one").await.map(|_| ()) })
                .await?;
        figures.push(Figure::above("gets_per_s", "1/s", 10_000.0, samples));
    }
    if plan.wants("protobuf_gets_per_s") {
        let filler = "y".repeat(900);
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"x": filler}});
        cluster.client.create(&CONFIG_MAPS, "default", &object).await?;
        let connections = (0..CONNECTIONS).map(|_| Https::new(cluster.https.clone()).map(Arc::new));
        let connections = connections.collect::<Result<Vec<_>, _>>()?;
        let samples = rate(plan, &connections, |https: Arc<Https>| async move {
            let request = Request::get("/api/v1/namespaces/default/configmaps/two")
                .header(header::ACCEPT, "application/vnd.kubernetes.protobuf");
            let request = request.body(Bytes::new()).map_err(|why| api::Status::internal(why.to_string()))?;
            https.call(request).await?.bytes().await.map(|_| ())
        })
        .await?;
        figures.push(Figure::above("protobuf_gets_per_s", "1/s", 20_000.0, samples));
    }
    if plan.wants("apply") {
        figures.extend(apply(plan, cluster).await?);
    }
    Ok(figures)
}

/// A Deployment applied by its manager, one request after the other: as it is, and with another image each time.
async fn apply(plan: &Plan, cluster: &Cluster) -> Result<[Figure; 2]> {
    let deployments = Resource::namespaced("apps/v1", "Deployment", "deployments");
    let apply = async |image: usize| {
        let begun = Instant::now();
        let patch = PatchKind::Apply { manager: "bench".to_owned(), force: false };
        cluster.client.patch(&deployments, "kube-public", "applied", "", patch, &deployment(image)).await?;
        Ok::<f64, api::Status>(begun.elapsed().as_secs_f64() * 1e3)
    };
    apply(0).await?;
    let (mut unchanged, mut changed) = (Vec::new(), Vec::new());
    for round in 1..=plan.times(200) {
        unchanged.push(apply(round - 1).await?);
        changed.push(apply(round).await?);
    }
    Ok([
        Figure::below("apply_unchanged_ms", "ms", 1.0, unchanged),
        Figure::below("apply_changed_ms", "ms", 2.0, changed),
    ])
}

fn deployment(image: usize) -> Value {
    let env: Vec<Value> =
        (0..10).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value {n}")})).collect();
    let labels = json!({"app": "applied"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": format!("toolbox:{image}"), "env": env,
                "ports": [{"containerPort": 80, "name": "http"}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}}}})
}

/// Requests per second over rounds of a second each; every connection has one request under way.
async fn rate<C, W, F>(plan: &Plan, clients: &[C], work: W) -> Result<Vec<f64>>
where
    C: Clone + Send + Sync + 'static,
    W: Fn(C) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), api::Status>> + Send,
{
    let mut samples = Vec::new();
    for round in 0..plan.times(5).max(3) + 1 {
        let (begun, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for client in clients {
            let (client, count, work) = (client.clone(), count.clone(), work.clone());
            tasks.spawn(async move {
                while begun.elapsed() < Duration::from_secs(1) {
                    work(client.clone()).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), api::Status>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        // The first round dials.
        if round > 0 {
            samples.push(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64());
        }
    }
    Ok(samples)
}
