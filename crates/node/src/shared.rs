//! What all actors of a node share: its settings, its engines, its ledger, its voice.

use std::sync::Arc;

use client::recorder::Type;
use client::{Client, Recorder};
use jiff::SignedDuration;
use runtime::Engine;

use crate::config::Config;
use crate::downward;
use crate::look::Looker;
use crate::network::Network;
use crate::plan::Facts;
use crate::pod::Part;
use crate::promises::Promises;
use crate::sources::Sources;
use crate::spec::Settings;
use crate::standing::Standing;
use crate::subject::Subject;
use crate::volumes::Volumes;

pub struct Shared {
    pub config: Config,
    /// What specs depend on.
    pub settings: Settings,
    /// What plan and report depend on.
    pub facts: Facts,
    pub client: Client,
    pub engine: Arc<dyn Engine>,
    pub network: Arc<dyn Network>,
    pub sources: Arc<dyn Sources>,
    pub volumes: Volumes,
    pub looker: Looker,
    pub recorder: Recorder,
    pub promises: Promises,
    pub standing: Standing,
    /// Rung when there is more to sample.
    pub sampled: tokio::sync::Notify,
}

impl Shared {
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
        let offer = self.promises.offer();
        let quantity = |(name, milli): (&String, &i64)| (name.clone(), format!("{milli}m"));
        downward::Facts {
            node_name: self.config.node_name.clone(),
            host_ips: self.facts.host_ips.clone(),
            pod_ips,
            allocatable: offer.allocatable.iter().map(quantity).collect(),
        }
    }
}
