//! The network of a node as its pods see it: a namespace with addresses, made and let go.
//!
//! Two engines: `net::Net` (links, routes, rules) and `Imagined`, which only gives out addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use net::{AttachSpec, Attachment};

use crate::sources::Boxed;

pub trait Network: Send + Sync + 'static {
    /// The same attachment again if it exists.
    fn attach(&self, spec: AttachSpec) -> Boxed<'_, Result<Attachment, net::Error>>;
    fn detach<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<(), net::Error>>;
    fn list(&self) -> Boxed<'_, Result<Vec<Attachment>, net::Error>>;
}

impl Network for net::Net {
    fn attach(&self, spec: AttachSpec) -> Boxed<'_, Result<Attachment, net::Error>> {
        Box::pin(net::Net::attach(self, spec))
    }

    fn detach<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<(), net::Error>> {
        Box::pin(net::Net::detach(self, id))
    }

    fn list(&self) -> Boxed<'_, Result<Vec<Attachment>, net::Error>> {
        Box::pin(net::Net::list(self))
    }
}

/// Addresses without links: for the simulator and for hollow nodes.
pub struct Imagined {
    /// First address of the node's /24.
    first: Ipv4Addr,
    taken: Mutex<BTreeMap<String, Attachment>>,
}

impl Imagined {
    pub fn new(first: Ipv4Addr) -> Imagined {
        Imagined { first, taken: Mutex::default() }
    }
}

impl Network for Imagined {
    fn attach(&self, spec: AttachSpec) -> Boxed<'_, Result<Attachment, net::Error>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let used: Vec<IpAddr> = taken.values().flat_map(|a| a.addresses.clone()).collect();
        let base = u32::from(self.first);
        let free = (2..=254).map(|n| IpAddr::V4(Ipv4Addr::from(base + n))).find(|ip| !used.contains(ip));
        let result = match (taken.get(&spec.id), free) {
            (Some(known), _) => Ok(known.clone()),
            (None, Some(address)) => {
                let namespace = PathBuf::from("/imagined").join(&spec.id);
                let made = Attachment { spec: spec.clone(), namespace, addresses: vec![address] };
                taken.insert(spec.id, made.clone());
                Ok(made)
            }
            (None, None) => Err(net::Error::Failed("no free address is left to imagine".into())),
        };
        Box::pin(async move { result })
    }

    fn detach<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<(), net::Error>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Box::pin(async { Ok(()) })
    }

    fn list(&self) -> Boxed<'_, Result<Vec<Attachment>, net::Error>> {
        let all = self.taken.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        Box::pin(async move { Ok(all) })
    }
}
