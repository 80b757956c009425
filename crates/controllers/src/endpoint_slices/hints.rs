//! Whose traffic an endpoint is for, by `spec.trafficDistribution`. Pure.
//!
//! staging/src/k8s.io/endpointslice/trafficdist: what is ready is for its own zone, and with PreferSameNode for its own
//! node too; who serves the others is the proxies' affair.

use super::pack::Changes;
use super::slice::{Endpoint, Hints, Named, Slice};

/// What a Service may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    SameZone,
    SameNode,
}

impl Distribution {
    /// None: it asks for nothing that is known.
    pub fn of(text: &str) -> Option<Distribution> {
        match text {
            "PreferClose" | "PreferSameZone" => Some(Distribution::SameZone),
            "PreferSameNode" => Some(Distribution::SameNode),
            _ => None,
        }
    }

    /// What a ready endpoint hints at.
    fn hints(self, endpoint: &Endpoint) -> Option<Hints> {
        let one = |name: &Option<String>| name.iter().map(|name| Named { name: name.clone() }).collect();
        let for_nodes = if self == Distribution::SameNode { one(&endpoint.node_name) } else { Vec::new() };
        let hints = Hints { for_zones: one(&endpoint.zone), for_nodes };
        (hints != Hints::default()).then_some(hints)
    }

    /// Every ready endpoint hints as it shall; slices of which one does not are written.
    pub fn apply(self, changes: &mut Changes) {
        let is_wrong = |slice: &mut Slice| {
            let mut ready = slice.endpoints.iter().filter(|endpoint| endpoint.is_ready());
            ready.any(|endpoint| self.hints(endpoint).unwrap_or_default() != endpoint.hints.clone().unwrap_or_default())
        };
        changes.update.extend(changes.keep.extract_if(.., is_wrong));
        for endpoint in written(changes).filter(|endpoint| endpoint.is_ready()) {
            endpoint.hints = self.hints(endpoint);
        }
    }
}

/// Nothing hints at anything any more.
pub fn remove(changes: &mut Changes) {
    let hints = |slice: &mut Slice| slice.endpoints.iter().any(|endpoint| endpoint.hints.is_some());
    changes.update.extend(changes.keep.extract_if(.., hints));
    written(changes).for_each(|endpoint| endpoint.hints = None);
}

/// The endpoints of all slices that are written.
pub fn written(changes: &mut Changes) -> impl Iterator<Item = &mut Endpoint> {
    changes.create.iter_mut().chain(&mut changes.update).flat_map(|slice| &mut slice.endpoints)
}
