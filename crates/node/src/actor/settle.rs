//! What acts came to, taken in: the progress, what is told as events, what is to be looked at again.

use std::sync::Arc;

use crate::view as core;
use client::recorder::Type;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::Actor;
use crate::act::fit::Refused;
use crate::act::{Effect, Failure, Ran, hooks, prepare};
use crate::observe::{Seen, is_over};
use crate::plan::probes;
use crate::pod;
use crate::pressure::Eviction;
use crate::probe::Answer;
use crate::progress::{Cause, Hook, Job, ProbeKind, Stage, Verdict, Waiting, Why};
use crate::resize::{self, Judgement, told};

/// Between two tries of what the runtime did not do.
const RETRY: SignedDuration = SignedDuration::from_secs(2);
const REFRESH_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Between two renewals of a token, whatever the server's clock says of its life.
const TOKEN_PAUSE: SignedDuration = SignedDuration::from_secs(1);

impl Actor {
    /// True where the plan should be made anew at once.
    pub(super) fn settle(&mut self, effect: Effect) -> bool {
        let now = self.now();
        match effect {
            Effect::Began(job) => self.progress.begin(job),
            Effect::StartBegan { name, hooked } => {
                hooked.iter().for_each(|id| self.progress.expect_post_start(id));
                self.progress.begin(Job::Start(name));
            }
            Effect::ProbeBegan { id, kind } => self.progress.probe(&id, kind),
            Effect::PreStopBegan { id } => self.progress.pre_stop(&id, Hook::Running),
            Effect::Waits { name, waiting } => {
                self.progress.wait(&name, waiting);
                return true;
            }
            Effect::StopBegan { id, grace, replace } => {
                self.progress.begin_stop(&id, now, grace, replace);
                return true;
            }
            Effect::EndBegan { grace, verdict } => {
                self.progress.begin_ending(now, grace, verdict);
                self.give_up_starts();
                return true;
            }
            Effect::Signalled { id, kill_after, ran } => {
                self.progress.begin_stop(&id, now, kill_after, false);
                if ran.is_done() {
                    self.progress.signalled(&id, now, kill_after);
                }
                return self.signalled(&id, ran);
            }
            Effect::Killed { id, ran } => {
                if ran.is_done() {
                    self.progress.killed(&id);
                }
                return self.signalled(&id, ran);
            }
            Effect::Removed(result) => return self.look_again(result),
            Effect::Volumes(result) => {
                if let Err(why) = &result {
                    self.event(None, Type::Warning, "FailedMount", &why.to_string());
                }
                self.progress.volumes(result.ok(), now);
                if self.progress.volumes == Stage::Ready {
                    self.plan_refresh(now);
                }
            }
            Effect::Refreshed(result) => {
                self.progress.end(&Job::Refresh);
                match result {
                    Ok(_) => self.plan_refresh(now),
                    Err(why) => {
                        self.event(None, Type::Warning, "FailedMount", &why.to_string());
                        self.agenda.refresh_at = Some(now + REFRESH_RETRY);
                    }
                }
            }
            Effect::Sandbox(result) => {
                self.agenda.look = true;
                if let Err(why) = &result {
                    let message = format!("Failed to create pod sandbox: {why}");
                    self.event(None, Type::Warning, "FailedCreatePodSandBox", &message);
                }
                self.progress.sandbox(result.is_ok(), now);
            }
            Effect::Started { name, images, result } => self.started(&name, &images, result, now),
            Effect::PostStart { id, name, result } => self.post_started(&id, &name, result),
            Effect::PreStop { id } => self.progress.pre_stop(&id, Hook::Done(now)),
            Effect::Probed { id, name, kind, due, answer } => self.probed(&id, &name, kind, due, answer),
            Effect::Resized(result) => self.resized(result, now),
            Effect::SandboxStopped { id, result } => {
                self.progress.end(&Job::StopSandbox(id));
                let uid = self.subject.uid.clone();
                self.look_again(result.map_err(|why| self.not_ended("KillPodSandbox", &uid, &why)));
            }
            Effect::TornDown(result) => {
                self.progress.end(&Job::Teardown);
                match result {
                    Ok(()) => {
                        self.progress.torn_down();
                        self.shared.promises.release(&self.subject.uid);
                    }
                    Err(why) => {
                        self.event(None, Type::Warning, "FailedUnMount", &why);
                        self.agenda.look_at = Some(now + RETRY);
                    }
                }
            }
            Effect::Finished => self.done = true,
            Effect::Written(result) => self.teller.written(result, &mut self.subject, now),
        }
        false
    }

    /// What work it was nobody knows.
    pub(super) fn broke_off(&mut self) {
        self.progress.forget_work();
        self.teller.broke_off();
        self.agenda.look_at = Some(self.now() + SignedDuration::from_secs(1));
    }

    pub(super) fn evicted(&mut self, eviction: Eviction) {
        if self.progress.evicted.is_some() {
            return;
        }
        let Eviction { message, disruption, annotations } = eviction;
        let (recorder, reference) = (&self.shared.recorder, self.subject.reference());
        recorder.annotated_event(reference, annotations, Type::Warning, Cause::Evicted.reason(), &message);
        self.progress.evict(Verdict { cause: Cause::Evicted, message, disruption });
    }

    pub(super) fn saw(&mut self, seen: Seen) {
        self.seen = seen;
        let untold = |c: &&runtime::Container| is_over(c) && !self.progress.messages.contains_key(&c.id.0);
        let untold: Vec<&runtime::Container> = self.seen.containers().filter(untold).collect();
        // How many containers share the pod's allowance of termination messages.
        let parts = || self.subject.object.view::<core::Pod>().map_or(1, |pod| pod::parts(&pod).len().max(1));
        let parts = if untold.is_empty() { 1 } else { parts() };
        let told = untold.into_iter().map(|c| (c.id.0.clone(), crate::messages::termination_message(c, parts)));
        let (told, seen) = (told.collect(), &self.seen);
        self.progress.looked(|id| seen.containers().any(|c| c.id.0 == id), told);
    }

    /// After an action on the runtime: look, at once or after a pause where it failed.
    fn look_again(&mut self, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => {
                self.agenda.look = true;
                true
            }
            Err(why) => {
                tracing::warn!(pod = %self.subject.object.meta().name, "{why}");
                self.agenda.look_at = Some(self.now() + RETRY);
                false
            }
        }
    }

    /// Starts under way that merely wait for a pull end, and a refresh that waits for a source; those to come
    /// are not concerned.
    fn give_up_starts(&mut self) {
        std::mem::replace(&mut self.cancel, watch::Sender::new(false)).send_replace(true);
    }

    /// When the first of the pod's tokens and certificates has to be renewed; what else is refreshed does not renew it.
    fn plan_refresh(&mut self, now: Timestamp) {
        let due = self.shared.sources.due(&self.subject.uid);
        let due = due.and_then(|second| Timestamp::from_second(second).ok());
        self.agenda.refresh_at = due.map(|at| at.max(now + TOKEN_PAUSE));
    }

    /// Brings the files of its volumes up to date, unless the pod ends or they are not there yet. What is
    /// asked for while they are being written is kept: the writer may have read before.
    pub(super) fn refresh(&mut self, pod: &Arc<core::Pod>) {
        let busy = |job| self.progress.busy.contains(&job);
        match self.progress.volumes {
            _ if self.progress.ending.is_some() => {}
            _ if busy(Job::Volumes) || busy(Job::Refresh) => return,
            // A source that was missing may be there now.
            Stage::Failed(_) => {
                self.progress.volumes_anew();
                self.agenda.look_at = Some(self.now());
            }
            Stage::Ready => {
                self.tasks.spawn(prepare::refresh(&self.scene(pod)));
                self.progress.begin(Job::Refresh);
            }
            // Whoever makes them reads what is there then.
            Stage::New => {}
        }
        self.agenda.refresh = false;
    }

    fn started(&mut self, name: &str, images: &[String], result: Result<String, Failure>, now: Timestamp) {
        self.progress.end(&Job::Start(name.to_owned()));
        self.agenda.look = true;
        match result {
            Ok(id) => {
                if self.progress.started(name, images, &id) {
                    let hook = hooks::post_start(&self.shared, &self.subject, &self.seen, name, &id);
                    hook.into_iter().for_each(|hook| drop(self.tasks.spawn(hook)));
                }
            }
            Err(failure) if failure.cancelled => {}
            Err(Failure { reason, message, pull, exited, .. }) => {
                let waiting = Waiting { why: Why::Failed(reason), message };
                self.progress.not_started(name, waiting, pull, exited, now);
            }
        }
    }

    fn post_started(&mut self, id: &str, name: &str, result: Result<(), String>) {
        let message = "PostStartHook failed";
        match result {
            Ok(()) => self.progress.post_started(name, id),
            Err(why) if self.progress.post_start_failed(name, id, message) => {
                tracing::info!(pod = %self.subject.object.meta().name, container = name, "a postStart hook failed: {why}");
                let pod = self.subject.object.view::<core::Pod>().unwrap_or_default();
                self.event(pod::part(&pod, name).as_ref(), Type::Warning, "FailedPostStartHook", message);
            }
            Err(_) => {}
        }
    }

    /// Counts one answer; a failure is told each time, as upstream does.
    fn probed(&mut self, id: &str, name: &str, kind: ProbeKind, due: Timestamp, answer: Answer) {
        let Ok(pod) = self.subject.object.view::<core::Pod>() else { return };
        let Some(part) = pod::part(&pod, name) else { return };
        let Some(probe) = probes::probe_of(&part, kind) else { return };
        // The next one is due a period after this one was, unless it took longer.
        let next_at = (due + probes::period(probe)).max(self.now());
        let thresholds = (probe.success_threshold.unwrap_or(1), probe.failure_threshold.unwrap_or(3));
        if !self.progress.probed(id, kind, next_at, answer.success(), thresholds) {
            return;
        }
        let title = kind.title();
        match answer {
            Answer::Success => {}
            Answer::Warning(text) => {
                let message = format!("{title} probe warning: {text}");
                self.event(Some(&part), Type::Warning, "ProbeWarning", &message);
            }
            Answer::Failure(text) => {
                let message = format!("{title} probe failed: {text}");
                self.event(Some(&part), Type::Warning, "Unhealthy", &message);
            }
            Answer::Error(text) | Answer::Unknown(text) => {
                let message = format!("{title} probe errored and resulted in unknown state: {text}");
                self.event(Some(&part), Type::Warning, "Unhealthy", &message);
            }
        }
    }

    fn resized(&mut self, result: Result<(), Refused>, now: Timestamp) {
        self.agenda.look = true;
        let (why, told) = result.err().map(|refused| (refused.why, refused.told)).unzip();
        if self.progress.resized(why, now) {
            self.event(None, Type::Warning, "ResizeError", &told.unwrap_or_default());
        }
    }

    /// Judges new resources; what is not admitted is put back in this view of the pod.
    pub(super) fn resize(&mut self, pod: &mut Arc<core::Pod>) {
        if !self.progress.admitted || self.progress.refused.is_some() || self.progress.ending.is_some() {
            return;
        }
        let admitted = match &self.progress.resize.admitted {
            Some(admitted) => admitted.clone(),
            None => {
                let first = resize::first(pod);
                self.progress.admit_resources(first.clone());
                first
            }
        };
        match resize::judge(pod, &admitted, &self.progress.resize, &self.shared.promises) {
            Judgement::Same { withdrawn } => {
                if withdrawn {
                    self.progress.resize_waits(None);
                }
                if self.progress.resize.in_progress.is_some() && resize::is_completed(pod, &self.seen) {
                    self.progress.resize_completed();
                    self.event(None, Type::Normal, "ResizeCompleted", &told(pod, "completed", ""));
                }
            }
            Judgement::Taken(new) => {
                self.progress.resize_taken(new);
                self.event(None, Type::Normal, "ResizeStarted", &told(pod, "started", ""));
            }
            Judgement::Waits(pending) => {
                let known = self.progress.resize.pending.as_ref().map(|pending| pending.reason());
                if known != Some(pending.reason()) {
                    let message = told(pod, pending.reason(), pending.message());
                    self.event(None, Type::Warning, &format!("Resize{}", pending.reason()), &message);
                }
                self.progress.resize_waits(Some(pending));
                resize::put_back(Arc::make_mut(pod), &admitted);
            }
        }
    }

    fn signalled(&mut self, id: &str, ran: Ran) -> bool {
        match ran {
            Ran::Done => true,
            Ran::Gone => self.look_again(Ok(())),
            Ran::Failed(why) => {
                let name = self.seen.containers().find(|c| c.id.0 == id).map_or(id, |c| &c.spec.name).to_owned();
                let why = self.not_ended("KillContainer", &name, &why);
                self.look_again(Err(why))
            }
        }
    }

    /// What could not be ended is tried again, and told of a pod that ends (kubelet.go SyncTerminatingPod,
    /// container/sync_result.go).
    fn not_ended(&self, what: &str, whose: &str, why: &str) -> String {
        let text = format!("failed to {what:?} for {whose:?} with {what}Error: {why:?}");
        if self.progress.ending.is_some() {
            self.event(None, Type::Warning, "FailedKillPod", &format!("error killing pod: {text}"));
        }
        text
    }
}
