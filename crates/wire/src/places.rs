//! Places for connections: half for certificates, a quarter for tokens, a quarter for nobody known yet.
//!
//! A connection begins among those whose peers are not known, with its first authenticated request it is
//! known. Nobody is turned away: where too many are unknown, or too many answers to them are not taken, a
//! connection of the address with the most of them is closed. So whoever fills that room only closes their
//! own, and who is known is closed for nobody else: only for leaving too many answers themselves.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The log is not filled by those who open connections.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Of all connections, in percent: with a certificate, with a token.
const KNOWN: [usize; 2] = [50, 25];
const UNKNOWN: usize = 25;

/// All places of one listener.
pub struct Places {
    /// Of connections, and of answers that are not taken; 0 is no bound.
    most: usize,
    /// What one user may have of them, in percent.
    share: usize,
    taken: Mutex<Taken>,
    hasher: RandomState,
}

/// How a peer has proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Certificate,
    Token,
}

#[derive(Default)]
struct Taken {
    /// Of peers who are not known, by address.
    unknown: HashMap<IpAddr, Address>,
    /// How many connections that are, and how many answers.
    all: Held,
    /// As `KNOWN`.
    known: [Known; 2],
    begun: u64,
    /// When the log was last told that there are too many.
    told: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    connections: usize,
    answers: usize,
}

#[derive(Default)]
struct Address {
    answers: usize,
    /// In order of age.
    connections: BTreeMap<u64, Unknown>,
}

struct Unknown {
    closed: Arc<Notify>,
    answers: usize,
}

#[derive(Default)]
struct Known {
    all: usize,
    /// By the hash of the user's name.
    users: HashMap<u64, Held>,
}

/// A connection's place.
pub struct Place {
    places: Arc<Places>,
    from: IpAddr,
    number: u64,
    closed: Arc<Notify>,
    known: OnceLock<Peer>,
}

#[derive(Clone, Copy)]
struct Peer {
    /// Which of `KNOWN`.
    kind: usize,
    user: u64,
    trusted: bool,
}

/// An answer that its reader has not taken yet.
pub struct Untaken {
    place: Arc<Place>,
    /// Where it was counted: with a user, or with the address.
    known: Option<Peer>,
}

impl Places {
    /// `share`: what one user may have of them, in percent.
    pub fn new(most: usize, share: usize) -> Arc<Places> {
        let (taken, hasher) = Default::default();
        Arc::new(Places { most, share, taken, hasher })
    }

    /// A place for a connection; another one may lose its own.
    pub fn enter(self: &Arc<Places>, from: IpAddr) -> Arc<Place> {
        let from = subnet(from);
        let mut taken = self.taken();
        taken.begun += 1;
        let number = taken.begun;
        while taken.all.connections >= self.unknown_most() {
            let Some(closed) = taken.close_one(|address| address.connections.len(), |_| 0) else { break };
            taken.tell(closed, "too many connections of unknown peers: the oldest are closed (--max-connections)");
        }
        let closed = Arc::new(Notify::new());
        let unknown = Unknown { closed: closed.clone(), answers: 0 };
        taken.unknown.entry(from).or_default().connections.insert(number, unknown);
        taken.all.connections += 1;
        drop(taken);
        Arc::new(Place { places: self.clone(), from, number, closed, known: OnceLock::new() })
    }

    fn unknown_most(&self) -> usize {
        bound(part(self.most, UNKNOWN))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Closes a connection of the address that has the most: the one that has the most itself, the oldest of
    /// these. Whose it was.
    fn close_one(&mut self, has: impl Fn(&Address) -> usize, has_itself: impl Fn(&Unknown) -> usize) -> Option<IpAddr> {
        let (from, address) = self.unknown.iter().max_by_key(|(_, address)| has(address))?;
        // Of equals the last is the greatest.
        let (number, worst) = address.connections.iter().rev().max_by_key(|(_, one)| has_itself(one))?;
        worst.closed.notify_one();
        let (from, number) = (*from, *number);
        self.forget(from, number);
        Some(from)
    }

    /// Whether the connection was there.
    fn forget(&mut self, from: IpAddr, number: u64) -> bool {
        let Some(address) = self.unknown.get_mut(&from) else { return false };
        let Some(gone) = address.connections.remove(&number) else { return false };
        address.answers -= gone.answers;
        if address.connections.is_empty() {
            self.unknown.remove(&from);
        }
        self.all.connections -= 1;
        self.all.answers -= gone.answers;
        true
    }

    fn tell(&mut self, from: IpAddr, what: &str) {
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%from, "{what}");
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let known = self.known.iter().all(|known| known.all == 0 && known.users.is_empty());
        known && self.all == Held::default() && self.unknown.is_empty()
    }
}

impl Known {
    /// Changes what a user has; nothing is left of one who has nothing.
    fn change(&mut self, user: u64, change: impl Fn(&mut Held)) -> Held {
        let held = self.users.entry(user).or_default();
        change(held);
        let held = *held;
        if held == Held::default() {
            self.users.remove(&user);
        }
        held
    }
}

impl Place {
    /// Its peer has proved who they are. Where their kind, or this one user, has too many already, it stays
    /// among the unknown: it is served all the same, but others may close it. Who is `trusted` has no share.
    pub fn known(&self, user: &str, proof: Proof, trusted: bool) {
        if self.known.get().is_some() {
            return;
        }
        let places = &self.places;
        let (kind, user) = (usize::from(proof == Proof::Token), places.hasher.hash_one(user));
        let share = if trusted { 0 } else { part(places.most, places.share) };
        let mut taken = places.taken();
        let known = &taken.known[kind];
        let own = known.users.get(&user).map_or(0, |own| own.connections);
        if known.all >= bound(part(places.most, KNOWN[kind])) || own >= bound(share) {
            return;
        }
        // One that is closed already is nobody's any more.
        if self.known.get().is_none() && taken.forget(self.from, self.number) {
            let known = &mut taken.known[kind];
            known.all += 1;
            known.change(user, |own| own.connections += 1);
            let _ = self.known.set(Peer { kind, user, trusted });
        }
    }

    /// There is an answer for the peer, who has not taken it until this is dropped. Whoever leaves too many
    /// loses a connection.
    pub fn answered(self: &Arc<Place>) -> Untaken {
        let places = &self.places;
        let mut taken = places.taken();
        let known = self.known.get().copied();
        match known {
            Some(Peer { kind, user, trusted }) => {
                let own = taken.known[kind].change(user, |own| own.answers += 1);
                if !trusted && own.answers > bound(part(places.most, places.share)) {
                    self.closed.notify_one();
                }
            }
            None => {
                while taken.all.answers >= places.unknown_most() {
                    let closed = taken.close_one(|address| address.answers, |one| one.answers);
                    let Some(closed) = closed else { break };
                    taken.tell(closed, "unknown peers take too few of their answers: connections are closed");
                }
                taken.count(self, |answers| answers + 1);
            }
        }
        drop(taken);
        Untaken { place: self.clone(), known }
    }

    /// Ends when its place is somebody else's.
    pub async fn closed(&self) {
        self.closed.notified().await;
        // Whoever asks again is told again.
        self.closed.notify_one();
    }
}

impl Taken {
    /// Changes the number of answers of an unknown connection, if it is one still.
    fn count(&mut self, place: &Place, change: impl Fn(usize) -> usize) {
        let Some(address) = self.unknown.get_mut(&place.from) else { return };
        let Some(one) = address.connections.get_mut(&place.number) else { return };
        for number in [&mut one.answers, &mut address.answers, &mut self.all.answers] {
            *number = change(*number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let Some(&Peer { kind, user, .. }) = self.known.get() else {
            taken.forget(self.from, self.number);
            return;
        };
        let known = &mut taken.known[kind];
        known.all -= 1;
        known.change(user, |own| own.connections -= 1);
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let mut taken = self.place.places.taken();
        match self.known {
            Some(Peer { kind, user, .. }) => drop(taken.known[kind].change(user, |own| own.answers -= 1)),
            // What was left when its connection became known is counted no more.
            None => taken.count(&self.place, |answers| answers - 1),
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

/// So many percent of it, at least one; of no bound none.
pub fn part(all: usize, percent: usize) -> usize {
    let percent = percent.min(100);
    if all == 0 { 0 } else { (all / 100 * percent + all % 100 * percent / 100).max(1) }
}

/// 0 is no bound.
pub fn bound(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

#[cfg(test)]
mod tests;
