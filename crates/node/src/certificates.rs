//! A node's own certificates: asked for by requests, and again before they end.
//!
//! client-go util/certificate and kubelet/certificate: from 70 to 90 % of its life on a certificate is replaced, and
//! one that lacks a name of its Node at once. Timers and watches, no polls. The key stays: it is what the server knows
//! a node by (docs/decisions/node-certificates.md).

use std::io;
use std::time::Duration;

use api::resource::{CERTIFICATE_SIGNING_REQUESTS, NODES};
use api::{Clock, Entropy, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::recorder::Type;
use client::{Cache, Client, Recorder, Scope};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use runtime::engine::Boxed;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use wire::tls::Facts;

use crate::control::Control;
use crate::register::reference;

/// After the n-th failure in a row: 2 s, doubled up to 32 s, and a tenth more at most (certificate_manager.go run).
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(32);
/// A request that nobody decides is spoken of after this (certificateWaitTimeout), and waited for until it is gone.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The clock is looked at again at the latest after this: it may have been set.
const LOOK: i64 = 24 * 3600;
/// Beside a server whose clock is far behind a new certificate is due as soon as it is made.
const REST: Duration = Duration::from_secs(60);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The node proves itself to the server.
    Asking,
    /// The node's own API.
    Serving,
}

/// Keeps a certificate (PEM) and shows it.
pub type Take = Box<dyn Fn(&str) -> io::Result<()> + Send + Sync>;
/// A certificate (PEM), or why there is none.
pub type Nameless = Box<dyn Fn() -> Boxed<'static, Result<String, String>> + Send + Sync>;

/// One certificate of this node.
pub struct Certificate {
    pub purpose: Purpose,
    /// PEM.
    pub key: String,
    /// The one in use, PEM.
    pub held: String,
    /// Keeps a new one and shows it from now on.
    pub take: Take,
    /// Whether it is to bear this name or address of the Node; without any it is not asked for.
    pub bears: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// How one comes about that bears no name.
    pub nameless: Option<Nameless>,
}

impl Purpose {
    fn signer(self) -> &'static str {
        match self {
            Purpose::Asking => "kubernetes.io/kube-apiserver-client-kubelet",
            Purpose::Serving => "kubernetes.io/kubelet-serving",
        }
    }

    /// Of a key that is not RSA.
    fn usages(self) -> [&'static str; 2] {
        match self {
            Purpose::Asking => ["digital signature", "client auth"],
            Purpose::Serving => ["digital signature", "server auth"],
        }
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    /// The Node has not said yet what it is called.
    Wait,
    /// In so many seconds, not before: what it will bear then.
    Ask(i64, Vec<String>),
    /// The same of one without a name.
    Nameless(i64),
}

/// Whose certificates they are, and who is asked.
struct Node {
    name: String,
    client: Client,
    recorder: Recorder,
    clock: Clock,
    entropy: Entropy,
}

/// Keeps one certificate from ending, for ever.
pub async fn keep(control: Control, own: Certificate) {
    let (config, shared) = (control.config(), &control.shared);
    let node = Node {
        name: config.node_name.clone(),
        client: shared.client.clone(),
        recorder: shared.recorder.clone(),
        clock: config.clock.clone(),
        entropy: config.entropy.clone(),
    };
    renew(node, own).await
}

async fn renew(of: Node, mut own: Certificate) {
    let scope = Scope { field_selector: format!("metadata.name={}", of.name), ..Scope::default() };
    // Its addresses are what a serving certificate bears.
    let nodes = Cache::start(of.client.clone(), &NODES, scope);
    let mut changes = nodes.subscribe();
    let (mut failures, mut rest, mut part) = (0, Instant::now(), of.fraction());
    loop {
        let node = nodes.get("", &of.name).map(|node| node.value());
        let next = own.next(node.as_ref(), part, of.now());
        let due = match &next {
            Next::Wait => None,
            Next::Ask(wait, _) | Next::Nameless(wait) => Some(rest.max(after(*wait))),
        };
        let is_due = tokio::select! {
            Some(_) = changes.next() => false,
            () = sleep_until(due.unwrap_or(rest)), if due.is_some() => true,
        };
        // The clock may have been set while it waited.
        let wait = match own.next(node.as_ref(), part, of.now()) {
            Next::Ask(wait, _) | Next::Nameless(wait) => wait,
            Next::Wait => LOOK,
        };
        if !is_due || wait > 0 {
            continue;
        }
        let got = match &next {
            Next::Ask(_, hosts) => {
                // Not that it is asked for what is no longer so.
                let renamed = async {
                    loop {
                        changes.next().await;
                        let node = nodes.get("", &of.name).map(|node| node.value());
                        if node.is_some_and(|node| own.hosts(&node) != *hosts) {
                            return;
                        }
                    }
                };
                tokio::select! {
                    got = of.asked(&own, hosts) => got,
                    () = renamed => continue,
                }
            }
            _ => match &own.nameless {
                Some(nameless) => nameless().await,
                None => continue,
            },
        };
        let got = got.and_then(|pem| own.accept(pem));
        match got {
            Ok(()) => (failures, rest, part) = (0, Instant::now() + REST, of.fraction()),
            Err(why) => {
                failures += 1;
                rest = Instant::now() + pause(failures, of.fraction());
                let why = format!("the certificate of {} is not renewed: {why}", own.purpose.signer());
                tracing::error!("{why}");
                of.event("CertificateNotRenewed", &why);
            }
        }
    }
}

impl Node {
    fn now(&self) -> i64 {
        (self.clock)().as_second()
    }

    /// Of 1, at random.
    fn fraction(&self) -> f64 {
        let mut random = [0; 4];
        (self.entropy)(&mut random);
        f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
    }

    fn event(&self, reason: &str, message: &str) {
        self.recorder.event(reference(&self.name), "", Type::Warning, reason, message);
    }

    /// Asks for a certificate and waits for what becomes of the request; PEM.
    async fn asked(&self, own: &Certificate, hosts: &[String]) -> Result<String, String> {
        let request = request(&own.key, &self.name, hosts).map_err(|why| why.to_string())?;
        let kind = &*CERTIFICATE_SIGNING_REQUESTS;
        let object = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"generateName": "csr-"},
            "spec": {"request": STANDARD.encode(request), "signerName": own.purpose.signer(), "usages": own.purpose.usages()},
        });
        let made = self.client.create(kind, "", &object).await;
        let made = made.map_err(|status| format!("it cannot be asked for: {}", status.message))?;
        let name = &made.meta().name;
        let scope = Scope { field_selector: format!("metadata.name={name}"), ..Scope::default() };
        let cache = Cache::start(self.client.clone(), kind, scope);
        let mut changes = cache.subscribe();
        cache.reached(made.revision()).await;
        let told = Instant::now() + PATIENCE;
        let mut is_told = false;
        loop {
            let found = cache.get("", name).filter(|found| found.meta().uid == made.meta().uid);
            let Some(found) = found else { return Err(format!("the request {name} is gone")) };
            if let Some(answer) = answer(&found.value()) {
                return answer.map_err(|why| format!("the request {name} was {why}"));
            }
            tokio::select! {
                Some(_) = changes.next() => {}
                () = sleep_until(told), if !is_told => {
                    is_told = true;
                    let why = format!(
                        "{name}, for a certificate of {}, waits: kubectl certificate approve {name}", own.purpose.signer()
                    );
                    tracing::warn!("{why}");
                    self.event("CertificateNotApproved", &why);
                }
            }
        }
    }
}

impl Certificate {
    fn next(&self, node: Option<&Value>, part: f64, now: i64) -> Next {
        let facts = Facts::of(&self.held).unwrap_or_default();
        let due = (renewal(&facts, part) - now).clamp(0, LOOK);
        if self.purpose == Purpose::Asking {
            return Next::Ask(if facts.asks { due } else { 0 }, Vec::new());
        }
        let Some(node) = node.filter(|node| !tree::list(node, "status.addresses").is_empty()) else {
            return Next::Wait;
        };
        let hosts = self.hosts(node);
        match hosts.is_empty() {
            true if self.nameless.is_none() => Next::Wait,
            true => Next::Nameless(due),
            // One that the server made at the join, or at its start, is for both purposes.
            false if !facts.serves || facts.asks || hosts.iter().any(|host| !facts.hosts.contains(host)) => {
                Next::Ask(0, hosts)
            }
            false => Next::Ask(due, hosts),
        }
    }

    /// What a serving certificate bears, sorted (kubelet.go addressesToHostnamesAndIPs).
    fn hosts(&self, node: &Value) -> Vec<String> {
        if self.purpose == Purpose::Asking {
            return Vec::new();
        }
        let addresses = tree::list(node, "status.addresses").iter();
        let mut hosts: Vec<String> = addresses
            .map(|one| tree::text(one, "address"))
            .map(|host| host.parse::<std::net::IpAddr>().map_or(host.to_owned(), |address| address.to_string()))
            .filter(|host| !host.is_empty() && (self.bears)(host))
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// Takes one that is for our key.
    fn accept(&mut self, pem: String) -> Result<(), String> {
        let pair = wire::Pair { certificate: pem, key: self.key.clone() };
        wire::tls::belong_together(&pair).map_err(|why| format!("what was issued is not ours: {why}"))?;
        (self.take)(&pair.certificate).map_err(|why| format!("what was issued is not kept: {why}"))?;
        self.held = pair.certificate;
        Ok(())
    }
}

/// When a certificate is to be replaced, in seconds of the Unix epoch; `part` of 1 (nextRotationDeadline).
fn renewal(facts: &Facts, part: f64) -> i64 {
    let life = (facts.until - facts.from) as f64;
    facts.from + (life * (0.7 + 0.2 * part)).round() as i64
}

fn pause(failures: u32, part: f64) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(RETRY_MAX);
    doubled.mul_f64(1.0 + 0.1 * part)
}

fn after(seconds: i64) -> Instant {
    Instant::now() + Duration::from_secs(seconds.max(0).unsigned_abs())
}

/// None: nothing yet (csr.go WaitForCertificate).
fn answer(request: &Value) -> Option<Result<String, String>> {
    let conditions = tree::list(request, "status.conditions");
    for (kind, word) in [("Denied", "denied"), ("Failed", "failed by its signer")] {
        if let Some(condition) = conditions.iter().find(|condition| condition["type"] == kind) {
            let (reason, message) = (tree::text(condition, "reason"), tree::text(condition, "message"));
            return Some(Err(format!("{word}, reason: {reason}, message: {message}")));
        }
    }
    let is_approved = conditions.iter().any(|condition| condition["type"] == "Approved");
    let issued = tree::text(request, "status.certificate");
    if !is_approved || issued.is_empty() {
        return None;
    }
    let pem = STANDARD.decode(issued).map_err(|why| why.to_string());
    Some(pem.and_then(|pem| String::from_utf8(pem).map_err(|why| why.to_string())))
}

/// PKCS#10 in PEM, for `system:node:NAME` in `system:nodes`.
fn request(key: &str, node: &str, hosts: &[String]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.serialize_request(&KeyPair::from_pem(key)?)?.pem()
}

#[cfg(test)]
mod tests;
