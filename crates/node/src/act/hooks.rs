//! Hooks and probes: run beside the actor.

use std::sync::Arc;
use std::time::Duration;

use crate::view as core;
use client::ObjectReference;
use client::recorder::Type;
use runtime::ContainerId;

use crate::act::{Act, Effect, Scene, Work};
use crate::observe::Seen;
use crate::plan::probes;
use crate::pod::{self, Part};
use crate::probe::{self, Answer, Target};
use crate::progress::ProbeKind;
use crate::shared::Shared;
use crate::subject::Subject;

/// A hook without a budget of its own may take as long as its container lives.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Between two questions after what became of a hook, doubling.
const RETRY: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a hook is run with.
struct HookRun {
    shared: Arc<Shared>,
    container: core::Container,
    id: String,
    pod: ObjectReference,
    pod_ip: String,
}

impl HookRun {
    fn new(shared: &Arc<Shared>, subject: &Subject, seen: &Seen, part: Part<'_>, id: &str) -> HookRun {
        HookRun {
            shared: shared.clone(),
            container: part.spec.clone(),
            id: id.to_owned(),
            pod: subject.reference(),
            pod_ip: seen.addresses().first().cloned().unwrap_or_default(),
        }
    }
}

/// The hook of a container that runs now. None: it is not in the pod any more.
pub(crate) fn post_start(shared: &Arc<Shared>, subject: &Subject, seen: &Seen, name: &str, id: &str) -> Option<Work> {
    let pod = subject.object.view::<core::Pod>().ok()?;
    let run = HookRun::new(shared, subject, seen, pod::part(&pod, name)?, id);
    let (name, id) = (name.to_owned(), id.to_owned());
    Some(Box::pin(async move {
        let handler = run.container.lifecycle.as_ref().and_then(|l| l.post_start.clone());
        let result = match handler {
            Some(handler) => run.run("postStart", &handler, NO_LIMIT).await,
            None => Ok(()),
        };
        Effect::PostStart { id, name, result }
    }))
}

/// `budget`: seconds.
pub(super) fn pre_stop(scene: &Scene<'_>, id: String, name: &str, budget: i64) -> Act {
    let effect = Effect::PreStopBegan { id: id.clone() };
    let deletion = scene.pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let since = scene.progress.stops.get(&id).map(|stop| stop.since);
    // One run for each time that it is stopped: a deletion is the same one for a restarted agent.
    let occasion = format!("preStop/{}", deletion.or(since).unwrap_or_default());
    let Some(part) = pod::part(scene.pod, name) else { return effect.into() };
    let path = part.field_path();
    let run = HookRun::new(scene.shared, scene.subject, scene.seen, part, &id);
    let limit = Duration::from_secs(u64::try_from(budget).unwrap_or(0));
    let work = async move {
        let handler = run.container.lifecycle.as_ref().and_then(|l| l.pre_stop.clone());
        if let Some(handler) = handler
            && let Err(why) = run.run(&occasion, &handler, limit).await
        {
            tracing::info!("a preStop hook failed: {why}");
            let recorder = &run.shared.recorder;
            recorder.event(run.pod, &path, Type::Warning, "FailedPreStopHook", "PreStopHook failed");
        }
        Effect::PreStop { id }
    };
    Act { effect, beside: Some(Box::pin(work)) }
}

pub(super) fn probe(scene: &Scene<'_>, id: String, name: String, kind: ProbeKind) -> Option<Act> {
    let due = scene.shared.config.now();
    let part = pod::part(scene.pod, &name)?;
    let probe = probes::probe_of(&part, kind)?.clone();
    let run = HookRun::new(scene.shared, scene.subject, scene.seen, part, &id);
    let effect = Effect::ProbeBegan { id: id.clone(), kind };
    let work = async move {
        let container = ContainerId(id.clone());
        let answer = probe::probe(&probe, &run.target(&container, "")).await;
        Effect::Probed { id, name, kind, due, answer }
    };
    Some(Act { effect, beside: Some(Box::pin(work)) })
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
