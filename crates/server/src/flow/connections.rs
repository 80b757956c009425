//! Places for connections: half for certificates, a quarter for tokens, a quarter for nobody known yet.
//!
//! A connection begins among those whose peers are not known, with its first authenticated request it is
//! known. Nobody is turned away: where too many are unknown, the oldest of the address with the most of
//! them is closed. So whoever fills that room only closes their own, and who is known is never closed.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use std::hash::BuildHasher;

use super::{Flow, bound, part};
use crate::identity::{Identity, MASTERS};

/// The log is not filled by those who open connections.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Of all connections, in percent: with a certificate, with a token.
const KNOWN: [usize; 2] = [50, 25];
const UNKNOWN: usize = 25;

#[derive(Default)]
pub struct Connections {
    /// Of peers who are not known: by address, in order of age.
    unknown: HashMap<IpAddr, BTreeMap<u64, Arc<Notify>>>,
    /// How many that are.
    waiting: usize,
    /// As `KNOWN`.
    known: [Known; 2],
    begun: u64,
    /// When the log was last told that there are too many.
    told: Option<Instant>,
}

#[derive(Default)]
struct Known {
    all: usize,
    /// By the hash of the user's name.
    users: HashMap<u64, usize>,
}

/// A connection's place.
pub struct Connected {
    flow: Arc<Flow>,
    from: IpAddr,
    number: u64,
    closed: Arc<Notify>,
    /// Which of `KNOWN`, and the user.
    known: OnceLock<(usize, u64)>,
}

impl Flow {
    /// A place for a connection; another one may lose its own.
    pub fn connect(self: &Arc<Flow>, from: IpAddr) -> Connected {
        let from = subnet(from);
        let mut connections = self.connections();
        connections.begun += 1;
        let number = connections.begun;
        let room = bound(part(self.limits.connections, UNKNOWN));
        while connections.waiting >= room {
            let Some(closed) = connections.close_one() else { break };
            if connections.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                connections.told = Some(Instant::now());
                tracing::warn!(from = %closed, "too many connections of unknown peers: the oldest are closed (--max-connections)");
            }
        }
        let closed = Arc::new(Notify::new());
        connections.unknown.entry(from).or_default().insert(number, closed.clone());
        connections.waiting += 1;
        drop(connections);
        Connected { flow: self.clone(), from, number, closed, known: OnceLock::new() }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// Closes the oldest connection of whoever has the most; whose it was.
    fn close_one(&mut self) -> Option<IpAddr> {
        let (from, own) = self.unknown.iter_mut().max_by_key(|(_, own)| own.len())?;
        let (from, oldest) = (*from, own.pop_first());
        if own.is_empty() {
            self.unknown.remove(&from);
        }
        oldest?.1.notify_one();
        self.waiting -= 1;
        Some(from)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let known = self.known.iter().all(|known| known.all == 0 && known.users.is_empty());
        known && self.waiting == 0 && self.unknown.is_empty()
    }

    /// Whether the connection was there.
    fn forget(&mut self, from: IpAddr, number: u64) -> bool {
        let Some(own) = self.unknown.get_mut(&from) else { return false };
        let found = own.remove(&number).is_some();
        if own.is_empty() {
            self.unknown.remove(&from);
        }
        self.waiting -= usize::from(found);
        found
    }
}

impl Connected {
    /// Its peer has proved who they are. Where their kind, or this one user, has too many already, it stays
    /// among the unknown: it is served all the same, but others may close it.
    pub fn known(&self, identity: &Identity, by_certificate: bool) {
        if self.known.get().is_some() {
            return;
        }
        let (kind, user) = (usize::from(!by_certificate), self.flow.hasher.hash_one(identity.name()));
        let limits = &self.flow.limits;
        let share = if identity.is_in(MASTERS) { 0 } else { limits.one(limits.connections) };
        let mut connections = self.flow.connections();
        let known = &mut connections.known[kind];
        let own = known.users.get(&user).copied().unwrap_or_default();
        if known.all >= bound(part(limits.connections, KNOWN[kind])) || own >= bound(share) {
            return;
        }
        // One that is closed already is nobody's any more.
        if self.known.get().is_none() && connections.forget(self.from, self.number) {
            let known = &mut connections.known[kind];
            known.all += 1;
            *known.users.entry(user).or_default() += 1;
            let _ = self.known.set((kind, user));
        }
    }

    /// Ends when its place is somebody else's.
    pub async fn closed(&self) {
        self.closed.notified().await;
        // Whoever asks again is told again.
        self.closed.notify_one();
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connections = self.flow.connections();
        let Some(&(kind, user)) = self.known.get() else {
            connections.forget(self.from, self.number);
            return;
        };
        let known = &mut connections.known[kind];
        known.all -= 1;
        if let Some(own) = known.users.get_mut(&user) {
            *own -= 1;
            if *own == 0 {
                known.users.remove(&user);
            }
        }
    }
}

/// Who has one address of an IPv6 network mostly has all of its last 64 bits.
fn subnet(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
