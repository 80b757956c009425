//! Requests through the ingress, against the same endpoint asked directly.
//!
//! The endpoint is a loop in this process that answers a hundred bytes to every head, so that what is measured is the
//! proxy's: an Ingress, its Service and a slice written by hand, plain HTTP/1.1 with kept connections.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::Resource;
use api::resource::{INGRESS_CLASSES, INGRESSES, NODES, SERVICES};
use client::{Cache, Scope};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::cluster::Cluster;
use super::{Figure, Plan};

const CONNECTIONS: usize = 64;
const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nhost: bench.example\r\n\r\n";

pub async fn measure(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    if !plan.wants("ingress") {
        return Ok(Vec::new());
    }
    let endpoint = TcpListener::bind("0.0.0.0:0").await?;
    let port = endpoint.local_addr()?.port();
    tokio::spawn(serve(endpoint));
    let node: IpAddr = address(cluster).await?.parse()?;
    expose(cluster, node, port).await?;
    let (direct, through) = (SocketAddr::new(node, port), SocketAddr::new(node, 80));
    let (mut near, mut far) = (TcpStream::connect(direct).await?, TcpStream::connect(through).await?);
    let mut added = Vec::new();
    for _ in 0..plan.times(2000) {
        let alone = ask(&mut near).await?;
        added.push((ask(&mut far).await?.as_secs_f64() - alone.as_secs_f64()) * 1e6);
    }
    let mut rates = Vec::new();
    for _ in 0..plan.times(5).max(3) {
        rates.push(rate(through).await?);
    }
    Ok(vec![
        Figure::below("ingress_added_us", "µs", 60.0, added),
        Figure::above("ingress_requests_per_s", "1/s", 20_000.0, rates),
    ])
}

/// Answers every head that comes.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}", "x".repeat(100));
            let mut head = [0; 4096];
            let mut filled = 0;
            while let Ok(read @ 1..) = stream.read(&mut head[filled..]).await {
                filled += read;
                if head[..filled].ends_with(b"\r\n\r\n") {
                    filled = 0;
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// One request on a kept connection.
async fn ask(stream: &mut TcpStream) -> Result<Duration> {
    let begun = Instant::now();
    stream.write_all(REQUEST).await?;
    let (mut answer, mut filled) = ([0; 4096], 0);
    loop {
        let read = stream.read(&mut answer[filled..]).await?;
        ensure!(read > 0, "the connection ended");
        filled += read;
        let text = &answer[..filled];
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n")
            && filled >= end + 4 + 100
        {
            ensure!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(text));
            return Ok(begun.elapsed());
        }
    }
}

/// Requests per second over a second; every connection has one under way.
async fn rate(address: SocketAddr) -> Result<f64> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut count = 0u32;
            while begun.elapsed() < Duration::from_secs(1) {
                ask(&mut stream).await?;
                count += 1;
            }
            Ok::<u32, anyhow::Error>(count)
        });
    }
    let mut all = 0;
    while let Some(count) = tasks.join_next().await {
        all += count??;
    }
    Ok(f64::from(all) / begun.elapsed().as_secs_f64())
}

async fn address(cluster: &Cluster) -> Result<String> {
    let node = cluster.client.get(&NODES, "", "bench").await?.value();
    let address = node["status"]["addresses"].as_array().into_iter().flatten().find(|one| one["type"] == "InternalIP");
    Ok(address.and_then(|one| one["address"].as_str()).context("the node has no address")?.to_owned())
}

/// The class last: what there is by then is in the first table. Returns when requests are taken.
async fn expose(cluster: &Cluster, address: IpAddr, port: u16) -> Result<()> {
    let slices = Resource::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices");
    let client = &cluster.client;
    let service = json!({"metadata": {"name": "bench"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    client.create(&SERVICES, "default", &service).await?;
    let labels = json!({"kubernetes.io/service-name": "bench"});
    let slice = json!({"metadata": {"name": "bench", "labels": labels}, "addressType": "IPv4",
        "endpoints": [{"addresses": [address.to_string()]}], "ports": [{"name": "", "port": port}]});
    client.create(&slices, "default", &slice).await?;
    let backend = json!({"service": {"name": "bench", "port": {"number": 80}}});
    let rule = json!({"host": "bench.example",
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let ingress = json!({"metadata": {"name": "bench"}, "spec": {"ingressClassName": "gousse", "rules": [rule]}});
    client.create(&INGRESSES, "default", &ingress).await?;
    let class = json!({"metadata": {"name": "gousse"}, "spec": {"controller": "gousse.dev/ingress"}});
    client.create(&INGRESS_CLASSES, "", &class).await?;
    let served = Cache::start(client.clone(), &INGRESSES, Scope::default());
    let has_address = |ingress: &api::Object| ingress.value()["status"]["loadBalancer"]["ingress"][0]["ip"].is_string();
    served.until(|served| served.get("default", "bench").is_some_and(|ingress| has_address(&ingress))).await;
    Ok(())
}
