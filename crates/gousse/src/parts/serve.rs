//! The server's half: the API over HTTPS, scheduler and controllers beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use controllers::{Chosen, NodeRange};
use server::{Backend, Component, Config, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Alarm, Local, Seams};
use crate::cli::{ClusterFlags, ServerFlags};
use crate::instance::Instance;
use kubectl::failure::{Context, Result, failure};

/// A running server.
pub struct Serving {
    pub server: Server,
    /// Where it listens; never port 0.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Where the server is to listen, and the address: never port 0.
pub async fn listen(flags: &ServerFlags) -> Result<(TcpListener, SocketAddr)> {
    let listener =
        TcpListener::bind(flags.listen).await.context(format_args!("listening on {} (--listen)", flags.listen))?;
    let address = listener.local_addr().context("asking for the server's address")?;
    Ok((listener, address))
}

/// Starts all of it; returns when requests are served.
pub async fn start(
    instance: &Instance,
    flags: &ServerFlags,
    cluster: &ClusterFlags,
    (listener, address): (TcpListener, SocketAddr),
    seams: &Seams,
    alarm: &Alarm,
) -> Result<Serving> {
    let node_ranges = node_ranges(flags, cluster)?;
    let scheduled = crate::why::configuration(flags.scheduler_config.as_deref())?;
    let admission = server::Admission::of(&flags.enable_admission_plugins, &flags.disable_admission_plugins);
    let admission = admission.map_err(failure)?;
    balancers(flags, cluster)?;
    let chosen = Chosen::of(&flags.controllers).map_err(|why| failure(format!("--controllers: {why}")))?;
    let server = Server::open(Config {
        data_dir: instance.data_dir.clone(),
        backend: Some(Backend::Embedded { dir: instance.data_dir.join("store"), accept_loss: flags.accept_loss }),
        advertise: SocketAddr::new(advertised(address.ip())?, address.port()),
        names: Vec::new(),
        service_cidr: flags.service_cidr.to_string(),
        node_ports: flags.service_node_port_range,
        allow_privileged: flags.allow_privileged,
        admission,
        limits: limits(flags),
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
    })
    .await
    .context("starting the server")?;
    write_kubeconfig(instance, &server, address)?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let serving = server.clone();
    let serve = async move {
        let ended = until(stopped);
        if let Err(error) = serving.serve(listener, ended).await {
            tracing::error!(%error, "the server ended");
        }
    };
    tasks.spawn(alarm.over("the server", serve));
    if flags.scheduler {
        tasks.spawn(alarm.over("the scheduler", placing(&server, seams, scheduled)));
    }
    if !chosen.is_empty() {
        tasks.spawn(alarm.over("a controller", controlling(&server, seams, flags, node_ranges, chosen)));
    }
    Ok(Serving { server, address, stop, tasks })
}

/// The scheduler.
fn placing(
    server: &Server,
    seams: &Seams,
    configuration: scheduler::Configuration,
) -> impl Future<Output = ()> + Send + use<> {
    let client = Local::client(server, Component::Scheduler, "kube-scheduler");
    let config = scheduler::Config { clock: seams.clock.clone(), entropy: seams.entropy.clone(), configuration };
    let life = server.part("scheduler");
    async move {
        let _life = life;
        scheduler::run(client, config).await;
    }
}

/// The controllers that are chosen.
fn controlling(
    server: &Server,
    seams: &Seams,
    flags: &ServerFlags,
    node_ranges: Vec<NodeRange>,
    chosen: Chosen,
) -> impl Future<Output = ()> + Send + use<> {
    let pair = server.authority_pair();
    let within = server.clone();
    let clients: controllers::Clients =
        Arc::new(move |account| Local::client(&within, Component::controller(account), "kube-controller-manager"));
    let config = controllers::Config {
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
        authority: pair.certificate,
        authority_key: pair.key,
        may_bear: server.may_bear(),
        node_ranges,
        service_range: Some(flags.service_cidr.into()),
        node_ports: (flags.service_node_port_range.first, flags.service_node_port_range.last),
        load_balancer_pool: flags.load_balancer_pool.clone(),
        node_monitor: flags.monitor.monitor(),
    };
    let life = server.part("controller-manager");
    async move {
        let _life = life;
        controllers::run_chosen(clients, config, &chosen).await;
    }
}

impl Serving {
    /// Ends watches, lets requests finish, ends the parts beside.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // The server's own task ends by itself; scheduler and controllers have nothing to finish.
        self.tasks.join_next().await;
        self.tasks.shutdown().await;
    }
}

/// No load balancer has an address that services or pods may have.
fn balancers(flags: &ServerFlags, cluster: &ClusterFlags) -> Result<()> {
    for pool in &flags.load_balancer_pool {
        for (range, whose) in [(flags.service_cidr, "--service-cidr"), (cluster.cluster_cidr, "--cluster-cidr")] {
            if pool.overlaps(&range.into()) {
                return Err(failure(format!("--load-balancer-pool: {pool} has addresses of {range} ({whose})")));
            }
        }
    }
    Ok(())
}

/// What each node gets a part of.
fn node_ranges(flags: &ServerFlags, cluster: &ClusterFlags) -> Result<Vec<NodeRange>> {
    if !flags.allocate_node_cidrs {
        return Ok(Vec::new());
    }
    let (pods, services) = (cluster.cluster_cidr, flags.service_cidr);
    if services.contains(&pods) {
        return Err(failure(format!("--cluster-cidr: {pods} is all services' ({services}, --service-cidr)")));
    }
    let range = NodeRange::new(pods.into(), flags.node_cidr_mask_size_ipv4);
    Ok(vec![range.map_err(|why| failure(format!("--node-cidr-mask-size-ipv4: {why} (--cluster-cidr)")))?])
}

/// Ends when `stopped` turns true, or its sender is gone.
pub async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What may come from outside. Connections leave descriptors to the store and to the node beside: as many
/// as the machine allows are asked for, as Go's runtime does, and a quarter is kept.
fn limits(flags: &ServerFlags) -> server::Limits {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let mut limits = flags.limits();
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return limits };
    let files = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let most = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX).max(1);
    if limits.connections == 0 || limits.connections > most {
        let asked = limits.connections;
        tracing::warn!("--max-connections is {most}, not {asked}: this process may open {files} files (ulimit -n)");
        limits.connections = most;
    }
    limits
}

/// The address that others reach us by.
fn advertised(listening: IpAddr) -> Result<IpAddr> {
    if !listening.is_unspecified() {
        return Ok(listening);
    }
    let all = net::host_addresses().context("listing this machine's addresses")?;
    Ok(all.into_iter().find(IpAddr::is_ipv4).unwrap_or(Ipv4Addr::LOCALHOST.into()))
}

fn write_kubeconfig(instance: &Instance, server: &Server, address: SocketAddr) -> Result<()> {
    let host = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
    let url = format!("https://{}", SocketAddr::new(host, address.port()));
    let context = match instance.name.as_str() {
        "default" => "gousse".to_string(),
        name => format!("gousse-{name}"),
    };
    let text = server.kubeconfig(&url, &context).context("making the kubeconfig")?;
    crate::instance::write_private(&instance.kubeconfig(), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn nodes_get_parts_that_are_there() {
        let judged = |words: &str| {
            let words = ["gousse", "server"].into_iter().chain(words.split_whitespace());
            let Command::Server(server) = Cli::try_parse_from(words).unwrap().command else { panic!() };
            node_ranges(&server.flags, &server.cluster).map(|all| all.len()).map_err(|why| why.printed())
        };
        assert_eq!(judged(""), Ok(1));
        assert_eq!(judged("--allocate-node-cidrs=false --cluster-cidr 10.96.0.0/16"), Ok(0));
        assert_eq!(judged("--cluster-cidr 10.0.0.0/8"), Ok(1), "services' part is left out");
        let refused = |words: &str, why: &str| assert_eq!(judged(words), Err(format!("error: {why}")));
        refused(
            "--cluster-cidr 10.96.0.0/16",
            "--cluster-cidr: 10.96.0.0/16 is all services' (10.96.0.0/12, --service-cidr)",
        );
        refused(
            "--node-cidr-mask-size-ipv4 31",
            "--node-cidr-mask-size-ipv4: /31 is no part of 10.244.0.0/16 with room for a pod: from /16 to /30 (--cluster-cidr)",
        );
        refused(
            "--cluster-cidr 10.0.0.0/8 --node-cidr-mask-size-ipv4 26",
            "--node-cidr-mask-size-ipv4: /26 cuts 10.0.0.0/8 into too many parts: /24 at most (--cluster-cidr)",
        );
    }
}
