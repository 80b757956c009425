//! A machine: an engine and a network that outlive the agent, and the agent's lives.
//!
//! Killing the agent leaves its containers running; a reboot ends them unseen, forgets the network
//! and gives the machine a new boot id.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Clock, Entropy};
use node::plan::Action;
use node::{Config, Control, Imagined};
use runtime::fake::{Fake, FakeConfig};
use tokio::sync::watch;

use crate::Chance;
use crate::witness::{Losses, Testimony, Witness};

/// One machine of the cluster.
pub struct Machine {
    pub name: String,
    pub engine: Arc<Fake>,
    pub testimony: Arc<Mutex<Testimony>>,
    /// What is lost between agent and runtime.
    pub losses: Arc<Losses>,
    pub network: Arc<Imagined>,
    /// What the present agent answers, once it has begun.
    control: Arc<Mutex<Option<Control>>>,
    config: Config,
    range: Ipv4Addr,
    boots: u32,
    /// The present life; false ends it.
    life: watch::Sender<bool>,
}

impl Machine {
    /// `number` distinguishes the machines' address ranges.
    pub fn new(name: &str, number: u8, dir: &Path, clock: Clock, entropy: Entropy, chance: Chance) -> Machine {
        let time = clock.clone();
        let engine = Arc::new(Fake::new(FakeConfig {
            clock: Arc::new(move || time().as_nanosecond()),
            preloaded: vec!["toolbox".into()],
            pull_time: Duration::from_secs(2),
            start_time: Duration::from_millis(3),
            fault: None,
        }));
        let dir = dir.join(name);
        let mut config = Config::new(name, dir.join("data"), dir.join("run"), clock, entropy);
        config.log_dir = dir.join("log");
        config.host_addresses = vec![Ipv4Addr::new(192, 0, 2, number).into()];
        config.machine.cpus = 4;
        config.machine.memory = 8 << 30;
        config.machine.disk = 100 << 30;
        config.machine.boot_id = "boot-0".into();
        let range = Ipv4Addr::new(10, 1, number, 0);
        Machine {
            name: name.into(),
            engine,
            testimony: Arc::default(),
            losses: Arc::new(Losses::new(chance)),
            network: Arc::new(Imagined::new(range)),
            control: Arc::default(),
            config,
            range,
            boots: 0,
            life: watch::Sender::new(false),
        }
    }

    /// Begins a new life; whatever the one before left behind falls silent.
    pub fn begin_life(&mut self) -> watch::Receiver<bool> {
        self.end_life();
        self.life = watch::Sender::new(true);
        self.life.subscribe()
    }

    /// What was seen since the last time; starts are counted on.
    pub fn take_testimony(&self) -> Testimony {
        self.testimony.lock().unwrap_or_else(PoisonError::into_inner).take_news()
    }

    pub fn end_life(&self) {
        self.life.send_replace(false);
        self.set_control(None);
    }

    /// The agent of one life, from its start to its end.
    pub fn agent(
        &self,
        client: client::Client,
        revision: Arc<dyn Fn() -> u64 + Send + Sync>,
        alive: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (clock, losses) = (self.config.clock.clone(), self.losses.clone());
        let witness = Witness::new(self.engine.clone(), self.testimony.clone(), revision, clock, losses, alive);
        let (network, config) = (self.network.clone(), self.config.clone());
        let control = self.control.clone();
        async move {
            match node::Agent::start(client, Arc::new(witness), network, config).await {
                Ok(agent) => {
                    *control.lock().unwrap_or_else(PoisonError::into_inner) = Some(agent.control());
                    agent.run(std::future::pending()).await;
                }
                Err(why) => tracing::error!("an agent cannot begin: {why}"),
            }
        }
    }

    /// Of every actor at rest, what it would do if it looked anew. Nobody answers for a dead agent.
    pub async fn unfinished(&self) -> Vec<(String, Vec<Action>)> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(control) = control else { return Vec::new() };
        // An actor that broke off answers only when it is made anew.
        tokio::time::timeout(Duration::from_secs(1), control.unfinished()).await.unwrap_or_default()
    }

    /// Names of pods' log folders, and links to logs that are not there.
    pub fn logs(&self) -> (Vec<String>, Vec<String>) {
        let names = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let links = self.config.log_dir.join("containers");
        let dangling = names(&links).into_iter().filter(|link| !links.join(link).exists());
        (names(&self.config.log_dir.join("pods")), dangling.collect())
    }

    fn set_control(&self, control: Option<Control>) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = control;
    }

    /// Every process ends unseen; only what is on the disk stays.
    pub fn reboot(&mut self) {
        self.end_life();
        self.boots += 1;
        self.engine.reboot();
        self.network = Arc::new(Imagined::new(self.range));
        self.config.machine.boot_id = format!("boot-{}", self.boots);
        // What lies in the run directory is gone after a reboot; it may not have been made yet.
        let _ = runtime::removal::remove(&self.config.run_dir, runtime::removal::Mounts::Refused);
    }
}
