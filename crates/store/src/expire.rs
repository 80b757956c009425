//! Deletes entries whose time to live has passed, as ordinary writes with ordinary changes.
//!
//! One task sleeps until the next deadline; without one it does not wake at all. Deadlines within
//! the same few seconds are one wake-up. An entry written again meanwhile is a conflict and stays.

use std::sync::Weak;
use std::time::Duration;

use futures::future::join_all;

use crate::store::Inner;

/// Deadlines this close together share one wake-up; a refused deletion is tried again after it.
const COALESCE: Duration = Duration::from_secs(5);
/// Deletions in one go, so that a thousand old entries do not crowd out other writers.
const AT_ONCE: usize = 64;

pub(crate) async fn run(store: Weak<Inner>) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        let now = inner.shared.now();
        let due = inner.shared.read().expired(now, AT_ONCE);
        let full = due.len() == AT_ONCE;
        let results = join_all(due.into_iter().map(|step| inner.write(vec![step]))).await;
        if full && results.iter().all(Result::is_ok) {
            continue;
        }
        let pause = inner.shared.read().next_deadline().map(|at| at.saturating_sub(now).max(COALESCE));
        let earlier = inner.shared.earlier_deadline.clone();
        // The store lives as long as its users: this task must not hold it while it waits.
        drop(inner);
        match pause {
            None => earlier.notified().await,
            Some(pause) => tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = earlier.notified() => {}
            },
        }
    }
}
