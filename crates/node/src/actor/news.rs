//! A status on its way to the server: what is new, when it is told, and again where it was not taken.
//!
//! What matters is told at once. A start, and a container that is started anew, are told as one where
//! they are quick: a watcher sees the pod run, and not each step that led there (docs/decisions/status-writes).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::view as core;
use api::resource::PODS;
use api::{Object, Reason, Status};
use client::PatchKind;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Actor;
use crate::act::Effect;
use crate::observe::is_over;
use crate::plan::Situation;
use crate::progress::Job;
use crate::subject::{Origin, Subject};
use crate::{pod, report};

/// A pod of which nothing has begun tells so after this, unless it runs by then.
const STARTING: SignedDuration = SignedDuration::from_secs(1);
/// How far it is with its init containers, after this.
const QUIET: SignedDuration = SignedDuration::from_millis(50);
/// And that a container has ended which is started anew.
const REPLACING: SignedDuration = SignedDuration::from_millis(500);
const WRITE_RETRY: SignedDuration = SignedDuration::from_millis(100);
const WRITE_RETRY_MAX: SignedDuration = SignedDuration::from_secs(10);

/// A status that the server does not have.
pub(super) struct News {
    namespace: String,
    name: String,
    patch: Value,
    /// How long it may wait for more.
    quiet: SignedDuration,
}

/// How far the server knows what was seen.
pub(super) struct Teller {
    settled: bool,
    writing: bool,
    due: Option<Timestamp>,
    pause: SignedDuration,
    /// Why the newest status was not taken; the same is logged once.
    refused: Option<String>,
}

impl Default for Teller {
    fn default() -> Teller {
        Teller { settled: false, writing: false, due: None, pause: WRITE_RETRY, refused: None }
    }
}

impl Actor {
    /// What the server does not know yet of the pod's status.
    pub(super) fn report(&mut self, pod: &Arc<core::Pod>) -> Option<News> {
        let (scene, teller) = self.scene_and_teller(pod);
        teller.report(&scene.situation(teller.settled), scene.subject)
    }

    /// Sends it: at once where it matters, else a moment later.
    pub(super) fn tell(&mut self, pod: &Arc<core::Pod>, news: News) {
        let (scene, teller) = self.scene_and_teller(pod);
        let now = teller.tell(&scene.situation(teller.settled), news.quiet);
        if !now {
            return;
        }
        let News { namespace, name, patch, .. } = news;
        tracing::trace!(target: "walk", verb = "report", name);
        let client = self.shared.client.clone();
        self.tasks.spawn(async move {
            Effect::Written(client.patch(&PODS, &namespace, &name, "status", PatchKind::Strategic, &patch).await)
        });
    }
}

impl Teller {
    /// The server has accepted the status that `report` gives for what is seen.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// When the status is to be written.
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    pub fn broke_off(&mut self) {
        self.writing = false;
    }

    fn report(&mut self, s: &Situation<'_>, subject: &Subject) -> Option<News> {
        let gone = !s.wanted && subject.origin == Origin::Api || s.progress.removing;
        let untold = s.progress.invalid && !pod::is_deleting(s.pod);
        let Some(target) = subject.target().filter(|_| !gone && !untold) else {
            // A refused status that nobody waits for any more.
            self.due = None;
            return None;
        };
        // What is new will be seen when it is to be told.
        if self.writing {
            self.settled = false;
            return None;
        }
        let status = report::report(s);
        let quiet = quiet(s.pod, &status);
        let due = self.due_of(s, quiet);
        if self.due.is_some() && s.now < due {
            self.settled = false;
            self.due = Some(due);
            return None;
        }
        let patch = report::patch::patch(&target.meta().uid, s.pod.status.as_ref(), &status);
        let Some(patch) = patch else {
            self.settled = true;
            self.due = None;
            return None;
        };
        self.settled = false;
        let (namespace, name) = (target.meta().namespace.clone(), target.meta().name.clone());
        Some(News { namespace, name, patch, quiet })
    }

    /// True where it is written now.
    fn tell(&mut self, s: &Situation<'_>, quiet: SignedDuration) -> bool {
        let due = self.due_of(s, quiet);
        self.writing = s.now >= due;
        self.due = (!self.writing).then_some(due);
        self.writing
    }

    fn due_of(&self, s: &Situation<'_>, quiet: SignedDuration) -> Timestamp {
        let soon = s.now + quiet;
        match self.due {
            Some(due) if self.refused.is_some() || is_replacing(s) => due,
            Some(due) => due.min(soon),
            None if is_replacing(s) => s.now + REPLACING,
            None => soon,
        }
    }

    /// What came of a status write.
    pub fn written(&mut self, result: Result<Object, Status>, subject: &mut Subject, now: Timestamp) {
        self.writing = false;
        match result {
            Ok(object) => {
                self.pause = WRITE_RETRY;
                self.refused = None;
                subject.written(object);
            }
            Err(status) => {
                // The watch tells what became of a pod that is gone.
                let is_gone = matches!(status.reason, Reason::NotFound | Reason::Gone);
                if !is_gone && self.refused.as_ref() != Some(&status.message) {
                    tracing::warn!(pod = %subject.object.meta().name, "a status is not taken: {status}");
                }
                self.refused = Some(status.message);
                self.due = Some(now + self.pause);
                self.pause = (self.pause * 2).min(WRITE_RETRY_MAX);
            }
        }
    }
}

/// Between the end of a container that the node stopped (a probe failed, its image or its resources were
/// changed) and the start of the next: one step upstream, where nobody sees the pod without it
/// (kuberuntime SyncPod). And while one that ended by itself is started again: both are told at once. A pull
/// takes longer and is told, and so is a back-off.
fn is_replacing(s: &Situation<'_>) -> bool {
    let is_gap = |latest: &runtime::Container| {
        let name = &latest.spec.name;
        let is_started = || s.progress.busy.contains(&Job::Start(name.clone()));
        let is_due = || s.progress.stops.contains_key(&latest.id.0) || is_started();
        is_over(latest) && is_due() && !s.progress.waiting.contains_key(name)
    };
    let names: BTreeSet<&String> = s.seen.containers().map(|c| &c.spec.name).collect();
    let mut latest = names.into_iter().filter_map(|name| s.seen.latest_begun(name));
    s.progress.ending.is_none() && latest.any(|latest| is_gap(latest.container))
}

/// Only a pod that is quietly starting has time.
fn quiet(pod: &core::Pod, status: &core::PodStatus) -> SignedDuration {
    let is_starting = status.phase.as_deref() == Some("Pending") && !pod::is_deleting(pod);
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let states = || lists.into_iter().flatten().flatten().filter_map(|c| c.state.as_ref());
    let is_told = |state: &core::ContainerState| {
        let reason = state.waiting.as_ref().and_then(|w| w.reason.as_deref());
        reason.is_some_and(|r| r != "ContainerCreating" && r != "PodInitializing")
    };
    match is_starting && !states().any(is_told) {
        true if states().any(|state| state.waiting.is_none()) => QUIET,
        true => STARTING,
        false => SignedDuration::ZERO,
    }
}
