//! The way to the server: a transport with weather.
//!
//! A request may be lost before the server sees it, its answer may be lost after, either may be
//! late, and a watch may break off at any event. When the server is killed every request and watch
//! in flight ends with it. In calm weather nothing of this happens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Reason, Status, WatchEvent};
use bytes::Bytes;
use client::transport::Boxed;
use client::{Body, Reply, Transport};
use futures::StreamExt;
use http::{Method, Request};
use server::{Identity, Server};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::Chance;
use crate::witness::silent_unless;

/// How often things go wrong, per thousand requests or events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub lost_requests: u64,
    pub lost_answers: u64,
    pub late: u64,
    pub lateness: Duration,
    /// Per event.
    pub cut_watches: u64,
    /// Of requests that would write: refused by a server that is well, in each of the ways it may.
    pub refused_writes: u64,
}

/// The server that is up, or none; shared by all links.
pub struct Site {
    /// The server, and how many there were before it.
    server: Mutex<(u64, Option<Server>)>,
    /// A `watch` would wake those who wait in random order; this wakes them in the order of their coming.
    changed: Notify,
    calm: AtomicBool,
    /// Requests that reached the server, and what they were, while `listening`.
    requests: AtomicU64,
    heard: Mutex<Option<Vec<String>>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
    rush: Mutex<Rush>,
    begun: Instant,
    /// Pods that were to be made, and nobody was told whether they were.
    doubtful: AtomicU64,
    /// Whose watches of what stand still: a name, and a part of the address.
    held: Mutex<Vec<(String, String)>>,
    /// Who reaches nothing.
    cut_off: Mutex<Vec<String>>,
}

/// Requests of one second.
#[derive(Default)]
struct Rush {
    second: u64,
    requests: HashMap<String, u32>,
    /// The one that was asked too often.
    endless: Option<String>,
}

/// Who asks the very same thing so often in one second does not wait for anything.
const RUSH_MAX: u32 = 100;

/// A write that somebody was told of.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub line: String,
    pub uid: String,
    pub revision: u64,
}

/// One user's way to the site.
pub struct Link {
    site: Arc<Site>,
    name: String,
    identity: Box<dyn Fn(&Server) -> Identity + Send + Sync>,
    weather: Weather,
    chance: Mutex<Chance>,
    /// False once the process at this end was killed: nothing comes back any more.
    alive: watch::Receiver<bool>,
}

impl Site {
    pub fn new() -> Arc<Site> {
        Arc::new(Site {
            server: Mutex::default(),
            changed: Notify::new(),
            calm: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            heard: Mutex::default(),
            acknowledged: Mutex::default(),
            rush: Mutex::default(),
            begun: Instant::now(),
            doubtful: AtomicU64::new(0),
            held: Mutex::default(),
            cut_off: Mutex::default(),
        })
    }

    /// Another server, or none: what was in flight to the one before ends.
    pub fn set(&self, server: Option<Server>) {
        let mut now = self.lock();
        *now = (now.0 + 1, server);
        drop(now);
        self.changed.notify_waiters();
    }

    pub fn server(&self) -> Option<Server> {
        self.lock().1.clone()
    }

    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// From now on nothing comes of somebody's watches of such an address, though they stand; `release` lets it all
    /// through.
    pub fn hold(&self, name: &str, part: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push((name.into(), part.into()));
    }

    pub fn release(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changed.notify_waiters();
    }

    /// Until `name <address>` is held no more.
    async fn let_through(&self, whose: &str) {
        let is_held = || {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.iter().any(|(name, part)| is_of(whose, name) && whose.contains(part))
        };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !is_held() {
                return;
            }
            changed.await;
        }
    }

    /// From now on they do not reach the server, nor hear of it.
    pub fn cut_off(&self, name: &str) {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner).push(name.into());
        self.hold(name, "");
    }

    pub fn rejoin(&self) {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.release();
    }

    fn is_cut_off(&self, name: &str) -> bool {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|cut| is_of(name, cut))
    }

    fn doubt(&self, is_doubtful: bool) {
        self.doubtful.fetch_add(u64::from(is_doubtful), Ordering::SeqCst);
    }

    /// How many pods may have been made of which nobody was told.
    pub fn doubtful(&self) -> u64 {
        self.doubtful.load(Ordering::SeqCst)
    }

    /// Writes down every request from now on; `heard` ends it.
    pub fn listen(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Takes what was acknowledged since the last time.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        std::mem::take(&mut self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True where time has to pass before the request goes on, or it never would again.
    fn hear(&self, name: &str, request: &Request<Bytes>) -> bool {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if let Some(heard) = self.heard.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            heard.push(format!("{name}: {} {}", request.method(), request.uri()));
        }
        self.is_rushed(format!("{name}: {} {}", request.method(), request.uri()))
    }

    /// A request of somebody who asks again and again without waiting.
    pub fn endless(&self) -> Option<String> {
        self.rush.lock().unwrap_or_else(PoisonError::into_inner).endless.clone()
    }

    fn is_rushed(&self, asked: String) -> bool {
        let mut rush = self.rush.lock().unwrap_or_else(PoisonError::into_inner);
        let second = self.begun.elapsed().as_secs();
        if second != rush.second {
            rush.requests.clear();
            rush.second = second;
        }
        let times = rush.requests.entry(asked.clone()).or_default();
        *times += 1;
        let is_rushed = *times > RUSH_MAX;
        if is_rushed {
            rush.endless.get_or_insert(asked);
        }
        is_rushed
    }
}

impl Link {
    /// `identity` is asked anew of every server: identities do not outlive the server that made them.
    pub fn new(
        site: Arc<Site>,
        name: &str,
        seed: u64,
        weather: Weather,
        alive: watch::Receiver<bool>,
        identity: impl Fn(&Server) -> Identity + Send + Sync + 'static,
    ) -> Link {
        let chance = Mutex::new(Chance::new(seed, &format!("link {name}")));
        Link { site, name: name.into(), identity: Box::new(identity), weather, chance, alive }
    }

    fn happens(&self, per_mille: u64) -> bool {
        let calm = self.site.calm.load(Ordering::SeqCst);
        !calm && self.chance.lock().unwrap_or_else(PoisonError::into_inner).happens(per_mille)
    }

    async fn lateness(&self) {
        if self.happens(self.weather.late) {
            let pause = self.chance.lock().unwrap_or_else(PoisonError::into_inner).pause(self.weather.lateness);
            tokio::time::sleep(pause).await;
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Reply, Status> {
        self.lateness().await;
        if self.happens(self.weather.lost_requests) || self.site.is_cut_off(&self.name) {
            return Err(lost("the request was lost"));
        }
        let (count, server) = self.site.lock().clone();
        let Some(server) = server else { return Err(lost("the server is down")) };
        if self.site.hear(&self.name, &request) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (method, uri) = (request.method().clone(), request.uri().to_string());
        let line = format!("{method} {uri}");
        let makes_pods = method == Method::POST && uri.split('?').next().is_some_and(|path| path.ends_with("/pods"));
        if !method.is_safe() && self.happens(self.weather.refused_writes) {
            return Err(self.refusal());
        }
        let identity = (self.identity)(&server);
        let response = tokio::select! {
            biased;
            () = self.site.gone(count) => {
                self.site.doubt(makes_pods);
                return Err(lost("the server was killed"));
            }
            response = server.handle(&identity, request) => response,
        };
        self.site.doubt(makes_pods && response.status.is_server_error());
        if self.happens(self.weather.lost_answers) {
            self.site.doubt(makes_pods);
            return Err(lost("the answer was lost"));
        }
        let reply = self.reply(count, &uri, response);
        self.lateness().await;
        self.remember(&method, line, &reply);
        Ok(reply)
    }

    /// What a server that is well may say to a sound write: another was quicker, too much at once, or an error of its
    /// own. It says so before anything is done.
    fn refusal(&self) -> Status {
        let reasons = [Reason::Conflict, Reason::TooManyRequests, Reason::InternalError, Reason::Timeout];
        let reason = *self.chance.lock().unwrap_or_else(PoisonError::into_inner).pick(&reasons);
        Status::new(reason, "the weather refuses this")
    }

    fn reply(&self, count: u64, uri: &str, response: server::Response) -> Reply {
        let body = match response.body {
            server::Body::Bytes(bytes) => Body::Bytes(bytes),
            server::Body::List { objects, revision, continue_token } => {
                Body::List { objects, revision, continue_token }
            }
            server::Body::Events(events) => Body::Events(Box::pin(self.breakable(count, uri, events))),
            server::Body::Stream(stream) => Body::Stream(stream),
            server::Body::Upgrade(_) => Body::Bytes(Bytes::from_static(b"the simulator has no upgrades")),
        };
        Reply { status: response.status, headers: response.headers, body }
    }

    fn breakable(
        &self,
        count: u64,
        uri: &str,
        events: client::WatchStream,
    ) -> impl futures::Stream<Item = WatchEvent> + Send + use<> {
        // A stream of its own: what one watch loses does not depend on the requests beside it.
        let seed = self.chance.lock().unwrap_or_else(PoisonError::into_inner).number();
        let mut chance = Chance::new(seed, "watch");
        let (site, cut) = (self.site.clone(), self.weather.cut_watches);
        let killed = {
            let site = site.clone();
            Box::pin(async move { site.gone(count).await })
        };
        let holds = move |_: &WatchEvent| {
            let broken = !site.calm.load(Ordering::SeqCst) && chance.happens(cut);
            futures::future::ready(!broken)
        };
        let (behind, whose) = (self.site.clone(), format!("{} {uri}", self.name));
        let held = move |event| {
            let (site, whose) = (behind.clone(), whose.clone());
            async move {
                site.let_through(&whose).await;
                event
            }
        };
        events.then(held).take_while(holds).take_until(killed)
    }

    fn remember(&self, method: &Method, line: String, reply: &Reply) {
        if method.is_safe() || !reply.status.is_success() || line.contains("dryRun") {
            return;
        }
        let Body::Bytes(bytes) = &reply.body else { return };
        let Ok(object) = api::Object::parse(bytes.clone()) else { return };
        if object.meta().uid.is_empty() || object.revision() == 0 {
            return;
        }
        let told = Acknowledged { line, uid: object.meta().uid.clone(), revision: object.revision() };
        self.site.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }
}

impl Site {
    /// Returns once this server is not the one that is up.
    async fn gone(&self, count: u64) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.lock().0 != count {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Option<Server>)> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Link {
    fn call(&self, request: Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        Box::pin(async move {
            silent_unless(&self.alive).await;
            let result = self.exchange(request).await;
            silent_unless(&self.alive).await;
            result
        })
    }
}

/// `controllers`, `controllers job-controller` and what follows are of `controllers`.
fn is_of(whose: &str, name: &str) -> bool {
    whose.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn lost(why: &str) -> Status {
    Status::new(Reason::ServiceUnavailable, why)
}
