//! The network of a node as its pods see it: a namespace with addresses, made and let go.
//!
//! Two engines: `Routed` (links, routes, rules of `net`) and `Imagined`, which only gives out addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use net::{AttachSpec, Attachment, Net};
use runtime::engine::Boxed;
use tokio::sync::watch;

/// The network of this machine.
mod routed;

pub use routed::{Opening, Routed};

/// The pod that an attachment is for, as policies see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// Ports that have a name: protocol, name, number.
    pub ports: Vec<(String, String, u16)>,
}

/// Asked before an attachment may send anything, and before its addresses may be another's.
pub trait Gate: Send + Sync + 'static {
    /// Returns once what is known of policies holds in that network for the pod at these addresses.
    fn enter<'a>(
        &'a self,
        net: &'a Net,
        id: &'a str,
        pod: Subject,
        addresses: &'a [IpAddr],
    ) -> Boxed<'a, Result<(), net::Error>>;
    fn leave<'a>(&'a self, id: &'a str) -> Boxed<'a, ()>;
}

pub trait Network: Send + Sync + 'static {
    /// Uses the node's ranges from now on; nothing happens if it does already.
    fn open<'a>(&'a self, ranges: &'a [IpNet]) -> Boxed<'a, Result<(), net::Error>>;
    /// Why no pod gets an address now.
    fn trouble(&self) -> watch::Receiver<Option<String>>;
    /// The same attachment again if it exists. When it is there, it is held to the policies for its pod.
    fn attach(&self, spec: AttachSpec, pod: Subject) -> Boxed<'_, Result<Attachment, net::Error>>;
    fn detach<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<(), net::Error>>;
    fn list(&self) -> Boxed<'_, Result<Vec<Attachment>, net::Error>>;
}

/// Addresses without links: for the simulator and for hollow nodes.
pub struct Imagined {
    taken: Mutex<Taken>,
    trouble: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Taken {
    /// First address of the node's /24.
    first: Option<Ipv4Addr>,
    attachments: BTreeMap<String, Attachment>,
}

impl Imagined {
    /// With a range of its own.
    pub fn new(first: Ipv4Addr) -> Imagined {
        let taken = Taken { first: Some(first), attachments: BTreeMap::new() };
        Imagined { taken: Mutex::new(taken), trouble: watch::Sender::new(None) }
    }

    /// With the first range that it is given.
    pub fn closed() -> Imagined {
        Imagined { taken: Mutex::default(), trouble: watch::Sender::new(Some("no range is imagined yet".into())) }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for Imagined {
    fn open<'a>(&'a self, ranges: &'a [IpNet]) -> Boxed<'a, Result<(), net::Error>> {
        let mut taken = self.taken();
        if let (None, Some(IpNet::V4(range))) = (taken.first, ranges.first()) {
            taken.first = Some(range.network());
            self.trouble.send_replace(None);
        }
        Box::pin(async { Ok(()) })
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    fn attach(&self, spec: AttachSpec, _: Subject) -> Boxed<'_, Result<Attachment, net::Error>> {
        let mut taken = self.taken();
        let used: Vec<IpAddr> = taken.attachments.values().flat_map(|a| a.addresses.clone()).collect();
        let base = taken.first.map(u32::from);
        let mut all = base.into_iter().flat_map(|base| (2..=254).map(move |n| IpAddr::V4(Ipv4Addr::from(base + n))));
        let free = all.find(|ip| !used.contains(ip));
        let result = match (taken.attachments.get(&spec.id), free) {
            (Some(known), _) => Ok(known.clone()),
            (None, Some(address)) => {
                let namespace = PathBuf::from("/imagined").join(&spec.id);
                let made = Attachment { spec: spec.clone(), namespace, addresses: vec![address] };
                taken.attachments.insert(spec.id, made.clone());
                Ok(made)
            }
            (None, None) => Err(net::Error::Failed("no free address is left to imagine".into())),
        };
        Box::pin(async move { result })
    }

    fn detach<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<(), net::Error>> {
        self.taken().attachments.remove(id);
        Box::pin(async { Ok(()) })
    }

    fn list(&self) -> Boxed<'_, Result<Vec<Attachment>, net::Error>> {
        let all = self.taken().attachments.values().cloned().collect();
        Box::pin(async move { Ok(all) })
    }
}
