//! An engine with a witness: what the agent does to it is written down and judged.
//!
//! Each life of an agent gets a witness of its own over the one engine of its machine. When the agent
//! is killed its witness falls silent, as the socket of a dead process does: tasks that it left behind
//! wait for ever and change nothing more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::Clock;
use runtime::engine::{Boxed, Duplex, Images, Result, Session};
use runtime::fake::Fake;
use runtime::{
    ContainerId, ContainerSpec, Engine, ExecSpec, Hint, Phase, Resources, Sandbox, SandboxId, SandboxSpec, Usage,
};
use tokio::sync::{broadcast, watch};

use crate::Chance;

/// The label under which the agent keeps a pod's UID in its sandboxes.
pub const POD_UID: &str = "io.kubernetes.pod.uid";

/// What was seen of one machine over all its agents' lives.
#[derive(Default)]
pub struct Testimony {
    /// Exits that were forgotten and must have been reported by then: container, pod, revision.
    pub forgotten: Vec<Forgotten>,
    /// Starts per pod and container name.
    pub starts: BTreeMap<(String, String), u32>,
    pub signals: Vec<Signalled>,
    pub violations: Vec<String>,
}

impl Testimony {
    /// All but the starts, which are of all time.
    pub fn take_news(&mut self) -> Testimony {
        Testimony {
            forgotten: std::mem::take(&mut self.forgotten),
            starts: BTreeMap::new(),
            signals: std::mem::take(&mut self.signals),
            violations: std::mem::take(&mut self.violations),
        }
    }
}

/// A container was told to stop.
#[derive(Clone, Debug)]
pub struct Signalled {
    pub pod: String,
    pub container: String,
    pub at: jiff::Timestamp,
    /// The store's revision at that moment.
    pub revision: u64,
    /// Commands that had run in it to their own end by then.
    pub finished: Vec<Vec<String>>,
}

/// Of what is asked of a runtime, so many times in a thousand the question is lost, or the answer.
pub struct Losses {
    pub per_mille: AtomicU64,
    /// The next sandbox that is removed is the last thing that the agent does.
    pub dies_removing: AtomicBool,
    chance: Mutex<Chance>,
}

enum Loss {
    Question,
    Answer,
}

impl Losses {
    pub fn new(chance: Chance) -> Losses {
        Losses { per_mille: AtomicU64::new(0), dies_removing: AtomicBool::new(false), chance: Mutex::new(chance) }
    }

    fn next(&self) -> Option<Loss> {
        let per_mille = self.per_mille.load(Ordering::SeqCst);
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = per_mille > 0 && chance.happens(per_mille);
        lost.then(|| if chance.happens(500) { Loss::Question } else { Loss::Answer })
    }
}

#[derive(Clone, Debug)]
pub struct Forgotten {
    pub container: String,
    pub pod: String,
    /// The store's revision at that moment.
    pub revision: u64,
    /// Later instances of the same container.
    pub newer: usize,
}

/// One life's view of the engine.
pub struct Witness {
    engine: Arc<Fake>,
    testimony: Arc<Mutex<Testimony>>,
    revision: Arc<dyn Fn() -> u64 + Send + Sync>,
    clock: Clock,
    losses: Arc<Losses>,
    /// False once the agent was killed.
    alive: watch::Receiver<bool>,
}

impl Witness {
    pub fn new(
        engine: Arc<Fake>,
        testimony: Arc<Mutex<Testimony>>,
        revision: Arc<dyn Fn() -> u64 + Send + Sync>,
        clock: Clock,
        losses: Arc<Losses>,
        alive: watch::Receiver<bool>,
    ) -> Witness {
        Witness { engine, testimony, revision, clock, losses, alive }
    }

    /// Likewise, where question or answer may be lost on the way.
    fn asked<'a, T: Send + 'a>(&'a self, work: Boxed<'a, Result<T>>) -> Boxed<'a, Result<T>> {
        self.through(Box::pin(async move {
            let not_known = || Err(runtime::Error::NotKnown("the supervisor ended meanwhile".into()));
            match self.losses.next() {
                None => work.await,
                Some(Loss::Question) => not_known(),
                Some(Loss::Answer) => {
                    let _ = work.await;
                    not_known()
                }
            }
        }))
    }

    /// Runs an operation, unless the agent is dead: then nothing ever comes back.
    fn through<'a, T: Send + 'a>(&'a self, work: Boxed<'a, T>) -> Boxed<'a, T> {
        Box::pin(async move {
            silent_unless(&self.alive).await;
            let result = work.await;
            silent_unless(&self.alive).await;
            result
        })
    }

    fn tell(&self, what: impl FnOnce(&mut Testimony)) {
        what(&mut self.testimony.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// 5: at most one live sandbox per pod.
    async fn count_sandboxes(&self) {
        let Ok(listed) = Engine::list(&*self.engine).await else { return };
        let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for sandbox in listed.into_iter().filter(|sandbox| sandbox.ready) {
            live.entry(pod_of(&sandbox)).or_default().push(sandbox.id.0);
        }
        for (pod, sandboxes) in live.into_iter().filter(|(_, sandboxes)| sandboxes.len() > 1) {
            self.tell(|t| t.violations.push(format!("law 5: pod {pod} has the live sandboxes {sandboxes:?}")));
        }
    }

    async fn stop_told(&self, id: &ContainerId) -> Option<Signalled> {
        let listed = Engine::list(&*self.engine).await.ok()?;
        let (sandbox, container) =
            listed.iter().find_map(|s| Some((s, s.containers.iter().find(|container| container.id == *id)?)))?;
        let (pod, container) = (pod_of(sandbox), container.spec.name.clone());
        let (at, revision) = ((self.clock)(), (self.revision)());
        Some(Signalled { pod, container, at, revision, finished: self.engine.finished(id) })
    }

    /// Exits that go with this container, or with all of this sandbox.
    async fn exits(&self, of: impl Fn(&Sandbox, &ContainerId) -> bool) -> Vec<Forgotten> {
        let revision = (self.revision)();
        let listed = Engine::list(&*self.engine).await.unwrap_or_default();
        let exits = listed.iter().flat_map(|sandbox| {
            let ended =
                sandbox.containers.iter().filter(|c| matches!(c.phase, Phase::Exited { started_at: Some(_), .. }));
            ended.filter(|c| of(sandbox, &c.id)).map(|c| {
                let pod = pod_of(sandbox);
                let all =
                    listed.iter().filter(|sandbox| pod_of(sandbox) == pod).flat_map(|sandbox| &sandbox.containers);
                let newer = all.filter(|o| o.spec.name == c.spec.name && o.spec.attempt > c.spec.attempt).count();
                Forgotten { container: c.id.0.clone(), pod, revision, newer }
            })
        });
        exits.collect()
    }
}

/// What a killed process's tasks wait for: nothing.
pub async fn silent_unless(alive: &watch::Receiver<bool>) {
    if !*alive.borrow() {
        std::future::pending::<()>().await;
    }
}

fn pod_of(sandbox: &Sandbox) -> String {
    sandbox.spec.labels.get(POD_UID).cloned().unwrap_or_default()
}

impl Engine for Witness {
    fn name(&self) -> (&str, &str) {
        self.engine.name()
    }

    fn list(&self) -> Boxed<'_, Result<Vec<Sandbox>>> {
        self.through(self.engine.list())
    }

    fn labelled(&self, label: &str, value: &str) -> Boxed<'_, Result<Vec<Sandbox>>> {
        self.through(self.engine.labelled(label, value))
    }

    fn changes(&self) -> broadcast::Receiver<Hint> {
        self.engine.changes()
    }

    fn is_up(&self) -> watch::Receiver<bool> {
        self.engine.is_up()
    }

    fn makes_networks(&self) -> bool {
        self.engine.makes_networks()
    }

    fn run_sandbox(&self, id: &SandboxId, spec: SandboxSpec) -> Boxed<'_, Result<Vec<IpAddr>>> {
        let run = self.engine.run_sandbox(id, spec);
        self.asked(Box::pin(async move {
            let result = run.await;
            self.count_sandboxes().await;
            result
        }))
    }

    fn stop_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>> {
        self.asked(self.engine.stop_sandbox(id))
    }

    fn remove_sandbox(&self, id: &SandboxId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        self.asked(Box::pin(async move {
            let exits = self.exits(|sandbox, _| sandbox.id == id).await;
            let result = self.engine.remove_sandbox(&id).await;
            if self.losses.dies_removing.swap(false, Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if result.is_ok() {
                self.tell(|t| t.forgotten.extend(exits));
            }
            result
        }))
    }

    fn create_container(&self, sandbox: &SandboxId, id: &ContainerId, spec: ContainerSpec) -> Boxed<'_, Result<()>> {
        self.asked(self.engine.create_container(sandbox, id, spec))
    }

    fn start_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        self.asked(Box::pin(async move {
            let was_created = |sandboxes: Vec<Sandbox>| {
                sandboxes.iter().find_map(|sandbox| {
                    let found = sandbox.containers.iter().find(|c| c.id == id && c.phase == Phase::Created)?;
                    Some((pod_of(sandbox), found.spec.name.clone()))
                })
            };
            let fresh = was_created(Engine::list(&*self.engine).await.unwrap_or_default());
            let result = self.engine.start_container(&id).await;
            if let (Ok(()), Some(started)) = (&result, fresh) {
                self.tell(|t| *t.starts.entry(started).or_default() += 1);
            }
            result
        }))
    }

    fn signal(&self, id: &ContainerId, signal: i32) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        self.asked(Box::pin(async move {
            let told = self.stop_told(&id).await.filter(|_| signal != 9);
            self.tell(|t| t.signals.extend(told));
            self.engine.signal(&id, signal).await
        }))
    }

    fn remove_container(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        let id = id.clone();
        self.asked(Box::pin(async move {
            let exits = self.exits(|_, container| *container == id).await;
            let result = self.engine.remove_container(&id).await;
            if result.is_ok() {
                self.tell(|t| t.forgotten.extend(exits));
            }
            result
        }))
    }

    fn update_container(&self, id: &ContainerId, resources: Resources) -> Boxed<'_, Result<()>> {
        self.asked(self.engine.update_container(id, resources))
    }

    fn update_sandbox(&self, id: &SandboxId, resources: Resources) -> Boxed<'_, Result<()>> {
        self.asked(self.engine.update_sandbox(id, resources))
    }

    fn exec(&self, id: &ContainerId, spec: ExecSpec) -> Boxed<'_, Result<Session>> {
        self.asked(self.engine.exec(id, spec))
    }

    fn attach(&self, id: &ContainerId, stdin: bool, stdout: bool, stderr: bool) -> Boxed<'_, Result<Session>> {
        self.through(self.engine.attach(id, stdin, stdout, stderr))
    }

    fn reopen_log(&self, id: &ContainerId) -> Boxed<'_, Result<()>> {
        self.through(self.engine.reopen_log(id))
    }

    fn usage(&self, id: &ContainerId) -> Boxed<'_, Result<Usage>> {
        self.through(self.engine.usage(id))
    }

    fn loads(&self, containers: Vec<(String, ContainerId)>) -> Boxed<'_, Vec<Option<Usage>>> {
        self.engine.loads(containers)
    }

    fn sandbox_usage(&self, id: &SandboxId) -> Boxed<'_, Result<Usage>> {
        self.through(self.engine.sandbox_usage(id))
    }

    fn connect(&self, id: &SandboxId, port: u16) -> Boxed<'_, Result<Box<dyn Duplex>>> {
        self.through(self.engine.connect(id, port))
    }

    fn images(&self) -> Arc<dyn Images> {
        self.engine.images()
    }
}
