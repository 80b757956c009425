//! A status on its way to the server: what is new, when it is told, and again where it was not taken.
//!
//! What matters is told at once. A start, and a container that is started anew, are told as one where
//! they are quick: a watcher sees the pod run, and not each step that led there (docs/decisions/status-writes).

use std::collections::BTreeSet;

use api::view::api::core::v1 as core;
use api::{Object, Reason, Status};
use client::PatchKind;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Actor, Origin};
use crate::act::Outcome;
use crate::memory::Job;
use crate::observe::is_over;
use crate::{pod, report};

/// A pod of which nothing has begun tells so after this, unless it runs by then.
const STARTING: SignedDuration = SignedDuration::from_secs(1);
/// How far it is with its init containers, after this.
const QUIET: SignedDuration = SignedDuration::from_millis(50);
/// And that a container has ended which is started anew.
const REPLACING: SignedDuration = SignedDuration::from_millis(500);
pub(super) const WRITE_RETRY: SignedDuration = SignedDuration::from_millis(100);
const WRITE_RETRY_MAX: SignedDuration = SignedDuration::from_secs(10);

/// A status that the server does not have.
pub(super) struct News {
    namespace: String,
    name: String,
    patch: Value,
    /// How long it may wait for more.
    quiet: SignedDuration,
}

impl Actor {
    /// What the server does not know yet of the pod's status.
    pub(super) fn report(&mut self, pod: &core::Pod) -> Option<News> {
        let target = match self.origin {
            Origin::Api => Some(&self.object),
            Origin::Static => self.mirror.as_ref(),
            Origin::Orphan => None,
        };
        let gone = !self.wanted && self.origin == Origin::Api || self.memory.removing;
        let untold = self.memory.invalid && !pod::is_deleting(pod);
        let Some(target) = target.filter(|_| !gone && !untold) else {
            // A refused status that nobody waits for any more.
            self.write_due = None;
            return None;
        };
        // What is new will be seen when it is to be told.
        if self.writing {
            self.settled = false;
            return None;
        }
        let status = report::report(&self.situation(pod));
        let quiet = quiet(pod, &status);
        let due = self.due(quiet);
        if self.write_due.is_some() && self.now() < due {
            self.settled = false;
            self.write_due = Some(due);
            return None;
        }
        let patch = report::patch::patch(&target.meta().uid, pod.status.as_ref(), &status);
        let Some(patch) = patch else {
            self.settled = true;
            self.write_due = None;
            return None;
        };
        self.settled = false;
        let (namespace, name) = (target.meta().namespace.clone(), target.meta().name.clone());
        Some(News { namespace, name, patch, quiet })
    }

    /// Sends it: at once where it matters, else a moment later.
    pub(super) fn tell(&mut self, news: News) {
        let due = self.due(news.quiet);
        self.write_due = Some(due);
        if self.now() >= due {
            self.write(news);
        }
    }

    fn due(&self, quiet: SignedDuration) -> Timestamp {
        let soon = self.now() + quiet;
        match self.write_due {
            Some(due) if self.refused.is_some() || self.is_replacing() => due,
            Some(due) => due.min(soon),
            None if self.is_replacing() => self.now() + REPLACING,
            None => soon,
        }
    }

    /// Between the end of a container that the node stopped (a probe failed, its image or its resources were
    /// changed) and the start of the next: one step upstream, where nobody sees the pod without it
    /// (kuberuntime SyncPod). And while one that ended by itself is started again: both are told at once. A pull
    /// takes longer and is told, and so is a back-off.
    fn is_replacing(&self) -> bool {
        let is_gap = |latest: &runtime::Container| {
            let name = &latest.spec.name;
            let is_started = || self.memory.busy.contains(&Job::Start(name.clone()));
            let is_due = || self.memory.stops.contains_key(&latest.id.0) || is_started();
            is_over(latest) && is_due() && !self.memory.waiting.contains_key(name)
        };
        let names: BTreeSet<&String> = self.seen.containers().map(|c| &c.spec.name).collect();
        let mut latest = names.into_iter().filter_map(|name| self.seen.latest_begun(name));
        self.memory.ending.is_none() && latest.any(|latest| is_gap(latest.container))
    }

    fn write(&mut self, news: News) {
        let News { namespace, name, patch, .. } = news;
        tracing::trace!(target: "walk", verb = "report", name);
        self.writing = true;
        self.write_due = None;
        let client = self.shared.client.clone();
        let kind = self.shared.pods;
        self.tasks.spawn(async move {
            let sent = client.patch(kind, &namespace, &name, "status", PatchKind::Strategic, &patch).await;
            Outcome::Written(sent)
        });
    }

    /// What came of a status write.
    pub(crate) fn written(&mut self, result: Result<Object, Status>) {
        self.writing = false;
        match result {
            Ok(object) => {
                self.write_pause = WRITE_RETRY;
                self.refused = None;
                let place = if self.origin == Origin::Static { self.mirror.as_mut() } else { Some(&mut self.object) };
                if let Some(place) = place.filter(|p| p.meta().uid == object.meta().uid)
                    && object.revision() > place.revision()
                {
                    *place = object;
                    self.decoded = None;
                }
            }
            // The watch tells what became of it.
            Err(status) if matches!(status.reason, Reason::NotFound | Reason::Gone) => {
                self.write_again(&status);
            }
            Err(status) => {
                if self.refused.as_ref() != Some(&status.message) {
                    tracing::warn!(pod = %self.object.meta().name, "a status is not taken: {status}");
                }
                self.write_again(&status);
            }
        }
    }

    fn write_again(&mut self, status: &Status) {
        self.refused = Some(status.message.clone());
        self.write_due = Some(self.now() + self.write_pause);
        self.write_pause = (self.write_pause * 2).min(WRITE_RETRY_MAX);
    }
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
