//! An engine without processes: each container plays the part that its own argv gives it.
//!
//! For the simulator and for hollow nodes. Time is tokio's, so on a paused clock a run takes no time
//! and replays. The engine outlives the agent as the supervisor does: an agent that is started again
//! finds its containers. It keeps the same laws as the native one (tests/laws).

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::{broadcast, watch};

use crate::engine::{Boxed, Duplex, Engine, Error, Images, Result, Session};
use crate::native::logfolder;
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, MountSource, Network, Resources, SandboxId, SandboxSpec};
use crate::state::{Container, Exit, Hint, Phase, Sandbox, Usage};

mod images;
mod script;
mod sessions;

use images::FakeImages;
use script::Script;
use sessions::{session, silent};

const KILL: i32 = 9;
/// Changes that a reader may be behind before it looks at everything; the room is taken at once, for each of
/// thousands of hollow nodes.
const HINTS: usize = 64;
const LOG: OFlags = OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::CREATE);
/// A container's file for its last words.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Nanoseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i128 + Send + Sync>;

/// Asked before every operation with its name (`start_container`); what it returns is the answer.
pub type FaultHook = Arc<dyn Fn(&str) -> Option<Error> + Send + Sync>;

/// What a fake machine is like.
#[derive(Clone)]
pub struct FakeConfig {
    pub clock: Clock,
    /// Images that are there from the start.
    pub preloaded: Vec<String>,
    pub pull_time: Duration,
    /// How long a sandbox and the start of a container take.
    pub start_time: Duration,
    pub fault: Option<FaultHook>,
}

/// The engine. Dropping it ends every container.
pub struct Fake(Arc<Inner>);

struct Inner {
    config: FakeConfig,
    images: Arc<FakeImages>,
    state: Mutex<State>,
    changes: broadcast::Sender<Hint>,
    up: watch::Sender<bool>,
    /// Held by each exec under way.
    execs: Arc<()>,
    /// How often all sessions were lost.
    losses: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<SandboxId, FakeSandbox>,
    next_pid: u32,
    /// Of the networks that it makes, if it makes any.
    addresses: Vec<IpAddr>,
}

struct FakeSandbox {
    spec: SandboxSpec,
    ready: bool,
    created_at: i128,
    containers: BTreeMap<ContainerId, Played>,
    addresses: Vec<IpAddr>,
}

/// A container and its part.
struct Played {
    container: Container,
    script: Script,
    /// Told the exit code once.
    ended: watch::Sender<Option<i32>>,
    /// Commands of execs that came to their own end.
    finished: Vec<Vec<String>>,
    /// Execs that have a name, with their exit codes.
    named: BTreeMap<String, watch::Receiver<Option<i32>>>,
}

impl Fake {
    pub fn new(config: FakeConfig) -> Fake {
        let images = Arc::new(FakeImages::new(&config.preloaded, config.pull_time));
        let (changes, _) = broadcast::channel(HINTS);
        let (up, execs, losses) = (watch::Sender::new(true), Arc::default(), watch::Sender::default());
        Fake(Arc::new(Inner { config, images, state: Mutex::default(), changes, up, execs, losses }))
    }

    /// It makes networks from now on: every sandbox that asks for one has these addresses.
    pub fn make_networks(&self, addresses: Vec<IpAddr>) {
        self.0.lock().addresses = addresses;
    }

    /// How every session that is open ends will not be known; its program goes on.
    pub fn lose_sessions(&self) {
        self.0.losses.send_modify(|losses| *losses += 1);
    }

    /// The machine restarts: every process is gone and nobody saw how.
    pub fn reboot(&self) {
        let mut state = self.0.lock();
        for sandbox in state.sandboxes.values_mut() {
            sandbox.ready = false;
            for played in sandbox.containers.values_mut() {
                if let Phase::Running { started_at } = played.container.phase {
                    played.container.phase = Phase::Unknown { started_at: Some(started_at) };
                    played.container.pid = None;
                    played.ended.send_replace(Some(255));
                }
            }
        }
        drop(state);
        // Nobody is left who could hear it, except those who only lagged.
        let _ = self.0.changes.send(Hint::Lagged);
    }

    /// What is asked waits until it is up again.
    pub fn set_up(&self, up: bool) {
        self.0.up.send_replace(up);
    }

    /// Commands of further processes of a container that came to their own end.
    pub fn finished(&self, id: &ContainerId) -> Vec<Vec<String>> {
        self.0.lock().find(id).map(|(_, played)| played.finished.clone()).unwrap_or_default()
    }

    /// How many execs have not ended.
    pub fn execs(&self) -> usize {
        Arc::strong_count(&self.0.execs) - 1
    }

    /// The sandboxes whose specs are so; nothing of the others is copied.
    async fn listed(&self, is_so: impl Fn(&SandboxSpec) -> bool + Send) -> Result<Vec<Sandbox>> {
        self.begin("list").await?;
        let state = self.0.lock();
        let found = state.sandboxes.iter().filter(|(_, sandbox)| is_so(&sandbox.spec));
        let sandboxes = found.map(|(id, sandbox)| Sandbox {
            id: id.clone(),
            spec: sandbox.spec.clone(),
            ready: sandbox.ready,
            created_at: sandbox.created_at,
            containers: sandbox.containers.values().map(|played| played.container.clone()).collect(),
            addresses: sandbox.addresses.clone(),
        });
        Ok(sandboxes.collect())
    }

    async fn begin(&self, operation: &str) -> Result<()> {
        // The sender lives as long as the engine.
        let _ = self.0.up.subscribe().wait_for(|up| *up).await;
        match self.0.config.fault.as_ref().and_then(|hook| hook(operation)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i128 {
        (self.config.clock)()
    }

    fn tell(&self, change: Hint) {
        // No receiver is no error: a change is only a hint.
        let _ = self.changes.send(change);
    }

    /// Ends a process: the exit is recorded once, whoever comes first.
    fn end(&self, id: &ContainerId, code: i32, signal: Option<i32>) {
        let mut state = self.lock();
        let Some((sandbox, played)) = state.find(id) else { return };
        let Phase::Running { started_at } = played.container.phase else { return };
        let exit = Exit {
            code,
            signal,
            finished_at: self.now(),
            oom_killed: played.script.oom && signal == Some(KILL),
            start_error: String::new(),
        };
        played.container.phase = Phase::Exited { started_at: Some(started_at), exit };
        played.container.pid = None;
        if let Some(message) = &played.script.message {
            leave_message(&played.container.spec, message);
        }
        played.ended.send_replace(Some(code));
        let change = Hint::Container(sandbox, id.clone());
        drop(state);
        self.tell(change);
    }

    /// Plays a container's part until its end or until somebody else ended it.
    async fn play(engine: Weak<Inner>, id: ContainerId, script: Script) {
        let Some(run) = script.run else { return };
        tokio::time::sleep(run).await;
        if let Some(engine) = engine.upgrade() {
            match script.oom {
                true => engine.end(&id, 128 + KILL, Some(KILL)),
                false => engine.end(&id, script.exit, None),
            }
        }
    }

    fn start(self: &Arc<Self>, id: &ContainerId) -> Result<()> {
        let now = self.now();
        let mut state = self.lock();
        state.next_pid += 1;
        let pid = 1000 + state.next_pid;
        let Some((sandbox, played)) = state.find(id) else { return Err(absent(id)) };
        if played.container.phase != Phase::Created {
            return Ok(());
        }
        let change = Hint::Container(sandbox, id.clone());
        if let Some(why) = played.script.start_error.clone() {
            let exit = Exit { code: 128, signal: None, finished_at: now, oom_killed: false, start_error: why.clone() };
            played.container.phase = Phase::Exited { started_at: None, exit };
            played.ended.send_replace(Some(128));
            drop(state);
            self.tell(change);
            return Err(Error::Start(why));
        }
        played.container.phase = Phase::Running { started_at: now };
        played.container.pid = Some(pid);
        say(&played.container.spec, &played.script, now);
        tokio::spawn(Inner::play(Arc::downgrade(self), id.clone(), played.script.clone()));
        drop(state);
        self.tell(change);
        Ok(())
    }

    fn signal(self: &Arc<Self>, id: &ContainerId, signal: i32) -> Result<()> {
        let mut state = self.lock();
        let Some((_, played)) = state.find(id) else { return Err(absent(id)) };
        if !matches!(played.container.phase, Phase::Running { .. }) {
            return Err(Error::NotRunning(format!("container {} is not running", id.0)));
        }
        let script = played.script.clone();
        drop(state);
        if signal == KILL {
            self.end(id, 128 + KILL, Some(KILL));
        } else if !script.ignores_term {
            let (engine, id) = (Arc::downgrade(self), id.clone());
            tokio::spawn(async move {
                tokio::time::sleep(script.term_after).await;
                let Some(engine) = engine.upgrade() else { return };
                match script.term_exit {
                    Some(code) => engine.end(&id, code, None),
                    None => engine.end(&id, 128 + signal, Some(signal)),
                }
            });
        }
        Ok(())
    }

    /// Kills what runs in a sandbox and calls it not ready; an unknown one is already stopped.
    fn stop(&self, id: &SandboxId) {
        let mut state = self.lock();
        let Some(sandbox) = state.sandboxes.get_mut(id) else { return };
        let was_ready = std::mem::replace(&mut sandbox.ready, false);
        let running: Vec<ContainerId> = sandbox.containers.keys().cloned().collect();
        drop(state);
        for container in running {
            self.end(&container, 128 + KILL, Some(KILL));
        }
        if was_ready {
            self.tell(Hint::Sandbox(id.clone()));
        }
    }
}

impl State {
    fn find(&mut self, id: &ContainerId) -> Option<(SandboxId, &mut Played)> {
        self.sandboxes.iter_mut().find_map(|(sandbox, s)| Some((sandbox.clone(), s.containers.get_mut(id)?)))
    }
}

impl Engine for Fake {
    fn name(&self) -> (&str, &str) {
        ("fake", env!("CARGO_PKG_VERSION"))
    }

    fn list(&self) -> Boxed<'_, Result<Vec<Sandbox>>> {
        Box::pin(self.listed(|_| true))
    }

    fn labelled(&self, label: &str, value: &str) -> Boxed<'_, Result<Vec<Sandbox>>> {
        let (label, value) = (label.to_owned(), value.to_owned());
        Box::pin(self.listed(move |spec| spec.labels.get(&label) == Some(&value)))
    }

    fn changes(&self) -> broadcast::Receiver<Hint> {
        self.0.changes.subscribe()
    }

    fn is_up(&self) -> watch::Receiver<bool> {
        self.0.up.subscribe()
    }

    fn makes_networks(&self) -> bool {
        !self.0.lock().addresses.is_empty()
    }

    fn run_sandbox(&self, id: &SandboxId, spec: SandboxSpec) -> Boxed<'_, Result<Vec<IpAddr>>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("run_sandbox").await?;
            tokio::time::sleep(self.0.config.start_time).await;
            let mut state = self.0.lock();
            match state.sandboxes.get(&id) {
                Some(sandbox) if sandbox.ready => return Ok(sandbox.addresses.clone()),
                Some(_) => return Err(Error::Failed(format!("sandbox {} was stopped", id.0))),
                None => {}
            }
            let addresses = match spec.network {
                Network::Own if state.addresses.is_empty() => {
                    return Err(Error::Failed("this runtime makes no networks".into()));
                }
                Network::Own => state.addresses.clone(),
                Network::Host | Network::Namespace(_) => Vec::new(),
            };
            let (containers, created_at) = (BTreeMap::new(), self.0.now());
            let sandbox = FakeSandbox { spec, ready: true, created_at, containers, addresses: addresses.clone() };
            state.sandboxes.insert(id.clone(), sandbox);
            drop(state);
            self.0.tell(Hint::Sandbox(id));
            Ok(addresses)
        })
    }

    fn stop_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("stop_sandbox").await?;
            self.0.stop(&id);
            Ok(())
        })
    }

    fn remove_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("remove_sandbox").await?;
            self.0.stop(&id);
            if self.0.lock().sandboxes.remove(&id).is_some() {
                self.0.tell(Hint::Sandbox(id));
            }
            Ok(())
        })
    }

    fn create_container(&self, sandbox: &SandboxId, id: &ContainerId, spec: ContainerSpec) -> Boxed<'_, Result<()>> {
        let (sandbox, id) = (sandbox.clone(), id.clone());
        Box::pin(async move {
            self.begin("create_container").await?;
            if self.0.images.by_id(&spec.image).is_none() {
                return Err(Error::ImageAbsent(spec.image));
            }
            let created_at = self.0.now();
            let mut state = self.0.lock();
            let Some(found) = state.sandboxes.get_mut(&sandbox) else {
                return Err(Error::NotFound(format!("sandbox {}", sandbox.0)));
            };
            if found.containers.contains_key(&id) {
                return Ok(());
            }
            if !found.ready {
                return Err(Error::NotRunning(format!("sandbox {} is not ready", sandbox.0)));
            }
            let script = Script::parse(&spec.argv);
            let container = Container { id: id.clone(), spec, phase: Phase::Created, created_at, pid: None };
            let played =
                Played { container, script, ended: watch::Sender::new(None), finished: vec![], named: BTreeMap::new() };
            found.containers.insert(id.clone(), played);
            drop(state);
            self.0.tell(Hint::Container(sandbox, id));
            Ok(())
        })
    }

    fn start_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("start_container").await?;
            tokio::time::sleep(self.0.config.start_time).await;
            self.0.start(&id)
        })
    }

    fn signal(&self, id: &ContainerId, signal: i32) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("signal").await?;
            self.0.signal(&id, signal)
        })
    }

    fn remove_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("remove_container").await?;
            self.0.end(&id, 128 + KILL, Some(KILL));
            let mut state = self.0.lock();
            let Some((sandbox, _)) = state.find(&id) else { return Ok(()) };
            state.sandboxes.get_mut(&sandbox).map(|s| s.containers.remove(&id));
            drop(state);
            self.0.tell(Hint::Container(sandbox, id));
            Ok(())
        })
    }

    fn update_container(&self, id: &ContainerId, resources: Resources) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("update_container").await?;
            let mut state = self.0.lock();
            let (_, played) = state.find(&id).ok_or_else(|| absent(&id))?;
            played.container.spec.resources = resources;
            Ok(())
        })
    }

    fn update_sandbox(&self, id: &SandboxId, resources: Resources) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("update_sandbox").await?;
            let mut state = self.0.lock();
            let sandbox = state.sandboxes.get_mut(&id).ok_or_else(|| Error::NotFound(format!("sandbox {}", id.0)))?;
            sandbox.spec.resources = resources;
            Ok(())
        })
    }

    fn exec(&self, id: &ContainerId, spec: ExecSpec) -> Boxed<'_, Result<Session>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("exec").await?;
            let ended = self.0.running(&id)?;
            let script = Script::parse(&spec.argv);
            if let Some(why) = script.start_error {
                return Err(Error::Start(why));
            }
            let mut state = self.0.lock();
            let (_, played) = state.find(&id).ok_or_else(|| absent(&id))?;
            if let Some(known) = played.named.get(&spec.name) {
                return Ok(Session { exit: self.0.end_of(known.clone()), ..silent() });
            }
            let (name, argv) = (spec.name.clone(), spec.argv.clone());
            let (session, code) = session(spec, script, ended, Some(self.0.execs.clone()));
            if !name.is_empty() {
                played.named.insert(name, code.clone());
            }
            drop(state);
            tokio::spawn(Inner::note_end(Arc::downgrade(&self.0), id, argv, code.clone()));
            Ok(Session { exit: self.0.end_of(code), ..session })
        })
    }

    fn attach(&self, id: &ContainerId, stdin: bool, stdout: bool, stderr: bool) -> Boxed<'_, Result<Session>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("attach").await?;
            let ended = self.0.running(&id)?;
            // A part says everything at its start: an attached reader sees silence, then the end.
            let spec = ExecSpec { stdin, stdout, stderr, ..ExecSpec::default() };
            let (session, code) = session(spec, Script::default(), ended, None);
            Ok(Session { exit: self.0.end_of(code), ..session })
        })
    }

    fn reopen_log(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("reopen_log").await?;
            let mut state = self.0.lock();
            let (_, played) = state.find(&id).ok_or_else(|| absent(&id))?;
            append(&played.container.spec, "");
            Ok(())
        })
    }

    fn usage(&self, id: &ContainerId) -> Boxed<'_, Result<Usage>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("usage").await?;
            let mut state = self.0.lock();
            let (_, played) = state.find(&id).ok_or_else(|| absent(&id))?;
            let memory = played.script.memory;
            Ok(Usage { memory, memory_working_set: memory, memory_rss: memory, pids: 1, ..Usage::default() })
        })
    }

    fn loads(&self, containers: Vec<(String, ContainerId)>) -> Boxed<'_, Vec<Option<Usage>>> {
        Box::pin(async move {
            let mut used = Vec::new();
            for (_, id) in &containers {
                used.push(self.usage(id).await.ok());
            }
            used
        })
    }

    fn sandbox_usage(&self, id: &SandboxId) -> Boxed<'_, Result<Usage>> {
        let id = id.clone();
        Box::pin(async move {
            self.begin("sandbox_usage").await?;
            let mut state = self.0.lock();
            let sandbox = state.sandboxes.get_mut(&id).ok_or_else(|| Error::NotFound(format!("sandbox {}", id.0)))?;
            let running = sandbox.containers.values().filter(|c| matches!(c.container.phase, Phase::Running { .. }));
            let (pids, memory) = running.fold((0, 0), |(pids, sum), played| (pids + 1, sum + played.script.memory));
            Ok(Usage { memory, memory_working_set: memory, memory_rss: memory, pids, ..Usage::default() })
        })
    }

    fn connect(&self, _id: &SandboxId, _port: u16) -> Boxed<'_, Result<Box<dyn Duplex>>> {
        Box::pin(async { Err(Error::Failed("the fake engine has no network to connect to".into())) })
    }

    fn images(&self) -> Arc<dyn Images> {
        self.0.images.clone()
    }
}

impl Inner {
    fn running(&self, id: &ContainerId) -> Result<watch::Receiver<Option<i32>>> {
        let mut state = self.lock();
        let (_, played) = state.find(id).ok_or_else(|| absent(id))?;
        match played.container.phase {
            Phase::Running { .. } => Ok(played.ended.subscribe()),
            _ => Err(Error::NotRunning(format!("container {} is not running", id.0))),
        }
    }
}

/// What a container prints at its start goes to its log in the CRI's form.
fn say(spec: &ContainerSpec, script: &Script, now: i128) {
    let time = jiff::Timestamp::from_nanosecond(now).map(|t| t.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string());
    let time = time.unwrap_or_default();
    let lines = |stream: &'static str, lines: &[String]| {
        lines.iter().map(|line| format!("{time} {stream} F {line}\n")).collect::<String>()
    };
    let text = lines("stdout", &script.prints) + &lines("stderr", &script.complains);
    append(spec, &text);
}

fn append(spec: &ContainerSpec, text: &str) {
    let Some(log) = &spec.log else { return };
    let name = Path::new(log.path.file_name().unwrap_or_default());
    let opened = logfolder::open_folder(&log.path, true).and_then(|folder| logfolder::open_file(folder, name, LOG));
    if let Err(why) = opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        tracing::warn!("the log {} of a fake container: {why}", log.path.display());
    }
}

fn leave_message(spec: &ContainerSpec, message: &str) {
    for mount in spec.mounts.iter().filter(|mount| mount.target.as_os_str() == TERMINATION_LOG) {
        let MountSource::Host(path) = &mount.source else { continue };
        if let Err(why) = std::fs::write(path, message) {
            tracing::warn!("the last words of a fake container: {why}");
        }
    }
}

fn absent(id: &ContainerId) -> Error {
    Error::NotFound(format!("container {}", id.0))
}
