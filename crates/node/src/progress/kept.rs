//! The one place where a pod's progress changes: everybody else reads it.
//!
//! No effects and no events; `actor::settle` has them. Times come from outside.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Admitted, Hook, Job, Pending, PostStart, ProbeKind, ProbeState, Progress, PullBackoff, Stage, Verdict, Waiting, Why,
};
use crate::spec::Mounted;

/// A container that could not be made is tried again after this (pod_workers backOffPeriod).
const RETRY: SignedDuration = SignedDuration::from_secs(10);
const SANDBOX_RETRY: SignedDuration = SignedDuration::from_secs(2);
/// Upstream's volume manager: 500 ms doubling to about two minutes.
const VOLUME_RETRY: SignedDuration = SignedDuration::from_millis(500);
const VOLUME_RETRY_MAX: SignedDuration = SignedDuration::from_secs(122);
const PULL_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
const PULL_BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(300);

pub struct Kept(Progress);

impl Deref for Kept {
    type Target = Progress;

    fn deref(&self) -> &Progress {
        &self.0
    }
}

/// The node takes a pod, or not.
impl Kept {
    pub fn new(born: Timestamp) -> Kept {
        Kept(Progress::new(born))
    }

    /// True once.
    pub fn ask_admission(&mut self) -> bool {
        !std::mem::replace(&mut self.0.admitted, true)
    }

    pub fn is_invalid(&mut self) {
        self.0.invalid = true;
    }

    pub fn refuse(&mut self, verdict: Verdict) {
        self.0.refused = Some(verdict);
    }

    pub fn evict(&mut self, verdict: Verdict) {
        self.0.evicted = Some(verdict);
    }

    pub fn adopt_probe(&mut self, id: &str, kind: ProbeKind, next_at: Timestamp, passed: bool) {
        let result = passed.then_some(true);
        let state = ProbeState { next_at: Some(next_at), result, ..ProbeState::default() };
        self.0.probes.insert((id.to_owned(), kind), state);
    }
}

/// Work begins and ends.
impl Kept {
    pub fn begin(&mut self, job: Job) {
        self.0.removing |= job == Job::Finish;
        self.0.busy.insert(job);
    }

    pub fn end(&mut self, job: &Job) {
        self.0.busy.remove(job);
    }

    /// Nobody knows what was under way: it is planned anew.
    pub fn forget_work(&mut self) {
        self.0.busy.clear();
    }

    /// The machine was looked at: what is not there any more is forgotten, but what is being started is not
    /// listed yet. `messages`: the last words of those that have ended.
    pub fn looked(&mut self, exists: impl Fn(&str) -> bool, messages: Vec<(String, String)>) {
        if !self.0.busy.iter().any(|job| matches!(job, Job::Start(_))) {
            self.0.retain(exists);
        }
        self.0.messages.extend(messages);
    }
}

/// Before containers run.
impl Kept {
    /// The volumes, or nothing where they were not made.
    pub fn volumes(&mut self, mounted: Option<BTreeMap<String, Mounted>>, now: Timestamp) {
        self.end(&Job::Volumes);
        match mounted {
            Some(mounted) => {
                self.0.mounted = Arc::new(mounted);
                self.0.volume_failures = 0;
                self.0.volumes = Stage::Ready;
            }
            None => {
                let pause = VOLUME_RETRY * (1 << self.0.volume_failures.min(8));
                self.0.volume_failures += 1;
                self.0.volumes = Stage::Failed(now + pause.min(VOLUME_RETRY_MAX));
            }
        }
    }

    /// They are made at once, whatever the back-off says.
    pub fn volumes_anew(&mut self) {
        self.0.volumes = Stage::New;
    }

    pub fn sandbox(&mut self, is_made: bool, now: Timestamp) {
        self.end(&Job::Sandbox);
        self.0.sandbox = if is_made { Stage::Ready } else { Stage::Failed(now + SANDBOX_RETRY) };
    }
}

/// A container's start.
impl Kept {
    /// A hook that is not done keeps its container waiting.
    pub fn expect_post_start(&mut self, id: &str) {
        self.0.post_start.insert(id.to_owned(), PostStart::Running);
    }

    /// True where a hook follows.
    pub fn started(&mut self, name: &str, images: &[String], id: &str) -> bool {
        self.0.retry_at.remove(name);
        self.0.pulls.retain(|image, _| !images.contains(image));
        let is_hooked = self.0.post_start.contains_key(id);
        if !is_hooked {
            self.0.waiting.remove(name);
        }
        is_hooked
    }

    /// A pull that failed is backed off; else the start is tried again, unless the restart back-off holds.
    pub fn not_started(
        &mut self,
        name: &str,
        waiting: Waiting,
        pull: Option<(String, String)>,
        exited: bool,
        now: Timestamp,
    ) {
        if let Some((image, error)) = pull {
            let last = self.0.pulls.get(&image);
            let delay = last.map_or(PULL_BACKOFF, |pull| (pull.delay * 2).min(PULL_BACKOFF_MAX));
            self.0.pulls.insert(image, PullBackoff { delay, until: now + delay, error });
        } else if !exited {
            self.0.retry_at.insert(name.to_owned(), now + RETRY);
        }
        self.wait(name, waiting);
    }

    pub fn wait(&mut self, name: &str, waiting: Waiting) {
        self.0.waiting.insert(name.to_owned(), waiting);
    }

    pub fn post_started(&mut self, name: &str, id: &str) {
        self.0.post_start.remove(id);
        self.0.waiting.remove(name);
    }

    /// False where the container has ended meanwhile, and has other worries.
    pub fn post_start_failed(&mut self, name: &str, id: &str, message: &str) -> bool {
        let Some(hook) = self.0.post_start.get_mut(id) else { return false };
        *hook = PostStart::Failed;
        self.wait(name, Waiting { why: Why::Failed("PostStartHookError"), message: message.to_owned() });
        true
    }
}

/// Probes.
impl Kept {
    pub fn probe(&mut self, id: &str, kind: ProbeKind) {
        self.0.probes.entry((id.to_owned(), kind)).or_default().running = true;
    }

    /// `success`: None stands for nothing. False where nobody asks for it any more.
    pub fn probed(
        &mut self,
        id: &str,
        kind: ProbeKind,
        next_at: Timestamp,
        success: Option<bool>,
        thresholds: (i32, i32),
    ) -> bool {
        let Some(state) = self.0.probes.get_mut(&(id.to_owned(), kind)) else { return false };
        state.running = false;
        state.next_at = Some(next_at);
        if let Some(success) = success {
            state.note(success, thresholds.0, thresholds.1);
        }
        true
    }
}

/// New resources.
impl Kept {
    /// What the pod had before anybody asked for more.
    pub fn admit_resources(&mut self, admitted: Admitted) {
        self.0.resize.admitted = Some(admitted);
    }

    pub fn resize_taken(&mut self, admitted: Admitted) {
        self.0.resize.admitted = Some(admitted);
        self.0.resize.pending = None;
        self.0.resize.in_progress = Some(String::new());
        self.0.resize.retry_at = None;
    }

    /// None: it is asked for no more.
    pub fn resize_waits(&mut self, pending: Option<Pending>) {
        self.0.resize.pending = pending;
    }

    pub fn resize_completed(&mut self) {
        self.0.resize.in_progress = None;
    }

    /// True where the failure is new.
    pub fn resized(&mut self, failure: Option<String>, now: Timestamp) -> bool {
        self.end(&Job::Resize);
        self.0.resize.retry_at = failure.as_ref().map(|_| now + RETRY);
        let is_new = failure.is_some() && self.0.resize.in_progress != failure;
        if is_new {
            self.0.resize.in_progress = failure;
        }
        is_new
    }
}

/// A container's end, and the pod's.
impl Kept {
    pub fn begin_stop(&mut self, id: &str, now: Timestamp, grace: i64, replace: bool) {
        self.0.begin_stop(id, now, grace, replace);
    }

    pub fn begin_ending(&mut self, now: Timestamp, grace: i64, verdict: Option<Verdict>) {
        self.0.begin_ending(now, grace, verdict);
    }

    pub fn pre_stop(&mut self, id: &str, hook: Hook) {
        if let Some(stop) = self.0.stops.get_mut(id) {
            stop.hook = hook;
        }
    }

    pub fn signalled(&mut self, id: &str, now: Timestamp, kill_after: i64) {
        if let Some(stop) = self.0.stops.get_mut(id) {
            stop.signalled = Some(now);
            stop.kill_at = Some(api::later(now, kill_after));
        }
    }

    pub fn killed(&mut self, id: &str) {
        if let Some(stop) = self.0.stops.get_mut(id) {
            stop.killed = true;
        }
    }

    pub fn torn_down(&mut self) {
        self.0.torn_down = true;
    }
}
