//! `hollow`: many nodes in one process, the real agent over an engine that only pretends.
//!
//! Each node is `node::run` under its own name: it registers, renews its lease, watches its pods, plans,
//! acts and reports as on a machine of its own. What it acts on is `runtime::fake` and
//! `node::Imagined`, whose containers run until they are told to stop. Upstream: kubemark
//! (cmd/kubemark/hollow-node.go). docs/hollow-nodes.md says what such nodes are good for.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::resource::{LEASES, NODES};
use api::{Object, Reason, WatchEvent};
use client::{Cache, Client, ListOptions, Scope, WatchOptions};
use futures::StreamExt;
use ipnet::Ipv4Net;
use kubectl::Login;
use kubectl::failure::{Context, Result, failure};
use kubectl::output;
use node::Imagined;
use runtime::fake::{Fake, FakeConfig};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::cli;
use crate::halves::signalled;
use crate::parts::Seams;

/// A few connections for all nodes.
mod pool;

use pool::Pool;

/// Of RFC 6598: the part of each node's pods where the server gives it none, and the node's own address, the
/// first of it.
const RANGES: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// So many parts of 254 addresses has 100.64.0.0/10.
pub const NODES_MAX: i64 = 1 << 14;
/// A part's addresses but the node's own.
pub const PODS_MAX: i64 = 253;
/// On every hollow node, and on no other.
const LABEL: &str = "gousse.dev/hollow";
const ZONE: &str = "topology.kubernetes.io/zone";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const DISK: i64 = 100 << 30;
const NODE_LEASES: &str = "kube-node-lease";
/// A node renews its lease every ten seconds.
const WITHIN: Duration = Duration::from_secs(11);

/// Runs the nodes until a signal; their objects stay, as those of machines that fall silent.
pub async fn run(login: Login, flags: cli::Hollow) -> Result<()> {
    let names = names(&flags)?;
    let session = login.session()?;
    crate::log("warn");
    let begun = Instant::now();
    refuse_taken(&session.client, &names).await?;
    refuse_run(&session.client, &names).await?;
    let pool = Pool::new(&session.https).context(format_args!("connecting to {}", session.https.server))?;
    refuse_stranger(&pool, &names[0]).await?;
    let folder = Folder::make(flags.dir.as_deref())?;
    let seams = Seams::real();
    let machine = machine(&flags, &folder.0);
    let mut nodes = JoinSet::new();
    let ready = ready(&session.client, &names);
    for (number, name) in (0u32..).zip(&names) {
        let config = config(&flags, &folder.0, name, number, &machine, &seams);
        let client = Client::new(pool.node(name)?);
        let (engine, network) = (Arc::new(engine(&seams)), Arc::new(Imagined::closed()));
        let (name, agent) = (name.clone(), node::run(client, engine, network, config, std::future::pending()));
        nodes.spawn(async move { (name, agent.await) });
    }
    let mut signal = std::pin::pin!(signalled());
    tokio::select! {
        told = ready => told?,
        done = &mut signal => return done,
        Some(ended) = nodes.join_next() => return Err(broken(ended)),
    }
    let (count, seconds) = (names.len(), begun.elapsed().as_secs_f64());
    output::tell(format_args!("{count} hollow nodes are ready after {seconds:.1} s: {}", session.https.server));
    output::tell(format_args!("  Ctrl-C ends them; kubectl delete nodes -l {LABEL} removes what is left of them"));
    tokio::select! {
        done = signal => done,
        Some(ended) = nodes.join_next() => Err(broken(ended)),
    }
}

type End = std::result::Result<(String, std::result::Result<(), node::Error>), tokio::task::JoinError>;

fn broken(ended: End) -> kubectl::failure::Failure {
    failure(match ended {
        Ok((name, Err(why))) => format!("the hollow node {name}: {why}"),
        Ok((name, Ok(()))) => format!("the hollow node {name} ended"),
        Err(why) => format!("a hollow node broke off: {why}"),
    })
}

/// The nodes' names, all of one length: `hollow-0000` … `hollow-4999`.
fn names(flags: &cli::Hollow) -> Result<Vec<String>> {
    let width = (flags.nodes - 1).to_string().len();
    let all: Vec<String> = (0..flags.nodes).map(|number| format!("{}{number:0width$}", flags.name_prefix)).collect();
    match all.first().map(|name| api::names::dns_subdomain(name)).unwrap_or_default().first() {
        Some(why) => Err(failure(format!("--name-prefix {:?} begins no node's name: {why}", flags.name_prefix))),
        None => Ok(all),
    }
}

/// A node that is not hollow would lose its object to one that is.
async fn refuse_taken(client: &Client, names: &[String]) -> Result<()> {
    let options = ListOptions { label_selector: format!("!{LABEL}"), ..ListOptions::default() };
    let real = client.list(&NODES, "", &options).await.context("listing the nodes that are there")?;
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    match real.objects.iter().find(|node| wanted.contains(node.meta().name.as_str())) {
        Some(node) => {
            let name = &node.meta().name;
            Err(failure(format!("the node {name:?} is there already and is not hollow; choose another --name-prefix")))
        }
        None => Ok(()),
    }
}

/// Nodes that another process runs: each would take the other's pods for its own, and report that they are gone. Of one
/// that was ready lately, its lease tells.
async fn refuse_run(client: &Client, names: &[String]) -> Result<()> {
    let options = ListOptions { label_selector: LABEL.into(), ..ListOptions::default() };
    let hollow = client.list(&NODES, "", &options).await.context("listing the hollow nodes that are there")?;
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    let lately = |node: &&Object| wanted.contains(node.meta().name.as_str()) && says_ready(&node.value());
    let Some(node) = hollow.objects.iter().find(lately) else { return Ok(()) };
    let name = &node.meta().name;
    output::note(format_args!(
        "{name} was ready lately: looking for {} s whether another process runs it",
        WITHIN.as_secs()
    ));
    let field_selector = format!("metadata.name={name}");
    let options = ListOptions { field_selector: field_selector.clone(), ..ListOptions::default() };
    let listed = client.list(&LEASES, NODE_LEASES, &options).await.context("looking at its lease")?;
    let resource_version = listed.revision.to_string();
    let options = WatchOptions { field_selector, resource_version, ..WatchOptions::default() };
    let mut watch = client.watch(&LEASES, NODE_LEASES, &options).await.context("watching its lease")?;
    let renewed = async {
        while let Some(event) = watch.next().await {
            if matches!(event, WatchEvent::Modified(_)) {
                return true;
            }
        }
        false
    };
    match tokio::time::timeout(WITHIN, renewed).await {
        Ok(true) => Err(failure(format!(
            "another process runs the hollow node {name:?}: its lease was renewed; choose another --name-prefix"
        ))),
        _ => Ok(()),
    }
}

/// Whoever may not act as a node is told so once, and not by every node's log.
async fn refuse_stranger(pool: &Arc<Pool>, name: &str) -> Result<()> {
    match Client::new(pool.node(name)?).get(&NODES, "", name).await {
        Err(status) if status.reason == Reason::Forbidden => Err(failure(format!(
            "a hollow node acts as the user system:node:NAME, which the kubeconfig's user may not: {}",
            status.message
        ))),
        Err(status) if status.reason != Reason::NotFound => Err(status.into()),
        _ => Ok(()),
    }
}

/// Returns once all of them are ready for pods.
fn ready(client: &Client, names: &[String]) -> impl Future<Output = Result<()>> + use<> {
    let scope = Scope { label_selector: LABEL.into(), ..Scope::default() };
    let cache = Cache::start(client.clone(), &NODES, scope);
    let mut changes = cache.subscribe();
    let mut missing: HashSet<String> = names.iter().cloned().collect();
    async move {
        while !missing.is_empty() {
            let Some(change) = changes.next().await else { return Err(failure("the nodes are followed no more")) };
            if change.new.as_ref().is_some_and(is_ready) {
                missing.remove(&*change.key.name);
            }
        }
        // Until here; what follows is nobody's to keep in memory.
        drop(cache);
        Ok(())
    }
}

/// It says so itself, and the cluster has taken away the taint that a new node begins with: until then pods of many
/// would all go to the few that are through.
fn is_ready(node: &Object) -> bool {
    let node = node.value();
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    says_ready(&node) && !taints.any(|taint| taint["key"] == NOT_READY)
}

fn says_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// What all of them are like: this machine's kernel, and what the flags say.
fn machine(flags: &cli::Hollow, folder: &Path) -> node::Machine {
    let real = node::Machine::read(folder);
    node::Machine {
        cpus: flags.cpus,
        memory: i64::try_from(flags.memory).unwrap_or(i64::MAX),
        disk: DISK,
        kernel_version: real.kernel_version,
        os_image: "a hollow node of Gousse".into(),
        architecture: real.architecture,
        ..node::Machine::default()
    }
}

fn config(
    flags: &cli::Hollow,
    folder: &Path,
    name: &str,
    number: u32,
    machine: &node::Machine,
    seams: &Seams,
) -> node::Config {
    let (own, range) = place(number);
    let at = |what: &str| folder.join(name).join(what);
    let (clock, entropy) = (seams.clock.clone(), seams.entropy.clone());
    let mut config = node::Config::new(name, at("data"), at("run"), clock, entropy);
    config.log_dir = at("log");
    config.host_addresses = vec![own.into()];
    config.pod_cidr = Some(range.into());
    config.max_pods = flags.max_pods;
    // Nobody listens: what the server asks of the node itself (logs, exec) finds nobody.
    config.port = 0;
    config.labels.insert(LABEL.into(), "true".into());
    if flags.zones > 0 {
        config.labels.insert(ZONE.into(), format!("zone-{}", number % flags.zones));
    }
    // Its containers end with this process, which for a node is the machine's restart.
    let (boot_id, id) = (config.new_id(), config.new_id());
    config.machine =
        node::Machine { hostname: name.into(), machine_id: id.clone(), system_uuid: id, boot_id, ..machine.clone() };
    config
}

/// A node's own address, and the range of its pods where the server gives it none.
fn place(number: u32) -> (Ipv4Addr, Ipv4Net) {
    let base = u32::from(RANGES) + (number << 8);
    let range = Ipv4Net::new(base.into(), 24).expect("24 is a prefix of an IPv4 range");
    (Ipv4Addr::from(base + 1), range)
}

/// Takes no time of its own: what is measured is the agent's and the server's.
fn engine(seams: &Seams) -> Fake {
    let clock = seams.clock.clone();
    Fake::new(FakeConfig {
        clock: Arc::new(move || clock().as_nanosecond()),
        preloaded: vec!["toolbox".into()],
        pull_time: Duration::ZERO,
        start_time: Duration::ZERO,
        fault: None,
    })
}

/// Where the nodes' files lie, in memory; gone with this.
struct Folder(PathBuf);

impl Folder {
    fn make(below: Option<&Path>) -> Result<Folder> {
        let below = below.unwrap_or(Path::new("/dev/shm"));
        let path = below.join(format!("gousse-hollow-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.context(format_args!("making {} (--dir)", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(why) = runtime::removal::remove(&self.0, runtime::removal::Mounts::Detached) {
            tracing::warn!("{} is left: {why}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests;
