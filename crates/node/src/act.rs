//! Doing what was planned: each action once, idempotently, with what its scene gives.
//!
//! Short steps are done in place and the plan is made anew; pulls, hooks, starts and take-downs go on
//! beside the actor, noted as jobs so that they are not planned twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::view as core;
use api::{Object, Status};
use client::ObjectReference;
use client::recorder::Type;
use jiff::Timestamp;
use runtime::engine::Boxed;
use tokio::sync::watch;

use crate::observe::Seen;
use crate::plan::{Action, Situation};
use crate::pod::{self, Part};
use crate::probe::Answer;
use crate::progress::{Cause, Job, ProbeKind, Progress, Verdict, Waiting};
use crate::shared::Shared;
use crate::spec::Mounted;
use crate::subject::Subject;
use crate::volumes::VolumeError;

// In the order of a pod's life.

/// New limits in place.
pub(crate) mod fit;
/// Hooks and probes.
pub(crate) mod hooks;
/// Its volumes.
pub(crate) mod prepare;
/// Images: found, or pulled by policy.
mod pull;
/// Everything of a pod removed.
pub(crate) mod remove;
/// Network, sandbox and its files.
mod sandbox;
/// One instance of a container.
mod start;
/// A container's end.
mod stop;

/// What an act may use: the node, and the pod as it stands.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub shared: &'a Arc<Shared>,
    pub subject: &'a Subject,
    pub pod: &'a Arc<core::Pod>,
    pub seen: &'a Seen,
    pub progress: &'a Progress,
    /// True once who holds it should give up if it merely waits.
    pub cancel: &'a watch::Sender<bool>,
}

/// An act that has begun: what is to be known of it at once, and what goes on beside the actor.
pub struct Act {
    pub effect: Effect,
    pub beside: Option<Work>,
}

pub type Work = Boxed<'static, Effect>;

/// What an act came to.
pub enum Effect {
    Began(Job),
    /// `hooked`: the id of a container that has a postStart hook.
    StartBegan {
        name: String,
        hooked: Option<String>,
    },
    ProbeBegan {
        id: String,
        kind: ProbeKind,
    },
    PreStopBegan {
        id: String,
    },
    StopBegan {
        id: String,
        grace: i64,
        replace: bool,
    },
    EndBegan {
        grace: i64,
        verdict: Option<Verdict>,
    },
    Waits {
        name: String,
        waiting: Waiting,
    },
    Signalled {
        id: String,
        kill_after: i64,
        ran: Ran,
    },
    Killed {
        id: String,
        ran: Ran,
    },
    Removed(Result<(), String>),
    Volumes(Result<BTreeMap<String, Mounted>, VolumeError>),
    Refreshed(Result<bool, VolumeError>),
    Sandbox(Result<(), String>),
    /// The id of the container that runs now.
    Started {
        name: String,
        images: Vec<String>,
        result: Result<String, Failure>,
    },
    PostStart {
        id: String,
        name: String,
        result: Result<(), String>,
    },
    PreStop {
        id: String,
    },
    Probed {
        id: String,
        name: String,
        kind: ProbeKind,
        due: Timestamp,
        answer: Answer,
    },
    Resized(Result<(), fit::Refused>),
    SandboxStopped {
        id: String,
        result: Result<(), String>,
    },
    TornDown(Result<(), String>),
    Finished,
    Written(Result<Object, Status>),
}

/// Whether a container got its signal.
pub enum Ran {
    Done,
    /// It ended meanwhile and needs none; a look shows it.
    Gone,
    Failed(String),
}

/// Tells events of one container, wherever it stands.
struct Voice {
    shared: Arc<Shared>,
    pod: ObjectReference,
    field_path: String,
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

const NOT_KNOWN_RETRY: Duration = Duration::from_millis(20);
const NOT_KNOWN_RETRY_MAX: Duration = Duration::from_secs(5);

/// Performs one action. None: what it is about is not there any more.
pub async fn act(scene: &Scene<'_>, action: Action) -> Option<Act> {
    tracing::debug!(pod = %scene.subject.object.meta().name, ?action);
    tracing::trace!(target: "walk", verb = "act", name = scene.subject.object.meta().name);
    Some(match action {
        Action::PrepareVolumes => prepare::volumes(scene),
        Action::RunSandbox { attempt, changed } => sandbox::run(scene, attempt, changed),
        Action::Start { name, attempt, backoff } => return start::start(scene, &name, attempt, backoff),
        Action::NoteWaiting { name, why, message } => start::wait(scene, name, why, message).into(),
        Action::Probe { id, name, kind } => return hooks::probe(scene, id, name, kind),
        Action::Resize => return fit::fit(scene),
        Action::BeginStop { id, name, grace, message, replace } => {
            scene.event(pod::part(scene.pod, &name).as_ref(), Type::Normal, "Killing", &message);
            Effect::StopBegan { id, grace, replace }.into()
        }
        Action::PreStop { id, name, budget } => hooks::pre_stop(scene, id, &name, budget),
        Action::StopSignal { id, kill_after } => stop::signal(scene, id, kill_after).await.into(),
        Action::Kill { id } => stop::kill(scene, id).await.into(),
        Action::RemoveContainer { id } => stop::remove(scene, &id).await.into(),
        Action::BeginEnding { grace, verdict } => {
            if let Some(verdict) = verdict.as_ref().filter(|v| v.cause == Cause::DeadlineExceeded) {
                scene.event(None, Type::Normal, verdict.cause.reason(), &verdict.message);
            }
            Effect::EndBegan { grace, verdict }.into()
        }
        Action::StopSandbox { id } => sandbox::stop(scene, id),
        Action::TeardownVolumes => remove::volumes(scene),
        Action::Finish => remove::all(scene),
    })
}

impl<'a> Scene<'a> {
    /// `settled`: the server has accepted the status that `report` gives for what is seen.
    pub fn situation(&self, settled: bool) -> Situation<'a> {
        Situation {
            pod: self.pod,
            seen: self.seen,
            progress: self.progress,
            facts: &self.shared.facts,
            wanted: self.subject.wanted,
            settled,
            now: self.shared.config.now(),
        }
    }

    /// About the pod, or one of its containers.
    fn event(&self, part: Option<&Part<'_>>, class: Type, reason: &str, message: &str) {
        self.shared.event(self.subject, part, class, reason, message);
    }
}

impl Voice {
    fn new(scene: &Scene<'_>, part: &Part<'_>) -> Voice {
        Voice { shared: scene.shared.clone(), pod: scene.subject.reference(), field_path: part.field_path() }
    }

    fn event(&self, class: Type, reason: &str, message: &str) {
        self.shared.recorder.event(self.pod.clone(), &self.field_path, class, reason, message);
    }

    fn event_of_pod(&self, class: Type, reason: &str, message: &str) {
        self.shared.recorder.event(self.pod.clone(), "", class, reason, message);
    }
}

impl Act {
    /// One job that goes on beside the actor.
    fn job(job: Job, work: impl Future<Output = Effect> + Send + 'static) -> Act {
        Act { effect: Effect::Began(job), beside: Some(Box::pin(work)) }
    }
}

/// It is over.
impl From<Effect> for Act {
    fn from(effect: Effect) -> Act {
        Act { effect, beside: None }
    }
}

impl Ran {
    pub fn is_done(&self) -> bool {
        matches!(self, Ran::Done | Ran::Gone)
    }
}

impl Failure {
    fn waiting(reason: &'static str, message: impl Into<String>) -> Failure {
        Failure { reason, message: message.into(), pull: None, exited: false, cancelled: false }
    }

    fn cancelled() -> Failure {
        Failure { cancelled: true, ..Failure::waiting("", "") }
    }
}

/// Asks the runtime until it is known whether it is done: what it may have done is asked for again.
async fn known<'a, T>(ask: impl Fn() -> Boxed<'a, runtime::engine::Result<T>>) -> runtime::engine::Result<T> {
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
