//! A Gousse cluster of the run's own: one server and node in one process, in the namespaces of the run.
//!
//! It gets a fresh data folder each time, the images of the suite, and is taken down in order at the end; what an
//! unorderly end leaves (folders of runs whose process is gone) the next run clears.

use super::cache::{self, remove, run};
use super::machines::{Machine, Wire};
use super::namespace::{self, ADDRESS};
use super::registry::PORT;
use super::suite::end_of;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Goes on inside namespaces with a build of the workspace, where no program is given, and clears the cluster's folder
/// whatever became of it in there; true if it ended well. `verb` is the command, `flags` are the build's.
pub fn enter(verb: &str, words: &[String], gousse: Option<&Path>, workspace: &Path, flags: &[&str]) -> Result<bool> {
    let mut words = words.to_vec();
    if gousse.is_none() {
        words.push(format!("--gousse={}", build(workspace, flags)?.display()));
    }
    let home = home(&cache::folder()?)?;
    let ended = namespace::enter(verb, &words, &home);
    clear(&home)?;
    Ok(ended?.success())
}

pub struct Cluster {
    place: Place,
    up: Child,
    /// Nodes beside the first.
    others: Vec<Machine>,
    wire: Option<Wire>,
    pub kubeconfig: PathBuf,
}

/// An instance of gousse: the program, its folders, and the flags that say which instance is meant.
pub struct Place {
    pub gousse: PathBuf,
    pub name: String,
    pub home: PathBuf,
    pub data: PathBuf,
    pub flags: Vec<OsString>,
    /// The process in whose network namespace it lives; None: the run's.
    pub network: Option<u32>,
}

/// Far above what `gousse up` needs, and far below what anybody waits for.
const START: Duration = Duration::from_secs(60);

/// Seconds for `gousse down`: pods that a test left end within their grace; the namespaces end what is left.
const END: &str = "90";

impl Cluster {
    /// Starts `gousse up` with its folders under `home`, and waits until a node is ready.
    pub fn start(gousse: &Path, kubectl: &Path, home: &Path, log: &Path) -> Result<Cluster> {
        Cluster::start_with(gousse, kubectl, home, log, &[])
    }

    /// The same with further flags.
    pub fn start_with(gousse: &Path, kubectl: &Path, home: &Path, log: &Path, further: &[&str]) -> Result<Cluster> {
        let place = Place::under(gousse, home, &name_of(home)?);
        fs::create_dir_all(&place.data)?;
        let mirrors = format!("mirrors:\n  \"registry.k8s.io\":\n    endpoint: [\"http://{ADDRESS}:{PORT}\"]\n");
        fs::write(place.data.join("registries.yaml"), mirrors)?;
        let output = File::create(log)?;
        let mut command = place.command(&["up"]);
        command.args(further);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let up = command.spawn().with_context(|| format!("starting {}", gousse.display()))?;
        let mut cluster = Cluster { place, up, others: Vec::new(), wire: None, kubeconfig: PathBuf::new() };
        let started = Instant::now();
        loop {
            if let Some(status) = cluster.up.try_wait()? {
                bail!("gousse up ended ({status}); it said:\n{}", end_of(log, 30));
            }
            if cluster.ready(kubectl, 1) {
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

    /// Adds machines until there are `nodes`, and waits until all are ready.
    pub fn grow(&mut self, nodes: usize, kubectl: &Path, home: &Path) -> Result<()> {
        let started = Instant::now();
        for number in self.others.len() + 2..=nodes {
            let wire = match self.wire.take() {
                Some(wire) => wire,
                None => Wire::new()?,
            };
            let joined = Machine::join(number, self.wire.insert(wire), home, &self.place, &self.kubeconfig)?;
            self.others.push(joined);
        }
        while !self.ready(kubectl, nodes) {
            for other in &mut self.others {
                other.goes_on()?;
            }
            if started.elapsed() > START {
                let said: String = self.others.iter().map(Machine::said).collect();
                bail!("no {nodes} nodes were ready within {} s; the agents said:\n{said}", START.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Loads an archive of images, on every node.
    pub fn load(&self, archive: &Path) -> Result<()> {
        for place in [&self.place].into_iter().chain(self.others.iter().map(|other| &other.place)) {
            run(place.command(&["image", "load"]).arg(archive)).context("loading the suite's images")?;
        }
        Ok(())
    }

    /// Takes the cluster down, pods first, and ends its process.
    pub fn stop(mut self) {
        self.place.down();
        self.others.into_iter().for_each(Machine::stop);
        if !matches!(self.up.try_wait(), Ok(Some(_))) {
            let _ = self.up.kill();
            let _ = self.up.wait();
        }
    }

    /// Whether an admin kubeconfig is there, and so many nodes under it that say Ready.
    fn ready(&mut self, kubectl: &Path, nodes: usize) -> bool {
        let Ok(path) = run(&mut self.place.command(&["kubeconfig"])) else { return false };
        self.kubeconfig = PathBuf::from(String::from_utf8_lossy(&path).trim());
        let mut command = Command::new(kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["get", "--raw", "/api/v1/nodes"]);
        run(&mut command).is_ok_and(|list| ready_nodes(&list) >= nodes)
    }
}

impl Place {
    /// An instance of that name with its folders under `home`.
    pub fn under(gousse: &Path, home: &Path, name: &str) -> Place {
        let (data, run_dir) = (home.join("data"), home.join("run"));
        let flags: [&OsStr; 6] = [
            "--name".as_ref(),
            name.as_ref(),
            "--data-dir".as_ref(),
            data.as_ref(),
            "--run-dir".as_ref(),
            run_dir.as_ref(),
        ];
        let flags = flags.map(OsStr::to_owned).to_vec();
        Place { gousse: gousse.to_owned(), name: name.into(), home: home.into(), data, flags, network: None }
    }

    /// `gousse down --purge`, in its time.
    pub fn down(&self) {
        let mut command = Command::new("timeout");
        command.arg(END).args(self.entering()).arg(&self.gousse).args(["down", "--purge"]).args(&self.flags);
        if let Err(error) = run(&mut command) {
            eprintln!("taking {} down: {error:#}", self.name);
        }
    }

    /// What comes before the program, to run it where it lives.
    fn entering(&self) -> Vec<String> {
        let enter = |pid| vec!["nsenter".to_string(), format!("--net=/proc/{pid}/ns/net")];
        self.network.map(enter).unwrap_or_default()
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let words_before = self.entering();
        let mut command = match words_before.split_first() {
            None => Command::new(&self.gousse),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.gousse);
                command
            }
        };
        command.args(words).args(&self.flags);
        command
    }
}

fn ready_nodes(list: &[u8]) -> usize {
    let list: Value = serde_json::from_slice(list).unwrap_or_default();
    let is_ready = |node: &&Value| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    list["items"].as_array().into_iter().flatten().filter(is_ready).count()
}

/// A folder for this run's cluster, after clearing those of runs that are no more.
pub fn home(cache: &Path) -> Result<PathBuf> {
    let runs = cache.join("runs");
    fs::create_dir_all(&runs)?;
    for entry in fs::read_dir(&runs)? {
        let entry = entry?;
        if !Path::new("/proc").join(entry.file_name()).exists() {
            clear(&entry.path())?;
        }
    }
    let home = runs.join(std::process::id().to_string());
    fs::create_dir_all(&home)?;
    Ok(home)
}

/// Removes what a run left outside its namespaces: its folder, and the cgroups of its instance.
pub fn clear(home: &Path) -> Result<()> {
    clear_cgroups(&name_of(home)?);
    remove(home)
}

/// Removes the cgroups of an instance that is no more.
pub fn clear_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    // Version 2 has its groups at the root, version 1 below each controller.
    let controllers = folders(root);
    for hierarchy in controllers.iter().map(PathBuf::as_path).chain([root]) {
        for group in folders(hierarchy) {
            // That of the first machine, or of one beside it.
            let group_name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let rest = group_name.split_once(&format!("-{name}")).map(|(_, rest)| rest.to_string());
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
                clear_cgroup(&group);
            }
        }
    }
}

/// Cgroups end from the leaves; one that still has a process stays, and the next run tries again.
fn clear_cgroup(group: &Path) {
    folders(group).iter().for_each(|below| clear_cgroup(below));
    let _ = fs::remove_dir(group);
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// The instance's name: several runs may go on side by side.
fn name_of(home: &Path) -> Result<String> {
    let process = home.file_name().context("a run's folder has a name")?;
    Ok(format!("suite-{}", process.to_string_lossy()))
}

/// A build of the workspace's own program, under cargo's further words (`--release`).
pub fn build(workspace: &Path, words: &[&str]) -> Result<PathBuf> {
    let mut command = crate::cargo::cargo();
    command.args(["build", "--message-format=json-render-diagnostics"]).args(words);
    command.current_dir(workspace).stderr(Stdio::inherit());
    let output = command.output().context("starting cargo")?;
    if !output.status.success() {
        bail!("cargo build {words:?}: {}", output.status);
    }
    let messages = String::from_utf8(output.stdout)?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = built.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    programs.find(|path| path.ends_with("gousse")).context("cargo built no program named gousse")
}
