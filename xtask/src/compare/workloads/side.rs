//! One of the clusters: a client, every object of a workload as it is heard of, and when it is quiet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::resource::{NAMESPACES, NODES};
use api::{Resource, WatchEvent};
use client::{Client, ListOptions, PatchKind, WatchOptions};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::node;

/// Longest wait for anything; a CronJob's minute is the longest that a healthy side takes.
const PATIENCE: Duration = Duration::from_secs(90);

/// Nodes that pods are bound to.
pub const NODE_NAMES: [&str; 2] = ["node-1", "node-2"];

pub struct Side {
    pub client: Client,
    kinds: Vec<Resource>,
    heard: Arc<Heard>,
    _following: tokio::task::JoinSet<()>,
}

/// Of a kind's plural, and a name.
pub type Place = (String, String);

#[derive(Default)]
struct Heard {
    /// By namespace.
    spaces: Mutex<BTreeMap<String, Space>>,
    /// How many events were heard.
    count: watch::Sender<u64>,
}

#[derive(Default)]
struct Space {
    events: u64,
    objects: BTreeMap<Place, Value>,
    /// Of each object and type of condition: what it was, one after the other.
    histories: BTreeMap<(Place, String), Vec<String>>,
    /// Of each UID that was there, whose it was.
    identities: BTreeMap<String, Place>,
    account: bool,
}

fn followed() -> Vec<Resource> {
    let apps = |kind, plural| Resource::namespaced("apps/v1", kind, plural);
    let batch = |kind, plural| Resource::namespaced("batch/v1", kind, plural);
    let core = |kind, plural| Resource::namespaced("v1", kind, plural);
    vec![
        apps("Deployment", "deployments"),
        apps("ReplicaSet", "replicasets"),
        apps("StatefulSet", "statefulsets"),
        apps("DaemonSet", "daemonsets"),
        apps("ControllerRevision", "controllerrevisions"),
        batch("Job", "jobs"),
        batch("CronJob", "cronjobs"),
        core("ReplicationController", "replicationcontrollers"),
        core("Pod", "pods"),
        core("Service", "services"),
        core("Endpoints", "endpoints"),
        Resource::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
        core("PersistentVolumeClaim", "persistentvolumeclaims"),
        core("ResourceQuota", "resourcequotas"),
        core("ServiceAccount", "serviceaccounts"),
        core("Event", "events"),
    ]
}

impl Side {
    /// Makes the nodes, and follows everything from now on.
    pub async fn of(client: Client) -> Result<Side> {
        for name in NODE_NAMES {
            client.create(&NODES, "", &node(name)).await?;
            client.update_sub(&NODES, "", name, "status", &node(name)).await?;
            // As the node lifecycle controller does when a node is ready.
            client.patch(&NODES, "", name, "", PatchKind::Merge, &json!({"spec": {"taints": null}})).await?;
        }
        let (kinds, heard) = (followed(), Arc::new(Heard::default()));
        let mut following = tokio::task::JoinSet::new();
        for kind in &kinds {
            let resource_version = client.list(kind, "", &ListOptions::default()).await?.revision.to_string();
            let options = WatchOptions { resource_version, ..WatchOptions::default() };
            let mut events = client.watch(kind, "", &options).await?;
            let (heard, plural) = (heard.clone(), kind.plural.clone());
            following.spawn(async move {
                while let Some(event) = events.next().await {
                    heard.hear(&plural, event);
                }
            });
        }
        Ok(Side { client, kinds, heard, _following: following })
    }

    pub fn kind(&self, plural: &str) -> Result<&Resource> {
        self.kinds.iter().find(|kind| kind.plural == plural).with_context(|| format!("{plural} are followed"))
    }

    /// Makes the case's namespace, and waits until pods can be made in it.
    pub async fn begin(&self, namespace: &str) -> Result<()> {
        self.client.create(&NAMESPACES, "", &json!({"metadata": {"name": namespace}})).await?;
        self.waited(namespace, "an account", |space| space.account).await
    }

    /// Waits until the text stands in an object or event.
    pub async fn until(&self, namespace: &str, text: &str) -> Result<()> {
        let says = |space: &Space| space.objects.values().any(|object| object.to_string().contains(text));
        self.waited(namespace, text, says).await
    }

    /// The pods, once they are so.
    pub async fn until_pods(&self, namespace: &str, good: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        self.waited(namespace, "a pod", |space| good(&space.pods())).await?;
        Ok(self.pods(namespace))
    }

    async fn waited(&self, namespace: &str, what: &str, good: impl Fn(&Space) -> bool) -> Result<()> {
        let mut count = self.heard.count.subscribe();
        let wait = async {
            loop {
                count.borrow_and_update();
                if self.heard.lock().get(namespace).is_some_and(&good) {
                    return;
                }
                if count.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            bail!("{what:?} was not there within {} s", PATIENCE.as_secs());
        }
        Ok(())
    }

    /// Returns once nothing was heard of the namespace for so long.
    pub async fn settled(&self, namespace: &str, quiet: Duration) {
        let mut count = self.heard.count.subscribe();
        let events = || self.heard.lock().get(namespace).map_or(0, |space| space.events);
        let (mut before, begun) = (events(), tokio::time::Instant::now());
        let mut until = begun + quiet;
        while begun.elapsed() < PATIENCE {
            if tokio::time::timeout_at(until, count.changed()).await.is_err() {
                return;
            }
            let now = events();
            if now != before {
                (before, until) = (now, tokio::time::Instant::now() + quiet);
            }
        }
    }

    /// All that is there, but accounts.
    pub fn objects(&self, namespace: &str) -> BTreeMap<Place, Value> {
        self.heard.lock().get(namespace).map(|space| space.objects.clone()).unwrap_or_default()
    }

    pub fn identities(&self, namespace: &str) -> BTreeMap<String, Place> {
        self.heard.lock().get(namespace).map(|space| space.identities.clone()).unwrap_or_default()
    }

    pub fn pods(&self, namespace: &str) -> Vec<Value> {
        self.heard.lock().get(namespace).map(Space::pods).unwrap_or_default()
    }

    /// What each condition was, of objects that are there.
    pub fn histories(&self, namespace: &str) -> BTreeMap<(Place, String), Vec<String>> {
        self.heard.lock().get(namespace).map(|space| space.histories.clone()).unwrap_or_default()
    }
}

impl Space {
    fn pods(&self) -> Vec<Value> {
        let pods = self.objects.iter().filter(|((plural, _), _)| plural == "pods");
        pods.map(|(_, pod)| pod.clone()).collect()
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, plural: &str, event: WatchEvent) {
        let (object, is_gone) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            _ => return,
        };
        let place = (plural.to_owned(), object.meta().name.to_string());
        let mut spaces = self.lock();
        let space = spaces.entry(object.meta().namespace.to_string()).or_default();
        space.events += 1;
        if plural == "serviceaccounts" {
            space.account |= place.1 == "default";
        } else if is_gone {
            space.objects.remove(&place);
        } else {
            let value = object.value();
            for condition in value["status"]["conditions"].as_array().into_iter().flatten() {
                let part = |name: &str| condition[name].as_str().unwrap_or_default();
                let now = format!("{} {}: {}", part("status"), part("reason"), part("message"));
                let history = space.histories.entry((place.clone(), part("type").to_owned())).or_default();
                if history.last() != Some(&now) {
                    history.push(now);
                }
            }
            space.identities.insert(object.meta().uid.to_string(), place.clone());
            space.objects.insert(place, value);
        }
        drop(spaces);
        self.count.send_modify(|count| *count += 1);
    }
}
