//! The agent's connection to the supervisor: requests, answers, and the mirror of its list.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::channel::{self, Inbox};
use super::protocol::{Answer, Asked, Request, Told};
use super::{Commands, Exit, Folders};
use crate::engine::{Error, Result};
use crate::spec::{ContainerSpec, MountSource, SandboxId};
use crate::state::{Change, Sandbox};

/// What the connection's task is asked to do.
pub struct Command {
    request: Request,
    /// None: nobody waits for the answer.
    answer: Option<oneshot::Sender<Outcome>>,
    exit: Option<oneshot::Sender<Result<i32>>>,
}

enum Outcome {
    Answered(Result<(Answer, Vec<OwnedFd>)>),
    /// The connection ended first; whether the request was carried out is not known.
    Lost,
}

/// What an exec or attach was given.
pub struct Opened {
    pub session: u64,
    pub fds: VecDeque<OwnedFd>,
    pub exit: Exit,
}

pub struct Client {
    commands: Commands,
    mirror: Arc<Mirror>,
    connected: watch::Receiver<bool>,
}

struct Mirror {
    sandboxes: Mutex<BTreeMap<SandboxId, Sandbox>>,
    changes: broadcast::Sender<Change>,
}

/// How often a request is sent again over a new connection before its caller hears of it.
const TRIES: u32 = 32;

impl Client {
    pub fn start(folders: Folders, program: PathBuf) -> Client {
        let (commands, waiting) = mpsc::unbounded_channel();
        let (connected, is_connected) = watch::channel(false);
        let mirror = Arc::new(Mirror { sandboxes: Mutex::new(BTreeMap::new()), changes: broadcast::channel(4096).0 });
        let task = Task { folders, program, waiting, mirror: mirror.clone(), connected };
        tokio::spawn(task.run());
        Client { commands, mirror, connected: is_connected }
    }

    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.mirror.changes.subscribe()
    }

    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Asks the mirror for the images that containers stand on.
    pub fn images_in_use(&self) -> impl Fn() -> BTreeSet<String> + Send + Sync + 'static {
        let mirror = self.mirror.clone();
        move || {
            let sandboxes = mirror.lock();
            let containers = sandboxes.values().flat_map(|sandbox| &sandbox.containers);
            containers.flat_map(|container| images_of(&container.spec)).collect()
        }
    }

    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    pub async fn list(&self) -> Result<Vec<Sandbox>> {
        self.when_connected().await?;
        Ok(self.mirror.lock().values().cloned().collect())
    }

    pub async fn find(&self, is_it: impl Fn(&Sandbox) -> bool) -> Result<Option<Sandbox>> {
        self.when_connected().await?;
        Ok(self.mirror.lock().values().find(|sandbox| is_it(sandbox)).cloned())
    }

    async fn when_connected(&self) -> Result<()> {
        let mut connected = self.connected.clone();
        let waited = connected.wait_for(|connected| *connected).await;
        waited.map(drop).map_err(|_| Error::Failed("the runtime's connection has ended".into()))
    }

    /// A request that may be sent again, answered by nothing.
    pub async fn ask(&self, request: Request) -> Result<()> {
        self.ask_for_fds(request).await.map(drop)
    }

    pub async fn ask_for_fds(&self, request: Request) -> Result<Vec<OwnedFd>> {
        for _ in 0..TRIES {
            if let Outcome::Answered(answered) = self.send(request.clone(), None).await {
                return answered.map(|(_, fds)| fds);
            }
        }
        Err(Error::Failed("the runtime's supervisor keeps ending".into()))
    }

    /// Not sent again: it may have been carried out.
    pub async fn open_session(&self, request: Request) -> Result<Opened> {
        let (exit, receiver) = oneshot::channel();
        match self.send(request, Some(exit)).await {
            Outcome::Answered(Ok((Answer::Session { session }, fds))) => {
                Ok(Opened { session, fds: fds.into(), exit: receiver })
            }
            Outcome::Answered(Ok(_)) => Err(Error::Failed("the supervisor answered something else".into())),
            Outcome::Answered(Err(error)) => Err(error),
            Outcome::Lost => Err(Error::Failed("the runtime's supervisor ended meanwhile".into())),
        }
    }

    /// The last request: a lost connection is what is wanted. Returns the processes that end.
    pub async fn quit(&self) -> Result<Vec<OwnedFd>> {
        match self.send(Request::Quit, None).await {
            Outcome::Answered(answered) => answered.map(|(_, processes)| processes),
            Outcome::Lost => Ok(Vec::new()),
        }
    }

    async fn send(&self, request: Request, exit: Option<oneshot::Sender<Result<i32>>>) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(Command { request, answer: Some(answer), exit });
        if sent.is_err() {
            return Outcome::Answered(Err(Error::Failed("the runtime's connection has ended".into())));
        }
        answered.await.unwrap_or(Outcome::Lost)
    }
}

fn images_of(spec: &ContainerSpec) -> impl Iterator<Item = String> {
    let volumes = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Image(id) => Some(id.clone()),
        MountSource::Host(_) => None,
    });
    std::iter::once(spec.image.clone()).chain(volumes)
}

/// Tells the supervisor that an attach has no more input.
pub fn end_input(commands: &Commands, session: u64) {
    let _ = commands.send(told(Request::EndInput { session }));
}

/// Ends the program of an exec.
pub fn kill_session(commands: &Commands, session: u64) {
    let _ = commands.send(told(Request::KillSession { session }));
}

fn told(request: Request) -> Command {
    Command { request, answer: None, exit: None }
}

impl Mirror {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SandboxId, Sandbox>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, told: Told) {
        let mut sandboxes = self.lock();
        let change = match told {
            Told::Sandbox { sandbox } => {
                let mut sandbox = *sandbox;
                let id = sandbox.id.clone();
                if let Some(old) = sandboxes.get_mut(&id) {
                    sandbox.containers = std::mem::take(&mut old.containers);
                }
                sandboxes.insert(id.clone(), sandbox);
                Change::Sandbox(id)
            }
            Told::Container { sandbox, container } => {
                let id = container.id.clone();
                if let Some(held) = sandboxes.get_mut(&sandbox) {
                    match held.containers.iter_mut().find(|held| held.id == id) {
                        Some(held) => *held = *container,
                        None => held.containers.push(*container),
                    }
                }
                Change::Container(sandbox, id)
            }
            Told::SandboxGone { id } => {
                sandboxes.remove(&id);
                Change::Sandbox(id)
            }
            Told::ContainerGone { sandbox, id } => {
                if let Some(held) = sandboxes.get_mut(&sandbox) {
                    held.containers.retain(|held| held.id != id);
                }
                Change::Container(sandbox, id)
            }
            Told::Snapshot { sandboxes: all, .. } => {
                *sandboxes = all.into_iter().map(|sandbox| (sandbox.id.clone(), sandbox)).collect();
                Change::Lagged
            }
            Told::Answer { .. } | Told::SessionEnded { .. } => return,
        };
        drop(sandboxes);
        // Nobody listens: nothing is lost.
        let _ = self.changes.send(change);
    }
}

struct Task {
    folders: Folders,
    program: PathBuf,
    waiting: mpsc::UnboundedReceiver<Command>,
    mirror: Arc<Mirror>,
    connected: watch::Sender<bool>,
}

/// One connection's state.
struct Link {
    stream: UnixStream,
    inbox: Inbox,
    number: u64,
    asked: HashMap<u64, Command>,
    sessions: HashMap<u64, oneshot::Sender<Result<i32>>>,
    /// Sessions that began when nobody waited for them any more.
    abandoned: Vec<u64>,
    /// The supervisor was asked to end and has not refused: then there is nothing to connect to again.
    ended: bool,
}

impl Task {
    async fn run(mut self) {
        let mut failures = 0;
        while !(self.waiting.is_closed() && self.waiting.is_empty()) {
            match self.connect().await {
                Ok(stream) => {
                    failures = 0;
                    if !self.serve(stream).await {
                        return;
                    }
                    self.connected.send_replace(false);
                }
                Err(error) => {
                    failures += 1;
                    let text = format!("the runtime's supervisor cannot be reached: {error}");
                    if failures > 5 {
                        tracing::error!("{text}");
                        while let Ok(command) = self.waiting.try_recv() {
                            refuse(command, &text);
                        }
                    }
                    tokio::time::sleep(Duration::from_millis((5 << failures.min(8)).min(1000))).await;
                }
            }
        }
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        if let Ok(stream) = UnixStream::connect(self.folders.socket()).await {
            return Ok(stream);
        }
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("keeper").arg("--run-dir").arg(&self.folders.run).arg("--data-dir").arg(&self.folders.data);
        command.arg("--cgroup").arg(&self.folders.cgroup);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().await?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(text));
        }
        UnixStream::connect(self.folders.socket()).await
    }

    /// Until the connection ends; false: the client is gone.
    async fn serve(&mut self, stream: UnixStream) -> bool {
        let mut link = Link {
            stream,
            inbox: Inbox::default(),
            number: 0,
            asked: HashMap::new(),
            sessions: HashMap::new(),
            abandoned: Vec::new(),
            ended: false,
        };
        // Nothing is asked before the list is there.
        let mut ready = false;
        loop {
            tokio::select! {
                biased;
                readable = link.stream.readable() => {
                    let filled = readable.and_then(|()| {
                        link.stream.try_io(Interest::READABLE, || link.inbox.fill(&link.stream))
                    });
                    match filled {
                        Ok(true) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        Ok(false) | Err(_) => break,
                    }
                    match self.hear(&mut link) {
                        Ok(heard) => if heard && !ready {
                            ready = true;
                            self.connected.send_replace(true);
                        },
                        Err(error) => {
                            tracing::error!("the runtime's supervisor does not speak our language: {error}");
                            break;
                        }
                    }
                    let abandoned = std::mem::take(&mut link.abandoned);
                    if link.kill(abandoned).await.is_err() {
                        break;
                    }
                }
                command = self.waiting.recv(), if ready => {
                    let Some(command) = command else { return false };
                    if link.send(command).await.is_err() {
                        break;
                    }
                }
            }
        }
        let ended = link.ended;
        link.lose();
        !ended
    }

    /// Applies what has arrived; true if there was a snapshot.
    fn hear(&self, link: &mut Link) -> io::Result<bool> {
        let mut snapshot = false;
        while let Some((told, fds)) = link.inbox.next::<Told>()? {
            match told {
                Told::Answer { number, answer } => link.answered(number, answer.map_err(Error::from), fds),
                Told::SessionEnded { session, code } => {
                    if let Some(exit) = link.sessions.remove(&session) {
                        let _ = exit.send(Ok(code));
                    }
                }
                told => {
                    snapshot |= matches!(told, Told::Snapshot { .. });
                    self.mirror.apply(told);
                }
            }
        }
        Ok(snapshot)
    }
}

impl Link {
    async fn send(&mut self, command: Command) -> io::Result<()> {
        self.number += 1;
        self.ended |= matches!(command.request, Request::Quit);
        let asked = Asked { number: self.number, request: command.request.clone() };
        let bytes = channel::frame(&asked, 0);
        self.asked.insert(self.number, command);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_io(Interest::WRITABLE, || channel::send(&self.stream, rest, &[])) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn answered(&mut self, number: u64, answer: Result<Answer>, fds: Vec<OwnedFd>) {
        let Some(command) = self.asked.remove(&number) else { return };
        self.ended &= answer.is_ok();
        if let (Ok(Answer::Session { session }), Some(exit)) = (&answer, command.exit) {
            self.sessions.insert(*session, exit);
        }
        let session = match &answer {
            Ok(Answer::Session { session }) => Some(*session),
            _ => None,
        };
        if let Some(waiting) = command.answer
            && waiting.send(Outcome::Answered(answer.map(|answer| (answer, fds)))).is_err()
        {
            self.abandoned.extend(session);
        }
    }

    async fn kill(&mut self, sessions: Vec<u64>) -> io::Result<()> {
        for session in sessions {
            self.send(told(Request::KillSession { session })).await?;
        }
        Ok(())
    }

    fn lose(self) {
        for command in self.asked.into_values() {
            if let Some(waiting) = command.answer {
                let _ = waiting.send(Outcome::Lost);
            }
        }
        for exit in self.sessions.into_values() {
            let _ = exit.send(Err(Error::Failed("the runtime's supervisor ended meanwhile".into())));
        }
    }
}

fn refuse(command: Command, text: &str) {
    if let Some(waiting) = command.answer {
        let _ = waiting.send(Outcome::Answered(Err(Error::Failed(text.to_owned()))));
    }
}
