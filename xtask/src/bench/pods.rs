//! One pod's way, step by step, and a hundred at once.
//!
//! Containers write the time of their first instruction and of each signal into a folder of the host
//! (`toolbox puppet`), so a figure is the difference of two clocks of one machine.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use api::resource::PODS;
use client::{Client, DeleteOptions, Https, ListOptions};
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};
use wire::websocket::{self, Connected};

use super::cluster::{Cluster, graceless, is_gone, is_running, pod, until, watch};
use super::{Figure, Plan};

pub async fn measure(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if ["pod_running_ms", "pod_first_instruction_ms", "term_ms", "pod_gone_ms"].iter().any(|name| plan.wants(name)) {
        figures.extend(life(plan, cluster).await?);
    }
    if plan.wants("restart_ms") {
        figures.push(restart(plan, cluster).await?);
    }
    if plan.wants("exec_ms") {
        figures.push(exec(plan, cluster).await?);
    }
    if plan.wants("logs_ms") {
        figures.push(logs(plan, cluster).await?);
    }
    if plan.wants("burst100_ms") || plan.wants("teardown100_ms") {
        figures.extend(hundred(plan, cluster).await?);
    }
    Ok(figures)
}

/// A puppet that logs into `scratch/<file>`.
fn puppet(name: &str, scratch: &Path, more: &[&str]) -> Value {
    let log = format!("/scratch/{name}");
    let mut command = vec!["puppet", "--log", &log];
    command.extend(more);
    pod(name, &command, |spec| {
        spec["volumes"] = json!([{"name": "scratch", "hostPath": {"path": scratch}}]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    })
}

/// Nanoseconds of the n-th line that says `what`.
fn logged(file: &Path, what: &str, number: usize) -> Result<i128> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut times = text.lines().filter(|line| line.ends_with(what)).filter_map(|l| l.split(' ').next()?.parse().ok());
    times.nth(number).with_context(|| format!("{} has no {what} {number}:\n{text}", file.display()))
}

/// The same, once it is there: a container shows as running before its program has written.
pub(super) async fn first_logged(file: &Path, what: &str) -> Result<i128> {
    loop {
        match logged(file, what, 0) {
            Ok(time) => return Ok(time),
            Err(_) => tokio::time::sleep(std::time::Duration::from_micros(200)).await,
        }
    }
}

pub(super) fn now() -> i128 {
    #[allow(clippy::disallowed_methods, reason = "the containers' clock is the one to compare with")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128)
}

pub(super) fn milliseconds(from: i128, to: i128) -> f64 {
    (to - from) as f64 / 1e6
}

async fn life(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let (client, scratch) = (&cluster.client, cluster.scratch()?);
    let (mut running, mut first, mut term, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..plan.times(50) + 3 {
        let name = format!("life-{number}");
        let file = scratch.join(&name);
        let mut events = watch(client).await?;
        let (clock, begun) = (now(), Instant::now());
        client.create(&PODS, "default", &puppet(&name, &scratch, &[])).await?;
        let seen = until(&mut events, is_running(&name)).await?;
        let started = first_logged(&file, "start").await?;
        let asked = now();
        client.delete(&PODS, "default", &name, &DeleteOptions::default()).await?;
        until(&mut events, is_gone(&name)).await?;
        let left = now();
        // The first few warm caches up.
        if number >= 3 {
            running.push((seen - begun).as_secs_f64() * 1e3);
            first.push(milliseconds(clock, started));
            let received = logged(&file, "TERM", 0)?;
            term.push(milliseconds(asked, received));
            gone.push(milliseconds(received, left));
        }
    }
    Ok(vec![
        Figure::below("pod_running_ms", "ms", 30.0, running),
        Figure::below("pod_first_instruction_ms", "ms", 25.0, first),
        Figure::below("term_ms", "ms", 15.0, term),
        Figure::below("pod_gone_ms", "ms", 50.0, gone),
    ])
}

/// Exit of a container → first instruction of its first, immediate restart.
async fn restart(plan: &Plan, cluster: &Cluster) -> Result<Figure> {
    let (client, scratch) = (&cluster.client, cluster.scratch()?);
    let mut samples = Vec::new();
    for number in 0..plan.times(25) {
        let name = format!("restart-{number}");
        let mut events = watch(client).await?;
        let body = puppet(&name, &scratch, &["--after", "50ms", "--exit", "1"]);
        client.create(&PODS, "default", &body).await?;
        until(&mut events, |object, _| {
            object.meta().name == name && object.value()["status"]["containerStatuses"][0]["restartCount"] == 1
        })
        .await?;
        let file = scratch.join(&name);
        while logged(&file, "start", 1).is_err() {
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
        samples.push(milliseconds(logged(&file, "end", 0)?, logged(&file, "start", 1)?));
        client.delete(&PODS, "default", &name, &graceless()).await?;
        until(&mut events, is_gone(&name)).await?;
    }
    Ok(Figure::below("restart_ms", "ms", 20.0, samples))
}

/// A static program that does nothing, over a websocket: dialling to its exit status.
async fn exec(plan: &Plan, cluster: &Cluster) -> Result<Figure> {
    const PATH: &str = "/api/v1/namespaces/default/pods/exec/exec?container=c&stdout=true&stderr=true&command=true";
    let client = &cluster.client;
    let mut events = watch(client).await?;
    client.create(&PODS, "default", &pod("exec", &["sleep", "1h"], |_| {})).await?;
    until(&mut events, is_running("exec")).await?;
    let https = Https::new(cluster.https.clone())?;
    let mut samples = Vec::new();
    for number in 0..plan.times(100) + 3 {
        let begun = Instant::now();
        let request = http::Request::get(PATH).body(bytes::Bytes::new())?;
        let (stream, request) = https.dial(request).await?;
        let mut socket = match websocket::connect(stream, request, &["v5.channel.k8s.io"]).await? {
            Connected::Socket(socket, _) => socket,
            Connected::Refused(response) => bail!("the server answered {}", response.status()),
        };
        let mut status = Value::Null;
        while let Some(message) = socket.next().await {
            // Channel 3 carries the status, once, at the end.
            if let Some((3, text)) = message?.into_data().split_first() {
                status = serde_json::from_slice(text)?;
                break;
            }
        }
        anyhow::ensure!(status["status"] == "Success", "the program ended with {status}");
        if number >= 3 {
            samples.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    client.delete(&PODS, "default", "exec", &graceless()).await?;
    until(&mut events, is_gone("exec")).await?;
    Ok(Figure::below("exec_ms", "ms", 10.0, samples))
}

async fn logs(plan: &Plan, cluster: &Cluster) -> Result<Figure> {
    let client = &cluster.client;
    let mut events = watch(client).await?;
    let body = pod("logs", &["puppet", "--print", "one line"], |_| {});
    client.create(&PODS, "default", &body).await?;
    until(&mut events, is_running("logs")).await?;
    let mut samples = Vec::new();
    for number in 0..plan.times(100) + 3 {
        let begun = Instant::now();
        let reply = client.call(Method::GET, "/api/v1/namespaces/default/pods/logs/log", &[], None).await?;
        let text = reply.bytes().await?;
        anyhow::ensure!(text == "one line\n", "the log says {text:?}");
        if number >= 3 {
            samples.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    client.delete(&PODS, "default", "logs", &graceless()).await?;
    until(&mut events, is_gone("logs")).await?;
    Ok(Figure::below("logs_ms", "ms", 1.0, samples))
}

async fn hundred(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let client = &cluster.client;
    let (mut burst, mut teardown) = (Vec::new(), Vec::new());
    for round in 0..plan.times(5).min(5) {
        let names: Vec<String> = (0..100).map(|n| format!("burst-{round}-{n}")).collect();
        let mut events = watch(client).await?;
        let begun = Instant::now();
        let posts = names.iter().map(|name| post(client, name));
        futures::future::try_join_all(posts).await?;
        let mut running = std::collections::BTreeSet::new();
        let seen = until(&mut events, |object, deleted| {
            if !deleted && object.value()["status"]["phase"] == "Running" {
                running.insert(object.meta().name.clone());
            }
            running.len() == names.len()
        })
        .await?;
        burst.push((seen - begun).as_secs_f64() * 1e3);
        let begun = Instant::now();
        let options = graceless();
        let deletes = names.iter().map(|name| client.delete(&PODS, "default", name, &options));
        futures::future::try_join_all(deletes).await?;
        left_nothing(cluster).await?;
        teardown.push(begun.elapsed().as_secs_f64() * 1e3);
        let left = client.list(&PODS, "default", &ListOptions::default()).await?.objects.len();
        anyhow::ensure!(left == 0, "{left} pods are left");
    }
    Ok(vec![Figure::below("burst100_ms", "ms", 2000.0, burst), Figure::below("teardown100_ms", "ms", 2000.0, teardown)])
}

async fn post(client: &Client, name: &str) -> Result<()> {
    client.create(&PODS, "default", &pod(name, &["sleep", "1h"], |_| {})).await?;
    Ok(())
}

/// Waits until no cgroup, namespace pin or pod folder of any pod is left.
pub(super) async fn left_nothing(cluster: &Cluster) -> Result<()> {
    let folder = cluster.folder.path();
    let places = [folder.join("run/net/attachments"), folder.join("data/pods")];
    loop {
        let left: usize = places.iter().map(|p| std::fs::read_dir(p).map_or(0, |files| files.count())).sum();
        if left == 0 {
            return Ok(());
        }
        // What the agent removes last announces itself to nobody: a measuring stick may look again.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
