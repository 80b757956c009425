//! Services on this node: whoever sends to one of their addresses reaches an endpoint.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use client::Client;
use proxy::services::{Follow, Health, Here, Local, run};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::node::{Machine, taken_over};
use super::{Alarm, Seams};
use crate::cli::{NodeFlags, ProxyMode};
use kubectl::failure::Result;

/// What stands before the node speaks to a server.
pub struct Proxy {
    healthz: Option<TcpListener>,
}

/// None: the place is left free (--proxy=none).
pub fn open(flags: &NodeFlags) -> Option<Proxy> {
    if flags.proxy == ProxyMode::None {
        return None;
    }
    let listening = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), flags.proxy_healthz_port);
    let healthz = (flags.proxy_healthz_port != 0).then(|| TcpListener::bind(listening));
    // Another node of this machine may have the port: nothing else depends on it.
    let healthz = healthz.and_then(|bound| {
        bound.inspect_err(|why| tracing::warn!(%why, "no /healthz at {listening} (--proxy-healthz-port)")).ok()
    });
    Some(Proxy { healthz })
}

impl Proxy {
    /// Where others ask whether this node serves.
    pub fn listens_at(&self) -> Option<SocketAddr> {
        self.healthz.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// `local`: what goes to this node itself instead of to endpoints.
    pub fn start(
        &self,
        machine: &Machine,
        client: Client,
        local: watch::Receiver<Local>,
        seams: &Seams,
        alarm: &Alarm,
        tasks: &mut JoinSet<()>,
    ) -> Result<()> {
        let health = Health::new(seams.clock.clone());
        if let Some(listener) = &self.healthz {
            tasks.spawn(health.clone().serve(taken_over(listener)?));
        }
        let here = Here { node: machine.name.clone(), zone: String::new(), addresses: machine.addresses.clone() };
        let nets = machine.network.nets();
        tasks.spawn(alarm.over("what serves services", run(Follow { client, here, nets, local, health })));
        Ok(())
    }
}

/// What an earlier run served is left to the program in whose place it would be.
pub async fn leave(mut nets: watch::Receiver<Option<net::Net>>) {
    loop {
        let net = nets.borrow_and_update().clone();
        if let Some(net) = net
            && let Err(error) = net.services(net::services::Change::Leave).await
        {
            tracing::warn!(%error, "services of an earlier run may be served still");
        }
        if nets.changed().await.is_err() {
            return;
        }
    }
}
