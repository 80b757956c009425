//! How fast failing nodes may drive their pods away: by zones, and how much of a zone fails.
//!
//! pkg/controller/nodelifecycle (ComputeZoneState, handleDisruption, RateLimitedTimedQueue). Pure: time is handed in,
//! nodes ask for their turn and are told when to ask again. Law: in a zone no more nodes are tainted than its rate
//! allows, and none where all zones are down, for then it is we who are cut off.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// How failing nodes are found and how fast their pods are driven away: kube-controller-manager's flags of the same
/// names (cmd/kube-controller-manager/app/options/nodelifecyclecontroller.go).
#[derive(Clone, Debug, PartialEq)]
pub struct NodeMonitor {
    /// A node that is silent for longer turns Unknown.
    pub grace_period: Duration,
    /// The same for one that never told its status.
    pub startup_grace_period: Duration,
    /// Nodes a second whose pods may be driven away, in a zone that is well.
    pub eviction_rate: f32,
    /// In a large zone that is not; in a small one, none.
    pub secondary_eviction_rate: f32,
    /// A zone of more nodes is large.
    pub large_cluster_size_threshold: usize,
    /// The part of a zone's nodes from which on, three at least, it is not well.
    pub unhealthy_zone_threshold: f32,
}

impl Default for NodeMonitor {
    fn default() -> NodeMonitor {
        NodeMonitor {
            grace_period: Duration::from_secs(50),
            startup_grace_period: Duration::from_secs(60),
            eviction_rate: 0.1,
            secondary_eviction_rate: 0.01,
            large_cluster_size_threshold: 50,
            unhealthy_zone_threshold: 0.55,
        }
    }
}

/// A node that says nothing about the health of the others.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// How much of a zone fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not judged yet.
    Initial,
    Normal,
    PartialDisruption,
    FullDisruption,
}

/// What of a node counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Region and zone; empty without both.
    zone: String,
    is_ready: bool,
    counts: bool,
}

/// What changed as the zones were judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    None,
    /// In some zone: those who wait may ask again.
    Some,
    /// No node is ready any more: nobody is driven away.
    AllDown,
    /// One is again: silence counts anew from here.
    UpAgain,
}

/// A node's turn to drive its pods away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Now,
    After(Duration),
    /// Until the state of its zone changes.
    Held,
}

/// All zones, and which nodes wait in each for their turn.
pub struct Zones {
    monitor: NodeMonitor,
    nodes: HashMap<String, Sight>,
    zones: BTreeMap<String, Zone>,
}

struct Zone {
    /// Nodes of it, those too that do not count.
    members: usize,
    state: State,
    ready: usize,
    unready: usize,
    bucket: Bucket,
    waiting: VecDeque<String>,
}

/// A bucket for one token (EvictionRateLimiterBurst), filled at a rate.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Tokens a second; none at 0.
    rate: f32,
    /// From when on the token is there.
    full_at: Instant,
}

impl Sight {
    pub fn of(node: &Value) -> Sight {
        let labels = &node["metadata"]["labels"];
        let counts = labels.get(EXCLUDED).is_none();
        Sight { zone: zone_of(labels), is_ready: super::is_ready(node), counts }
    }
}

/// As component-helpers' GetZoneKey: the older labels first.
fn zone_of(labels: &Value) -> String {
    let either = |old: &str, new: &str| labels[old].as_str().or(labels[new].as_str()).unwrap_or_default().to_string();
    let zone = either("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    let region = either("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
    if zone.is_empty() && region.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

/// ComputeZoneState: pure.
fn state_of(ready: usize, unready: usize, monitor: &NodeMonitor) -> State {
    let failing = unready as f32 / (unready + ready) as f32;
    match (ready, unready) {
        (0, 1..) => State::FullDisruption,
        (_, 3..) if failing >= monitor.unhealthy_zone_threshold => State::PartialDisruption,
        _ => State::Normal,
    }
}

/// Nodes a second in a zone of that state and size, where not all zones are down.
fn rate_of(state: State, size: usize, monitor: &NodeMonitor) -> f32 {
    match state {
        State::PartialDisruption if size > monitor.large_cluster_size_threshold => monitor.secondary_eviction_rate,
        State::PartialDisruption => 0.0,
        // Of a zone that is gone as a whole, while others are not, the nodes are gone.
        State::Initial | State::Normal | State::FullDisruption => monitor.eviction_rate,
    }
}

impl Zones {
    pub fn new(monitor: NodeMonitor) -> Zones {
        Zones { monitor, nodes: HashMap::new(), zones: BTreeMap::new() }
    }

    /// A node as it is now; None: it is gone.
    pub fn count(&mut self, name: &str, sight: Option<Sight>, now: Instant) {
        let before = match &sight {
            Some(sight) => self.nodes.insert(name.into(), sight.clone()),
            None => self.nodes.remove(name),
        };
        if before == sight {
            return;
        }
        if let Some(before) = before {
            if sight.as_ref().is_none_or(|sight| sight.zone != before.zone) {
                self.leave(name);
            }
            let zone = self.zones.get_mut(&before.zone).expect("a node that is known made its zone");
            *zone.of(&before) -= usize::from(before.counts);
            zone.members -= 1;
            if zone.members == 0 && sight.as_ref().is_none_or(|sight| sight.zone != before.zone) {
                self.zones.remove(&before.zone);
            }
        }
        if let Some(sight) = sight {
            let rate = self.monitor.eviction_rate;
            let zone = self.zones.entry(sight.zone.clone()).or_insert_with(|| Zone::new(rate, now));
            *zone.of(&sight) += usize::from(sight.counts);
            zone.members += 1;
        }
    }

    /// Judges all zones; those without a node that counts have no state (handleDisruption).
    pub fn judge(&mut self, now: Instant) -> Shift {
        let monitor = &self.monitor;
        let counted = || self.zones.values().filter(|zone| zone.size() > 0);
        let are_down = counted().all(|zone| state_of(zone.ready, zone.unready, monitor) == State::FullDisruption);
        let were_down = counted().all(|zone| zone.state == State::FullDisruption);
        let mut is_changed = false;
        for zone in self.zones.values_mut() {
            if zone.size() == 0 {
                zone.state = State::Initial;
                continue;
            }
            let state = state_of(zone.ready, zone.unready, monitor);
            let rate = if are_down { 0.0 } else { rate_of(state, zone.size(), monitor) };
            // A rate follows a change of the state, or of all.
            if zone.state != state || are_down != were_down {
                zone.bucket.set(rate, now);
                is_changed = true;
            }
            zone.state = state;
        }
        match (were_down, are_down) {
            (false, true) => Shift::AllDown,
            (true, false) => Shift::UpAgain,
            _ if is_changed => Shift::Some,
            _ => Shift::None,
        }
    }

    /// Whether it is this node's turn: the first of its zone who waits takes the token.
    pub fn ask(&mut self, name: &str, now: Instant) -> Turn {
        let Some(zone) = self.nodes.get(name).and_then(|sight| self.zones.get_mut(&sight.zone)) else {
            return Turn::Held;
        };
        let place = zone.waiting.iter().position(|waiting| waiting == name).unwrap_or_else(|| {
            zone.waiting.push_back(name.into());
            zone.waiting.len() - 1
        });
        let Some(rest) = zone.bucket.rest(place, now) else { return Turn::Held };
        if place == 0 && rest.is_zero() {
            zone.waiting.pop_front();
            zone.bucket.take(now);
            return Turn::Now;
        }
        Turn::After(rest)
    }

    /// It does not wait any more; those behind it, whose turn comes earlier.
    pub fn leave(&mut self, name: &str) -> Vec<String> {
        for zone in self.zones.values_mut() {
            if let Some(place) = zone.waiting.iter().position(|waiting| waiting == name) {
                zone.waiting.remove(place);
                return zone.waiting.iter().skip(place).cloned().collect();
            }
        }
        Vec::new()
    }

    pub fn waiting(&self) -> Vec<String> {
        self.zones.values().flat_map(|zone| zone.waiting.iter().cloned()).collect()
    }

    /// Whether there are nodes that count and none of them is ready, as judged last.
    pub fn are_all_down(&self) -> bool {
        let mut counted = self.zones.values().filter(|zone| zone.size() > 0).peekable();
        counted.peek().is_some() && counted.all(|zone| zone.state == State::FullDisruption)
    }
}

impl Zone {
    fn new(rate: f32, now: Instant) -> Zone {
        let bucket = Bucket { rate, full_at: now };
        Zone { members: 0, state: State::Initial, ready: 0, unready: 0, bucket, waiting: VecDeque::new() }
    }

    fn of(&mut self, sight: &Sight) -> &mut usize {
        if sight.is_ready { &mut self.ready } else { &mut self.unready }
    }

    fn size(&self) -> usize {
        self.ready + self.unready
    }
}

impl Bucket {
    /// How long until the token is there for who has so many before them; None: it never is.
    fn rest(&self, before: usize, now: Instant) -> Option<Duration> {
        let next = self.full_at.saturating_duration_since(now);
        match self.rate > 0.0 {
            true => Some(next + self.span().saturating_mul(u32::try_from(before).unwrap_or(u32::MAX))),
            false => None,
        }
    }

    fn take(&mut self, now: Instant) {
        self.full_at = now + self.span();
    }

    /// Between two tokens; a day where the rate is near nothing.
    fn span(&self) -> Duration {
        Duration::try_from_secs_f32(1.0 / self.rate).unwrap_or(Duration::MAX).min(Duration::from_secs(24 * 3600))
    }

    /// Another rate; where no token was there, the new bucket is empty too (SwapLimiter).
    fn set(&mut self, rate: f32, now: Instant) {
        if self.rate == rate {
            return;
        }
        let is_full = self.rate > 0.0 && self.full_at <= now;
        self.rate = rate;
        self.full_at = now;
        if !is_full && rate > 0.0 {
            self.take(now);
        }
    }
}

#[cfg(test)]
mod tests;
