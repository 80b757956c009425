//! The contract that every engine keeps; `laws` runs the same suite over all of them.
//!
//! Every answer is one of three: done, failed, or `Error::NotKnown`. All calls are idempotent: running,
//! stopping or removing what already is so succeeds, so that what is not known can be asked again. Nothing
//! here waits for a container's end: a caller subscribes to `changes` and looks at `list`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::spec::{ContainerId, ContainerSpec, ExecSpec, Resources, SandboxId, SandboxSpec};
use crate::state::{Hint, Image, ImageUser, Sandbox, Usage};

/// Why an engine could not do what it was asked; a caller decides on the variant, people read the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} not found")]
    NotFound(String),
    /// The container is not running (exec, attach, signal).
    #[error("{0}")]
    NotRunning(String),
    /// The image is not on this machine.
    #[error("image {0} is not present")]
    ImageAbsent(String),
    /// The process could not start: no such file, not executable, wrong user. Reported as StartError.
    #[error("{0}")]
    Start(String),
    #[error("{0}")]
    Failed(String),
    /// Neither done nor failed, as far as anybody can tell: ask again, or look at what is there.
    #[error("{0}")]
    NotKnown(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Ends the program of an exec with SIGKILL, and what it has left in its process group; no other part of
/// the container. Of an attach: nothing.
pub type Kill = Box<dyn FnOnce() + Send>;

/// The streams of an exec or attach. Dropping them ends nothing; an exec that is given up before it has
/// begun ends by itself.
pub struct Session {
    pub stdin: Option<Writer>,
    pub stdout: Option<Reader>,
    /// None with a tty.
    pub stderr: Option<Reader>,
    /// Columns and rows; taken with a tty only.
    pub resize: mpsc::Sender<(u16, u16)>,
    /// The exit status (128 + signal); for attach: of the container. `NotKnown` where nobody saw it.
    pub exit: oneshot::Receiver<Result<i32>>,
    pub kill: Kill,
}

/// A node's container runtime.
pub trait Engine: Send + Sync + 'static {
    /// `gousse://…` in container ids, and name and version for `nodeInfo.containerRuntimeVersion`.
    fn name(&self) -> (&str, &str);

    fn list(&self) -> Boxed<'_, Result<Vec<Sandbox>>>;
    /// Those of the list that have this label with this value.
    fn labelled(&self, label: &str, value: &str) -> Boxed<'_, Result<Vec<Sandbox>>>;
    fn changes(&self) -> broadcast::Receiver<Hint>;
    /// Whether the runtime can be reached; what is asked meanwhile waits.
    fn is_up(&self) -> watch::Receiver<bool>;

    /// Whether sandboxes may ask for a network of the engine's own (`Network::Own`).
    fn makes_networks(&self) -> bool {
        false
    }

    /// Makes namespaces and cgroup; returns when the sandbox is ready. The id is the caller's. The addresses
    /// are those of a network that the engine made, as the list has them.
    fn run_sandbox(&self, id: &SandboxId, spec: SandboxSpec) -> Boxed<'_, Result<Vec<IpAddr>>>;
    /// Kills what runs in it and lets its namespaces go; containers stay listed with their exits.
    fn stop_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>>;
    /// Stops, and forgets it with all its containers, their roots and its cgroup; logs stay.
    fn remove_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>>;

    /// Prepares root and mounts. The id is the caller's.
    fn create_container(&self, sandbox: &SandboxId, id: &ContainerId, spec: ContainerSpec) -> Boxed<'_, Result<()>>;
    /// Starts its process; `Error::Start` leaves it Exited with `start_error`.
    fn start_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>>;
    /// Sends a signal to PID 1; SIGKILL goes to the whole cgroup.
    fn signal(&self, id: &ContainerId, signal: i32) -> Boxed<'_, Result<()>>;
    /// Sends a signal, and SIGKILL when the grace is over, should the caller be held up by then and not gone.
    fn stop(&self, id: &ContainerId, signal: i32, _grace: Duration) -> Boxed<'_, Result<()>> {
        self.signal(id, signal)
    }
    /// Kills if running, and forgets it and its exit.
    fn remove_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>>;
    /// Live limits of a container's cgroup.
    fn update_container(&self, id: &ContainerId, resources: Resources) -> Boxed<'_, Result<()>>;
    /// Live limits of a sandbox's cgroup.
    fn update_sandbox(&self, id: &SandboxId, resources: Resources) -> Boxed<'_, Result<()>>;

    /// Under a name that this container has seen before it is the same run, whether that goes on or has
    /// ended; its streams come once.
    fn exec(&self, id: &ContainerId, spec: ExecSpec) -> Boxed<'_, Result<Session>>;
    /// Streams of PID 1 from now on; stdin only where the container has one.
    fn attach(&self, id: &ContainerId, stdin: bool, stdout: bool, stderr: bool) -> Boxed<'_, Result<Session>>;
    /// Starts a new log file now (after the caller renamed or removed the old one).
    fn reopen_log(&self, id: &ContainerId) -> Boxed<'_, Result<()>>;
    fn usage(&self, id: &ContainerId) -> Boxed<'_, Result<Usage>>;
    /// Of many containers at once, each under its sandbox's cgroup, without a walk over what they wrote: nothing is told
    /// of layers. None for one that does not run.
    fn loads(&self, containers: Vec<(String, ContainerId)>) -> Boxed<'_, Vec<Option<Usage>>>;
    /// Of the sandbox's cgroup as a whole; nothing is told of layers.
    fn sandbox_usage(&self, id: &SandboxId) -> Boxed<'_, Result<Usage>>;
    /// A stream to a port on the sandbox's own loopback (port-forward).
    fn connect(&self, id: &SandboxId, port: u16) -> Boxed<'_, Result<Box<dyn Duplex>>>;

    fn images(&self) -> Arc<dyn Images>;
}

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The images of a node.
pub trait Images: Send + Sync {
    fn list(&self) -> Boxed<'_, Result<Vec<Image>>>;
    /// By name as a user writes it (`nginx`, `reg/x:1`, `x@sha256:…`, or an id).
    fn find(&self, name: &str) -> Boxed<'_, Result<Option<Image>>>;
    /// Pulls and returns it; `credentials` are tried in order, then none.
    fn pull(&self, name: &str, credentials: Vec<Credential>, progress: Progress) -> Boxed<'_, Result<Image>>;
    /// Loads an OCI layout or docker archive (tar, optionally compressed); returns what it held.
    fn load(&self, archive: Reader) -> Boxed<'_, Result<Vec<Image>>>;
    fn remove(&self, name: &str) -> Boxed<'_, Result<()>>;
    /// Removes those of these images (by id) that no container uses, the built-in one never; returns the
    /// bytes that they had.
    fn collect(&self, unused: BTreeSet<String>) -> Boxed<'_, Result<u64>>;
    /// Where they take disk space; None: nowhere.
    fn folder(&self) -> Option<&Path>;
    /// `user` as in `Image::user` or a pod's numbers: looked up in the image's own files.
    fn user(&self, image: &str, user: &str) -> Boxed<'_, Result<ImageUser>>;
}

/// Registry credentials, as a pull secret or ~/.docker/config.json gives them.
#[derive(Clone, Debug, Default)]
pub struct Credential {
    /// Registry host, optionally with a path; a leading `*.` matches one label.
    pub registry: String,
    pub username: String,
    pub password: String,
    pub identity_token: String,
}

/// Called with bytes done and bytes in all.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;
