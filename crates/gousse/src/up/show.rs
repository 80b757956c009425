//! What becomes of the files' objects: a line for each step of a pod, a rollout or a Job.

use std::time::Duration;

use api::pod::is_ready;
use api::resource::{DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, STATEFUL_SETS};
use api::{Object, Resource, selector, tree};
use client::{Client, ListOptions};
use kubectl::failure::{Context, Result, failure};
use kubectl::manifest::Manifest;
use kubectl::output;
use kubectl::resource::shown;
use kubectl::verbs::{rollout, wait};
use serde_json::Value;

/// Shows what runs pods until it is ready or over; a page from a pod that serves one.
pub async fn show(client: &Client, manifests: &[Manifest]) -> Result<()> {
    for manifest in manifests {
        let text = |path: &str| tree::text(&manifest.object, path);
        let (group, _) = text("apiVersion").split_once('/').unwrap_or_default();
        let namespace = Some(text("metadata.namespace")).filter(|given| !given.is_empty()).unwrap_or("default");
        let name = text("metadata.name");
        match (group, text("kind")) {
            ("", "Pod") => pod(client, namespace, name).await?,
            ("apps", "Deployment") => workload(client, &DEPLOYMENTS, namespace, name).await?,
            ("apps", "StatefulSet") => workload(client, &STATEFUL_SETS, namespace, name).await?,
            ("apps", "DaemonSet") => workload(client, &DAEMON_SETS, namespace, name).await?,
            ("batch", "Job") => job(client, namespace, name).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Says a line if it is another than the last.
#[derive(Default)]
struct Teller {
    last: String,
}

impl Teller {
    fn tell(&mut self, line: String) {
        if line != self.last {
            output::tell(&line);
            self.last = line;
        }
    }
}

/// A pod's way to readiness, then its address.
async fn pod(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let kind = kinds::built_in().by_kind("v1", "Pod").expect("pods are a built-in kind");
    let mut teller = Teller::default();
    let object = wait::watch_until(client, &PODS, namespace, name, |object| {
        let value = object.value();
        let row = kind.columns.iter().find(|column| column.name == "Status").map(|column| column.of(&value, ""));
        let mut conditions = tree::list(&value, "status.conditions").iter();
        let unplaced = conditions.find(|c| c["type"] == "PodScheduled" && c["status"] == "False");
        let why = unplaced.and_then(|c| c["message"].as_str()).or_else(|| value["status"]["message"].as_str());
        let status = row.and_then(|cell| cell.as_str().map(str::to_string)).unwrap_or_default();
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        teller.tell(format!("pod/{name}: {status}{why}"));
        is_ready(&value) || matches!(tree::text(&value, "status.phase"), "Succeeded" | "Failed")
    })
    .await?;
    page(&object).await
}

/// A rollout in kubectl's words, then a page from one of its pods.
async fn workload(client: &Client, kind: &Resource, namespace: &str, name: &str) -> Result<()> {
    let (mut teller, mut is_there) = (Teller::default(), false);
    let object = wait::watch_until(client, kind, namespace, name, |object| {
        // What cannot be followed, or whose time is over, is told of and not waited for.
        let (line, is_over) = match rollout::progress(kind, &object.value()) {
            Ok((line, is_done)) => {
                is_there = is_done;
                (line, is_done)
            }
            Err(why) => (why.message, true),
        };
        teller.tell(format!("{}: {}", shown(kind, name), line.trim_end_matches("...")));
        is_over
    })
    .await?;
    if !is_there {
        return Ok(());
    }
    let label_selector = selector::line(&object.value()["spec"]["selector"])?;
    let options = ListOptions { label_selector, ..ListOptions::default() };
    let pods = client.list(&PODS, namespace, &options).await?;
    match pods.objects.iter().find(|pod| is_ready(&pod.value())) {
        Some(pod) => page(pod).await,
        None => Ok(()),
    }
}

/// A Job's count until its end.
async fn job(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let mut teller = Teller::default();
    let ended = wait::watch_until(client, &JOBS, namespace, name, |object| {
        let value = object.value();
        let is_end = |c: &&Value| matches!(c["type"].as_str(), Some("Complete" | "Failed")) && c["status"] == "True";
        let end = tree::list(&value, "status.conditions").iter().find(is_end);
        let wanted = value["spec"]["completions"].as_i64().map(|wanted| format!(" of {wanted}")).unwrap_or_default();
        let succeeded = value["status"]["succeeded"].as_i64().unwrap_or(0);
        let how = end.map(|c| format!(", {}", tree::text(c, "type"))).unwrap_or_default();
        teller.tell(format!("{}: {succeeded}{wanted} succeeded{how}", shown(&JOBS, name)));
        end.is_some()
    });
    ended.await.map(|_| ())
}

/// A pod's address, and what it serves where it names a port `http`.
async fn page(pod: &Object) -> Result<()> {
    let (value, name) = (pod.value(), &pod.meta().name);
    let Some(address) = value["status"]["podIP"].as_str() else { return Ok(()) };
    output::tell(format_args!("pod/{name}: address {address}"));
    let mut ports = tree::list(&value, "spec.containers").iter().flat_map(|container| tree::list(container, "ports"));
    let port = ports.find(|port| port["name"] == "http").and_then(|port| port["containerPort"].as_u64());
    let (Some(port), "Running") = (port, tree::text(&value, "status.phase")) else { return Ok(()) };
    match fetch(address, port).await {
        Ok(page) => {
            let page = kubectl::table::escaped(page.trim_end());
            output::tell(format_args!("http://{address}:{port}/ says:\n{page}"));
        }
        Err(error) => output::tell(format_args!("http://{address}:{port}/ did not answer: {error}")),
    }
    Ok(())
}

async fn fetch(address: &str, port: u64) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(format!("{address}:{port}")).await?;
        stream.write_all(format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(64 << 10).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), ask).await.map_err(|_| failure("no answer in 5 s"))?;
    let text = String::from_utf8_lossy(&answer.context("fetching a page")?).into_owned();
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or(text))
}
