//! Services on this node: which address and port leads to which endpoints.
//!
//! A change of a service or of one of its slices plans that service anew, and whoever claims an address beside it.
//! Law: after any history what is served is what would be made of all objects at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use client::Key;
use net::services::{At, Port};

/// Which of a service's endpoints this node uses.
mod endpoints;
/// Following the objects.
mod follow;
/// Who asks whether this node serves.
mod health;
/// One service's ports.
mod served;

pub use follow::{Follow, run};
pub use health::Health;
pub use served::{Here, Rank, Served, Slice, served};

/// What goes to an address of this node instead of to endpoints.
pub type Local = BTreeMap<At, SocketAddr>;

/// Everything that is served here. Who claims what somebody has already gets nothing: addresses in the cluster go
/// before those of load balancers, these before external addresses, which any user may write into a service, and
/// the older service before the younger.
#[derive(Default)]
pub struct Table {
    services: BTreeMap<Key, Vec<Served>>,
    claims: HashMap<At, BTreeSet<Claim>>,
    /// What `net` was told of each service.
    told: BTreeMap<Key, Vec<At>>,
}

/// In the order of who wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    rank: Rank,
    /// RFC 3339, whole seconds.
    since: String,
    service: Key,
    /// The port's address in the cluster.
    port: At,
}

impl Table {
    /// Plans these services anew and says what that changes; None: there is no such service.
    pub fn change(&mut self, services: Vec<(Key, Option<Vec<Served>>)>) -> BTreeMap<At, Option<Port>> {
        let mut touched = BTreeSet::new();
        for (key, planned) in services {
            for old in self.services.remove(&key).unwrap_or_default() {
                for (at, claim) in claims(&key, &old) {
                    let Some(all) = self.claims.get_mut(&at) else { continue };
                    all.remove(&claim);
                    touched.extend(all.first().map(|next| next.service.clone()));
                    if all.is_empty() {
                        self.claims.remove(&at);
                    }
                }
            }
            for new in planned.iter().flatten() {
                for (at, claim) in claims(&key, new) {
                    let all = self.claims.entry(at).or_default();
                    touched.extend(all.first().map(|before| before.service.clone()));
                    all.insert(claim);
                }
            }
            if let Some(planned) = planned.filter(|planned| !planned.is_empty()) {
                self.services.insert(key.clone(), planned);
            }
            touched.insert(key);
        }
        let mut changes = BTreeMap::new();
        for key in &touched {
            changes.extend(self.told.remove(key).into_iter().flatten().map(|at| (at, None)));
        }
        for key in touched {
            let ports = self.ports(&key);
            if !ports.is_empty() {
                self.told.insert(key, ports.iter().map(|(at, _)| *at).collect());
            }
            changes.extend(ports.into_iter().map(|(at, port)| (at, Some(port))));
        }
        changes
    }

    /// All that is served.
    pub fn all(&self) -> BTreeMap<At, Port> {
        self.services.keys().flat_map(|key| self.ports(key)).collect()
    }

    /// What a service has of what it claims.
    fn ports(&self, key: &Key) -> Vec<(At, Port)> {
        let planned = self.services.get(key).into_iter().flatten();
        planned
            .filter(|served| self.has(key, served.at, served.at))
            .map(|served| {
                let mut port = served.port.clone();
                port.frontends.retain(|frontend| self.has(key, served.at, frontend.at));
                (served.at, port)
            })
            .collect()
    }

    fn has(&self, key: &Key, port: At, at: At) -> bool {
        let first = self.claims.get(&at).and_then(BTreeSet::first);
        first.is_some_and(|claim| claim.service == *key && claim.port == port)
    }
}

fn claims<'a>(key: &'a Key, served: &'a Served) -> impl Iterator<Item = (At, Claim)> + 'a {
    served.port.frontends.iter().zip(&served.ranks).map(|(frontend, rank)| {
        let (since, service) = (served.since.clone(), key.clone());
        (frontend.at, Claim { rank: *rank, since, service, port: served.at })
    })
}

#[cfg(test)]
mod tests;
