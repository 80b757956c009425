//! Flow control: how many requests, and bytes of bodies and answers, may be under way from outside.
//!
//! Upstream's --max-requests-inflight (apiserver pkg/server/filters/maxinflight.go) with three things
//! added: one user gets a share only, of which a part is theirs however full it is, nodes have a pool of
//! their own, bodies are counted by what has arrived, answers until they are taken. Administrators are held up
//! by nobody else, and bounded only in bodies that are still coming; the parts inside the process never are.
//! Every step is O(1). Connections have places of their own
//! (`wire::places`).

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{Reason, Status};
use bytes::Bytes;

use wire::places::{bound, part};

use crate::identity::{CONTROLLERS, Identity, MASTERS, SCHEDULER};

/// What every user may take however many others there are, in percent: nobody fills a pool for all.
const RESERVED: usize = 5;
/// Bodies of administrators may be so many times those of everybody else, while they come.
const ADMINISTRATORS: usize = 8;

/// How much may be under way at once; 0 is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that read, but those that last (watches, logs, exec, proxies).
    pub reads: usize,
    /// Requests that write.
    pub writes: usize,
    /// Bytes of requests' bodies.
    pub body_bytes: usize,
    /// Bytes of answers that are not taken yet, but for lists and others that are made as they are taken. One
    /// that is alone may have any size.
    pub answer_bytes: usize,
    /// What one user may take of each of these and of the connections, in percent.
    pub share: usize,
    /// Connections, and answers that are not taken: half for certificates, a quarter for tokens, a quarter for
    /// peers who are not known yet.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { reads: 400, writes: 200, body_bytes: 32 << 20, answer_bytes: 256 << 20, share: 10, connections: 8192 }
    }
}

impl Limits {
    /// What one of many may take; 0 is no bound.
    fn one(&self, all: usize) -> usize {
        part(all, self.share)
    }

    /// What one of many may take even where the others have taken all.
    fn reserved(&self, all: usize) -> usize {
        part(all, RESERVED).min(self.one(all))
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
    hasher: RandomState,
    /// Bytes of bodies that are still coming from users who are not bounded.
    arriving: AtomicUsize,
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
    /// Of answers.
    answers: usize,
}

/// A request's place; given back when it is dropped.
pub struct Permit {
    flow: Arc<Flow>,
    pool: usize,
    user: u64,
    cost: Cost,
    bytes: usize,
    answer: usize,
}

/// The room of a body that comes from a user who is not bounded, until it is there.
pub struct Arriving<'f> {
    flow: &'f Flow,
    bytes: usize,
}

impl Arriving<'_> {
    pub fn new(flow: &Flow) -> Arriving<'_> {
        Arriving { flow, bytes: 0 }
    }

    /// Takes room for so many more bytes.
    ///
    /// # Errors
    /// 429 when there is none left.
    pub fn take(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes += bytes;
        let all = self.flow.arriving.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if all > bound(self.flow.limits.body_bytes.saturating_mul(ADMINISTRATORS)) {
            return Err(too_many(&format!(
                "the bodies of administrators that are still coming fill their room ({ADMINISTRATORS} times \
                 --max-body-bytes-inflight)"
            )));
        }
        Ok(())
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.flow.arriving.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The room of a body, which it has as long as somebody holds its bytes.
struct Room {
    flow: Arc<Flow>,
    pool: usize,
    user: u64,
    bytes: Bytes,
}

impl Flow {
    pub fn new(limits: Limits) -> Arc<Flow> {
        let (pools, hasher, arriving) = Default::default();
        Arc::new(Flow { limits, pools, hasher, arriving })
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
        let mut held = self.pool(pool);
        let Pool { all, users } = &mut *held;
        let own = users.entry(user).or_default();
        let share = self.limits.one(limit);
        let (of_all, of_own) = (all.requests[cost as usize], own.requests[cost as usize]);
        let full = of_all >= bound(limit) && of_own >= self.limits.reserved(limit);
        let who = match (full, of_own >= bound(share)) {
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
        Ok(Some(Permit { flow: self.clone(), pool, user, cost, bytes: 0, answer: 0 }))
    }

    fn pool(&self, pool: usize) -> MutexGuard<'_, Pool> {
        self.pools[pool].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes so much off what a user has under way.
    fn give_back(&self, pool: usize, user: u64, give: impl Fn(&mut Taken)) {
        let mut held = self.pool(pool);
        let Pool { all, users } = &mut *held;
        let own = users.entry(user).or_default();
        give(all);
        give(own);
        if *own == Taken::default() {
            users.remove(&user);
        }
    }
}

impl Permit {
    /// Takes room for so many more bytes of the request's body.
    ///
    /// # Errors
    /// 429 when there is none left.
    pub fn take(&mut self, bytes: usize) -> Result<(), Status> {
        self.take_more(bytes, false)
    }

    /// Takes room for what it costs to decode the body beyond its bytes. A user's only body may cost any.
    ///
    /// # Errors
    /// 429 when there is none left.
    pub fn weigh(&mut self, bytes: usize) -> Result<(), Status> {
        // Of a request that lasts the body is handed on as it is.
        if self.cost == Cost::Lasting { Ok(()) } else { self.take_more(bytes, true) }
    }

    fn take_more(&mut self, bytes: usize, alone: bool) -> Result<(), Status> {
        let limit = self.flow.limits.body_bytes;
        let limits = &self.flow.limits;
        let mut held = self.flow.pool(self.pool);
        let Pool { all, users } = &mut *held;
        let own = users.entry(self.user).or_default();
        let (of_all, of_own) = (all.bytes.saturating_add(bytes), own.bytes.saturating_add(bytes));
        let full = of_all > bound(limit) && of_own > limits.reserved(limit);
        let only = alone && own.bytes == self.bytes;
        if !only && (full || of_own > bound(limits.one(limit))) {
            return Err(too_many(
                "the bodies of requests under way fill their room (--max-body-bytes-inflight, --max-user-share)",
            ));
        }
        all.bytes += bytes;
        own.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes room for the bytes of the answer, until the permit is gone.
    ///
    /// # Errors
    /// 429 when there is none left, and the user has other answers.
    pub fn answer(&mut self, bytes: usize) -> Result<(), Status> {
        let (limits, limit) = (&self.flow.limits, self.flow.limits.answer_bytes);
        let mut held = self.flow.pool(self.pool);
        let Pool { all, users } = &mut *held;
        let own = users.entry(self.user).or_default();
        let (of_all, of_own) = (all.answers.saturating_add(bytes), own.answers.saturating_add(bytes));
        let full = of_all > bound(limit) && of_own > limits.reserved(limit);
        if own.answers > 0 && (full || of_own > bound(limits.one(limit))) {
            return Err(too_many(
                "answers that are not taken yet fill their room (--max-answer-bytes-inflight, --max-user-share)",
            ));
        }
        all.answers += bytes;
        own.answers += bytes;
        self.answer += bytes;
        Ok(())
    }

    /// The body that this room was taken for. Of a request that lasts it gives the room back when it is
    /// handed on, and not hours later with the request; others end soon, and what is made of a body is
    /// larger than itself.
    pub fn hold(&mut self, body: Bytes) -> Bytes {
        if self.cost != Cost::Lasting || self.bytes == 0 {
            return body;
        }
        debug_assert_eq!(self.bytes, body.len(), "each piece of it was taken room for");
        self.bytes -= body.len();
        Bytes::from_owner(Room { flow: self.flow.clone(), pool: self.pool, user: self.user, bytes: body })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.flow.give_back(self.pool, self.user, |taken| {
            taken.bytes -= self.bytes;
            taken.answers -= self.answer;
            taken.requests[self.cost as usize] -= 1;
        });
    }
}

impl AsRef<[u8]> for Room {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.flow.give_back(self.pool, self.user, |taken| taken.bytes -= self.bytes.len());
    }
}

/// 429 (maxinflight.go tooManyRequests, with a reason).
fn too_many(why: &str) -> Status {
    let message = format!("Too many requests, please try again later: {why}");
    Status { retry_after_seconds: Some(1), ..Status::new(Reason::TooManyRequests, message) }
}

#[cfg(test)]
mod tests;
