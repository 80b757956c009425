//! Which packets of other nodes are believed, as a rule set of its own.
//!
//! Pods' addresses say who speaks, so that a packet from one is believed only where the way back to it leads; and
//! what is wrapped for our tunnel only if a peer wrapped it.

use super::Plan;
use crate::rules::{Base, Chain, Family, Field, Hook, Part, RuleSet, Set, Step};
use crate::spec::Config;

/// Just after each link is held to its own pod.
const GUARD: Base = Base { kind: "filter", hook: Hook::Prerouting, priority: -299 };
const MASQUERADE: Base = Base { kind: "nat", hook: Hook::Postrouting, priority: 100 };

pub(crate) fn table(config: &Config) -> String {
    config.table() + "-peers"
}

pub(crate) fn rules(config: &Config, plan: &Plan) -> RuleSet {
    let addresses = plan.ends.values().map(|end| end.address.octets().to_vec()).collect();
    let peers = Set::of("peers", &[Field::Address], addresses);
    let stranger = Step::In { set: "peers".into(), key: vec![Part::Source], inside: false };
    let mut guard = vec![vec![Step::Source(config.cluster_cidr), Step::NoWayBack, Step::Drop]];
    let mut masquerade = Vec::new();
    if let Some(device) = &plan.device {
        guard.push(vec![Step::Wrapped { port: device.port, id: device.id }, stranger, Step::Drop]);
        // The machine's other addresses: answers to them would come another way, and be dropped.
        let from_outside = Step::NotSource(config.cluster_cidr);
        masquerade.push(vec![Step::ToLink(config.tunnel()), from_outside, Step::Masquerade]);
    }
    RuleSet {
        family: Family::V4,
        table: table(config),
        sets: vec![peers],
        chains: vec![
            Chain { name: "guard".into(), base: Some(GUARD), rules: guard },
            Chain { name: "postrouting".into(), base: Some(MASQUERADE), rules: masquerade },
        ],
    }
}
