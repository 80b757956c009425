//! Since when what endpoints tell is so: the annotation by which the way of a change is measured.
//!
//! staging/src/k8s.io/endpointslice/util, TriggerTimeTracker: of what changed since the last look the earliest time;
//! none where nothing tells one; of a Service that is seen for the first time, its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use client::Key;
use jiff::Timestamp;

use super::Pod;

/// What the last look at each Service showed.
#[derive(Default)]
pub struct Triggers(Mutex<HashMap<Key, Known>>);

#[derive(Default)]
struct Known {
    service: Option<Timestamp>,
    /// By name.
    pods: HashMap<Arc<str>, Timestamp>,
}

impl Triggers {
    /// The time that is told where this look changes something; called at every look.
    pub fn look(&self, service: &Key, created: Option<Timestamp>, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(service);
        let is_new = before.is_none();
        let mut before = before.unwrap_or_default();
        let mut earliest = created.filter(|created| before.service.is_none_or(|known| *created > known));
        let mut now = HashMap::with_capacity(pods.len());
        for (pod, since) in pods.iter().filter_map(|pod| Some((pod, pod.since?))) {
            let known = before.pods.remove_entry(pod.name.as_str());
            if known.as_ref().is_none_or(|(_, known)| since > *known) {
                earliest = Some(earliest.map_or(since, |earliest| earliest.min(since)));
            }
            now.insert(known.map_or_else(|| pod.name.as_str().into(), |(name, _)| name), since);
        }
        all.insert(service.clone(), Known { service: created, pods: now });
        if is_new { created } else { earliest }
    }

    pub fn forget(&self, service: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
    }
}
