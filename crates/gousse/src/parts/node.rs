//! The node's half: images, runtime, network and the agent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use client::Client;
use flate2::read::ZlibDecoder;
use ipnet::Ipv4Net;
use runtime::Engine;
use runtime::images::bounds::Bounds;
use runtime::images::registries::Registries;
use runtime::images::{Config as ImagesConfig, ImagesStore};
use runtime::native::{Config as EngineConfig, NativeEngine};
use runtime::removal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ingress::{self, Asks};
use super::policy;
use super::serve::until;
use super::{Alarm, Seams, dns, host_dns};
use crate::cli::{ClusterFlags, NodeFlags};
use crate::images;
use crate::instance::Instance;
use kubectl::failure::{Context, Result, failure};

/// What a node is made of before it speaks to a server: opened first, since it knows the addresses.
pub struct Machine {
    pub name: String,
    pub engine: Arc<NativeEngine>,
    pub images: Arc<ImagesStore>,
    pub network: Arc<node::Routed>,
    /// Policies, which every attachment passes.
    pub policies: Arc<proxy::policy::Keeper>,
    pub addresses: Vec<IpAddr>,
    /// The range of all nodes' pods.
    pub cluster_cidr: Ipv4Net,
    api: TcpListener,
    healthz: Option<TcpListener>,
    /// What serves services here, unless another program does.
    pub proxy: Option<super::proxy::Proxy>,
    /// What is served here and no pod may take.
    own_ports: Vec<SocketAddr>,
}

/// The built-in image's one program, packed (build.rs).
static TOOLBOX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/toolbox.zz"));

/// A running node.
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Told to ask us.
    host: Option<host_dns::Place>,
}

/// Opens images, runtime and network; takes over what an earlier run left. `server`: where it listens, if it
/// does on this machine.
pub async fn open(
    instance: &Instance,
    flags: &NodeFlags,
    cluster: &ClusterFlags,
    server: Option<SocketAddr>,
) -> Result<Machine> {
    if !nix::unistd::geteuid().is_root() {
        return Err(failure("a node needs root: it makes namespaces, mounts and cgroups; `gousse server` does not"));
    }
    // What a run left that broke off leads nowhere now, and would be read as this machine's own.
    let host = host_dns::Place::of(&instance.name);
    if let Err(error) = host.leave() {
        tracing::warn!("{}", error.printed());
    }
    if flags.host_dns {
        host.check()?;
    }
    let name = match &flags.node_name {
        Some(name) => name.clone(),
        None => hostname()?,
    };
    let listening = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), flags.node_port);
    let api = TcpListener::bind(listening).context(format_args!("listening on {listening} (--node-port)"))?;
    let healthz = (flags.healthz_port != 0).then(|| listen_for_health(flags.healthz_port)).flatten();
    let own = [Some(&api), healthz.as_ref()].into_iter().flatten().map(TcpListener::local_addr);
    let own = own.collect::<std::io::Result<Vec<_>>>().context("asking for the node's addresses")?;
    let proxy = super::proxy::open(flags);
    let own = own.into_iter().chain(proxy.as_ref().and_then(super::proxy::Proxy::listens_at));
    let own_ports: Vec<SocketAddr> = own.chain(server).collect();
    let policies = Arc::new(proxy::policy::Keeper::default());
    let network = network(instance, flags, cluster.cluster_cidr, &own_ports)?;
    let network = network.behind(Arc::new(policy::Policies(policies.clone())));
    // docs/registries.md
    let registries = Registries::read(&instance.data_dir.join("registries.yaml")).context("reading registries.yaml")?;
    let docker_config = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker/config.json"));
    let bounds = Bounds { size: flags.image_size_max, files: flags.image_files_max };
    let config = ImagesConfig { registries, docker_config, bounds };
    let images = ImagesStore::open_with(&instance.data_dir.join("images"), config).context("opening the images")?;
    images.load_builtin(ZlibDecoder::new(TOOLBOX)).await.context("loading the built-in image")?;
    let config = engine_config(instance);
    let engine = NativeEngine::open(config, images.clone()).context("opening the runtime")?;
    bound_processes(&engine, instance);
    let addresses = net::host_addresses().context("listing this machine's addresses")?;
    Ok(Machine {
        name,
        engine: Arc::new(engine),
        images,
        network: Arc::new(network),
        policies,
        addresses,
        cluster_cidr: cluster.cluster_cidr,
        api,
        healthz,
        proxy,
        own_ports,
    })
}

/// The pod network, as an earlier run left it, or to be opened with the range that the server gives.
fn network(
    instance: &Instance,
    flags: &NodeFlags,
    cluster_cidr: Ipv4Net,
    own_ports: &[SocketAddr],
) -> Result<node::Routed> {
    let (name, run_dir, own_ports) = (instance.name.clone(), instance.run_dir.join("net"), own_ports.to_vec());
    let left = match net::Config::left_in(&name, &run_dir) {
        Ok(left) => left.map(|config| config.pod_cidr),
        Err(error) => {
            tracing::warn!("the range of pod addresses is asked for anew: {error}");
            None
        }
    };
    let opening = move |pod_cidr| {
        let (instance, run_dir, own_ports) = (name.clone(), run_dir.clone(), own_ports.clone());
        net::Net::open(net::Config { instance, pod_cidr, cluster_cidr, run_dir, own_ports }).map(|(net, _)| net)
    };
    let alone = net::host_addresses().context("listing this machine's addresses")?.is_empty();
    // The node's only address is that of its pod network, which certificates and endpoints must name: it is
    // opened before anybody is asked. No server out of reach gives others; one on this machine begins so.
    let first = || Ipv4Net::new(cluster_cidr.network(), cluster_cidr.prefix_len().max(24)).ok();
    let range = left.or_else(|| if alone { flags.pod_cidr.or_else(first) } else { None });
    node::Routed::begin(Arc::new(opening), range).context("opening the network")
}

/// Upstream leaves it to `--system-reserved pid=…`, which nobody sets: a pod could take the machine's last one.
fn bound_processes(engine: &NativeEngine, instance: &Instance) {
    let Some(most) = node::machine::processes_max() else { return };
    if let Err(error) = engine.bound_processes(&pods_cgroup(instance), most) {
        tracing::warn!(%error, "a pod without --pod-max-pids may take the last process of this machine");
    }
}

/// Another node of this machine may have the port: nothing else depends on it.
fn listen_for_health(port: u16) -> Option<TcpListener> {
    let listening = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    match TcpListener::bind(listening) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(%error, "/healthz is not served at {listening} (--healthz-port)");
            None
        }
    }
}

/// The runtime of an instance: its folders and its cgroup.
pub fn engine_config(instance: &Instance) -> EngineConfig {
    let cgroup = match instance.name.as_str() {
        "default" => "gousse".into(),
        name => format!("gousse-{name}"),
    };
    EngineConfig { cgroup, ..EngineConfig::new(instance.data_dir.join("runtime"), instance.run_dir.join("runtime")) }
}

/// The cgroup above those of all pods.
pub fn pods_cgroup(instance: &Instance) -> String {
    match instance.name.as_str() {
        "default" => "kubepods".into(),
        name => format!("kubepods-{name}"),
    }
}

impl Machine {
    /// Whether others may know another than this node by a name or address: whatever serves on this machine too.
    pub fn is_known_by(&self, host: &str) -> bool {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        let machine = nix::unistd::gethostname().map(|name| name.to_string_lossy().to_lowercase());
        addresses.chain(machine).chain(["localhost".into()]).any(|known| known == host)
    }

    /// Names and addresses that the node's certificate must have.
    pub fn hosts(&self) -> Vec<String> {
        let local = [self.name.clone(), "localhost".into(), Ipv4Addr::LOCALHOST.to_string()];
        local.into_iter().chain(self.addresses.iter().map(IpAddr::to_string)).collect()
    }
}

/// How a node reaches its server and proves itself.
pub struct Credentials {
    pub client: Client,
    /// What the node's own API shows.
    pub certificate: Arc<wire::tls::Presented>,
    /// Whose certificates clients of the node's own API must have.
    pub authority: String,
    /// The server in this process, if it is.
    pub within: Option<server::Server>,
    /// What the agent keeps from ending.
    pub own: Vec<node::certificates::Certificate>,
}

/// Starts the agent, its API and the image commands.
pub async fn start(
    instance: &Instance,
    flags: &NodeFlags,
    allow_privileged: bool,
    machine: &Machine,
    credentials: Credentials,
    seams: &Seams,
    alarm: &Alarm,
) -> Result<Running> {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let listener = taken_over(&machine.api)?;
    let port = listener.local_addr().context("asking for the node's address")?.port();
    let manifests = flags.manifests.clone().unwrap_or_else(|| instance.data_dir.join("manifests"));
    std::fs::create_dir_all(&manifests).context(format_args!("making {}", manifests.display()))?;
    let mut config = node::Config::new(
        &machine.name,
        instance.data_dir.clone(),
        instance.run_dir.clone(),
        seams.clock.clone(),
        seams.entropy.clone(),
    );
    config.manifest_dir = Some(manifests);
    config.machine = node::machine::Machine::read(&instance.data_dir);
    config.host_addresses = machine.addresses.clone();
    config.max_pods = flags.max_pods;
    config.pids_max = flags.pod_max_pids.max(0);
    config.projected_max = flags.pod_max_projected_bytes;
    config.allow_privileged = allow_privileged;
    config.port = port;
    config.own_ports = machine.own_ports.clone();
    config.pod_cidr = flags.pod_cidr.map(Into::into);
    config.thresholds = flags.eviction_hard.clone().unwrap_or_default();
    config.sampling = true;
    config.secrets_apart = true;
    config.cgroup_root = pods_cgroup(instance);
    let caches = Arc::new(client::Caches::new(credentials.client.clone()));
    let host = flags.host_dns.then(|| host_dns::Place::of(&instance.name));
    let dns = dns::start(&caches, machine, host, flags, seams, alarm, &mut tasks)?;
    config.cluster_dns = dns.addresses.clone();
    config.cluster_domain = flags.cluster_domain.clone();
    if instance.name != "default" {
        config.log_dir = instance.data_dir.join("log");
    }
    let engine: Arc<dyn Engine> = machine.engine.clone();
    let socket = instance.image_socket();
    let served: Arc<dyn runtime::engine::Images> = machine.images.clone();
    // Listened on before the node is ready: who waits for that finds it.
    let listening = images::listen(&socket);
    let commands = async move {
        match listening {
            Ok(listener) => images::serve(listener, served).await,
            Err(error) => tracing::error!(%error, "image commands are not served"),
        }
    };
    tasks.spawn(alarm.over("what serves image commands", commands));
    let ways = super::peers::settings(&machine.name, flags, &credentials.authority)?;
    let ways = super::peers::follow(credentials.client.clone(), machine.network.nets(), ways);
    tasks.spawn(alarm.over("what reaches other nodes' pods", ways));
    let agent = node::Agent::start(credentials.client.clone(), engine, machine.network.clone(), config).await;
    let agent = agent.context("starting the node")?;
    let api = node::api::ApiConfig {
        control: agent.control(),
        certificate: credentials.certificate,
        authority: credentials.authority,
    };
    let serve = async move {
        if let Err(error) = node::api::serve(listener, api).await {
            tracing::error!(%error, "the node's API is not served");
        }
    };
    tasks.spawn(alarm.over("the node's API", serve));
    let policies = machine.policies.clone().run(credentials.client.clone(), machine.network.nets());
    tasks.spawn(alarm.over("what holds traffic to policies", policies));
    let asks = credentials.within.as_ref().map_or(Asks::AsNode(&credentials.client), Asks::Within);
    if let Some(ingress) = ingress::part(flags, &machine.name, asks, seams) {
        tasks.spawn(alarm.over("the ingress", ingress));
    }
    for one in credentials.own {
        tasks.spawn(alarm.over("what renews the node's certificates", node::certificates::keep(agent.control(), one)));
    }
    tasks.spawn(alarm.over("the node's agent", agent.run(until(stopped))));
    match &machine.proxy {
        Some(proxy) => proxy.start(machine, credentials.client, dns.local, seams, alarm, &mut tasks)?,
        None => drop(tasks.spawn(super::proxy::leave(machine.network.nets()))),
    }
    if let Some(listener) = &machine.healthz {
        tasks.spawn(node::api::health::serve(taken_over(listener)?));
    }
    let host = flags.host_dns.then(|| host_dns::Place::of(&instance.name));
    Ok(Running { stop, tasks, host })
}

pub(super) fn taken_over(listener: &TcpListener) -> Result<tokio::net::TcpListener> {
    let own = listener.try_clone().and_then(|own| own.set_nonblocking(true).map(|()| own));
    own.and_then(tokio::net::TcpListener::from_std).context("serving the node")
}

impl Running {
    /// Ends the agent; its pods go on.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.tasks.shutdown().await;
        if let Some(Err(error)) = self.host.map(|host| host.leave()) {
            tracing::error!("{}", error.printed());
        }
    }
}

fn hostname() -> Result<String> {
    let name = nix::unistd::gethostname().context("asking for the host's name")?;
    let name = name.to_string_lossy().to_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(failure(format!("the host's name {name:?} cannot name a node; choose one with --node-name")));
    }
    Ok(name)
}

/// Unmounts what a node mounts below its folders, and what containers spread into their volumes.
pub fn unmount(instance: &Instance) -> Result<()> {
    for folder in [instance.run_dir.clone(), instance.data_dir.join("pods")] {
        removal::detach_below(&folder).map_err(|error| failure(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_image_has_a_link_for_every_applet() {
        let table = include_str!("../../../toolbox/src/main.rs");
        let table = table.split_once("APPLETS: &[Applet] = &[").expect("the toolbox has its table").1;
        let table = table.split_once("\n];").expect("the table ends").0;
        let applets: Vec<&str> = table.split("applet(").skip(1).filter_map(|row| row.split('"').nth(1)).collect();
        assert_eq!(applets, runtime::images::builtin::LINKS);
    }
}
