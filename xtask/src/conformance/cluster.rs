//! A Gousse cluster of the run's own: one server and node in one process, in the namespaces of the run.
//!
//! It gets a fresh data folder each time, the images of the suite, and is taken down in order at the end; what an
//! unorderly end leaves (folders of runs whose process is gone) the next run clears.

use super::cache::{remove, run};
use super::suite::end_of;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Cluster {
    gousse: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    up: Child,
    pub kubeconfig: PathBuf,
}

/// Far above what `gousse up` needs, and far below what anybody waits for.
const START: Duration = Duration::from_secs(60);

impl Cluster {
    /// Starts `gousse up` with its folders under `home`, and waits until a node is ready.
    pub fn start(gousse: &Path, kubectl: &Path, home: &Path, log: &Path) -> Result<Cluster> {
        let (data, sockets) = (home.join("data"), home.join("run"));
        let output = File::create(log)?;
        let mut command = Command::new(gousse);
        command.arg("up").args(["--data-dir".as_ref(), data.as_os_str(), "--run-dir".as_ref(), sockets.as_os_str()]);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let up = command.spawn().with_context(|| format!("starting {}", gousse.display()))?;
        let mut cluster = Cluster { gousse: gousse.to_owned(), data, sockets, up, kubeconfig: PathBuf::new() };
        let started = Instant::now();
        loop {
            if let Some(status) = cluster.up.try_wait()? {
                bail!("gousse up ended ({status}); it said:\n{}", end_of(log, 30));
            }
            if cluster.ready(kubectl) {
                eprintln!("the cluster is ready after {} ms", started.elapsed().as_millis());
                return Ok(cluster);
            }
            if started.elapsed() > START {
                let said = end_of(log, 30);
                cluster.stop();
                bail!("no node was ready within {} s; gousse up said:\n{said}", START.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Loads an archive of images.
    pub fn load(&self, archive: &Path) -> Result<()> {
        run(self.gousse(&["image", "load"]).arg(archive)).context("loading the suite's images").map(drop)
    }

    /// Takes the cluster down, pods first, and ends its process.
    pub fn stop(mut self) {
        if let Err(error) = run(&mut self.gousse(&["down", "--purge"])) {
            eprintln!("taking the cluster down: {error:#}");
        }
        if !matches!(self.up.try_wait(), Ok(Some(_))) {
            let _ = self.up.kill();
            let _ = self.up.wait();
        }
    }

    fn gousse(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.gousse);
        command.args(words).arg("--data-dir").arg(&self.data).arg("--run-dir").arg(&self.sockets);
        command
    }

    /// Whether an admin kubeconfig is there, and a node under it that says Ready.
    fn ready(&mut self, kubectl: &Path) -> bool {
        let Ok(path) = run(Command::new(&self.gousse).args(["kubeconfig", "--data-dir"]).arg(&self.data)) else {
            return false;
        };
        self.kubeconfig = PathBuf::from(String::from_utf8_lossy(&path).trim());
        let mut command = Command::new(kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["get", "--raw", "/api/v1/nodes"]);
        run(&mut command).is_ok_and(|nodes| has_ready_node(&nodes))
    }
}

fn has_ready_node(list: &[u8]) -> bool {
    let list: Value = serde_json::from_slice(list).unwrap_or_default();
    let nodes = list["items"].as_array().into_iter().flatten();
    let mut conditions = nodes.flat_map(|node| node["status"]["conditions"].as_array()).flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A folder for this run's cluster, after clearing those of runs that are no more.
pub fn home(cache: &Path) -> Result<PathBuf> {
    let runs = cache.join("runs");
    fs::create_dir_all(&runs)?;
    for entry in fs::read_dir(&runs)? {
        let entry = entry?;
        if !Path::new("/proc").join(entry.file_name()).exists() {
            remove(&entry.path())?;
        }
    }
    let home = runs.join(std::process::id().to_string());
    fs::create_dir_all(&home)?;
    Ok(home)
}

/// The release build of the workspace's own program.
pub fn build(workspace: &Path) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--package", "gousse", "--message-format=json-render-diagnostics"]);
    command.current_dir(workspace).stderr(Stdio::inherit());
    let output = command.output().context("starting cargo")?;
    if !output.status.success() {
        bail!("cargo build --release --package gousse: {}", output.status);
    }
    let messages = String::from_utf8(output.stdout)?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = built.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    programs.find(|path| path.ends_with("gousse")).context("cargo built no program named gousse")
}
