//! What all actors of a node share: its settings, its engines, its ledger, its voice.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::Resource;
use client::recorder::Type;
use client::{Client, Recorder};
use jiff::SignedDuration;
use runtime::Engine;

use crate::admit::{Ledger, Offer};
use crate::config::Config;
use crate::downward;
use crate::look::Looker;
use crate::network::Network;
use crate::plan::Facts;
use crate::pod::Part;
use crate::pressure::Condition;
use crate::sources::Sources;
use crate::spec::Settings;
use crate::subject::Subject;
use crate::volumes::Volumes;

pub struct Shared {
    pub config: Config,
    /// What specs depend on.
    pub settings: Settings,
    /// What plan and report depend on.
    pub facts: Facts,
    pub client: Client,
    pub pods: &'static Resource,
    pub engine: Arc<dyn Engine>,
    pub network: Arc<dyn Network>,
    pub sources: Arc<dyn Sources>,
    pub volumes: Volumes,
    pub looker: Looker,
    pub recorder: Recorder,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) offer: Mutex<Arc<Offer>>,
    /// Counts releases of what pods held, and new offers: a deferred resize is judged anew.
    pub freed: tokio::sync::watch::Sender<u64>,
    /// What the node is short of.
    pub(crate) pressure: Mutex<Vec<Condition>>,
    /// The runtime has been out of reach for too long.
    pub(crate) runtime_down: AtomicBool,
    /// Rung when the node's images or conditions may have changed.
    pub node_changed: tokio::sync::Notify,
    /// Rung when there is more to sample.
    pub sampled: tokio::sync::Notify,
}

impl Shared {
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod no longer holds what it was promised.
    pub fn release(&self, uid: &str) {
        self.ledger().release(uid);
        self.freed.send_modify(|n| *n += 1);
    }

    /// What the node is short of, or was until a moment ago.
    pub fn conditions(&self) -> Vec<Condition> {
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_conditions(&self, conditions: Vec<Condition>) {
        *self.pressure.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
        self.node_changed.notify_one();
    }

    /// What the node offers now.
    pub fn offer(&self) -> Arc<Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_offer(&self, offer: Offer) {
        *self.offer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(offer);
        self.freed.send_modify(|n| *n += 1);
    }

    /// An event about a pod, or one of its containers.
    pub fn event(&self, subject: &Subject, part: Option<&Part<'_>>, class: Type, reason: &str, message: &str) {
        let path = part.map(Part::field_path).unwrap_or_default();
        self.recorder.event(subject.reference(), &path, class, reason, message);
    }

    /// A random part of a period.
    pub fn fraction_of(&self, period: SignedDuration) -> SignedDuration {
        let mut random = [0u8; 4];
        (self.config.entropy)(&mut random);
        let part = i128::from(u32::from_le_bytes(random));
        let nanos = period.as_nanos() * part / i128::from(u32::MAX);
        SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(0))
    }

    /// What the downward API may tell a pod with these addresses.
    pub fn downward(&self, pod_ips: Vec<String>) -> downward::Facts {
        let offer = self.offer();
        let quantity = |(name, milli): (&String, &i64)| (name.clone(), format!("{milli}m"));
        downward::Facts {
            node_name: self.config.node_name.clone(),
            host_ips: self.facts.host_ips.clone(),
            pod_ips,
            allocatable: offer.allocatable.iter().map(quantity).collect(),
        }
    }
}
