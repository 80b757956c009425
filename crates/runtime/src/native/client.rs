//! The agent's connection to the supervisor: requests, answers, and the mirror of its list.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::channel::{self, Inbox};
use super::protocol::{Answer, Asked, Request, Told};
use super::watchdog::{self, Silent, Watchdog};
use super::{Commands, Exit, Folders};
use crate::engine::{Error, Result};
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, MountSource, SandboxId};
use crate::state::{Hint, Sandbox};

/// What the connection's task is asked to do.
pub struct Command {
    request: Request,
    /// None: nobody waits for the answer.
    answer: Option<oneshot::Sender<Fate>>,
    /// Of what it opens.
    opens: Option<Open>,
    /// Connections that were lost over it.
    losses: u32,
}

/// A session as its agent holds it; the number is the agent's own.
struct Open {
    session: u64,
    /// Of an exec: what it is asked for again with.
    name: Option<(ContainerId, String)>,
    exit: oneshot::Sender<Result<i32>>,
}

/// What became of a request.
enum Fate {
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
    /// What distinguishes this agent's sessions from others'.
    lot: String,
    sessions: AtomicU64,
}

struct Mirror {
    sandboxes: Mutex<BTreeMap<SandboxId, Sandbox>>,
    changes: broadcast::Sender<Hint>,
}

/// How often a request is sent again over a new connection before its caller hears of it.
const TRIES: u32 = 32;
const LOST: &str = "the runtime's supervisor ended meanwhile";

impl Client {
    pub fn start(folders: Folders, program: PathBuf) -> Client {
        let (commands, waiting) = mpsc::unbounded_channel();
        let (connected, is_connected) = watch::channel(false);
        let mirror = Arc::new(Mirror { sandboxes: Mutex::new(BTreeMap::new()), changes: broadcast::channel(4096).0 });
        let (lost, again) = (Vec::new(), Vec::new());
        let task = Task { folders, program, waiting, mirror: mirror.clone(), connected, lost, again };
        tokio::spawn(task.run());
        let lot = format!("#{:x}.{:x}", std::process::id(), super::sys::now());
        Client { commands, mirror, connected: is_connected, lot, sessions: AtomicU64::default() }
    }

    pub fn changes(&self) -> broadcast::Receiver<Hint> {
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

    pub async fn list(&self, is_wanted: impl Fn(&Sandbox) -> bool) -> Result<Vec<Sandbox>> {
        self.when_connected().await?;
        Ok(self.mirror.lock().values().filter(|sandbox| is_wanted(sandbox)).cloned().collect())
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
            if let Fate::Answered(answered) = self.send(request.clone(), None).await {
                return answered.map(|(_, fds)| fds);
            }
        }
        Err(Error::NotKnown("the runtime's supervisor keeps ending".into()))
    }

    /// An exec, which outlives connections; under the spec's name, or one that nobody else uses.
    pub async fn exec(&self, id: ContainerId, spec: ExecSpec) -> Result<Opened> {
        let session = self.next_session();
        let name = if spec.name.is_empty() { format!("{}.{session}", self.lot) } else { spec.name.clone() };
        let again = Some((id.clone(), name.clone()));
        self.open_session(session, Request::Exec { id, spec, name }, again).await
    }

    /// An attach ends with its connection.
    pub async fn attach(&self, id: ContainerId, [stdin, stdout, stderr]: [bool; 3]) -> Result<Opened> {
        self.open_session(self.next_session(), Request::Attach { id, stdin, stdout, stderr }, None).await
    }

    fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    async fn open_session(
        &self,
        session: u64,
        request: Request,
        name: Option<(ContainerId, String)>,
    ) -> Result<Opened> {
        let (exit, receiver) = oneshot::channel();
        match self.send(request, Some(Open { session, name, exit })).await {
            Fate::Answered(Ok((Answer::Session { .. }, fds))) => {
                Ok(Opened { session, fds: fds.into(), exit: receiver })
            }
            Fate::Answered(Ok(_)) => Err(Error::Failed("the supervisor answered something else".into())),
            Fate::Answered(Err(error)) => Err(error),
            Fate::Lost => Err(Error::NotKnown(LOST.into())),
        }
    }

    /// The last request: a lost connection is what is wanted. Returns the processes that end.
    pub async fn quit(&self) -> Result<Vec<OwnedFd>> {
        match self.send(Request::Quit, None).await {
            Fate::Answered(answered) => answered.map(|(_, processes)| processes),
            Fate::Lost => Ok(Vec::new()),
        }
    }

    async fn send(&self, request: Request, opens: Option<Open>) -> Fate {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(Command { request, answer: Some(answer), opens, losses: 0 });
        if sent.is_err() {
            return Fate::Answered(Err(Error::Failed("the runtime's connection has ended".into())));
        }
        answered.await.unwrap_or(Fate::Lost)
    }
}

fn images_of(spec: &ContainerSpec) -> impl Iterator<Item = String> {
    let volumes = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Image(id) => Some(id.clone()),
        MountSource::Host(_) | MountSource::Own => None,
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
    Command { request, answer: None, opens: None, losses: 0 }
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
                Hint::Sandbox(id)
            }
            Told::Container { sandbox, container } => {
                let id = container.id.clone();
                if let Some(held) = sandboxes.get_mut(&sandbox) {
                    match held.containers.iter_mut().find(|held| held.id == id) {
                        Some(held) => *held = *container,
                        None => held.containers.push(*container),
                    }
                }
                Hint::Container(sandbox, id)
            }
            Told::SandboxGone { id } => {
                sandboxes.remove(&id);
                Hint::Sandbox(id)
            }
            Told::ContainerGone { sandbox, id } => {
                if let Some(held) = sandboxes.get_mut(&sandbox) {
                    held.containers.retain(|held| held.id != id);
                }
                Hint::Container(sandbox, id)
            }
            Told::Snapshot { sandboxes: all, .. } => {
                *sandboxes = all.into_iter().map(|sandbox| (sandbox.id.clone(), sandbox)).collect();
                Hint::Lagged
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
    /// Execs of a connection that was lost, until it is known what became of them.
    lost: Vec<Open>,
    /// Those among them that were not answered: sent again.
    again: Vec<Command>,
}

/// One connection's state.
struct Link {
    stream: UnixStream,
    inbox: Inbox,
    number: u64,
    asked: HashMap<u64, Command>,
    /// With the supervisor's numbers; one that was asked for several times by its name comes several times.
    sessions: Vec<(u64, Open)>,
    /// Of the request that asks for what was lost.
    resuming: Option<u64>,
    /// Sessions that began when nobody waited for them any more.
    abandoned: Vec<u64>,
    watchdog: Watchdog,
    /// The supervisor was asked to end and has not refused: then there is nothing to connect to again.
    ended: bool,
}

/// What was heard.
#[derive(Default)]
struct Heard {
    /// The list; whether sessions can be resumed.
    snapshot: Option<bool>,
    /// What became of lost sessions.
    resumed: Option<Vec<Option<u64>>>,
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
                        self.again.drain(..).for_each(|command| refuse(command, &text));
                        self.lost.drain(..).for_each(Open::lose);
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
            sessions: Vec::new(),
            resuming: None,
            abandoned: Vec::new(),
            watchdog: Watchdog::asleep(),
            ended: false,
        };
        // Nothing is asked before the list is there, and what became of lost sessions.
        let mut ready = false;
        loop {
            tokio::select! {
                biased;
                readable = link.stream.readable() => {
                    if readable.is_err() {
                        break;
                    }
                    match link.fill() {
                        Ok(true) => link.watchdog.rest(),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        Ok(false) | Err(_) => break,
                    }
                    match self.hear(&mut link) {
                        Ok(heard) => match self.prepare(&mut link, heard).await {
                            Ok(now_ready) => ready |= now_ready,
                            Err(_) => break,
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
                () = tokio::time::sleep_until(link.watchdog.due()), if link.is_waiting() => {
                    match link.watchdog.is_due() {
                        Silent::Ask if link.ask(told(Request::Ping)).await.is_err() => break,
                        Silent::Ended => break,
                        Silent::Ask | Silent::Spared => {}
                    }
                }
            }
        }
        // What it said before it ended counts.
        while let Ok(true) = link.fill() {}
        let _ = self.hear(&mut link);
        let ended = link.ended;
        self.lose(link);
        !ended
    }

    /// Applies what has arrived.
    fn hear(&self, link: &mut Link) -> io::Result<Heard> {
        let mut heard = Heard::default();
        while let Some((told, fds)) = link.inbox.next::<Told>()? {
            match told {
                Told::Answer { number, answer: Ok(Answer::Sessions { sessions }) } if link.resuming == Some(number) => {
                    heard.resumed = Some(sessions);
                }
                Told::Answer { number, answer } => link.answered(number, answer.map_err(Error::from), fds),
                Told::SessionEnded { session, code } => {
                    for (_, open) in link.sessions.extract_if(.., |(number, _)| *number == session) {
                        let _ = open.exit.send(Ok(code));
                    }
                }
                told => {
                    if let Told::Snapshot { resumes, damage, pid, .. } = &told {
                        heard.snapshot = Some(*resumes);
                        link.watchdog = pid.map_or_else(Watchdog::asleep, Watchdog::of);
                        damage.iter().for_each(|text| tracing::error!("the runtime: {text}"));
                    }
                    self.mirror.apply(told);
                }
            }
            // Numbers stand for nothing before they are known here.
            if heard.resumed.is_some() {
                break;
            }
        }
        Ok(heard)
    }

    /// Asks for what was lost, then for what was not answered. True once others may ask.
    async fn prepare(&mut self, link: &mut Link, heard: Heard) -> io::Result<bool> {
        if heard.snapshot == Some(true) {
            let sessions = self.lost.iter().filter_map(|open| open.name.clone()).collect();
            let asked = self.again.iter().filter_map(|command| command.opens.as_ref()?.name.clone()).collect();
            link.resuming = Some(link.number + 1);
            link.send(told(Request::Resume { sessions, asked })).await?;
            return Ok(false);
        }
        if heard.snapshot.is_none() && heard.resumed.is_none() {
            return Ok(false);
        }
        let numbers = heard.resumed.unwrap_or_default().into_iter().chain(std::iter::repeat(None));
        for (open, number) in self.lost.drain(..).zip(numbers) {
            match number {
                Some(number) => link.sessions.push((number, open)),
                None => open.lose(),
            }
        }
        while let Some(command) = self.again.pop() {
            link.send(command).await?;
        }
        // The ends of what was resumed may have come with the answer.
        self.hear(link)?;
        self.connected.send_replace(true);
        Ok(true)
    }

    fn lose(&mut self, link: Link) {
        for mut command in link.asked.into_values() {
            command.losses += 1;
            let is_exec = command.opens.as_ref().is_some_and(|open| open.name.is_some());
            if is_exec && command.losses < TRIES {
                self.again.push(command);
            } else if let Some(waiting) = command.answer {
                let _ = waiting.send(Fate::Lost);
            }
        }
        for (_, open) in link.sessions {
            match open.name {
                Some(_) => self.lost.push(open),
                None => open.lose(),
            }
        }
    }
}

impl Open {
    /// How it ended will not be known.
    fn lose(self) {
        let _ = self.exit.send(Err(Error::NotKnown(LOST.into())));
    }
}

impl Link {
    /// Reads what is there, once. False: the other side is gone.
    fn fill(&mut self) -> io::Result<bool> {
        self.stream.try_io(Interest::READABLE, || self.inbox.fill(&self.stream))
    }

    async fn send(&mut self, mut command: Command) -> io::Result<()> {
        if let Request::KillSession { session } | Request::EndInput { session } = &mut command.request {
            let number = self.sessions.iter().find(|(_, open)| open.session == *session).map(|(number, _)| *number);
            // It has ended.
            let Some(number) = number else { return Ok(()) };
            *session = number;
        }
        self.ask(command).await
    }

    async fn ask(&mut self, command: Command) -> io::Result<()> {
        self.number += 1;
        self.ended |= matches!(command.request, Request::Quit);
        let asked = Asked { number: self.number, request: command.request.clone() };
        let bytes = channel::frame(&asked, 0);
        if self.asked.is_empty() {
            self.watchdog.rest();
        }
        self.asked.insert(self.number, command);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match tokio::time::timeout(watchdog::PATIENCE, self.stream.writable()).await {
                Ok(writable) => writable?,
                // It does not read.
                Err(_) if self.watchdog.bite() => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => continue,
            }
            match self.stream.try_io(Interest::WRITABLE, || channel::send(&self.stream, rest, &[])) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// For an answer, of somebody who would say if they lived.
    fn is_waiting(&self) -> bool {
        !self.asked.is_empty() && self.watchdog.is_awake()
    }

    fn answered(&mut self, number: u64, answer: Result<Answer>, fds: Vec<OwnedFd>) {
        let Some(command) = self.asked.remove(&number) else { return };
        self.ended &= answer.is_ok();
        if let (Ok(Answer::Session { session }), Some(open)) = (&answer, command.opens) {
            self.sessions.push((*session, open));
        }
        let session = match &answer {
            Ok(Answer::Session { session }) => Some(*session),
            _ => None,
        };
        if let Some(waiting) = command.answer
            && waiting.send(Fate::Answered(answer.map(|answer| (answer, fds)))).is_err()
        {
            self.abandoned.extend(session);
        }
    }

    async fn kill(&mut self, sessions: Vec<u64>) -> io::Result<()> {
        for session in sessions {
            self.ask(told(Request::KillSession { session })).await?;
        }
        Ok(())
    }
}

fn refuse(command: Command, text: &str) {
    if let Some(waiting) = command.answer {
        // One that was sent before may have been carried out.
        let _ = waiting.send(Fate::Answered(Err(Error::NotKnown(text.to_owned()))));
    }
}
