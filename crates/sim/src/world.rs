//! The cluster: what is up, and how it is killed and started again.
//!
//! The store in memory outlives the server, as a disk does; a server that is started again finds its
//! objects but not the history of changes. Parts are tasks: a kill drops them at whatever point they
//! have reached.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Clock, Entropy};
use client::leases::LeaseConfig;
use client::{Client, Transport};
use serde_json::Value;
use server::{Component, Server};
use store::{Backend, Fault, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::link::{Link, Site};
use crate::machine::Machine;
use crate::witness::Testimony;
use crate::{Chance, Weather, laws::Laws};

/// 2026-09-21T14:13:20Z
const BEGIN: i64 = 1_790_000_000;

/// One cluster on paused time.
pub struct World {
    pub seed: u64,
    pub store: Store,
    pub site: Arc<Site>,
    pub laws: Laws,
    clock: Clock,
    /// Seconds by which every clock is wrong.
    jumps: Arc<AtomicI64>,
    parts: BTreeMap<String, Part>,
    pub machines: BTreeMap<String, Machine>,
    /// Plans of actors at rest that were seen to be empty (law 8).
    pub plans_checked: usize,
    failures: Arc<Failures>,
    dir: tempfile::TempDir,
    lives: u32,
}

/// A running task and the switch of its life.
struct Part {
    task: JoinHandle<()>,
    life: watch::Sender<bool>,
}

/// Which commits fail.
#[derive(Default)]
struct Failures {
    per_mille: AtomicU64,
    chance: Mutex<Option<Chance>>,
    nth: Mutex<BTreeMap<u64, Fault>>,
}

impl World {
    /// Must run on a runtime whose clock is paused.
    pub async fn start(seed: u64) -> World {
        let begin = Instant::now();
        let jumps = Arc::new(AtomicI64::new(0));
        let wrong = jumps.clone();
        let clock: Clock = Arc::new(move || {
            let second = BEGIN + wrong.load(Ordering::SeqCst);
            jiff::Timestamp::from_second(second).expect("a time in this century") + begin.elapsed()
        });
        let failures =
            Arc::new(Failures { chance: Mutex::new(Some(Chance::new(seed, "store"))), ..Failures::default() });
        let (wall, hook) = (clock.clone(), failures.clone());
        let mut options = store::Options::new(Arc::new(move || {
            Duration::from_millis(u64::try_from(wall().as_millisecond()).unwrap_or_default())
        }));
        options.fault = Some(Arc::new(move |nth| hook.fault(nth)));
        // The checker looks seldom, and days may pass in between.
        (options.watch_queue, options.history) = (1 << 20, Duration::from_secs(30 * 24 * 3600));
        options.history_bytes = usize::MAX;
        let store = Store::open(Backend::Memory, options).expect("memory opens");
        let laws = Laws::new(&store);
        // In memory already, so that no node mounts a tmpfs for its volumes.
        let dir = tempfile::tempdir_in("/dev/shm").expect("a folder for keys");
        let mut world = World {
            seed,
            store,
            site: Site::new(),
            laws,
            clock,
            jumps,
            parts: BTreeMap::new(),
            machines: BTreeMap::new(),
            plans_checked: 0,
            failures,
            dir,
            lives: 0,
        };
        world.start_server().await;
        world
    }

    /// Every clock shows so many seconds more, or less, from now on; time goes on as before.
    pub fn clock_jumps(&self, seconds: i64) {
        self.jumps.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// A stream of its own for each life: no two processes draw the same numbers.
    pub fn entropy(&mut self, name: &str) -> Entropy {
        self.lives += 1;
        let chance = Mutex::new(Chance::new(self.seed, &format!("{name} {}", self.lives)));
        Arc::new(move |bytes| chance.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes))
    }

    pub async fn start_server(&mut self) {
        let config = server::Config {
            data_dir: self.dir.path().into(),
            backend: Some(Backend::Shared(self.store.clone())),
            advertise: "127.0.0.1:6443".parse().expect("an address"),
            names: vec![],
            service_cidr: "10.96.0.0/16".into(),
            node_ports: server::PortRange::default(),
            allow_privileged: true,
            admission: server::Admission::default(),
            limits: server::Limits::default(),
            clock: self.clock.clone(),
            entropy: self.entropy("server"),
        };
        let server = Server::open(config).await.expect("the server opens");
        self.site.set(Some(server));
    }

    /// Every request and watch in flight ends; the history of changes is gone with the process.
    pub fn kill_server(&mut self) {
        self.site.set(None);
        self.store.compact(self.store.revision());
    }

    /// A client of its own, with weather, that lives as long as the world.
    pub fn client(&self, name: &str, component: Component, weather: Weather) -> Client {
        // The sender is gone at once; the last value stays.
        self.mortal_client(name, component, weather, watch::Sender::new(true).subscribe())
    }

    fn mortal_client(
        &self,
        name: &str,
        component: Component,
        weather: Weather,
        alive: watch::Receiver<bool>,
    ) -> Client {
        let identity = move |server: &Server| server.internal(component.clone());
        let link = Link::new(self.site.clone(), name, self.seed, weather, alive, identity);
        Client::new(Arc::new(link) as Arc<dyn Transport>).named(name)
    }

    /// Starts a part; one of the same name is killed first.
    pub fn start_part(&mut self, name: &str, part: impl Future<Output = ()> + Send + 'static) {
        self.start_mortal(name, part, watch::Sender::new(true));
    }

    fn start_mortal(&mut self, name: &str, part: impl Future<Output = ()> + Send + 'static, life: watch::Sender<bool>) {
        self.kill_part(name);
        self.parts.insert(name.into(), Part { task: tokio::spawn(part), life });
    }

    /// Drops a part wherever it is; tasks that it left behind reach nothing any more.
    pub fn kill_part(&mut self, name: &str) {
        if let Some(part) = self.parts.remove(name) {
            part.life.send_replace(false);
            part.task.abort();
        }
    }

    pub fn start_scheduler(&mut self, weather: Weather) {
        let life = watch::Sender::new(true);
        let client = self.mortal_client("default-scheduler", Component::Scheduler, weather, life.subscribe());
        let config = scheduler::Config {
            clock: self.clock.clone(),
            entropy: self.entropy("scheduler"),
            configuration: scheduler::Configuration::default(),
        };
        self.start_mortal("scheduler", scheduler::run(client, config), life);
    }

    pub fn start_controllers(&mut self, weather: Weather) {
        let life = watch::Sender::new(true);
        let controllers = self.controllers("controllers", weather, life.subscribe());
        self.start_mortal("controllers", controllers, life);
    }

    /// Controllers in a process of that name, which run only while they hold the lease that all of them want. Those
    /// that lost it begin anew as a candidate, as a process that is started again.
    pub fn start_candidate(&mut self, name: &str, weather: Weather) {
        let life = watch::Sender::new(true);
        let config = LeaseConfig {
            namespace: "kube-system".into(),
            name: "kube-controller-manager".into(),
            holder: name.into(),
            duration: Duration::from_secs(15),
            period: Duration::from_secs(2),
            owners: Vec::new(),
        };
        let client = self.mortal_client(name, Component::controller(""), weather, life.subscribe());
        let clock = self.clock.clone();
        let mut lives: Vec<_> = (0..8).map(|_| Box::pin(self.controllers(name, weather, life.subscribe()))).collect();
        let run = async move {
            while let Some(life) = lives.pop() {
                let _lost = client::election::lead(&client, &clock, &config, life).await;
            }
        };
        self.start_mortal(name, run, life);
    }

    fn controllers(
        &mut self,
        name: &str,
        weather: Weather,
        alive: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (site, seed, process) = (self.site.clone(), self.seed, name.to_string());
        let clients: controllers::Clients = Arc::new(move |account| {
            let component = Component::controller(account);
            let identity = move |server: &Server| server.internal(component.clone());
            let name = format!("{process} {account}");
            let link = Link::new(site.clone(), &name, seed, weather, alive.clone(), identity);
            Client::new(Arc::new(link) as Arc<dyn Transport>)
        });
        let config = controllers::Config {
            // Always the same: its hash is in the name of what is published. Nobody has its key, nothing is signed.
            authority: include_str!("authority.pem").into(),
            authority_key: String::new(),
            may_bear: Arc::new(|_, _| false),
            clock: self.clock.clone(),
            entropy: self.entropy(name),
            node_ranges: Vec::new(),
            service_range: None,
            node_ports: (30000, 32767),
            load_balancer_pool: Vec::new(),
            node_monitor: controllers::NodeMonitor::default(),
        };
        controllers::run(clients, config)
    }

    /// Starts the agent of a machine, which is made if there is none of this name.
    pub fn start_node(&mut self, name: &str, weather: Weather) {
        self.kill_node(name);
        if !self.machines.contains_key(name) {
            let number = 1 + self.machines.len() as u8;
            let entropy = self.entropy(name);
            let chance = Chance::new(self.seed, &format!("{name}'s runtime"));
            let machine = Machine::new(name, number, self.dir.path(), self.clock.clone(), entropy, chance);
            self.machines.insert(name.into(), machine);
        }
        let machine = self.machines.get_mut(name).expect("made above");
        let alive = machine.begin_life();
        let store = self.store.clone();
        let revision: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(move || store.revision().0);
        let component = Component::Node(name.into());
        let client = self.mortal_client(name, component, weather, alive.clone());
        let agent = self.machines[name].agent(client, revision, alive);
        self.start_part(name, agent);
    }

    /// The agent ends wherever it is; its containers go on.
    pub fn kill_node(&mut self, name: &str) {
        self.kill_part(name);
        if let Some(machine) = self.machines.get(name) {
            machine.end_life();
        }
    }

    /// The runtime's supervisor ends and comes again: containers and execs go on, open sessions are lost.
    pub fn kill_supervisor(&self, name: &str) {
        if let Some(machine) = self.machines.get(name) {
            machine.engine.lose_sessions();
        }
    }

    /// Questions to every runtime, and answers, are lost `per_mille` times in a thousand from now on.
    pub fn runtimes_lose(&self, per_mille: u64) {
        for machine in self.machines.values() {
            machine.losses.per_mille.store(per_mille, Ordering::SeqCst);
        }
    }

    /// The agent and every container of a machine end unseen.
    pub fn reboot(&mut self, name: &str) {
        self.kill_node(name);
        if let Some(machine) = self.machines.get_mut(name) {
            machine.reboot();
        }
    }

    /// Commits fail `per_mille` times in a thousand from now on, in every way.
    pub fn store_fails(&self, per_mille: u64) {
        self.failures.per_mille.store(per_mille, Ordering::SeqCst);
    }

    /// The nth commit from the very first one fails in this way.
    pub fn nth_commit_fails(&self, nth: u64, fault: Fault) {
        self.failures.nth.lock().unwrap_or_else(PoisonError::into_inner).insert(nth, fault);
    }

    /// Checks every revision so far and everything that was acknowledged.
    pub async fn check(&mut self) {
        self.laws.workloads.doubt(self.site.doubtful());
        // Before the changes: what is written while they are read is the next check's, and so is what witnesses see
        // meanwhile, of which the changes do not tell yet.
        let told = self.site.acknowledged();
        let heard: Vec<Testimony> = self.machines.values().map(Machine::take_testimony).collect();
        self.laws.catch_up(&self.store).await;
        self.laws.remember(told);
        heard.into_iter().for_each(|heard| self.laws.hear(heard));
        let mut everywhere = Vec::new();
        for machine in self.machines.values() {
            let live = runtime::Engine::list(&*machine.engine).await.expect("the fake engine lists");
            let attached = node::Network::list(&*machine.network).await.expect("the imagined network lists");
            self.laws.compare_networks(&live, &attached);
            everywhere.extend(live);
        }
        self.laws.one_sandbox_each(&everywhere);
        self.laws.one_of_a_name(&everywhere);
        for machine in self.machines.values() {
            let mut unfinished = machine.unfinished().await;
            self.plans_checked += unfinished.len();
            if unfinished.iter().any(|(_, actions)| !actions.is_empty()) {
                // News of this very moment may be on its way to the actor.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let later = machine.unfinished().await;
                unfinished.retain(|answer| later.contains(answer));
                self.laws.rest(&unfinished);
            }
        }
        self.laws.waits(self.site.endless());
        let violations = self.laws.violations();
        let (what, recent) = (violations.join("\n"), self.laws.recent());
        assert!(violations.is_empty(), "seed {}:\n{recent}\n{what}", self.seed);
    }

    /// In the end: no machine runs what the cluster does not have, and nothing that ran once
    /// (`restartPolicy: Never`) ran twice.
    pub async fn machines_hold_only(&self, pods: &[String]) {
        for (name, machine) in &self.machines {
            let listed = runtime::Engine::list(&*machine.engine).await.expect("the fake engine lists");
            let stray = listed.iter().filter(|sandbox| {
                let pod = sandbox.spec.labels.get("io.kubernetes.pod.name");
                !pod.is_some_and(|pod| pods.contains(pod))
            });
            let stray: Vec<_> = stray.map(|sandbox| &sandbox.spec.labels).collect();
            assert!(stray.is_empty(), "seed {}: {name} still holds {stray:?}", self.seed);
            // `<namespace>_<name>_<uid>`
            let known = |folder: &String| folder.split('_').nth(1).is_some_and(|pod| pods.iter().any(|p| p == pod));
            let (folders, dangling) = machine.logs();
            let left: Vec<_> = folders.iter().filter(|folder| !known(folder)).collect();
            assert!(left.is_empty(), "seed {}: {name} keeps the logs {left:?}", self.seed);
            assert!(dangling.is_empty(), "seed {}: {name} keeps links to no logs: {dangling:?}", self.seed);
            let testimony = machine.testimony.lock().unwrap_or_else(PoisonError::into_inner);
            for ((pod, container), starts) in &testimony.starts {
                let once = self.laws.runs_once(pod);
                assert!(!once || *starts <= 1, "seed {}: {container} of {pod} was started {starts} times", self.seed);
            }
        }
    }

    /// A pod's last status and what was said about it, for whoever looks into a failure.
    pub fn story_of(&self, name: &str) -> String {
        let objects = self.laws.objects();
        let pods = objects.iter().filter(|(key, _)| key.starts_with("pods/") && key.ends_with(&format!("/{name}")));
        let mut story: Vec<String> = pods.map(|(key, pod)| format!("{key}: {:#}", pod["status"])).collect();
        let about = |event: &&Value| event["involvedObject"]["name"] == name;
        let mut events: Vec<&Value> = objects
            .iter()
            .filter(|(key, _)| key.starts_with("events/"))
            .map(|(_, event)| event)
            .filter(about)
            .collect();
        events.sort_by_key(|event| event["lastTimestamp"].as_str().or(event["eventTime"].as_str()));
        story.extend(events.iter().map(|event| {
            let word = |field: &str| event[field].as_str().unwrap_or_default().to_string();
            let time = word("lastTimestamp") + &word("eventTime");
            format!("{time} ×{} {}: {}", event["count"], word("reason"), word("message"))
        }));
        story.join("\n")
    }

    /// Lets time pass, and checks what happened in it.
    pub async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.check().await;
    }

    /// A hash of everything that happened: the same for the same seed. But for the authority that the server publishes:
    /// its key is a true one.
    pub fn trace(&self) -> u64 {
        let objects =
            self.laws.objects().iter().filter(|(key, _)| !key.ends_with("/extension-apiserver-authentication"));
        let changes = objects.flat_map(|(key, object)| [key.clone(), object.to_string()]);
        changes.fold(self.store.revision().0, |hash, text| {
            text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for part in self.parts.values() {
            part.task.abort();
        }
    }
}

impl Failures {
    fn fault(&self, nth: u64) -> Option<Fault> {
        if let Some(fault) = self.nth.lock().unwrap_or_else(PoisonError::into_inner).remove(&nth) {
            return Some(fault);
        }
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let chance = chance.as_mut()?;
        let per_mille = self.per_mille.load(Ordering::SeqCst);
        (per_mille > 0 && chance.happens(per_mille)).then(|| *chance.pick(&[Fault::Refuse, Fault::Lose, Fault::Keep]))
    }
}
