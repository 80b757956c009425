//! The loop that every actor runs: never two runs of one key at once.
//!
//! A key that comes while it runs, runs again. Errors back off with jitter and a cap, a panic is an
//! error, `After` comes back by itself. The work gets only the key and looks for itself, so that a
//! restart and normal running are one path.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use api::{Reason, Status};
use futures::{Stream, StreamExt};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::backoff::{Backoff, seed_of};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a run that succeeded asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Nothing, until the key comes again.
    Done,
    /// To be run again after this long, or earlier if the key comes.
    After(Duration),
}

/// Why a run failed, as far as the log cares.
pub trait Failure: Display {
    /// It happens where all is well: somebody else was quicker, and the next look sees what came of it.
    fn is_ordinary(&self) -> bool {
        false
    }
}

impl Failure for Status {
    fn is_ordinary(&self) -> bool {
        self.reason == Reason::Conflict
    }
}

impl Failure for String {}
impl Failure for &str {}

/// Runs `work` for each key, at most `limit` at once, until the keys end and the last run is over.
/// Dropping it ends all runs.
pub async fn run<K, S, W, F, E>(keys: S, limit: usize, work: W)
where
    K: Clone + Eq + Hash + Debug + Send + 'static,
    S: Stream<Item = K>,
    W: Fn(K) -> F,
    F: Future<Output = Result<Requeue, E>> + Send + 'static,
    E: Failure + Send + 'static,
{
    let mut keys = Some(Box::pin(keys));
    let mut queue: Queue<K> = Queue::new();
    let mut runs: JoinSet<Result<Requeue, Trouble>> = JoinSet::new();
    let mut running: HashMap<Id, K> = HashMap::new();
    loop {
        while running.len() < limit.max(1)
            && let Some(key) = queue.pop()
        {
            let future = work(key.clone());
            let handle = runs.spawn(async move { future.await.map_err(|error| Trouble::of(&error)) });
            running.insert(handle.id(), key);
        }
        if keys.is_none() && running.is_empty() && queue.ready.is_empty() {
            return;
        }
        let next_key = async {
            match &mut keys {
                Some(keys) => keys.next().await,
                None => std::future::pending().await,
            }
        };
        let timer = queue.timers.first_key_value().map(|((at, _), _)| *at);
        let timer_rings = async {
            match timer {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // In this order: what has ended frees a place before anything new is taken.
        tokio::select! {
            biased;
            Some(ended) = runs.join_next_with_id() => {
                let (id, result) = outcome(ended);
                let key = running.remove(&id).expect("every run is entered when it is spawned");
                queue.ended(key, result);
            }
            () = timer_rings => queue.ring(Instant::now()),
            key = next_key => match key {
                Some(key) => queue.add(key),
                None => keys = None,
            }
        }
    }
}

/// A handle that puts keys into a `Keys` stream from anywhere; the same key waiting twice is once.
#[derive(Clone)]
pub struct Feed<K>(Arc<FeedState<K>>);

/// The stream side of a `Feed`.
pub struct Keys<K>(Arc<FeedState<K>>);

struct FeedState<K> {
    waiting: std::sync::Mutex<(VecDeque<K>, std::collections::HashSet<K>, Option<std::task::Waker>)>,
}

/// A feed and its stream; the stream never ends by itself.
pub fn feed<K: Clone + Eq + Hash>() -> (Feed<K>, Keys<K>) {
    let state = Arc::new(FeedState { waiting: std::sync::Mutex::new(Default::default()) });
    (Feed(state.clone()), Keys(state))
}

impl<K: Clone + Eq + Hash> Feed<K> {
    pub fn add(&self, key: K) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if waiting.1.insert(key.clone()) {
            waiting.0.push_back(key);
        }
        if let Some(waker) = waiting.2.take() {
            waker.wake();
        }
    }
}

impl<K: Clone + Eq + Hash> Stream for Keys<K> {
    type Item = K;

    fn poll_next(self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<K>> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match waiting.0.pop_front() {
            Some(key) => {
                waiting.1.remove(&key);
                std::task::Poll::Ready(Some(key))
            }
            None => {
                waiting.2 = Some(cx.waker().clone());
                std::task::Poll::Pending
            }
        }
    }
}

/// What is known of a key that is queued, running, waiting for a timer or has failed.
#[derive(Default)]
struct Entry {
    queued: bool,
    running: bool,
    /// Came while it ran.
    again: bool,
    failures: u32,
    timer: Option<(Instant, u64)>,
}

struct Queue<K> {
    entries: HashMap<K, Entry>,
    ready: VecDeque<K>,
    timers: BTreeMap<(Instant, u64), K>,
    serial: u64,
}

impl<K: Clone + Eq + Hash + Debug> Queue<K> {
    fn new() -> Queue<K> {
        Queue { entries: HashMap::new(), ready: VecDeque::new(), timers: BTreeMap::new(), serial: 0 }
    }

    fn add(&mut self, key: K) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.running {
            entry.again = true;
        } else if !entry.queued {
            entry.queued = true;
            if let Some(timer) = entry.timer.take() {
                self.timers.remove(&timer);
            }
            self.ready.push_back(key);
        }
    }

    fn pop(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        let entry = self.entries.get_mut(&key).expect("what is ready has an entry");
        entry.queued = false;
        entry.running = true;
        Some(key)
    }

    fn ended(&mut self, key: K, result: Result<Requeue, Trouble>) {
        let entry = self.entries.get_mut(&key).expect("what runs has an entry");
        entry.running = false;
        let pause = match result {
            Ok(requeue) => {
                entry.failures = 0;
                match requeue {
                    Requeue::Done => None,
                    Requeue::After(pause) => Some(pause),
                }
            }
            Err(error) => {
                entry.failures += 1;
                let backoff = Backoff { min: PAUSE_MIN, max: PAUSE_MAX, seed: seed_of(&format!("{key:?}")) };
                let pause = backoff.after(entry.failures);
                let (times, text) = (entry.failures, &error.text);
                match error.is_ordinary {
                    true => tracing::debug!("{key:?} failed {times} times, again in {pause:?}: {text}"),
                    false => tracing::warn!("{key:?} failed {times} times, again in {pause:?}: {text}"),
                }
                Some(pause)
            }
        };
        if std::mem::take(&mut entry.again) {
            self.add(key);
        } else if let Some(pause) = pause {
            self.serial += 1;
            let at = (Instant::now() + pause, self.serial);
            entry.timer = Some(at);
            self.timers.insert(at, key);
        } else {
            self.entries.remove(&key);
        }
    }

    fn ring(&mut self, now: Instant) {
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            self.entries.get_mut(&key).expect("a timer belongs to an entry").timer = None;
            self.add(key);
        }
    }
}

/// A failure's words.
struct Trouble {
    text: String,
    is_ordinary: bool,
}

impl Trouble {
    fn of(failure: &impl Failure) -> Trouble {
        Trouble { text: failure.to_string(), is_ordinary: failure.is_ordinary() }
    }
}

fn outcome(ended: Result<(Id, Result<Requeue, Trouble>), JoinError>) -> (Id, Result<Requeue, Trouble>) {
    match ended {
        Ok(ended) => ended,
        Err(error) => {
            let id = error.id();
            let text = match error.try_into_panic() {
                Ok(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without words"))
                }
                Err(error) => error.to_string(),
            };
            (id, Err(Trouble { text, is_ordinary: false }))
        }
    }
}

#[cfg(test)]
mod tests;
