//! Whom to end first, where there are too many. Pure.
//!
//! pkg/controller.ActivePodsWithRanks: who is nowhere yet, not running, not ready, cheaper by its own word, on a node
//! with more of its kind, ready for a shorter time (by powers of two), restarted more often, younger.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use api::Object;
use jiff::Timestamp;

use super::pod::Seen;

/// How much its owner says that ending it costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods in the order in which they are ended. `related` are those of the same application, which share nodes.
pub fn order(mut pods: Vec<(Object, Seen)>, related: &[(Object, Seen)], now: Timestamp) -> Vec<Object> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for (pod, seen) in related {
        if super::pod::is_active(pod, seen) {
            *on_node.entry(&seen.spec.node_name).or_default() += 1;
        }
    }
    let beside = |seen: &Seen| on_node.get(seen.spec.node_name.as_str()).copied().unwrap_or(0);
    pods.sort_by(|(a, of_a), (b, of_b)| compare((a, of_a, beside(of_a)), (b, of_b, beside(of_b)), now));
    pods.into_iter().map(|(pod, _)| pod).collect()
}

fn compare(a: (&Object, &Seen, usize), b: (&Object, &Seen, usize), now: Timestamp) -> Ordering {
    let key = |(pod, seen, beside): (&Object, &Seen, usize)| {
        let phase = match seen.status.phase.as_str() {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        (!seen.spec.node_name.is_empty(), phase, seen.is_ready(), cost(pod), Reverse(beside))
    };
    let ready = |seen: &Seen| seen.is_ready().then(|| seen.ready_since());
    let readiness = || match (ready(a.1), ready(b.1)) {
        (Some(one), Some(other)) => by_age(one, other, now),
        _ => Ordering::Equal,
    };
    let created = |pod: &Object| pod.meta().creation_timestamp.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    key(a)
        .cmp(&key(b))
        .then_with(readiness)
        .then_with(|| restarts(b.1).cmp(&restarts(a.1)))
        .then_with(|| by_age(created(a.0), created(b.0), now))
        .then_with(|| a.0.meta().uid.cmp(&b.0.meta().uid))
}

/// Younger first, where ages of the same power of two are alike; no moment is the youngest. Of those that are alike
/// uids decide last (upstream: at once, which is no order).
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return b.is_none().cmp(&a.is_none()) };
    let rank = |at: Timestamp| match now.duration_since(at).as_nanos() {
        age if age > 0 => i64::from(age.ilog2()),
        _ => -1,
    };
    rank(a).cmp(&rank(b))
}

fn cost(pod: &Object) -> i32 {
    pod.annotation(COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

/// Of the containers, and of the sidecars, each the most.
fn restarts(seen: &Seen) -> (i64, i64) {
    let sidecar =
        |name: &str| seen.spec.init_containers.iter().any(|init| init.name == name && init.restart_policy == "Always");
    let of = |all: &mut dyn Iterator<Item = i64>| all.max().unwrap_or(0);
    let status = &seen.status;
    let sidecars = status.init_container_statuses.iter().filter(|init| sidecar(&init.name));
    (of(&mut status.container_statuses.iter().map(|c| c.restart_count)), of(&mut sidecars.map(|c| c.restart_count)))
}

#[cfg(test)]
mod tests;
