//! Flow control: how many requests, bytes of bodies and connections may be under way from outside.
//!
//! Upstream's --max-requests-inflight (apiserver pkg/server/filters/maxinflight.go) with three things
//! added: one user gets a share only, nodes have a pool of their own, bodies are counted by what has
//! arrived. Administrators and the parts inside the process are never held up. Every step is O(1).

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Reason, Status};
use tokio::time::Instant;

use crate::identity::{CONTROLLERS, Identity, MASTERS, SCHEDULER};

/// The log is not filled by those who open connections.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How much may be under way at once; 0 is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that read, but those that last (watches, logs, exec, proxies).
    pub reads: usize,
    /// Requests that write.
    pub writes: usize,
    /// Bytes of requests' bodies.
    pub body_bytes: usize,
    /// What one user may take of each of these, and one address of the connections, in percent.
    pub share: usize,
    /// Connections.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { reads: 400, writes: 200, body_bytes: 32 << 20, share: 50, connections: 8192 }
    }
}

impl Limits {
    /// What one of many may take; 0 is no bound.
    fn one(&self, all: usize) -> usize {
        if all == 0 { 0 } else { (all * self.share.min(100) / 100).max(1) }
    }
}

/// What a request costs beside its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    Read,
    Write,
    /// It lasts: only its body counts (pkg/server/filters/longrunning.go).
    Lasting,
}

/// What is under way.
pub struct Flow {
    limits: Limits,
    /// Nodes and what they are like; everybody else.
    pools: [Mutex<Pool>; 2],
    connections: Mutex<Connections>,
    hasher: RandomState,
}

#[derive(Default)]
struct Pool {
    all: Taken,
    /// By the hash of the user's name; gone with its last request.
    users: HashMap<u64, Taken>,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct Taken {
    /// By cost.
    requests: [usize; 3],
    bytes: usize,
}

#[derive(Default)]
struct Connections {
    all: usize,
    from: HashMap<IpAddr, usize>,
    /// When the log was last told that there are too many.
    told: Option<Instant>,
}

/// A request's place; given back when it is dropped.
pub struct Permit {
    flow: Arc<Flow>,
    pool: usize,
    user: u64,
    cost: Cost,
    bytes: usize,
}

/// A connection's place.
pub struct Connected {
    flow: Arc<Flow>,
    from: IpAddr,
}

impl Flow {
    pub fn new(limits: Limits) -> Arc<Flow> {
        let (pools, connections, hasher) = Default::default();
        Arc::new(Flow { limits, pools, connections, hasher })
    }

    /// A place for a request. None: this user is not bounded.
    ///
    /// # Errors
    /// 429 when there is none left.
    pub fn admit(self: &Arc<Flow>, identity: &Identity, cost: Cost) -> Result<Option<Permit>, Status> {
        // As upstream: whoever may do everything always gets an answer.
        if identity.is_in(MASTERS) {
            return Ok(None);
        }
        let of_the_system = identity.node().is_some() || matches!(identity.name(), SCHEDULER | CONTROLLERS);
        let (pool, user) = (usize::from(!of_the_system), self.hasher.hash_one(identity.name()));
        let (limit, setting, what) = match cost {
            Cost::Read => (self.limits.reads, "--max-requests-inflight", "reading"),
            Cost::Write => (self.limits.writes, "--max-mutating-requests-inflight", "writing"),
            Cost::Lasting => (0, "", ""),
        };
        let mut held = self.pools[pool].lock().unwrap_or_else(PoisonError::into_inner);
        let Pool { all, users } = &mut *held;
        let own = users.entry(user).or_default();
        let share = self.limits.one(limit);
        let (of_all, of_own) = (all.requests[cost as usize], own.requests[cost as usize]);
        let who = match (of_all >= bound(limit), of_own >= bound(share)) {
            (true, _) => Some(format!("all users together have {limit}")),
            (_, true) => Some(format!("user {:?} has {share}", identity.name())),
            _ => None,
        };
        if let Some(who) = who {
            if *own == Taken::default() {
                users.remove(&user);
            }
            return Err(too_many(&format!("{who} {what} requests under way ({setting}, --max-user-share)")));
        }
        for taken in [all, own] {
            taken.requests[cost as usize] += 1;
        }
        Ok(Some(Permit { flow: self.clone(), pool, user, cost, bytes: 0 }))
    }

    /// A place for a connection; None when there is none left.
    pub fn connect(self: &Arc<Flow>, from: IpAddr) -> Option<Connected> {
        let from = from.to_canonical();
        let limit = self.limits.connections;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let Connections { all, from: addresses, told } = &mut *connections;
        let own = addresses.entry(from).or_default();
        if *all >= bound(limit) || *own >= bound(self.limits.one(limit)) {
            if *own == 0 {
                addresses.remove(&from);
            }
            if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                *told = Some(Instant::now());
                tracing::warn!(%from, "too many connections: closed (--max-connections {limit}, --max-user-share)");
            }
            return None;
        }
        *all += 1;
        *own += 1;
        Some(Connected { flow: self.clone(), from })
    }
}

impl Permit {
    /// Takes room for so many more bytes of the request's body.
    ///
    /// # Errors
    /// 429 when there is none left.
    pub fn take(&mut self, bytes: usize) -> Result<(), Status> {
        let limit = self.flow.limits.body_bytes;
        let mut held = self.flow.pools[self.pool].lock().unwrap_or_else(PoisonError::into_inner);
        let Pool { all, users } = &mut *held;
        let own = users.entry(self.user).or_default();
        if own.bytes + bytes > bound(self.flow.limits.one(limit)) || all.bytes + bytes > bound(limit) {
            return Err(too_many(
                "the bodies of requests under way fill their room (--max-body-bytes-inflight, --max-user-share)",
            ));
        }
        all.bytes += bytes;
        own.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.flow.pools[self.pool].lock().unwrap_or_else(PoisonError::into_inner);
        let Pool { all, users } = &mut *held;
        let own = users.entry(self.user).or_default();
        for taken in [all, &mut *own] {
            taken.bytes -= self.bytes;
            taken.requests[self.cost as usize] -= 1;
        }
        if *own == Taken::default() {
            users.remove(&self.user);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connections = self.flow.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let Connections { all, from, .. } = &mut *connections;
        *all -= 1;
        if let Some(own) = from.get_mut(&self.from) {
            *own -= 1;
            if *own == 0 {
                from.remove(&self.from);
            }
        }
    }
}

/// 0 is no bound.
fn bound(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

/// 429 (maxinflight.go tooManyRequests, with a reason).
fn too_many(why: &str) -> Status {
    let message = format!("Too many requests, please try again later: {why}");
    Status { retry_after_seconds: Some(1), ..Status::new(Reason::TooManyRequests, message) }
}

#[cfg(test)]
mod tests;
