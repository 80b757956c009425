//! A cluster of one node with fresh folders, and clients of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use api::resource::PODS;
use api::{Object, WatchEvent};
use client::{Client, DeleteOptions, Https, HttpsConfig, ListOptions, WatchOptions, WatchStream, kubeconfig};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{Figure, Plan};

/// A running `gousse up`.
pub struct Cluster {
    pub folder: tempfile::TempDir,
    pub child: Child,
    pub https: HttpsConfig,
    pub client: Client,
}

/// The release binary.
pub fn binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(super::BINARY) {
        return Ok(given.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let found = [
        target.join("x86_64-unknown-linux-gnu/release/gousse"),
        target.join("aarch64-unknown-linux-gnu/release/gousse"),
    ];
    let found = found.into_iter().find(|path| path.exists());
    found.context("no release binary under target/; cargo build --release makes it")
}

/// Start of the process → node Ready, with fresh folders: certificates are made each time.
pub async fn ready(plan: &Plan) -> Result<Figure> {
    let mut samples = Vec::new();
    for _ in 0..plan.times(15) {
        let begun = Instant::now();
        let cluster = Cluster::start().await?;
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
        cluster.stop().await?;
    }
    Ok(Figure::below("ready_ms", "ms", 300.0, samples))
}

impl Cluster {
    pub async fn start() -> Result<Cluster> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let mut child = Command::new(binary()?)
            .args(["up", "--name", "bench", "--listen", "127.0.0.1:0", "--node-port", "0", "--node-name", "bench"])
            .args(["--max-pods", "250", "--data-dir"])
            .arg(at("data"))
            .arg("--run-dir")
            .arg(at("run"))
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        loop {
            match lines.next_line().await? {
                Some(line) if line.contains("is ready") => break,
                Some(_) => {}
                None => bail!("gousse up ended before it was ready"),
            }
        }
        // What else it says is read, or it would stand still on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let loaded = kubeconfig::load(Some(&at("data").join("admin.kubeconfig")), None)?;
        let https = loaded.https;
        let client = Client::new(Arc::new(Https::new(https.clone())?)).named("bench");
        Ok(Cluster { folder, child, https, client })
    }

    /// Another client, on a connection of its own.
    pub fn another(&self) -> Result<Client> {
        Ok(Client::new(Arc::new(Https::new(self.https.clone())?)).named("bench"))
    }

    /// A folder of the host for pods to write into.
    pub fn scratch(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("scratch");
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Ctrl-C, then the end of what it leaves.
    pub async fn stop(mut self) -> Result<()> {
        let status = Command::new(binary()?)
            .args(["down", "--name", "bench", "--purge", "--data-dir"])
            .arg(self.folder.path().join("data"))
            .arg("--run-dir")
            .arg(self.folder.path().join("run"))
            .stdout(Stdio::null())
            .status()
            .await?;
        self.child.wait().await?;
        anyhow::ensure!(status.success(), "gousse down failed");
        Ok(())
    }

    /// The processes of the instance: `up`, keeper, supervisor.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let own = self.folder.path().display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let text = String::from_utf8_lossy(&words).replace('\0', " ");
            let is_ours = text.contains(" up ") || text.contains("keeper") || text.contains("supervisor");
            if text.contains(&own) && is_ours {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

/// A pod of one toolbox container; `mutate` changes its spec.
pub fn pod(name: &str, command: &[&str], mutate: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"bench": "yes"}},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "toolbox", "command": command}]}});
    mutate(&mut pod["spec"]);
    pod
}

/// A watch of all pods in `default` from now on.
pub async fn watch(client: &Client) -> Result<WatchStream> {
    let revision = client.list(&PODS, "default", &ListOptions::default()).await?.revision;
    let options = WatchOptions { resource_version: revision.to_string(), ..WatchOptions::default() };
    Ok(client.watch(&PODS, "default", &options).await?)
}

/// Reads the watch until `met` says so.
pub async fn until(watch: &mut WatchStream, mut met: impl FnMut(&Object, bool) -> bool) -> Result<Instant> {
    while let Some(event) = watch.next().await {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) if met(&object, false) => {
                return Ok(Instant::now());
            }
            WatchEvent::Deleted(object) if met(&object, true) => return Ok(Instant::now()),
            WatchEvent::Error(status) => bail!("the watch ended: {status}"),
            _ => {}
        }
    }
    bail!("the watch ended")
}

/// The pod of that name shows as Running.
pub fn is_running<'a>(name: &'a str) -> impl FnMut(&Object, bool) -> bool + 'a {
    move |object, deleted| !deleted && object.meta().name == name && object.value()["status"]["phase"] == "Running"
}

pub fn is_gone<'a>(name: &'a str) -> impl FnMut(&Object, bool) -> bool + 'a {
    move |object, deleted| deleted && object.meta().name == name
}

pub fn graceless() -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() }
}
