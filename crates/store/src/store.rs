//! `Store`: open, get, list, write, watch, compact.
//!
//! Reads walk the state in memory under a read lock and never wait for the disk. Writes go through
//! the engine (see `engine`). The same laws hold over every engine (tests/laws).

use std::path::PathBuf;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::{Engine, Feed};
use crate::state::{Budget, Prepared, State};
use crate::watch::{Wanted, Watchers};
use crate::writer::{FaultHook, Inline, Loaded, Threaded, Writer};
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
    /// How long a change can be read back: by time (upstream compacts every five minutes) and by bytes, whichever
    /// is reached first. Of bytes, as many as are stored if those are more: what a storm in a large cluster writes
    /// is read by more watches, and each that is cut off lists all of it again.
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
    engine: Box<dyn Engine>,
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
            history: Duration::from_secs(300),
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
        let shared = Shared::new(options, loaded.state);
        let writer = Writer::new(shared.clone(), loaded.disk);
        let engine: Box<dyn Engine> = match inline {
            true => Box::new(Inline::new(writer)),
            false => Box::new(Threaded::new(writer)?),
        };
        Ok(Store::begin(shared, engine))
    }

    /// A store over an engine that orders the writes of others, too. `start` returns when the feed has
    /// been given what there is. Must run inside a tokio runtime.
    pub async fn over<F>(options: Options, start: impl FnOnce(Feed) -> F) -> Result<Store, Error>
    where
        F: Future<Output = Result<Box<dyn Engine>, Error>>,
    {
        let shared = Shared::new(options, State::default());
        let engine = start(Feed::new(&shared)).await?;
        Ok(Store::begin(shared, engine))
    }

    fn begin(shared: Arc<Shared>, engine: Box<dyn Engine>) -> Store {
        let inner = Arc::new(Inner { shared, engine });
        tokio::spawn(expire::run(Arc::downgrade(&inner)));
        Store(inner)
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
        if let Some(key) = Step::changed_twice(&steps) {
            return Err(Error::Refused(format!("two steps of one write change {key}")));
        }
        for step in &steps {
            tracing::trace!(target: "walk", verb = "write", key = step.key().as_str());
        }
        self.0.write(steps).await
    }

    /// Every change under a prefix after a revision, in order, once.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.watch_wanted(prefix, after, None)
    }

    /// The same, but of changes that do not have the value, before nor after, any may be left out.
    pub fn watch_wanted(&self, prefix: &str, after: Revision, wanted: Option<Wanted>) -> Result<Watch, Error> {
        let state = self.0.shared.read();
        state.reach(after)?;
        let backlog = state.after(after).filter(|c| c.entry.key.0.starts_with(prefix)).cloned().collect();
        let limit = self.0.shared.options.watch_queue;
        Ok(self.0.shared.watchers.register(prefix, wanted, backlog, after, state.revision(), limit))
    }

    /// Forgets history: revisions before this one can no longer be listed or watched after.
    pub fn compact(&self, before: Revision) {
        self.0.shared.write().compact(before);
    }

    /// Whether writes can still succeed: false once the writer has stopped.
    pub fn is_writable(&self) -> bool {
        self.0.engine.is_writable()
    }

    /// Waits until everything is shown that anybody was told of, before a read that must be current: at
    /// once, but over an engine that others write to as well.
    pub async fn current(&self) -> Result<(), Error> {
        if let Some(newest) = self.0.engine.newest() {
            self.reached(newest.await?).await;
        }
        Ok(())
    }

    /// The newest revision that is shown.
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
        self.engine.write(steps).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.earlier_deadline.notify_one();
    }
}

impl Shared {
    fn new(options: Options, state: State) -> Arc<Shared> {
        let watchers = Watchers::new(state.revision());
        Arc::new(Shared { options, state: RwLock::new(state), watchers, earlier_deadline: Arc::default() })
    }

    /// Makes durable writes visible, tells the watchers, and the expiry of an earlier deadline.
    pub fn apply(&self, group: &[Prepared], now: Duration) {
        let mut state = self.write();
        let deadline = state.next_deadline();
        for prepared in group {
            state.apply(prepared, now, self.budget());
        }
        let (revision, horizon) = (state.revision(), state.horizon());
        let earlier = match (state.next_deadline(), deadline) {
            (Some(now), Some(before)) => now < before,
            (now, None) => now.is_some(),
            (None, _) => false,
        };
        drop(state);
        if earlier {
            self.earlier_deadline.notify_one();
        }
        let changes = group.iter().flat_map(|prepared| prepared.changes.iter().map(|(change, _)| change));
        self.watchers.send(changes, revision, horizon);
    }

    /// Shows another state, which does not follow on what was shown.
    pub fn reload(&self, state: State) {
        let revision = state.revision();
        *self.write() = state;
        self.earlier_deadline.notify_one();
        self.watchers.cut_off(revision);
    }

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
