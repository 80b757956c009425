//! Asks the machine's resolvers for names that are not ours, in their order, each question once.
//!
//! Each asking has a socket and an id of its own, so that an answer cannot be guessed. Whoever asks for
//! what is being asked for waits for that answer: a resolver that asks us again ends no sooner, and costs
//! nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, timeout};

use super::answer::opt;
use super::cache::{Answer, Cache, Key};
use super::name::{NAME_MAX, Shown, lowered};
use super::query::*;
use super::upstreams::Upstreams;

/// What a resolver has for its answer (CoreDNS's forward plugin, readTimeout).
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all of them are tried.
const ROUNDS: usize = 2;
/// Questions that are being asked at once, and those of one asker (kubeadm's Corefile has max_concurrent 1000).
const ASKING_MAX: usize = 1000;
const ASKING_MAX_EACH: usize = 200;
/// The longest message of UDP.
const DATAGRAM_MAX: usize = 4096;

/// A source of random bytes.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Asks others.
pub struct Forwarder {
    upstreams: watch::Receiver<Upstreams>,
    entropy: Entropy,
    cache: Mutex<Kept>,
    asking: Mutex<HashMap<Key, Arc<OnceCell<Arc<Answer>>>>>,
    /// The one that answered last is asked first.
    preferred: AtomicUsize,
    places: Arc<Mutex<Places>>,
    /// What was sent to find out whether it comes back.
    probes: Mutex<HashMap<Box<[u8]>, SocketAddr>>,
    /// Those of whom it came back.
    looping: Mutex<Vec<SocketAddr>>,
}

/// Answers of these resolvers.
#[derive(Default)]
struct Kept {
    of: Option<Upstreams>,
    answers: Cache,
}

#[derive(Default)]
struct Places {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// Leave to ask; ends with this.
pub struct Place {
    places: Arc<Mutex<Places>>,
    asker: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = lock(&self.places);
        places.all -= 1;
        if let Some(count) = places.each.get_mut(&self.asker) {
            *count -= 1;
            if *count == 0 {
                places.each.remove(&self.asker);
            }
        }
    }
}

impl Key {
    pub fn of(query: &Query<'_>) -> Key {
        let mut small = [0; NAME_MAX];
        let length = lowered(query.name, &mut small);
        Key {
            name: small[..length].into(),
            kind: query.kind,
            class: query.class,
            dnssec: query.dnssec(),
            checking_disabled: query.flags & CHECKING_DISABLED != 0,
        }
    }
}

impl Forwarder {
    pub fn new(upstreams: watch::Receiver<Upstreams>, entropy: Entropy) -> Forwarder {
        Forwarder {
            upstreams,
            entropy,
            cache: Mutex::default(),
            asking: Mutex::default(),
            preferred: AtomicUsize::new(0),
            places: Arc::default(),
            probes: Mutex::default(),
            looping: Mutex::default(),
        }
    }

    /// Leave to ask for somebody; None where too much is being asked for.
    pub fn place(&self, asker: IpAddr) -> Option<Place> {
        let mut places = lock(&self.places);
        let each = places.each.get(&asker).copied().unwrap_or(0);
        if places.all >= ASKING_MAX || each >= ASKING_MAX_EACH {
            return None;
        }
        places.all += 1;
        places.each.insert(asker, each + 1);
        Some(Place { places: self.places.clone(), asker })
    }

    /// What is known already.
    pub fn known(&self, key: &Key, now: Instant) -> Option<Arc<Answer>> {
        let mut kept = lock(&self.cache);
        let current = self.upstreams.borrow().clone();
        // Of other resolvers, before which other networks may lie.
        if !kept.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &current)) {
            *kept = Kept { of: Some(current), answers: Cache::default() };
            self.preferred.store(0, Ordering::Relaxed);
            lock(&self.looping).clear();
        }
        kept.answers.get(key, now)
    }

    /// Asks, or waits for who asks already.
    pub async fn ask(&self, key: &Key) -> Arc<Answer> {
        if let Some(known) = self.known(key, Instant::now()) {
            return known;
        }
        let of = self.upstreams.borrow().clone();
        let cell = lock(&self.asking).entry(key.clone()).or_default().clone();
        let answer = cell.get_or_init(|| self.ask_all(key)).await.clone();
        let mut asking = lock(&self.asking);
        if asking.get(key).is_some_and(|current| Arc::ptr_eq(current, &cell)) {
            asking.remove(key);
            let mut kept = lock(&self.cache);
            // What others said meanwhile is not what these say.
            if kept.of.as_ref().is_some_and(|now| Arc::ptr_eq(now, &of)) {
                kept.answers.put(key.clone(), answer.clone());
            }
        }
        answer
    }

    async fn ask_all(&self, key: &Key) -> Arc<Answer> {
        let upstreams: Vec<SocketAddr> = {
            let looping = lock(&self.looping);
            self.upstreams.borrow().iter().copied().filter(|upstream| !looping.contains(upstream)).collect()
        };
        let mut refused = None;
        for round in 0..ROUNDS * upstreams.len() {
            let first = self.preferred.load(Ordering::Relaxed);
            let number = (first + round % upstreams.len()) % upstreams.len();
            match self.exchange(upstreams[number], key).await {
                Ok(answer) if matches!(answer.flags() & 15, 0 | NO_SUCH_NAME) => {
                    if round > 0 {
                        self.preferred.store(number, Ordering::Relaxed);
                    }
                    return Arc::new(answer);
                }
                // Another one may know it; nobody is asked twice who said that he does not.
                Ok(answer) => {
                    refused = Some(answer);
                    if round + 1 >= upstreams.len() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, resolver = %upstreams[number], name = %Shown(&key.name), "not answered");
                }
            }
        }
        Arc::new(refused.unwrap_or_else(|| Answer::failure(key, Instant::now())))
    }

    /// One question to one resolver, by TCP where its answer is cut short.
    async fn exchange(&self, upstream: SocketAddr, key: &Key) -> io::Result<Answer> {
        let id = self.random();
        let question = question(id, key);
        let answer = timeout(PATIENCE, by_udp(upstream, id, &question, key)).await??;
        if answer.flags() & TRUNCATED == 0 {
            return Ok(answer);
        }
        match timeout(PATIENCE, by_tcp(upstream, id, &question, key)).await? {
            Ok(whole) => Ok(whole),
            Err(error) => {
                tracing::debug!(%error, resolver = %upstream, "no whole answer by TCP");
                Ok(answer)
            }
        }
    }

    fn random(&self) -> u16 {
        let mut bytes = [0; 2];
        (self.entropy)(&mut bytes);
        u16::from_be_bytes(bytes)
    }

    /// Asks each resolver of this machine for a name that nobody has: where it comes back to us, that
    /// resolver asks us, and is not asked any more. Another machine's cannot: we do not answer it.
    pub async fn probe(&self) {
        let is_near = |upstream: &&SocketAddr| {
            let own = crate::host_addresses().unwrap_or_default();
            upstream.ip().is_loopback() || own.contains(&upstream.ip())
        };
        let near: Vec<SocketAddr> = self.upstreams.borrow().iter().filter(is_near).copied().collect();
        for upstream in near {
            let mut bytes = [0; 8];
            (self.entropy)(&mut bytes);
            let label = format!("{:016x}", u64::from_be_bytes(bytes));
            // A name of the root, as CoreDNS's loop plugin asks for.
            let name = [&[16], label.as_bytes(), &[0]].concat().into_boxed_slice();
            lock(&self.probes).insert(name.clone(), upstream);
            let key = Key { name, kind: HINFO, class: INTERNET, dnssec: false, checking_disabled: false };
            // What is answered does not matter.
            let _ = self.exchange(upstream, &key).await;
            lock(&self.probes).remove(&key.name);
        }
    }

    /// Whether this is our own question that came back.
    pub fn is_probe(&self, key: &Key) -> bool {
        if key.kind != HINFO {
            return false;
        }
        let Some(upstream) = lock(&self.probes).get(&key.name).copied() else { return false };
        let mut looping = lock(&self.looping);
        if !looping.contains(&upstream) {
            tracing::error!("the resolver {upstream} asks us what we ask it: it is not asked any more");
            looping.push(upstream);
        }
        true
    }
}

const HINFO: u16 = 13;

fn question(id: u16, key: &Key) -> Vec<u8> {
    let checking = if key.checking_disabled { CHECKING_DISABLED } else { 0 };
    let mut bytes = Vec::with_capacity(HEADER + key.name.len() + 15);
    for field in [id, RECURSION_DESIRED | checking, 1, 0, 0, 1] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(&key.name);
    bytes.extend(key.kind.to_be_bytes());
    bytes.extend(key.class.to_be_bytes());
    opt(0, key.dnssec, &mut bytes);
    bytes
}

/// The first answer to this question; others are not heeded.
async fn by_udp(upstream: SocketAddr, id: u16, question: &[u8], key: &Key) -> io::Result<Answer> {
    let any: IpAddr = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The kernel chooses the port at random, and lets nobody else's packets in.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(question).await?;
    let mut bytes = vec![0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut bytes).await?;
        let message = &bytes[..length];
        if message.starts_with(&id.to_be_bytes())
            && let Some(answer) = Answer::parse(message, key, Instant::now())
        {
            return Ok(answer);
        }
    }
}

async fn by_tcp(upstream: SocketAddr, id: u16, question: &[u8], key: &Key) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(upstream).await?;
    let framed = [&(question.len() as u16).to_be_bytes(), question].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    let answer = Answer::parse(&message, key, Instant::now()).filter(|_| message.starts_with(&id.to_be_bytes()));
    answer.ok_or_else(|| io::Error::other("the answer is to another question"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
