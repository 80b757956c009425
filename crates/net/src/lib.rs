//! Addresses, links and host ports from plain specs. Knows no Pod and no API.
//!
//! Pod links are routed: a veth pair with a host route per pod, no bridge. Rule sets are planned as
//! pure values and applied atomically (nftables over netlink, no `nft` binary).
//!
//! Laws: no two live attachments share an address, across crashes too; every call is idempotent;
//! `list` is the truth; a rule set is in force as a whole or not at all.

#![forbid(unsafe_code)]

/// Who has which address: claims that survive a crash.
mod addresses;
/// Connections that the kernel remembers.
mod conntrack;
/// A DNS server.
pub mod dns;
/// What the machine itself must allow: forwarding, beside Docker too.
mod host;
/// The links, addresses and routes of one pod.
mod links;
/// Network namespaces, pinned to files.
mod namespaces;
/// Rule sets in the kernel's own form, sent as one transaction.
mod nft;
/// Other nodes.
mod peers;
/// Who may talk with whom.
pub mod policy;
/// Requests to the kernel over route netlink.
mod route;
/// The rule set of a node as a pure value.
mod rules;
/// Services: addresses and ports that lead to one of several endpoints.
pub mod services;
/// Bandwidth of a pod's link.
mod shape;
/// What is asked for and what comes back.
mod spec;
/// What others do to the rules.
mod watch;
/// The one thread that changes the network.
mod worker;

use std::net::IpAddr;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

pub use peers::{Peer, Peers, Refusal, Vxlan, Way};
pub use spec::{AttachSpec, Attachment, Config, Error, HostPort};
use worker::{Request, Worker};

/// The network of one node. Clone is a reference; changes happen one after another on one thread.
#[derive(Clone)]
pub struct Net {
    requests: mpsc::UnboundedSender<Request>,
    gateway: IpAddr,
}

/// The running worker; `join` after the last `Net` is gone.
pub struct Running {
    thread: JoinHandle<()>,
}

impl Net {
    /// Takes over what an earlier run left in `run_dir`, removes what is not claimed, puts the rules
    /// in force. Must be called in the network namespace of the host.
    pub fn open(config: Config) -> Result<(Net, Running), Error> {
        let (watch, watching) = watch::Watch::of_tables()?;
        let (links, following) = watch::Watch::of_links()?;
        let (table, prefix, tunnel) = (config.table(), config.link_prefix(), config.tunnel());
        let gateway = config.gateway().into();
        let mut worker = Worker::open(config)?;
        let (requests, mut inbox) = mpsc::unbounded_channel();
        let told = mpsc::UnboundedSender::downgrade(&requests);
        let of_links = told.clone();
        let no_thread = |e| Error::Failed(format!("no thread for the network: {e}"));
        std::thread::Builder::new()
            .name("net-watch".into())
            .spawn(move || {
                while watch.lost(&table) {
                    let Some(requests) = told.upgrade() else { break };
                    let _ = requests.send(Request::Restore);
                }
            })
            .map_err(no_thread)?;
        std::thread::Builder::new()
            .name("net-links".into())
            .spawn(move || {
                while links.changed(&prefix, &tunnel) {
                    let Some(requests) = of_links.upgrade() else { break };
                    let _ = requests.send(Request::Look);
                }
            })
            .map_err(no_thread)?;
        let thread = std::thread::Builder::new()
            .name("net".into())
            .spawn(move || {
                let _both = (watching, following);
                while let Some(request) = inbox.blocking_recv() {
                    worker.answer(request);
                }
            })
            .map_err(no_thread)?;
        Ok((Net { requests, gateway }, Running { thread }))
    }

    /// The node's own address in its pod range: what it serves for its pods, it serves there.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Namespace, link, address, routes and host ports; the same attachment again if it exists.
    pub async fn attach(&self, spec: AttachSpec) -> Result<Attachment, Error> {
        self.ask(|reply| Request::Attach(spec, reply)).await
    }

    /// As `attach`, but nothing that it sends passes before `speak`: there is time to judge it first.
    pub async fn attach_mute(&self, spec: AttachSpec) -> Result<Attachment, Error> {
        self.ask(|reply| Request::AttachMute(spec, reply)).await
    }

    /// What an attachment sends passes from now on.
    pub async fn speak(&self, id: &str) -> Result<(), Error> {
        self.ask(|reply| Request::Speak(id.to_string(), reply)).await
    }

    /// Changes who may talk with whom. Changes hold in the order of the calls, not of the waiting.
    pub fn policy(&self, change: policy::Change) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.begin(|reply| Request::Policy(change, reply))
    }

    /// Whether both speak of one open network.
    pub fn is(&self, other: &Net) -> bool {
        self.requests.same_channel(&other.requests)
    }

    /// Lets the address go; nothing happens if there is no such attachment.
    pub async fn detach(&self, id: &str) -> Result<(), Error> {
        self.ask(|reply| Request::Detach(id.to_string(), reply)).await
    }

    /// Every attachment, in order of id.
    pub async fn list(&self) -> Result<Vec<Attachment>, Error> {
        self.ask(Request::List).await
    }

    /// What is to be served as services from now on; it is when this returns. After an error all must be said
    /// anew.
    pub async fn services(&self, change: services::Change) -> Result<(), Error> {
        self.ask(|reply| Request::Services(change, reply)).await
    }

    /// Ways to these other nodes and to no more; links and addresses of this machine that change are followed. What
    /// there is no way to, and why.
    pub async fn peers(&self, peers: Peers) -> Result<Vec<Refusal>, Error> {
        self.ask(|reply| Request::Peers(peers, reply)).await
    }

    /// Removes every link, rule, route and pin of this instance: `down`.
    pub async fn close(&self) -> Result<(), Error> {
        self.ask(Request::Close).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request) -> Result<T, Error> {
        self.begin(request).await
    }

    /// Asks now; the answer can be waited for later.
    fn begin<T, F: FnOnce(oneshot::Sender<Result<T, Error>>) -> Request>(
        &self,
        request: F,
    ) -> impl Future<Output = Result<T, Error>> + use<T, F> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::Failed("the network's thread has ended; see its last error in the log".into());
        let sent = self.requests.send(request(reply)).map_err(|_| gone());
        async move {
            sent?;
            answer.await.map_err(|_| gone())?
        }
    }
}

impl Running {
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the network's thread panicked");
        }
    }
}

/// The host's addresses that others can reach, the preferred one first: those of the link that
/// the default route uses, then all other global ones. Empty on a machine with loopback only.
pub fn host_addresses() -> Result<Vec<IpAddr>, Error> {
    route::Route::open()?.host_addresses()
}

#[cfg(test)]
mod tests;
