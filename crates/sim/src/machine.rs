//! A machine: an engine and a network that outlive the agent, and the agent's lives.
//!
//! Killing the agent leaves its containers running; a reboot ends them unseen, forgets the network
//! and gives the machine a new boot id.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Clock, Entropy};
use node::{Config, Imagined};
use runtime::fake::{Fake, FakeConfig};
use tokio::sync::watch;

use crate::witness::{Testimony, Witness};

/// One machine of the cluster.
pub struct Machine {
    pub name: String,
    pub engine: Arc<Fake>,
    pub testimony: Arc<Mutex<Testimony>>,
    pub network: Arc<Imagined>,
    config: Config,
    range: Ipv4Addr,
    boots: u32,
    /// The present life; false ends it.
    life: watch::Sender<bool>,
}

impl Machine {
    /// `number` distinguishes the machines' address ranges.
    pub fn new(name: &str, number: u8, dir: &Path, clock: Clock, entropy: Entropy) -> Machine {
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
            network: Arc::new(Imagined::new(range)),
            config,
            range,
            boots: 0,
            life: watch::Sender::new(false),
        }
    }

    /// Begins a new life; whatever the one before left behind falls silent.
    pub fn begin_life(&mut self) -> watch::Receiver<bool> {
        self.life.send_replace(false);
        self.life = watch::Sender::new(true);
        self.life.subscribe()
    }

    pub fn end_life(&self) {
        self.life.send_replace(false);
    }

    /// The agent of one life, from its start to its end.
    pub fn agent(
        &self,
        client: client::Client,
        revision: Arc<dyn Fn() -> u64 + Send + Sync>,
        alive: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let witness = Witness::new(self.engine.clone(), self.testimony.clone(), revision, alive);
        let (network, config) = (self.network.clone(), self.config.clone());
        async move {
            let ended = node::run(client, Arc::new(witness), network, config, std::future::pending()).await;
            if let Err(why) = ended {
                tracing::error!("an agent cannot begin: {why}");
            }
        }
    }

    /// Every process ends unseen; only what is on the disk stays.
    pub fn reboot(&mut self) {
        self.end_life();
        self.boots += 1;
        self.engine.reboot();
        self.network = Arc::new(Imagined::new(self.range));
        self.config.machine.boot_id = format!("boot-{}", self.boots);
        // What lies in the run directory is gone after a reboot; it may not have been made yet.
        let _ = std::fs::remove_dir_all(&self.config.run_dir);
    }
}
