//! The addresses in an Ingress' status: those of the nodes on which it is served. Pure but for the cache.
//!
//! Each node writes its own. The component beside the server takes away those of Nodes that are no edges any more,
//! which may not write it themselves then; nobody else takes an address of another Node away.

use std::collections::BTreeSet;

use api::Object;
use api::names::INGRESS_EDGE;
use client::Cache;
use serde::Deserialize;

/// The addresses of Nodes (`InternalIP`).
#[derive(Default)]
pub struct Nodes {
    pub own: BTreeSet<String>,
    /// Of others that may serve, as far as this one can tell.
    pub others: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
struct NodeStatus {
    #[serde(default)]
    addresses: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    r#type: String,
    address: String,
}

#[derive(Deserialize)]
struct Ingress {
    #[serde(default)]
    status: Told,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    load_balancer: Balancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Balancer {
    ingress: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    ip: String,
}

impl Nodes {
    /// `is_edge`: of a node that joined, which does not know whether a node that is no edge is the server's own.
    pub fn of(nodes: &Cache, own: &str, is_edge: bool) -> Nodes {
        nodes.visit(|nodes| {
            let mut all = Nodes::default();
            for node in nodes {
                let mine = if node.meta().name == own { &mut all.own } else { &mut all.others };
                if node.meta().name != own && !is_edge && !node.meta().labels.contains_key(INGRESS_EDGE) {
                    continue;
                }
                let addresses = node.view::<Node>().map(|node| node.status.addresses).unwrap_or_default();
                let internal = addresses.into_iter().filter(|address| address.r#type == "InternalIP");
                mine.extend(internal.map(|address| address.address));
            }
            all
        })
    }
}

/// The addresses that an Ingress is to have; None: it has them. `serving`: this node takes requests.
pub fn change(ingress: &Object, nodes: &Nodes, serving: bool) -> Option<Vec<String>> {
    let told = ingress.view::<Ingress>().map(|ingress| ingress.status.load_balancer.ingress).unwrap_or_default();
    let told: Vec<String> = told.into_iter().map(|entry| entry.ip).collect();
    let others = told.iter().filter(|ip| nodes.others.contains(*ip) && !nodes.own.contains(*ip));
    let own = nodes.own.iter().filter(|_| serving);
    let wanted: Vec<String> = others.chain(own).cloned().collect::<BTreeSet<_>>().into_iter().collect();
    (wanted != told).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_node_says_its_own_and_leaves_the_others() {
        let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
        let nodes = Nodes { own: set(&["10.0.0.1", "fd00::1"]), others: set(&["10.0.0.2"]) };
        let changed = |told: &[&str], serving: bool| {
            let entries: Vec<_> = told.iter().map(|ip| json!({"ip": ip})).collect();
            let ingress = json!({"metadata": {}, "status": {"loadBalancer": {"ingress": entries}}});
            change(&Object::from_value(&ingress).unwrap(), &nodes, serving).map(|all| all.join(" "))
        };
        assert_eq!(changed(&[], true).as_deref(), Some("10.0.0.1 fd00::1"));
        assert_eq!(changed(&["10.0.0.1", "fd00::1"], true), None);
        assert_eq!(changed(&["10.0.0.1", "10.0.0.2", "10.9.9.9"], true).as_deref(), Some("10.0.0.1 10.0.0.2 fd00::1"));
        assert_eq!(changed(&["10.0.0.1", "10.0.0.2", "fd00::1"], false).as_deref(), Some("10.0.0.2"));
        assert_eq!(changed(&["10.0.0.2"], false), None);
        assert_eq!(changed(&[], false), None);
    }
}
