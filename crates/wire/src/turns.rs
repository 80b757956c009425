//! Large heads of strangers take turns.
//!
//! Before a request has its head nobody knows who asks, and it costs nothing to begin very many. A head of
//! an ordinary size is read at once; what is larger waits until it is one of few under way in this process.
//! The time that a head may take ends the waiting too.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// Bytes of a head that wait for nothing.
const SMALL: usize = 16 << 10;
/// Larger ones under way.
pub const LARGE_AT_ONCE: usize = 64;

static LARGE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LARGE_AT_ONCE)));

/// The head that a connection reads; at first there is one.
#[derive(Clone, Debug, Default)]
pub struct Head(Arc<Mutex<Reading>>);

#[derive(Debug, Default)]
struct Reading {
    /// The head has ended: what is read now is counted elsewhere.
    over: bool,
    bytes: usize,
    turn: Option<OwnedSemaphorePermit>,
}

impl Head {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ends(&self) {
        *self.lock() = Reading { over: true, ..Reading::default() };
    }

    /// The next one.
    pub fn begins(&self) {
        *self.lock() = Reading::default();
    }
}

/// What a connection waits for before it reads on.
pub struct Turns {
    head: Head,
    wanted: PollSemaphore,
}

impl Turns {
    pub fn new(head: Head) -> Turns {
        Turns { head, wanted: PollSemaphore::new(LARGE.clone()) }
    }

    /// Ready when more may be read.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut reading = self.head.lock();
        if !reading.over && reading.bytes > SMALL && reading.turn.is_none() {
            reading.turn = ready!(self.wanted.poll_acquire(cx));
        }
        Poll::Ready(())
    }

    pub fn count(&mut self, bytes: usize) {
        self.head.lock().bytes += bytes;
    }
}
