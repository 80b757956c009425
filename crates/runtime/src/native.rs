//! The native engine: the agent's side of keeper and supervisor.
//!
//! The engine holds a mirror of the supervisor's list, fed over one unix socket in order; answers come
//! in that same order, so after a call returns the mirror shows its effect. It starts the keeper where
//! none runs. Killing the agent, or the supervisor, loses nothing; see `keeper` for who holds what.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::engine::{Boxed, Duplex, Engine, Error, Images, Result, Session};
use crate::images::ImagesStore;
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, MountSource, Resources, SandboxId, SandboxSpec};
use crate::state::{Hint, Sandbox, Usage};

/// Control groups, both versions.
mod cgroup;
/// Messages with descriptors over unix sockets.
mod channel;
/// The agent's connection and mirror.
mod client;
/// What holds a process of ours up.
pub mod hindrance;
/// The durable record.
mod journal;
/// The parent of all.
mod keeper;
/// A container's log file.
mod logfile;
/// Where they lie.
pub(crate) mod logfolder;
/// What the processes say to each other.
mod protocol;
/// From a container's output to its log.
mod pump;
/// What a container's first process does before its program.
pub(crate) mod setup;
/// Streams of exec and attach.
mod streams;
/// The one who starts containers.
mod supervisor;
/// System calls.
mod sys;
/// Said once.
mod trouble;
/// Of the supervisor.
mod watchdog;

use client::Client;
pub use logfile::{remove_log, rotations as log_rotations};
pub use logfolder::{open_folder as open_log_folder, open_log, open_root as open_log_root};
use protocol::{Layers, Request};
pub use setup::root::prepare_sub_path;

/// Where the engine lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// Survives a reboot: journal, containers' writable layers. On a file system that overlay accepts.
    pub data_dir: PathBuf,
    /// Socket, lock, the runtime's own log.
    pub run_dir: PathBuf,
    /// Name of the cgroup for keeper and supervisor, and for sandboxes that name none.
    pub cgroup: String,
    /// What to run as keeper and supervisor: a program whose `main` calls `supervise` first.
    pub program: PathBuf,
}

impl Config {
    /// The usual cgroup, and this very program.
    pub fn new(data_dir: impl Into<PathBuf>, run_dir: impl Into<PathBuf>) -> Config {
        let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        Config { data_dir: data_dir.into(), run_dir: run_dir.into(), cgroup: "gousse".into(), program }
    }
}

/// What keeper and supervisor have to end, which they do at once.
const END_MAX: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };

/// The folders and the cgroup of one engine.
#[derive(Clone, Debug)]
struct Folders {
    run: PathBuf,
    data: PathBuf,
    cgroup: String,
}

impl Folders {
    fn socket(&self) -> PathBuf {
        self.run.join("supervisor.sock")
    }
}

/// Runs as keeper, supervisor, a sandbox's init or a container's set-up if the command line says so, and
/// returns the exit status then. To be called before the program starts anything else: all of them must
/// stay single-threaded.
pub fn supervise(args: impl IntoIterator<Item = OsString>) -> Option<i32> {
    let all: Vec<OsString> = args.into_iter().collect();
    let args: Vec<OsString> = all.iter().skip(1).cloned().collect();
    let role = args.first()?.to_str()?.to_owned();
    if role == setup::beside::INIT {
        setup::beside::sandbox_init();
    }
    if role == setup::beside::SETUP {
        setup::beside::go_on(args.get(1).and_then(|order| order.to_str()).unwrap_or_default());
    }
    if role != "keeper" && role != "supervisor" {
        return None;
    }
    let option = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let (Some(run), Some(data)) = (option("--run-dir"), option("--data-dir")) else {
        eprintln!("{role}: --run-dir and --data-dir are needed");
        return Some(2);
    };
    let cgroup = option("--cgroup").map_or_else(|| "gousse".into(), |name| name.to_string_lossy().into_owned());
    let folders = Folders { run: run.into(), data: data.into(), cgroup };
    if role == "keeper" {
        keeper::begin_small(&all);
    }
    let done = if role == "keeper" { keeper::launch(&folders) } else { supervisor::run(folders) };
    Some(match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{role}: {error}");
            1
        }
    })
}

/// Asks for ordinary pages only: a mostly idle process would hold whole huge ones for the sake of a
/// few kilobytes each. What a container runs gets the usual setting back.
pub fn small_pages() {
    if let Err(why) = keeper::small_pages() {
        tracing::debug!("huge pages stay on: {why}");
    }
}

/// Memory that was freed goes back to the system at once, and not after a second: a burst of large
/// writes would else keep tens of megabytes for good. Before there is a second thread.
pub fn give_memory_back() {
    sys::set_purge_delay(10);
}

/// Our own engine.
pub struct NativeEngine {
    config: Config,
    client: Client,
    images: Arc<ImagesStore>,
    tree: cgroup::Tree,
}

impl NativeEngine {
    /// Connects, starting the keeper if none runs. To be called inside a tokio runtime.
    pub fn open(config: Config, images: Arc<ImagesStore>) -> Result<NativeEngine> {
        let tree = cgroup::Tree::find().map_err(|error| Error::Failed(format!("control groups: {error}")))?;
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|e| Error::Failed(e.to_string()));
        let (run, data) = (absolute(&config.run_dir)?, absolute(&config.data_dir)?);
        let folders = Folders { run, data, cgroup: config.cgroup.clone() };
        let client = Client::start(folders, config.program.clone());
        images.protect(Arc::new(client.images_in_use()));
        Ok(NativeEngine { config, client, images, tree })
    }

    /// The supervisor becomes that program, without losing a child. The keeper stays what it is.
    pub async fn upgrade(&self, program: PathBuf) -> Result<()> {
        self.client.ask(Request::Upgrade { program }).await
    }

    /// Ends supervisor and keeper; refused while containers run. Returns when both have ended, or had their time.
    pub async fn shut_down(&self) -> Result<()> {
        let processes = self.client.quit().await?;
        let ended = tokio::task::spawn_blocking(move || {
            processes.iter().map(|process| sys::wait_for_end(process, END_MAX)).collect::<io::Result<Vec<bool>>>()
        });
        let ended = ended.await.map_err(io::Error::other).and_then(|ended| ended);
        let ended = ended.map_err(|error| Error::Failed(format!("waiting for the runtime's end: {error}")))?;
        if ended.contains(&false) {
            return Err(Error::Failed("the runtime's supervisor or keeper was asked to end and does not".into()));
        }
        let name = &self.config.cgroup;
        // A process leaves its group shortly after its end is told, and version 1 announces no empty group.
        let mut pauses = (0..10).map(|turn| std::time::Duration::from_millis(1 << turn));
        while let Err(error) = self.tree.remove(name) {
            let Some(pause) = pauses.next() else {
                tracing::warn!("cgroup {name} stays, something else lives in it: {error}");
                break;
            };
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Makes a group for all sandboxes, which together get nine tenths of these processes and threads, or of
    /// what the group above may have: the machine itself can always begin one more.
    pub fn bound_processes(&self, name: &str, machine: u64) -> Result<()> {
        let above = std::path::Path::new(name).parent().and_then(|above| self.tree.processes_max(above));
        let most = machine.min(above.unwrap_or(u64::MAX)) / 10 * 9;
        let resources = Resources { pids: i64::try_from(most).unwrap_or(i64::MAX).max(1), ..Resources::default() };
        let bounded = self.tree.make_pod(name, &resources);
        bounded.map_err(|error| Error::Failed(format!("bounding the processes of cgroup {name}: {error}")))
    }

    /// Removes a group and what is below it, for whoever made them (a node's root of all pods). An error:
    /// a process still lives in it.
    pub fn remove_cgroup(&self, name: &str) -> Result<()> {
        self.tree.remove_all(name).map_err(|error| Error::Failed(format!("removing cgroup {name}: {error}")))
    }

    fn layers(&self, spec: &ContainerSpec) -> Result<Layers> {
        let whole = |image: &str| {
            let mut layers = self.images.rootfs(image)?;
            if layers.is_empty() {
                // An image without layers; a mount wants at least one.
                let empty = self.config.data_dir.join("empty");
                std::fs::create_dir_all(&empty).map_err(|error| Error::Failed(error.to_string()))?;
                layers.push(empty);
            }
            Ok::<_, Error>(layers)
        };
        let mut layers = Layers { root: whole(&spec.image)?, ..Layers::default() };
        for mount in &spec.mounts {
            if let MountSource::Image(id) = &mount.source {
                layers.images.insert(id.clone(), whole(id)?);
            }
        }
        Ok(layers)
    }

    async fn sandbox_of(&self, id: &ContainerId) -> Result<Sandbox> {
        let found = self.client.find(|sandbox| sandbox.containers.iter().any(|c| c.id == *id)).await?;
        found.ok_or_else(|| Error::NotFound(format!("container {}", id.0)))
    }
}

impl Engine for NativeEngine {
    fn name(&self) -> (&str, &str) {
        ("gousse", env!("CARGO_PKG_VERSION"))
    }

    fn list(&self) -> Boxed<'_, Result<Vec<Sandbox>>> {
        Box::pin(self.client.list(|_| true))
    }

    fn labelled(&self, label: &str, value: &str) -> Boxed<'_, Result<Vec<Sandbox>>> {
        let (label, value) = (label.to_owned(), value.to_owned());
        Box::pin(async move { self.client.list(|sandbox| sandbox.has_label(&label, &value)).await })
    }

    fn changes(&self) -> broadcast::Receiver<Hint> {
        self.client.changes()
    }

    fn is_up(&self) -> watch::Receiver<bool> {
        self.client.connected()
    }

    fn run_sandbox(&self, id: &SandboxId, spec: SandboxSpec) -> Boxed<'_, Result<Vec<IpAddr>>> {
        let run = self.client.ask(Request::RunSandbox { id: id.clone(), spec });
        Box::pin(async { run.await.map(|()| Vec::new()) })
    }

    fn stop_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::StopSandbox { id: id.clone() }))
    }

    fn remove_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::RemoveSandbox { id: id.clone() }))
    }

    fn create_container(&self, sandbox: &SandboxId, id: &ContainerId, spec: ContainerSpec) -> Boxed<'_, Result<()>> {
        let (sandbox, id) = (sandbox.clone(), id.clone());
        Box::pin(async move {
            let layers = self.layers(&spec)?;
            self.client.ask(Request::CreateContainer { sandbox, id, spec: Box::new(spec), layers }).await
        })
    }

    fn start_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::StartContainer { id: id.clone() }))
    }

    fn signal(&self, id: &ContainerId, signal: i32) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::Signal { id: id.clone(), signal, grace: None }))
    }

    fn stop(&self, id: &ContainerId, signal: i32, grace: Duration) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::Signal { id: id.clone(), signal, grace: Some(grace) }))
    }

    fn remove_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::RemoveContainer { id: id.clone() }))
    }

    fn update_container(&self, id: &ContainerId, resources: Resources) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::UpdateContainer { id: id.clone(), resources }))
    }

    fn update_sandbox(&self, id: &SandboxId, resources: Resources) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::UpdateSandbox { id: id.clone(), resources }))
    }

    fn exec(&self, id: &ContainerId, spec: ExecSpec) -> Boxed<'_, Result<Session>> {
        let id = id.clone();
        Box::pin(async move {
            let wanted = spec.clone();
            let opened = self.client.exec(id, spec).await?;
            streams::of_exec(opened, &wanted, &self.client).map_err(|error| Error::Failed(error.to_string()))
        })
    }

    fn attach(&self, id: &ContainerId, stdin: bool, stdout: bool, stderr: bool) -> Boxed<'_, Result<Session>> {
        let id = id.clone();
        Box::pin(async move {
            let sandbox = self.sandbox_of(&id).await?;
            let container = sandbox.containers.iter().find(|c| c.id == id);
            let terminal = container.is_some_and(|container| container.spec.tty);
            let stdin = stdin && container.is_some_and(|container| container.spec.stdin || terminal);
            let wanted = [stdin, stdout, stderr];
            let opened = self.client.attach(id, wanted).await?;
            let attached = streams::of_attach(opened, terminal, wanted, &self.client);
            attached.map_err(|error| Error::Failed(error.to_string()))
        })
    }

    fn reopen_log(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        Box::pin(self.client.ask(Request::ReopenLog { id: id.clone() }))
    }

    fn usage(&self, id: &ContainerId) -> Boxed<'_, Result<Usage>> {
        let id = id.clone();
        Box::pin(async move {
            let sandbox = self.sandbox_of(&id).await?;
            let path = format!("{}/{}", sandbox.spec.cgroup, id.0);
            let folder = self.config.data_dir.join("containers").join(&id.0);
            let tree = self.tree.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut usage = tree.usage(&path)?;
                let mut layer = crate::disk::used_below(&folder.join("upper"));
                layer += crate::disk::used_below(&folder.join("volumes"));
                (usage.writable_layer, usage.writable_inodes) = (layer.bytes, layer.inodes);
                Ok(usage)
            });
            used(read.await, || format!("container {} is not running", id.0))
        })
    }

    fn loads(&self, containers: Vec<(String, ContainerId)>) -> Boxed<'_, Vec<Option<Usage>>> {
        let tree = self.tree.clone();
        Box::pin(async move {
            let count = containers.len();
            let look = move |(cgroup, id): &(String, ContainerId)| tree.usage(&format!("{cgroup}/{}", id.0)).ok();
            let read = tokio::task::spawn_blocking(move || containers.iter().map(look).collect());
            read.await.unwrap_or_else(|_| vec![None; count])
        })
    }

    fn sandbox_usage(&self, id: &SandboxId) -> Boxed<'_, Result<Usage>> {
        let id = id.clone();
        Box::pin(async move {
            let found = self.client.find(|sandbox| sandbox.id == id).await?;
            let sandbox = found.ok_or_else(|| Error::NotFound(format!("sandbox {}", id.0)))?;
            let tree = self.tree.clone();
            let read = tokio::task::spawn_blocking(move || tree.usage(&sandbox.spec.cgroup));
            used(read.await, || format!("sandbox {} is not running", id.0))
        })
    }

    fn connect(&self, id: &SandboxId, port: u16) -> Boxed<'_, Result<Box<dyn Duplex>>> {
        let id = id.clone();
        Box::pin(async move {
            let sockets = self.client.ask_for_fds(Request::Sockets { id }).await?;
            streams::dial(sockets, port).await
        })
    }

    fn images(&self) -> Arc<dyn Images> {
        self.images.clone()
    }
}

/// What a task read of a cgroup; one that is gone belongs to nothing that runs.
fn used(
    read: std::result::Result<io::Result<Usage>, tokio::task::JoinError>,
    not_running: impl FnOnce() -> String,
) -> Result<Usage> {
    let read = read.map_err(|error| Error::Failed(error.to_string()))?;
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotRunning(not_running()),
        _ => Error::Failed(error.to_string()),
    })
}

/// One answer, and the exit of what it opened.
type Exit = oneshot::Receiver<Result<i32>>;
type Commands = mpsc::UnboundedSender<client::Command>;
