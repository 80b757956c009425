//! The laws, checked on every revision.
//!
//! `Laws` follows the store itself, from the first revision, beside the server: it trusts nothing that
//! the server says. A violation names the law, the revision and what was seen. The numbers are those
//! of ARCHITECTURE.md; laws without one are promises of the API that clients build on.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;

use net::Attachment;
use node::plan::Action;
use runtime::{Network, Sandbox};
use serde_json::Value;
use store::{Change, Revision, Store, Watch};

use crate::endpoints::Endpoints;
use crate::link::Acknowledged;
use crate::witness::{Forgotten, POD_UID, Signalled, Testimony};
use crate::workloads::Workloads;

/// What is known after the revisions so far.
pub struct Laws {
    watch: Watch,
    revision: Revision,
    objects: BTreeMap<String, Value>,
    /// Per UID, every revision that it had.
    versions: HashMap<String, BTreeSet<u64>>,
    /// Whose each UID is.
    homes: HashMap<String, String>,
    /// Containers whose end a status told, and since when.
    reported: HashMap<String, u64>,
    /// Pods that are gone, and since when.
    ended: HashMap<String, u64>,
    /// Pods whose containers are never started again.
    once: BTreeSet<String>,
    /// The last that was seen of each pod that was to be deleted.
    dying: HashMap<String, Value>,
    /// UIDs of StatefulSets' pods.
    of_stateful_sets: BTreeSet<String>,
    is_forced: bool,
    /// Pods that have no grace left, and since when.
    hurried: HashMap<String, u64>,
    pub workloads: Workloads,
    endpoints: Endpoints,
    violations: Vec<String>,
    /// What happened last, a line a revision.
    recent: VecDeque<String>,
}

/// Lines of history that a failure shows.
const RECENT: usize = 80;

impl Laws {
    /// Begins at the first revision; the store must be fresh.
    pub fn new(store: &Store) -> Laws {
        Laws {
            watch: store.watch("", Revision(0)).expect("a fresh store has its whole history"),
            revision: Revision(0),
            objects: BTreeMap::new(),
            versions: HashMap::new(),
            homes: HashMap::new(),
            reported: HashMap::new(),
            ended: HashMap::new(),
            once: BTreeSet::new(),
            dying: HashMap::new(),
            of_stateful_sets: BTreeSet::new(),
            is_forced: false,
            hurried: HashMap::new(),
            workloads: Workloads::default(),
            endpoints: Endpoints::default(),
            violations: Vec::new(),
            recent: VecDeque::new(),
        }
    }

    /// Checks everything up to the store's newest revision, and that the store holds what the
    /// changes add up to.
    pub async fn catch_up(&mut self, store: &Store) {
        let newest = store.revision();
        while self.watch.progress() < newest {
            let change = self.watch.next().await.expect("the store is open").expect("the checker keeps up");
            self.check(&change);
        }
        let listing = store.list("", None, usize::MAX, None).expect("the newest revision can be listed");
        if listing.revision == newest {
            let objects = listing.entries.iter().filter(|entry| is_object(&entry.key.to_string()));
            let listed: BTreeMap<String, Value> =
                objects.map(|entry| (entry.key.to_string(), parse(&entry.bytes))).collect();
            let same = listed == self.objects;
            self.law(2, same, || "the watched changes do not add up to the list".into());
        }
    }

    /// 11: what somebody was told of is in the history.
    pub fn remember(&mut self, told: Vec<Acknowledged>) {
        for Acknowledged { line, uid, revision } in told {
            let kept = self.versions.get(&uid).is_some_and(|versions| versions.contains(&revision));
            self.law(11, kept, || format!("{line} was acknowledged at {revision}, but never happened"));
        }
    }

    /// 6: an exit that is forgotten was reported before, unless nobody is left to report it for, or two
    /// later instances take both places that a status has. And what the witnesses saw by themselves.
    pub fn hear(&mut self, mut testimony: Testimony) {
        self.violations.append(&mut testimony.violations);
        for stop in &testimony.signals {
            self.pre_stop(stop);
        }
        for Forgotten { container, pod, revision, newer } in testimony.forgotten {
            let by_then = |since: Option<&u64>| since.is_some_and(|since| *since <= revision);
            // A pod that was never seen here is a mirror's or nobody's.
            let known = self.versions.contains_key(&pod);
            let told = by_then(self.reported.get(&container)) || by_then(self.ended.get(&pod)) || !known || newer >= 2;
            self.law(6, told, || format!("the exit of {container} (pod {pod}) was forgotten at {revision}, untold"));
        }
    }

    /// A pod that is deleted is told to stop only once its preStop hook is done, or its grace is over.
    fn pre_stop(&mut self, stop: &Signalled) {
        let Some(pod) = self.dying.get(&stop.pod) else { return };
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let container = containers.into_iter().flatten().find(|c| text(c, "/name") == stop.container);
        let hook = container.and_then(|c| c.pointer("/lifecycle/preStop/exec/command")?.as_array());
        let Some(hook) = hook.map(|words| words.iter().filter_map(Value::as_str).collect::<Vec<_>>()) else { return };
        let over: Option<jiff::Timestamp> = text(pod, "/metadata/deletionTimestamp").parse().ok();
        let Some(over) = over else { return };
        let asked = over - jiff::SignedDuration::from_secs(number(pod, GRACE) + 1);
        let done = stop.finished.iter().any(|argv| *argv == hook);
        let is_hurried = self.hurried.get(&stop.pod).is_some_and(|since| *since <= stop.revision);
        let holds = done || is_hurried || stop.at < asked || stop.at >= over;
        let shown = format!("{} of pod {}", stop.container, stop.pod);
        self.promise(holds, || format!("{shown} was told to stop at {} before its preStop hook was done", stop.at));
    }

    /// 7: no two live pods share an address, seen from a machine: each live sandbox holds a network that
    /// is its own and that was not let go, for then its address is somebody else's soon. (What the
    /// server calls Running may be gone from its machine while the news of it is on the way.)
    pub fn compare_networks(&mut self, live: &[Sandbox], attached: &[Attachment]) {
        let mut owners: BTreeMap<&Path, &str> = BTreeMap::new();
        for sandbox in live.iter().filter(|sandbox| sandbox.ready) {
            let Network::Namespace(path) = &sandbox.spec.network else { continue };
            let held = attached.iter().any(|attachment| attachment.namespace == *path);
            self.law(7, held, || format!("the network of the live sandbox {} was let go", sandbox.id.0));
            let other = owners.insert(path, &sandbox.id.0);
            self.law(7, other.is_none(), || format!("{} and {other:?} share a network", sandbox.id.0));
        }
        let mut addresses = BTreeSet::new();
        let twice = attached.iter().flat_map(|a| &a.addresses).find(|address| !addresses.insert(**address));
        self.law(7, twice.is_none(), || format!("{twice:?} was given out twice"));
    }

    /// 5: at most one live sandbox per pod, all machines together.
    pub fn one_sandbox_each(&mut self, all: &[Sandbox]) {
        let mut live: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for sandbox in all.iter().filter(|sandbox| sandbox.ready) {
            let pod = sandbox.spec.labels.get(POD_UID).map_or("", String::as_str);
            live.entry(pod).or_default().push(&sandbox.id.0);
        }
        for (pod, sandboxes) in live {
            self.law(5, sandboxes.len() == 1, || format!("pod {pod} has the live sandboxes {sandboxes:?}"));
        }
    }

    /// 8: an actor at rest has nothing to do, however anew it looks.
    pub fn rest(&mut self, unfinished: &[(String, Vec<Action>)]) {
        for (pod, actions) in unfinished {
            self.law(8, actions.is_empty(), || format!("the actor of pod {pod} rests, and should {actions:?}"));
        }
    }

    /// 12: nobody asks the same again and again without waiting.
    pub fn waits(&mut self, endless: Option<String>) {
        self.law(12, endless.is_none(), || format!("asked again and again within a second: {endless:?}"));
    }

    /// Whether a pod of this UID may run each container once only.
    pub fn runs_once(&self, uid: &str) -> bool {
        self.once.contains(uid)
    }

    /// The last revisions, for whoever looks into a violation.
    pub fn recent(&self) -> String {
        self.recent.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub fn objects(&self) -> &BTreeMap<String, Value> {
        &self.objects
    }

    fn check(&mut self, change: &Change) {
        let key = change.entry.key.to_string();
        let revision = change.entry.revision;
        if !is_object(&key) {
            return;
        }
        let now = parse(&change.entry.bytes);
        let before = change.previous.as_ref().map(|entry| parse(&entry.bytes));
        let known = self.objects.get(&key).cloned();
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line(&key, revision, &now, change.deleted));
        self.law(1, revision >= self.revision, || format!("{key}: revision {} after a later one", revision.0));
        self.revision = revision;
        let shown = text(&now, "/metadata/resourceVersion").parse() == Ok(revision.0);
        self.law(1, shown, || format!("{key}: shows another revision than {}", revision.0));
        self.law(2, known == before, || {
            format!("{key} @{}: the change does not begin where the last ended", revision.0)
        });
        let uid = text(&now, "/metadata/uid").to_string();
        let home = self.homes.entry(uid.clone()).or_insert_with(|| key.clone()).clone();
        self.promise(home == key, || format!("{key} has the UID of {home}"));
        self.versions.entry(uid).or_default().insert(revision.0);
        if let Some(before) = &before {
            self.identity(&key, before, &now);
            self.deletion(&key, before, &now, change.deleted);
            self.spec_and_status(&key, before, &now, change.deleted);
        }
        if key.starts_with("pods/") {
            self.pod(&key, before.as_ref(), &now, change.deleted);
        }
        match change.deleted {
            true => {
                self.objects.remove(&key);
                self.gone(&key, &now);
            }
            false => {
                self.at_home(&key, &now);
                self.objects.insert(key.clone(), now.clone());
            }
        }
        self.workloads.check(&key, before.as_ref(), &now, change.deleted, &self.objects);
        self.endpoints.check(&key, &now, change.deleted);
        self.promises();
    }

    /// In the end: what Jobs counted adds up.
    pub fn add_up(&mut self) {
        self.workloads.add_up(&self.objects);
        self.promises();
    }

    /// When all is calm: every Service tells of the pods that it has, and of no others.
    pub fn endpoints_are_the_pods(&mut self) {
        self.endpoints.add_up(&self.objects);
        self.promises();
    }

    fn promises(&mut self) {
        let found = self.workloads.take_violations().into_iter().chain(self.endpoints.take_violations());
        for what in found.collect::<Vec<_>>() {
            self.promise(false, || what);
        }
    }

    /// From now on somebody takes pods away of which no node said that they ended.
    pub fn forces(&mut self) {
        self.is_forced = true;
    }

    /// How many pods there ever were.
    pub fn pods_made(&self) -> usize {
        self.homes.values().filter(|key| key.starts_with("pods/")).count()
    }

    /// At most one of a StatefulSet's pods of a name runs, on all machines together, unless deletions are forced.
    pub fn one_of_a_name(&mut self, all: &[Sandbox]) {
        if self.is_forced {
            return;
        }
        let mut live: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for sandbox in all.iter().filter(|sandbox| sandbox.ready) {
            let label = |name: &str| sandbox.spec.labels.get(name).map_or("", String::as_str);
            if self.of_stateful_sets.contains(label(POD_UID)) {
                let name = (label("io.kubernetes.pod.namespace"), label("io.kubernetes.pod.name"));
                live.entry(name).or_default().push(&sandbox.id.0);
            }
        }
        for (name, sandboxes) in live {
            self.promise(sandboxes.len() == 1, || format!("{name:?} of a StatefulSet runs in {sandboxes:?}"));
        }
    }

    /// An object stays itself for as long as its key holds it.
    fn identity(&mut self, key: &str, before: &Value, now: &Value) {
        for field in ["/metadata/uid", "/metadata/creationTimestamp", "/metadata/name", "/metadata/namespace"] {
            let same = before.pointer(field) == now.pointer(field);
            self.promise(same, || format!("{key}: {field} changed"));
        }
        let grows = number(now, "/metadata/generation") >= number(before, "/metadata/generation");
        self.promise(grows, || format!("{key}: generation went back"));
        let spec =
            before.get("spec") != now.get("spec") && before.pointer("/spec/nodeName") == now.pointer("/spec/nodeName");
        let counted = number(now, "/metadata/generation") > number(before, "/metadata/generation");
        let has_generation = now.pointer("/metadata/generation").is_some();
        self.promise(!spec || counted || !has_generation, || format!("{key}: spec changed without a new generation"));
    }

    /// 9, and: a deletion that was asked for is never taken back or put off.
    fn deletion(&mut self, key: &str, before: &Value, now: &Value, deleted: bool) {
        let held = |object: &Value| {
            let list = |pointer| object.pointer(pointer).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
            list("/metadata/finalizers") || (key.starts_with("namespaces/") && list("/spec/finalizers"))
        };
        if deleted {
            self.law(9, !held(now), || format!("{key}: gone in spite of its finalizers"));
            let was_ending = !held(before) || !text(before, "/metadata/deletionTimestamp").is_empty();
            self.law(9, was_ending, || format!("{key}: gone at once in spite of its finalizers"));
        }
        let (was, is) = (text(before, "/metadata/deletionTimestamp"), text(now, "/metadata/deletionTimestamp"));
        if !was.is_empty() && !deleted {
            self.promise(!is.is_empty() && is <= was, || format!("{key}: its deletion went from {was:?} to {is:?}"));
            let (was, is) = (before.pointer(GRACE), now.pointer(GRACE));
            let shorter = was.and_then(Value::as_i64) >= is.and_then(Value::as_i64);
            self.promise(shorter, || format!("{key}: its grace went from {was:?} to {is:?}"));
        }
    }

    /// 3: a write is to one of them; only a binding touches both.
    fn spec_and_status(&mut self, key: &str, before: &Value, now: &Value, deleted: bool) {
        let both = before.get("spec") != now.get("spec") && before.get("status") != now.get("status");
        let bound = before.pointer("/spec/nodeName") != now.pointer("/spec/nodeName");
        self.law(3, !both || bound || deleted, || format!("{key}: spec and status changed in one write"));
    }

    fn pod(&mut self, key: &str, before: Option<&Value>, now: &Value, deleted: bool) {
        if let Some(before) = before {
            let (was, is) = (text(before, "/spec/nodeName"), text(now, "/spec/nodeName"));
            self.law(4, was.is_empty() || was == is, || format!("{key}: moved from {was:?} to {is:?}"));
            let (was, is) = (text(before, "/status/phase"), text(now, "/status/phase"));
            let kept = !is_terminal(was) || was == is;
            self.promise(kept, || format!("{key}: phase went from {was} to {is}"));
            let same = text(before, "/status/qosClass") == text(now, "/status/qosClass");
            self.promise(same, || format!("{key}: its QoS class changed"));
            self.restarts(key, before, now);
        }
        self.note_exits(now);
        match now.pointer(GRACE).and_then(Value::as_i64) {
            Some(1..) => drop(self.dying.insert(text(now, "/metadata/uid").into(), now.clone())),
            Some(_) => drop(self.hurried.entry(text(now, "/metadata/uid").into()).or_insert(self.revision.0)),
            None => {}
        }
        if text(now, "/metadata/ownerReferences/0/kind") == "StatefulSet" {
            self.of_stateful_sets.insert(text(now, "/metadata/uid").into());
        }
        if text(now, "/spec/restartPolicy") == "Never" {
            self.once.insert(text(now, "/metadata/uid").into());
        }
        if deleted {
            self.ended.insert(text(now, "/metadata/uid").into(), self.revision.0);
        }
        if deleted && !text(now, "/spec/nodeName").is_empty() {
            let grace = now.pointer(GRACE).and_then(Value::as_i64);
            self.promise(grace == Some(0), || format!("{key}: gone with a grace of {grace:?} left"));
        }
    }

    fn note_exits(&mut self, now: &Value) {
        for list in ["/status/containerStatuses", "/status/initContainerStatuses"] {
            for status in now.pointer(list).and_then(Value::as_array).into_iter().flatten() {
                for state in ["/state/terminated/containerID", "/lastState/terminated/containerID"] {
                    let id = text(status, state).rsplit('/').next().unwrap_or_default();
                    self.reported.entry(id.to_string()).or_insert(self.revision.0);
                }
            }
        }
    }

    fn restarts(&mut self, key: &str, before: &Value, now: &Value) {
        for list in ["/status/containerStatuses", "/status/initContainerStatuses"] {
            let statuses = |object: &Value| object.pointer(list).and_then(Value::as_array).cloned().unwrap_or_default();
            for was in statuses(before) {
                let Some(is) = statuses(now).into_iter().find(|is| is["name"] == was["name"]) else { continue };
                let grows = is["restartCount"].as_i64() >= was["restartCount"].as_i64();
                self.promise(grows, || format!("{key}: {} restarted fewer times than before", was["name"]));
            }
        }
    }

    /// Nothing lives in a namespace that is gone.
    fn gone(&mut self, key: &str, _last: &Value) {
        let Some(namespace) = key.strip_prefix("namespaces/") else { return };
        let left: Vec<String> = self
            .objects
            .iter()
            .filter(|(_, o)| text(o, "/metadata/namespace") == namespace)
            .map(|(k, _)| k.clone())
            .collect();
        self.promise(left.is_empty(), || format!("{key} is gone, and left {left:?}"));
    }

    fn at_home(&mut self, key: &str, now: &Value) {
        let namespace = text(now, "/metadata/namespace");
        let there = namespace.is_empty() || self.objects.contains_key(&format!("namespaces/{namespace}"));
        self.promise(there, || format!("{key} was written into a namespace that is not there"));
    }

    fn law(&mut self, number: u32, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(format!("law {number} @{}: {}", self.revision.0, what()));
        }
    }

    fn promise(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(format!("@{}: {}", self.revision.0, what()));
        }
    }
}

const GRACE: &str = "/metadata/deletionGracePeriodSeconds";

/// `@75 pods/default/web (uid) n1 Running deleting: c=Terminated 3`
fn line(key: &str, revision: Revision, now: &Value, deleted: bool) -> String {
    let mut line = format!("@{} {key}", revision.0);
    if deleted {
        line += " DELETED";
    }
    if !key.starts_with("pods/") {
        return line;
    }
    let deleting = if now.pointer(GRACE).is_some() { " deleting" } else { "" };
    line += &format!(
        " ({}) {} {}{deleting}:",
        text(now, "/metadata/uid"),
        text(now, "/spec/nodeName"),
        text(now, "/status/phase")
    );
    for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        for status in now.pointer(list).and_then(Value::as_array).into_iter().flatten() {
            let state = status["state"].as_object().and_then(|state| state.iter().next());
            let id = text(status, "/containerID").rsplit('/').next().unwrap_or_default();
            let code = status["state"]["terminated"]["exitCode"].to_string();
            let state = state.map_or("nothing", |(name, _)| name);
            line += &format!(" {}={state} {code} {}", text(status, "/name"), id.get(..8).unwrap_or_default());
        }
    }
    line
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the server stores JSON")
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// What services hold is noted beside the objects (docs/data-format.md).
fn is_object(key: &str) -> bool {
    !key.starts_with("allocations/")
}
