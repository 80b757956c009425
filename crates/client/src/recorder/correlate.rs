//! Which events are written, and how: pure, as client-go tools/record/events_cache.go decides.
//!
//! Three caches by hashed key: similar events (all but the message), the same event, and a bucket
//! per source and object. Each is bounded; the entry unused for longest goes.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use super::Said;

/// client-go: maxLruCacheEntries
const ENTRIES_MAX: usize = 4096;
/// client-go: defaultAggregateMaxEvents, defaultAggregateIntervalInSeconds
const SIMILAR_MAX: usize = 10;
const SIMILAR_SECONDS: f64 = 600.0;
/// client-go: defaultSpamBurst, defaultSpamQPS
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Create {
        message: String,
    },
    /// The event `name`, first seen at `first`, happened `count` times.
    Count {
        name: String,
        message: String,
        count: u32,
        first: Timestamp,
    },
    Skip,
}

#[derive(Default)]
pub(super) struct Correlator {
    similar: Recent<Similar>,
    observed: Recent<Observed>,
    buckets: Recent<Bucket>,
}

struct Similar {
    messages: HashSet<u64>,
    last: Timestamp,
}

struct Observed {
    name: String,
    count: u32,
    first: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Correlator {
    /// Judges one event; `name` is the name that it gets if it is created.
    pub fn judge(&mut self, component: &str, host: &str, said: &Said, name: &str) -> Verdict {
        let r = &said.regarding;
        let object = (component, host, &r.kind, &r.namespace, &r.name, &r.uid, &r.api_version);
        let group = hash(&("group", object, said.class, &said.reason));
        let (key, message) = match self.are_many(group, said) {
            true => (group, format!("(combined from similar events): {}", said.message)),
            false => {
                let key = hash(&("event", object, &r.field_path, said.class, &said.reason, &said.message));
                (key, said.message.clone())
            }
        };
        let verdict = match self.observed.get(key) {
            Some(seen) => {
                seen.count += 1;
                Verdict::Count { name: seen.name.clone(), message, count: seen.count, first: seen.first }
            }
            None => {
                self.observed.put(key, Observed { name: name.into(), count: 1, first: said.at });
                Verdict::Create { message }
            }
        };
        if self.take_token(hash(&("bucket", object)), said.at) { verdict } else { Verdict::Skip }
    }

    /// Whether this is the tenth different message, or a later one, within ten minutes of the last.
    fn are_many(&mut self, group: u64, said: &Said) -> bool {
        let message = hash(&said.message);
        match self.similar.get(group) {
            Some(similar) if seconds_between(similar.last, said.at) <= SIMILAR_SECONDS => {
                similar.last = said.at;
                similar.messages.insert(message);
                if similar.messages.len() < SIMILAR_MAX {
                    return false;
                }
                let any = similar.messages.iter().next().copied();
                any.map(|any| similar.messages.remove(&any));
                true
            }
            _ => {
                self.similar.put(group, Similar { messages: HashSet::from([message]), last: said.at });
                false
            }
        }
    }

    fn take_token(&mut self, key: u64, now: Timestamp) -> bool {
        let Some(bucket) = self.buckets.get(key) else {
            self.buckets.put(key, Bucket { tokens: BURST - 1.0, at: now });
            return true;
        };
        bucket.tokens = (bucket.tokens + seconds_between(bucket.at, now) * REFILL_PER_SECOND).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// A bounded map that forgets what was unused for longest.
struct Recent<T> {
    entries: HashMap<u64, (u64, T)>,
    uses: u64,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent { entries: HashMap::new(), uses: 0 }
    }
}

impl<T> Recent<T> {
    fn get(&mut self, key: u64) -> Option<&mut T> {
        self.uses += 1;
        let (used, entry) = self.entries.get_mut(&key)?;
        *used = self.uses;
        Some(entry)
    }

    fn put(&mut self, key: u64, entry: T) {
        if self.entries.len() >= ENTRIES_MAX {
            // A walk, but only once in a while: an eighth goes at once.
            let mut uses: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
            let (_, oldest, _) = uses.select_nth_unstable(ENTRIES_MAX / 8);
            let oldest = *oldest;
            self.entries.retain(|_, (used, _)| *used > oldest);
        }
        self.uses += 1;
        self.entries.insert(key, (self.uses, entry));
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
