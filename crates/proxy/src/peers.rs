//! Other nodes of a node's network: from Node objects to the peers of `net`.
//!
//! A node says its addresses itself, its ranges are given by the server. Of two that claim the same address or
//! range the one that had it already keeps it, else the older one: a node that lies gets nobody else's packets
//! by it. What a machine cannot believe at all (its own networks, addresses that are no machine's) `net` refuses.

use std::net::IpAddr;
use std::time::Duration;

use api::Object;
use api::resource::NODES;
use client::{Cache, Client, Scope};
use ipnet::IpNet;
use net::{Net, Peer, Peers, Refusal, Vxlan, Way};
use serde::Deserialize;
use tokio::sync::watch;

/// Which node this is, and how it reaches the others.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: String,
    pub way: Way,
    pub vxlan: Vxlan,
}

/// What did not work is tried again, even if nothing changes.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    addresses: Vec<Address>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// The peers of a node, in the order in which they are believed. `before`: what was made of an earlier state. A node
/// without an address or without a range is no peer yet.
pub fn peers(nodes: &[Object], settings: &Settings, before: &[Peer]) -> Peers {
    let mut own = None;
    let mut found = Vec::new();
    for object in nodes {
        let node: Node = object.view().unwrap_or_default();
        let internal = node.status.addresses.iter().filter(|address| address.kind == "InternalIP");
        let addresses: Vec<IpAddr> = internal.filter_map(|address| address.address.parse().ok()).collect();
        // IPv4 goes before: that is what ways lead over.
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied();
        let meta = object.meta();
        if meta.name == settings.node {
            own = address;
            continue;
        }
        let several = node.spec.pod_cidrs;
        let ranges = if several.is_empty() { vec![node.spec.pod_cidr] } else { several };
        let ranges: Vec<IpNet> = ranges.iter().filter_map(|range| range.parse().ok()).collect();
        let (Some(address), false) = (address, ranges.is_empty()) else { continue };
        let peer = Peer { name: meta.name.clone(), address, ranges };
        let is_new = !before.contains(&peer);
        found.push((is_new, meta.creation_timestamp.clone().unwrap_or_default(), peer));
    }
    found.sort_by(|(a_new, a_made, a), (b_new, b_made, b)| (a_new, a_made, &a.name).cmp(&(b_new, b_made, &b.name)));
    let others = found.into_iter().map(|(_, _, peer)| peer).collect();
    Peers { own, others, way: settings.way, vxlan: settings.vxlan }
}

/// Follows the Nodes, and keeps the ways of the network to them; a network that is opened later gets all of them.
pub async fn run(client: Client, mut nets: watch::Receiver<Option<Net>>, settings: Settings) {
    let cache = Cache::start(client, &NODES, Scope::default());
    cache.synced().await;
    let mut changes = cache.subscribe();
    let mut current: Option<Peers> = None;
    let mut told: Vec<Refusal> = Vec::new();
    let mut pause = PAUSE_MIN;
    loop {
        let mut again = false;
        while changes.try_next().is_some() {}
        let before = current.as_ref().map_or(&[][..], |peers| &peers.others);
        let wanted = peers(&cache.list(), &settings, before);
        let net = nets.borrow_and_update().clone();
        if let Some(net) = net
            && current.as_ref() != Some(&wanted)
        {
            match net.peers(wanted.clone()).await {
                Ok(refused) => {
                    refused.iter().filter(|one| !told.contains(one)).for_each(warn);
                    told = refused;
                    current = Some(wanted);
                    pause = PAUSE_MIN;
                }
                Err(error) => {
                    tracing::warn!("the ways to other nodes' pods: {error}");
                    again = true;
                }
            }
        }
        tokio::select! {
            change = changes.next() => {
                if change.is_none() {
                    return;
                }
            }
            changed = nets.changed() => {
                if changed.is_err() {
                    return;
                }
                // Another network knows of nobody.
                current = None;
            }
            () = tokio::time::sleep(pause), if again => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

fn warn(refusal: &Refusal) {
    tracing::warn!("pods of node {} are out of reach: {}", refusal.node, refusal.why);
}

#[cfg(test)]
mod tests;
