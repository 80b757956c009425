//! Hooks and probes: run beside the actor, judged here, told as events.

use std::time::Duration;

use api::view::api::core::v1 as core;
use client::ObjectReference;
use client::recorder::Type;
use jiff::Timestamp;
use runtime::ContainerId;

use crate::act::Outcome;
use crate::actor::Actor;
use crate::memory::{Hook, PostStart, ProbeKind, Waiting};
use crate::plan::probes;
use crate::pod;
use crate::probe::{self, Answer, Target};
use crate::shared::Shared;

/// A hook without a budget of its own may take as long as its container lives.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Between two questions after what became of a hook, doubling.
const RETRY: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a hook is run with.
struct HookRun {
    shared: std::sync::Arc<Shared>,
    container: core::Container,
    id: String,
    pod: ObjectReference,
    pod_ip: String,
}

impl Actor {
    fn hook_run(&self, pod: &core::Pod, name: &str, id: &str) -> Option<HookRun> {
        let part = pod::part(pod, name)?;
        Some(HookRun {
            shared: self.shared.clone(),
            container: part.spec.into_owned(),
            id: id.to_owned(),
            pod: self.reference(),
            pod_ip: self.seen.addresses().first().cloned().unwrap_or_default(),
        })
    }

    pub(crate) fn post_start(&mut self, name: &str, id: &str) {
        let Ok(pod) = self.object.view::<core::Pod>() else { return };
        let Some(run) = self.hook_run(&pod, name, id) else { return };
        let (name, id) = (name.to_owned(), id.to_owned());
        self.tasks.spawn(async move {
            let handler = run.container.lifecycle.as_ref().and_then(|l| l.post_start.clone());
            let result = match handler {
                Some(handler) => run.run("postStart", &handler, NO_LIMIT).await,
                None => Ok(()),
            };
            Outcome::PostStart { id, name, result }
        });
    }

    pub(super) fn post_started(&mut self, id: &str, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.memory.post_start.remove(id);
                self.memory.waiting.remove(name);
            }
            // A container that ended meanwhile has other worries.
            Err(_) if !self.memory.post_start.contains_key(id) => {}
            Err(why) => {
                tracing::info!(pod = %self.object.meta().name, container = name, "a postStart hook failed: {why}");
                self.event_by_name(name, Type::Warning, "FailedPostStartHook", "PostStartHook failed");
                self.memory.post_start.insert(id.to_owned(), PostStart::Failed);
                let waiting = Waiting { reason: "PostStartHookError".into(), message: "PostStartHook failed".into() };
                self.memory.waiting.insert(name.to_owned(), waiting);
            }
        }
    }

    pub(super) fn pre_stop(&mut self, pod: &core::Pod, id: &str, name: &str, budget: i64) {
        let deletion = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let since = self.memory.stops.get_mut(id).map(|stop| {
            stop.hook = Hook::Running;
            stop.since
        });
        // One run for each time that it is stopped: a deletion is the same one for a restarted agent.
        let occasion = format!("preStop/{}", deletion.or(since).unwrap_or_default());
        let Some(run) = self.hook_run(pod, name, id) else { return };
        let limit = Duration::from_secs(u64::try_from(budget).unwrap_or(0));
        let path = pod::part(pod, name).map(|p| p.field_path()).unwrap_or_default();
        let id = id.to_owned();
        self.tasks.spawn(async move {
            let handler = run.container.lifecycle.as_ref().and_then(|l| l.pre_stop.clone());
            if let Some(handler) = handler
                && let Err(why) = run.run(&occasion, &handler, limit).await
            {
                tracing::info!("a preStop hook failed: {why}");
                let recorder = &run.shared.recorder;
                recorder.event(run.pod, &path, Type::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
            Outcome::PreStop { id }
        });
    }

    pub(super) fn probe(&mut self, pod: &core::Pod, id: &str, name: &str, kind: ProbeKind) {
        let due = self.now();
        let Some(run) = self.hook_run(pod, name, id) else { return };
        let Some(probe) = pod::part(pod, name).and_then(|p| probes::probe_of(&p, kind).cloned()) else { return };
        self.memory.probes.entry((id.to_owned(), kind)).or_default().running = true;
        let (id, name) = (id.to_owned(), name.to_owned());
        self.tasks.spawn(async move {
            let container = ContainerId(run.id.clone());
            let target = run.target(&container, "");
            let answer = probe::probe(&probe, &target).await;
            Outcome::Probe { id, name, kind, due, answer }
        });
    }

    /// Counts one outcome; a failure is told each time, as upstream does.
    pub(super) fn probed(&mut self, id: &str, name: &str, kind: ProbeKind, due: Timestamp, answer: Answer) {
        let Ok(pod) = self.object.view::<core::Pod>() else { return };
        let Some(part) = pod::part(&pod, name) else { return };
        let Some(probe) = probes::probe_of(&part, kind) else { return };
        let key = (id.to_owned(), kind);
        let Some(state) = self.memory.probes.get_mut(&key) else { return };
        state.running = false;
        // The next one is due a period after this one was, unless it took longer.
        state.next_at = Some((due + probes::period(probe)).max(self.shared.config.now()));
        let success = match &answer {
            Answer::Success | Answer::Warning(_) => Some(true),
            Answer::Failure(_) => Some(false),
            Answer::Error(_) | Answer::Unknown(_) => None,
        };
        if let Some(success) = success {
            let (to_succeed, to_fail) = (probe.success_threshold.unwrap_or(1), probe.failure_threshold.unwrap_or(3));
            state.note(success, to_succeed, to_fail);
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

    fn event_by_name(&self, name: &str, class: Type, reason: &str, message: &str) {
        let pod = self.object.view::<core::Pod>().unwrap_or_default();
        self.event(pod::part(&pod, name).as_ref(), class, reason, message);
    }
}

impl HookRun {
    fn target<'a>(&'a self, id: &'a ContainerId, run: &'a str) -> Target<'a> {
        Target { engine: &*self.shared.engine, container: &self.container, id, pod_ip: &self.pod_ip, run }
    }

    /// One handler within its limit. What became of it may not be known: then it is asked again, under the
    /// name of this run, so that a command is not begun twice; a request is sent again (hooks come at least
    /// once).
    async fn run(&self, name: &str, handler: &core::LifecycleHandler, limit: Duration) -> Result<(), String> {
        let id = ContainerId(self.id.clone());
        let target = self.target(&id, name);
        let begun = tokio::time::Instant::now();
        let mut pause = RETRY;
        loop {
            match probe::hook(handler, &target, limit.saturating_sub(begun.elapsed())).await {
                Answer::Success => return Ok(()),
                Answer::Warning(text) => {
                    let recorder = &self.shared.recorder;
                    recorder.event(self.pod.clone(), "", Type::Warning, "LifecycleHTTPFallback", &text);
                    return Ok(());
                }
                Answer::Failure(text) | Answer::Error(text) => return Err(text),
                Answer::Unknown(text) => {
                    tracing::info!(container = self.id, "what became of a hook is not known, it is asked again: {text}")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}
