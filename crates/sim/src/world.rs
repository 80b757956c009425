//! The cluster: what is up, and how it is killed and started again.
//!
//! The store in memory outlives the server, as a disk does; a server that is started again finds its
//! objects but not the history of changes. Parts are tasks: a kill drops them at whatever point they
//! have reached.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Clock, Entropy};
use client::{Client, Transport};
use server::{Component, Server};
use store::{Backend, Fault, Store};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::link::{Link, Site};
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
    parts: BTreeMap<String, JoinHandle<()>>,
    failures: Arc<Failures>,
    dir: tempfile::TempDir,
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
        let clock: Clock =
            Arc::new(move || jiff::Timestamp::from_second(BEGIN).expect("a time in this century") + begin.elapsed());
        let failures =
            Arc::new(Failures { chance: Mutex::new(Some(Chance::new(seed, "store"))), ..Failures::default() });
        let (wall, hook) = (clock.clone(), failures.clone());
        let mut options = store::Options::new(Arc::new(move || {
            Duration::from_millis(u64::try_from(wall().as_millisecond()).unwrap_or_default())
        }));
        options.fault = Some(Arc::new(move |nth| hook.fault(nth)));
        options.watch_queue = 1 << 20;
        let store = Store::open(Backend::Memory, options).expect("memory opens");
        let laws = Laws::new(&store);
        let dir = tempfile::tempdir().expect("a folder for keys");
        let mut world = World { seed, store, site: Site::new(), laws, clock, parts: BTreeMap::new(), failures, dir };
        world.start_server().await;
        world
    }

    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub fn entropy(&self, name: &str) -> Entropy {
        let chance = Mutex::new(Chance::new(self.seed, name));
        Arc::new(move |bytes| chance.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes))
    }

    pub async fn start_server(&mut self) {
        let config = server::Config {
            data_dir: self.dir.path().into(),
            backend: Some(Backend::Shared(self.store.clone())),
            advertise: "127.0.0.1:6443".parse().expect("an address"),
            names: vec![],
            service_cidr: "10.96.0.0/16".into(),
            allow_privileged: true,
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

    /// A client of its own, with weather.
    pub fn client(&self, name: &str, component: Component, weather: Weather) -> Client {
        let identity = move |server: &Server| server.internal(component.clone());
        let link = Link::new(self.site.clone(), name, self.seed, weather, identity);
        Client::new(Arc::new(link) as Arc<dyn Transport>).named(name)
    }

    /// Starts a part; one of the same name is killed first.
    pub fn start_part(&mut self, name: &str, part: impl Future<Output = ()> + Send + 'static) {
        self.kill_part(name);
        self.parts.insert(name.into(), tokio::spawn(part));
    }

    /// Drops a part wherever it is.
    pub fn kill_part(&mut self, name: &str) {
        if let Some(task) = self.parts.remove(name) {
            task.abort();
        }
    }

    pub fn start_scheduler(&mut self, weather: Weather) {
        let client = self.client("default-scheduler", Component::Scheduler, weather);
        let config = scheduler::Config {
            clock: self.clock.clone(),
            entropy: self.entropy("scheduler"),
            name: "default-scheduler".into(),
        };
        self.start_part("scheduler", scheduler::run(client, config));
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
        self.laws.catch_up(&self.store).await;
        self.laws.remember(self.site.acknowledged());
        let violations = self.laws.violations();
        assert!(violations.is_empty(), "seed {}:\n{}", self.seed, violations.join("\n"));
    }

    /// Lets time pass, and checks what happened in it.
    pub async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.check().await;
    }

    /// A hash of everything that happened: the same for the same seed.
    pub fn trace(&self) -> u64 {
        let changes = self.laws.objects().iter().flat_map(|(key, object)| [key.clone(), object.to_string()]);
        changes.fold(self.store.revision().0, |hash, text| {
            text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for task in self.parts.values() {
            task.abort();
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
