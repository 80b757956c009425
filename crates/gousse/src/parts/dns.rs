//! The cluster's DNS on this node: one server for its pods and the machine itself.
//!
//! It listens on the node's own address in its pod range; what is sent to the address of Service
//! kube-system/kube-dns comes there by the rules of services (`Dns::local`). Pods are told that address, or
//! those of `--cluster-dns`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use client::Caches;
use net::Net;
use net::dns::{Files, Name, Names, Server, Service, Upstreams};
use net::services::{At, Protocol};
use proxy::services::Local;
use proxy::zone::{self, Served};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::host_dns::Place;
use super::node::Machine;
use super::{Alarm, Seams};
use crate::cli::NodeFlags;
use kubectl::failure::{Result, failure};

/// Where it listens: at the port of DNS where nobody else does, and always at the same else, so that what asks
/// a node goes on through its restart.
const PORTS: [u16; 3] = [53, 10_053, 0];
const PORT: u16 = 53;

/// What others of this node know of it.
pub struct Dns {
    /// Where pods find the cluster's DNS; None: not known yet.
    pub addresses: watch::Receiver<Option<Vec<IpAddr>>>,
    /// What is sent to the Service's address goes to this node's.
    pub local: watch::Receiver<Local>,
}

/// Starts it; it ends with `tasks`.
pub fn start(
    caches: &Arc<Caches>,
    machine: &Machine,
    host: Option<Place>,
    flags: &NodeFlags,
    seams: &Seams,
    alarm: &Alarm,
    tasks: &mut JoinSet<()>,
) -> Result<Dns> {
    let domain = flags.cluster_domain.clone();
    let zone = Name::parse(&domain).filter(|_| !domain.is_empty());
    let zone = zone.ok_or_else(|| failure(format!("--cluster-domain {domain:?} is no domain")))?;
    let names = Names::new(zone);
    let (served_to, served) = watch::channel(None);
    let (upstreams_to, upstreams) = watch::channel(Upstreams::from([]));
    let (own_to, own) = watch::channel(BTreeSet::new());
    let (at_to, at) = watch::channel(None);
    let (local_to, local) = watch::channel(Local::new());
    let given = (!flags.cluster_dns.is_empty()).then(|| flags.cluster_dns.clone());
    let (addresses_to, addresses) = watch::channel(given.clone());
    let service = Service::new(names.clone(), upstreams.clone(), machine.cluster_cidr.into(), seams.entropy.clone());
    let service = Arc::new(service);
    let (caches, looking) = (caches.clone(), service.clone());
    let follow = async move { zone::run(&caches, &domain, &names, &served_to).await };
    tasks.spawn(alarm.over("what follows the names of services", follow));
    tasks.spawn(alarm.over("what follows this machine's resolvers", Files::default().follow(own, upstreams_to)));
    tasks.spawn(alarm.over("the DNS server", serve(machine.network.nets(), service, at_to)));
    if let Some(host) = host {
        tasks.spawn(enter_host(host, at.clone(), flags.cluster_domain.clone()));
    }
    tasks.spawn(async move { looking.look_for_loops(upstreams).await });
    let tell = async move {
        let (mut served, mut at) = (served, at);
        loop {
            let current: Option<Served> = served.borrow_and_update().clone();
            let at: &mut watch::Receiver<Option<SocketAddr>> = &mut at;
            let listening = *at.borrow_and_update();
            if let (Some(current), None) = (&current, &given) {
                if current.addresses.is_empty() {
                    tracing::warn!("there is no Service kube-system/kube-dns: pods ask whom this machine asks");
                }
                addresses_to.send_replace(Some(current.addresses.clone()));
            }
            let current = current.unwrap_or_default();
            let ours: BTreeSet<IpAddr> = current.addresses.iter().copied().chain(listening.map(|at| at.ip())).collect();
            own_to.send_if_modified(|known| {
                let changed = *known != ours;
                *known = ours;
                changed
            });
            local_to.send_replace(locals(&current, listening));
            tokio::select! {
                changed = served.changed() => if changed.is_err() { return },
                changed = at.changed() => if changed.is_err() { return },
            }
        }
    };
    tasks.spawn(alarm.over("what tells where the cluster's DNS is", tell));
    Ok(Dns { addresses, local })
}

/// A Service that selects somebody is served by whom it selects.
fn locals(served: &Served, listening: Option<SocketAddr>) -> Local {
    let Some(listening) = listening.filter(|_| served.by_nodes) else { return Local::new() };
    let same = |address: &&IpAddr| address.is_ipv4() == listening.is_ipv4();
    let both = |address: &IpAddr| {
        [Protocol::Udp, Protocol::Tcp].map(|protocol| At { address: *address, protocol, port: PORT })
    };
    served.addresses.iter().filter(same).flat_map(both).map(|at| (at, listening)).collect()
}

/// Has the machine itself ask wherever the server listens.
async fn enter_host(host: Place, mut at: watch::Receiver<Option<SocketAddr>>, domain: String) {
    let host = Arc::new(host);
    loop {
        let listening = *at.borrow_and_update();
        if let Some(server) = listening {
            let (host, domain) = (host.clone(), domain.clone());
            let entered = tokio::task::spawn_blocking(move || host.enter(server, &domain)).await;
            if let Ok(Err(error)) = entered {
                tracing::error!("{}", error.printed());
            }
        }
        if at.changed().await.is_err() {
            return;
        }
    }
}

/// Serves in the network that is open, and says where.
async fn serve(mut nets: watch::Receiver<Option<Net>>, service: Arc<Service>, at: watch::Sender<Option<SocketAddr>>) {
    loop {
        let gateway = nets.borrow_and_update().as_ref().map(Net::gateway);
        let server = match gateway {
            Some(gateway) => Server::bind(gateway, &PORTS).await.map(Some),
            None => Ok(None),
        };
        let server = server.unwrap_or_else(|error| {
            tracing::error!(%error, ?gateway, "pods have no DNS on this node");
            None
        });
        at.send_replace(server.as_ref().map(Server::address));
        let running = async {
            match server {
                Some(server) => server.run(service.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = running => return,
            changed = nets.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_to_the_service_comes_to_this_node_unless_the_service_selects_others() {
        let listening: SocketAddr = "10.244.0.1:53".parse().unwrap();
        let addresses: Vec<IpAddr> = ["10.96.0.10", "fd00::a"].map(|a| a.parse().unwrap()).into();
        let served = Served { addresses, by_nodes: true };
        let at = |protocol| At { address: "10.96.0.10".parse().unwrap(), protocol, port: PORT };
        let both = [Protocol::Udp, Protocol::Tcp].map(|protocol| (at(protocol), listening));
        assert_eq!(locals(&served, Some(listening)), Local::from(both));
        assert_eq!(locals(&served, None), Local::new());
        assert_eq!(locals(&Served { by_nodes: false, ..served }, Some(listening)), Local::new());
    }
}
