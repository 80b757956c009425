//! Other nodes as they are wanted, and what was last made of it.
//!
//! Each look plans anew over the links as they are now; rules come before ways, so that nobody is believed who is
//! no peer.

use super::{Peers, Plan, Refusal, kernel, plan, rules};
use crate::nft::Netfilter;
use crate::route::Route;
use crate::rules::Family;
use crate::spec::{Config, Error};

#[derive(Default)]
pub(crate) struct Following {
    wanted: Option<Peers>,
    /// What was planned last.
    plan: Plan,
    /// Whether the rules of `plan` are in force.
    is_guarded: bool,
    /// What pods' links were last told.
    mtu: Option<u32>,
}

impl Following {
    pub fn want(&mut self, peers: Peers) {
        self.wanted = Some(peers);
    }

    /// What there is no way to.
    pub fn refused(&self) -> &[Refusal] {
        &self.plan.refused
    }

    /// Of pods' links; None: the kernel's own.
    pub fn mtu(&self) -> Option<u32> {
        self.mtu
    }

    /// Makes the kernel as it is wanted. The MTU that all pods' links are to be told, if it is another one now.
    pub fn follow(&mut self, config: &Config, route: &Route, netfilter: &Netfilter) -> Result<Option<u32>, Error> {
        let Some(wanted) = &self.wanted else { return Ok(None) };
        let (prefix, tunnel) = (config.link_prefix(), config.tunnel());
        let links = route.underlay()?.into_iter().map(|seen| seen.link);
        let links: Vec<_> = links.filter(|link| !link.name.starts_with(&prefix) && link.name != tunnel).collect();
        let plan = plan(config, wanted, &links);
        self.is_guarded &= (&plan.ends, &plan.device) == (&self.plan.ends, &self.plan.device);
        self.plan = plan;
        if !self.is_guarded || !netfilter.has(Family::V4, &rules::table(config))? {
            netfilter.apply(&rules::rules(config, &self.plan))?;
            self.is_guarded = true;
        }
        kernel::apply(route, config, &self.plan)?;
        Ok(self.plan.mtu.filter(|mtu| self.mtu != Some(*mtu)))
    }

    /// Pods' links have it now.
    pub fn resized(&mut self, mtu: u32) {
        self.mtu = Some(mtu);
    }

    /// Removes it all: `down`, also of what another run made.
    pub fn end(&mut self, config: &Config, route: &Route, netfilter: &Netfilter) -> Result<(), Error> {
        self.wanted = None;
        kernel::remove(route, config)?;
        netfilter.remove(Family::V4, &rules::table(config))
    }
}
