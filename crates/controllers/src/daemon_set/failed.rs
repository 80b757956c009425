//! How long a node waits before its failed pod is ended and another one comes. Pure.
//!
//! client-go's flowcontrol.Backoff with what kube-controller-manager gives it: one second, doubled up to 15 minutes,
//! forgotten after twice that. Law: a node that refuses every pod gets fewer and fewer.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(15 * 60);

/// Of a set (its uid), its generation and a node: how long, and since when.
#[derive(Default)]
pub struct Failed(HashMap<(String, i64, String), (Duration, Instant)>);

impl Failed {
    /// How long its next failed pod stays yet; None: it goes now, and the next one stays longer.
    pub fn wait(&mut self, uid: &str, generation: i64, node: &str, now: Instant) -> Option<Duration> {
        self.0.retain(|_, (_, since)| now.saturating_duration_since(*since) <= MOST * 2);
        let key = (uid.to_owned(), generation, node.to_owned());
        let known = self.0.get(&key).copied();
        let rest = known.map(|(pause, since)| pause.saturating_sub(now.saturating_duration_since(since)));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            return Some(rest);
        }
        let pause = known.map_or(FIRST, |(pause, _)| (pause * 2).min(MOST));
        self.0.insert(key, (pause, now));
        None
    }
}
