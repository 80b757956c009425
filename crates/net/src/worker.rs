//! The one thread that changes the network: claims, namespaces, links and rules, in that order.
//!
//! A claim is written before its link and removed after it, so that a crash at any step leaves
//! either a claim whose link is made again, or nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::sync::oneshot;

use crate::addresses::{Addresses, v4};
use crate::namespaces::Namespaces;
use crate::nft::Netfilter;
use crate::peers::following::Following;
use crate::peers::{Peers, Refusal};
use crate::route::Route;
use crate::rules::{Family, protocol_number};
use crate::services::{Change, Services};
use crate::spec::{AttachSpec, Attachment, Config, Error, HostPort};
use crate::{conntrack, host, links, peers, policy, rules};

pub(crate) enum Request {
    Attach(AttachSpec, oneshot::Sender<Result<Attachment, Error>>),
    AttachMute(AttachSpec, oneshot::Sender<Result<Attachment, Error>>),
    Speak(String, oneshot::Sender<Result<(), Error>>),
    Policy(policy::Change, oneshot::Sender<Result<(), Error>>),
    Detach(String, oneshot::Sender<Result<(), Error>>),
    /// A table may have been taken away.
    Restore,
    Services(Change, oneshot::Sender<Result<(), Error>>),
    /// Links or addresses of the machine may have changed, or routes of ours.
    Look,
    Peers(Peers, oneshot::Sender<Result<Vec<Refusal>, Error>>),
    List(oneshot::Sender<Result<Vec<Attachment>, Error>>),
    Close(oneshot::Sender<Result<(), Error>>),
}

pub(crate) struct Worker {
    config: Config,
    addresses: Addresses,
    /// Attachments of which nothing passes yet.
    mute: BTreeSet<String>,
    policy: policy::InForce,
    namespaces: Namespaces,
    host: Route,
    netfilter: Netfilter,
    services: Services,
    peers: Following,
    /// There is nothing to restore any more.
    closed: bool,
}

impl Worker {
    pub fn open(config: Config) -> Result<Worker, Error> {
        let addresses = Addresses::open(config.pod_cidr, &config.run_dir)?;
        let namespaces = Namespaces::open(&config.run_dir)?;
        config.leave()?;
        let (host, netfilter) = (Route::open()?, Netfilter::open()?);
        let (services, peers) = (Services::new(&config), Following::default());
        let (policy, mute) = (policy::InForce::of(&config.table()), BTreeSet::new());
        let worker =
            Worker { config, addresses, namespaces, host, netfilter, services, peers, policy, mute, closed: false };
        worker.host.send(vec![links::own_address(worker.config.gateway())])?;
        host::allow_forwarding(&worker.config)?;
        worker.remove_unclaimed()?;
        worker.apply_rules()?;
        worker.guard_v6();
        worker.shut_links()?;
        Ok(worker)
    }

    pub fn answer(&mut self, request: Request) {
        // Whoever asked may be gone; the work is done all the same.
        match request {
            Request::Attach(spec, reply) => drop(reply.send(self.attach(spec, false))),
            Request::AttachMute(spec, reply) => drop(reply.send(self.attach(spec, true))),
            Request::Speak(id, reply) => drop(reply.send(self.speak(&id))),
            Request::Policy(change, reply) => drop(reply.send(self.hold_to(change))),
            Request::Detach(id, reply) => drop(reply.send(self.detach(&id))),
            Request::Restore => self.restore(),
            Request::Services(change, reply) => drop(reply.send(self.serve(change))),
            Request::Look => self.look(),
            Request::Peers(peers, reply) => drop(reply.send(self.reach(peers))),
            Request::List(reply) => drop(reply.send(Ok(self.addresses.all().cloned().collect()))),
            Request::Close(reply) => drop(reply.send(self.close())),
        }
    }

    /// `mute`: a new one; what speaks goes on.
    fn attach(&mut self, spec: AttachSpec, mute: bool) -> Result<Attachment, Error> {
        check(&spec)?;
        if let Some(known) = self.addresses.get(&spec.id) {
            let known = known.clone();
            if self.is_connected(&known)? {
                if !mute {
                    self.speak(&known.spec.id)?;
                }
                return Ok(known);
            }
            if mute {
                self.mute.insert(known.spec.id.clone());
            }
            self.connect(&known)?;
            return Ok(known);
        }
        self.is_free(&spec)?;
        let address = self.addresses.next()?;
        let namespace = self.namespaces.path(&spec.id);
        let attachment = Attachment { spec, namespace, addresses: vec![IpAddr::V4(address)] };
        self.addresses.claim(attachment.clone())?;
        if mute {
            self.mute.insert(attachment.spec.id.clone());
        }
        if let Err(error) = self.connect(&attachment) {
            self.detach(&attachment.spec.id)?;
            return Err(error);
        }
        Ok(attachment)
    }

    fn connect(&self, attachment: &Attachment) -> Result<(), Error> {
        let id = &attachment.spec.id;
        let link = links::name(&self.config.link_prefix(), id);
        let Some(address) = v4(attachment).next() else {
            return Err(Error::Failed(format!("attachment {id} has no IPv4 address")));
        };
        if let Some(stale) = self.host.link(&link)? {
            self.host.send(vec![links::remove_link(&link, stale)])?;
        }
        let inside = self.namespaces.make(id)?;
        let mtu = self.peers.mtu();
        links::connect(&self.host, &inside, attachment, &link, address, self.config.gateway(), mtu)?;
        if !attachment.spec.host_ports.is_empty() {
            self.apply_rules()?;
            forgotten(conntrack::mapped(&self.netfilter, attachment));
            return Ok(());
        }
        self.let_speak(attachment)
    }

    fn hold_to(&mut self, change: policy::Change) -> Result<(), Error> {
        match self.closed {
            true => Err(Error::Failed("the network is closed".into())),
            false => self.policy.change(&self.netfilter, change),
        }
    }

    fn speak(&mut self, id: &str) -> Result<(), Error> {
        self.mute.remove(id);
        match self.addresses.get(id) {
            Some(attachment) => self.let_speak(attachment),
            None => Err(Error::Failed(format!("there is no attachment {id} any more"))),
        }
    }

    /// What it sends from its address passes, unless it is mute. Where there is nothing to add it to, somebody
    /// took our table away (`nft flush ruleset`): all of it is made anew.
    fn let_speak(&self, attachment: &Attachment) -> Result<(), Error> {
        if self.mute.contains(&attachment.spec.id) {
            return Ok(());
        }
        let Some(key) = rules::source(&self.config, attachment) else { return Ok(()) };
        self.netfilter.add(Family::V4, &self.config.table(), rules::SOURCES, &key).or_else(|error| {
            tracing::warn!(%error, "the rules of the network are not as they were: they are made anew");
            self.guard_v6();
            self.apply_rules()
        })
    }

    /// Both ends of its link are there.
    fn is_connected(&self, attachment: &Attachment) -> Result<bool, Error> {
        let id = &attachment.spec.id;
        let outer = self.host.link(&links::name(&self.config.link_prefix(), id))?;
        match self.namespaces.enter(id)? {
            Some(inside) => Ok(outer.is_some() && inside.link("eth0")?.is_some()),
            None => Ok(false),
        }
    }

    fn detach(&mut self, id: &str) -> Result<(), Error> {
        let Some(attachment) = self.addresses.get(id).cloned() else { return Ok(()) };
        self.host.send(v4(&attachment).map(links::remove_route).collect())?;
        self.namespaces.remove(id)?;
        self.addresses.release(id)?;
        let was_mute = self.mute.remove(id);
        if was_mute && attachment.spec.host_ports.is_empty() {
            return Ok(());
        }
        let source = rules::source(&self.config, &attachment).filter(|_| attachment.spec.host_ports.is_empty());
        // Where the element is not there, somebody changed the table: it is made anew as a whole.
        match source {
            Some(key) if self.netfilter.take(Family::V4, &self.config.table(), rules::SOURCES, &key).is_ok() => Ok(()),
            _ => {
                self.apply_rules()?;
                forgotten(conntrack::unmapped(&self.netfilter, &attachment));
                Ok(())
            }
        }
    }

    fn serve(&mut self, change: Change) -> Result<(), Error> {
        match self.closed {
            true => Err(Error::Failed("the network is closed".into())),
            false => self.services.change(&self.netfilter, &self.host, change),
        }
    }

    /// The rules have one pod for each port: a second one waits until the first has let go.
    fn is_free(&self, spec: &AttachSpec) -> Result<(), Error> {
        let others = self.addresses.all().filter(|other| other.spec.id != spec.id);
        let taken: Vec<&HostPort> = others.flat_map(|other| &other.spec.host_ports).collect();
        match spec.host_ports.iter().find(|port| taken.iter().any(|other| port.clashes(other))) {
            Some(port) => Err(Error::Failed(format!(
                "host port {}/{} still belongs to another pod, which has not ended yet",
                port.host_port, port.protocol
            ))),
            None => Ok(()),
        }
    }

    /// A kernel without IPv6, or without its rules: the links themselves have it turned off.
    fn guard_v6(&self) {
        if let Err(error) = self.netfilter.apply(&rules::plan_v6(&self.config)) {
            tracing::debug!(%error, "no rules for IPv6");
        }
    }

    /// What an earlier version made is told what links are told now.
    fn shut_links(&self) -> Result<(), Error> {
        let prefix = self.config.link_prefix();
        let links: std::collections::HashMap<String, u32> = self.host.links()?.into_iter().collect();
        let shut = self.addresses.all().filter_map(|attachment| {
            let link = links::name(&prefix, &attachment.spec.id);
            links.get(&link).map(|index| links::shut(&link, *index, !attachment.spec.host_ports.is_empty()))
        });
        self.host.send(shut.collect())
    }

    fn apply_rules(&self) -> Result<(), Error> {
        self.netfilter.apply(&rules::plan(&self.config, self.addresses.all(), &self.mute))
    }

    /// Pins and links of this instance without a claim: left by a crash between two steps.
    fn remove_unclaimed(&self) -> Result<(), Error> {
        let prefix = self.config.link_prefix();
        for id in self.namespaces.all()? {
            if self.addresses.get(&id).is_none() {
                self.namespaces.remove(&id)?;
            }
        }
        let claimed: Vec<String> = self.addresses.all().map(|a| links::name(&prefix, &a.spec.id)).collect();
        let stale = self.host.links()?.into_iter().filter(|(name, _)| {
            name.len() == prefix.len() + 10 && name.starts_with(&prefix) && !claimed.contains(name)
        });
        self.host.send(stale.map(|(name, index)| links::remove_link(&name, index)).collect())
    }

    /// Ways to other nodes as they are wanted now.
    fn reach(&mut self, peers: Peers) -> Result<Vec<Refusal>, Error> {
        if self.closed {
            return Err(Error::Failed("the network is closed".into()));
        }
        self.peers.want(peers);
        self.follow()?;
        Ok(self.peers.refused().to_vec())
    }

    /// The same over links and addresses as they are now.
    fn look(&mut self) {
        if self.closed {
            return;
        }
        if let Err(error) = self.follow() {
            tracing::warn!(%error, "some pods of other nodes are out of reach");
        }
    }

    fn follow(&mut self) -> Result<(), Error> {
        let resized = self.peers.follow(&self.config, &self.host, &self.netfilter)?;
        let Some(mtu) = resized else { return Ok(()) };
        let prefix = self.config.link_prefix();
        self.peers.resized(mtu);
        for attachment in self.addresses.all() {
            let id = &attachment.spec.id;
            let name = links::name(&prefix, id);
            let Some(outer) = self.host.link(&name)? else { continue };
            self.host.send(vec![links::set_mtu(&name, outer, mtu)])?;
            let Some(inside) = self.namespaces.enter(id)? else { continue };
            if let Some(inner) = inside.link("eth0")? {
                inside.send(vec![links::set_mtu("eth0 in the pod", inner, mtu)])?;
            }
        }
        Ok(())
    }

    /// Makes anew what of the tables is not there: with none a pod sends what it likes, and nothing is masked.
    fn restore(&mut self) {
        let missing = |family| matches!(self.netfilter.has(family, &self.config.table()), Ok(false));
        if self.closed {
            return;
        }
        self.services.restore(&self.netfilter);
        if missing(Family::V6) {
            self.guard_v6();
        }
        if missing(Family::V4) {
            tracing::warn!("somebody took the rules of the network away: they are made anew");
            if let Err(error) = self.apply_rules() {
                tracing::error!(%error, "the rules of the network cannot be made anew");
            }
        }
        if matches!(self.netfilter.has(Family::V4, &peers::rules::table(&self.config)), Ok(false)) {
            self.look();
        }
        self.policy.restore(&self.netfilter);
    }

    fn close(&mut self) -> Result<(), Error> {
        self.closed = true;
        let ids: Vec<String> = self.addresses.all().map(|a| a.spec.id.clone()).collect();
        for id in &ids {
            self.detach(id)?;
        }
        self.remove_unclaimed()?;
        self.services.close(&self.netfilter, &self.host)?;
        self.peers.end(&self.config, &self.host, &self.netfilter)?;
        self.netfilter.remove(Family::V4, &self.config.table())?;
        if let Err(error) = self.netfilter.remove(Family::V6, &self.config.table()) {
            tracing::debug!(%error, "no rules for IPv6");
        }
        self.policy.close(&self.netfilter)?;
        host::forget_forwarding(&self.config)?;
        self.host.send(vec![links::remove_own_address(self.config.gateway())])
    }
}

/// A kernel that does not let its connections be listed: new ones go where they should all the same.
fn forgotten(connections: Result<(), Error>) {
    if let Err(error) = connections {
        tracing::warn!(%error, "connections through a host port may still lead to where it led before");
    }
}

/// An id names files; a protocol must be one that the rules know.
fn check(spec: &AttachSpec) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if spec.id.is_empty() || spec.id.len() > 128 || !spec.id.chars().all(plain) {
        return Err(Error::Failed(format!("attachment id {:?} cannot name a file", spec.id)));
    }
    for port in &spec.host_ports {
        if protocol_number(&port.protocol).is_none() {
            return Err(Error::Failed(format!(
                "host port {}: protocol {:?} is not known",
                port.host_port, port.protocol
            )));
        }
        if matches!(port.host_ip, Some(IpAddr::V6(_))) {
            let port = port.host_port;
            return Err(Error::Failed(format!("host port {port}: IPv6 host addresses are not supported yet")));
        }
    }
    Ok(())
}
