//! What happened in a round, as it was seen from outside: what the checks judge.
//!
//! The puppets' diaries say what was, the API what was told of it. Moments are the kernel's monotonic nanoseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

pub type Moment = u64;

pub const SECOND: u64 = 1_000_000_000;

pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}

#[derive(Default, Debug)]
pub struct History {
    pub hits: Vec<Hit>,
    /// Each start of `gousse up`.
    pub starts: Vec<Moment>,
    /// By UID.
    pub pods: BTreeMap<String, Pod>,
    pub writes: Writes,
    pub trials: Vec<Trial>,
    pub memory: Vec<Memory>,
    /// What was there after all pods had gone, and after `down --purge`.
    pub left: Vec<String>,
    /// What a deadline passed for.
    pub late: Vec<String>,
    /// Answers that no client should get.
    pub refused: Vec<String>,
    /// Lines of the logs that say that a part of the program broke.
    pub broken: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Up,
    Supervisor,
    Keeper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    Kill,
    Stop,
    Continue,
}

#[derive(Clone, Copy, Debug)]
pub struct Hit {
    pub part: Part,
    pub blow: Blow,
    pub at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

#[derive(Debug)]
pub struct Pod {
    pub name: String,
    pub behaviour: &'static str,
    pub restart: Restart,
    /// Seconds.
    pub grace: u64,
    pub containers: Vec<Container>,
    pub deletion: Option<Deletion>,
    /// When it was no longer there.
    pub gone: Option<Moment>,
    /// In the order of revisions.
    pub seen: Vec<Seen>,
    /// What was there when nothing had been hit for a while.
    pub rest: Option<Rest>,
}

#[derive(Clone, Debug)]
pub struct Deletion {
    pub asked: Moment,
    pub acknowledged: Moment,
    /// Seconds; none by force.
    pub grace: u64,
    /// Asked a second time with less grace: what the first one gave is not owed any more.
    pub shrunk: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Init,
    Sidecar,
    Main,
}

#[derive(Clone, Debug)]
pub struct Container {
    pub name: String,
    pub role: Role,
    /// Whether it ends without being told to.
    pub ends: bool,
    pub ignores_term: bool,
    pub pre_stop: bool,
    pub lives: Vec<Life>,
    /// When two of its lives were at once.
    pub overlaps: Vec<Moment>,
    pub hooks: Vec<Hook>,
    pub logs: Vec<Log>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// As the diary numbers it.
    pub number: u64,
    pub began: Moment,
    /// The last moment at which it surely lived.
    pub alive: Moment,
    pub address: String,
    pub term: Option<Moment>,
    /// None if it did not end by itself.
    pub exit: Option<i64>,
    pub out: Lines,
    pub err: Lines,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub begun: u64,
    pub written: u64,
}

#[derive(Clone, Debug)]
pub struct Hook {
    pub name: String,
    pub begun: Moment,
    pub ended: Option<Moment>,
}

/// A log as it was read, and what had been written before and begun after.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub source: &'static str,
    pub life: u64,
    /// Life and number of each line.
    pub out: Vec<(u64, u64)>,
    pub err: Vec<(u64, u64)>,
    pub torn: Vec<String>,
    pub out_within: (u64, u64),
    pub err_within: (u64, u64),
}

/// A pod as the API showed it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub revision: u64,
    pub at: Moment,
    pub phase: String,
    pub node: String,
    pub address: String,
    pub deleting: bool,
    pub statuses: Vec<Status>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub container: String,
    pub restarts: u64,
    pub id: String,
    /// Of `waiting`; empty otherwise.
    pub waiting: String,
    pub running: bool,
    pub terminated: Option<Exit>,
    pub last: Option<Exit>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exit {
    pub id: String,
    pub code: i64,
    pub reason: String,
}

/// A pod at rest: what the API said, between two looks at the diaries.
#[derive(Clone, Debug)]
pub struct Rest {
    pub seen: Option<Seen>,
    pub lives: Vec<Lived>,
}

/// A container's lives before and after the API was asked, and how the last one before it had ended by then.
#[derive(Clone, Debug)]
pub struct Lived {
    pub container: String,
    pub before: u64,
    pub after: u64,
    pub exit: Option<i64>,
}

/// Writers, watchers and what they know.
#[derive(Default, Debug)]
pub struct Writes {
    pub acknowledged: Vec<Write>,
    pub unknown: u64,
    /// For each key what may stand there in the end.
    pub may: BTreeMap<String, Vec<State>>,
    /// What stood there in the end.
    pub end: BTreeMap<String, State>,
    pub watches: Vec<Watch>,
    pub counter: Counter,
    /// Who won each race for a name: the UIDs of what was created.
    pub races: BTreeMap<String, Vec<String>>,
    /// The highest revision acknowledged before a kill, and the first one told after it.
    pub turns: Vec<(u64, u64)>,
    /// Stale updates that were taken, and states that cannot be.
    pub wrong: Vec<String>,
}

/// Token and revision; the revision where an answer told it. No token: nothing is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub token: Option<String>,
    pub revision: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Write {
    pub key: String,
    pub revision: u64,
    pub token: String,
}

#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// It is owed everything after this.
    pub from: u64,
    pub events: Vec<Event>,
    /// The last bookmark.
    pub mark: u64,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub revision: u64,
    pub key: String,
    pub deleted: bool,
}

/// What many increased at once, by compare-and-set.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    pub acknowledged: Vec<String>,
    pub unknown: Vec<String>,
    pub number: u64,
    pub entries: Vec<String>,
}

/// A file that was damaged, and what came of it.
#[derive(Clone, Debug)]
pub struct Trial {
    pub file: String,
    pub damage: String,
    pub outcome: Outcome,
    /// What the program said.
    pub said: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It started, and everything was there.
    Whole,
    Refused,
    /// It started, and something was lost or came back.
    Lost(String),
    /// Neither ready nor ended in time.
    Stuck,
}

/// What the server took while it was abused, in MiB.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub what: String,
    pub before: u64,
    pub peak: u64,
    pub after: u64,
}

impl Memory {
    /// The bounds of bodies, queues and renditions together, and what an allocator keeps.
    const PEAK: u64 = 256;
    const KEPT: u64 = 96;

    pub fn is_bounded(&self) -> bool {
        self.peak <= self.before + Memory::PEAK
    }

    pub fn given_back(&self) -> bool {
        self.after <= self.before + Memory::KEPT
    }
}

impl Container {
    /// One that stays, ends when it is told to, and has done nothing yet.
    pub fn named(name: &str) -> Container {
        Container {
            name: name.to_owned(),
            role: Role::Main,
            ends: false,
            ignores_term: false,
            pre_stop: false,
            lives: Vec::new(),
            overlaps: Vec::new(),
            hooks: Vec::new(),
            logs: Vec::new(),
        }
    }
}

impl Seen {
    pub fn of(object: &Value) -> Seen {
        let status = &object["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = ["initContainerStatuses", "containerStatuses"];
        let statuses = all.iter().flat_map(|field| status[*field].as_array().into_iter().flatten());
        Seen {
            revision: revision(object),
            at: now(),
            phase: text(&status["phase"]),
            node: text(&object["spec"]["nodeName"]),
            address: text(&status["podIP"]),
            deleting: object["metadata"]["deletionTimestamp"].is_string(),
            statuses: statuses.map(Status::of).collect(),
        }
    }
}

impl Status {
    fn of(value: &Value) -> Status {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let exit = |value: &Value| {
            let id = text(&value["containerID"]);
            value.as_object().map(|_| Exit {
                id,
                code: value["exitCode"].as_i64().unwrap_or(-1),
                reason: text(&value["reason"]),
            })
        };
        Status {
            container: text(&value["name"]),
            restarts: value["restartCount"].as_u64().unwrap_or_default(),
            id: text(&value["containerID"]),
            waiting: text(&value["state"]["waiting"]["reason"]),
            running: value["state"]["running"].is_object(),
            terminated: exit(&value["state"]["terminated"]),
            last: exit(&value["lastState"]["terminated"]),
        }
    }
}

pub fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The history while it is being written, by several tasks.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<History>>);

impl Record {
    /// Not to be held over an await.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
