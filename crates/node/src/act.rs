//! Doing what was planned: each action once, idempotently; what takes time reports back as an outcome.
//!
//! Short steps are done in place and the plan is made anew; pulls, hooks, starts and take-downs run
//! beside the actor, noted as jobs so that they are not planned twice.

/// New limits in place.
mod fit;
/// Events of hooks, probes and back-offs.
mod hooks;
/// Images: found, or pulled by policy.
mod pull;
/// Everything of a pod removed.
pub(crate) mod remove;
/// Network, sandbox and its files.
mod sandbox;
/// One instance of a container.
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::view::api::core::v1 as core;
use api::{Object, Status};
use client::recorder::Type;
use jiff::{SignedDuration, Timestamp};
use runtime::ContainerId;
use runtime::engine::Boxed;
use tokio::sync::watch;

use crate::actor::Actor;
use crate::memory::{Hook, Job, PostStart, ProbeKind, PullBackoff, Stage, Waiting};
use crate::plan::{Action, backoff};
use crate::pod;
use crate::probe::Answer;
use crate::volumes::{Mounted, VolumeError};

/// What work beside the actor came to.
pub enum Outcome {
    Volumes(Result<BTreeMap<String, Mounted>, VolumeError>),
    Refreshed(Result<bool, VolumeError>),
    Sandbox(Result<(), String>),
    Started { name: String, images: Vec<String>, result: Result<Started, Failure> },
    PostStart { id: String, name: String, result: Result<(), String> },
    PreStop { id: String },
    Probe { id: String, name: String, kind: ProbeKind, due: Timestamp, answer: Answer },
    Resized(Result<(), fit::Refused>),
    SandboxStopped { id: String, result: Result<(), String> },
    TornDown(Result<(), String>),
    Finished,
    Written(Result<Object, Status>),
}

/// A container that runs now.
pub struct Started {
    pub id: String,
}

/// Why a container was not started: what it waits for, and whether its image is backed off.
pub struct Failure {
    pub reason: &'static str,
    pub message: String,
    /// A failed pull: the image, and its error.
    pub pull: Option<(String, String)>,
    /// The container exists and has ended: restart back-off holds, not a retry of its own.
    pub exited: bool,
    /// Given up because the pod ends.
    pub cancelled: bool,
}

/// A container that could not be made is tried again after this (pod_workers backOffPeriod).
const RETRY: SignedDuration = SignedDuration::from_secs(10);
const NOT_KNOWN_RETRY: Duration = Duration::from_millis(20);
const NOT_KNOWN_RETRY_MAX: Duration = Duration::from_secs(5);
const SANDBOX_RETRY: SignedDuration = SignedDuration::from_secs(2);
/// Upstream's volume manager: 500 ms doubling to about two minutes.
const VOLUME_RETRY: SignedDuration = SignedDuration::from_millis(500);
const VOLUME_RETRY_MAX: SignedDuration = SignedDuration::from_secs(122);
const PULL_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
const PULL_BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(300);
const REFRESH_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Between two renewals of a token, whatever the server's clock says of its life.
const TOKEN_PAUSE: SignedDuration = SignedDuration::from_secs(1);

impl Actor {
    /// Performs one action; true where the plan should be made anew at once.
    pub(crate) async fn act(&mut self, pod: &Arc<core::Pod>, action: Action) -> bool {
        tracing::debug!(pod = %self.object.meta().name, ?action);
        tracing::trace!(target: "walk", verb = "act", name = self.object.meta().name);
        match action {
            Action::PrepareVolumes => self.prepare_volumes(pod),
            Action::RunSandbox { attempt, changed } => self.run_sandbox(pod, attempt, changed),
            Action::Start { name, attempt, backoff } => self.start(pod, &name, attempt, backoff),
            Action::Probe { id, name, kind } => self.probe(pod, &id, &name, kind),
            Action::PreStop { id, name, budget } => self.pre_stop(pod, &id, &name, budget),
            Action::StopSandbox { id } => self.stop_sandbox(id),
            Action::TeardownVolumes => self.teardown(),
            Action::Finish => self.finish(),
            Action::NoteWaiting { name, reason, message } => {
                self.note_waiting(pod, &name, reason, message);
                return true;
            }
            Action::BeginStop { id, name, grace, message, replace } => {
                let now = self.now();
                self.memory.begin_stop(&id, now, grace, replace);
                self.event(pod::part(pod, &name).as_ref(), Type::Normal, "Killing", &message);
                return true;
            }
            Action::BeginEnding { grace, verdict } => {
                if let Some(verdict) = verdict.as_ref().filter(|v| v.reason == "DeadlineExceeded") {
                    self.event(None, Type::Normal, &verdict.reason, &verdict.message);
                }
                let now = self.now();
                self.memory.begin_ending(now, grace, verdict);
                self.give_up_starts();
                return true;
            }
            Action::StopSignal { id, kill_after } => return self.stop_signal(&id, kill_after).await,
            Action::Kill { id } => return self.kill(&id).await,
            Action::RemoveContainer { id } => return self.remove_container(&id).await,
            Action::Resize => self.fit(pod),
        }
        false
    }

    /// Takes in what work beside the actor came to.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        let now = self.now();
        match outcome {
            Outcome::Volumes(result) => self.volumes_prepared(result),
            Outcome::Refreshed(result) => {
                self.memory.busy.remove(&Job::Refresh);
                match result {
                    Ok(_) => self.plan_refresh(),
                    Err(why) => {
                        self.event(None, Type::Warning, "FailedMount", &why.to_string());
                        self.refresh_due = Some(now + REFRESH_RETRY);
                    }
                }
            }
            Outcome::Sandbox(result) => {
                self.memory.busy.remove(&Job::Sandbox);
                self.stale = true;
                self.memory.sandbox = match result {
                    Ok(()) => Stage::Ready,
                    Err(why) => {
                        let message = format!("Failed to create pod sandbox: {why}");
                        self.event(None, Type::Warning, "FailedCreatePodSandBox", &message);
                        Stage::Failed(now + SANDBOX_RETRY)
                    }
                };
            }
            Outcome::Started { name, images, result } => self.started(name, &images, result),
            Outcome::PostStart { id, name, result } => self.post_started(&id, &name, result),
            Outcome::PreStop { id } => {
                if let Some(stop) = self.memory.stops.get_mut(&id) {
                    stop.hook = Hook::Done(now);
                }
            }
            Outcome::Probe { id, name, kind, due, answer } => self.probed(&id, &name, kind, due, answer),
            Outcome::Resized(result) => self.resized(result),
            Outcome::SandboxStopped { id, result } => {
                self.memory.busy.remove(&Job::StopSandbox(id));
                let uid = self.uid.clone();
                self.look_again(result.map_err(|why| self.not_ended("KillPodSandbox", &uid, &why)));
            }
            Outcome::TornDown(result) => {
                self.memory.busy.remove(&Job::Teardown);
                match result {
                    Ok(()) => {
                        self.memory.torn_down = true;
                        self.shared.release(&self.uid);
                    }
                    Err(why) => {
                        self.event(None, Type::Warning, "FailedUnMount", &why);
                        self.retry_due = Some(now + SANDBOX_RETRY);
                    }
                }
            }
            Outcome::Finished => self.done = true,
            Outcome::Written(result) => self.written(result),
        }
    }

    /// After an action on the runtime: look, at once or after a pause where it failed.
    fn look_again(&mut self, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => {
                self.stale = true;
                true
            }
            Err(why) => {
                tracing::warn!(pod = %self.object.meta().name, "{why}");
                self.retry_due = Some(self.now() + SANDBOX_RETRY);
                false
            }
        }
    }

    /// Starts under way that merely wait for a pull end, and a refresh that waits for a source; those to come
    /// are not concerned.
    fn give_up_starts(&mut self) {
        std::mem::replace(&mut self.cancel, watch::Sender::new(false)).send_replace(true);
    }

    fn prepare_volumes(&mut self, pod: &Arc<core::Pod>) {
        self.memory.busy.insert(Job::Volumes);
        let (shared, pod) = (self.shared.clone(), pod.clone());
        let facts = shared.downward(self.seen.addresses());
        self.tasks.spawn(async move { Outcome::Volumes(shared.volumes.prepare(&pod, &facts).await) });
    }

    fn volumes_prepared(&mut self, result: Result<BTreeMap<String, Mounted>, VolumeError>) {
        self.memory.busy.remove(&Job::Volumes);
        match result {
            Ok(volumes) => {
                self.volumes = Arc::new(volumes);
                self.volume_failures = 0;
                self.memory.volumes = Stage::Ready;
                self.plan_refresh();
            }
            Err(why) => {
                self.event(None, Type::Warning, "FailedMount", &why.to_string());
                let pause = VOLUME_RETRY * (1 << self.volume_failures.min(8));
                self.volume_failures += 1;
                self.memory.volumes = Stage::Failed(self.now() + pause.min(VOLUME_RETRY_MAX));
            }
        }
    }

    /// When the first of the pod's tokens has to be renewed; what else is refreshed does not renew it.
    fn plan_refresh(&mut self) {
        let due = self.shared.sources.token_due(&self.uid).and_then(|second| Timestamp::from_second(second).ok());
        self.refresh_due = due.map(|at| at.max(self.now() + TOKEN_PAUSE));
    }

    /// Brings the files of its volumes up to date, unless the pod ends or they are not there yet. What is
    /// asked for while they are being written is kept: the writer may have read before.
    pub(crate) fn start_refresh(&mut self, pod: &Arc<core::Pod>) {
        let busy = |job| self.memory.busy.contains(&job);
        match self.memory.volumes {
            _ if self.memory.ending.is_some() => {}
            _ if busy(Job::Volumes) || busy(Job::Refresh) => return,
            // A source that was missing may be there now.
            Stage::Failed(_) => {
                self.memory.volumes = Stage::New;
                self.retry_due = Some(self.now());
            }
            Stage::Ready => {
                self.memory.busy.insert(Job::Refresh);
                let (shared, pod) = (self.shared.clone(), pod.clone());
                let facts = shared.downward(self.seen.addresses());
                let mut ending = self.cancel.subscribe();
                self.tasks.spawn(async move {
                    // A pod's end waits for whoever writes, and nobody who writes waits for a server.
                    Outcome::Refreshed(tokio::select! {
                        biased;
                        _ = ending.wait_for(|ending| *ending) => Ok(false),
                        refreshed = shared.volumes.refresh(&pod, &facts) => refreshed,
                    })
                });
            }
            // Whoever makes them reads what is there then.
            Stage::New => {}
        }
        self.refresh = false;
    }

    fn started(&mut self, name: String, images: &[String], result: Result<Started, Failure>) {
        self.memory.busy.remove(&Job::Start(name.clone()));
        self.stale = true;
        let now = self.now();
        match result {
            Ok(started) => {
                self.memory.retry_at.remove(&name);
                self.memory.pulls.retain(|image, _| !images.contains(image));
                match self.memory.post_start.contains_key(&started.id) {
                    true => self.post_start(&name, &started.id),
                    false => drop(self.memory.waiting.remove(&name)),
                }
            }
            Err(failure) if failure.cancelled => {}
            Err(failure) => {
                if let Some((image, error)) = failure.pull {
                    let delay =
                        self.memory.pulls.get(&image).map_or(PULL_BACKOFF, |p| (p.delay * 2).min(PULL_BACKOFF_MAX));
                    self.memory.pulls.insert(image, PullBackoff { delay, until: now + delay, error });
                } else if !failure.exited {
                    self.memory.retry_at.insert(name.clone(), now + RETRY);
                }
                let waiting = Waiting { reason: failure.reason.into(), message: failure.message };
                self.memory.waiting.insert(name, waiting);
            }
        }
    }

    /// A back-off begins to be waited for: remembered for the status, told as events.
    fn note_waiting(&mut self, pod: &core::Pod, name: &str, reason: &str, message: String) {
        let part = pod::part(pod, name);
        if reason == "CrashLoopBackOff" {
            let text = format!("Back-off restarting failed container {name} in pod {}", pod::full_name(pod));
            self.event(part.as_ref(), Type::Warning, "BackOff", &text);
        } else if let Some(part) = &part {
            let text = message.split(": ErrImagePull: ").next().unwrap_or(&message);
            // What befalls a volume is told of the pod, not of a container.
            let own = text == format!("Back-off pulling image \"{}\"", part.image());
            self.event(Some(part).filter(|_| own), Type::Normal, "BackOff", text);
            self.event(Some(part), Type::Warning, "Failed", &format!("Error: {reason}"));
        }
        self.memory.waiting.insert(name.to_owned(), Waiting { reason: reason.into(), message });
    }

    async fn stop_signal(&mut self, id: &str, kill_after: i64) -> bool {
        let signal = self.seen.containers().find(|c| c.id.0 == id).map_or(15, |c| c.spec.stop_signal);
        let signal = if signal == 0 { 15 } else { signal };
        let grace = std::time::Duration::from_secs(u64::try_from(kill_after).unwrap_or(0));
        let sent = self.shared.engine.stop(&ContainerId(id.to_owned()), signal, grace).await;
        let now = self.now();
        self.memory.begin_stop(id, now, kill_after, false);
        if let Some(stop) = self.memory.stops.get_mut(id).filter(|_| is_done(&sent)) {
            stop.signalled = Some(now);
            stop.kill_at = Some(api::later(now, kill_after));
        }
        self.signalled(id, sent)
    }

    async fn kill(&mut self, id: &str) -> bool {
        let sent = self.shared.engine.signal(&ContainerId(id.to_owned()), 9).await;
        if let Some(stop) = self.memory.stops.get_mut(id).filter(|_| is_done(&sent)) {
            stop.killed = true;
        }
        self.signalled(id, sent)
    }

    fn signalled(&mut self, id: &str, sent: runtime::engine::Result<()>) -> bool {
        match sent {
            Ok(()) => true,
            Err(_) if is_done(&sent) => self.look_again(Ok(())),
            Err(why) => {
                let name = self.seen.containers().find(|c| c.id.0 == id).map_or(id, |c| &c.spec.name).to_owned();
                let why = self.not_ended("KillContainer", &name, &why.to_string());
                self.look_again(Err(why))
            }
        }
    }

    /// What could not be ended is tried again, and told of a pod that ends (kubelet.go SyncTerminatingPod,
    /// container/sync_result.go).
    fn not_ended(&self, what: &str, whose: &str, why: &str) -> String {
        let text = format!("failed to {what:?} for {whose:?} with {what}Error: {why:?}");
        if self.memory.ending.is_some() {
            self.event(None, Type::Warning, "FailedKillPod", &format!("error killing pod: {text}"));
        }
        text
    }

    async fn remove_container(&mut self, id: &str) -> bool {
        let log = self.seen.containers().find(|c| c.id.0 == id).and_then(|c| c.spec.log.clone());
        let gone = self.shared.engine.remove_container(&ContainerId(id.to_owned())).await;
        if let Some(log) = log.filter(|_| gone.is_ok()) {
            remove::forget_log(log.path, self.shared.config.log_dir.clone(), id.to_owned()).await;
        }
        self.look_again(gone.map_err(|why| format!("a container was not removed: {why}")))
    }

    /// As Go prints a pull's time: `1.2s`, `350ms`.
    pub(crate) fn printed(duration: SignedDuration) -> String {
        let millis = duration.as_millis();
        match millis {
            m if m < 1000 => format!("{m}ms"),
            m if m < 60_000 => {
                let text = format!("{:.3}", m as f64 / 1000.0);
                format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => backoff::go_duration(duration),
        }
    }

    /// A hook that is not done keeps its container waiting.
    pub(crate) fn expect_post_start(&mut self, id: &str) {
        self.memory.post_start.insert(id.to_owned(), PostStart::Running);
    }
}

/// Asks the runtime until it is known whether it is done: what it may have done is asked for again.
async fn known<'a>(ask: impl Fn() -> Boxed<'a, runtime::engine::Result<()>>) -> runtime::engine::Result<()> {
    let mut pause = NOT_KNOWN_RETRY;
    loop {
        match ask().await {
            Err(runtime::Error::NotKnown(why)) => tracing::warn!("the runtime is asked again: {why}"),
            known => return known,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(NOT_KNOWN_RETRY_MAX);
    }
}

/// A container that ended meanwhile needs no signal; the look that follows shows it.
fn is_done(sent: &runtime::engine::Result<()>) -> bool {
    matches!(sent, Ok(()) | Err(runtime::Error::NotRunning(_) | runtime::Error::NotFound(_)))
}
