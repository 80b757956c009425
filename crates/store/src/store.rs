//! `Store`: open, get, list, write, watch, compact.
//!
//! Reads walk the state in memory under a read lock and never wait for the disk. Writes go through
//! the one writer (see `writer`). The same laws hold over every backend (tests/laws.rs).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use crate::state::{Budget, State};
use crate::watch::Watchers;
use crate::writer::{FaultHook, Job, Loaded, Writer};
use crate::{Entry, Error, Revision, Step, Watch, expire, import, journal};

/// The time since the epoch, injected.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What makes writes durable.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Nothing does: for the simulator.
    Memory,
    /// A journal in a directory of its own, made if absent; its mark stands beside it.
    Embedded {
        dir: PathBuf,
        /// Goes on without what is damaged, which is put aside.
        accept_loss: bool,
    },
    /// A store that is open already, with the options it was opened with: what uses it is started
    /// again over the same state (the simulator's server).
    Shared(Store),
}

#[derive(Clone)]
pub struct Options {
    pub clock: Clock,
    /// How long a change can be read back: by time and by bytes, whichever is reached first.
    pub history: Duration,
    pub history_bytes: usize,
    /// Changes that a watch may lag behind before it is cut off; nor may it be behind history.
    pub watch_queue: usize,
    /// Bytes of disk kept for what leads to less; other puts are refused while less than that is
    /// free beside it. 0 switches both off.
    pub reserve: u64,
    /// Bytes of one file of the journal.
    pub segment: u64,
    /// Makes commits fail; for tests and the simulator.
    pub fault: Option<FaultHook>,
}

/// A page of a consistent snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// The revision that the snapshot shows.
    pub revision: Revision,
    /// Entries after the last one of this page.
    pub remaining: usize,
}

/// A write that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub revision: Revision,
    /// One per step, in order: what was put, or the last version of what was deleted; None for a check.
    pub entries: Vec<Option<Entry>>,
}

/// The store. Clone is a reference count; the last one to go closes the backend.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    pub shared: Arc<Shared>,
    path: Path,
}

/// How a write reaches the writer.
enum Path {
    Inline(Mutex<Writer>),
    Thread { jobs: Option<mpsc::Sender<Job>>, thread: Option<JoinHandle<()>> },
}

pub(crate) struct Shared {
    pub options: Options,
    state: RwLock<State>,
    pub watchers: Watchers,
    /// The expiry's task sleeps on this until there is an earlier deadline than it knew of.
    pub earlier_deadline: Arc<Notify>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store @{}", self.revision().0)
    }
}

impl Options {
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            history: Duration::from_secs(600),
            history_bytes: 32 << 20,
            watch_queue: 4096,
            reserve: 16 << 20,
            segment: 4 << 20,
            fault: None,
        }
    }
}

impl Store {
    /// Opens a backend and loads all of it. Must run inside a tokio runtime: expiry is a task of it.
    pub fn open(backend: Backend, options: Options) -> Result<Store, Error> {
        let (loaded, inline) = match &backend {
            Backend::Shared(store) => return Ok(store.clone()),
            Backend::Memory => (Loaded::empty(), true),
            Backend::Embedded { dir, accept_loss } => {
                import::import(dir, &options)?;
                let opened = journal::open(dir, &options, *accept_loss)?;
                let state = State::load(opened.slots.into_iter(), opened.revision);
                (Loaded { state, disk: Box::new(opened.journal) }, false)
            }
        };
        let watchers = Watchers::new(loaded.state.revision());
        let state = RwLock::new(loaded.state);
        let shared = Arc::new(Shared { options, state, watchers, earlier_deadline: Arc::default() });
        let writer = Writer::new(shared.clone(), loaded.disk);
        let path = match inline {
            true => Path::Inline(Mutex::new(writer)),
            false => {
                let (jobs, queue) = mpsc::channel(1024);
                let thread = std::thread::Builder::new()
                    .name("store".into())
                    .spawn(move || writer.run(queue))
                    .map_err(|why| Error::Refused(format!("no thread for the writer: {why}")))?;
                Path::Thread { jobs: Some(jobs), thread: Some(thread) }
            }
        };
        let inner = Arc::new(Inner { shared, path });
        tokio::spawn(expire::run(Arc::downgrade(&inner)));
        Ok(Store(inner))
    }

    pub fn get(&self, key: &str) -> Option<Entry> {
        self.0.shared.read().get(key)
    }

    /// Entries under a prefix in key order, from the key `from` on (inclusive), at most `limit`; as
    /// they are now, or as they were `at` a revision that history still reaches.
    pub fn list(&self, prefix: &str, from: Option<&str>, limit: usize, at: Option<Revision>) -> Result<Listing, Error> {
        let state = self.0.shared.read();
        let at = at.unwrap_or(state.revision());
        state.reach(at)?;
        Ok(state.list(prefix, from, limit, at))
    }

    /// Writes all steps or none, at one new revision; returns when that is durable. Once called it
    /// may happen even if the caller stops waiting.
    pub async fn write(&self, steps: Vec<Step>) -> Result<Written, Error> {
        for step in &steps {
            tracing::trace!(target: "walk", verb = "write", key = step.key().as_str());
        }
        self.0.write(steps).await
    }

    /// Every change under a prefix after a revision, in order, once.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        let state = self.0.shared.read();
        state.reach(after)?;
        let backlog = state.after(after).filter(|c| c.entry.key.0.starts_with(prefix)).cloned().collect();
        let limit = self.0.shared.options.watch_queue;
        Ok(self.0.shared.watchers.register(prefix, backlog, after, state.revision(), limit))
    }

    /// Forgets history: revisions before this one can no longer be listed or watched after.
    pub fn compact(&self, before: Revision) {
        self.0.shared.write().compact(before);
    }

    /// Whether writes can still succeed: false once the writer has stopped.
    pub fn is_writable(&self) -> bool {
        match &self.0.path {
            Path::Inline(_) => true,
            Path::Thread { jobs, .. } => jobs.as_ref().is_some_and(|jobs| !jobs.is_closed()),
        }
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.0.shared.read().revision()
    }

    /// The newest revision whose changes every watch has; read without a lock.
    pub fn published(&self) -> Revision {
        self.0.shared.watchers.published().revision()
    }

    /// Waits until a revision is written (a read that must not be older than it).
    pub async fn reached(&self, revision: Revision) {
        self.0.shared.watchers.published().reached(revision).await;
    }
}

impl Inner {
    pub async fn write(&self, steps: Vec<Step>) -> Result<Written, Error> {
        let jobs = match &self.path {
            Path::Inline(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                return writer.write(vec![steps]).pop().expect("one result per write");
            }
            Path::Thread { jobs, .. } => jobs.as_ref().expect("taken only at the drop"),
        };
        let (answer, result) = oneshot::channel();
        let stopped = || Error::Poisoned("the writer has stopped; the log says why".into());
        jobs.send(Job { steps, answer }).await.map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.earlier_deadline.notify_one();
        if let Path::Thread { jobs, thread } = &mut self.path {
            jobs.take();
            // Joined, so that the backend's lock is free when the drop returns.
            if thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the store's writer panicked");
            }
        }
    }
}

impl Shared {
    pub fn now(&self) -> Duration {
        (self.options.clock)()
    }

    pub fn budget(&self) -> Budget {
        Budget { time: self.options.history, bytes: self.options.history_bytes }
    }

    // A panic under the lock is an assertion of the writer: what it had not finished is not trusted,
    // and every later access panics too.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("the writer asserted while it changed the state")
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("the writer asserted while it changed the state")
    }
}
