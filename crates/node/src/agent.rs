//! The node agent: finds its pods, gives each an actor, and brings news to them.
//!
//! Pods come from the API (those bound to this node), from manifests, and from the runtime itself
//! (what nobody wants any more). At its end the agent leaves everything running.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::view as core;
use api::Object;
use api::resource::PODS;
use client::{Cache, Change, Client, Recorder, Scope};
use runtime::{Engine, Sandbox};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::task::{Id, JoinSet};

use crate::act::remove;
use crate::actor::Actor;
use crate::config::Config;
use crate::control::Control;
use crate::inbox::Inbox;
use crate::look::Looker;
use crate::network::Network;
use crate::plan::Facts;
use crate::pod::{self, LABEL_POD_NAME, LABEL_POD_NAMESPACE};
use crate::promises::Promises;
use crate::register;
use crate::roster::{Entry, Roster};
use crate::sampler;
use crate::shared::Shared;
use crate::sources::live::Live;
use crate::spec::Settings;
use crate::standing::Standing;
use crate::static_pods::mirror::Mirror;
use crate::static_pods::{Manifests, StaticPod};
use crate::subject::Origin;
use crate::volumes::{self, Volumes};

/// Of the node's writes: a server has places for twenty of one user (`server::Limits`), and upstream's for fewer.
const WRITES: usize = 16;
/// An actor that broke off is made anew after this.
const REVIVAL: Duration = Duration::from_secs(1);

/// Why an agent cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the volumes' folders: {0}")]
    Volumes(std::io::Error),
    #[error("the runtime: {0}")]
    Runtime(String),
    #[error("the network: {0}")]
    Network(String),
}

pub struct Agent {
    shared: Arc<Shared>,
    sources: Arc<Live>,
    pods: Arc<Cache>,
    actors: Roster,
    running: JoinSet<String>,
    ids: HashMap<Id, String>,
    /// Static pods that wait for the end of whoever has their name or their UID, by full name.
    successors: BTreeMap<(String, String), StaticPod>,
    /// By full name of their static pods.
    mirrors: HashMap<(String, String), Mirror>,
    manifests: Option<Manifests>,
}

/// Runs a node until `shutdown`; its pods go on.
pub async fn run(
    client: Client,
    engine: Arc<dyn Engine>,
    network: Arc<dyn Network>,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let agent = Agent::start(client, engine, network, config).await?;
    agent.run(shutdown).await;
    Ok(())
}

impl Agent {
    /// Opens what the node needs, and looks at what an earlier run left. Registration goes on beside.
    pub async fn start(
        client: Client,
        engine: Arc<dyn Engine>,
        network: Arc<dyn Network>,
        config: Config,
    ) -> Result<Agent, Error> {
        let client = client.named("kubelet").writing(WRITES);
        let sources =
            Arc::new(Live::new(client.clone(), &config.node_name, config.clock.clone(), config.entropy.clone()));
        let volumes = Volumes::open(&config, sources.clone());
        let volumes = volumes.map_err(Error::Volumes)?;
        // Before pods run that may write beside them: where they are now, behind links or not, they stay.
        for folder in ["pods", "containers"].map(|name| config.log_dir.join(name)) {
            match runtime::native::open_log_root(&folder, true) {
                Ok(root) => runtime::disk::spread(root),
                Err(why) => tracing::warn!(
                    "{} cannot be used, so logs or the links to them will be missing: {why}",
                    folder.display()
                ),
            }
        }
        let looker = Looker::new(engine.clone());
        sweep(&*network, &looker).await?;
        let field_selector = format!("spec.nodeName={}", config.node_name);
        let pods = Cache::start(client.clone(), &PODS, Scope { field_selector, ..Scope::default() });
        let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
        let recorder = Recorder::new(client.clone(), "kubelet", &config.node_name, clock, entropy);
        let manifests = config.manifest_dir.as_ref();
        let manifests = manifests.map(|dir| Manifests::watch(dir, &config.node_name, config.allow_privileged));
        let shared = Arc::new(Shared {
            settings: settings(&config),
            facts: facts(&config, &*engine),
            promises: Promises::new(register::first_offer(&config)),
            standing: Standing::default(),
            client,
            engine,
            network,
            sources: sources.clone(),
            volumes,
            looker,
            recorder,
            sampled: tokio::sync::Notify::new(),
            config,
        });
        tokio::spawn(register::keep(shared.clone()));
        Ok(Agent {
            shared,
            sources,
            pods,
            actors: Arc::default(),
            running: JoinSet::new(),
            ids: HashMap::new(),
            successors: BTreeMap::new(),
            mirrors: HashMap::new(),
            manifests,
        })
    }

    /// What the node's own API asks.
    pub fn control(&self) -> Control {
        Control { shared: self.shared.clone(), actors: self.actors.clone() }
    }

    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut hints = self.shared.engine.changes();
        let mut changes = None;
        let pods = self.pods.clone();
        let sampler = tokio::spawn(sampler::run(self.shared.clone(), self.actors.clone()));
        // Before anything is called an orphan; what is there is told at once.
        if let Some(manifests) = &mut self.manifests
            && let Some(current) = manifests.next().await
        {
            self.manifests_changed(current);
        }
        loop {
            // In this order, always: a simulated run replays.
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = pods.synced(), if changes.is_none() => {
                    self.enter_started();
                    let mut first = pods.subscribe();
                    while let Some(change) = first.try_next() {
                        self.changed(change);
                    }
                    changes = Some(first);
                    self.end_orphans().await;
                }
                Some(change) = next_of(&mut changes) => self.changed(change),
                hint = hints.recv() => self.hint(hint),
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                Some(current) = next_manifests(&mut self.manifests) => self.manifests_changed(current),
            }
        }
        // Containers are in other hands; actors just stop.
        self.running.abort_all();
        sampler.abort();
    }

    /// What ran before this agent is entered into the ledger before anything new is judged.
    fn enter_started(&self) {
        for object in self.pods.list() {
            let Ok(pod) = object.view::<core::Pod>() else { continue };
            let started = pod.status.as_ref().is_some_and(|s| s.start_time.is_some());
            if started && !pod::is_terminal(pod::phase(&pod)) && !pod::is_mirror(&pod) {
                self.shared.promises.enter(&pod);
            }
        }
    }

    fn changed(&mut self, change: Change) {
        let uid_of = |o: &Option<Object>| o.as_ref().map(|o| o.meta().uid.clone()).unwrap_or_default();
        let mirror = |o: &Object| o.annotation(pod::CONFIG_MIRROR).is_some();
        if change.old.as_ref().or(change.new.as_ref()).is_some_and(mirror) {
            return self.mirror_changed(&change.key.namespace, &change.key.name, change.new);
        }
        let (old, new) = (uid_of(&change.old), uid_of(&change.new));
        if !old.is_empty() && old != new {
            // What still runs of it stands in nobody's way (kubelet_pods.go GetActivePods; kubernetes#104824).
            self.shared.promises.release(&old);
            self.tell(&old, |entry| entry.inbox.unwanted());
        }
        let Some(object) = change.new else { return };
        if mirror(&object) {
            return self.mirror_changed(&change.key.namespace, &change.key.name, Some(object));
        }
        // A manifest that names the UID of a pod of the server's got there first: they share nothing.
        if self.actors().get(&new).is_some_and(|entry| entry.origin == Origin::Static) {
            let meta = object.meta();
            return tracing::error!("pod {}/{} is not run: a static pod has its uid {new}", meta.namespace, meta.name);
        }
        if !pod::is_plain_uid(&new) {
            return tracing::error!("a pod of uid {new:?} is not run: {}", pod::PLAIN_UID);
        }
        let told = self.tell(&new, |entry| {
            entry.object = object.clone();
            entry.inbox.object(object.clone());
        });
        if !told {
            self.spawn(Origin::Api, new, object);
        }
    }

    /// True where the pod has an actor.
    fn tell(&self, uid: &str, news: impl FnOnce(&mut Entry)) -> bool {
        let mut actors = self.actors();
        actors.get_mut(uid).map(news).is_some()
    }

    fn actors(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&mut self, origin: Origin, uid: String, object: Object) -> Arc<Inbox> {
        self.spawn_after(Duration::ZERO, origin, uid, object)
    }

    fn spawn_after(&mut self, pause: Duration, origin: Origin, uid: String, object: Object) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        let meta = object.meta();
        let mut entry = Entry {
            origin,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            object: object.clone(),
            ending: false,
            inbox: inbox.clone(),
            limited: false,
        };
        if let Ok(pod) = object.view::<core::Pod>() {
            entry.limited = crate::limits::has_limits(&pod);
            let ring = inbox.clone();
            let ring = Arc::new(move || ring.refresh());
            self.sources.follow(&uid, &entry.namespace, &volumes::sources_of(&pod), ring);
        }
        if entry.limited {
            self.shared.sampled.notify_one();
        }
        self.actors().insert(uid.clone(), entry);
        let actor = Actor::new(self.shared.clone(), origin, object, uid.clone(), inbox.clone());
        let returned = uid.clone();
        let handle = self.running.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            actor.run().await;
            returned
        });
        self.ids.insert(handle.id(), uid);
        inbox
    }

    /// Whatever runs here and is nobody's pod: ended shortly; volumes and logs of nobody: removed.
    async fn end_orphans(&mut self) {
        let known: Vec<String> = self.actors().keys().cloned().collect();
        let found = match self.shared.looker.pods().await {
            Ok(found) => found,
            Err(why) => return tracing::error!("orphaned pods cannot be looked for: {why}"),
        };
        let mut present = known.clone();
        for (uid, sandbox) in found {
            present.push(uid.clone());
            if !known.contains(&uid) && !uid.is_empty() {
                tracing::info!(%uid, "a pod runs here that the server does not know: it is ended");
                self.spawn(Origin::Orphan, uid.clone(), orphan(&uid, &sandbox));
            }
        }
        // Named before anything new begins: none of them is of a pod to come.
        let root = self.shared.settings.log_root.clone();
        let mut strays = remove::log_folders(&root);
        strays.retain(|name| remove::uid_of(name).is_some_and(|uid| !present.iter().any(|known| known == uid)));
        let log_dir = self.shared.config.log_dir.clone();
        tokio::task::spawn_blocking(move || remove::forget_strays(&root, &log_dir, &strays));
        let mut left = self.shared.volumes.left().unwrap_or_default();
        left.sort();
        for uid in left {
            if !present.contains(&uid) {
                let shared = self.shared.clone();
                tokio::spawn(async move {
                    if let Err(why) = shared.volumes.tear_down(&uid).await {
                        tracing::warn!(%uid, "volumes of a former pod are left: {why}");
                    }
                });
            }
        }
    }

    fn hint(&self, hint: Result<runtime::Hint, broadcast::error::RecvError>) {
        match hint {
            Ok(runtime::Hint::Container(sandbox, _) | runtime::Hint::Sandbox(sandbox)) => {
                // A sandbox that no look has seen yet is looked at by whoever made it.
                if let Some(uid) = self.shared.looker.uid_of(&sandbox.0) {
                    self.tell(&uid, |entry| entry.inbox.look());
                }
            }
            Ok(runtime::Hint::Lagged) | Err(broadcast::error::RecvError::Lagged(_)) => {
                for entry in self.actors().values() {
                    entry.inbox.look();
                }
            }
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    /// An actor is through with its pod, or broke off.
    fn ended(&mut self, ended: Result<(Id, String), tokio::task::JoinError>) {
        let (id, broke) = match &ended {
            Ok((id, _)) => (*id, None),
            Err(why) => (why.id(), Some(why.to_string())),
        };
        let Some(uid) = self.ids.remove(&id) else { return };
        let entry = self.actors().remove(&uid);
        let Some(entry) = entry else { return };
        if let Some(why) = broke {
            tracing::error!(pod = %entry.name, "an actor broke off and is made anew: {why}");
            self.spawn_after(REVIVAL, entry.origin, uid.clone(), entry.object);
            if entry.ending {
                self.tell(&uid, |again| {
                    again.ending = true;
                    again.inbox.unwanted();
                });
            }
            if entry.origin == Origin::Static {
                let mirror = self.pods.get(&entry.namespace, &entry.name);
                self.mirror_changed(&entry.namespace, &entry.name, mirror);
            }
            return;
        }
        self.shared.promises.release(&uid);
        self.shared.looker.forget(&uid);
        self.sources.leave(&uid);
        let key = (entry.namespace, entry.name);
        if entry.origin == Origin::Static && !self.successors.contains_key(&key) {
            self.delete_mirror(key.clone());
        }
        self.begin_successors(Some((uid, key)));
    }

    /// The manifests as they stand: what is gone or changed ends, what is new begins after it.
    fn manifests_changed(&mut self, current: Vec<StaticPod>) {
        let known: Vec<(String, Entry)> = {
            let actors = self.actors();
            actors.iter().filter(|(_, e)| e.origin == Origin::Static).map(|(u, e)| (u.clone(), e.clone())).collect()
        };
        self.successors.clear();
        for (uid, entry) in &known {
            if !current.iter().any(|s| s.uid == *uid && s.key() == entry.key()) {
                self.tell(uid, |entry| {
                    entry.ending = true;
                    entry.inbox.unwanted();
                });
                if let Some(mirror) = self.mirrors.get(&entry.key()) {
                    mirror.leave();
                }
            }
        }
        for pod in current {
            let key = pod.key();
            // One that is ending already does not come back to life: it begins again after its end.
            if known.iter().any(|(uid, entry)| *uid == pod.uid && entry.key() == key && !entry.ending) {
                continue;
            }
            if let Some(other) = self.actors().get(&pod.uid).filter(|other| other.origin == Origin::Api) {
                let (namespace, name) = &key;
                tracing::error!(
                    "static pod {namespace}/{name} is not run while {}/{} is there: its manifest's metadata.uid {:?} is \
                     that one's; take it out",
                    other.namespace,
                    other.name,
                    pod.uid
                );
            }
            self.successors.insert(key, pod);
        }
        self.begin_successors(None);
    }

    /// Static pods whose name and UID nobody has (any more) begin; `ended` had them until now.
    fn begin_successors(&mut self, ended: Option<(String, (String, String))>) {
        let free = |(key, pod): &(&(String, String), &StaticPod)| {
            let actors = self.actors();
            let is_namesake = |entry: &Entry| entry.origin == Origin::Static && entry.key() == **key;
            !actors.contains_key(&pod.uid) && !actors.values().any(is_namesake)
        };
        let ready: Vec<(String, String)> = self.successors.iter().filter(free).map(|(key, _)| key.clone()).collect();
        for key in ready {
            let Some(pod) = self.successors.remove(&key) else { continue };
            let again = ended.as_ref().is_some_and(|(uid, of)| *uid == pod.uid && *of == key);
            self.begin_static(pod, again);
        }
    }

    /// `again`: it has just ended, so that the mirror tells of that life.
    fn begin_static(&mut self, pod: StaticPod, again: bool) {
        let (namespace, name) = pod.key();
        let inbox = self.spawn(Origin::Static, pod.uid.clone(), pod.object.clone());
        let mirror = self.pods.get(&namespace, &name);
        let former = mirror.as_ref().filter(|_| again).map(|m| m.meta().uid.clone()).unwrap_or_default();
        let keeper = Mirror::keep(self.shared.clone(), self.pods.clone(), pod.object, former);
        inbox.mirror(mirror.filter(|m| keeper.fits(m)));
        self.mirrors.insert((namespace, name), keeper);
    }

    /// A mirror follows its static pod; one that has none is removed.
    fn mirror_changed(&mut self, namespace: &str, name: &str, mirror: Option<Object>) {
        let key = (namespace.to_owned(), name.to_owned());
        let owner = {
            let actors = self.actors();
            let is_owner = |e: &&Entry| e.origin == Origin::Static && e.namespace == namespace && e.name == name;
            actors.values().find(is_owner).cloned()
        };
        match (owner, self.mirrors.get(&key)) {
            (Some(owner), Some(keeper)) => {
                owner.inbox.mirror(mirror.filter(|m| keeper.fits(m)));
                keeper.look();
            }
            _ if self.successors.contains_key(&key) => {}
            _ => self.delete_mirror(key),
        }
    }

    fn delete_mirror(&mut self, key: (String, String)) {
        match self.pods.get(&key.0, &key.1) {
            Some(mirror) => drop(self.mirrors.insert(key, Mirror::remove(self.shared.clone(), mirror))),
            None => drop(self.mirrors.remove(&key)),
        }
    }
}

async fn next_of(changes: &mut Option<client::Changes>) -> Option<Change> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

async fn next_manifests(manifests: &mut Option<Manifests>) -> Option<Vec<StaticPod>> {
    match manifests {
        Some(manifests) => manifests.next().await,
        None => std::future::pending().await,
    }
}

/// Networks of sandboxes that no longer exist are let go; the others are known as attached.
async fn sweep(network: &dyn Network, looker: &Looker) -> Result<(), Error> {
    let attached = network.list().await.map_err(|e| Error::Network(e.to_string()))?;
    looker.pods().await.map_err(Error::Runtime)?;
    for attachment in attached {
        let id = attachment.spec.id;
        if looker.uid_of(&id).is_some() {
            looker.note_attached(&id);
        } else if let Err(why) = network.detach(&id).await {
            tracing::warn!("a network that nobody uses is left: {why}");
        }
    }
    Ok(())
}

/// As much of a pod as the runtime remembers.
fn orphan(uid: &str, sandbox: &Sandbox) -> Object {
    let label = |key: &str| sandbox.spec.labels.get(key).cloned().unwrap_or_default();
    let tree = json!({"apiVersion": "v1", "kind": "Pod", "metadata":
        {"name": label(LABEL_POD_NAME), "namespace": label(LABEL_POD_NAMESPACE), "uid": uid}});
    Object::from_value(&tree).expect("a pod of strings is an object")
}

fn settings(config: &Config) -> Settings {
    Settings {
        node_name: config.node_name.clone(),
        cgroup_root: config.cgroup_root.clone(),
        cluster_domain: config.cluster_domain.clone(),
        host_resolv: config.machine.resolv_conf.clone(),
        host_hosts: config.machine.hosts.clone(),
        memory_capacity: config.machine.memory,
        log_root: config.log_dir.join("pods"),
        log_size_max: config.log_size_max,
        log_files_max: config.log_files_max,
        pids_max: config.pids_max,
        sysctls_allowed: config.sysctls_allowed.clone(),
        apparmor: config.machine.apparmor,
    }
}

fn facts(config: &Config, engine: &dyn Engine) -> Facts {
    Facts {
        node_name: config.node_name.clone(),
        host_ips: config.addresses().map(|address| address.to_string()).collect(),
        runtime: engine.name().0.to_owned(),
        backoff_max: config.backoff_max,
    }
}

#[cfg(test)]
mod tests;
