//! One pod's actor: looks, reports, plans, acts, waits; nothing else touches the pod meanwhile.
//!
//! It is woken by its inbox (API changes, hints of the runtime), by work that it started, and by the
//! moment its plan named. What it knows beyond the two truths stands in `Memory`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::Object;
use api::view::api::core::v1 as core;
use client::ObjectReference;
use client::recorder::Type;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::act::Outcome;
use crate::memory::{Job, Memory, ProbeKind, ProbeState, Verdict};
use crate::observe::{Seen, is_over, is_running};
use crate::plan::{Action, Plan, Situation, plan, probes};
use crate::pod::{self, Part};
use crate::resize::Admitted;
use crate::shared::Shared;
use crate::volumes::Mounted;

/// Law 8, asked from outside.
mod audit;
/// The status, sent when it is time.
mod news;

const EVICTED: &str = "Evicted";

/// Where a pod comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Api,
    /// A manifest of this machine; its status goes to a mirror object.
    Static,
    /// Only the runtime knows it.
    Orphan,
}

/// News for an actor, one of each kind at most.
#[derive(Default)]
pub struct Inbox {
    mail: Mutex<Mail>,
    bell: Notify,
}

#[derive(Default)]
struct Mail {
    object: Option<Object>,
    mirror: Option<Option<Object>>,
    unwanted: bool,
    evicted: Option<Eviction>,
    look: bool,
    refresh: bool,
    audit: Vec<audit::Answer>,
}

/// The node needs the room of a pod, or the pod broke a limit.
#[derive(Clone, Debug, Default)]
pub struct Eviction {
    pub message: String,
    /// The pod may be innocent: condition DisruptionTarget.
    pub disruption: bool,
    /// Of the event.
    pub annotations: BTreeMap<String, String>,
}

impl Inbox {
    fn put(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    /// Until there is more than a version that is known: an actor's own writes come back to it.
    async fn news(&self, known: Option<u64>) {
        loop {
            self.bell.notified().await;
            let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
            mail.object.take_if(|object| known.is_some_and(|known| object.revision() <= known));
            if !mail.is_empty() || !mail.audit.is_empty() {
                return;
            }
        }
    }

    /// A newer version of the pod.
    pub fn object(&self, object: Object) {
        self.put(|m| m.object = Some(object));
    }

    /// The mirror of a static pod, or that there is none.
    pub fn mirror(&self, mirror: Option<Object>) {
        self.put(|m| m.mirror = Some(mirror));
    }

    /// The pod is gone from where it came from.
    pub fn unwanted(&self) {
        self.put(|m| m.unwanted = true);
    }

    /// The pod is to end: Failed, reason Evicted.
    pub fn evict(&self, eviction: Eviction) {
        self.put(|m| m.evicted = Some(eviction));
    }

    /// Something changed on the machine.
    pub fn look(&self) {
        self.put(|m| m.look = true);
    }

    /// A source of its volumes changed.
    pub fn refresh(&self) {
        self.put(|m| m.refresh = true);
    }
}

pub struct Actor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) uid: String,
    pub(crate) origin: Origin,
    /// Where the spec stands.
    pub(crate) object: Object,
    /// Static pods: where the status goes.
    pub(crate) mirror: Option<Object>,
    /// Both decoded, as long as there is something to do: at rest a pod is its bytes.
    decoded: Option<Arc<core::Pod>>,
    pub(crate) wanted: bool,
    pub(crate) memory: Memory,
    pub(crate) seen: Seen,
    /// Look again before the next plan.
    pub(crate) stale: bool,
    pub(crate) volumes: Arc<BTreeMap<String, Mounted>>,
    pub(crate) volume_failures: u32,
    pub(crate) tasks: JoinSet<Outcome>,
    /// True once who holds it should give up if it merely waits: a start for a pull, a refresh for a source.
    pub(crate) cancel: watch::Sender<bool>,
    /// Its volumes' files are to be brought up to date.
    pub(crate) refresh: bool,
    pub(crate) refresh_due: Option<Timestamp>,
    /// An action failed: look again then.
    pub(crate) retry_due: Option<Timestamp>,
    pub(crate) done: bool,
    /// Resources that were admitted; None before.
    pub(crate) admitted: Option<Admitted>,
    inbox: Arc<Inbox>,
    adopted: bool,
    settled: bool,
    writing: bool,
    write_due: Option<Timestamp>,
    write_pause: SignedDuration,
    /// When time alone wakes it.
    due: Option<Timestamp>,
    /// The newest status is not what was last sent; kept to send the reason with the log line.
    refused: Option<String>,
}

impl Actor {
    pub fn new(shared: Arc<Shared>, origin: Origin, object: Object, uid: String, inbox: Arc<Inbox>) -> Actor {
        let born = shared.config.now();
        Actor {
            shared,
            uid,
            origin,
            object,
            mirror: None,
            decoded: None,
            wanted: origin != Origin::Orphan,
            memory: Memory::new(born),
            seen: Seen::default(),
            stale: true,
            volumes: Arc::default(),
            volume_failures: 0,
            tasks: JoinSet::new(),
            cancel: watch::Sender::new(false),
            refresh: false,
            refresh_due: None,
            retry_due: None,
            done: false,
            admitted: None,
            inbox,
            adopted: false,
            settled: false,
            writing: false,
            write_due: None,
            write_pause: news::WRITE_RETRY,
            due: None,
            refused: None,
        }
    }

    /// Until nothing of the pod is left, here and at the server.
    pub async fn run(mut self) {
        while !self.done {
            self.be_audited().await;
            self.take_mail();
            if self.stale && !self.look().await {
                self.wait(None).await;
                continue;
            }
            let Some(mut pod) = self.view() else {
                self.wait(None).await;
                continue;
            };
            self.adopt(&pod);
            self.admit(&pod);
            self.resize(&mut pod);
            let news = self.report(&pod);
            let next = self.plan(&pod);
            // An end and the back-off that follows are told as one.
            let news = news.filter(|_| !next.actions.iter().any(is_crash_loop));
            let mut again = false;
            for action in next.actions {
                again |= self.act(&pod, action).await;
            }
            if self.refresh {
                self.start_refresh(&pod);
            }
            news.into_iter().for_each(|news| self.tell(news));
            if !again && !self.done {
                self.wait(next.wake_at).await;
            }
        }
    }

    fn take_mail(&mut self) {
        let mail = std::mem::take(&mut *self.inbox.mail.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(object) = mail.object
            && (object.revision() > self.object.revision() || self.origin == Origin::Static)
        {
            let (old, new) = (self.object.meta(), object.meta());
            // Files of the downward API show them.
            self.refresh |= old.labels != new.labels || old.annotations != new.annotations;
            self.object = object;
            self.decoded = None;
        }
        if let Some(mirror) = mail.mirror {
            self.mirror = mirror;
            self.decoded = None;
        }
        self.wanted &= !mail.unwanted;
        if let Some(eviction) = mail.evicted.filter(|_| self.memory.evicted.is_none()) {
            self.evicted(eviction);
        }
        self.stale |= mail.look;
        self.refresh |= mail.refresh;
    }

    fn evicted(&mut self, eviction: Eviction) {
        let Eviction { message, disruption, annotations } = eviction;
        let recorder = &self.shared.recorder;
        recorder.annotated_event(self.reference(), annotations, Type::Warning, EVICTED, &message);
        self.memory.evicted = Some(Verdict { reason: EVICTED.into(), message, disruption });
    }

    /// True once the machine was looked at.
    async fn look(&mut self) -> bool {
        match self.shared.looker.look(&self.uid).await {
            Ok(seen) => self.seen = seen,
            Err(why) => {
                tracing::warn!(pod = %self.uid, "the runtime does not say what runs: {why}");
                self.retry_due = Some(self.now() + SignedDuration::from_secs(1));
                return false;
            }
        }
        self.stale = false;
        let seen = &self.seen;
        // What is being started is not listed yet.
        if !self.memory.busy.iter().any(|job| matches!(job, Job::Start(_))) {
            self.memory.retain(|id| seen.containers().any(|c| c.id.0 == id));
        }
        let untold = |c: &&runtime::Container| is_over(c) && !self.memory.messages.contains_key(&c.id.0);
        let untold: Vec<_> = self.seen.containers().filter(untold).collect();
        if !untold.is_empty() {
            let parts = self.object_parts();
            let told = untold.into_iter().map(|c| (c.id.0.clone(), crate::messages::termination_message(c, parts)));
            self.memory.messages.extend(told);
        }
        true
    }

    /// How many containers share the pod's allowance of termination messages.
    fn object_parts(&self) -> usize {
        self.object.view::<core::Pod>().map_or(1, |pod| pod::parts(&pod).len().max(1))
    }

    /// The pod with its status.
    fn view(&mut self) -> Option<Arc<core::Pod>> {
        if let Some(pod) = &self.decoded {
            return Some(pod.clone());
        }
        let mut pod: core::Pod = match self.object.view() {
            Ok(pod) => pod,
            Err(why) => {
                tracing::error!(pod = %self.uid, "not a pod that this node can read: {why}");
                return None;
            }
        };
        if self.origin == Origin::Static {
            pod.status = self.mirror.as_ref().and_then(|m| m.view::<core::Pod>().ok()?.status);
        }
        Some(self.decoded.insert(Arc::new(pod)).clone())
    }

    /// Once, at the first look: what ran before this agent keeps `started`, and is probed at a moment
    /// of its own within the first period. A postStart hook of which the end was not told is asked for again.
    fn adopt(&mut self, pod: &core::Pod) {
        if std::mem::replace(&mut self.adopted, true) {
            return;
        }
        let now = self.now();
        for part in pod::parts(pod) {
            let Some(c) = self.seen.latest_here(part.name()).filter(|c| is_running(c)).cloned() else { continue };
            let old = pod::old_status(pod, part.name());
            let old = old.filter(|old| old.container_id.as_deref().is_some_and(|id| id.ends_with(&c.id.0)));
            let told = old.is_some_and(|old| old.state.as_ref().is_some_and(|state| state.running.is_some()));
            if !told && self.owes_post_start(pod, &part) {
                self.expect_post_start(&c.id.0);
                self.post_start(part.name(), &c.id.0);
            }
            let Some(old) = old else { continue };
            for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
                let Some(probe) = probes::probe_of(&part, kind) else { continue };
                let spread = self.shared.fraction_of(probes::period(probe));
                let mut state = ProbeState { next_at: Some(now + spread), ..ProbeState::default() };
                if kind == ProbeKind::Startup && old.started == Some(true) {
                    state.result = Some(true);
                }
                self.memory.probes.insert((c.id.0.clone(), kind), state);
            }
        }
    }

    /// Of a static pod nobody may have told yet what the server knows: only what is not run twice is asked for.
    fn owes_post_start(&self, pod: &core::Pod, part: &Part<'_>) -> bool {
        let exact = |hook: &core::LifecycleHandler| hook.exec.is_some();
        let is_known = self.origin != Origin::Static || self.mirror.is_some();
        !pod::is_deleting(pod) && part.post_start().is_some_and(|hook| is_known || exact(hook))
    }

    /// Node admission, once, unless the pod was started before.
    fn admit(&mut self, pod: &core::Pod) {
        if std::mem::replace(&mut self.memory.admitted, true) || self.origin == Origin::Orphan {
            return;
        }
        let ran = |c: &core::ContainerStatus| c.state.as_ref().is_some_and(|s| s.waiting.is_none());
        let known = pod.status.iter().flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses));
        let started = !self.seen.sandboxes.is_empty() || known.flatten().any(ran);
        if pod::is_terminal(pod::phase(pod)) || pod::is_deleting(pod) {
            return;
        }
        if started {
            return self.shared.ledger().enter(pod, &self.shared.offer());
        }
        if self.origin == Origin::Api
            && let Some(message) = crate::admit::invalid(pod, self.shared.config.allow_privileged)
        {
            self.memory.invalid = true;
            return self.event(None, Type::Warning, "FailedValidation", &message);
        }
        let pressed = crate::pressure::refusal(&self.shared.conditions(), pod).map_or(Ok(()), Err);
        let admit = || self.shared.ledger().admit(pod, &self.shared.offer(), &self.shared.settings);
        if let Err(verdict) = pressed.and_then(|()| admit()) {
            let message = verdict.message.strip_prefix("Pod was rejected: ").unwrap_or(&verdict.message).to_owned();
            self.event(None, Type::Warning, &verdict.reason, &message);
            self.memory.refused = Some(verdict);
        }
    }

    fn situation<'a>(&'a self, pod: &'a core::Pod) -> Situation<'a> {
        Situation {
            pod,
            seen: &self.seen,
            memory: &self.memory,
            facts: &self.shared.facts,
            wanted: self.wanted,
            settled: self.settled,
            now: self.now(),
        }
    }

    fn plan(&self, pod: &core::Pod) -> Plan {
        plan(&self.situation(pod))
    }

    /// Until there is news, work is done, or the time has come.
    async fn wait(&mut self, wake_at: Option<Timestamp>) {
        self.due = [wake_at, self.write_due, self.retry_due, self.refresh_due].into_iter().flatten().min();
        if self.tasks.is_empty() {
            self.decoded = None;
        }
        let now = self.now();
        let pause = self.due.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let mut freed = self.shared.freed.subscribe();
        let deferred = self.memory.resize.pending.is_some();
        let known = (self.origin == Origin::Api).then(|| self.object.revision());
        // In this order, always: a simulated run replays.
        tokio::select! {
            biased;
            () = self.inbox.news(known) => {}
            Ok(()) = freed.changed(), if deferred => {}
            Some(outcome) = self.tasks.join_next() => self.take(outcome),
            () = timer => {}
        }
        while let Some(outcome) = self.tasks.try_join_next() {
            self.take(outcome);
        }
        let now = self.now();
        if self.retry_due.is_some_and(|at| now >= at) {
            self.retry_due = None;
            self.stale = true;
        }
        if self.refresh_due.is_some_and(|at| now >= at) {
            self.refresh_due = None;
            self.refresh = true;
        }
    }

    fn take(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        match outcome {
            Ok(outcome) => self.settle(outcome),
            // A bug in one piece of work is logged and the machine looked at again; jobs are planned anew.
            Err(why) => {
                tracing::error!(pod = %self.uid, "work for a pod broke off: {why}");
                self.memory.busy.clear();
                self.writing = false;
                self.retry_due = Some(self.now() + SignedDuration::from_secs(1));
            }
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.config.now()
    }

    /// An event about the pod, or one of its containers.
    pub(crate) fn event(&self, part: Option<&Part<'_>>, class: Type, reason: &str, message: &str) {
        let path = part.map(Part::field_path).unwrap_or_default();
        self.shared.recorder.event(self.reference(), &path, class, reason, message);
    }

    pub(crate) fn reference(&self) -> ObjectReference {
        let meta = self.object.meta();
        ObjectReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: self.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }
}

fn is_crash_loop(action: &Action) -> bool {
    matches!(action, Action::NoteWaiting { reason: "CrashLoopBackOff", .. })
}
