//! Writes and reads per second: 64 connections, TLS, admission and durability as in normal use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use api::resource::CONFIG_MAPS;
use client::Client;
use serde_json::json;

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
    Ok(figures)
}

/// Requests per second over rounds of a second each; every connection has one request under way.
async fn rate<W, F>(plan: &Plan, clients: &[Client], work: W) -> Result<Vec<f64>>
where
    W: Fn(Client) -> F + Clone + Send + Sync + 'static,
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
