//! What agent and supervisor say to each other, and supervisor and keeper.
//!
//! The agent asks, each request with a number; the supervisor answers with that number and tells every
//! change in between, in order: an agent that applies what it is told has the same list.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Error;
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, Resources, SandboxId, SandboxSpec};
use crate::state::{Container, Sandbox};

#[derive(Serialize, Deserialize)]
pub struct Asked {
    pub number: u64,
    pub request: Request,
}

#[derive(Clone, Serialize, Deserialize)]
pub enum Request {
    RunSandbox {
        id: SandboxId,
        spec: SandboxSpec,
    },
    StopSandbox {
        id: SandboxId,
    },
    RemoveSandbox {
        id: SandboxId,
    },
    CreateContainer {
        sandbox: SandboxId,
        id: ContainerId,
        spec: Box<ContainerSpec>,
        layers: Layers,
    },
    StartContainer {
        id: ContainerId,
    },
    Signal {
        id: ContainerId,
        signal: i32,
        /// None: it is not known when it is to be killed.
        #[serde(default)]
        grace: Option<Duration>,
    },
    RemoveContainer {
        id: ContainerId,
    },
    UpdateContainer {
        id: ContainerId,
        resources: Resources,
    },
    UpdateSandbox {
        id: SandboxId,
        resources: Resources,
    },
    /// Answered by `Answer::Session` with stdin, stdout, stderr as asked, or the terminal alone. Sent again
    /// it is the same session, by its name.
    Exec {
        id: ContainerId,
        spec: ExecSpec,
        /// Of the session: the run's own, or one that nobody else uses.
        #[serde(default)]
        name: String,
    },
    /// What became of sessions of a connection that was lost, by their names; first on each connection.
    /// Whatever else has ended and nobody was told of is forgotten. Answered by `Answer::Sessions`.
    Resume {
        sessions: Vec<(ContainerId, String)>,
        /// Execs that were asked for and not answered: they are asked for again after this.
        asked: Vec<(ContainerId, String)>,
    },
    /// As exec; of a container with a terminal always that first, then stdout if asked.
    Attach {
        id: ContainerId,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    /// The program of an exec is to end, with its process group; an attach goes on.
    KillSession {
        session: u64,
    },
    /// An attached agent has no more input.
    EndInput {
        session: u64,
    },
    ReopenLog {
        id: ContainerId,
    },
    /// Answered with two sockets of the sandbox's network, for IPv4 and IPv6 (where there is IPv6).
    Sockets {
        id: SandboxId,
    },
    /// Answered at once by who lives.
    Ping,
    /// The supervisor becomes this program; no container notices.
    Upgrade {
        program: PathBuf,
    },
    /// Supervisor and keeper end; answered with descriptors of both. Refused while containers run.
    Quit,
}

/// Folders of unpacked image layers, topmost first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    pub root: Vec<PathBuf>,
    /// Of image volumes, by image id.
    pub images: BTreeMap<String, Vec<PathBuf>>,
}

#[derive(Serialize, Deserialize)]
pub enum Told {
    /// Everything; the first thing told on a connection.
    Snapshot {
        version: String,
        sandboxes: Vec<Sandbox>,
        /// Sessions can be resumed.
        #[serde(default)]
        resumes: bool,
        /// What was found damaged when the supervisor began, for people to read.
        #[serde(default)]
        damage: Vec<String>,
        /// The supervisor's process; it answers pings.
        #[serde(default)]
        pid: Option<u32>,
    },
    Answer {
        number: u64,
        answer: Result<Answer, Refusal>,
    },
    /// New or changed, without its containers.
    Sandbox {
        sandbox: Box<Sandbox>,
    },
    Container {
        sandbox: SandboxId,
        container: Box<Container>,
    },
    SandboxGone {
        id: SandboxId,
    },
    ContainerGone {
        sandbox: SandboxId,
        id: ContainerId,
    },
    SessionEnded {
        session: u64,
        code: i32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Session {
        session: u64,
    },
    /// In the order asked; None: nothing is known of it.
    Sessions {
        sessions: Vec<Option<u64>>,
    },
}

/// `engine::Error` over the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Refusal {
    NotFound(String),
    NotRunning(String),
    Start(String),
    Failed(String),
    NotKnown(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(what) => Error::NotFound(what),
            Refusal::NotRunning(text) => Error::NotRunning(text),
            Refusal::Start(text) => Error::Start(text),
            Refusal::Failed(text) => Error::Failed(text),
            Refusal::NotKnown(text) => Error::NotKnown(text),
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Refusal::Failed(error.to_string())
    }
}

/// From the supervisor to the keeper, one packet each.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToKeeper {
    /// A supervisor begins, and wants to be told everything.
    Hello,
    /// Holds the descriptors that come with it, under `key` and their names.
    Keep {
        key: String,
        names: Vec<String>,
    },
    /// Lets them go; no names: all under the key.
    Drop {
        key: String,
        names: Vec<String>,
    },
    /// The exit that was told is on the disk.
    Reap {
        pid: u32,
    },
    /// What to run when the supervisor has to be started again.
    Program {
        path: PathBuf,
    },
    Quit,
}

/// From the keeper to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromKeeper {
    Kept {
        key: String,
        names: Vec<String>,
    },
    /// All that is kept was told.
    Ready,
    /// A child ended; told again and again until it is reaped.
    Ended {
        pid: u32,
        status: i32,
        by_signal: bool,
        at: i128,
    },
}
