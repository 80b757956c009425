//! NetworkPolicies on this node: from policies, pods and namespaces to what `net` holds traffic to.
//!
//! `Keeper::run` follows the caches; the agent calls `enter` before an attachment may speak and `leave`
//! before its address can be another's. Pods and namespaces are followed only while there is a policy, so
//! that a cluster without any pays nothing. Laws: what an attachment sends is judged from its first packet
//! on; an address inherits nothing (docs/decisions/network-policy.md).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::{Object, Resource};
use client::cache::{Change, Changes};
use client::{Cache, Client, Scope};
use net::Net;
use net::policy;
use tokio::sync::{Notify, watch};

/// Pods and policies as they are judged.
mod objects;
/// Arithmetic of addresses and ports.
mod ranges;
/// What follows of what is known.
mod state;

pub use objects::{NamedPort, Pod};
use objects::{Policy, protocol_number};
use state::State;

/// How long a pod waits for what the server knows of policies; then what is known here counts.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);

/// The number of a protocol as the API names it.
pub fn protocol(name: &str) -> Option<u8> {
    protocol_number(name)
}

/// What is known of policies on this node, and the network that is held to it.
#[derive(Default)]
pub struct Keeper {
    inner: Mutex<Inner>,
    /// Sent when more may be known and in force than before.
    ready: watch::Sender<()>,
    /// The network does not have what it was told.
    failed: Notify,
}

#[derive(Default)]
struct Inner {
    state: State,
    net: Option<Net>,
    /// Whether the network was told everything once: before, what an earlier run left holds.
    told: bool,
    /// Whether pods are being listed that policies may speak of.
    listing: bool,
    /// Whether the server has not answered for long.
    alone: bool,
    /// Why the network does not have what it was told last.
    failing: Option<String>,
}

impl Inner {
    /// Whether what the server knew lately holds in that network, or nobody can say.
    fn is_ready_in(&self, net: &Net) -> bool {
        let told = self.told && !self.listing && self.net.as_ref().is_some_and(|known| known.is(net));
        told || self.alone
    }

    fn stand_in(&mut self) {
        if let Some(net) = &self.net {
            self.state.stand_in(net.gateway());
        }
    }
}

impl Keeper {
    /// An attachment of this network has these addresses: returns once what is known of policies holds for them.
    /// An error: what is known cannot be put in force.
    pub async fn enter(&self, net: &Net, id: &str, pod: Pod, addresses: &[IpAddr]) -> Result<(), net::Error> {
        let mut ready = self.ready.subscribe();
        let is_ready = ready.wait_for(|()| self.inner().is_ready_in(net));
        if tokio::time::timeout(PATIENCE, is_ready).await.is_err() {
            let mut inner = self.inner();
            if let Some(why) = &inner.failing {
                return Err(net::Error::Failed(format!("its policies cannot be put in force: {why}")));
            }
            tracing::warn!(pod = pod.name, "its policies cannot be asked for: what is known here holds");
            // Nobody else waits for the same.
            inner.alone = true;
        }
        self.change(|state| {
            let uid = pod.uid.clone();
            state.enter(id, &uid, addresses, Some(pod));
        })
        .await
    }

    /// An attachment is about to let its addresses go.
    pub async fn leave(&self, id: &str) {
        if let Err(error) = self.change(|state| state.leave(id)).await {
            tracing::warn!(%error, "what an address was allowed is taken from it as soon as the network can");
        }
    }

    /// Changes what is known, and hands over what follows of it; the order is that of the calls.
    fn change(&self, change: impl FnOnce(&mut State)) -> impl Future<Output = Result<(), net::Error>> + '_ {
        let mut inner = self.inner();
        change(&mut inner.state);
        let told = match &inner.net {
            Some(net) if inner.told => {
                let net = net.clone();
                let edits = inner.state.settle();
                (!edits.is_empty()).then(|| net.policy(policy::Change::Edits(edits)))
            }
            _ => None,
        };
        async move {
            let Some(told) = told else { return Ok(()) };
            told.await.inspect_err(|_| self.failed.notify_one())
        }
    }

    /// Tells the network everything.
    async fn tell(&self) -> Result<(), net::Error> {
        let told = {
            let mut inner = self.inner();
            inner.told = true;
            let Some(net) = inner.net.clone() else { return Ok(()) };
            net.policy(policy::Change::Anew(Box::new(inner.state.whole())))
        };
        told.await
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the server and the network for good.
    pub async fn run(self: Arc<Self>, client: Client, mut nets: watch::Receiver<Option<Net>>) {
        let policies = Cache::start(client.clone(), &api::resource::NETWORK_POLICIES, Scope::default());
        let mut changes = policies.subscribe();
        let mut others: Option<Others> = None;
        let mut open = true;
        let net = nets.borrow_and_update().clone();
        self.take(net).await;
        policies.synced().await;
        loop {
            while let Some(change) = changes.try_next() {
                note_policy(&mut self.inner().state, change);
            }
            let any = self.inner().state.has_policies();
            if let Some(others) = others.as_mut().filter(|_| any) {
                others.note(&mut self.inner().state);
            } else if any {
                // Until pods are known what holds goes on, and new ones wait.
                self.inner().listing = true;
                others = Some(Others::begin(&client).await);
                continue;
            } else if others.take().is_some() {
                let mut inner = self.inner();
                inner.state.forget();
                inner.stand_in();
            }
            let retry = self.hand_over().await;
            tokio::select! {
                change = changes.next() => match change {
                    Some(change) => note_policy(&mut self.inner().state, change),
                    None => return,
                },
                () = Others::changed(&mut others, &self.inner) => {}
                changed = nets.changed(), if open => {
                    open = changed.is_ok();
                    let net = nets.borrow_and_update().clone();
                    self.take(net).await;
                }
                () = self.failed.notified() => self.inner().told = false,
                () = tokio::time::sleep(RETRY), if retry => {}
            }
        }
    }

    /// Tells the network what it does not have yet; whether that must be tried again.
    async fn hand_over(&self) -> bool {
        let told = self.inner().told;
        let done = if told { self.change(|_| {}).await } else { self.tell().await };
        let failing = done.err().map(|error| error.to_string());
        let retry = failing.is_some();
        {
            let mut inner = self.inner();
            match &failing {
                Some(error) => {
                    tracing::error!(error, "policies are not in force as they are now");
                    inner.told = false;
                }
                None => (inner.listing, inner.alone) = (false, false),
            }
            inner.failing = failing;
        }
        self.ready.send_replace(());
        retry
    }

    /// Another network: what it has is asked for, and everything is told anew.
    async fn take(&self, net: Option<Net>) {
        let attachments = match &net {
            Some(net) => net.list().await.unwrap_or_default(),
            None => Vec::new(),
        };
        let mut inner = self.inner();
        inner.told = false;
        inner.net = net;
        inner.stand_in();
        let known: Vec<String> = inner.state.attachments().map(str::to_owned).collect();
        let gone = known.iter().filter(|id| attachments.iter().all(|one| one.spec.id != **id));
        gone.for_each(|id| inner.state.leave(id));
        for one in attachments.iter().filter(|one| !known.contains(&one.spec.id)) {
            inner.state.enter(&one.spec.id, &one.spec.owner, &one.addresses, None);
        }
    }
}

/// What policies speak of, followed while there are any.
struct Others {
    /// Kept: the changes end with them.
    _caches: [Arc<Cache>; 2],
    pods: Changes,
    namespaces: Changes,
}

impl Others {
    /// Returns once the server has told all of both.
    async fn begin(client: &Client) -> Others {
        let follow = |kind: &Resource| Cache::start(client.clone(), kind, Scope::default());
        let caches = [follow(&api::resource::PODS), follow(&api::resource::NAMESPACES)];
        for cache in &caches {
            cache.synced().await;
        }
        let [pods, namespaces] = [&caches[0], &caches[1]].map(|cache| cache.subscribe());
        Others { _caches: caches, pods, namespaces }
    }

    /// Takes in what there is.
    fn note(&mut self, state: &mut State) {
        while let Some(change) = self.namespaces.try_next() {
            note_namespace(state, change);
        }
        while let Some(change) = self.pods.try_next() {
            note_pod(state, change);
        }
    }

    /// Takes in the next change; never ends where nothing is followed.
    async fn changed(others: &mut Option<Others>, inner: &Mutex<Inner>) {
        let Some(others) = others else { return std::future::pending().await };
        let (pods, namespaces) = (&mut others.pods, &mut others.namespaces);
        let lock = || inner.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::select! {
            Some(change) = pods.next() => note_pod(&mut lock().state, change),
            Some(change) = namespaces.next() => note_namespace(&mut lock().state, change),
            else => std::future::pending().await,
        }
    }
}

fn note_policy(state: &mut State, change: Change) {
    let policy = change.new.as_ref().and_then(Policy::read);
    state.policy(&change.key.namespace, &change.key.name, policy);
}

fn note_namespace(state: &mut State, change: Change) {
    let labels = change.new.map(|namespace| (&namespace.meta().labels).into());
    state.namespace(&change.key.name, labels);
}

fn note_pod(state: &mut State, change: Change) {
    let uid = |object: &Option<Object>| object.as_ref().map(|pod| pod.meta().uid.clone());
    if let Some(old) = uid(&change.old).filter(|old| Some(old) != uid(&change.new).as_ref()) {
        state.no_pod(&old);
    }
    if let Some(pod) = change.new.as_ref().and_then(Pod::read) {
        state.pod(pod);
    }
}
