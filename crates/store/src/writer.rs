//! The one writer: judges writes in order, numbers them, commits them in groups, applies them, answers.
//!
//! With a disk it is a thread of its own: while one group is being synced the next one gathers, so
//! one sync commits all that waited. In memory it runs in the caller, so that paused time stays
//! deterministic. Nothing is visible, and nothing is answered, before it is durable.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::engine::{Answer, Engine};
use crate::state::{Overlay, Prepared, Slot, State};
use crate::store::Shared;
use crate::{Error, Key, Revision, Room, Step, Written};

/// Writes of one group, and their bytes: bounds what is lost to one failed sync, not the throughput.
const GROUP_MAX: usize = 512;
const GROUP_BYTES_MAX: u64 = 1 << 20;
/// Writes that wait for the next group.
const QUEUE_MAX: usize = 1024;

const FULL: &str = "the disk is full: what is left is kept for deletions and what leads to them";

/// What a fault does to the N-th group (see `Options::fault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The backend refuses: nothing was written.
    Refuse,
    /// The commit fails and the writes are not on the disk.
    Lose,
    /// The commit fails, but the writes are on the disk.
    Keep,
}

/// Asked before each commit with its ordinal, from 1; for tests and the simulator.
pub type FaultHook = Arc<dyn Fn(u64) -> Option<Fault> + Send + Sync>;

/// How a commit failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Surely nothing was written.
    Refused(String),
    /// Anything may be on the disk.
    Unknown(String),
}

/// The version of a key that is in memory.
pub(crate) type Look<'a> = &'a dyn Fn(&Key) -> Option<Slot>;

/// What makes a group durable, all or nothing: memory, journal.
pub(crate) trait Disk: Send {
    /// Which writes are taken now, in a group of so many bytes: those of this room and above.
    fn admits(&mut self, bytes: u64, look: Look<'_>) -> Result<Room, String>;

    /// `look` sees what was committed before.
    fn commit(&mut self, group: &[Prepared], look: Look<'_>) -> Result<(), Failure>;

    /// Before the end: what was allowed to wait is made durable.
    fn close(&mut self);

    /// After an unknown outcome: opens the disk anew and says which revision it holds.
    fn reopen(&mut self) -> Result<Revision, Failure>;
}

/// The simulator's disk: remembers only how far it got.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    held: Revision,
}

impl Disk for Memory {
    fn admits(&mut self, _: u64, _: Look<'_>) -> Result<Room, String> {
        Ok(Room::Free)
    }

    fn commit(&mut self, group: &[Prepared], _: Look<'_>) -> Result<(), Failure> {
        self.held = group.last().map_or(self.held, |last| last.revision);
        Ok(())
    }

    fn close(&mut self) {}

    fn reopen(&mut self) -> Result<Revision, Failure> {
        Ok(self.held)
    }
}

/// One write on its way.
pub(crate) struct Job {
    pub steps: Vec<Step>,
    pub answer: oneshot::Sender<Result<Written, Error>>,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    commits: u64,
    /// A group whose outcome is not known; decided by reopening before anything else is written.
    doubtful: Option<Vec<Prepared>>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, disk: Box<dyn Disk>) -> Writer {
        Writer { shared, disk, commits: 0, doubtful: None }
    }

    /// The thread's loop; ends when every sender is gone.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            let mut bytes = size_of(&group[0].steps);
            while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = jobs.try_recv() else { break };
                bytes += size_of(&next.steps);
                group.push(next);
            }
            let (steps, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.steps, job.answer)).unzip();
            for (answer, result) in answers.into_iter().zip(self.write(steps)) {
                // The caller may have gone away; the write stands.
                let _ = answer.send(result);
            }
        }
        self.disk.close();
    }

    /// Writes a group; one result per write, in order.
    pub fn write(&mut self, writes: Vec<Vec<Step>>) -> Vec<Result<Written, Error>> {
        let count = writes.len();
        if let Err(error) = self.settle() {
            return vec![Err(error); count];
        }
        let now = self.shared.now();
        let shared = self.shared.clone();
        let bytes = writes.iter().map(|steps| size_of(steps)).sum();
        let room = match self.disk.admits(bytes, &|key| shared.read().slot(key)) {
            Ok(room) => room,
            Err(why) => return vec![Err(Error::Refused(why)); count],
        };
        let (results, group) = self.judge(writes, room, now);
        if group.is_empty() {
            return results;
        }
        match self.commit(&group) {
            Ok(()) => {
                self.shared.apply(&group, now);
                results
            }
            // Conflicts, too, may have been judged against writes of this group.
            Err(Failure::Refused(why)) => vec![Err(Error::Refused(why)); count],
            Err(Failure::Unknown(why)) => {
                tracing::error!("a commit failed, its outcome is unknown: {why}");
                self.doubtful = Some(group);
                vec![Err(Error::Poisoned(why)); count]
            }
        }
    }

    fn judge(&self, writes: Vec<Vec<Step>>, room: Room, now: Duration) -> (Vec<Result<Written, Error>>, Vec<Prepared>) {
        let state = self.shared.read();
        let mut overlay = Overlay::new();
        let mut revision = state.revision();
        let mut group = Vec::new();
        let results = writes.into_iter().map(|steps| {
            if state.room(&overlay, &steps) < room {
                return Err(Error::Refused(FULL.into()));
            }
            let prepared = state.prepare(&mut overlay, steps, Revision(revision.0 + 1), now)?;
            if prepared.changes.is_empty() {
                return Ok(Written { revision, entries: prepared.entries });
            }
            revision = prepared.revision;
            let written = Written { revision, entries: prepared.entries.clone() };
            group.push(prepared);
            Ok(written)
        });
        (results.collect(), group)
    }

    fn commit(&mut self, group: &[Prepared]) -> Result<(), Failure> {
        self.commits += 1;
        let fault = self.shared.options.fault.as_ref().and_then(|hook| hook(self.commits));
        let shared = self.shared.clone();
        let look: Look<'_> = &|key| shared.read().slot(key);
        match fault {
            None => self.disk.commit(group, look),
            Some(Fault::Refuse) => Err(Failure::Refused("injected".into())),
            Some(Fault::Lose) => Err(Failure::Unknown("injected, lost".into())),
            Some(Fault::Keep) => {
                self.disk.commit(group, look)?;
                Err(Failure::Unknown("injected, kept".into()))
            }
        }
    }

    /// After a failed commit: what the disk says decides whether the doubtful group happened.
    fn settle(&mut self) -> Result<(), Error> {
        let Some(group) = self.doubtful.as_ref() else { return Ok(()) };
        let held = self.disk.reopen().map_err(|failure| match failure {
            Failure::Refused(why) | Failure::Unknown(why) => Error::Refused(format!("the backend stays closed: {why}")),
        })?;
        let before = self.shared.read().revision();
        let last = group.last().map_or(before, |prepared| prepared.revision);
        assert!(held == before || held == last, "the disk holds revision {}, expected {before:?} or {last:?}", held.0);
        if held == last {
            self.shared.apply(group, self.shared.now());
        }
        tracing::warn!("the backend is open again at revision {}", held.0);
        self.doubtful = None;
        Ok(())
    }
}

/// The writer in the caller's own task.
pub(crate) struct Inline(Mutex<Writer>);

/// The writer on a thread of its own; at the end it is joined, so that the journal's lock is free.
pub(crate) struct Threaded {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Inline {
    pub fn new(writer: Writer) -> Inline {
        Inline(Mutex::new(writer))
    }
}

impl Engine for Inline {
    fn write(&self, steps: Vec<Step>) -> Answer<'_, Written> {
        Box::pin(async move {
            let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write(vec![steps]).pop().expect("one result per write")
        })
    }

    fn newest(&self) -> Option<Answer<'_, Revision>> {
        None
    }

    fn is_writable(&self) -> bool {
        true
    }
}

impl Threaded {
    pub fn new(writer: Writer) -> Result<Threaded, Error> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(queue))
            .map_err(|why| Error::Refused(format!("no thread for the writer: {why}")))?;
        Ok(Threaded { jobs: Some(jobs), thread: Some(thread) })
    }
}

impl Engine for Threaded {
    fn write(&self, steps: Vec<Step>) -> Answer<'_, Written> {
        let jobs = self.jobs.as_ref().expect("taken only at the drop");
        Box::pin(async move {
            let (answer, result) = oneshot::channel();
            let stopped = || Error::Poisoned("the writer has stopped; the log says why".into());
            jobs.send(Job { steps, answer }).await.map_err(|_| stopped())?;
            result.await.map_err(|_| stopped())?
        })
    }

    fn newest(&self) -> Option<Answer<'_, Revision>> {
        None
    }

    fn is_writable(&self) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| !jobs.is_closed())
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        self.jobs.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// Bytes of a write, about.
fn size_of(steps: &[Step]) -> u64 {
    let sizes = steps.iter().map(|step| match step {
        Step::Put { key, value, .. } => key.as_str().len() + value.head.len() + value.tail.len() + 64,
        Step::Delete { key, .. } => key.as_str().len() + 64,
        Step::Check { .. } => 0,
    });
    sizes.sum::<usize>() as u64
}

/// What a backend hands over at the start.
pub(crate) struct Loaded {
    pub state: State,
    pub disk: Box<dyn Disk>,
}

impl Loaded {
    pub fn empty() -> Loaded {
        Loaded { state: State::load(std::iter::empty::<Slot>(), Revision(0)), disk: Box::new(Memory::default()) }
    }
}
