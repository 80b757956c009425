//! Pods that wait for a place: ready ones by priority, failed ones until something relevant changes.
//!
//! Matches pkg/scheduler/backend/queue: a pod that was refused sleeps; a change that one of the
//! filters which refused it wakes for (`hints`) brings it back, after a back-off of 1 s doubling to 10 s,
//! which is waived while nobody else is ready. After five minutes it is tried in any case. Pure but for the
//! instants that it is given.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::pod::Pod;

const ASLEEP_MAX: Duration = Duration::from_secs(5 * 60);

/// How long a pod that was tried waits at least and at most.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { min: Duration::from_secs(1), max: Duration::from_secs(10) }
    }
}

#[derive(Debug, Default)]
pub struct Queue {
    backoff: Backoff,
    entries: HashMap<Arc<str>, Entry>,
    /// By priority, then by arrival.
    ready: BTreeMap<(Reverse<i64>, u64), Arc<str>>,
    /// By the end of the back-off. An error's back-off is always waited for.
    pausing: BTreeMap<(Instant, u64), (Arc<str>, Pause)>,
    /// By the time at which it is tried in any case.
    asleep: BTreeMap<(Instant, u64), Arc<str>>,
    /// How many of these a filter refused; under "" those that none did.
    sleepers: BTreeMap<&'static str, usize>,
    serial: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    Refused,
    Failed,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    attempts: u32,
    arrival: u64,
    last: Option<Instant>,
    refused_by: BTreeSet<&'static str>,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready,
    Pausing((Instant, u64)),
    Asleep((Instant, u64)),
    /// Being placed or bound right now.
    Out,
}

impl Queue {
    pub fn new(backoff: Backoff) -> Queue {
        Queue { backoff, ..Queue::default() }
    }

    /// A pod that needs a place, new or changed. A new spec or new labels are tried at once.
    pub fn put(&mut self, pod: Arc<Pod>) {
        let uid = pod.uid.clone();
        match self.entries.get_mut(&uid) {
            None => {
                self.serial += 1;
                let entry = Entry {
                    pod,
                    attempts: 0,
                    arrival: self.serial,
                    last: None,
                    refused_by: BTreeSet::new(),
                    place: Place::Out,
                };
                self.entries.insert(uid.clone(), entry);
                self.make_ready(&uid);
            }
            Some(entry) => {
                let looks_at_labels = |name: &str| matches!(name, "PodTopologySpread" | "InterPodAffinity");
                let changed = entry.pod.generation != pod.generation
                    || (entry.pod.labels != pod.labels && entry.refused_by.iter().any(|name| looks_at_labels(name)));
                entry.pod = pod;
                if changed && matches!(entry.place, Place::Asleep(_)) {
                    self.make_ready(&uid);
                }
            }
        }
    }

    pub fn remove(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get(uid) {
            let (place, arrival, priority) = (entry.place, entry.arrival, entry.pod.priority);
            self.leave(place, priority, arrival, uid);
            self.entries.remove(uid);
        }
    }

    pub fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.entries.get(uid).map(|e| &e.pod)
    }

    /// The next pod to place; it stays known until it is removed, refused or failed.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<Pod>> {
        self.ring(now);
        let uid = match self.ready.pop_first() {
            Some((_, uid)) => uid,
            None => {
                let at = self.pausing.iter().find(|(_, (_, pause))| *pause == Pause::Refused).map(|(at, _)| *at)?;
                self.pausing.remove(&at)?.0
            }
        };
        let entry = self.entries.get_mut(&uid).expect("what is queued has an entry");
        entry.place = Place::Out;
        entry.attempts += 1;
        entry.last = Some(now);
        Some(entry.pod.clone())
    }

    /// No node took the pod: it sleeps until a change that matters.
    pub fn refused(&mut self, uid: &str, refused_by: BTreeSet<&'static str>, now: Instant) {
        self.serial += 1;
        let at = (now + ASLEEP_MAX, self.serial);
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.refused_by = refused_by;
            entry.place = Place::Asleep(at);
            for name in names(&entry.refused_by) {
                *self.sleepers.entry(name).or_default() += 1;
            }
            self.asleep.insert(at, entry.pod.uid.clone());
        }
    }

    /// It was not its turn: it sleeps on as before, and was not tried.
    pub fn postpone(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.attempts -= 1;
            let refused_by = entry.refused_by.clone();
            self.refused(uid, refused_by, now);
        }
    }

    /// Binding went wrong: again after the back-off.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.entries.get(uid) {
            let at = now + self.backoff.after(entry.attempts);
            self.pause(uid, at, Pause::Failed);
        }
    }

    /// It is tried again after its back-off, whatever it sleeps on.
    pub fn retry(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.entries.get(uid).filter(|entry| matches!(entry.place, Place::Asleep(_))) {
            self.rouse(&entry.pod.uid.clone(), now);
        }
    }

    /// Something changed: wakes the pods that it may let in, as `is_due` says of each and who refused it.
    /// Nobody is asked if no sleeper was refused by a filter that `is_heard_by` it.
    pub fn wake(
        &mut self,
        now: Instant,
        is_heard_by: impl Fn(&str) -> bool,
        is_due: impl Fn(&Pod, &BTreeSet<&'static str>) -> bool,
    ) {
        if !self.sleepers.iter().any(|(name, number)| *number > 0 && is_heard_by(name)) {
            return;
        }
        let concerned = |entry: &Entry| is_due(&entry.pod, &entry.refused_by);
        let woken: Vec<Arc<str>> =
            self.asleep.values().filter(|uid| self.entries.get(*uid).is_some_and(concerned)).cloned().collect();
        for uid in woken {
            self.rouse(&uid, now);
        }
    }

    fn rouse(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.entries.get(uid) else { return };
        let until = entry.last.map_or(now, |last| last + self.backoff.after(entry.attempts));
        match until > now {
            true => self.pause(uid, until, Pause::Refused),
            false => self.make_ready(uid),
        }
    }

    /// When `pop` may have something that it does not have now.
    pub fn next_ring(&self) -> Option<Instant> {
        let pausing = self.pausing.first_key_value().map(|((at, _), _)| *at);
        let asleep = self.asleep.first_key_value().map(|((at, _), _)| *at);
        [pausing, asleep].into_iter().flatten().min()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn ring(&mut self, now: Instant) {
        while let Some(((at, _), (uid, _))) = self.pausing.first_key_value()
            && *at <= now
        {
            let uid = uid.clone();
            self.make_ready(&uid);
        }
        while let Some(((at, _), uid)) = self.asleep.first_key_value()
            && *at <= now
        {
            let uid = uid.clone();
            self.make_ready(&uid);
        }
    }

    fn make_ready(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let before = std::mem::replace(&mut entry.place, Place::Ready);
        let (priority, arrival, uid) = (entry.pod.priority, entry.arrival, entry.pod.uid.clone());
        self.leave(before, priority, arrival, &uid);
        self.ready.insert((Reverse(priority), arrival), uid);
    }

    fn pause(&mut self, uid: &str, until: Instant, pause: Pause) {
        self.serial += 1;
        let at = (until, self.serial);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let before = std::mem::replace(&mut entry.place, Place::Pausing(at));
        let (priority, arrival, uid) = (entry.pod.priority, entry.arrival, entry.pod.uid.clone());
        self.leave(before, priority, arrival, &uid);
        self.pausing.insert(at, (uid, pause));
    }

    fn leave(&mut self, place: Place, priority: i64, arrival: u64, uid: &str) {
        match place {
            Place::Ready => {
                self.ready.remove(&(Reverse(priority), arrival));
            }
            Place::Pausing(at) => {
                self.pausing.remove(&at);
            }
            Place::Asleep(at) => {
                self.asleep.remove(&at);
                for name in self.entries.get(uid).into_iter().flat_map(|entry| names(&entry.refused_by)) {
                    if let Some(number) = self.sleepers.get_mut(name) {
                        *number -= 1;
                    }
                }
            }
            Place::Out => {}
        }
    }
}

/// Those that refused a pod; "" if nobody did.
fn names(refused_by: &BTreeSet<&'static str>) -> impl Iterator<Item = &'static str> {
    let nobody = refused_by.is_empty().then_some("");
    nobody.into_iter().chain(refused_by.iter().copied())
}

impl Backoff {
    fn after(self, attempts: u32) -> Duration {
        let doubled = self.min.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(31)));
        doubled.min(self.max)
    }
}

#[cfg(test)]
mod tests;
