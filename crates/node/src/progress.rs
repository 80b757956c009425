//! How far a pod is, which its actor may forget: a restart rebuilds or repeats it.
//!
//! Attempts, back-off, addresses and exit codes are not here: they come from the runtime's list and
//! the API object. Here stand the things under way (hooks, stops, pulls, probes) and the reasons why
//! something waits. A restarted agent gives the whole grace again because this is empty then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::view as core;
use jiff::{SignedDuration, Timestamp};

use crate::spec::Mounted;

/// The one place where it changes.
mod kept;

pub use kept::Kept;

/// Seconds between the stop signal and the kill at least (minimumGracePeriodInSeconds).
pub const GRACE_FLOOR: i64 = 2;

/// Per pod UID; made when the actor starts.
#[derive(Clone, Debug)]
pub struct Progress {
    /// When this agent first saw the pod: the start time, unless the API has one.
    pub born: Timestamp,
    /// Node admission was asked and answered.
    pub admitted: bool,
    /// The node's refusal: the pod is Failed for this reason and never starts.
    pub refused: Option<Verdict>,
    /// It broke a limit, or the node needs its room: it ends shortly and is Failed.
    pub evicted: Option<Verdict>,
    /// The node's own validation refuses the pod: it stays Pending.
    pub invalid: bool,
    pub volumes: Stage,
    /// The volumes, once they are ready.
    pub mounted: Arc<BTreeMap<String, Mounted>>,
    /// How often they were not made in a row.
    pub volume_failures: u32,
    pub sandbox: Stage,
    /// Why a container waits, by name; upstream's reason cache.
    pub waiting: BTreeMap<String, Waiting>,
    /// A container that could not be made is not tried before this.
    pub retry_at: BTreeMap<String, Timestamp>,
    /// Back-off of pulls, by the image as the pod names it.
    pub pulls: BTreeMap<String, PullBackoff>,
    /// Work under way outside the actor.
    pub busy: BTreeSet<Job>,
    /// postStart hooks by container id; absent: none, or long done.
    pub post_start: BTreeMap<String, PostStart>,
    /// Containers being stopped, by id.
    pub stops: BTreeMap<String, Stop>,
    pub ending: Option<Ending>,
    pub probes: BTreeMap<(String, ProbeKind), ProbeState>,
    /// Termination messages by container id.
    pub messages: BTreeMap<String, String>,
    /// Volumes were taken down after the end.
    pub torn_down: bool,
    /// Sandboxes were removed after the final status was accepted: nothing is reported any more.
    pub removing: bool,
    /// What new resources of the pod came to.
    pub resize: Resize,
}

/// Something that must be done once before containers start.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stage {
    #[default]
    New,
    Ready,
    /// Not tried again before the time.
    Failed(Timestamp),
}

/// A waiting state that only an attempt could tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub why: Why,
    pub message: String,
}

/// Why a container waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It ends again and again.
    CrashLoop,
    /// Of an image that it needs.
    PullBackOff { image: String },
    /// It could not be made; the reason of its status.
    Failed(&'static str),
}

impl Why {
    /// The reason of the container's status.
    pub fn reason(&self) -> &'static str {
        match self {
            Why::CrashLoop => "CrashLoopBackOff",
            Why::PullBackOff { .. } => "ImagePullBackOff",
            Why::Failed(reason) => reason,
        }
    }
}

/// Why the node calls a pod Failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub cause: Cause,
    /// As its event has it.
    pub message: String,
    /// Also a DisruptionTarget condition, reason TerminationByKubelet.
    pub disruption: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was active for longer than it may.
    DeadlineExceeded,
    /// It broke a limit, or the node needs its room.
    Evicted,
    /// The node does not take it; the reason of its status.
    Refused(String),
}

impl Verdict {
    /// As the pod's status has it.
    pub fn told(&self) -> String {
        match self.cause {
            Cause::Refused(_) => format!("Pod was rejected: {}", self.message),
            Cause::DeadlineExceeded | Cause::Evicted => self.message.clone(),
        }
    }
}

impl Cause {
    /// The reason of the pod's status.
    pub fn reason(&self) -> &str {
        match self {
            Cause::DeadlineExceeded => "DeadlineExceeded",
            Cause::Evicted => "Evicted",
            Cause::Refused(reason) => reason,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PullBackoff {
    pub delay: SignedDuration,
    pub until: Timestamp,
    /// Why the last pull failed.
    pub error: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    Volumes,
    Sandbox,
    /// Pull, create and start of a container, by name.
    Start(String),
    /// A sandbox being stopped, by id.
    StopSandbox(String),
    Teardown,
    /// The sandboxes and the object being removed.
    Finish,
    Refresh,
    /// New limits of the pod and its containers.
    Resize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PostStart {
    Running,
    /// The container is to be killed for it.
    Failed,
}

/// One container being stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    pub since: Timestamp,
    /// Whole seconds in force.
    pub grace: i64,
    pub hook: Hook,
    pub signalled: Option<Timestamp>,
    pub kill_at: Option<Timestamp>,
    pub killed: bool,
    /// A new instance follows whatever the restart policy says (its image was changed).
    pub replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hook {
    NotYet,
    Running,
    Done(Timestamp),
}

/// The whole pod being ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    pub since: Timestamp,
    pub grace: i64,
    pub verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// As events print it.
    pub fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeState {
    /// What counts: None until the first decision.
    pub result: Option<bool>,
    /// The last single outcome, and how many in a row were like it.
    pub last: Option<bool>,
    pub in_a_row: i32,
    pub running: bool,
    pub next_at: Option<Timestamp>,
}

/// What the pod as a whole and its containers (by name) may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admitted {
    pub pod: Option<core::ResourceRequirements>,
    pub containers: BTreeMap<String, Option<core::ResourceRequirements>>,
}

/// In-place resize as it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resize {
    /// Resources that were admitted; None before.
    pub admitted: Option<Admitted>,
    pub pending: Option<Pending>,
    /// Under way; a message where it failed.
    pub in_progress: Option<String>,
    /// After a failure, not before this.
    pub retry_at: Option<Timestamp>,
}

/// Why new resources are not given: a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Pending {
    /// Others have what it asks for.
    Deferred(String),
    /// More than there is on this node.
    Infeasible(String),
}

impl Pending {
    pub fn reason(&self) -> &'static str {
        match self {
            Pending::Deferred(_) => "Deferred",
            Pending::Infeasible(_) => "Infeasible",
        }
    }

    pub fn message(&self) -> &str {
        let (Pending::Deferred(message) | Pending::Infeasible(message)) = self;
        message
    }
}

impl Progress {
    pub fn new(born: Timestamp) -> Progress {
        Progress {
            born,
            admitted: false,
            refused: None,
            evicted: None,
            invalid: false,
            volumes: Stage::New,
            mounted: Arc::default(),
            volume_failures: 0,
            sandbox: Stage::New,
            waiting: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            pulls: BTreeMap::new(),
            busy: BTreeSet::new(),
            post_start: BTreeMap::new(),
            stops: BTreeMap::new(),
            ending: None,
            probes: BTreeMap::new(),
            messages: BTreeMap::new(),
            torn_down: false,
            removing: false,
            resize: Resize::default(),
        }
    }

    /// The pod's end begins, or its grace shrinks: what is under way is held to it from now on.
    pub fn begin_ending(&mut self, now: Timestamp, grace: i64, verdict: Option<Verdict>) {
        match &mut self.ending {
            None => self.ending = Some(Ending { since: now, grace, verdict }),
            Some(ending) => {
                ending.since = now;
                ending.grace = ending.grace.min(grace);
                ending.verdict = ending.verdict.take().or(verdict);
            }
        }
        for stop in self.stops.values_mut() {
            stop.replace = false;
            stop.shrink(now, grace);
        }
    }

    pub fn begin_stop(&mut self, id: &str, now: Timestamp, grace: i64, replace: bool) {
        self.stops.entry(id.to_owned()).or_insert(Stop {
            since: now,
            grace,
            hook: Hook::NotYet,
            signalled: None,
            kill_at: None,
            killed: false,
            replace,
        });
    }

    /// Forgets what belonged to containers that no longer exist.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.post_start.retain(|id, _| exists(id));
        self.stops.retain(|id, _| exists(id));
        self.probes.retain(|(id, _), _| exists(id));
        self.messages.retain(|id, _| exists(id));
    }
}

impl Stop {
    /// A shorter grace takes effect at once, counted from now; a longer one changes nothing.
    fn shrink(&mut self, now: Timestamp, grace: i64) {
        let ends = api::later(self.since, self.grace);
        let new_end = api::later(now, grace);
        if new_end < ends {
            self.grace = grace + (now.as_second() - self.since.as_second()).max(0);
            let floor = api::later(now, grace.max(GRACE_FLOOR));
            self.kill_at = self.kill_at.map(|at| at.min(floor));
        }
    }
}

impl ProbeState {
    /// Takes one outcome in; returns true where the result changed. Upstream: prober/worker.go.
    pub fn note(&mut self, success: bool, success_threshold: i32, failure_threshold: i32) -> bool {
        if self.last == Some(success) {
            self.in_a_row += 1;
        } else {
            self.last = Some(success);
            self.in_a_row = 1;
        }
        let needed = if success { success_threshold } else { failure_threshold };
        if self.in_a_row < needed.max(1) || self.result == Some(success) {
            return false;
        }
        self.result = Some(success);
        true
    }
}
